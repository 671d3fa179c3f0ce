//! One rule per test.

use commonwatt_primitives::{
    Ppm, Step, Wh,
    traits::{Loyalty as _, MarketConduct},
};
use frame_support::derive_impl;
use sp_runtime::BuildStorage;

use crate as pallet_loyalty;
use crate::{Event, Rules, RulesError, Scores};

type AccountId = u64;

const ANNA: AccountId = 1;

frame_support::construct_runtime!(
    pub enum Test {
        System: frame_system,
        Loyalty: pallet_loyalty,
    }
);

#[derive_impl(frame_system::config_preludes::TestDefaultConfig)]
impl frame_system::Config for Test {
    type Block = frame_system::mocking::MockBlockU32<Test>;
}

impl pallet_loyalty::Config for Test {
    type WeightInfo = ();
}

fn test_with(rules: Rules, story: impl FnOnce()) {
    let storage = RuntimeGenesisConfig {
        loyalty: pallet_loyalty::GenesisConfig {
            rules,
            ..Default::default()
        },
        ..Default::default()
    }
    .build_storage()
    .expect("the genesis is valid");
    sp_io::TestExternalities::new(storage).execute_with(|| {
        System::set_block_number(1);
        story();
        Loyalty::do_try_state().expect("the invariants hold");
    });
}

fn test(story: impl FnOnce()) {
    test_with(Rules::default(), story);
}

fn traded(wh: u64) -> MarketConduct {
    MarketConduct {
        traded: Wh(wh),
        ..Default::default()
    }
}

#[test]
fn everyone_begins_at_one() {
    test(|| {
        assert_eq!(Loyalty::loyalty_of(&ANNA, Step(7)), Ppm(1_000_000));
        assert_eq!(Scores::<Test>::iter().count(), 0);
    });
}

#[test]
fn a_step_changes_a_score_once() {
    test(|| {
        Loyalty::on_market_cleared(&ANNA, Step(3), traded(1_000));
        Loyalty::on_market_cleared(&ANNA, Step(3), traded(1_000));
        assert_eq!(Loyalty::loyalty_of(&ANNA, Step(3)), Ppm(1_050_000));
        System::assert_has_event(
            Event::LoyaltyChanged {
                who: ANNA,
                step: Step(3),
                from: Ppm(1_000_000),
                to: Ppm(1_050_000),
            }
            .into(),
        );
        assert_eq!(System::events().len(), 1);
    });
}

#[test]
fn a_score_fades_before_it_changes_again() {
    let rules = Rules {
        decay: Ppm(500_000),
        ..Rules::default()
    };
    test_with(rules, || {
        Loyalty::on_market_cleared(&ANNA, Step(1), traded(1_000));
        assert_eq!(Loyalty::loyalty_of(&ANNA, Step(2)), Ppm(1_025_000));
        Loyalty::on_market_cleared(&ANNA, Step(2), traded(1_000));
        assert_eq!(Loyalty::loyalty_of(&ANNA, Step(2)), Ppm(1_075_000));
    });
}

#[test]
fn a_score_that_is_one_again_is_forgotten() {
    let rules = Rules {
        cut: Ppm(50_000),
        decay: Ppm(0),
        ..Rules::default()
    };
    test_with(rules, || {
        Loyalty::on_market_cleared(&ANNA, Step(1), traded(1_000));
        let cut_off = MarketConduct {
            cut_off: Wh(1_000),
            ..Default::default()
        };
        Loyalty::on_market_cleared(&ANNA, Step(2), cut_off);
        assert_eq!(Loyalty::loyalty_of(&ANNA, Step(2)), Ppm(1_000_000));
        assert!(!Scores::<Test>::contains_key(ANNA));
    });
}

#[test]
fn who_had_no_conduct_keeps_its_score() {
    test(|| {
        Loyalty::on_market_cleared(&ANNA, Step(1), MarketConduct::default());
        assert!(!Scores::<Test>::contains_key(ANNA));
        assert!(System::events().is_empty());
    });
}

#[test]
fn rules_that_contradict_themselves_are_refused() {
    let rules = Rules::default();
    assert_eq!(rules.verify(), Ok(()));
    let cases = [
        (
            Rules {
                floor: Ppm(0),
                ..rules
            },
            RulesError::Bounds,
        ),
        (
            Rules {
                floor: Ppm(1_000_001),
                ..rules
            },
            RulesError::Bounds,
        ),
        (
            Rules {
                ceiling: Ppm(999_999),
                ..rules
            },
            RulesError::Bounds,
        ),
        (
            Rules {
                ceiling: Ppm(u32::MAX),
                ..rules
            },
            RulesError::Bounds,
        ),
        (
            Rules {
                slight: rules.boost,
                ..rules
            },
            RulesError::SlightNotSlight,
        ),
        (
            Rules {
                cut: Ppm(1_000_001),
                ..rules
            },
            RulesError::ChangeTooLarge,
        ),
        (
            Rules {
                decay: Ppm(1_000_001),
                ..rules
            },
            RulesError::ChangeTooLarge,
        ),
        (
            Rules {
                scale: Wh(0),
                ..rules
            },
            RulesError::NoScale,
        ),
    ];
    for (rules, error) in cases {
        assert_eq!(rules.verify(), Err(error));
    }
}
