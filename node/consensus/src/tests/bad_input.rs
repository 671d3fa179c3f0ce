//! Messages that no honest node sends.

use codec::Encode;
use sp_core::Pair;

use super::net::*;
use crate::{
    Effect, Fatal, Input, Machine, Message, Pace, PeerId, PolkaCertificate, Purpose, Refusal,
    RoundCertificate, RoundCertificateKind, RoundVote, ValidatorSignature, Verdict, VoteKind,
};

/// A machine of node 1 at height 1.
fn machine() -> Machine {
    let mut machine = Machine::new(config(1), 0, None);
    let start = Input::StartHeight {
        height: 1,
        validators: set(),
        pace: Pace::OnTime,
    };
    machine.handle(start).unwrap();
    machine
}

fn take(machine: &mut Machine, message: Message) -> Vec<Effect> {
    let peer = PeerId(7);
    machine.handle(Input::Message { peer, message }).unwrap()
}

/// What `message` is refused for, when nothing else comes of it.
fn refusal_of(message: Message) -> Refusal {
    let effects = take(&mut machine(), message);
    match &effects[..] {
        [Effect::Refused { peer, refusal }] if *peer == PeerId(7) => refusal.clone(),
        _ => panic!("{effects:?}"),
    }
}

fn good_block() -> crate::Block {
    block(2, 1, 0, "good")
}

#[test]
fn votes_of_strangers_and_with_wrong_signatures_are_refused() {
    let mut stranger = vote(8, 1, 0, VoteKind::Prevote, None);
    assert_eq!(
        refusal_of(Message::Vote(stranger.clone())),
        Refusal::NotAValidator(account(8))
    );
    stranger.vote.validator = account(0);
    assert_eq!(
        refusal_of(Message::Vote(stranger)),
        Refusal::BadSignature(account(0))
    );
    // Signed for nil, sent for a block; signed for another round; on another chain.
    let mut other = vote(0, 1, 0, VoteKind::Prevote, None);
    other.vote.block = Some(good_block().hash());
    assert_eq!(
        refusal_of(Message::Vote(other)),
        Refusal::BadSignature(account(0))
    );
    let mut other = vote(0, 1, 1, VoteKind::Prevote, None);
    other.vote.round = 0;
    assert_eq!(
        refusal_of(Message::Vote(other)),
        Refusal::BadSignature(account(0))
    );
    let mut other = vote(0, 1, 0, VoteKind::Prevote, None);
    other.signature = pair(0).sign(&other.vote.payload(&Default::default()));
    assert_eq!(
        refusal_of(Message::Vote(other)),
        Refusal::BadSignature(account(0))
    );
}

#[test]
fn a_vote_of_one_kind_is_none_of_the_other() {
    let mut precommit = vote(0, 1, 0, VoteKind::Prevote, None);
    precommit.vote.kind = VoteKind::Precommit;
    assert_eq!(
        refusal_of(Message::Vote(precommit)),
        Refusal::BadSignature(account(0))
    );
}

#[test]
fn messages_of_past_and_far_heights_and_rounds_change_nothing() {
    let mut machine = machine();
    for (height, round) in [(0, 0), (4, 0), (u32::MAX, 0), (1, 11), (1, u32::MAX)] {
        let vote = vote(0, height, round, VoteKind::Prevote, None);
        assert_eq!(take(&mut machine, Message::Vote(vote)), []);
    }
    let far = proposed(2, 12, None, &good_block());
    assert_eq!(take(&mut machine, Message::Proposal(far)), []);
    // Those of the next heights are kept, silently.
    for height in [2, 3] {
        let vote = vote(0, height, 0, VoteKind::Prevote, None);
        assert_eq!(take(&mut machine, Message::Vote(vote)), []);
    }
}

#[test]
fn proposals_out_of_turn_or_with_wrong_signatures_are_refused() {
    let block = block(0, 1, 0, "good");
    assert_eq!(
        refusal_of(Message::Proposal(proposed(0, 0, None, &block))),
        Refusal::WrongProposer {
            round: 0,
            expected: account(2),
            actual: account(0)
        }
    );
    let mut forged = proposed(2, 0, None, &good_block());
    forged.signed.signature = pair(0).sign(&forged.signed.proposal.payload(&GENESIS));
    assert_eq!(
        refusal_of(Message::Proposal(forged)),
        Refusal::BadSignature(account(2))
    );
    assert_eq!(
        refusal_of(Message::Proposal(proposed(0, 1, Some(1), &good_block()))),
        Refusal::BadProofOfLock {
            round: 1,
            pol_round: 1
        }
    );
}

#[test]
fn a_fresh_block_must_be_its_proposers_own_as_the_rank_of_the_round() {
    let refused = |proposed| match refusal_of(Message::Proposal(proposed)) {
        Refusal::WrongAuthor { rank, .. } => rank,
        other => panic!("{other}"),
    };
    // Rank 1 proposes rank 0's block as its own; rank 0 claims rank 1 or 4; somebody else is the author.
    assert_eq!(refused(proposed(0, 1, None, &good_block())), 0);
    assert_eq!(refused(proposed(2, 0, None, &block(2, 1, 1, "good"))), 1);
    assert_eq!(refused(proposed(2, 4, None, &block(2, 1, 4, "good"))), 4);
    assert_eq!(refused(proposed(2, 0, None, &block(3, 1, 0, "good"))), 0);
    // Proposed again, but its author's turn came only after the proof of lock.
    assert_eq!(refused(proposed(3, 2, Some(0), &block(0, 1, 1, "good"))), 1);
}

#[test]
fn blocks_that_are_not_the_announced_ones_are_refused() {
    let mut swapped = proposed(2, 0, None, &good_block());
    swapped.block = block(2, 1, 0, "other");
    assert!(matches!(
        refusal_of(Message::Proposal(swapped)),
        Refusal::WrongBlock { .. }
    ));
    let other_height = block(2, 2, 0, "good");
    let mut proposal = proposed(2, 0, None, &other_height);
    proposal.signed.proposal.height = 1;
    proposal.signed.signature = pair(2).sign(&proposal.signed.proposal.payload(&GENESIS));
    assert_eq!(
        refusal_of(Message::Proposal(proposal)),
        Refusal::HeaderOfOtherHeight {
            expected: 1,
            actual: 2
        }
    );
    let mut unreadable = proposed(2, 0, None, &good_block());
    unreadable.block.header.push(0);
    unreadable.signed.proposal.block = unreadable.block.hash();
    assert_eq!(
        refusal_of(Message::Proposal(unreadable.clone())),
        Refusal::UnreadableHeader(unreadable.block.hash())
    );
    let mut large = proposed(2, 0, None, &good_block());
    large.block.header = vec![0; crate::limits::HEADER_BYTES_MAX + 1];
    assert!(matches!(
        refusal_of(Message::Proposal(large)),
        Refusal::BlockTooLarge { .. }
    ));
}

#[test]
fn a_changed_body_does_not_condemn_the_block() {
    let mut machine = machine();
    let mut changed = proposed(2, 0, None, &good_block());
    changed.block.body = std::sync::Arc::new(b"changed on the way".to_vec());
    let effects = take(&mut machine, Message::Proposal(changed));
    let check = check_in(&effects);
    let verdict = Verdict::WrongBody;
    assert_eq!(
        machine
            .handle(Input::BlockVerified { check, verdict })
            .unwrap(),
        []
    );
    // A true copy is looked at, and voted for.
    let effects = take(
        &mut machine,
        Message::Proposal(proposed(2, 0, None, &good_block())),
    );
    let check = check_in(&effects);
    let verdict = Verdict::Valid;
    let effects = machine
        .handle(Input::BlockVerified { check, verdict })
        .unwrap();
    assert!(effects.iter().any(|effect| matches!(
        effect,
        Effect::Broadcast { message: Message::Vote(signed), .. }
            if signed.vote.block == Some(good_block().hash())
    )));
}

#[test]
fn a_true_copy_that_comes_while_a_changed_one_is_executed_is_not_lost() {
    let mut machine = machine();
    let mut changed = proposed(2, 0, None, &good_block());
    changed.block.body = std::sync::Arc::new(b"changed on the way".to_vec());
    let check = check_in(&take(&mut machine, Message::Proposal(changed.clone())));
    // The same copy again is nothing new, and one peer has one more copy at most.
    let again = Message::Proposal(changed.clone());
    assert_eq!(take(&mut machine, again), []);
    changed.block.body = std::sync::Arc::new(b"changed again".to_vec());
    assert_eq!(take(&mut machine, Message::Proposal(changed)), []);
    let good = Input::Message {
        peer: PeerId(8),
        message: Message::Proposal(proposed(2, 0, None, &good_block())),
    };
    assert_eq!(machine.handle(good).unwrap(), []);
    let mut answer = |check, verdict| {
        let verified = Input::BlockVerified { check, verdict };
        machine.handle(verified).unwrap()
    };
    let check = check_in(&answer(check, Verdict::WrongBody));
    let effects = answer(check, Verdict::WrongBody);
    assert!(matches!(
        &effects[..],
        [Effect::VerifyBlock { block, .. }] if *block == good_block()
    ));
    let effects = answer(check_in(&effects), Verdict::Valid);
    assert!(has_prevoted(&effects, Some(good_block().hash())));
}

#[test]
fn a_block_sent_ahead_as_if_it_were_locked_is_still_judged_by_its_timeliness() {
    let mut machine = machine();
    // The author's turn comes again in round 4; nobody has prevoted its block.
    let ahead = Message::Proposal(proposed(2, 4, Some(0), &good_block()));
    let effects = take(&mut machine, ahead);
    let Some(Effect::VerifyBlock { check, purpose, .. }) = effects.last() else {
        panic!("{effects:?}");
    };
    assert_eq!(*purpose, Purpose::Fresh { round: 4 });
    let verified = Input::BlockVerified {
        check: *check,
        verdict: Verdict::Untimely,
    };
    assert_eq!(machine.handle(verified).unwrap(), []);
    let fresh = Message::Proposal(proposed(2, 0, None, &good_block()));
    let effects = take(&mut machine, fresh);
    assert!(!has_prevoted(&effects, Some(good_block().hash())));
    // Approval is withheld until the turn in which it was proposed is over, and no longer.
    let timeout = crate::Timeout {
        height: 1,
        round: 0,
        kind: crate::TimeoutKind::Propose,
    };
    let effects = machine.handle(Input::TimeoutElapsed(timeout)).unwrap();
    assert!(has_prevoted(&effects, None));
    let approved = Effect::AppendWal(crate::wal::WalEntry::Block(good_block()));
    assert!(effects.contains(&approved));
}

fn has_prevoted(effects: &[Effect], block: Option<commonwatt_primitives::Hash>) -> bool {
    effects.iter().any(|effect| {
        matches!(
            effect,
            Effect::Broadcast { message: Message::Vote(signed), .. }
                if signed.vote.kind == VoteKind::Prevote && signed.vote.block == block
        )
    })
}

fn check_in(effects: &[Effect]) -> crate::CheckId {
    let found = effects.iter().find_map(|effect| match effect {
        Effect::VerifyBlock { check, purpose, .. } => {
            assert_eq!(*purpose, Purpose::Fresh { round: 0 });
            Some(*check)
        }
        _ => None,
    });
    found.unwrap()
}

#[test]
fn a_third_proposal_in_one_round_is_refused() {
    let mut machine = machine();
    for tag in ["one", "two"] {
        let proposed = proposed(2, 0, None, &block(2, 1, 0, tag));
        let effects = take(&mut machine, Message::Proposal(proposed));
        assert!(
            effects
                .iter()
                .any(|effect| matches!(effect, Effect::VerifyBlock { .. }))
        );
    }
    let third = proposed(2, 0, None, &block(2, 1, 0, "three"));
    let effects = take(&mut machine, Message::Proposal(third));
    assert!(matches!(
        &effects[..],
        [Effect::Refused {
            refusal: Refusal::TooManyProposals(_),
            ..
        }]
    ));
}

#[test]
fn a_locked_block_without_its_proof_of_lock_is_not_prevoted() {
    let mut machine = machine();
    let block = good_block();
    // Rounds pass: everybody precommits nil in round 0.
    for node in [0, 2, 3] {
        let vote = vote(node, 1, 0, VoteKind::Precommit, None);
        take(&mut machine, Message::Vote(vote));
    }
    let timeout = crate::Timeout {
        height: 1,
        round: 0,
        kind: crate::TimeoutKind::Precommit,
    };
    machine.handle(Input::TimeoutElapsed(timeout)).unwrap();
    assert_eq!(machine.position(), Some((1, 1)));
    let again = proposed(0, 1, Some(0), &block);
    let effects = take(&mut machine, Message::Proposal(again));
    let Some(Effect::VerifyBlock { check, purpose, .. }) = effects.last() else {
        panic!("{effects:?}");
    };
    // A proof of lock that is only named does not excuse an untimely block.
    assert_eq!(*purpose, Purpose::Fresh { round: 1 });
    let verdict = Verdict::Valid;
    let effects = machine
        .handle(Input::BlockVerified {
            check: *check,
            verdict,
        })
        .unwrap();
    let has_voted = |effects: &[Effect]| {
        let mut effects = effects.iter();
        effects.any(|effect| {
            matches!(
                effect,
                Effect::Broadcast {
                    message: Message::Vote(_),
                    ..
                }
            )
        })
    };
    assert!(!has_voted(&effects));
    // The proof makes the difference.
    let signatures = [0, 2, 3].map(|node| ValidatorSignature {
        validator: account(node),
        signature: vote(node, 1, 0, VoteKind::Prevote, Some(block.hash())).signature,
    });
    let effects = take(
        &mut machine,
        Message::Polka(PolkaCertificate {
            height: 1,
            round: 0,
            block: block.hash(),
            signatures: signatures.to_vec(),
        }),
    );
    assert!(has_voted(&effects));
}

#[test]
fn certificates_that_prove_nothing_are_refused() {
    let hash = good_block().hash();
    let polka = |nodes: &[usize], kind| {
        let signatures = nodes.iter().map(|node| ValidatorSignature {
            validator: account(*node),
            signature: vote(*node, 1, 0, kind, Some(hash)).signature,
        });
        Message::Polka(PolkaCertificate {
            height: 1,
            round: 0,
            block: hash,
            signatures: signatures.collect(),
        })
    };
    for (nodes, kind) in [
        (&[0, 2][..], VoteKind::Prevote),
        (&[0, 2, 2], VoteKind::Prevote),
        (&[0, 2, 8], VoteKind::Prevote),
        (&[0, 2, 3], VoteKind::Precommit),
        (&[], VoteKind::Prevote),
    ] {
        assert!(matches!(
            refusal_of(polka(nodes, kind)),
            Refusal::Certificate(_)
        ));
    }
    let round = |nodes: &[usize], kind, votes| {
        let votes = nodes.iter().map(|node| RoundVote {
            kind: votes,
            block: None,
            validator: account(*node),
            signature: vote(*node, 1, 5, votes, None).signature,
        });
        Message::Round(RoundCertificate {
            height: 1,
            round: 5,
            kind,
            votes: votes.collect(),
        })
    };
    for message in [
        round(&[0], RoundCertificateKind::Skip, VoteKind::Prevote),
        round(
            &[0, 2],
            RoundCertificateKind::Precommit,
            VoteKind::Precommit,
        ),
        round(
            &[0, 2, 3],
            RoundCertificateKind::Precommit,
            VoteKind::Prevote,
        ),
        round(&[], RoundCertificateKind::Skip, VoteKind::Prevote),
    ] {
        assert!(matches!(refusal_of(message), Refusal::Certificate(_)));
    }
    // Two of four contain an honest one: the round is entered.
    let mut machine = machine();
    take(
        &mut machine,
        round(&[0, 2], RoundCertificateKind::Skip, VoteKind::Prevote),
    );
    assert_eq!(machine.position(), Some((1, 5)));
}

#[test]
fn a_peer_that_sends_too_much_ahead_is_refused_and_the_rest_goes_on() {
    let mut machine = machine();
    for round in 0..u32::try_from(crate::limits::FUTURE_MESSAGES_PER_PEER_MAX).unwrap() {
        let mut vote = vote(0, 2, 0, VoteKind::Prevote, None);
        vote.vote.round = round;
        assert_eq!(take(&mut machine, Message::Vote(vote)), []);
    }
    let one_more = Message::Vote(vote(0, 2, 0, VoteKind::Prevote, None));
    assert!(matches!(
        &take(&mut machine, one_more.clone())[..],
        [Effect::Refused {
            refusal: Refusal::BufferFull,
            ..
        }]
    ));
    let other = Input::Message {
        peer: PeerId(8),
        message: one_more,
    };
    assert_eq!(machine.handle(other).unwrap(), []);
}

#[test]
fn answers_nobody_asked_for_change_nothing() {
    let mut machine = machine();
    let verified = Input::BlockVerified {
        check: crate::CheckId(99),
        verdict: Verdict::Valid,
    };
    assert_eq!(machine.handle(verified).unwrap(), []);
    let built = Input::BlockBuilt {
        height: 1,
        round: 0,
        block: good_block(),
    };
    assert_eq!(machine.handle(built).unwrap(), []);
    let timeout = crate::Timeout {
        height: 1,
        round: 3,
        kind: crate::TimeoutKind::Precommit,
    };
    assert_eq!(machine.handle(Input::TimeoutElapsed(timeout)).unwrap(), []);
}

#[test]
fn an_own_block_that_breaks_the_rules_stops_the_node_instead_of_being_proposed() {
    for wrong in [
        block(2, 1, 1, "good"),
        block(0, 1, 0, "good"),
        block(2, 2, 0, "good"),
    ] {
        let mut machine = Machine::new(config(2), 0, None);
        let start = Input::StartHeight {
            height: 1,
            validators: set(),
            pace: Pace::OnTime,
        };
        let effects = machine.handle(start).unwrap();
        let turn = Effect::BuildBlock {
            height: 1,
            round: 0,
            rank: 0,
        };
        assert!(effects.contains(&turn));
        let built = Input::BlockBuilt {
            height: 1,
            round: 0,
            block: wrong,
        };
        assert!(matches!(
            machine.handle(built),
            Err(Fatal::WrongOwnBlock { .. })
        ));
    }
}

#[test]
fn double_votes_and_double_proposals_are_handed_out_as_evidence_once() {
    let mut machine = machine();
    let evidence = |effects: Vec<Effect>| -> Vec<crate::EquivocationProof> {
        let proofs = effects.into_iter().filter_map(|effect| match effect {
            Effect::Evidence(proof) => Some(proof),
            _ => None,
        });
        proofs.collect()
    };
    let one = vote(0, 1, 0, VoteKind::Prevote, None);
    let other = vote(0, 1, 0, VoteKind::Prevote, Some(good_block().hash()));
    assert_eq!(evidence(take(&mut machine, Message::Vote(one.clone()))), []);
    let proofs = evidence(take(&mut machine, Message::Vote(other.clone())));
    assert_eq!(
        proofs,
        [crate::EquivocationProof::of_votes(other.clone(), one)]
    );
    assert_eq!(
        crate::verify_evidence(&set(), &GENESIS, &proofs[0]),
        Ok(account(0))
    );
    assert_eq!(evidence(take(&mut machine, Message::Vote(other))), []);

    let first = proposed(2, 0, None, &good_block());
    let second = proposed(2, 0, None, &block(2, 1, 0, "other"));
    assert_eq!(
        evidence(take(&mut machine, Message::Proposal(first.clone()))),
        []
    );
    let proofs = evidence(take(&mut machine, Message::Proposal(second.clone())));
    let expected = crate::EquivocationProof::of_proposals(first.signed, second.signed);
    assert_eq!(proofs, [expected]);
    assert_eq!(
        crate::verify_evidence(&set(), &GENESIS, &proofs[0]),
        Ok(account(2))
    );
    assert!(proofs[0].encode().len() < 512);
}

#[test]
fn a_proposer_of_later_rounds_cannot_make_a_node_hold_ever_more_blocks() {
    let mut machine = machine();
    let mut held = 0;
    // Rounds 0 to 10, two blocks each; nothing is executed yet.
    for round in 0..=10 {
        let rank = round % 4;
        let author = RANKING[usize::try_from(rank).unwrap()];
        if author == 1 {
            continue;
        }
        for tag in ["one", "two"] {
            let block = block(author, 1, rank, &format!("{tag} {round}"));
            let proposed = proposed(author, round, None, &block);
            let effects = take(&mut machine, Message::Proposal(proposed));
            held += effects
                .iter()
                .filter(|effect| matches!(effect, Effect::VerifyBlock { .. }))
                .count();
        }
    }
    assert_eq!(held, crate::limits::BLOCKS_HELD_MAX);
}

#[test]
fn a_machine_can_live_in_a_thread_of_its_own() {
    fn is_send<T: Send>() {}
    is_send::<Machine>();
}
