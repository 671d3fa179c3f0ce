use super::*;
use commonwatt_primitives::Hash;

const SALT: [u8; 32] = [7; 32];

fn committed(step: u32, energy: u64) -> Report {
    let commitment = compute_commitment(HOUSE, Step(step), Wh(energy), SALT);
    Report {
        step: Step(step),
        reading: Measurement::Commitment(commitment),
    }
}

fn reveal(who: RuntimeOrigin, step: u32, energy: u64) -> DispatchResult {
    EnergyToken::reveal_consumption(who, HOUSE, Step(step), Wh(energy), SALT)
}

fn signed(who: AccountId) -> RuntimeOrigin {
    RuntimeOrigin::signed(who)
}

#[test]
fn a_commitment_hides_consumption_until_it_is_revealed() {
    test(|| {
        assert_ok!(report(house(), 0, committed(1, 300)));
        assert!(EnergyToken::readings_of(Step(1)).is_empty());
        assert_ok!(reveal(signed(alice()), 1, 300));
        assert_eq!(energy_of(HOUSE, 1), Some(Wh(300)));
        let (meter, step, energy) = (HOUSE, Step(1), Wh(300));
        assert_eq!(
            last_event(),
            Event::ConsumptionRevealed {
                meter,
                step,
                energy
            }
        );
        assert!(EnergyToken::take_changed_steps(9).is_empty());
    });
}

#[test]
fn consumption_revealed_later_changes_its_step() {
    test(|| {
        assert_ok!(report(house(), 0, committed(1, 300)));
        run_to(3);
        assert_ok!(reveal(signed(house()), 1, 300));
        assert_eq!(EnergyToken::take_changed_steps(9), [Step(1)]);
    });
}

#[test]
fn only_what_was_committed_to_can_be_revealed() {
    test(|| {
        assert_noop!(reveal(signed(alice()), 1, 300), Error::<Test>::NotCommitted);
        assert_ok!(report(house(), 0, committed(1, 300)));
        assert_noop!(
            reveal(signed(alice()), 1, 301),
            Error::<Test>::CommitmentMismatch
        );
        assert_noop!(
            EnergyToken::reveal_consumption(signed(alice()), HOUSE, Step(1), Wh(300), [8; 32]),
            Error::<Test>::CommitmentMismatch
        );
    });
}

#[test]
fn an_implausible_consumption_cannot_be_revealed() {
    test(|| {
        assert_ok!(report(house(), 0, committed(1, 2_751)));
        assert_noop!(
            reveal(signed(alice()), 1, 2_751),
            Error::<Test>::BeyondCapacity
        );
    });
}

#[test]
fn nobody_else_reveals_a_consumption() {
    test(|| {
        assert_ok!(report(house(), 0, committed(1, 300)));
        assert_noop!(
            reveal(signed(pv()), 1, 300),
            Error::<Test>::NotOwnerOfConsumption
        );
    });
}

#[test]
fn after_the_window_only_the_dso_reveals() {
    test(|| {
        assert_ok!(report(house(), 0, committed(1, 300)));
        run_to(2 + WINDOW);
        assert_noop!(
            reveal(signed(alice()), 1, 300),
            Error::<Test>::CorrectionWindowClosed
        );
        assert_ok!(reveal(RuntimeOrigin::root(), 1, 300));
    });
}

#[test]
fn a_consumption_is_revealed_once() {
    test(|| {
        assert_ok!(report(house(), 0, committed(1, 300)));
        assert_ok!(reveal(signed(alice()), 1, 300));
        assert_noop!(reveal(signed(alice()), 1, 300), Error::<Test>::StepInClear);
    });
}

#[test]
fn a_committed_step_takes_no_other_report() {
    test(|| {
        assert_ok!(report(house(), 0, committed(1, 300)));
        assert_noop!(
            report(house(), 1, committed(1, 301)),
            Error::<Test>::StepCommitted
        );
        assert_noop!(
            report(house(), 1, interval(1, 301)),
            Error::<Test>::StepCommitted
        );
        assert_noop!(
            report(house(), 1, added(1, 301)),
            Error::<Test>::StepCommitted
        );
    });
}

#[test]
fn a_revealed_step_takes_newer_intervals() {
    test(|| {
        assert_ok!(report(house(), 0, committed(1, 300)));
        assert_ok!(reveal(signed(alice()), 1, 300));
        assert_ok!(report(house(), 1, interval(1, 310)));
        assert_eq!(energy_of(HOUSE, 1), Some(Wh(310)));
    });
}

#[test]
fn a_step_in_clear_cannot_be_hidden_any_more() {
    test(|| {
        assert_ok!(report(house(), 0, interval(1, 300)));
        assert_noop!(
            report(house(), 1, committed(1, 300)),
            Error::<Test>::StepInClear
        );
    });
}

#[test]
fn a_batch_cannot_hide_and_show_the_same_step() {
    test(|| {
        let cause = codec::Encode::encode(&Error::<Test>::StepCommitted)[0];
        let reports = vec![(0, committed(1, 300)), (1, interval(1, 300))];
        assert_noop!(
            EnergyToken::report_batch(
                signed(house()),
                reports.try_into().expect("the batch is short")
            ),
            Error::<Test>::BatchReportRefused { index: 1, cause }
        );
    });
}

#[test]
fn generation_cannot_be_hidden() {
    test(|| {
        assert_noop!(
            report(pv(), 0, committed(1, 300)),
            Error::<Test>::CommitmentNotForConsumption
        );
    });
}

#[test]
fn ids_and_commitments_are_the_documented_hashes() {
    let mut lot = b"commonwatt/lot/1".to_vec();
    lot.extend([2, 0, 0, 0, 3, 0, 0, 0]);
    assert_eq!(
        compute_lot_id(MeterId(2), Step(3)),
        Hash::from(sp_io::hashing::blake2_256(&lot))
    );

    let mut consumption = b"commonwatt/consumption/1".to_vec();
    consumption.extend([2, 0, 0, 0, 3, 0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0]);
    consumption.extend(SALT);
    assert_eq!(
        compute_commitment(MeterId(2), Step(3), Wh(4), SALT),
        Hash::from(sp_io::hashing::blake2_256(&consumption))
    );
}
