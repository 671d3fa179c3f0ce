//! A contract that cannot work is refused with the reason.

use commonwatt_primitives::{Hash, Step};

use crate::{ClaimError, Rules, RulesError, draw::Weights, mock::*};

fn weights(alpha: u16, beta: u16, gamma: u16) -> Rules {
    Rules {
        weights: Weights { alpha, beta, gamma },
        ..rules()
    }
}

#[test]
fn the_defaults_are_valid() {
    assert_eq!(Rules::default().verify(96), Ok(()));
}

#[test]
fn weights_must_be_gamma_alpha_beta() {
    let refused = Err(RulesError::WeightsOutOfOrder);
    for (alpha, beta, gamma) in [
        (1, 1, 0),
        (2, 1, 0),
        (1, 2, 1),
        (1, 3, 2),
        (0, 1, 0),
        (3, 2, 1),
    ] {
        assert_eq!(weights(alpha, beta, gamma).verify(EPOCH), refused);
    }
    assert_eq!(weights(1, 2, 0).verify(EPOCH), Ok(()));
    assert_eq!(weights(30, 32_767, 20).verify(EPOCH), Ok(()));
    assert_eq!(
        weights(30, 32_768, 20).verify(EPOCH),
        Err(RulesError::WeightTooLarge)
    );
}

#[test]
fn the_lead_is_at_least_two_and_within_an_epoch() {
    for (bid_lead, is_valid) in [(0, false), (1, false), (2, true), (8, true), (9, false)] {
        let verdict = Rules {
            bid_lead,
            ..rules()
        }
        .verify(EPOCH);
        assert_eq!(verdict.is_ok(), is_valid, "{bid_lead}");
    }
}

#[test]
fn retention_and_penalty_have_bounds() {
    let forgetful = Rules {
        retention: 0,
        ..rules()
    };
    assert_eq!(forgetful.verify(EPOCH), Err(RulesError::NoRetention));
    let harsh = Rules {
        no_bid_penalty: 1 << 64,
        ..rules()
    };
    assert_eq!(harsh.verify(EPOCH), Err(RulesError::PenaltyTooLarge));
}

#[test]
#[should_panic(expected = "genesis: mining: weights must be gamma < alpha < beta")]
fn a_broken_contract_stops_the_genesis() {
    new_test(weights(3, 2, 1), &[1]);
}

#[test]
fn without_validators_no_block_follows() {
    test_with(rules(), &[], || {
        let claim = commonwatt_primitives::auction::BlockClaim {
            author: 1,
            author_rank: 0,
            winner: 1,
            beacon: commonwatt_primitives::beacon::prove(&pairs(1, 0).1, &Hash::repeat_byte(1), 1),
        };
        assert_eq!(
            Auction::verify_claim(Step(1), &claim),
            Err(ClaimError::NoRanking)
        );
    });
}

#[test]
#[should_panic(expected = "genesis: mining: at most 9 validators")]
fn too_many_validators_stop_the_genesis() {
    new_test(rules(), &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
}

#[test]
fn rules_are_read_as_people_write_them() {
    let written = r#"{"bidLead": 6, "rule": "highest-reputation", "basis": "owned",
        "weights": {"alpha": 2, "beta": 3, "gamma": 1}}"#;
    let rules: Rules = serde_json::from_str(written).unwrap();
    assert_eq!(rules.bid_lead, 6);
    assert_eq!(rules.retention, Rules::default().retention);
    assert!(serde_json::from_str::<Rules>(r#"{"bidlead": 6}"#).is_err());
}
