//! Heights that are decided, whoever fails.

use super::net::*;
use crate::{Effect, Input, Machine, Message, Pace, Purpose, Verdict, VoteKind};

const ALL: [usize; 4] = [0, 1, 2, 3];

#[test]
fn four_nodes_decide_in_round_0() {
    let mut net = Net::new(3).start(&ALL);
    net.run_to(&ALL, 3, 5_000);
    for height in 1..=3 {
        assert_eq!(net.decision(0, height), (account(2), 0));
    }
    assert!(net.refusals.is_empty() && net.evidence.is_empty());
    assert!(net.now < 500, "took {} ms", net.now);
}

#[test]
fn the_same_inputs_give_the_same_effects() {
    let run = || {
        let mut net = Net::new(2).start(&[0, 1, 3]);
        net.run_to(&[0, 1, 3], 2, 10_000);
        net.trace
    };
    assert_eq!(run(), run());
}

#[test]
fn rank_1_proposes_when_rank_0_is_away() {
    let mut net = Net::new(1).start(&[0, 1, 3]);
    net.run_to(&[0, 1, 3], 1, 10_000);
    assert_eq!(net.decision(1, 1), (account(0), 1));
}

#[test]
fn an_invalid_block_gets_no_vote_and_rank_1_follows_at_once() {
    let mut net = Net::new(1);
    net.tag = Box::new(|node, _, _| {
        if node == 2 {
            "invalid".into()
        } else {
            "good".into()
        }
    });
    let mut net = net.start(&ALL);
    net.run_to(&ALL, 1, 10_000);
    assert_eq!(net.decision(1, 1), (account(0), 1));
    let bad = block(2, 1, 0, "invalid").hash();
    for honest in [0, 1, 3] {
        assert_eq!(net.voted(honest, 1, 0, VoteKind::Prevote), Some(None));
        assert!(
            net.checks
                .iter()
                .any(|(node, hash, _)| (*node, *hash) == (honest, bad))
        );
    }
    assert!(net.now < u64::try_from(timing().propose.as_millis()).unwrap());
}

#[test]
fn one_doubter_of_timeliness_withholds_its_vote_and_still_decides_with_the_others() {
    let mut net = Net::new(1);
    net.tag = Box::new(|_, _, _| "untimely 1".into());
    let mut net = net.start(&ALL);
    net.run_to(&ALL, 1, 10_000);
    for node in ALL {
        assert_eq!(net.decision(node, 1), (account(2), 0));
    }
    // The commitment of two thirds released the block; no timeout had to elapse.
    assert_eq!(net.voted(1, 1, 0, VoteKind::Prevote), None);
    assert!(net.now < u64::try_from(timing().vote.as_millis()).unwrap());
}

#[test]
fn enough_doubters_of_timeliness_pass_the_turn_on() {
    let mut net = Net::new(1);
    net.tag = Box::new(|node, _, _| {
        if node == 2 {
            "untimely 0 1".into()
        } else {
            "good".into()
        }
    });
    let mut net = net.start(&ALL);
    net.run_to(&ALL, 1, 10_000);
    assert_eq!(net.voted(0, 1, 0, VoteKind::Prevote), Some(None));
    assert_eq!(net.voted(1, 1, 0, VoteKind::Prevote), Some(None));
    assert_eq!(net.decision(0, 1), (account(0), 1));
}

#[test]
fn a_withheld_block_is_known_as_valid_after_the_propose_timeout() {
    // Nothing but its timeout can convince node 1 here.
    let mut net = Net::new(1);
    net.tag = Box::new(|_, _, _| "untimely 1".into());
    net.passes = Box::new(|from, to, message| match message {
        // Node 1 hears of no precommit of round 0, so it learns of the polka alone.
        Message::Vote(signed) => !(signed.vote.kind == VoteKind::Precommit && to == 1 && from != 1),
        _ => true,
    });
    let mut net = net.start(&ALL);
    net.run_for(u64::try_from(timing().propose.as_millis()).unwrap() + 50);
    let hash = block(2, 1, 0, "untimely 1").hash();
    assert_eq!(net.voted(1, 1, 0, VoteKind::Prevote), Some(None));
    // With three prevotes and the block now valid, it precommits.
    assert_eq!(net.voted(1, 1, 0, VoteKind::Precommit), Some(Some(hash)));
}

#[test]
fn doubters_whose_votes_are_needed_give_way_when_every_rank_has_had_its_turn() {
    // Rank 0 is away, so all three others must agree, and each block is untimely for one of them.
    let mut net = Net::new(1);
    net.tag = Box::new(|node, _, round| {
        let doubter = if node == 1 { 0 } else { 1 };
        format!("untimely {doubter} round{round}")
    });
    let mut net = net.start(&[0, 1, 3]);
    net.run_to(&[0, 1, 3], 1, 30_000);
    assert_eq!(net.decision(0, 1), (account(0), 5));
}

#[test]
fn timeliness_does_not_count_in_catch_up() {
    let mut net = Net::new(1);
    net.pace = Pace::CatchUp;
    net.tag = Box::new(|_, _, _| "untimely 0 1 3".into());
    let mut net = net.start(&ALL);
    net.run_to(&ALL, 1, 1_000);
    assert_eq!(net.decision(0, 1), (account(2), 0));
}

/// Node 1 misses the block of round 0 and node 3's precommit reaches nobody: node 3 alone decides in round 0,
/// the others are locked or know nothing.
fn split_round_0(net: &mut Net) {
    net.passes = Box::new(|from, to, message| match message {
        Message::Proposal(proposed) => proposed.signed.proposal.round > 0 || to != 1,
        Message::Vote(signed) => {
            !(from == 3 && signed.vote.round == 0 && signed.vote.kind == VoteKind::Precommit)
        }
        _ => true,
    });
    // Node 3 does not serve what it has, so the others must agree by themselves.
    net.answers = Box::new(|node, answer| (node != 3).then_some(answer));
}

#[test]
fn a_locked_block_is_proposed_again_and_keeps_its_author() {
    let mut net = Net::new(1);
    split_round_0(&mut net);
    let mut net = net.start(&ALL);
    net.run_to(&ALL, 1, 20_000);
    assert_eq!(net.decision(3, 1), (account(2), 0));
    for node in [0, 1, 2] {
        assert_eq!(net.decision(node, 1), (account(2), 1));
    }
    // Node 1 sees the block only now, with its proof of lock, and timeliness is not asked.
    let again = Purpose::Reproposed {
        round: 1,
        pol_round: 0,
    };
    assert!(
        net.checks
            .iter()
            .any(|(node, _, purpose)| *node == 1 && *purpose == again)
    );
}

#[test]
fn a_locked_block_that_is_untimely_for_some_is_decided_when_proposed_again() {
    let mut net = Net::new(1);
    net.tag = Box::new(|_, _, _| "untimely 1".into());
    split_round_0(&mut net);
    let mut net = net.start(&ALL);
    net.run_to(&ALL, 1, 20_000);
    let hash = block(2, 1, 0, "untimely 1").hash();
    assert_eq!(net.voted(1, 1, 1, VoteKind::Prevote), Some(Some(hash)));
}

#[test]
fn two_of_four_wait_and_go_on_with_a_third() {
    let mut net = Net::new(2).start(&[0, 1]);
    net.run_for(60_000);
    assert!(net.nodes.iter().all(|node| node.chain.is_empty()));
    net.boot(3);
    net.run_to(&[0, 1, 3], 2, 20_000);
    net.boot(2);
    net.run_to(&ALL, 2, 20_000);
}

#[test]
fn messages_for_the_next_height_are_kept_until_it_begins() {
    let mut machine = Machine::new(config(1), 0, None);
    let start = |height| Input::StartHeight {
        height,
        validators: set(),
        pace: Pace::OnTime,
    };
    let blocks = [block(2, 1, 0, "first"), block(2, 2, 0, "second")];
    let mut effects = machine.handle(start(1)).unwrap();
    // What decides height 2 comes before what decides height 1.
    for (height, block) in [(2, &blocks[1]), (1, &blocks[0])] {
        let votes = [0, 2, 3].into_iter().flat_map(|node| {
            let hash = Some(block.hash());
            [VoteKind::Prevote, VoteKind::Precommit].map(|kind| vote(node, height, 0, kind, hash))
        });
        let messages = votes.map(Message::Vote);
        let proposal = Message::Proposal(proposed(2, 0, None, block));
        for message in messages.chain([proposal]) {
            let peer = crate::PeerId(0);
            effects = machine.handle(Input::Message { peer, message }).unwrap();
            assert!(height == 1 || effects.is_empty());
        }
    }
    for (height, block) in [(1, &blocks[0]), (2, &blocks[1])] {
        let check = effects.iter().find_map(|effect| match effect {
            Effect::VerifyBlock { check, hash, .. } if *hash == block.hash() => Some(*check),
            _ => None,
        });
        let verified = Input::BlockVerified {
            check: check.unwrap(),
            verdict: Verdict::Valid,
        };
        machine.handle(verified).unwrap();
        assert_eq!(machine.decided(), height);
        effects = machine.handle(start(height + 1)).unwrap();
    }
}
