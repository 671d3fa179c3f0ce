use super::*;
use frame_support::dispatch::{DispatchResultWithPostInfo, GetDispatchInfo};

const ROOM: Conditions = Conditions {
    temperature: TemperatureBand::Normal,
    load: Load::Balanced,
};

fn read_register(step: u32, register: u64) -> DispatchResultWithPostInfo {
    EnergyToken::report_register(RuntimeOrigin::root(), PV, Step(step), Wh(register), ROOM)
}

/// Credits 1 000 Wh in each of the steps 2 to 4, after a register reading of `first` in step 1, and
/// goes on to step 10, when their correction window is over.
fn credit_three_steps_after(first: u64) {
    run_to(2);
    assert_ok!(read_register(1, first));
    for step in 2..=4 {
        run_to(step);
        assert_ok!(report(pv(), step.into(), interval(step, 1_000)));
    }
    run_to(10);
}

#[test]
fn the_first_register_reading_only_begins_a_comparison() {
    test(|| {
        run_to(2);
        assert_ok!(read_register(1, 70_000));
        let (meter, step, register) = (PV, Step(1), Wh(70_000));
        assert_eq!(
            last_event(),
            Event::RegisterStarted {
                meter,
                step,
                register
            }
        );
    });
}

#[test]
fn a_register_that_agrees_flags_nothing() {
    test(|| {
        credit_three_steps_after(70_000);
        // Class B at room temperature: 2 % of 3 060 Wh, which is 61 Wh.
        assert_ok!(read_register(4, 73_060));
        let (credited, metered, tolerance) = (Wh(3_000), Wh(3_060), Wh(61));
        assert_eq!(
            last_event(),
            Event::RegisterCompared {
                meter: PV,
                step: Step(4),
                credited,
                metered,
                tolerance
            }
        );
        assert_eq!(FlaggedMeters::<Test>::get(PV), None);
    });
}

#[test]
fn a_difference_beyond_the_permissible_error_flags_the_meter() {
    test(|| {
        credit_three_steps_after(70_000);
        assert_ok!(read_register(4, 73_062));
        assert_eq!(
            last_event(),
            Event::MeterFlagged {
                meter: PV,
                step: Step(4)
            }
        );
        let flag = Flag {
            step: Step(4),
            credited: Wh(3_000),
            metered: Wh(3_062),
        };
        assert_eq!(FlaggedMeters::<Test>::get(PV), Some(flag));
    });
}

#[test]
fn too_much_credited_flags_the_meter_too() {
    test(|| {
        credit_three_steps_after(70_000);
        assert_ok!(read_register(4, 70_000));
        assert!(FlaggedMeters::<Test>::contains_key(PV));
    });
}

#[test]
fn conditions_widen_the_permissible_error() {
    test(|| {
        credit_three_steps_after(70_000);
        let conditions = Conditions {
            temperature: TemperatureBand::Extreme,
            load: Load::LowCurrent,
        };
        assert_ok!(EnergyToken::report_register(
            RuntimeOrigin::root(),
            PV,
            Step(4),
            Wh(73_062),
            conditions
        ));
        assert_eq!(FlaggedMeters::<Test>::get(PV), None);
    });
}

#[test]
fn a_changed_table_changes_the_permissible_error() {
    test(|| {
        credit_three_steps_after(70_000);
        let mut table = MpeTable::default();
        table.b.balanced[0] = commonwatt_primitives::Bps(1_000);
        assert_ok!(EnergyToken::set_mpe_table(RuntimeOrigin::root(), table));
        assert_eq!(last_event(), Event::MpeTableChanged { table });
        assert_ok!(read_register(4, 73_100));
        assert_eq!(FlaggedMeters::<Test>::get(PV), None);
    });
}

#[test]
fn a_table_with_an_error_above_the_whole_is_refused() {
    test(|| {
        let mut table = MpeTable::default();
        table.c.low_current[3] = commonwatt_primitives::Bps(10_001);
        assert_noop!(
            EnergyToken::set_mpe_table(RuntimeOrigin::root(), table),
            Error::<Test>::MpeAboveWhole
        );
    });
}

#[test]
fn a_flag_stays_until_the_dso_clears_it() {
    test(|| {
        credit_three_steps_after(70_000);
        assert_ok!(read_register(3, 75_000));
        assert_ok!(read_register(4, 76_000));
        assert!(FlaggedMeters::<Test>::contains_key(PV));
        assert_ok!(EnergyToken::clear_flag(RuntimeOrigin::root(), PV));
        assert_eq!(last_event(), Event::FlagCleared { meter: PV });
        assert_noop!(
            EnergyToken::clear_flag(RuntimeOrigin::root(), PV),
            Error::<Test>::NotFlagged
        );
    });
}

#[test]
fn a_register_that_ran_backwards_is_refused() {
    test(|| {
        credit_three_steps_after(70_000);
        assert_noop!(
            read_register(4, 69_999),
            Error::<Test>::RegisterRanBackwards
        );
    });
}

#[test]
fn a_register_that_rolled_over_counted_forwards() {
    test(|| {
        credit_three_steps_after(999_000);
        assert_ok!(EnergyToken::roll_over_register(
            RuntimeOrigin::root(),
            PV,
            Step(4),
            Wh(2_000),
            Wh(1_000_000),
            ROOM
        ));
        let (credited, metered, tolerance) = (Wh(3_000), Wh(3_000), Wh(60));
        assert_eq!(
            last_event(),
            Event::RegisterCompared {
                meter: PV,
                step: Step(4),
                credited,
                metered,
                tolerance
            }
        );
    });
}

#[test]
fn a_register_that_did_not_roll_over_is_refused() {
    test(|| {
        credit_three_steps_after(999_000);
        let roll_over = |register, modulus| {
            let (register, modulus) = (Wh(register), Wh(modulus));
            EnergyToken::roll_over_register(
                RuntimeOrigin::root(),
                PV,
                Step(4),
                register,
                modulus,
                ROOM,
            )
        };
        assert_noop!(
            roll_over(999_500, 1_000_000),
            Error::<Test>::RegisterDidNotRollOver
        );
        assert_noop!(
            roll_over(500, 999_000),
            Error::<Test>::RegisterDidNotRollOver
        );
    });
}

#[test]
fn a_replaced_meter_is_not_negative_energy() {
    test(|| {
        credit_three_steps_after(70_000);
        assert_ok!(EnergyToken::replace_register(
            RuntimeOrigin::root(),
            PV,
            Step(3),
            Some(Wh(72_000)),
            Wh(5),
            ROOM
        ));
        let (credited, metered, tolerance) = (Wh(2_000), Wh(2_000), Wh(40));
        assert_eq!(
            last_event(),
            Event::RegisterCompared {
                meter: PV,
                step: Step(3),
                credited,
                metered,
                tolerance
            }
        );
        assert_ok!(read_register(4, 1_005));
        assert_eq!(FlaggedMeters::<Test>::get(PV), None);
    });
}

#[test]
fn a_register_that_cannot_be_read_any_more_is_replaced_without_a_comparison() {
    test(|| {
        credit_three_steps_after(70_000);
        assert_ok!(EnergyToken::replace_register(
            RuntimeOrigin::root(),
            PV,
            Step(4),
            None,
            Wh(5),
            ROOM
        ));
        let (meter, step, register) = (PV, Step(4), Wh(5));
        assert_eq!(
            last_event(),
            Event::RegisterStarted {
                meter,
                step,
                register
            }
        );
    });
}

#[test]
fn a_last_reading_needs_one_before_it() {
    test(|| {
        run_to(2);
        let (root, step) = (RuntimeOrigin::root(), Step(1));
        assert_noop!(
            EnergyToken::replace_register(root.clone(), PV, step, Some(Wh(9)), Wh(5), ROOM),
            Error::<Test>::RegisterUnknown
        );
        assert_noop!(
            EnergyToken::roll_over_register(root, PV, step, Wh(5), Wh(10), ROOM),
            Error::<Test>::RegisterUnknown
        );
    });
}

#[test]
fn a_register_is_read_after_its_step_and_after_the_last_reading() {
    test(|| {
        run_to(3);
        assert_noop!(read_register(3, 1), Error::<Test>::RegisterStepOpen);
        assert_ok!(read_register(2, 1));
        assert_noop!(read_register(2, 1), Error::<Test>::RegisterStepNotNewer);
        assert_noop!(read_register(1, 1), Error::<Test>::RegisterStepNotNewer);
        let root = RuntimeOrigin::root();
        assert_noop!(
            EnergyToken::report_register(root, MeterId(9), Step(1), Wh(1), ROOM),
            Error::<Test>::MeterUnknown
        );
    });
}

#[test]
fn a_register_read_too_rarely_is_refused_and_can_start_anew() {
    test(|| {
        run_to(2);
        assert_ok!(read_register(1, 0));
        run_to(13);
        assert_noop!(read_register(12, 0), Error::<Test>::RegisterIntervalTooLong);
        // Ten steps, but the first of them is no longer kept.
        run_to(14);
        assert_noop!(read_register(11, 0), Error::<Test>::RegisterIntervalTooLong);
        let root = RuntimeOrigin::root();
        assert_ok!(EnergyToken::replace_register(
            root,
            PV,
            Step(12),
            None,
            Wh(0),
            ROOM
        ));
        run_to(20);
        assert_ok!(read_register(13, 0));
    });
}

#[test]
fn hidden_consumption_cannot_be_compared() {
    test(|| {
        let read = |step, register| {
            let root = RuntimeOrigin::root();
            EnergyToken::report_register(root, HOUSE, Step(step), Wh(register), ROOM)
        };
        run_to(2);
        assert_ok!(read(1, 0));
        let commitment = compute_commitment(HOUSE, Step(2), Wh(900), [1; 32]);
        let reading = Measurement::Commitment(commitment);
        assert_ok!(report(
            house(),
            0,
            Report {
                step: Step(2),
                reading
            }
        ));
        run_to(8);
        assert_ok!(read(2, 900));
        let (meter, step) = (HOUSE, Step(2));
        assert_eq!(
            last_event(),
            Event::RegisterIncomparable {
                meter,
                step,
                committed_steps: 1
            }
        );
        assert_eq!(FlaggedMeters::<Test>::get(HOUSE), None);
    });
}

#[test]
fn a_comparison_pays_for_the_steps_it_looked_at() {
    test(|| {
        credit_three_steps_after(70_000);
        let call = Call::<Test>::report_register {
            meter: PV,
            step: Step(4),
            register: Wh(73_000),
            conditions: ROOM,
        };
        let announced = call.get_dispatch_info().call_weight;
        let paid = read_register(4, 73_000)
            .expect("the reading is good")
            .actual_weight;
        assert_eq!(paid, Some(<() as WeightInfo>::compare_register(3)));
        assert!(paid.is_some_and(|paid| {
            paid.all_lt(announced.saturating_add(frame_support::weights::Weight::from_parts(1, 1)))
        }));
    });
}

#[test]
fn registers_flags_and_errors_are_the_dso_s() {
    test(|| {
        run_to(2);
        let member = RuntimeOrigin::signed(alice());
        let bad_origin = sp_runtime::DispatchError::BadOrigin;
        assert_noop!(
            EnergyToken::report_register(member.clone(), PV, Step(1), Wh(1), ROOM),
            bad_origin
        );
        assert_noop!(
            EnergyToken::roll_over_register(member.clone(), PV, Step(1), Wh(1), Wh(2), ROOM),
            bad_origin
        );
        assert_noop!(
            EnergyToken::replace_register(member.clone(), PV, Step(1), None, Wh(1), ROOM),
            bad_origin
        );
        assert_noop!(EnergyToken::clear_flag(member.clone(), PV), bad_origin);
        assert_noop!(
            EnergyToken::set_mpe_table(member, MpeTable::default()),
            bad_origin
        );
    });
}

#[test]
fn a_register_is_compared_only_when_its_steps_can_no_longer_change() {
    test(|| {
        run_to(2);
        assert_ok!(read_register(1, 0));
        run_to(7);
        assert_noop!(read_register(2, 0), Error::<Test>::RegisterStepCorrectable);
        run_late_to(8);
        assert_noop!(read_register(2, 0), Error::<Test>::RegisterStepCorrectable);
        run_to(9);
        assert_ok!(read_register(2, 0));
    });
}

#[test]
fn too_much_credited_in_clear_is_flagged_beside_a_commitment() {
    test(|| {
        let read = |step, register| {
            let root = RuntimeOrigin::root();
            EnergyToken::report_register(root, HOUSE, Step(step), Wh(register), ROOM)
        };
        run_to(2);
        assert_ok!(read(1, 0));
        let commitment = compute_commitment(HOUSE, Step(2), Wh(900), [1; 32]);
        let committed = Report {
            step: Step(2),
            reading: Measurement::Commitment(commitment),
        };
        assert_ok!(report(house(), 0, committed));
        run_to(3);
        assert_ok!(report(house(), 1, interval(3, 1_000)));
        run_to(9);
        assert_ok!(read(3, 500));
        assert!(FlaggedMeters::<Test>::contains_key(HOUSE));
    });
}
