//! Nodes that catch up.

use std::sync::Arc;

use super::net::*;
use crate::{
    CertifiedBlock, Effect, Fatal, Input, Machine, Pace, PeerId, Purpose, Refusal, Verdict,
};

const ALL: [usize; 4] = [0, 1, 2, 3];

#[test]
fn a_wiped_node_fetches_all_blocks_and_then_takes_part() {
    let mut net = Net::new(6).start(&ALL);
    net.run_to(&ALL, 5, 20_000);
    net.crash(1);
    net.nodes[1].chain.clear();
    net.nodes[1].disk = Disk::default();
    let mut wiped = config(1);
    // What it signed before is lost, so it stays silent below the next height.
    wiped.votes_from = 7;
    net.last_height = 8;
    net.boot_as(1, wiped);
    for node in [0, 2, 3] {
        net.crash(node);
        net.boot(node);
    }
    net.run_to(&ALL, 8, 60_000);
    let fetched = net
        .checks
        .iter()
        .filter(|(node, _, purpose)| *node == 1 && *purpose == Purpose::Synced);
    assert!(fetched.count() >= 5);
    assert!(net.refusals.is_empty(), "{:?}", net.refusals);
}

#[test]
fn a_node_cut_off_from_votes_gets_every_block_from_its_peers() {
    let mut net = Net::new(4);
    net.passes = Box::new(|_, to, _| to != 1);
    let mut net = net.start(&ALL);
    net.run_to(&ALL, 4, 30_000);
}

#[test]
fn untimely_blocks_are_taken_when_they_are_decided() {
    let mut net = Net::new(2);
    net.tag = Box::new(|_, _, _| "untimely 1".into());
    net.passes = Box::new(|_, to, _| to != 1);
    let mut net = net.start(&ALL);
    net.run_to(&ALL, 2, 30_000);
}

#[test]
fn liars_are_refused_and_others_are_asked() {
    let lies: [fn(CertifiedBlock) -> CertifiedBlock; 4] = [
        |mut certified| {
            certified.certificate.signatures.truncate(2);
            certified
        },
        |mut certified| {
            certified.block = block(2, 1, 0, "forged");
            certified
        },
        |mut certified| {
            certified.block = block(0, 1, 0, "forged");
            certified.certificate = certificate_by(&[0, 1, 2, 3], 2, 0, certified.block.hash());
            certified
        },
        |mut certified| {
            certified.block.body = Arc::new(b"changed".to_vec());
            certified
        },
    ];
    for lie in lies {
        let mut net = Net::new(1);
        net.passes = Box::new(|_, to, _| to != 1);
        net.answers =
            Box::new(move |node, answer| Some(if node == 0 { answer.map(lie) } else { answer }));
        let mut net = net.start(&ALL);
        net.run_to(&ALL, 1, 30_000);
        let refused: Vec<_> = net
            .refusals
            .iter()
            .map(|(node, peer, _)| (*node, *peer))
            .collect();
        assert_eq!(refused, [(1, 0)], "{:?}", net.refusals);
    }
}

#[test]
fn peers_that_do_not_answer_or_go_away_are_passed_over() {
    let mut net = Net::new(1);
    net.passes = Box::new(|_, to, _| to != 1);
    net.answers = Box::new(|node, answer| match node {
        0 => None,
        2 => Some(None),
        _ => Some(answer),
    });
    let mut net = net.start(&ALL);
    net.run_to(&ALL, 1, 30_000);
    assert_eq!(net.refusals, [(1, 0, Refusal::NoAnswer(1))]);
}

fn asked(height: u32) -> (Machine, PeerId) {
    let mut machine = Machine::new(config(1), height - 1, None);
    let start = Input::StartHeight {
        height,
        validators: set(),
        pace: Pace::CatchUp,
    };
    machine.handle(start).unwrap();
    let peer = PeerId(3);
    let status = Input::Status {
        peer,
        decided: height + 4,
    };
    let effects = machine.handle(status).unwrap();
    assert!(effects.contains(&Effect::RequestBlock { peer, height }));
    (machine, peer)
}

#[test]
fn a_decided_block_that_is_invalid_here_stops_the_node() {
    let (mut machine, peer) = asked(1);
    let block = block(2, 1, 0, "invalid");
    let certificate = certificate_by(&[0, 2, 3], 1, 0, block.hash());
    let hash = block.hash();
    let response = Input::BlockResponse {
        peer,
        height: 1,
        block: Some(CertifiedBlock { block, certificate }),
    };
    let effects = machine.handle(response).unwrap();
    let Some(Effect::VerifyBlock { check, purpose, .. }) = effects.last() else {
        panic!("{effects:?}");
    };
    assert_eq!(*purpose, Purpose::Synced);
    let verified = Input::BlockVerified {
        check: *check,
        verdict: Verdict::Invalid,
    };
    match machine.handle(verified) {
        Err(Fatal::CommittedInvalid {
            height: 1,
            hash: found,
        }) => assert_eq!(found, hash),
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_author_that_cannot_be_is_refused_even_with_a_certificate() {
    let (mut machine, peer) = asked(1);
    // Rank 1 made it, but round 0 decided: its turn had not come.
    let block = block(0, 1, 1, "good");
    let certificate = certificate_by(&[0, 2, 3], 1, 0, block.hash());
    let response = Input::BlockResponse {
        peer,
        height: 1,
        block: Some(CertifiedBlock { block, certificate }),
    };
    let effects = machine.handle(response).unwrap();
    assert!(effects.iter().any(|effect| matches!(
        effect,
        Effect::Refused {
            refusal: Refusal::WrongAuthor { rank: 1, .. },
            ..
        }
    )));
}

#[test]
fn unasked_blocks_are_refused_and_late_ones_ignored() {
    let (mut machine, _) = asked(2);
    let stranger = PeerId(9);
    let response = |height| Input::BlockResponse {
        peer: stranger,
        height,
        block: None,
    };
    assert_eq!(
        machine.handle(response(2)).unwrap(),
        [Effect::Refused {
            peer: stranger,
            refusal: Refusal::Unasked(2)
        }]
    );
    assert_eq!(machine.handle(response(1)).unwrap(), []);
}

#[test]
fn an_answer_that_comes_after_its_time_is_taken() {
    let (mut machine, peer) = asked(1);
    let timeout = crate::Timeout {
        height: 1,
        round: 0,
        kind: crate::TimeoutKind::SyncAnswer,
    };
    let effects = machine.handle(Input::TimeoutElapsed(timeout)).unwrap();
    let refusal = Refusal::NoAnswer(1);
    assert_eq!(effects, [Effect::Refused { peer, refusal }]);
    let block = block(2, 1, 0, "good");
    let certificate = certificate_by(&[0, 2, 3], 1, 0, block.hash());
    let response = Input::BlockResponse {
        peer,
        height: 1,
        block: Some(CertifiedBlock { block, certificate }),
    };
    let effects = machine.handle(response).unwrap();
    let Some(Effect::VerifyBlock { check, .. }) = effects.last() else {
        panic!("{effects:?}");
    };
    let verified = Input::BlockVerified {
        check: *check,
        verdict: Verdict::Valid,
    };
    machine.handle(verified).unwrap();
    assert_eq!(machine.decided(), 1);
}

#[test]
fn a_decided_block_whose_bytes_were_let_go_is_fetched() {
    use crate::{Message, RoundCertificate, RoundCertificateKind, RoundVote, VoteKind};
    let mut machine = Machine::new(config(1), 0, None);
    let start = Input::StartHeight {
        height: 1,
        validators: set(),
        pace: Pace::OnTime,
    };
    machine.handle(start).unwrap();
    let peer = PeerId(3);
    let first = block(2, 1, 0, "0");
    let rounds = u32::try_from(crate::limits::BLOCKS_HELD_MAX).unwrap() * 4 / 3 + 2;
    for round in 0..rounds {
        let votes = [0, 2].map(|node| RoundVote {
            kind: VoteKind::Prevote,
            block: None,
            validator: account(node),
            signature: vote(node, 1, round, VoteKind::Prevote, None).signature,
        });
        let skip = Message::Round(RoundCertificate {
            height: 1,
            round,
            kind: RoundCertificateKind::Skip,
            votes: votes.to_vec(),
        });
        if round > 0 {
            machine
                .handle(Input::Message {
                    peer,
                    message: skip,
                })
                .unwrap();
        }
        assert_eq!(machine.position(), Some((1, round)));
        let rank = round % 4;
        let author = RANKING[usize::try_from(rank).unwrap()];
        if author == 1 {
            continue;
        }
        let block = block(author, 1, rank, &round.to_string());
        let message = Message::Proposal(proposed(author, round, None, &block));
        let effects = machine.handle(Input::Message { peer, message }).unwrap();
        let check = effects.iter().find_map(|effect| match effect {
            Effect::VerifyBlock { check, .. } => Some(*check),
            _ => None,
        });
        let verified = Input::BlockVerified {
            check: check.unwrap(),
            verdict: Verdict::Valid,
        };
        machine.handle(verified).unwrap();
    }
    machine.handle(Input::Status { peer, decided: 1 }).unwrap();
    let mut effects = Vec::new();
    for node in [0, 2, 3] {
        let vote = vote(node, 1, 0, VoteKind::Precommit, Some(first.hash()));
        let message = Message::Vote(vote);
        effects = machine.handle(Input::Message { peer, message }).unwrap();
    }
    assert!(
        effects.contains(&Effect::RequestBlock { peer, height: 1 }),
        "{effects:?}"
    );
    let certificate = certificate_by(&[0, 2, 3], 1, 0, first.hash());
    let response = Input::BlockResponse {
        peer,
        height: 1,
        block: Some(CertifiedBlock {
            block: first.clone(),
            certificate,
        }),
    };
    let effects = machine.handle(response).unwrap();
    let decided = effects.iter().find_map(|effect| match effect {
        Effect::Decide { block, .. } => Some(block),
        _ => None,
    });
    assert_eq!(decided, Some(&first));
}
