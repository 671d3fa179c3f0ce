//! Following over a real network in one process. Tests wait for the following to end, with a deadline.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use super::{ledger::store, *};
use crate::{Breach, Flaw, FollowError, Follower, Ledger, News};
use commonwatt_network::{
    Admission, Admit, BlockContent, Claim, Event, Hello, Introduction, Network, NetworkConfig,
    NetworkHandle, PeerId, Request, StaticPeer,
};
use tempfile::TempDir;
use tokio::sync::Notify;
use zeroize::Zeroizing;

/// Nothing here takes nearly as long; beyond it something is broken.
const DEADLINE: Duration = Duration::from_secs(60);

struct Everybody;

impl Admission for Everybody {
    fn admit(&self, _: &PeerId, _: &Hello, _: &[u8]) -> Admit {
        Admit::Full
    }
}

impl Introduction for Everybody {
    fn claim(&self, _: &[u8]) -> Claim {
        Claim::Full
    }
}

fn config(village: &Village, seed: u8) -> NetworkConfig {
    NetworkConfig::new(Zeroizing::new([seed; 32]), village.genesis.hash())
}

/// A node that gives the blocks it has.
struct Server {
    handle: NetworkHandle,
    /// Whether somebody asked it for blocks.
    was_asked: Arc<AtomicBool>,
}

impl Server {
    async fn start(village: &Village, seed: u8, blocks: Vec<LightBlock>) -> Self {
        let mut config = config(village, seed);
        config.listen = vec!["/ip4/127.0.0.1/tcp/0".parse().unwrap()];
        let everybody = Arc::new(Everybody);
        let (handle, mut events) = Network::start(config, everybody.clone(), everybody)
            .await
            .unwrap();
        handle.announce_status(u32::try_from(blocks.len()).unwrap());
        let was_asked = Arc::new(AtomicBool::new(false));
        let asked = was_asked.clone();
        tokio::spawn(async move {
            while let Some(event) = events.recv().await {
                let Event::Request(incoming) = event else {
                    continue;
                };
                let Request::Blocks(request, responder) = incoming.request else {
                    panic!("a light node asks for blocks alone");
                };
                assert_eq!(request.content, BlockContent::HeaderAndCertificate);
                asked.store(true, Ordering::SeqCst);
                let first = usize::try_from(request.from - 1).unwrap();
                let given = blocks.iter().skip(first).map(Encode::encode);
                responder.send(given.collect());
            }
        });
        Self { handle, was_asked }
    }

    fn address(&self) -> StaticPeer {
        StaticPeer {
            id: self.handle.local_peer_id(),
            address: self.handle.listen_addresses()[0].clone(),
        }
    }

    fn was_asked(&self) -> bool {
        self.was_asked.load(Ordering::SeqCst)
    }
}

/// The step that is open, for those who follow.
const CLOCK: u32 = 1_000;

/// What a follower told.
#[derive(Default)]
struct Told {
    verified: Vec<u32>,
    /// The last block that was said to be known of.
    best: u32,
    flaws: Vec<(Option<PeerId>, Flaw)>,
}

/// Follows these servers up to a block, or until one of them lies.
async fn follow(
    village: &Village,
    folder: &TempDir,
    servers: &[&Server],
    until: Option<u32>,
) -> (Result<Ledger, FollowError>, Told) {
    let mut config = config(village, 99);
    config.gossip = false;
    config.static_peers = servers.iter().map(|server| server.address()).collect();
    let everybody = Arc::new(Everybody);
    let (handle, events) = Network::start(config, everybody.clone(), everybody)
        .await
        .unwrap();
    let ledger = Ledger::open(store(folder), village.genesis.clone()).unwrap();
    let mut told = Told::default();
    let lied = Notify::new();
    let follower = Follower::new(handle.clone(), events, until).with_clock(|| CLOCK);
    let run = follower.run(ledger, lied.notified(), |news| match news {
        News::Verified { blocks, best } => {
            told.best = told.best.max(best);
            told.verified
                .extend(blocks.iter().map(|block| block.number));
        }
        News::Flawed { peer, flaw, .. } => {
            told.flaws.push((peer, flaw.clone()));
            lied.notify_one();
        }
        News::PeerCame(_) | News::PeerGone | News::Unproven(_) | News::Tick { .. } => {}
    });
    let result = tokio::time::timeout(DEADLINE, run)
        .await
        .expect("it ends in time");
    handle.shutdown().await;
    (result, told)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_chain_is_verified_from_its_genesis_on_and_goes_on_after_a_restart() {
    let mut village = Village::four();
    let mut blocks = village.make_to(EPOCH_LENGTH - 2);
    blocks.push(village.make(Some(people(2..=6))));
    blocks.extend(village.make_to(300));
    let server = Server::start(&village, 1, blocks[..280].to_vec()).await;
    let folder = tempfile::tempdir().unwrap();
    let (result, told) = follow(&village, &folder, &[&server], Some(270)).await;
    assert_eq!(result.unwrap().tip().number, 270);
    assert_eq!(told.verified, (1..=270).collect::<Vec<_>>());
    assert!(told.flaws.is_empty());
    server.handle.shutdown().await;

    let server = Server::start(&village, 1, blocks).await;
    let (result, told) = follow(&village, &folder, &[&server], Some(300)).await;
    let ledger = result.unwrap();
    assert_eq!(ledger.tip(), &village.tip);
    assert_eq!(told.verified, (271..=300).collect::<Vec<_>>());
    assert_eq!(
        ledger.validators_of(300).unwrap(),
        validators(&people(2..=6))
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_has_more_blocks_than_there_can_be() {
    let mut village = Village::four();
    let blocks = village.make_to(20);
    let server = Server::start(&village, 1, blocks).await;
    server.handle.announce_status(u32::MAX);
    let folder = tempfile::tempdir().unwrap();
    let (result, told) = follow(&village, &folder, &[&server], Some(20)).await;
    assert_eq!(result.unwrap().tip().number, 20);
    assert_eq!(told.best, CLOCK);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_liar_is_found_out_and_another_is_asked() {
    let mut village = Village::four();
    let blocks = village.make_to(20);
    let mut forged = blocks.clone();
    // Another state root, the seal and the certificate left as they are.
    forged[9].header[40] ^= 1;
    let liar = Server::start(&village, 1, forged).await;
    let folder = tempfile::tempdir().unwrap();
    let (result, told) = follow(&village, &folder, &[&liar], None).await;
    let ledger = result.unwrap();
    // What came before the lie is right, and kept; the rest is not looked at.
    assert_eq!(ledger.tip().number, 9);
    assert_eq!(told.verified, (1..=9).collect::<Vec<_>>());
    let [(peer, Flaw::NotFinal(_))] = told.flaws.as_slice() else {
        panic!("{:?}", told.flaws);
    };
    assert_eq!(*peer, Some(liar.handle.local_peer_id()));
    drop(ledger);
    let honest = Server::start(&village, 2, blocks).await;
    let (result, told) = follow(&village, &folder, &[&honest], Some(20)).await;
    assert_eq!(result.unwrap().tip(), &village.tip);
    assert_eq!(told.verified, (10..=20).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_cannot_show_the_next_validators_is_not_needed() {
    let mut village = Village::four();
    let blocks = village.make_to(EPOCH_LENGTH + 5);
    let mut pruned = blocks.clone();
    for block in &mut pruned {
        block.next_set = None;
    }
    let folder = tempfile::tempdir().unwrap();
    let pruned = Server::start(&village, 1, pruned).await;
    let last = EPOCH_LENGTH - 2;
    let (result, _) = follow(&village, &folder, &[&pruned], Some(last)).await;
    assert_eq!(result.unwrap().tip().number, last);
    let keeping = Server::start(&village, 2, blocks).await;
    let (result, told) = follow(&village, &folder, &[&pruned, &keeping], Some(100)).await;
    assert_eq!(result.unwrap().tip().number, 100);
    assert!(told.flaws.is_empty(), "to have less is no lie");
    assert!(keeping.was_asked());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_split_chain_ends_the_following_whichever_side_came_first() {
    let mut village = Village::four();
    let mut blocks = village.make_to(10);
    let split = village.clone();
    let mut others = blocks.clone();
    blocks.push(village.make(None));
    let mut making = split.making();
    making.punctuality = Punctuality::Late;
    others.push(split.certified(&split.header(&making)));

    let folder = tempfile::tempdir().unwrap();
    let first = Server::start(&village, 1, blocks).await;
    let second = Server::start(&village, 2, others).await;
    let (result, told) = follow(&village, &folder, &[&first, &second], None).await;
    let Err(FollowError::Contradiction(contradiction)) = result else {
        panic!("two certified blocks of one height were taken");
    };
    let Breach::TwoBlocks { number, .. } = contradiction.breach else {
        panic!("{:?}", contradiction.breach);
    };
    assert_eq!(number, 11);
    assert_eq!(contradiction.signed_both().len(), 3);
    assert!(contradiction.before.is_some());
    assert!(told.flaws.is_empty(), "neither peer lied");
}
