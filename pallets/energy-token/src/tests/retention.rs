use super::*;

#[test]
fn a_step_is_forgotten_when_its_retention_ends() {
    test(|| {
        let commitment = compute_commitment(HOUSE, Step(1), Wh(1), [1; 32]);
        let hidden = Report {
            step: Step(1),
            reading: Measurement::Commitment(commitment),
        };
        assert_ok!(report(pv(), 0, interval(1, 100)));
        assert_ok!(report(house(), 0, hidden));
        run_to(RETENTION);
        assert_eq!(energy_of(PV, 1), Some(Wh(100)));
        run_to(RETENTION + 1);
        assert_eq!(energy_of(PV, 1), None);
        assert_eq!(Readings::<Test>::iter().count(), 0);
        assert_eq!(ReadingIndexes::<Test>::iter().count(), 0);
        assert_eq!(Commitments::<Test>::iter().count(), 0);
        assert_eq!(CommittersOfStep::<Test>::iter().count(), 0);
    });
}

#[test]
fn a_year_of_steps_leaves_no_more_than_the_retention() {
    test(|| {
        for step in 1..=4 * RETENTION {
            run_to(step);
            assert_ok!(report(pv(), step.into(), interval(step, 1)));
        }
        assert_eq!(Readings::<Test>::iter().count(), RETENTION as usize);
        assert_eq!(ReadingIndexes::<Test>::iter().count(), RETENTION as usize);
    });
}

#[test]
fn a_changed_step_is_taken_before_it_is_forgotten() {
    test(|| {
        run_to(RETENTION);
        for step in 1..=3 {
            assert_ok!(correct(PV, step, 1, Quality::Measured));
        }
        for step in 1..=3 {
            assert_eq!(EnergyToken::take_changed_steps(1), [Step(step)]);
            run_to(RETENTION + step);
        }
    });
}

#[test]
fn a_changed_step_that_nobody_took_is_forgotten_with_its_readings() {
    test(|| {
        run_to(RETENTION);
        assert_ok!(correct(PV, 1, 1, Quality::Measured));
        run_to(RETENTION + 1);
        assert!(EnergyToken::take_changed_steps(9).is_empty());
    });
}
