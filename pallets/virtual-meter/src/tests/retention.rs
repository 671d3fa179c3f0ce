use commonwatt_primitives::{Month, Step, Wh};

use crate::{Lots, MonthTotal, OldestKept, StepSummaries, StorageMoves, Vgm, mock::*};

const X: AccountId = 10;
const PV: u32 = 1;

#[test]
fn only_totals_per_account_and_month_outlive_the_retention() {
    chain(agreement(static_key(false, &[(X, 1_000_000)]))).execute_with(|| {
        register_generator(PV, COMMUNITY);
        register_consumer(X);
        for step in 1..=30 {
            measure(step, PV, 100);
            consume(step, X, 70);
            finish_block();
            assert!(StepSummaries::<Test>::iter().count() <= RETENTION as usize);
            assert!(Vgm::<Test>::iter().count() <= RETENTION as usize);
            assert!(Lots::<Test>::iter().count() <= RETENTION as usize);
        }
        assert_eq!(StorageMoves::<Test>::iter().count(), 0);
        assert_eq!(VirtualMeter::vgm(Step(21), &X), None);
        assert!(VirtualMeter::vgm(Step(22), &X).is_some());
        let total = |steps: u64| MonthTotal {
            shared: Wh(100 * steps),
            consumption: Wh(70 * steps),
            ..Default::default()
        };
        // Steps 1 to 7, 8 to 15, …, 24 to 30.
        let months = [0, 1, 2, 3].map(|month| VirtualMeter::month_total(Month(month), &X));
        assert_eq!(months, [total(7), total(8), total(8), total(7)]);
    });
}

#[test]
fn a_step_is_kept_for_as_many_steps_as_the_retention_says() {
    chain(agreement(static_key(false, &[(X, 1_000_000)]))).execute_with(|| {
        register_generator(PV, COMMUNITY);
        measure(1, PV, 100);
        finish_blocks_until(RETENTION);
        assert!(VirtualMeter::trace(Step(1), &X).is_some());
        finish_block();
        assert_eq!(VirtualMeter::trace(Step(1), &X), None);
        assert_eq!(VirtualMeter::step_summary(Step(1)), None);
        assert_eq!(OldestKept::<Test>::get(), Step(2));
    });
}

/// A step with more accounts than one block clears takes two, and the steps behind it catch up.
#[test]
fn a_step_with_many_buyers_expires_in_pieces() {
    let mut chain = chain(agreement(static_key(false, &[(X, 1_000_000)])));
    chain.execute_with(|| {
        register_generator(PV, COMMUNITY);
        measure(1, PV, 1_000_000);
        finish_block();
        let entry = crate::VgmEntry {
            consumption: Some(Wh(0)),
            ..Default::default()
        };
        for who in 5_000..5_250 {
            VirtualMeter::write_entries(Step(1), [(&who, entry)].into_iter());
            crate::MonthTotals::<Test>::insert(Month(0), who, MonthTotal::default());
        }
        finish_blocks_until(RETENTION);
    });
    // What is removed must be in the state below the block: the limit does not count its own changes.
    chain.commit_all().expect("no block is open");
    chain.execute_with(|| {
        finish_block();
        assert_eq!(OldestKept::<Test>::get(), Step(1));
        assert_eq!(VirtualMeter::step_summary(Step(1)), None);
        assert_eq!(VirtualMeter::allocations(Step(1)), []);
        assert!(Vgm::<Test>::iter_prefix(Step(1)).count() > 0);
    });
    chain.commit_all().expect("no block is open");
    chain.execute_with(|| {
        finish_block();
        assert_eq!(OldestKept::<Test>::get(), Step(3));
        assert_eq!(Vgm::<Test>::iter_prefix(Step(1)).count(), 0);
    });
}
