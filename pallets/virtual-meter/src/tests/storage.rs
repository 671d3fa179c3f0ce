use commonwatt_primitives::{Bps, MeterId, MeterKind, Step, Wh, metering::MeterInfo};
use proptest::prelude::*;

use crate::{Event, StorageBalances, StorageMoves, mock::*};

const OWNER: AccountId = 10;
const PV: u32 = 1;
const CHARGE: u32 = 2;
const DISCHARGE: u32 = 3;

/// A member with a generator, a house and a battery that returns nine tenths.
fn household() -> sp_io::TestExternalities {
    let mut chain = chain(agreement(static_key(false, &[(OWNER, 1_000_000)])));
    chain.execute_with(|| {
        register_generator(PV, OWNER);
        register_consumer(OWNER);
        let efficiency = Bps(9_000);
        let pair = Some(MeterId(DISCHARGE));
        let info = meter(MeterKind::StorageCharge, OWNER);
        register(
            CHARGE,
            MeterInfo {
                efficiency,
                storage_pair: pair,
                ..info
            },
        );
        let pair = Some(MeterId(CHARGE));
        let info = meter(MeterKind::StorageDischarge, OWNER);
        register(
            DISCHARGE,
            MeterInfo {
                efficiency,
                storage_pair: pair,
                ..info
            },
        );
    });
    chain
}

fn stored() -> i128 {
    StorageBalances::<Test>::get(MeterId(DISCHARGE))
}

fn generated(step: u32) -> Option<Wh> {
    VirtualMeter::step_summary(Step(step)).map(|summary| summary.generated)
}

#[test]
fn charging_is_consumption_and_stores_what_lots_covered_less_the_losses() {
    household().execute_with(|| {
        measure(1, PV, 300);
        consume(1, OWNER, 200);
        measure(1, CHARGE, 400);
        finish_block();
        let entry = VirtualMeter::vgm(Step(1), &OWNER).expect("it has energy");
        assert_eq!(entry.consumption, Some(Wh(600)));
        // Half of what was consumed came from lots, so half of the charge; nine tenths of that.
        assert_eq!(stored(), 180);
    });
}

#[test]
fn discharging_makes_lots_only_up_to_what_is_stored() {
    household().execute_with(|| {
        measure(1, PV, 1_000);
        measure(1, CHARGE, 100);
        finish_block();
        measure(2, DISCHARGE, 60);
        finish_block();
        measure(3, DISCHARGE, 60);
        let told = finish_block();
        assert_eq!([generated(2), generated(3)], [Some(Wh(60)), Some(Wh(30))]);
        assert_eq!(stored(), 0);
        let uncovered = Event::DischargeNotCovered {
            step: Step(3),
            meter: MeterId(DISCHARGE),
            reported: Wh(60),
            credited: Wh(30),
        };
        assert!(told.contains(&uncovered));
        assert_eq!(
            VirtualMeter::trace(Step(3), &OWNER).map(|t| t.from),
            Some(vec![(MeterId(DISCHARGE), Wh(30))])
        );
    });
}

#[test]
fn energy_from_the_grid_is_not_stored() {
    household().execute_with(|| {
        measure(1, CHARGE, 500);
        finish_block();
        assert_eq!(stored(), 0);
        let moved = StorageMoves::<Test>::get(Step(1));
        assert!(moved.iter().all(|one| one.stored == Wh(0)));
    });
}

#[test]
fn energy_that_was_sold_is_not_stored_as_well() {
    household().execute_with(|| {
        measure(1, PV, 1_000);
        measure(1, CHARGE, 400);
        finish_block();
        assert_eq!(stored(), 360);
        sell(1, OWNER, 20, 900).expect("it has enough");
        // Of 400 charged, the 100 that were left cover 100.
        assert_eq!(stored(), 90);
        // A correction keeps to what was sold.
        measure(1, PV, 1_100);
        finish_block();
        assert_eq!(stored(), 180);
        finish_block();
    });
}

#[test]
fn energy_that_was_bought_is_stored() {
    household().execute_with(|| {
        register_generator(9, 20);
        measure(1, PV, 0);
        measure(1, 9, 300);
        measure(1, CHARGE, 400);
        finish_block();
        assert_eq!(stored(), 270);
        sell(1, OWNER, 20, 300).expect("it has enough");
        assert_eq!(stored(), 0);
        sell(1, 20, OWNER, 200).expect("it has enough");
        assert_eq!(stored(), 180);
        assert!(virtual_meter_events().contains(&Event::ChargeCovered {
            step: Step(1),
            storage: MeterId(DISCHARGE),
            from: Wh(0),
            to: Wh(180),
        }));
        finish_block();
    });
}

#[test]
fn a_charge_meter_without_a_pair_stores_nothing() {
    household().execute_with(|| {
        register(CHARGE, meter(MeterKind::StorageCharge, OWNER));
        measure(1, PV, 500);
        measure(1, CHARGE, 500);
        finish_block();
        assert_eq!(StorageBalances::<Test>::iter().count(), 0);
    });
}

#[test]
fn a_correction_that_does_not_concern_the_storage_leaves_it_alone() {
    household().execute_with(|| {
        measure(1, PV, 1_000);
        measure(1, CHARGE, 100);
        finish_block();
        // Gives 60 and takes 90 in the same step; all of it is gone in the next.
        measure(2, PV, 1_000);
        measure(2, CHARGE, 100);
        measure(2, DISCHARGE, 60);
        finish_block();
        measure(3, DISCHARGE, 120);
        finish_block();
        assert_eq!(stored(), 0);
        measure(2, PV, 900);
        finish_block();
        assert_eq!((generated(2), generated(3)), (Some(Wh(960)), Some(Wh(120))));
        assert_eq!(stored(), 0);
    });
}

#[test]
fn a_correction_of_what_was_charged_after_the_discharge_is_made_up_for_by_later_charges() {
    household().execute_with(|| {
        measure(1, PV, 1_000);
        measure(1, CHARGE, 100);
        finish_block();
        measure(2, DISCHARGE, 90);
        finish_block();
        // The sun had not shone in step 1 after all.
        measure(1, PV, 0);
        finish_block();
        assert_eq!(stored(), -90);
        assert_eq!(generated(2), Some(Wh(90)));
        measure(4, PV, 1_000);
        measure(4, CHARGE, 150);
        finish_block();
        assert_eq!(stored(), 45);
        measure(5, DISCHARGE, 100);
        finish_block();
        assert_eq!((generated(5), stored()), (Some(Wh(45)), 0));
    });
}

#[test]
fn a_late_discharge_reading_is_credited_only_from_what_is_left_now() {
    household().execute_with(|| {
        measure(1, PV, 1_000);
        measure(1, CHARGE, 100);
        finish_block();
        finish_block();
        measure(3, DISCHARGE, 70);
        finish_block();
        measure(2, DISCHARGE, 50);
        finish_block();
        assert_eq!((generated(2), generated(3)), (Some(Wh(20)), Some(Wh(70))));
        // And a lower one gives back what it had been credited.
        measure(3, DISCHARGE, 10);
        finish_block();
        assert_eq!((generated(3), stored()), (Some(Wh(10)), 60));
    });
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// That the balance equals all moves is checked with each block.
    #[test]
    fn lots_out_never_exceed_lots_in(
        steps in prop::collection::vec((0u64..500, 0u64..500, 0u64..500, 0u64..500), 1..9),
        late in prop::collection::vec((0usize..8, 0u64..500), 0..4),
    ) {
        household().execute_with(|| {
            for (step, &(sun, house, charge, discharge)) in (1..).zip(&steps) {
                measure(step, PV, sun);
                consume(step, OWNER, house);
                measure(step, CHARGE, charge);
                measure(step, DISCHARGE, discharge);
                finish_block();
                assert!(stored() >= 0);
            }
            // Late discharges take no more than what is left.
            for (step, discharge) in late {
                measure(u32::try_from(step % steps.len()).expect("few") + 1, DISCHARGE, discharge);
                finish_block();
                assert!(stored() >= 0);
            }
        });
    }
}
