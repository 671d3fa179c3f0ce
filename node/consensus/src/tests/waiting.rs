//! Validators that wait before they vote.

use super::net::*;
use crate::{
    CertifiedBlock, Effect, Input, Machine, Message, Pace, PeerId, Verdict, VoteKind,
    wal::{Recovered, WalEntry},
};

const ALL: [usize; 4] = [0, 1, 2, 3];
const PEER: PeerId = PeerId(2);

fn start(machine: &mut Machine, height: u32) -> Vec<Effect> {
    let start = Input::StartHeight {
        height,
        validators: set(),
        pace: Pace::CatchUp,
    };
    machine.handle(start).unwrap()
}

/// A machine of node 1 that waits at height 1.
fn waiting() -> Machine {
    let mut machine = Machine::new(config(1), 0, None);
    machine.wait_below(2);
    let effects = start(&mut machine, 1);
    assert!(!machine.is_voting());
    assert!(!effects.contains(&Effect::ResetWal { height: 1 }));
    machine
}

fn take(machine: &mut Machine, message: Message) -> Vec<Effect> {
    let peer = PEER;
    machine.handle(Input::Message { peer, message }).unwrap()
}

fn has_sent(effects: &[Effect]) -> bool {
    effects
        .iter()
        .any(|effect| matches!(effect, Effect::Broadcast { .. }))
}

#[test]
fn who_waits_signs_nothing_and_then_votes_on_what_came_meanwhile() {
    let mut machine = waiting();
    let good = block(2, 1, 0, "good");
    let proposal = Message::Proposal(proposed(2, 0, None, &good));
    assert_eq!(take(&mut machine, proposal), []);
    let effects = machine.handle(Input::WaitIsOver).unwrap();
    assert!(machine.is_voting());
    let reset = effects
        .iter()
        .position(|effect| *effect == Effect::ResetWal { height: 1 });
    let verify = effects.iter().position(
        |effect| matches!(effect, Effect::VerifyBlock { hash, .. } if *hash == good.hash()),
    );
    assert!(reset.is_some() && reset < verify, "{effects:?}");
    let Some(Effect::VerifyBlock { check, .. }) = verify.map(|place| &effects[place]) else {
        panic!("{effects:?}");
    };
    let verdict = Input::BlockVerified {
        check: *check,
        verdict: Verdict::Valid,
    };
    assert!(has_sent(&machine.handle(verdict).unwrap()));
    // A second word changes nothing.
    assert_eq!(machine.handle(Input::WaitIsOver).unwrap(), []);
}

#[test]
fn who_waits_takes_blocks_that_others_have_decided_and_votes_above_the_bound() {
    let mut machine = waiting();
    let (peer, height) = (PEER, 1);
    let effects = machine.handle(Input::Status { peer, decided: 5 }).unwrap();
    assert!(effects.contains(&Effect::RequestBlock { peer, height }));
    // The question outlives the wait.
    machine.handle(Input::WaitIsOver).unwrap();
    machine.wait_below(2);
    let block = block(2, 1, 0, "good");
    let certificate = certificate_by(&[0, 2, 3], 1, 0, block.hash());
    let block = Some(CertifiedBlock { block, certificate });
    let answer = Input::BlockResponse {
        peer,
        height,
        block,
    };
    let effects = machine.handle(answer).unwrap();
    let Some(Effect::VerifyBlock { check, .. }) = effects.last() else {
        panic!("{effects:?}");
    };
    let verdict = Input::BlockVerified {
        check: *check,
        verdict: Verdict::Valid,
    };
    machine.handle(verdict).unwrap();
    assert_eq!(machine.decided(), 1);
    let effects = start(&mut machine, 2);
    assert!(machine.is_voting());
    assert!(effects.contains(&Effect::ResetWal { height: 2 }));
}

#[test]
fn a_forgotten_vote_that_comes_while_a_node_waits_silences_it() {
    let mut machine = waiting();
    let own = vote(1, 1, 0, VoteKind::Prevote, None);
    assert_eq!(take(&mut machine, Message::Vote(own)), []);
    let effects = machine.handle(Input::WaitIsOver).unwrap();
    let silenced = Effect::Silenced {
        height: 1,
        round: 0,
    };
    assert!(effects.contains(&silenced), "{effects:?}");
    assert!(!machine.is_voting() && !has_sent(&effects));
}

/// Has `machine` of node 1 fetch block 1, decided by nodes 1, 2 and 3.
fn fetch_own(machine: &mut Machine) -> Vec<Effect> {
    let (peer, height) = (PEER, 1);
    machine.handle(Input::Status { peer, decided: 5 }).unwrap();
    let block = block(2, 1, 0, "good");
    let certificate = certificate_by(&[1, 2, 3], 1, 0, block.hash());
    let block = Some(CertifiedBlock { block, certificate });
    let answer = Input::BlockResponse {
        peer,
        height,
        block,
    };
    machine.handle(answer).unwrap()
}

#[test]
fn who_helped_to_decide_a_block_and_does_not_know_stops_voting() {
    let forgotten = Effect::Forgotten { height: 1 };
    // With the log of a height below, or begun and empty, or none.
    let logs = [Some(0), Some(1), None].map(|height| {
        height.map(|height| Recovered {
            height,
            entries: Vec::new(),
        })
    });
    for log in logs {
        let mut machine = Machine::new(config(1), 0, log);
        start(&mut machine, 1);
        assert!(machine.is_voting());
        let effects = fetch_own(&mut machine);
        assert!(effects.contains(&forgotten), "{effects:?}");
        assert!(!machine.is_voting());
        assert!(!has_sent(&machine.handle(Input::WaitIsOver).unwrap()));
    }
    // While it waits too.
    assert!(fetch_own(&mut waiting()).contains(&forgotten));
}

#[test]
fn who_knows_what_it_signed_goes_on() {
    let forgotten = Effect::Forgotten { height: 1 };
    let own = vote(
        1,
        1,
        0,
        VoteKind::Precommit,
        Some(block(2, 1, 0, "good").hash()),
    );
    let logged = Recovered {
        height: 1,
        entries: vec![WalEntry::Vote(own)],
    };
    let ahead = Recovered {
        height: 2,
        entries: Vec::new(),
    };
    for (log, waits_below) in [(logged.clone(), 0), (logged, 2), (ahead, 0)] {
        let mut machine = Machine::new(config(1), 0, Some(log));
        machine.wait_below(waits_below);
        start(&mut machine, 1);
        let effects = fetch_own(&mut machine);
        assert!(!effects.contains(&forgotten), "{effects:?}");
    }
    // Who only follows up to a height has been told.
    let mut machine = Machine::new(config(1), 0, None);
    machine.raise_votes_from(2);
    start(&mut machine, 1);
    assert!(!fetch_own(&mut machine).contains(&forgotten));
    // Another's vote says nothing.
    let mut machine = Machine::new(config(0), 0, None);
    start(&mut machine, 1);
    assert!(!fetch_own(&mut machine).contains(&forgotten));
    assert!(machine.is_voting());
}

#[test]
fn a_network_whose_nodes_wait_differently_long_decides() {
    let mut net = Net::new(2).start(&ALL);
    for node in &mut net.nodes {
        node.machine.as_mut().unwrap().wait_below(2);
    }
    for node in ALL {
        net.run_for(700);
        assert!(net.nodes.iter().all(|node| node.chain.is_empty()) || node == 3);
        net.input(node, Input::WaitIsOver);
    }
    net.run_to(&ALL, 2, 20_000);
    assert!(net.refusals.is_empty(), "{:?}", net.refusals);
}
