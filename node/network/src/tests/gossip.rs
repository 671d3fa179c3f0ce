//! Gossip between honest nodes.

use std::collections::BTreeSet;

use super::*;
use crate::{
    Protocol, Refusal,
    compact::CompactBlock,
    limits::{BATCH_BYTES_FULL, GOSSIP_BURST_SECONDS, GOSSIP_RATE},
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_that_is_gossiped_arrives() {
    for over in [Over::Tcp, Over::Quic] {
        let (first, mut second) = start_two(over).await;
        for (topic, payload) in [
            (Topic::Votes, b"vote".to_vec()),
            (Topic::Proposals, vec![7; 1_000_000]),
            (Topic::Urgent, b"bid".to_vec()),
        ] {
            let gossip = first.publish_heard(topic, &payload, &mut second).await;
            assert_eq!(gossip.id.topic, topic);
            assert_eq!(gossip.payload, payload);
            accept(&second, &gossip);
        }
        first.publish_transactions_heard(&mut second).await;
        let sent: Vec<Vec<u8>> = (0..700u16).map(|n| n.to_le_bytes().to_vec()).collect();
        first.handle.publish_transactions(0, sent.clone()).unwrap();
        let mut received = Vec::new();
        while received.len() < sent.len() {
            let batch = second.batch().await;
            second.handle.report(&batch.id, Verdict::Accept);
            let is_early = |transaction: &Vec<u8>| transaction.starts_with(b"begin");
            let new = batch.transactions.into_iter();
            received.extend(new.filter(|transaction| !is_early(transaction)));
        }
        assert_eq!(received, sent);
        until("verdicts are counted", || {
            second.handle.statistics().accepted >= 5
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bytes_are_counted_by_topic() {
    let (first, mut second) = start_two(Over::Tcp).await;
    let payload = vec![7; 300_000];
    first
        .publish_heard(Topic::Proposals, &payload, &mut second)
        .await;
    let of = |node: &Node| node.handle.traffic().of(Protocol::Gossip(Topic::Proposals));
    let sent = of(&first).sent;
    assert!(sent > 300_000 && sent < 320_000 * 300, "{sent}");
    assert!(of(&second).received > 300_000);
    assert!(first.handle.traffic().of(Protocol::Hello).sent > 100);
    let transactions = Protocol::Gossip(Topic::Transactions);
    assert!(first.handle.traffic().of(transactions).sent < 10_000);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_comes_once_and_its_repetition_once_more() {
    let (first, mut second) = start_two(Over::Tcp).await;
    first
        .publish_heard(Topic::Votes, b"begin", &mut second)
        .await;
    for attempt in [1000, 1000, 1001] {
        first
            .handle
            .publish(Topic::Votes, attempt, b"vote")
            .unwrap();
    }
    first.handle.publish(Topic::Votes, 0, b"end").unwrap();
    let mut attempts = Vec::new();
    loop {
        let gossip = second.gossip().await;
        match &gossip.payload[..] {
            b"vote" => attempts.push(gossip.attempt),
            b"end" => break,
            _ => {}
        }
    }
    assert_eq!(attempts, [1000, 1001]);
}

/// Starts three in a line: the ends know the middle only.
async fn start_line(verdict: Duration) -> [Node; 3] {
    let set = ChainSet::of([1, 2, 3]);
    let mut of_middle = config(2, Over::Tcp);
    of_middle.timeouts.verdict = verdict;
    let mut middle = Node::start(of_middle, &set, validator(2)).await;
    let left = Node::validator(1, &set, Over::Tcp, &[&middle]).await;
    let mut right = Node::validator(3, &set, Over::Tcp, &[&middle]).await;
    until("the line stands", || middle.handle.peers().len() == 2).await;
    // Both ends gossip with the middle.
    let gossip = left
        .publish_heard(Topic::Votes, b"begin", &mut middle)
        .await;
    middle.handle.report(&gossip.id, Verdict::Ignore);
    middle
        .publish_heard(Topic::Votes, b"begin too", &mut right)
        .await;
    [left, middle, right]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_what_was_accepted_is_passed_on() {
    let [left, mut middle, mut right] = start_line(Duration::from_secs(8)).await;
    for (payload, verdict) in [
        (b"ignored".to_vec(), Verdict::Ignore),
        (b"rejected".to_vec(), Verdict::Reject),
        (b"accepted".to_vec(), Verdict::Accept),
    ] {
        left.handle.publish(Topic::Votes, 7, &payload).unwrap();
        let gossip = middle.gossip_of(&payload).await;
        middle.handle.report(&gossip.id, verdict);
    }
    loop {
        let gossip = right.gossip().await;
        match &gossip.payload[..] {
            b"accepted" => break,
            b"ignored" | b"rejected" => panic!("it was passed on: {gossip:?}"),
            _ => {}
        }
    }
    until("what was rejected counts against who sent it", || {
        middle.handle.peers().iter().any(|peer| peer.score > 0)
    })
    .await;
}

/// Publishes as many bids as may come at once, and has them accepted all the way.
async fn publish_burst(from: &Node, name: &str, all_the_way: &mut [&mut Node]) {
    let bids = GOSSIP_RATE[Topic::Urgent.index()] * GOSSIP_BURST_SECONDS - 24;
    for number in 0..bids {
        let bid = format!("{name} {number}").into_bytes();
        from.handle.publish(Topic::Urgent, 0, &bid).unwrap();
        for node in &mut *all_the_way {
            let gossip = node.gossip_of(&bid).await;
            accept(node, &gossip);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_others_made_is_no_flood_of_who_passes_it_on() {
    let [left, mut middle, mut right] = start_line(Duration::from_secs(8)).await;
    // Until the right hears what the left says.
    for attempt in 0.. {
        left.handle.publish(Topic::Urgent, attempt, b"bid").unwrap();
        let gossip = middle.gossip_of(b"bid").await;
        accept(&middle, &gossip);
        let heard = tokio::time::timeout(PATIENCE, right.gossip_of(b"bid")).await;
        if let Ok(gossip) = heard {
            accept(&right, &gossip);
            break;
        }
        assert!(attempt < 20, "nothing is passed on");
    }
    publish_burst(&left, "left", &mut [&mut middle, &mut right]).await;
    publish_burst(&middle, "middle", &mut [&mut right]).await;
    let refusals = right.handle.statistics().refusals;
    assert_eq!(refusals[&Refusal::Flood], 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_proposals_of_many_missed_steps_are_no_flood() {
    let (first, mut second) = start_two(Over::Tcp).await;
    first
        .publish_heard(Topic::Proposals, b"begin", &mut second)
        .await;
    for step in 0..100u32 {
        let proposal = step.to_le_bytes();
        first
            .handle
            .publish(Topic::Proposals, 1000, &proposal)
            .unwrap();
        second.gossip_of(&proposal).await;
    }
    let refusals = second.handle.statistics().refusals;
    assert_eq!(refusals[&Refusal::Flood], 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn silence_is_not_acceptance() {
    let [left, mut middle, mut right] = start_line(Duration::from_millis(300)).await;
    left.handle.publish(Topic::Votes, 7, b"unjudged").unwrap();
    let late = middle.gossip_of(b"unjudged").await;
    until("its time is over", || {
        middle.handle.statistics().unjudged > 0
    })
    .await;
    // Too late.
    accept(&middle, &late);
    let gossip = left
        .publish_heard(Topic::Votes, b"judged", &mut middle)
        .await;
    accept(&middle, &gossip);
    loop {
        let gossip = right.gossip().await;
        assert_ne!(gossip.payload, b"unjudged", "nobody accepted it");
        if gossip.payload == b"judged" {
            break;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_vote_overtakes_transactions_that_were_published_before() {
    let (first, mut second) = start_two(Over::Tcp).await;
    first
        .publish_heard(Topic::Votes, b"begin", &mut second)
        .await;
    first.publish_transactions_heard(&mut second).await;
    let bulk = 200u32;
    let transactions = (0..bulk).map(|n| {
        let mut transaction = vec![0; BATCH_BYTES_FULL - 4];
        transaction.extend(n.to_le_bytes());
        transaction
    });
    first.handle.publish_transactions(0, transactions).unwrap();
    first.handle.publish(Topic::Votes, 0, b"vote").unwrap();
    let mut before = 0;
    loop {
        match second.events.recv().await.expect("the network runs") {
            Event::Transactions(batch) => {
                second.handle.report(&batch.id, Verdict::Accept);
                before += 1;
            }
            Event::Gossip(gossip) if gossip.payload == b"vote" => break,
            _ => {}
        }
    }
    assert!(before < bulk / 2, "{before} of {bulk} batches came before");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_nodes_hear_all_of_all() {
    let mut nodes = start_all(10, Over::Tcp).await;
    // Until everybody has heard everybody's vote, each says it again, as consensus does.
    let mut heard: Vec<BTreeSet<Vec<u8>>> = vec![BTreeSet::new(); nodes.len()];
    let begun = Instant::now();
    let mut attempt = 0;
    while heard.iter().any(|votes| votes.len() < nodes.len() - 1) {
        assert!(begun.elapsed() < DEADLINE, "{heard:?}");
        for (number, node) in nodes.iter().enumerate() {
            let vote = format!("vote of {number}");
            node.handle
                .publish(Topic::Votes, attempt, vote.as_bytes())
                .unwrap();
        }
        attempt += 1;
        for (node, votes) in nodes.iter_mut().zip(&mut heard) {
            let all = async {
                while votes.len() < 9 {
                    let gossip = node.gossip().await;
                    node.handle.report(&gossip.id, Verdict::Accept);
                    votes.insert(gossip.payload);
                }
            };
            let _ = tokio::time::timeout(Duration::from_secs(1), all).await;
        }
    }
    for (number, votes) in heard.iter().enumerate() {
        assert!(!votes.contains(format!("vote of {number}").as_bytes()));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_block_of_ten_thousand_transactions_travels_compact() {
    let (first, mut second) = start_two(Over::Tcp).await;
    first
        .publish_heard(Topic::Votes, b"begin", &mut second)
        .await;
    let mut extrinsics = vec![b"inherent".to_vec()];
    extrinsics.extend((0..10_000u32).map(|n| [vec![1; 200], n.to_le_bytes().to_vec()].concat()));
    let compact = CompactBlock::new(b"header".to_vec(), &extrinsics, 1).unwrap();
    let bytes = codec::Encode::encode(&compact);
    let before = first.handle.traffic().total().sent;
    let gossip = first
        .publish_heard(Topic::Proposals, &bytes, &mut second)
        .await;
    let received = CompactBlock::decode_bounded(&gossip.payload).unwrap();
    assert_eq!(received, compact);
    let sent = first.handle.traffic().total().sent - before;
    assert!(sent < 100_000 * u64::from(gossip.attempt + 1), "{sent}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_takes_no_part_in_gossip_is_sent_none_and_can_ask() {
    let set = ChainSet::of(1..=2);
    let mut nodes: Vec<Node> = Vec::new();
    for seed in 1..=2 {
        let mut config = config(seed, Over::Tcp);
        config.static_peers = nodes.iter().map(Node::address).collect();
        config.full_nodes = vec![node_id(3)];
        nodes.push(Node::start(config, &set, validator(seed)).await);
    }
    let mut quiet = config(3, Over::Tcp);
    quiet.gossip = false;
    quiet.listen.clear();
    quiet.static_peers = nodes.iter().map(Node::address).collect();
    let mut quiet = Node::start(quiet, &set, Arc::new(FullNode)).await;
    nodes[0].handle.announce_status(7);
    while quiet.status().await.1 != 7 {}
    let mut second = nodes.pop().unwrap();
    let first = nodes.pop().unwrap();
    until("all know all", || {
        [&first, &second, &quiet]
            .iter()
            .all(|node| node.handle.peers().len() == 2)
    })
    .await;

    let vote = vec![7; 50_000];
    first.publish_heard(Topic::Votes, &vote, &mut second).await;
    let asked = quiet
        .handle
        .peers()
        .iter()
        .find(|peer| peer.id == second.handle.local_peer_id())
        .map(|peer| peer.number);
    let handle = quiet.handle.clone();
    let request = crate::BlocksRequest {
        from: 1,
        count: 1,
        content: crate::BlockContent::HeaderAndCertificate,
    };
    let asking = tokio::spawn(async move { handle.request_blocks(asked.unwrap(), request).await });
    let crate::Request::Blocks(_, responder) = second.request().await.request else {
        panic!("blocks were asked for");
    };
    responder.send(vec![vec![1, 2, 3]]);
    assert_eq!(asking.await.unwrap().unwrap(), [vec![1, 2, 3]]);
    // Votes go to all who take part, at once.
    let received = quiet.handle.traffic();
    let received = received.of(Protocol::Gossip(Topic::Votes)).received;
    assert!(received < 10_000, "{received}");
}
