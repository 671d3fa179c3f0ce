use super::*;

#[test]
fn a_late_reading_belongs_to_the_step_it_was_measured_in() {
    test(|| {
        run_to(3);
        assert_ok!(report(pv(), 9, interval(2, 500)));
        assert_eq!(energy_of(PV, 2), Some(Wh(500)));
        assert_eq!(energy_of(PV, 3), None);
        let cause = CorrectionCause::LateReport {
            device: pv(),
            sequence: 9,
        };
        assert_eq!(
            last_event(),
            Event::ReadingCorrected {
                meter: PV,
                step: Step(2),
                from: None,
                to: Wh(500),
                cause
            }
        );
        assert_eq!(EnergyToken::take_changed_steps(9), [Step(2)]);
        assert!(EnergyToken::take_changed_steps(9).is_empty());
    });
}

#[test]
fn changed_steps_are_taken_earliest_first() {
    test(|| {
        run_to(4);
        assert_ok!(report(pv(), 0, interval(3, 1)));
        assert_ok!(report(pv(), 1, interval(1, 1)));
        assert_ok!(report(pv(), 2, interval(2, 1)));
        assert!(EnergyToken::take_changed_steps(0).is_empty());
        assert_eq!(EnergyToken::take_changed_steps(2), [Step(1), Step(2)]);
        assert_eq!(EnergyToken::take_changed_steps(2), [Step(3)]);
    });
}

#[test]
fn a_late_reading_that_changes_no_energy_needs_no_new_distribution() {
    test(|| {
        assert_ok!(report(pv(), 0, interval_of(1, 5, 1, Quality::Substitute)));
        run_to(2);
        assert_ok!(report(pv(), 1, interval_of(1, 5, 2, Quality::Measured)));
        assert!(EnergyToken::take_changed_steps(9).is_empty());
    });
}

#[test]
fn a_late_reading_is_refused_while_too_many_steps_wait() {
    test(|| {
        run_to(5);
        for step in 1..=3 {
            assert_ok!(report(pv(), step.into(), interval(step, 1)));
        }
        assert_noop!(
            report(pv(), 4, interval(4, 1)),
            Error::<Test>::TooManyChangedSteps
        );
        assert_noop!(
            correct(HOUSE, 4, 1, Quality::Measured),
            Error::<Test>::TooManyChangedSteps
        );
        // A step that waits already may change again, and the current one never waits.
        assert_ok!(report(pv(), 4, interval_of(3, 2, 2, Quality::Measured)));
        assert_ok!(report(pv(), 5, interval(5, 1)));
        EnergyToken::take_changed_steps(1);
        assert_ok!(report(pv(), 6, interval(4, 1)));
    });
}

#[test]
fn the_correction_window_counts_on_time_steps() {
    test(|| {
        run_late_to(4);
        run_to(4 + WINDOW);
        assert_ok!(report(pv(), 0, interval(1, 1)));
        run_to(5 + WINDOW);
        assert_noop!(
            report(pv(), 1, interval(2, 1)),
            Error::<Test>::CorrectionWindowClosed
        );
    });
}

#[test]
fn an_outage_longer_than_the_retention_ends_the_step() {
    test(|| {
        run_late_to(1 + RETENTION);
        assert_noop!(
            report(pv(), 0, interval(1, 1)),
            Error::<Test>::StepBeyondRetention
        );
        assert_ok!(report(pv(), 0, interval(2, 1)));
    });
}

#[test]
fn the_dso_corrects_a_step_whose_window_has_closed() {
    test(|| {
        assert_ok!(report(pv(), 0, interval(1, 500)));
        run_to(2 + WINDOW);
        assert_ok!(correct(PV, 1, 450, Quality::Measured));
        let expected = Reading {
            energy: Wh(450),
            quality: Quality::Measured,
            version: 2,
            source: ReadingSource::Correction,
        };
        assert_eq!(EnergyToken::reading(PV, Step(1)), Some(expected));
        let reason = b"inspected"
            .to_vec()
            .try_into()
            .expect("the reason is short");
        let (step, from, to) = (Step(1), Some(Wh(500)), Wh(450));
        let cause = CorrectionCause::Dso { reason };
        assert_eq!(
            last_event(),
            Event::ReadingCorrected {
                meter: PV,
                step,
                from,
                to,
                cause
            }
        );
        assert_eq!(EnergyToken::take_changed_steps(9), [Step(1)]);
    });
}

#[test]
fn nobody_but_the_dso_corrects() {
    test(|| {
        assert_noop!(
            EnergyToken::correct_reading(
                RuntimeOrigin::signed(alice()),
                PV,
                Step(1),
                Wh(1),
                Quality::Measured,
                b"mine".to_vec().try_into().expect("the reason is short"),
            ),
            sp_runtime::DispatchError::BadOrigin
        );
    });
}

#[test]
fn a_correction_needs_a_reason() {
    test(|| {
        assert_noop!(
            EnergyToken::correct_reading(
                RuntimeOrigin::root(),
                PV,
                Step(1),
                Wh(1),
                Quality::Measured,
                Default::default(),
            ),
            Error::<Test>::ReasonEmpty
        );
    });
}

#[test]
fn a_correction_is_bound_by_service_capacity_and_retention() {
    test(|| {
        run_to(1 + RETENTION);
        let quality = Quality::Measured;
        assert_noop!(
            correct(MeterId(9), 5, 1, quality),
            Error::<Test>::MeterUnknown
        );
        assert_noop!(
            correct(PV, 2 + RETENTION, 1, quality),
            Error::<Test>::StepInFuture
        );
        assert_noop!(
            correct(PV, 1, 1, quality),
            Error::<Test>::StepBeyondRetention
        );
        assert_noop!(
            correct(PV, 2, 2_751, quality),
            Error::<Test>::BeyondCapacity
        );
        let mut info = meter_info(MeterKind::Generation, 1_000);
        info.commissioned = Step(4);
        MetersKnown::mutate(|meters| meters.insert(PV, info));
        assert_noop!(
            correct(PV, 3, 1, quality),
            Error::<Test>::StepBeforeCommissioning
        );
        assert_ok!(correct(PV, 4, 1, quality));
    });
}

#[test]
fn a_correction_of_worse_quality_is_refused() {
    test(|| {
        assert_ok!(report(pv(), 0, interval(1, 500)));
        assert_noop!(
            correct(PV, 1, 450, Quality::Substitute),
            Error::<Test>::QualityWorse
        );
    });
}

#[test]
fn a_correction_of_the_current_step_is_not_a_changed_step() {
    test(|| {
        assert_ok!(correct(PV, 1, 450, Quality::Measured));
        assert_eq!(energy_of(PV, 1), Some(Wh(450)));
        assert!(EnergyToken::take_changed_steps(9).is_empty());
    });
}

#[test]
fn a_device_does_not_overrule_the_dso_at_equal_quality() {
    test(|| {
        assert_ok!(report(pv(), 0, interval(1, 500)));
        assert_ok!(correct(PV, 1, 450, Quality::Measured));
        assert_noop!(
            report(pv(), 1, interval_of(1, 500, 9, Quality::Measured)),
            Error::<Test>::CorrectedByDso
        );
        assert_noop!(
            report(pv(), 1, added(1, 1)),
            Error::<Test>::IncrementAfterWhole
        );
    });
}

#[test]
fn what_was_measured_replaces_what_the_dso_put_into_a_gap() {
    test(|| {
        run_to(2);
        assert_ok!(correct(PV, 1, 450, Quality::Substitute));
        assert_ok!(report(pv(), 0, interval(1, 500)));
        assert_eq!(energy_of(PV, 1), Some(Wh(500)));
    });
}

#[test]
fn the_dso_does_not_use_up_a_device_s_versions() {
    test(|| {
        assert_ok!(report(pv(), 0, interval_of(1, 500, 3, Quality::Estimated)));
        assert_ok!(correct(PV, 1, 450, Quality::Substitute));
        assert_ok!(correct(PV, 1, 440, Quality::Substitute));
        assert_ok!(report(pv(), 1, interval_of(1, 460, 4, Quality::Measured)));
        assert_eq!(energy_of(PV, 1), Some(Wh(460)));
    });
}

#[test]
fn a_device_that_used_up_its_versions_can_still_be_corrected() {
    test(|| {
        assert_ok!(report(
            pv(),
            0,
            interval_of(1, 500, u32::MAX, Quality::Measured)
        ));
        assert_ok!(correct(PV, 1, 450, Quality::Measured));
        assert_ok!(correct(PV, 1, 440, Quality::Measured));
    });
}
