//! What peers ask each other.

use super::*;
use crate::{
    BlockContent, BlocksRequest, FetchedTransaction, IncomingRequest, Request, RequestError,
    TransactionsRequest,
    limits::{STATUS_BURST, STATUS_RATE},
};

impl Node {
    pub(super) async fn request(&mut self) -> IncomingRequest {
        self.wait(|event| match event {
            Event::Request(request) => Ok(request),
            other => Err(other),
        })
        .await
    }
}

fn blocks(from: u32, count: u32) -> BlocksRequest {
    BlocksRequest {
        from,
        count,
        content: BlockContent::Full,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn blocks_are_asked_for_and_answered_over_tcp_and_quic() {
    for over in [Over::Tcp, Over::Quic] {
        let (mut first, mut second) = start_two(over).await;
        let (peer, ..) = first.joined().await;
        // Until the other has opened its streams too, there is nobody to ask.
        until("the peer can be asked", || {
            first.handle.peers()[0].decided.is_some()
        })
        .await;
        let handle = first.handle.clone();
        let asking = tokio::spawn(async move { handle.request_blocks(peer, blocks(5, 3)).await });
        let incoming = second.request().await;
        let Request::Blocks(request, responder) = incoming.request else {
            panic!("blocks were asked for");
        };
        assert_eq!(request, blocks(5, 3));
        assert!(responder.is_wanted());
        let answer: Vec<Vec<u8>> = vec![vec![5; 1_000_000], vec![6; 10], vec![7], vec![8]];
        responder.send(answer.clone());
        assert_eq!(
            asking.await.unwrap().unwrap(),
            answer[..3],
            "three were asked for"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn transactions_are_asked_for_by_position_and_by_hash() {
    let (mut first, mut second) = start_two(Over::Tcp).await;
    let (peer, ..) = first.joined().await;
    until("the peer can be asked", || {
        first.handle.peers()[0].decided.is_some()
    })
    .await;
    for asked in [
        TransactionsRequest::OfBlock {
            header: Hash::repeat_byte(1),
            positions: vec![0, 4, 9],
        },
        TransactionsRequest::ByHash(vec![Hash::repeat_byte(2); 10]),
    ] {
        let handle = first.handle.clone();
        let question = asked.clone();
        let asking = tokio::spawn(async move { handle.request_transactions(peer, question).await });
        let Request::Transactions(request, responder) = second.request().await.request else {
            panic!("transactions were asked for");
        };
        assert_eq!(request, asked);
        let answer = vec![
            FetchedTransaction {
                index: 0,
                bytes: vec![1; 100],
            },
            FetchedTransaction {
                index: 9,
                bytes: vec![2],
            },
        ];
        responder.send(answer.clone());
        assert_eq!(asking.await.unwrap(), Ok(answer));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn statuses_are_told_to_all_and_to_who_comes_later() {
    let set = ChainSet::of([1, 2]);
    let mut first = Node::validator(1, &set, Over::Tcp, &[]).await;
    first.handle.announce_status(41);
    let mut second = Node::validator(2, &set, Over::Tcp, &[&first]).await;
    let (peer, ..) = second.joined().await;
    assert_eq!(second.status().await, (peer, 41));
    first.handle.announce_status(42);
    while second.status().await != (peer, 42) {}
    until("it is shown", || {
        second.handle.peers()[0].decided == Some(42)
    })
    .await;
    let (of_second, ..) = first.joined().await;
    second.handle.send_status(peer, 7);
    while first.status().await != (of_second, 7) {}
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_decides_fast_tells_so_no_more_often_than_peers_bear() {
    const MORE: u32 = 10;
    let set = ChainSet::of([1, 2]);
    let mut first = Node::validator(1, &set, Over::Tcp, &[]).await;
    let mut second = Node::validator(2, &set, Over::Tcp, &[&first]).await;
    let (peer, ..) = second.joined().await;
    first.joined().await;
    let began = Instant::now();
    for decided in 1..=STATUS_BURST + MORE {
        first.handle.announce_status(decided);
        while second.status().await != (peer, decided) {}
    }
    // The last is told as soon as there is room for it.
    let fastest = Duration::from_secs(1) * (MORE - 1) / STATUS_RATE;
    assert!(began.elapsed() >= fastest, "{:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_answer_and_nobody_to_ask_are_errors() {
    let (mut first, mut second) = start_two(Over::Tcp).await;
    let (peer, ..) = first.joined().await;
    until("the peer can be asked", || {
        first.handle.peers()[0].decided.is_some()
    })
    .await;
    let ask = |handle: NetworkHandle, peer| async move {
        handle.request_blocks(peer, blocks(1, 1)).await
    };
    assert_eq!(
        first.handle.request_blocks(peer, blocks(1, 0)).await,
        Err(RequestError::OutOfBounds(
            "the number of blocks is zero or above what one answer holds"
        ))
    );
    let nobody = PeerNumber(99);
    assert_eq!(
        ask(first.handle.clone(), nobody).await,
        Err(RequestError::NotConnected)
    );
    let asking = tokio::spawn(ask(first.handle.clone(), peer));
    drop(second.request().await);
    assert!(matches!(
        asking.await.unwrap(),
        Err(RequestError::Failed(_))
    ));
    let asking = tokio::spawn(ask(first.handle.clone(), peer));
    let _unanswered = second.request().await;
    second.handle.shutdown().await;
    assert_eq!(asking.await.unwrap(), Err(RequestError::NotConnected));
    assert_eq!(first.handle.peers(), []);
}
