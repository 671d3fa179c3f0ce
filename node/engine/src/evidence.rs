//! Proof of a contradiction, from the agreement to the chain.

use codec::{DecodeAll, Encode};
use commonwatt_consensus::EquivocationProof;
use commonwatt_primitives::evidence::{self, Evidence};
use commonwatt_runtime::{RuntimeCall, UncheckedExtrinsic};
use pallet_miner_auction::Call;
use sp_core::ed25519;

/// Returns the unsigned transaction that brings a proof on chain; `key` is the vote key that signed both messages.
pub fn to_extrinsic(proof: &EquivocationProof, key: ed25519::Public) -> Vec<u8> {
    let call = RuntimeCall::MinerAuction(Call::report_equivocation {
        evidence: Box::new(to_evidence(proof, key)),
    });
    UncheckedExtrinsic::new_bare(call).encode()
}

fn to_evidence(proof: &EquivocationProof, key: ed25519::Public) -> Evidence {
    let proof = evidence::EquivocationProof::decode_all(&mut &proof.encode()[..])
        .expect("both crates encode proofs alike, as the test below holds them to; qed");
    Evidence { key, proof }
}

#[cfg(test)]
mod tests {
    use super::*;
    use commonwatt_consensus::{
        Proposal, SignedProposal, SignedVote, Validator, ValidatorSet, Vote, VoteKind,
        verify_evidence,
    };
    use commonwatt_primitives::{AccountId, Hash, auction::Equivocation};
    use sp_core::Pair;

    const GENESIS: Hash = Hash::repeat_byte(7);

    fn pair() -> ed25519::Pair {
        ed25519::Pair::from_seed(&[1; 32])
    }

    fn account() -> AccountId {
        AccountId::new([3; 32])
    }

    fn vote(kind: VoteKind, block: Option<Hash>) -> SignedVote {
        let vote = Vote {
            height: 9,
            round: 2,
            kind,
            block,
            validator: account(),
        };
        SignedVote {
            signature: pair().sign(&vote.payload(&GENESIS)),
            vote,
        }
    }

    fn proposal(block: u8, pol_round: Option<u32>) -> SignedProposal {
        let proposal = Proposal {
            height: 9,
            round: 2,
            block: Hash::repeat_byte(block),
            pol_round,
            validator: account(),
        };
        SignedProposal {
            signature: pair().sign(&proposal.payload(&GENESIS)),
            proposal,
        }
    }

    #[test]
    fn what_the_agreement_proves_the_chain_believes() {
        let set = ValidatorSet::new(
            vec![Validator {
                account: account(),
                vote: pair().public(),
            }],
            &[account()],
        )
        .unwrap();
        let hash = Hash::repeat_byte(5);
        let proofs = [
            EquivocationProof::of_votes(
                vote(VoteKind::Prevote, None),
                vote(VoteKind::Prevote, Some(hash)),
            ),
            EquivocationProof::of_votes(
                vote(VoteKind::Precommit, Some(hash)),
                vote(VoteKind::Precommit, None),
            ),
            EquivocationProof::of_proposals(proposal(1, None), proposal(2, Some(1))),
            EquivocationProof::of_proposals(proposal(1, Some(0)), proposal(1, Some(1))),
        ];
        for proof in proofs {
            assert_eq!(verify_evidence(&set, &GENESIS, &proof), Ok(account()));
            let evidence = to_evidence(&proof, pair().public());
            assert_eq!(evidence.proof.encode(), proof.encode());
            assert_eq!(evidence.verify(&GENESIS), Ok(()));
            assert_eq!(evidence.height(), proof.height());
        }
        // And what it does not prove, the chain does not believe.
        let same = EquivocationProof::of_votes(
            vote(VoteKind::Prevote, None),
            vote(VoteKind::Precommit, Some(hash)),
        );
        assert!(verify_evidence(&set, &GENESIS, &same).is_err());
        assert!(
            to_evidence(&same, pair().public())
                .verify(&GENESIS)
                .is_err()
        );
    }
}
