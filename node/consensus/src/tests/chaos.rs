//! Everything at once, from seeds: lost, late and overtaking messages, crashes with torn logs, doubts about
//! timeliness, and a validator that contradicts itself.

use std::{cell::RefCell, rc::Rc};

use super::net::*;
use crate::{Message, VoteKind, verify_evidence};

const ALL: [usize; 4] = [0, 1, 2, 3];
const LIAR: usize = 3;
const SEEDS: u64 = 30;
const HEIGHTS: u32 = 4;

/// SplitMix64.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }

    fn node(&mut self) -> usize {
        usize::try_from(self.below(4)).unwrap()
    }
}

/// The liar signs a vote or proposal besides what its machine sends, for where some node is.
fn lie(net: &mut Net, random: &mut Random) {
    let target = random.node();
    let position = net.nodes[target]
        .machine
        .as_ref()
        .and_then(|machine| machine.position());
    let Some((height, round)) = position.filter(|_| target != LIAR) else {
        return;
    };
    if random.below(4) == 0 {
        let rank = round % 4;
        if RANKING[usize::try_from(rank).unwrap()] == LIAR {
            let lie = block(LIAR, height, rank, &format!("lie {}", random.below(3)));
            net.send(
                LIAR,
                target,
                Message::Proposal(proposed(LIAR, round, None, &lie)),
            );
        }
        return;
    }
    let choices = net.checks.len() as u64 + 1;
    let choice = usize::try_from(random.below(choices)).unwrap();
    let hash = net.checks.get(choice).map(|(_, hash, _)| *hash);
    let kind = if random.below(2) == 0 {
        VoteKind::Prevote
    } else {
        VoteKind::Precommit
    };
    net.send(
        LIAR,
        target,
        Message::Vote(vote(LIAR, height, round, kind, hash)),
    );
}

fn live_through(seed: u64) -> usize {
    let random = Rc::new(RefCell::new(Random(seed)));
    let mut lies = Random(seed.wrapping_add(1 << 32));
    let mut net = Net::new(HEIGHTS);
    let dice = random.clone();
    net.passes = Box::new(move |_, _, _| dice.borrow_mut().below(8) > 0);
    let dice = random.clone();
    net.delay_ms = Box::new(move || {
        let mut dice = dice.borrow_mut();
        1 + if dice.below(10) == 0 {
            dice.below(500)
        } else {
            dice.below(60)
        }
    });
    let dice = random.clone();
    net.tag = Box::new(move |node, _, _| {
        let mut dice = dice.borrow_mut();
        // Each life builds another block.
        let salt = dice.below(1_000_000);
        match dice.below(4) {
            0 if node == LIAR => format!("invalid {salt}"),
            0 => format!("untimely {} salt{salt}", dice.below(4)),
            1 => format!("untimely {} {} salt{salt}", dice.below(4), dice.below(4)),
            _ => format!("good {salt}"),
        }
    });
    let mut net = net.start(&ALL);
    for _ in 0..60 {
        net.run_for(100);
        lie(&mut net, &mut lies);
        let node = random.borrow_mut().node();
        if net.nodes[node].machine.is_none() {
            net.boot(node);
        } else if random.borrow_mut().below(5) == 0 {
            let failures = [Failure::Before, Failure::Torn, Failure::After];
            let failure = failures[usize::try_from(random.borrow_mut().below(3)).unwrap()];
            let disk = &mut net.nodes[node].disk;
            let at = disk.operations + usize::try_from(random.borrow_mut().below(12)).unwrap();
            disk.fail_at = Some((at, failure));
        }
    }
    net.passes = Box::new(|_, _, _| true);
    net.delay_ms = Box::new(|| 10);
    net.tag = Box::new(|node, height, round| format!("good {node} {height} {round}"));
    for node in ALL {
        net.nodes[node].disk.fail_at = None;
        if net.nodes[node].machine.is_none() {
            net.boot(node);
        }
    }
    net.run_to(&ALL, HEIGHTS, 120_000);
    for node in &net.nodes {
        assert!(node.fatal.is_none(), "{:?}", node.fatal);
    }
    assert!(net.silenced.iter().all(|(node, _)| *node == LIAR));
    for (_, proof) in &net.evidence {
        assert_eq!(verify_evidence(&set(), &GENESIS, proof), Ok(account(LIAR)));
    }
    net.evidence.len()
}

#[test]
fn seeded_chaos_breaks_neither_agreement_nor_memory_nor_liveness() {
    let mut evidence = 0;
    for seed in 0..SEEDS {
        println!("seed {seed}");
        evidence += live_through(seed);
    }
    assert!(evidence > 0, "nobody caught the liar");
}
