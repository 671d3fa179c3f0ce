//! Joining late, and starting again.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    rc::Rc,
};

use commonwatt_consensus::{Message, SignedVote, Vote, VoteKind};
use commonwatt_runtime::example::{account, pair};
use sp_core::Pair as _;

use super::net::*;
use crate::{EngineMessage, Notice, Recipient, StartError};

/// Steps that are over when a network is first started.
const MISSED: u32 = 12;

/// Four validators, none started, some steps after genesis.
fn late() -> Net {
    let mut net = Net::new();
    net.now += u64::from(MISSED) * STEP_MS;
    net
}

#[test]
fn what_one_peer_says_keeps_nobody_from_beginning_late() {
    // Far ahead, just ahead, and another lie each time.
    let lies: [fn(u32) -> u32; 3] = [|_| u32::MAX, |said| said % 3 + 1, |said| said * 5];
    for lie in lies {
        let mut net = late();
        let mut said = 0;
        net.tamper = Some(Box::new(move |node, to, message| {
            let message = match message {
                EngineMessage::Status { .. } if node == 3 => {
                    said += 1;
                    EngineMessage::Status { decided: lie(said) }
                }
                message => message,
            };
            vec![(to, message)]
        }));
        for node in 0..4 {
            net.start(node);
        }
        net.run_to_block(MISSED + 2, 4);
        net.assert_same_chain();
    }
}

#[test]
fn a_network_that_begins_late_does_not_wait_long_for_who_is_missing() {
    let mut net = late();
    for node in [0, 1] {
        net.start(node);
    }
    net.run_to_time(net.now + STEP_MS);
    assert!(net.up().all(|node| node.best() == 0));
    net.start(2);
    net.run_to_block(MISSED + 1, 4);
    assert!(net.nodes[2].was_told(|notice| matches!(
        notice,
        Notice::HeightStarted {
            height: 1,
            is_voting: true,
            ..
        }
    )));
    // The fourth has missed it all, and is not needed for what it may have voted on.
    net.start(3);
    net.run_to_block(MISSED + 6, 8);
    net.assert_same_chain();
}

#[test]
fn a_wiped_validator_votes_at_no_height_it_voted_at_before() {
    for height in [1, 2, 5, 9] {
        let mut net = late();
        let votes = Rc::new(RefCell::new(BTreeSet::new()));
        let seen = votes.clone();
        net.tamper = Some(Box::new(move |node, to, message| {
            if let EngineMessage::Agreement {
                message: Message::Vote(signed),
                ..
            } = &message
                && node == 1
            {
                seen.borrow_mut().insert(signed.vote.height);
            }
            vec![(to, message)]
        }));
        for node in 0..4 {
            net.start(node);
        }
        net.run_to_block(height, 4);
        net.wipe(1);
        let before = std::mem::take(&mut *votes.borrow_mut());
        assert!(before.contains(&height), "{before:?}");
        net.start(1);
        net.run_to_block(MISSED + 4, 8);
        net.assert_same_chain();
        let after = votes.borrow();
        assert!(after.contains(&(MISSED + 3)), "{after:?}");
        assert!(
            before.is_disjoint(&after),
            "{height}: {before:?}, {after:?}"
        );
    }
}

#[test]
fn a_validator_brought_back_from_a_copy_contradicts_nothing() {
    for (copied, ended) in [(3, 4), (3, 5), (2, 9), (4, 16)] {
        let mut net = Net::running();
        let signed = Rc::new(RefCell::new(Vec::new()));
        let seen = signed.clone();
        net.tamper = Some(Box::new(move |node, to, message| {
            if let EngineMessage::Agreement { message, .. } = &message
                && node == 1
            {
                let (is_proposal, vote) = match message {
                    Message::Vote(one) => (false, Some((one.vote.kind, one.vote.block))),
                    Message::Proposal(one) => {
                        let block = one.signed.proposal.block;
                        (true, Some((VoteKind::Prevote, Some(block))))
                    }
                    _ => (false, None),
                };
                let round = (message.height(), message.round(), is_proposal);
                let vote = vote.map(|(kind, block)| (round, kind, block));
                seen.borrow_mut().extend(vote);
            }
            vec![(to, message)]
        }));
        net.run_to_block(copied, 9);
        let log = net.nodes[1].copy_log();
        net.run_to_block(ended, 20);
        net.bring_back(1, &log, copied);
        // The others go on without it for a while.
        net.run_to_block(ended + 3, 20);
        let before = signed.borrow().len();
        net.start(1);
        net.run_to_block(ended + 10, 20);
        net.assert_same_chain();
        let mut ever = BTreeMap::new();
        for (round, kind, block) in signed.borrow().iter() {
            let known = *ever.entry((*round, *kind)).or_insert(*block);
            assert_eq!(known, *block, "{copied}, {ended}: {round:?}, {kind:?}");
        }
        // And it votes again.
        let signed = signed.borrow();
        let last = signed[before..].iter().map(|((height, ..), ..)| *height);
        assert!(last.max() >= Some(ended + 9), "{copied}, {ended}");
        let others = [0, 2, 3].map(|node| &net.nodes[node]);
        let is_proof = |notice: &Notice| matches!(notice, Notice::EvidenceSubmitted { .. });
        assert!(others.iter().all(|node| !node.was_told(is_proof)));
    }
}

#[test]
fn whose_keys_vote_elsewhere_votes_no_more() {
    let mut net = Net::running();
    net.run_to_block(3, 5);
    let genesis = net.nodes[0].chain.genesis_hash();
    let vote = Vote {
        height: 5,
        round: 0,
        kind: VoteKind::Prevote,
        block: None,
        validator: account(NAMES[1]),
    };
    let signature = pair(NAMES[1]).sign(&vote.payload(&genesis));
    let message = EngineMessage::Agreement {
        attempt: 0,
        message: Message::Vote(SignedVote { vote, signature }),
    };
    net.send(0, Recipient::Peer(peer(1)), &message);
    net.run_to_block(8, 9);
    net.assert_same_chain();
    let closed = Notice::Closed { height: 5 };
    assert!(net.nodes[1].was_told(|notice| *notice == closed));
    let votes_at = |net: &Net, at: u32| {
        net.nodes[1].was_told(
            |notice| matches!(notice, Notice::HeightStarted { height, is_voting: true, .. } if *height == at),
        )
    };
    assert!(votes_at(&net, 4) && !votes_at(&net, 6) && !votes_at(&net, 8));
    // Nor when it is started again, before its operator has looked.
    net.crash(1);
    let mut config = net.nodes[1].config(net.timing());
    config.votes_from = Some(11);
    let refused = net.start_with(1, config.clone()).unwrap_err();
    assert!(matches!(refused, StartError::LogClosed), "{refused}");
    net.nodes[1].remove_log();
    net.start_with(1, config).unwrap();
    net.run_to_block(12, 9);
    net.assert_same_chain();
    assert!(!votes_at(&net, 10) && votes_at(&net, 11));
}

/// It wrote down that it had signed nothing when it came, so the others' block does not keep it from where it is needed.
#[test]
fn who_came_in_time_and_fell_before_it_voted_votes_when_it_comes_back() {
    let mut net = Net::new();
    for node in 0..4 {
        net.start(node);
    }
    net.run_to_time(net.now + 10);
    net.crash(3);
    net.run_to_block(1, 4);
    net.crash(2);
    net.run_to_time(net.now + 5 * STEP_MS);
    net.start(3);
    net.run_to_block(4, 8);
    net.assert_same_chain();
}

#[test]
fn a_late_joiner_fetches_the_chain_and_votes_only_where_it_cannot_have_voted() {
    let mut net = Net::new();
    for node in 0..3 {
        net.start(node);
    }
    net.run_to_block(6, 12);
    let met = net.nodes[0].best();
    net.start(3);
    net.run_to_block(met + 6, 12);
    net.assert_same_chain();
    let votes: Vec<_> = net.nodes[3]
        .notices
        .iter()
        .filter_map(|notice| match notice {
            Notice::HeightStarted {
                height,
                is_voting: true,
                ..
            } => Some(*height),
            _ => None,
        })
        .collect();
    assert!(votes.contains(&(met + 4)), "{votes:?}");
    // The next step's block was not to be made before this node started.
    assert!(votes.iter().all(|height| *height > met), "{votes:?}");
}

#[test]
fn a_validator_that_crashes_at_any_moment_goes_on_from_its_log() {
    // Around the decision of a height everything happens within half a second.
    for after_ms in (0..600).step_by(25) {
        let mut net = Net::running();
        net.run_to_block(1, 3);
        let at = net.timing().settles_at_ms(commonwatt_primitives::Step(2)) + after_ms;
        net.run_to_time(at);
        let victim = net.node_of_rank(0);
        net.crash(victim);
        net.run_to_time(at + 100);
        net.start(victim);
        net.run_to_block(4, 5);
        net.assert_same_chain();
        for node in &net.nodes {
            assert!(node.fatal.is_none(), "{after_ms}: {:?}", node.fatal);
            assert!(!node.was_told(|notice| matches!(
                notice,
                Notice::EvidenceSubmitted { .. } | Notice::Silenced { .. }
            )));
        }
    }
}

#[test]
fn all_crash_at_once_and_go_on() {
    for after_ms in [0, 60, 120, 180, 240] {
        let mut net = Net::running();
        net.run_to_block(2, 4);
        let at = net.timing().settles_at_ms(commonwatt_primitives::Step(3)) + after_ms;
        net.run_to_time(at);
        for node in 0..4 {
            net.crash(node);
        }
        net.run_to_time(at + 3 * STEP_MS);
        for node in 0..4 {
            net.start(node);
        }
        net.run_to_block(6, 3);
        net.assert_same_chain();
        assert!(net.nodes.iter().all(|node| node.fatal.is_none()));
    }
}

#[test]
fn without_its_log_a_validator_needs_to_be_told_where_to_vote() {
    let mut net = Net::running();
    net.run_to_block(3, 5);
    net.crash(1);
    net.nodes[1].remove_log();
    let mut config = net.nodes[1].config(net.timing());
    let refused = net.start_with(1, config.clone()).unwrap_err();
    assert!(matches!(refused, StartError::LogMissing { best: 3 }));
    let said = refused.to_string();
    assert!(
        said.contains("--votes-from") && said.contains("block 3"),
        "{said}"
    );
    config.votes_from = Some(6);
    net.start_with(1, config).unwrap();
    net.run_to_block(8, 9);
    net.assert_same_chain();
    assert_voted_from(&net, 1, 4..=8, 6);
}

#[test]
fn it_is_told_once_where_to_vote() {
    let mut net = Net::running();
    net.run_to_block(3, 5);
    net.crash(1);
    net.nodes[1].remove_log();
    let mut config = net.nodes[1].config(net.timing());
    config.votes_from = Some(8);
    net.start_with(1, config).unwrap();
    net.run_to_block(5, 5);
    net.crash(1);
    // It did not vote before it ended, and is not told again.
    net.start(1);
    net.run_to_block(10, 9);
    net.assert_same_chain();
    assert_voted_from(&net, 1, 4..=10, 8);
}

/// Asserts that of these heights, none of which it began in its first life, a node voted at those from `first` on.
fn assert_voted_from(net: &Net, node: usize, heights: std::ops::RangeInclusive<u32>, first: u32) {
    for height in heights {
        let is_voting = net.nodes[node].was_told(
            |notice| matches!(notice, Notice::HeightStarted { height: at, is_voting: true, .. } if *at == height),
        );
        assert_eq!(is_voting, height >= first, "{height}");
    }
}

#[test]
fn a_clock_that_is_far_ahead_is_not_believed() {
    let mut net = Net::new();
    let mut config = net.nodes[0].config(net.timing());
    config.missed_steps_max = Some(100);
    net.now += 102 * STEP_MS;
    net.start_with(0, config).unwrap();
    net.run_to_time(net.now + 1);
    let said = net.nodes[0].fatal.as_ref().unwrap().to_string();
    assert!(said.contains("--catch-up-from-clock"), "{said}");
    assert_eq!(net.nodes[0].best(), 0);
}
