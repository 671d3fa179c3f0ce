//! Validators that are all honest and mostly there.

use commonwatt_runtime::example::account;

use super::net::*;
use crate::{Judgement, Notice};

#[test]
fn four_validators_make_one_block_a_step_and_have_the_same_chain() {
    let mut net = Net::running();
    for step in 1..=24 {
        net.submit_reading(step);
        let timing = net.timing();
        // Between the gates of this step, for four heights later.
        let closes = timing.closes_at_ms(commonwatt_primitives::Step(step));
        net.run_to_time(closes - 5_000);
        if step % 3 == 0 {
            for name in ["V0", "V1"] {
                let bid = net.sign(name, bid(step + 4, 7));
                net.submit_to(&[0, 1, 2, 3], &bid);
            }
        }
        net.run_to_time(closes + timing.settle_delay_ms + 1_000);
        assert!(net.nodes.iter().all(|node| node.best() == step), "{step}");
    }
    net.assert_same_chain();
    for node in &net.nodes {
        assert!(!node.was_told(|notice| matches!(
            notice,
            Notice::Withheld { .. } | Notice::Invalid { .. } | Notice::NotBuilt { .. }
        )));
        assert!(!node.judgements.contains(&Judgement::Reject));
        for number in 1..=24 {
            assert_eq!(node.decision(number).2, 0, "decided in the first round");
        }
        // Everything that was submitted is in a block.
        assert_eq!(node.chain.pool_status().ready.total(), 0);
    }
    // Nobody makes two blocks in a row.
    for number in 2..=24 {
        let author = |number| net.nodes[0].decision(number).0;
        assert_ne!(author(number), author(number - 1));
    }
}

#[test]
fn the_second_makes_the_block_when_the_winner_is_silent() {
    let mut net = Net::running();
    net.run_to_block(3, 5);
    let (winner, second) = (net.node_of_rank(0), net.node_of_rank(1));
    net.cut_off(winner);
    let others: Vec<_> = (0..4).filter(|node| *node != winner).collect();
    let until = net.timing().settles_at_ms(commonwatt_primitives::Step(4)) + 8_000;
    net.run_to_time(until);
    for node in &others {
        assert_eq!(net.nodes[*node].best(), 4);
        let (author, rank, round) = net.nodes[*node].decision(4);
        assert_eq!((author, rank, round), (account(NAMES[second]), 1, 1));
    }
    assert_eq!(net.nodes[winner].best(), 3);
    net.heal(winner);
    net.run_to_block(6, 5);
    net.assert_same_chain();
    assert!(net.nodes[winner].was_told(|notice| matches!(
        notice,
        Notice::Decided {
            height: 4,
            is_fetched: true,
            ..
        }
    )));
}

#[test]
fn missed_steps_are_made_up_for_one_after_the_other_and_marked_late() {
    let mut net = Net::new();
    net.now += 10 * STEP_MS + 2_000;
    for node in 0..4 {
        net.start(node);
    }
    net.run_to_block(10, 3);
    net.assert_same_chain();
    for number in 1..=10 {
        let late = net.nodes[0].was_told(|notice| {
            matches!(notice, Notice::Decided { height, is_late: true, .. } if *height == number)
        });
        assert_eq!(late, number < 10, "{number}");
    }
    net.run_to_block(12, 3);
}

#[test]
fn a_node_without_keys_follows() {
    let mut net = Net::new();
    for node in 0..3 {
        net.start(node);
    }
    let mut config = net.nodes[3].config(net.timing());
    config.keys = None;
    net.start_with(3, config).unwrap();
    net.run_to_block(5, 9);
    net.assert_same_chain();
    assert!(!net.nodes[3].was_told(|notice| matches!(
        notice,
        Notice::HeightStarted {
            is_voting: true,
            ..
        }
    )));
}
