//! Crashes at every point of the write-ahead log, and logs that cannot be right.

use std::sync::Mutex;

use super::net::*;
use crate::{
    Fatal, Input, Machine, Message, Pace, VoteKind,
    wal::{Judgement, Recovered, WalEntry},
};

const ALL: [usize; 4] = [0, 1, 2, 3];

/// Lets `victim` crash at one operation of its log, start again, and all reach height 2. Whatever was signed
/// is compared by the network; the victim builds another block in each life.
fn crash_once(
    victim: usize,
    at: usize,
    failure: Failure,
    prepare: fn(&mut Net),
    up: &[usize],
) -> bool {
    let mut net = Net::new(2);
    prepare(&mut net);
    let mut net = net.start(up);
    net.nodes[victim].disk.fail_at = Some((at, failure));
    let end = 30_000;
    while net.nodes[victim].machine.is_some() && net.now < end {
        if up.iter().all(|node| net.nodes[*node].chain.len() == 2) {
            return false;
        }
        assert!(net.tick());
    }
    net.run_for(40);
    net.tag = Box::new(|node, height, round| format!("later {node} {height} {round}"));
    net.boot(victim);
    net.run_to(up, 2, 60_000);
    true
}

fn crash_everywhere(victim: usize, prepare: fn(&mut Net), up: &[usize]) -> usize {
    let mut crashes = 0;
    for failure in [Failure::Before, Failure::Torn, Failure::After] {
        let mut at = 0;
        while crash_once(victim, at, failure, prepare, up) {
            at += 1;
            crashes += 1;
        }
    }
    crashes
}

#[test]
fn the_proposer_crashes_anywhere_and_never_contradicts_itself() {
    let crashes = crash_everywhere(2, |_| {}, &ALL);
    assert!(crashes > 60, "{crashes}");
}

#[test]
fn a_voter_without_whom_there_is_no_majority_crashes_anywhere() {
    // Rank 0 is away, so each height takes two rounds and all three others.
    let crashes = crash_everywhere(1, |_| {}, &[0, 1, 3]);
    assert!(crashes > 60, "{crashes}");
}

#[test]
fn the_proposer_of_a_later_round_crashes_anywhere() {
    let crashes = crash_everywhere(0, |_| {}, &[0, 1, 3]);
    assert!(crashes > 60, "{crashes}");
}

#[test]
fn a_locked_node_crashes_anywhere_and_stays_locked() {
    fn split(net: &mut Net) {
        net.passes = Box::new(|from, to, message| match message {
            Message::Proposal(proposed) => {
                proposed.signed.proposal.height > 1 || proposed.signed.proposal.round > 0 || to != 1
            }
            Message::Vote(signed) => {
                signed.vote.height > 1
                    || !(from == 3
                        && signed.vote.round == 0
                        && signed.vote.kind == VoteKind::Precommit)
            }
            _ => true,
        });
        net.answers = Box::new(|node, answer| (node != 3).then_some(answer));
    }
    for victim in [0, 2] {
        let crashes = crash_everywhere(victim, split, &ALL);
        assert!(crashes > 60, "{crashes}");
    }
}

#[test]
fn all_lose_power_after_deciding_and_decide_the_same_again() {
    let mut net = Net::new(1).start(&ALL);
    // Nobody stores what it decides.
    loop {
        assert!(net.tick());
        if net
            .trace
            .iter()
            .filter(|line| line.contains("Decide"))
            .count()
            == 4
        {
            break;
        }
    }
    let first = net.nodes[0].chain[0].block.hash();
    for node in ALL {
        net.crash(node);
        net.nodes[node].chain.clear();
    }
    net.tag = Box::new(|node, _, _| format!("another {node}"));
    ALL.iter().for_each(|node| net.boot(*node));
    net.run_to(&ALL, 1, 20_000);
    assert_eq!(net.nodes[1].chain[0].block.hash(), first);
}

fn start(machine: &mut Machine, height: u32) -> Result<Vec<crate::Effect>, Fatal> {
    machine.handle(Input::StartHeight {
        height,
        validators: set(),
        pace: Pace::OnTime,
    })
}

#[test]
fn a_node_whose_chain_ends_below_its_log_does_not_vote_until_it_is_there() {
    let own = vote(1, 3, 0, VoteKind::Prevote, None);
    let recovered = Recovered {
        height: 3,
        entries: vec![WalEntry::Vote(own)],
    };
    let mut machine = Machine::new(config(1), 1, Some(recovered));
    let effects = start(&mut machine, 2).unwrap();
    assert!(!machine.is_voting());
    assert!(
        !effects
            .iter()
            .any(|effect| matches!(effect, crate::Effect::ResetWal { .. }))
    );
    let block = block(2, 2, 0, "good");
    let certificate = certificate_by(&[0, 2, 3], 2, 0, block.hash());
    let peer = crate::PeerId(0);
    machine.handle(Input::Status { peer, decided: 5 }).unwrap();
    let certified = Some(crate::CertifiedBlock { block, certificate });
    let response = Input::BlockResponse {
        peer,
        height: 2,
        block: certified,
    };
    let effects = machine.handle(response).unwrap();
    let Some(crate::Effect::VerifyBlock { check, .. }) = effects.last() else {
        panic!("{effects:?}");
    };
    let verdict = crate::Verdict::Valid;
    machine
        .handle(Input::BlockVerified {
            check: *check,
            verdict,
        })
        .unwrap();
    assert_eq!(machine.decided(), 2);
    let effects = start(&mut machine, 3).unwrap();
    assert!(machine.is_voting());
    assert!(
        !effects
            .iter()
            .any(|effect| matches!(effect, crate::Effect::ResetWal { .. }))
    );
}

#[test]
fn a_log_of_a_height_that_is_stored_is_emptied() {
    let recovered = Recovered {
        height: 1,
        entries: vec![WalEntry::Vote(vote(1, 1, 0, VoteKind::Prevote, None))],
    };
    let mut machine = Machine::new(config(1), 1, Some(recovered));
    let effects = start(&mut machine, 2).unwrap();
    assert!(effects.contains(&crate::Effect::ResetWal { height: 2 }));
}

#[test]
fn a_log_that_does_not_lead_to_what_was_sent_stops_the_node() {
    // The log says a block was valid and prevoted nil nevertheless.
    let good = block(2, 1, 0, "good");
    let proposed = proposed(2, 0, None, &good);
    let recovered = Recovered {
        height: 1,
        entries: vec![
            WalEntry::Proposal(proposed.signed.clone()),
            WalEntry::Block(good.clone()),
            WalEntry::Judged {
                proposal: proposed.signed.proposal,
                judgement: Judgement::Valid,
            },
            WalEntry::Vote(vote(1, 1, 0, VoteKind::Prevote, None)),
        ],
    };
    let mut machine = Machine::new(config(1), 0, Some(recovered));
    assert!(matches!(
        start(&mut machine, 1),
        Err(Fatal::ReplayDiverged { height: 1, .. })
    ));
    assert!(matches!(start(&mut machine, 1), Err(Fatal::Stopped)));
}

#[test]
fn a_block_whose_verdict_was_torn_off_the_log_is_executed_again() {
    let good = block(2, 1, 0, "good");
    let proposed = proposed(2, 0, None, &good);
    let recovered = Recovered {
        height: 1,
        entries: vec![
            WalEntry::Proposal(proposed.signed.clone()),
            WalEntry::Block(good),
        ],
    };
    let mut machine = Machine::new(config(1), 0, Some(recovered));
    start(&mut machine, 1).unwrap();
    let again = Input::Message {
        peer: crate::PeerId(0),
        message: Message::Proposal(proposed),
    };
    let effects = machine.handle(again).unwrap();
    assert!(matches!(&effects[..], [crate::Effect::VerifyBlock { .. }]));
}

#[test]
fn a_log_with_impossible_entries_stops_the_node() {
    let foreign = vote(1, 9, 0, VoteKind::Prevote, None);
    let good = block(2, 1, 0, "good");
    let missing = proposed(2, 0, None, &good).signed.proposal;
    let mut unreadable = good.clone();
    unreadable.header.clear();
    for entry in [
        WalEntry::Vote(foreign),
        WalEntry::Judged {
            proposal: missing,
            judgement: Judgement::Valid,
        },
        WalEntry::Block(unreadable),
        WalEntry::Block(block(2, 4, 0, "good")),
    ] {
        let recovered = Recovered {
            height: 1,
            entries: vec![entry],
        };
        let mut machine = Machine::new(config(1), 0, Some(recovered));
        assert!(matches!(
            start(&mut machine, 1),
            Err(Fatal::BadLog { height: 1, .. })
        ));
    }
}

#[test]
fn below_votes_from_a_validator_only_follows() {
    let mut net = Net::new(3).start(&[0, 2, 3]);
    let mut late = config(1);
    late.votes_from = 3;
    net.boot_as(1, late);
    net.run_to(&ALL, 3, 10_000);
    for height in 1..=2 {
        assert_eq!(net.voted(1, height, 0, VoteKind::Prevote), None);
    }
    assert!(net.voted(1, 3, 0, VoteKind::Prevote).is_some());
}

#[test]
fn a_validator_with_another_key_than_on_chain_only_follows() {
    let mut net = Net::new(1).start(&[0, 2, 3]);
    let mut wrong = config(1);
    wrong.voter = Some(voter(1, Key(pair(9))));
    net.boot_as(1, wrong);
    net.run_to(&ALL, 1, 10_000);
    assert_eq!(net.voted(1, 1, 0, VoteKind::Prevote), None);
}

#[test]
fn a_keystore_that_does_not_sign_stops_the_node_before_anything_is_sent() {
    let mut net = Net::new(1).start(&[0, 2, 3]);
    let mut failing = config(1);
    failing.voter = Some(voter(1, Failing(pair(1), Mutex::new(1))));
    net.boot_as(1, failing);
    net.run_to(&[0, 2, 3], 1, 10_000);
    assert!(matches!(net.nodes[1].fatal, Some(Fatal::Signer { .. })));
    assert!(net.voted(1, 1, 0, VoteKind::Prevote).is_some());
    assert_eq!(net.voted(1, 1, 0, VoteKind::Precommit), None);
}

#[test]
fn heights_are_started_one_after_the_other() {
    for wrong in [0, 1, 3] {
        let mut machine = Machine::new(config(1), 1, None);
        assert!(matches!(
            start(&mut machine, wrong),
            Err(Fatal::WrongHeight { expected: 2, .. })
        ));
    }
}

#[test]
fn a_validator_that_meets_an_unknown_vote_of_its_own_falls_silent_for_the_height() {
    let mut net = Net::new(2).start(&[0, 2, 3]);
    net.boot(1);
    // Its log was lost after it had prevoted nil.
    let lost = vote(1, 1, 0, VoteKind::Prevote, None);
    net.send(0, 1, Message::Vote(lost));
    net.run_to(&ALL, 2, 10_000);
    assert_eq!(net.silenced, [(1, 1)]);
    assert_eq!(net.voted(1, 1, 0, VoteKind::Prevote), None);
    assert!(net.voted(1, 2, 0, VoteKind::Prevote).is_some());
    assert!(net.evidence.is_empty());
}

#[test]
fn a_silence_is_kept_across_restarts() {
    let mut machine = Machine::new(config(1), 0, None);
    start(&mut machine, 1).unwrap();
    let lost = Input::Message {
        peer: crate::PeerId(0),
        message: Message::Vote(vote(1, 1, 0, VoteKind::Prevote, None)),
    };
    let effects = machine.handle(lost).unwrap();
    assert!(effects.starts_with(&[
        crate::Effect::AppendWal(WalEntry::Silenced),
        crate::Effect::SyncWal,
    ]));
    let recovered = Recovered {
        height: 1,
        entries: vec![WalEntry::Silenced],
    };
    let mut machine = Machine::new(config(1), 0, Some(recovered));
    let effects = start(&mut machine, 1).unwrap();
    assert!(!machine.is_voting());
    // The log stays as it is, for the next start.
    assert!(!effects.contains(&crate::Effect::ResetWal { height: 1 }));
}

#[test]
fn echoes_and_forgeries_of_own_votes_silence_nobody() {
    let mut net = Net::new(1).start(&ALL);
    let mut forged = vote(1, 1, 0, VoteKind::Prevote, None);
    forged.signature = vote(0, 1, 0, VoteKind::Prevote, None).signature;
    net.send(0, 1, Message::Vote(forged));
    let hash = block(2, 1, 0, "good 2 1 0").hash();
    for time in 1..8 {
        net.run_for(5);
        if net.voted(1, 1, 0, VoteKind::Prevote).is_some() {
            let echo = vote(1, 1, 0, VoteKind::Prevote, Some(hash));
            net.send(3, 1, Message::Vote(echo));
        }
        assert!(net.now <= 5 * time);
    }
    net.run_to(&ALL, 1, 5_000);
    assert_eq!(net.silenced, []);
}
