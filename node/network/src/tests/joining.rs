//! Who is let in, who is not, and who comes back.

use tokio::io::AsyncReadExt;

use super::*;
use crate::{
    StartError, Timeouts,
    limits::{DOORSTEP_PER_HOST_MAX, PEERS_PER_ACCOUNT_MAX},
    p2p::multiaddr::Protocol as AddressPart,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn validators_of_the_set_let_each_other_in_over_tcp_and_quic() {
    for over in [Over::Tcp, Over::Quic] {
        let (mut first, mut second) = start_two(over).await;
        let (_, id, of_second) = first.joined().await;
        assert_eq!(id, second.handle.local_peer_id());
        assert_eq!(of_second, Some(account(2)));
        let (_, _, of_first) = second.joined().await;
        assert_eq!(of_first, Some(account(1)));
        let peers = first.handle.peers();
        assert_eq!(peers.len(), 1);
        assert_eq!((peers[0].id, peers[0].score), (id, 0));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_nodes_that_dial_each_other_at_once_meet() {
    let set = ChainSet::of([1, 2]);
    // The second's port is found by starting it once.
    let probe = Node::validator(2, &set, Over::Tcp, &[]).await;
    let address = probe.address();
    probe.handle.shutdown().await;
    let mut of_first = config(1, Over::Tcp);
    of_first.static_peers = vec![address.clone()];
    let first = Node::start(of_first, &set, validator(1)).await;
    let mut of_second = config(2, Over::Tcp);
    of_second.listen = vec![address.address];
    of_second.static_peers = vec![first.address()];
    let mut second = Node::start(of_second, &set, validator(2)).await;
    let gossip = first
        .publish_heard(Topic::Votes, b"vote", &mut second)
        .await;
    assert_eq!(gossip.payload, b"vote");
    assert_eq!(first.handle.peers().len(), 1);
    assert_eq!(second.handle.peers().len(), 1);
}

/// Holds a connection that says nothing, and opens another when it is closed.
async fn stand_in_the_way(at: std::net::SocketAddr) {
    loop {
        if let Ok(mut silent) = tokio::net::TcpStream::connect(at).await {
            // Ends with the connection.
            let _ = silent.read(&mut [0]).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_honest_node_comes_in_while_silent_connections_crowd_the_doorstep() {
    let set = ChainSet::of([1, 2]);
    let mut first = Node::validator(1, &set, Over::Tcp, &[]).await;
    let at = first.listening();
    let at: Vec<_> = at.iter().collect();
    let [AddressPart::Ip4(host), AddressPart::Tcp(port)] = at[..] else {
        panic!("it listens on {at:?}");
    };
    let mut crowd = tokio::task::JoinSet::new();
    for _ in 0..2 * DOORSTEP_PER_HOST_MAX {
        crowd.spawn(stand_in_the_way((host, port).into()));
    }
    until("connections have to make room", || {
        first.handle.statistics().crowded_out > 0
    })
    .await;
    let mut second = Node::validator(2, &set, Over::Tcp, &[&first]).await;
    assert_eq!(first.joined().await.2, Some(account(2)));
    let gossip = first
        .publish_heard(Topic::Votes, b"vote", &mut second)
        .await;
    assert_eq!(gossip.payload, b"vote");
    crowd.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_of_another_chain_is_not_let_in() {
    let set = ChainSet::of([1, 2]);
    let first = Node::validator(1, &set, Over::Tcp, &[]).await;
    let mut other = config(2, Over::Tcp);
    other.genesis = Hash::repeat_byte(1);
    other.static_peers = vec![first.address()];
    let second = Node::start(other, &set, validator(2)).await;
    until("a hello is refused", || {
        let refused = |node: &Node| node.handle.statistics().hellos_refused;
        refused(&first) + refused(&second) > 0
    })
    .await;
    assert_eq!(first.handle.peers(), []);
    assert_eq!(second.handle.peers(), []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stranger_is_not_let_in_until_the_set_has_it() {
    let set = ChainSet::of([1]);
    let mut first = Node::validator(1, &set, Over::Tcp, &[]).await;
    let mut second = Node::validator(2, &ChainSet::of([1]), Over::Tcp, &[&first]).await;
    until("the stranger is refused", || {
        first.handle.statistics().hellos_refused > 0
    })
    .await;
    assert_eq!(first.handle.peers(), []);
    set.add(2);
    first.handle.recheck();
    assert_eq!(first.joined().await.2, Some(account(2)));
    assert_eq!(second.joined().await.2, Some(account(1)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_leaves_the_set_is_sent_away() {
    let set = ChainSet::of([1, 2]);
    let mut first = Node::validator(1, &set, Over::Tcp, &[]).await;
    let _second = Node::validator(2, &set, Over::Tcp, &[&first]).await;
    let (number, ..) = first.joined().await;
    set.remove(2);
    first.handle.recheck();
    assert_eq!(first.gone().await, number);
    assert_eq!(first.handle.peers(), []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_forged_signature_is_a_ban() {
    let set = ChainSet::of([1, 2]);
    let first = Node::validator(1, &set, Over::Tcp, &[]).await;
    let mut config = config(3, Over::Tcp);
    config.static_peers = vec![first.address()];
    let forger = Arc::new(Identity {
        account: account(2),
        vote_key: vote_key(3),
    });
    let _forger = Node::start(config, &set, forger).await;
    until("the forger is banned", || {
        first.handle.statistics().bans > 0
    })
    .await;
    assert_eq!(first.handle.peers(), []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_configured_full_node_needs_no_account_and_any_other_is_refused() {
    let set = ChainSet::of([1]);
    let mut of_first = config(1, Over::Tcp);
    of_first.full_nodes = vec![node_id(7)];
    let mut first = Node::start(of_first, &set, validator(1)).await;
    let dialling = |seed: u8, first: &Node| {
        let mut config = config(seed, Over::Tcp);
        config.static_peers = vec![first.address()];
        config
    };
    let _full = Node::start(dialling(7, &first), &set, Arc::new(FullNode)).await;
    let (_, id, account) = first.joined().await;
    assert_eq!((id, account), (node_id(7), None));
    let _other = Node::start(dialling(8, &first), &set, Arc::new(FullNode)).await;
    until("the other is refused", || {
        first.handle.statistics().hellos_refused > 0
    })
    .await;
    assert_eq!(first.handle.peers().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_account_is_here_at_most_twice() {
    let set = ChainSet::of([1, 2]);
    let first = Node::validator(1, &set, Over::Tcp, &[]).await;
    let mut twins = Vec::new();
    for seed in 10..10 + u8::try_from(PEERS_PER_ACCOUNT_MAX).unwrap() + 1 {
        let mut config = config(seed, Over::Tcp);
        config.static_peers = vec![first.address()];
        twins.push(Node::start(config, &set, validator(2)).await);
        until("it is let in or refused", || {
            let decided = first.handle.peers().len() == twins.len();
            decided || first.handle.statistics().hellos_refused > 0
        })
        .await;
    }
    assert_eq!(first.handle.peers().len(), PEERS_PER_ACCOUNT_MAX);
    assert!(first.handle.statistics().hellos_refused > 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_comes_back_is_dialled_again_and_keeps_its_number() {
    let set = ChainSet::of([1, 2]);
    let second = Node::validator(2, &set, Over::Tcp, &[]).await;
    let address = second.address();
    let mut first = Node::validator(1, &set, Over::Tcp, &[&second]).await;
    let (number, ..) = first.joined().await;
    second.handle.shutdown().await;
    assert_eq!(first.gone().await, number);
    let mut again = config(2, Over::Tcp);
    again.listen = vec![address.address];
    let mut second = Node::start(again, &set, validator(2)).await;
    assert_eq!(first.joined().await.0, number);
    let gossip = first
        .publish_heard(Topic::Votes, b"vote", &mut second)
        .await;
    assert_eq!(gossip.payload, b"vote");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_is_resolved_when_it_is_dialled() {
    let set = ChainSet::of([1, 2]);
    let first = Node::validator(1, &set, Over::Tcp, &[]).await;
    let port = first.listening().iter().nth(1).unwrap().to_string();
    let named = format!("/dns4/localhost{port}/p2p/{}", first.handle.local_peer_id());
    let mut config = config(2, Over::Tcp);
    config.static_peers = vec![named.parse().unwrap()];
    let mut second = Node::start(config, &set, validator(2)).await;
    assert_eq!(second.joined().await.2, Some(account(1)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_port_that_is_taken_is_an_error_with_the_mend() {
    let set = ChainSet::of([1, 2]);
    let first = Node::validator(1, &set, Over::Tcp, &[]).await;
    let mut taken = config(2, Over::Tcp);
    taken.listen = vec![first.listening()];
    let error = Network::start(taken, set.clone(), validator(2))
        .await
        .unwrap_err();
    assert!(matches!(error, StartError::Listen { .. }));
    let text = error.to_string();
    assert!(text.contains("another program uses this port"), "{text}");
    let mut strange = config(2, Over::Tcp);
    strange.listen = vec!["/ip4/127.0.0.1/sctp/1".parse().unwrap()];
    let error = Network::start(strange, set, validator(2))
        .await
        .unwrap_err();
    assert!(error.to_string().contains("/tcp/30333"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ending_the_network_tells_everybody() {
    let (mut first, mut second) = start_two(Over::Tcp).await;
    let (number, ..) = second.joined().await;
    first.handle.shutdown().await;
    assert_eq!(second.gone().await, number);
    assert_eq!(
        first.handle.publish(Topic::Votes, 0, b"vote"),
        Err(crate::PublishError::Ended)
    );
    while first.events.recv().await.is_some() {}
    // Dropping all handles ends it too.
    let Node {
        handle, mut events, ..
    } = second;
    drop(handle);
    let end = async { while events.recv().await.is_some() {} };
    tokio::time::timeout(DEADLINE, end).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_says_no_hello_has_to_go() {
    let set = ChainSet::of([1]);
    let mut config = config(1, Over::Tcp);
    config.timeouts = Timeouts {
        hello: Duration::from_millis(300),
        ..Timeouts::default()
    };
    let first = Node::start(config, &set, validator(1)).await;
    let mut mute = hostile::Rogue::dial(&first, hostile::Manners::Mute).await;
    mute.closed().await;
    assert_eq!(first.handle.peers(), []);
    // And it stays out for a while.
    let mut again = hostile::Rogue::dial(&first, hostile::Manners::Mute).await;
    again.closed().await;
}
