//! Authors and validators that do not keep to the rules.

use std::{cell::RefCell, rc::Rc};

use codec::{Decode, Encode};
use commonwatt_consensus::{
    Message, Proposal, ProposedBlock, SignedProposal, SignedVote, Vote, VoteKind,
};
use commonwatt_executor::extrinsic_hash;
use commonwatt_primitives::{AccountId, Step, digest::ENGINE_ID};
use commonwatt_runtime::{
    Hash, Header, RuntimeCall,
    example::{account, pair},
};
use commonwatt_txpool::TransactionSource;
use pallet_energy_token::{Call as EnergyCall, Measurement, Report};
use pallet_miner_auction::{Bid, Offence};
use pallet_utility::Call as UtilityCall;
use sp_core::Pair;
use sp_runtime::{DigestItem, traits::Header as _};

use super::net::*;
use crate::{EngineMessage, ItemKind, Judgement, Notice, Recipient, Untimeliness, to_block};

/// Has `author` propose another block than it made: its header changed, sealed and signed with its own keys.
fn forge(net: &mut Net, author: usize, height: u32, change: impl Fn(&mut Header) + 'static) {
    let genesis = net.nodes[0].chain.genesis_hash();
    let key = pair(NAMES[author]);
    net.tamper = Some(Box::new(move |from, to, message| {
        let EngineMessage::Agreement {
            attempt,
            message: Message::Proposal(ProposedBlock { signed, block }),
        } = message.clone()
        else {
            return vec![(to, message)];
        };
        if from != author || signed.proposal.height != height {
            return vec![(to, message)];
        }
        let mut header = Header::decode(&mut &block.header[..]).unwrap();
        header.digest_mut().pop();
        change(&mut header);
        let seal = key.sign(header.hash().as_bytes()).encode();
        header.digest_mut().push(DigestItem::Seal(ENGINE_ID, seal));
        let body = Vec::<Vec<u8>>::decode(&mut &block.body[..]).unwrap();
        let block = to_block(&header, &body);
        let proposal = Proposal {
            block: block.hash(),
            ..signed.proposal
        };
        let signed = SignedProposal {
            signature: key.sign(&proposal.payload(&genesis)),
            proposal,
        };
        let message = Message::Proposal(ProposedBlock { signed, block });
        vec![(to, EngineMessage::Agreement { attempt, message })]
    }));
}

/// Returns the bids for a height, as a node knows them.
fn bids_for(node: &Node, height: u32) -> Vec<Bid<AccountId>> {
    let state = node.chain.state(None).unwrap();
    let executor = node.chain.executor();
    executor
        .call(&state, "AuctionApi_bids_for", Step(height))
        .unwrap()
}

/// Returns the hashes of what a node misses in the first block it was proposed for a height.
fn missed_by(node: &Node, number: u32) -> Vec<Hash> {
    let found = node.notices.iter().find_map(|notice| match notice {
        Notice::Withheld {
            height,
            why: Untimeliness::LeavesOut(missing),
            ..
        } if *height == number => Some(missing.clone()),
        _ => None,
    });
    found.unwrap_or_default()
}

fn batch(calls: Vec<RuntimeCall>) -> RuntimeCall {
    UtilityCall::batch { calls }.into()
}

fn remark() -> RuntimeCall {
    frame_system::Call::remark { remark: vec![1] }.into()
}

fn pulse(step: u32, sequence: u64) -> RuntimeCall {
    EnergyCall::report {
        sequence,
        report: Report {
            step: Step(step),
            reading: Measurement::Pulses(1),
        },
    }
    .into()
}

#[test]
fn a_block_with_a_wrong_state_root_is_refused_and_the_next_rank_makes_it() {
    let mut net = Net::running();
    net.run_to_block(2, 4);
    let author = net.node_of_rank(0);
    forge(&mut net, author, 3, |header| {
        header.state_root = Hash::repeat_byte(1)
    });
    net.run_to_block(4, 5);
    net.assert_same_chain();
    for (place, node) in net.nodes.iter().enumerate() {
        let is_told = node.was_told(|notice| matches!(notice, Notice::Invalid { height: 3, why, .. } if why.contains("root")));
        assert_eq!(is_told, place != author);
        assert_eq!(node.decision(3).1, 1);
    }
}

#[test]
fn a_bid_that_is_left_out_keeps_the_block_waiting_and_is_passed_on() {
    let mut net = Net::running();
    net.run_to_block(2, 4);
    let author = net.node_of_rank(0);
    let others: Vec<_> = (0..4).filter(|node| *node != author).collect();
    let closes = net.timing().closes_at_ms(Step(3));
    net.run_to_time(closes - 5_000);
    let bidder = NAMES[others[0]];
    let signed = net.sign(bidder, bid(7, 5));
    net.submit_to(&others, &signed);
    net.run_to_block(3, 4);
    net.assert_same_chain();
    for node in &others {
        let node = &net.nodes[*node];
        let is_withheld = node.was_told(|notice| {
            matches!(notice, Notice::Withheld { height: 3, why: Untimeliness::LeavesOut(missing), .. } if missing.len() == 1)
        });
        assert!(is_withheld, "{:?}", node.notices);
        assert!(node.passed_on.iter().any(|bytes| **bytes == signed[..]));
        // Not in the first round: all others withheld their approval.
        assert!(node.decision(3).2 > 0);
        assert_eq!(bids_for(node, 7).len(), 1);
    }
}

#[test]
fn a_thousand_readings_excuse_a_missing_reading_and_no_missing_bid() {
    let mut net = Net::running();
    net.run_to_block(2, 4);
    let author = net.node_of_rank(0);
    let others: Vec<_> = (0..4).filter(|node| *node != author).collect();
    net.run_to_time(net.timing().closes_at_ms(Step(3)) - 5_000);
    let pulses: Vec<_> = (1..=1_000)
        .map(|sequence| net.sign("A", pulse(3, sequence)))
        .collect();
    for node in &net.nodes {
        let taken = node
            .chain
            .submit_many(TransactionSource::External, pulses.clone());
        assert!(taken.iter().all(Result::is_ok));
    }
    let reading = net.sign("B", pulse(3, 1));
    net.submit_to(&others, &reading);
    let bid = net.sign(NAMES[others[0]], bid(7, 5));
    net.submit_to(&others, &bid);
    net.run_to_block(3, 4);
    net.assert_same_chain();
    for node in &others {
        let node = &net.nodes[*node];
        assert_eq!(missed_by(node, 3), [extrinsic_hash(&bid)]);
        assert!(node.decision(3).2 > 0);
        assert_eq!(bids_for(node, 7).len(), 1);
    }
}

#[test]
fn a_wrapped_bid_that_is_left_out_keeps_the_block_waiting_too() {
    let mut net = Net::running();
    net.run_to_block(2, 4);
    let author = net.node_of_rank(0);
    let others: Vec<_> = (0..4).filter(|node| *node != author).collect();
    net.run_to_time(net.timing().closes_at_ms(Step(3)) - 5_000);
    let signed = net.sign(NAMES[others[0]], batch(vec![remark(), bid(7, 5)]));
    net.submit_to(&others, &signed);
    net.run_to_block(3, 4);
    for node in &others {
        let node = &net.nodes[*node];
        assert_eq!(missed_by(node, 3), [extrinsic_hash(&signed)]);
        assert_eq!(bids_for(node, 7).len(), 1);
    }
}

#[test]
fn a_bid_before_the_gate_opens_waits_for_its_block_and_is_in_it() {
    let mut net = Net::running();
    net.run_to_block(1, 3);
    let opens = net.timing().closes_at_ms(Step(2)) + net.timing().gate_open_ms;
    net.run_to_time(opens - 400);
    let signed = net.sign("V0", bid(7, 5));
    net.submit_to(&[0, 1, 2, 3], &signed);
    for node in &net.nodes {
        // The step of its block has begun; the block before it is not there.
        assert_eq!(node.best(), 1);
        assert_eq!(node.chain.pool_status().waiting.total(), 1);
    }
    net.run_to_block(3, 4);
    for node in &net.nodes {
        assert_eq!((node.decision(2).2, node.decision(3).2), (0, 0));
        assert!(!node.was_told(|notice| matches!(notice, Notice::Withheld { .. })));
        assert_eq!(bids_for(node, 7).len(), 1);
    }
}

#[test]
fn a_bid_that_came_after_the_gate_is_left_to_nobody() {
    let mut net = Net::running();
    net.run_to_block(2, 4);
    let closes = net.timing().closes_at_ms(Step(3));
    let gate = ItemKind::Bid.closes_at_ms(&net.timing(), Step(3));
    net.run_to_time(gate + 700);
    assert!(net.now < closes);
    for (bidder, call) in [
        ("V0", bid(7, 5)),
        ("V1", batch(vec![bid(7, 5)])),
        ("V2", batch(vec![remark(), batch(vec![bid(7, 5)])])),
    ] {
        let signed = net.sign(bidder, call);
        net.submit_to(&[0, 1, 2, 3], &signed);
    }
    net.run_to_block(3, 4);
    for node in &net.nodes {
        assert_eq!(node.decision(3).2, 0);
        assert!(bids_for(node, 7).is_empty());
    }
}

#[test]
fn a_block_before_its_time_is_untimely() {
    let mut net = Net::running();
    net.run_to_block(2, 4);
    let author = net.node_of_rank(0);
    // Beyond the tolerance of half a second.
    net.nodes[author].clock_ahead_ms = 900;
    net.run_to_block(3, 4);
    net.assert_same_chain();
    let others = net.nodes.iter().enumerate();
    let early = others
        .filter(|(_, node)| {
            node.was_told(|notice| {
                matches!(
                    notice,
                    Notice::Withheld {
                        height: 3,
                        why: Untimeliness::TooEarly(_),
                        ..
                    }
                )
            })
        })
        .count();
    assert!(early >= 2, "{early}");
}

#[test]
fn who_votes_twice_is_reported_and_punished() {
    let mut net = Net::running();
    net.run_to_block(2, 4);
    let culprit = 1;
    let genesis = net.nodes[0].chain.genesis_hash();
    let told = Rc::new(RefCell::new(0));
    let count = told.clone();
    net.tamper = Some(Box::new(move |from, to, message| {
        let mut sent = vec![(to, message.clone())];
        if let EngineMessage::Agreement {
            attempt,
            message: Message::Vote(SignedVote { vote, .. }),
        } = message
            && from == culprit
            && vote.height == 3
            && vote.kind == VoteKind::Prevote
            && vote.block.is_some()
        {
            *count.borrow_mut() += 1;
            let vote = Vote {
                block: None,
                ..vote
            };
            let signature = pair(NAMES[culprit]).sign(&vote.payload(&genesis));
            let message = Message::Vote(SignedVote { vote, signature });
            sent.push((
                Recipient::All,
                EngineMessage::Agreement { attempt, message },
            ));
        }
        sent
    }));
    net.run_to_block(5, 5);
    assert!(*told.borrow() > 0);
    net.assert_same_chain();
    let offender = account(NAMES[culprit]);
    for node in &net.nodes {
        let state = node.chain.state(None).unwrap();
        let view: commonwatt_runtime::apis::BidderView = node
            .chain
            .executor()
            .call(&state, "AuctionApi_bidder", offender.clone())
            .unwrap();
        assert!(
            matches!(
                view.offence,
                Some(Offence {
                    height: Step(3),
                    ..
                })
            ),
            "{:?}",
            view.offence
        );
    }
    assert!(net.nodes.iter().any(|node| {
        node.was_told(|notice| matches!(notice, Notice::EvidenceSubmitted { height: 3, .. }))
    }));
}

#[test]
fn a_vote_that_its_validator_did_not_sign_goes_no_further() {
    let mut net = Net::running();
    net.run_to_block(1, 3);
    let vote = Vote {
        height: 2,
        round: 0,
        kind: VoteKind::Prevote,
        block: None,
        validator: account("V1"),
    };
    let message = EngineMessage::Agreement {
        attempt: 0,
        message: Message::Vote(SignedVote {
            signature: pair("V2").sign(b"something else"),
            vote,
        }),
    };
    let engine = net.nodes[0].engine.as_mut().unwrap();
    let event = crate::Event::Message {
        peer: peer(2),
        message,
        delivery: Some(crate::Delivery(9)),
    };
    let actions = engine.handle(event, crate::Now::same(net.now)).unwrap();
    let blamed = |action: &crate::Action| matches!(action, crate::Action::Blame { peer: by, .. } if *by == peer(2));
    assert!(actions.iter().any(blamed));
    assert!(actions.iter().any(|action| matches!(
        action,
        crate::Action::Judge {
            judgement: Judgement::Reject,
            ..
        }
    )));
}

#[test]
fn votes_that_a_validator_makes_without_end_are_not_passed_on() {
    let mut net = Net::running();
    net.run_to_block(2, 4);
    // The next height has not begun, so nobody else says anything.
    let closes = net.timing().closes_at_ms(Step(3));
    net.run_to_time(closes - 1_000);
    let genesis = net.nodes[0].chain.genesis_hash();
    let chatter = 2;
    let say_all = |net: &mut Net, attempt| {
        net.nodes
            .iter_mut()
            .for_each(|node| node.judgements.clear());
        for round in 0..500 {
            let vote = Vote {
                height: 3,
                round,
                kind: VoteKind::Prevote,
                block: None,
                validator: account(NAMES[chatter]),
            };
            let signature = pair(NAMES[chatter]).sign(&vote.payload(&genesis));
            let message = Message::Vote(SignedVote { vote, signature });
            let message = EngineMessage::Agreement { attempt, message };
            net.send(chatter, Recipient::All, &message);
        }
        net.run_to_time(net.now + 50);
        let node = &net.nodes[0];
        assert_eq!(node.judgements.len(), 500);
        let passed_on = node.judgements.iter();
        passed_on
            .filter(|judgement| **judgement == Judgement::Accept)
            .count()
    };
    assert_eq!(say_all(&mut net, 0), 11);
    assert_eq!(say_all(&mut net, 1), 0);
}
