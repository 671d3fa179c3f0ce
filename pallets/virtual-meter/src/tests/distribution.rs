use commonwatt_primitives::{Bps, MeterKind, Step, Wh, metering::MeterInfo};
use proptest::prelude::*;

use crate::{Event, Refusal, StepSummary, VgmEntry, mock::*};

const X: AccountId = 10;
const Y: AccountId = 20;
const A: u32 = 1;
const B: u32 = 2;

fn vgm(step: u32, who: AccountId) -> VgmEntry {
    VirtualMeter::vgm(Step(step), &who).unwrap_or_default()
}

#[test]
fn the_contract_of_the_papers_gives_8_kwh_to_x_and_17_to_y() {
    // [D] Table 1: 15 kWh from A and 10 from B; X gets 32 %, Y 68 %.
    chain(agreement(static_key(false, &[(X, 320_000), (Y, 680_000)]))).execute_with(|| {
        register_generator(A, COMMUNITY);
        register_generator(B, COMMUNITY);
        measure(1, A, 15_000);
        measure(1, B, 10_000);
        let told = finish_block();
        assert_eq!(
            told,
            [Event::StepDistributed {
                step: Step(1),
                version: 1,
                generated: Wh(25_000),
                shared: Wh(25_000),
                rest: Wh(0),
                members: 2,
            }]
        );
        assert_eq!(
            vgm(1, X),
            VgmEntry {
                shared: Wh(8_000),
                ..Default::default()
            }
        );
        assert_eq!(
            vgm(1, Y),
            VgmEntry {
                shared: Wh(17_000),
                ..Default::default()
            }
        );
    });
}

#[test]
fn a_capped_key_gives_nobody_more_than_it_consumed() {
    chain(agreement(static_key(true, &[(X, 320_000), (Y, 680_000)]))).execute_with(|| {
        register_generator(A, COMMUNITY);
        register_consumer(X);
        measure(1, A, 25_000);
        consume(1, X, 5_000);
        finish_block();
        // Nobody reported what Y consumed.
        assert_eq!(vgm(1, X).shared, Wh(5_000));
        assert_eq!(vgm(1, Y), VgmEntry::default());
        assert_eq!(vgm(1, COMMUNITY).rest, Wh(20_000));
    });
}

#[test]
fn a_pro_rata_key_follows_consumption() {
    chain(agreement(pro_rata(&[X, Y]))).execute_with(|| {
        register_generator(A, COMMUNITY);
        register_consumer(X);
        register_consumer(Y);
        register_consumer(30);
        for (step, generated) in [(1, 400), (2, 4_000)] {
            measure(step, A, generated);
            consume(step, X, 300);
            consume(step, Y, 500);
            // Not a participant: gets nothing, and takes nothing away.
            consume(step, 30, 7_000);
            finish_block();
        }
        assert_eq!([vgm(1, X).shared, vgm(1, Y).shared], [Wh(150), Wh(250)]);
        assert_eq!([vgm(2, X).shared, vgm(2, Y).shared], [Wh(300), Wh(500)]);
        assert_eq!(vgm(2, COMMUNITY).rest, Wh(3_200));
        assert_eq!(
            vgm(2, 30),
            VgmEntry {
                consumption: Some(Wh(7_000)),
                ..Default::default()
            }
        );
    });
}

#[test]
fn ties_go_to_the_smaller_account_id() {
    chain(agreement(static_key(false, &[(Y, 500_000), (X, 500_000)]))).execute_with(|| {
        register_generator(A, COMMUNITY);
        measure(1, A, 7);
        finish_block();
        assert_eq!([vgm(1, X).shared, vgm(1, Y).shared], [Wh(4), Wh(3)]);
    });
}

#[test]
fn a_rest_goes_to_the_beneficiaries_in_proportion_to_the_injections() {
    chain(agreement(pro_rata(&[X]))).execute_with(|| {
        register_generator(A, Y);
        register_generator(B, COMMUNITY);
        register_consumer(X);
        measure(1, A, 3_000);
        measure(1, B, 1_000);
        consume(1, X, 1_000);
        finish_block();
        assert_eq!(
            vgm(1, Y),
            VgmEntry {
                rest: Wh(2_250),
                ..Default::default()
            }
        );
        assert_eq!(
            vgm(1, COMMUNITY),
            VgmEntry {
                rest: Wh(750),
                ..Default::default()
            }
        );
    });
}

#[test]
fn losses_are_credited_to_the_loss_account() {
    chain(agreement(static_key(false, &[(X, 1_000_000)]))).execute_with(|| {
        register(
            A,
            MeterInfo {
                loss: Bps(500),
                ..meter(MeterKind::Generation, Y)
            },
        );
        register_generator(B, Y);
        measure(1, A, 199);
        measure(1, B, 100);
        finish_block();
        assert_eq!(
            vgm(1, LOSSES),
            VgmEntry {
                lost: Wh(9),
                ..Default::default()
            }
        );
        assert_eq!(vgm(1, X).shared, Wh(290));
        assert_eq!(vgm(1, LOSSES).net_wh(), 0);
        let summary = VirtualMeter::step_summary(Step(1)).map(|s| (s.generated, s.losses));
        assert_eq!(summary, Some((Wh(299), Wh(9))));
    });
}

#[test]
fn without_an_agreement_everything_is_rest() {
    chain(None).execute_with(|| {
        register(
            A,
            MeterInfo {
                loss: Bps(500),
                ..meter(MeterKind::Generation, X)
            },
        );
        measure(1, A, 199);
        finish_block();
        assert_eq!(
            vgm(1, X),
            VgmEntry {
                rest: Wh(199),
                ..Default::default()
            }
        );
        let summary = VirtualMeter::step_summary(Step(1)).expect("the step is closed");
        assert_eq!((summary.agreement, summary.losses), (None, Wh(0)));
    });
}

#[test]
fn a_step_without_readings_has_a_summary_too() {
    chain(agreement(pro_rata(&[X]))).execute_with(|| {
        finish_block();
        assert_eq!(
            VirtualMeter::step_summary(Step(1)),
            Some(StepSummary {
                version: 1,
                generated: Wh(0),
                losses: Wh(0),
                shared: Wh(0),
                rest: Wh(0),
                consumption: Wh(0),
                agreement: Some(1),
            })
        );
        assert_eq!(VirtualMeter::allocations(Step(1)), []);
    });
}

#[test]
fn the_market_face_meter_is_consumption_less_vgm() {
    chain(agreement(static_key(false, &[(X, 400_000), (Y, 600_000)]))).execute_with(|| {
        register_generator(A, COMMUNITY);
        register_consumer(X);
        register_consumer(Y);
        measure(1, A, 1_000);
        consume(1, X, 700);
        consume(1, Y, 500);
        finish_block();
        assert_eq!(VirtualMeter::market_face_meter(Step(1), &X), Some(300));
        assert_eq!(VirtualMeter::market_face_meter(Step(1), &Y), Some(-100));
        assert_eq!(VirtualMeter::market_face_meter(Step(1), &30), None);
    });
}

#[test]
fn several_consumption_meters_of_a_member_add_up() {
    chain(agreement(pro_rata(&[X]))).execute_with(|| {
        register_consumer(X);
        register(3, meter(MeterKind::Consumption, X));
        consume(1, X, 700);
        measure(1, 3, 50);
        finish_block();
        assert_eq!(vgm(1, X).consumption, Some(Wh(750)));
    });
}

#[test]
fn a_step_that_does_not_fit_is_refused_and_leaves_no_trace() {
    chain(agreement(pro_rata(&[X]))).execute_with(|| {
        register_generator(A, X);
        register_generator(B, X);
        measure(1, A, u64::MAX);
        measure(1, B, 1);
        let told = finish_block();
        let refused = Event::DistributionRefused {
            step: Step(1),
            reason: Refusal::Overflow,
        };
        assert_eq!(told, [refused]);
        assert_eq!(VirtualMeter::step_summary(Step(1)), None);
        assert_eq!(tokens(X), 0);
        // Once the reading is corrected, the step is distributed for the first time.
        measure(1, A, 4);
        finish_block();
        assert_eq!(
            VirtualMeter::step_summary(Step(1)).map(|s| (s.version, s.rest)),
            Some((1, Wh(5)))
        );
    });
}

#[test]
fn more_generators_than_the_limit_are_refused() {
    chain(None).execute_with(|| {
        for id in 0..81 {
            register_generator(id, X);
            measure(1, id, 1);
        }
        let refused = Event::DistributionRefused {
            step: Step(1),
            reason: Refusal::TooManyMeters,
        };
        assert_eq!(finish_block(), [refused]);
    });
}

#[test]
fn the_weight_follows_the_size_of_the_last_distribution() {
    use frame_support::traits::Hooks;
    chain(agreement(pro_rata(&[X, Y]))).execute_with(|| {
        let idle = VirtualMeter::on_initialize(1);
        register_generator(A, X);
        register_consumer(Y);
        measure(1, A, 10);
        consume(1, Y, 5);
        finish_block();
        let busy = VirtualMeter::on_initialize(2);
        let runs = u64::from(ChangedStepsPerBlock::get()) + 1;
        let grown = <() as crate::WeightInfo>::distribute(2, 2)
            - <() as crate::WeightInfo>::distribute(0, 0);
        assert_eq!(busy - idle, grown * runs);
    });
}

#[derive(Clone, Debug)]
pub struct Week {
    pub key: u8,
    pub shares: Vec<u32>,
    pub generation: Vec<Vec<u64>>,
    pub consumption: Vec<Vec<Option<u64>>>,
    pub losses: Vec<u16>,
}

impl Week {
    /// Returns a genesis agreement over the members from 1 on.
    pub fn agreement(&self) -> Option<crate::GenesisAgreement<AccountId>> {
        let members: Vec<AccountId> = (1..).take(self.shares.len()).collect();
        let weights: Vec<u64> = self.shares.iter().map(|&share| u64::from(share)).collect();
        let shares = commonwatt_primitives::split::split_by_largest_remainder(1_000_000, &weights)
            .expect("a share is positive")
            .into_iter()
            .map(|share| u32::try_from(share).expect("at most a million"));
        let shares: Vec<_> = members.iter().copied().zip(shares).collect();
        match self.key {
            0 => agreement(static_key(false, &shares)),
            1 => agreement(static_key(true, &shares)),
            2 => agreement(pro_rata(&members)),
            _ => None,
        }
    }

    pub fn register(&self) {
        for (id, &loss) in (0u32..).zip(&self.losses) {
            // Beneficiaries: a participant, a member who is none, the community.
            let beneficiary = [1, 50, COMMUNITY][id as usize % 3];
            let info = meter(MeterKind::Generation, beneficiary);
            register(
                id,
                MeterInfo {
                    loss: Bps(loss),
                    ..info
                },
            );
        }
        for member in (1..).take(self.shares.len()) {
            register_consumer(member);
        }
    }

    /// Measures one of the steps; readings of a past step become corrections.
    pub fn measure(&self, step: u32) {
        let row = step as usize - 1;
        for (id, &energy) in (0u32..).zip(&self.generation[row]) {
            measure(step, id, energy);
        }
        for (member, &energy) in (1..).zip(&self.consumption[row]) {
            if let Some(energy) = energy {
                consume(step, member, energy);
            }
        }
    }

    pub fn steps(&self) -> u32 {
        self.generation.len() as u32
    }
}

prop_compose! {
    /// A random community of a few generators and members, measured over `STEPS` steps.
    pub fn any_week()(members in 1usize..8, generators in 1usize..6)(
        key in 0u8..4,
        shares in prop::collection::vec(1u32..1_000, members),
        losses in prop::collection::vec(0u16..2_000, generators),
        generation in prop::collection::vec(
            prop::collection::vec(0u64..5_000, generators),
            STEPS,
        ),
        consumption in prop::collection::vec(
            prop::collection::vec(prop::option::of(0u64..2_000), members),
            STEPS,
        ),
    ) -> Week {
        Week { key, shares, generation, consumption, losses }
    }
}

pub const STEPS: usize = 4;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn whatever_is_measured_outputs_equal_inputs(week in any_week()) {
        chain(week.agreement()).execute_with(|| {
            week.register();
            for step in 1..=week.steps() {
                week.measure(step);
                // Every invariant is checked with each block.
                finish_block();
                let generated: u64 = week.generation[step as usize - 1].iter().sum();
                let outputs: u64 = VirtualMeter::allocations(Step(step))
                    .iter()
                    .map(|(_, entry)| entry.shared.0 + entry.rest.0 + entry.lost.0)
                    .sum();
                assert_eq!(outputs, generated);
            }
        });
    }
}
