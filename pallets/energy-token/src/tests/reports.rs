use super::*;
use proptest::prelude::*;

#[test]
fn an_interval_on_time_becomes_the_lot_of_its_step() {
    test(|| {
        assert_ok!(report(pv(), 0, interval(1, 800)));
        assert_eq!(energy_of(PV, 1), Some(Wh(800)));
        let (meter, device, step, energy) = (PV, pv(), Step(1), Wh(800));
        assert_eq!(
            last_event(),
            Event::GenerationReported {
                meter,
                device,
                step,
                sequence: 0,
                energy
            }
        );
        assert!(EnergyToken::take_changed_steps(10).is_empty());
    });
}

#[test]
fn consumption_has_an_event_of_its_own() {
    test(|| {
        assert_ok!(report(house(), 7, interval(1, 0)));
        let (meter, device, step, energy) = (HOUSE, house(), Step(1), Wh(0));
        assert_eq!(
            last_event(),
            Event::ConsumptionReported {
                meter,
                device,
                step,
                sequence: 7,
                energy
            }
        );
    });
}

#[test]
fn readings_of_a_step_come_by_ascending_meter() {
    test(|| {
        assert_ok!(report(house(), 0, interval(1, 300)));
        assert_ok!(report(pv(), 0, interval(1, 800)));
        let readings = EnergyToken::readings_of(Step(1));
        let pairs: Vec<_> = readings
            .iter()
            .map(|reading| (reading.meter, reading.energy))
            .collect();
        assert_eq!(pairs, [(PV, Wh(800)), (HOUSE, Wh(300))]);
        assert!(EnergyToken::readings_of(Step(2)).is_empty());
    });
}

#[test]
fn increments_add_up_and_the_event_tells_the_total() {
    test(|| {
        assert_ok!(report(pv(), 0, added(1, 100)));
        assert_ok!(report(pv(), 1, pulses(1, 50)));
        let (meter, device, step, energy) = (PV, pv(), Step(1), Wh(150));
        assert_eq!(
            last_event(),
            Event::GenerationReported {
                meter,
                device,
                step,
                sequence: 1,
                energy
            }
        );
    });
}

#[test]
fn what_pulses_leave_over_is_carried_to_the_next_report() {
    test(|| {
        // 3 000 pulses for each kilowatt-hour: three of them are a watt-hour.
        assert_ok!(report(house(), 0, pulses(1, 4)));
        assert_eq!(energy_of(HOUSE, 1), Some(Wh(1)));
        run_to(2);
        assert_ok!(report(house(), 1, pulses(2, 5)));
        assert_eq!(energy_of(HOUSE, 2), Some(Wh(2)));
    });
}

#[test]
fn a_pulse_too_small_for_a_watt_hour_is_a_reading_all_the_same() {
    test(|| {
        assert_ok!(report(house(), 0, pulses(1, 1)));
        assert_eq!(energy_of(HOUSE, 1), Some(Wh(0)));
    });
}

#[test]
fn an_increment_of_nothing_is_refused() {
    test(|| {
        assert_noop!(
            report(pv(), 0, pulses(1, 0)),
            Error::<Test>::NothingMeasured
        );
        assert_noop!(report(pv(), 0, added(1, 0)), Error::<Test>::NothingMeasured);
    });
}

#[test]
fn an_unregistered_account_cannot_report() {
    test(|| {
        assert_noop!(
            report(account("stranger"), 0, interval(1, 1)),
            Error::<Test>::NotRegistered
        );
    });
}

#[test]
fn a_member_cannot_report() {
    test(|| {
        assert_noop!(
            report(alice(), 0, interval(1, 1)),
            Error::<Test>::NotACryptometer
        );
    });
}

#[test]
fn a_device_without_a_meter_cannot_report() {
    test(|| {
        Roles::mutate(|roles| roles.insert(account("spare"), Role::Cryptometer));
        assert_noop!(
            report(account("spare"), 0, interval(1, 1)),
            Error::<Test>::DeviceNotBound
        );
    });
}

#[test]
fn a_device_speaks_only_of_steps_in_which_it_was_bound() {
    test(|| {
        Bindings::mutate(|all| all.iter_mut().for_each(|b| b.from = Step(3)));
        run_to(3);
        assert_noop!(
            report(pv(), 0, interval(2, 1)),
            Error::<Test>::DeviceNotBoundInStep
        );
        assert_ok!(report(pv(), 0, interval(3, 1)));
    });
}

#[test]
fn a_meter_unknown_to_the_registry_is_refused() {
    test(|| {
        MetersKnown::set(Default::default());
        assert_noop!(report(pv(), 0, interval(1, 1)), Error::<Test>::MeterUnknown);
    });
}

#[test]
fn a_step_in_the_future_is_refused() {
    test(|| {
        assert_noop!(report(pv(), 0, interval(2, 1)), Error::<Test>::StepInFuture);
    });
}

#[test]
fn genesis_measures_nothing() {
    test(|| {
        assert_noop!(
            report(pv(), 0, interval(0, 1)),
            Error::<Test>::StepIsGenesis
        );
    });
}

#[test]
fn a_report_is_premature_only_before_its_step() {
    test(|| {
        let call = |step| Call::<Test>::report {
            sequence: 0,
            report: interval(step, 1),
        };
        assert!(!EnergyToken::is_premature(&call(1)));
        assert!(EnergyToken::is_premature(&call(2)));
        let reports = vec![(0, interval(1, 1)), (1, interval(2, 1))];
        let batch = Call::<Test>::report_batch {
            reports: reports.try_into().expect("the batch is short"),
        };
        assert!(EnergyToken::is_premature(&batch));
        run_to(2);
        assert!(!EnergyToken::is_premature(&batch));
        assert!(!EnergyToken::is_premature(&Call::<Test>::clear_flag {
            meter: PV
        }));
    });
}

#[test]
fn a_step_outside_the_meter_s_service_is_refused() {
    test(|| {
        let mut info = meter_info(MeterKind::Generation, 1_000);
        info.commissioned = Step(2);
        info.retired = Some(Step(3));
        MetersKnown::mutate(|meters| meters.insert(PV, info));
        run_to(4);
        assert_noop!(
            report(pv(), 0, interval(1, 1)),
            Error::<Test>::StepBeforeCommissioning
        );
        assert_noop!(
            report(pv(), 0, interval(4, 1)),
            Error::<Test>::StepAfterRetirement
        );
        assert_ok!(report(pv(), 0, interval(2, 1)));
        assert_ok!(report(pv(), 1, interval(3, 1)));
    });
}

#[test]
fn a_sequence_number_counts_once() {
    test(|| {
        assert_ok!(report(pv(), 3, added(1, 10)));
        assert_noop!(
            report(pv(), 3, added(1, 10)),
            Error::<Test>::SequenceReplayed
        );
        assert_ok!(report(pv(), 1, added(1, 10)));
        assert_noop!(
            report(pv(), 1, added(1, 10)),
            Error::<Test>::SequenceReplayed
        );
        assert_eq!(energy_of(PV, 1), Some(Wh(20)));
    });
}

#[test]
fn a_sequence_number_below_the_window_is_refused() {
    test(|| {
        assert_ok!(report(pv(), 2_000, added(1, 10)));
        assert_noop!(
            report(pv(), 975, added(1, 10)),
            Error::<Test>::SequenceTooOld
        );
        assert_ok!(report(pv(), 976, added(1, 10)));
    });
}

#[test]
fn the_last_sequence_number_of_all_is_refused() {
    test(|| {
        assert_noop!(
            report(pv(), u64::MAX, added(1, 10)),
            Error::<Test>::SequenceExhausted
        );
        assert_ok!(report(pv(), 0, added(1, 10)));
    });
}

#[test]
fn a_jump_that_leaves_numbers_behind_is_told() {
    test(|| {
        assert_ok!(report(pv(), 0, added(1, 10)));
        assert_ok!(report(pv(), 1_025, added(1, 10)));
        assert_eq!(System::event_count(), 2);
        assert_ok!(report(pv(), 2_051, added(1, 10)));
        System::assert_has_event(
            Event::SequenceJumped {
                device: pv(),
                from: 1_025,
                to: 2_051,
            }
            .into(),
        );
    });
}

#[test]
fn a_refused_report_does_not_use_up_its_number() {
    test(|| {
        assert_noop!(
            report(pv(), 0, interval(1, 999_999)),
            Error::<Test>::BeyondCapacity
        );
        assert_ok!(report(pv(), 0, interval(1, 999)));
    });
}

#[test]
fn an_interval_replaces_increments() {
    test(|| {
        assert_ok!(report(pv(), 0, added(1, 100)));
        assert_ok!(report(pv(), 1, interval_of(1, 90, 0, Quality::Measured)));
        assert_eq!(energy_of(PV, 1), Some(Wh(90)));
    });
}

#[test]
fn an_increment_after_the_whole_is_refused() {
    test(|| {
        assert_ok!(report(pv(), 0, interval(1, 100)));
        assert_noop!(
            report(pv(), 1, added(1, 1)),
            Error::<Test>::IncrementAfterWhole
        );
        assert_noop!(
            report(pv(), 1, pulses(1, 1)),
            Error::<Test>::IncrementAfterWhole
        );
    });
}

#[test]
fn a_duplicate_or_older_interval_is_refused() {
    test(|| {
        assert_ok!(report(pv(), 0, interval_of(1, 100, 2, Quality::Measured)));
        for version in [1, 2] {
            assert_noop!(
                report(pv(), 1, interval_of(1, 100, version, Quality::Measured)),
                Error::<Test>::VersionNotNewer
            );
        }
        assert_ok!(report(pv(), 1, interval_of(1, 120, 3, Quality::Measured)));
        assert_eq!(energy_of(PV, 1), Some(Wh(120)));
    });
}

#[test]
fn worse_quality_never_replaces_better() {
    test(|| {
        assert_ok!(report(pv(), 0, interval_of(1, 100, 1, Quality::Estimated)));
        assert_ok!(report(pv(), 1, interval_of(1, 110, 2, Quality::Substitute)));
        assert_noop!(
            report(pv(), 2, interval_of(1, 120, 3, Quality::Estimated)),
            Error::<Test>::QualityWorse
        );
        assert_ok!(report(pv(), 2, interval_of(1, 120, 3, Quality::Measured)));
        assert_noop!(
            report(pv(), 3, interval_of(1, 130, 4, Quality::Substitute)),
            Error::<Test>::QualityWorse
        );
    });
}

#[test]
fn an_estimate_does_not_replace_measured_increments() {
    test(|| {
        assert_ok!(report(pv(), 0, added(1, 100)));
        assert_noop!(
            report(pv(), 1, interval_of(1, 90, 1, Quality::Estimated)),
            Error::<Test>::QualityWorse
        );
    });
}

#[test]
fn a_step_s_total_stays_within_the_capacity() {
    test(|| {
        assert_noop!(
            report(pv(), 0, interval(1, 2_751)),
            Error::<Test>::BeyondCapacity
        );
        assert_ok!(report(pv(), 0, added(1, 2_750)));
        assert_noop!(report(pv(), 1, added(1, 1)), Error::<Test>::BeyondCapacity);
        assert_noop!(
            report(pv(), 1, pulses(1, u32::MAX)),
            Error::<Test>::BeyondCapacity
        );
    });
}

#[test]
fn energy_never_wraps() {
    test(|| {
        assert_ok!(report(pv(), 0, added(1, 100)));
        assert_noop!(
            report(pv(), 1, added(1, u64::MAX)),
            Error::<Test>::EnergyOverflow
        );
    });
}

#[test]
fn a_meter_without_a_pulse_constant_reports_no_pulses() {
    test(|| {
        MetersKnown::mutate(|meters| meters.insert(PV, meter_info(MeterKind::Generation, 0)));
        assert_noop!(
            report(pv(), 0, pulses(1, 1)),
            Error::<Test>::PulseConstantZero
        );
        assert_ok!(report(pv(), 0, interval(1, 1)));
    });
}

#[test]
fn a_step_holds_a_bounded_number_of_meters() {
    test(|| {
        for number in 2..6u32 {
            let device = account(&format!("device{number}"));
            install(
                MeterId(number),
                device.clone(),
                meter_info(MeterKind::Generation, 1_000),
            );
            assert_ok!(report(device, 0, interval(1, 1)));
        }
        assert_noop!(report(pv(), 0, interval(1, 1)), Error::<Test>::StepFull);
        run_to(2);
        assert_ok!(report(pv(), 0, interval(2, 1)));
    });
}

#[test]
fn a_normal_report_after_the_first_of_its_bucket_writes_one_entry() {
    test(|| {
        assert_ok!(report(house(), 0, interval(1, 10)));
        let keys_before = storage_keys();
        System::reset_events();
        assert_ok!(report(pv(), 0, interval(1, 10)));
        let keys: Vec<_> = storage_keys().difference(&keys_before).cloned().collect();
        assert_eq!(keys, [Devices::<Test>::hashed_key_for(pv())]);
    });
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Deliveries name increments by number, so that some come twice, some never, all in any order.
    #[test]
    fn every_increment_counts_once_in_whatever_order_it_comes(
        energies in prop::collection::vec(1u64..60, 30),
        deliveries in prop::collection::vec(0usize..30, 1..90),
    ) {
        test(|| {
            let mut delivered = alloc::collections::BTreeSet::new();
            for index in deliveries {
                let sequence = u64::try_from(index).expect("the index is small");
                let outcome = report(pv(), sequence, added(1, energies[index]));
                if delivered.insert(index) {
                    assert_ok!(outcome);
                } else {
                    assert_eq!(outcome, Err(Error::<Test>::SequenceReplayed.into()));
                }
            }
            let total = delivered.into_iter().map(|index| energies[index]).sum();
            assert_eq!(energy_of(PV, 1), Some(Wh(total)));
        });
    }
}

/// Returns every key of this pallet.
fn storage_keys() -> alloc::collections::BTreeSet<Vec<u8>> {
    let prefix = sp_io::hashing::twox_128(b"EnergyToken").to_vec();
    let mut keys = alloc::collections::BTreeSet::new();
    let mut last = prefix.clone();
    while let Some(key) = sp_io::storage::next_key(&last).filter(|key| key.starts_with(&prefix)) {
        keys.insert(key.clone());
        last = key;
    }
    keys
}

mod batches {
    use super::*;

    fn batch(reports: Vec<(u64, Report)>) -> DispatchResult {
        let reports = reports.try_into().expect("the batch is short");
        EnergyToken::report_batch(RuntimeOrigin::signed(pv()), reports)
    }

    #[test]
    fn a_batch_is_as_good_as_its_reports_one_by_one() {
        test(|| {
            run_to(2);
            assert_ok!(batch(vec![
                (0, interval(1, 100)),
                (2, added(2, 30)),
                (1, pulses(2, 3)),
                (3, interval_of(1, 110, 2, Quality::Measured)),
            ]));
            assert_eq!(energy_of(PV, 1), Some(Wh(110)));
            assert_eq!(energy_of(PV, 2), Some(Wh(33)));
            assert_eq!(System::event_count(), 4);
            assert_eq!(EnergyToken::take_changed_steps(9), [Step(1)]);
            assert_noop!(
                report(pv(), 1, added(2, 1)),
                Error::<Test>::SequenceReplayed
            );
        });
    }

    #[test]
    fn a_batch_is_refused_as_a_whole_and_names_the_report() {
        test(|| {
            let cause = codec::Encode::encode(&Error::<Test>::SequenceReplayed)[0];
            assert_noop!(
                batch(vec![(0, added(1, 1)), (1, added(1, 1)), (0, added(1, 1))]),
                Error::<Test>::BatchReportRefused { index: 2, cause }
            );
        });
    }

    #[test]
    fn the_four_bytes_of_a_batch_s_error_are_the_documented_ones() {
        let bytes_of = |error: Error<Test>| {
            let sp_runtime::DispatchError::Module(error) = error.into() else {
                panic!("a module's error")
            };
            error.error
        };
        let [cause, ..] = bytes_of(Error::<Test>::SequenceReplayed);
        let [_, low, high, told] =
            bytes_of(Error::<Test>::BatchReportRefused { index: 258, cause });
        assert_eq!((low, high, told), (2, 1, cause));
    }

    #[test]
    fn an_empty_batch_is_refused() {
        test(|| {
            assert_noop!(batch(vec![]), Error::<Test>::BatchEmpty);
        });
    }

    #[test]
    fn reports_of_a_batch_add_up_against_the_capacity() {
        test(|| {
            let cause = codec::Encode::encode(&Error::<Test>::BeyondCapacity)[0];
            assert_noop!(
                batch(vec![(0, added(1, 2_000)), (1, added(1, 751))]),
                Error::<Test>::BatchReportRefused { index: 1, cause }
            );
        });
    }
}
