use super::*;
use commonwatt_primitives::Hash;
use sp_core::Pair;
use sp_runtime::MultiSignature;

fn sign(name: &str, device: &AccountId, sequence: u64, report: &Report) -> MultiSignature {
    pair(name)
        .sign(&EnergyToken::relay_payload(device, sequence, report))
        .into()
}

fn relay(gateway: AccountId, sequence: u64, report: Report, signer: &str) -> DispatchResult {
    let signature = sign(signer, &pv(), sequence, &report);
    EnergyToken::relay(
        RuntimeOrigin::signed(gateway),
        pv(),
        sequence,
        report,
        signature,
    )
}

#[test]
fn a_gateway_passes_on_what_a_device_signed() {
    test(|| {
        assert_ok!(relay(alice(), 4, interval(1, 700), "pv"));
        assert_eq!(energy_of(PV, 1), Some(Wh(700)));
    });
}

#[test]
fn relayed_reports_may_overtake_each_other_but_count_once() {
    test(|| {
        assert_ok!(relay(alice(), 1, added(1, 10), "pv"));
        assert_ok!(relay(house(), 0, added(1, 10), "pv"));
        assert_noop!(
            relay(alice(), 0, added(1, 10), "pv"),
            Error::<Test>::SequenceReplayed
        );
        assert_noop!(
            report(pv(), 1, added(1, 10)),
            Error::<Test>::SequenceReplayed
        );
        assert_eq!(energy_of(PV, 1), Some(Wh(20)));
    });
}

#[test]
fn an_unregistered_gateway_is_refused() {
    test(|| {
        assert_noop!(
            relay(account("stranger"), 0, interval(1, 1), "pv"),
            Error::<Test>::NotRegistered
        );
    });
}

#[test]
fn a_report_signed_by_another_device_is_refused() {
    test(|| {
        assert_noop!(
            relay(alice(), 0, interval(1, 1), "house"),
            Error::<Test>::DeviceSignatureInvalid
        );
    });
}

#[test]
fn a_report_changed_on_the_way_is_refused() {
    test(|| {
        let signature = sign("pv", &pv(), 0, &interval(1, 1));
        for (sequence, report) in [(1, interval(1, 1)), (0, interval(1, 2))] {
            assert_noop!(
                EnergyToken::relay(
                    RuntimeOrigin::signed(alice()),
                    pv(),
                    sequence,
                    report,
                    signature.clone(),
                ),
                Error::<Test>::DeviceSignatureInvalid
            );
        }
    });
}

#[test]
fn a_report_signed_for_another_chain_is_refused() {
    test(|| {
        let signature = sign("pv", &pv(), 0, &interval(1, 1));
        frame_system::BlockHash::<Test>::insert(0, Hash::repeat_byte(1));
        assert_noop!(
            EnergyToken::relay(
                RuntimeOrigin::signed(alice()),
                pv(),
                0,
                interval(1, 1),
                signature
            ),
            Error::<Test>::DeviceSignatureInvalid
        );
    });
}

#[test]
fn a_relay_of_the_future_is_premature() {
    test(|| {
        let report = interval(2, 1);
        let signature = sign("pv", &pv(), 0, &report);
        let call = Call::<Test>::relay {
            device: pv(),
            sequence: 0,
            report,
            signature,
        };
        assert!(EnergyToken::is_premature(&call));
    });
}

#[test]
fn the_signed_payload_is_the_documented_one() {
    test(|| {
        let payload = EnergyToken::relay_payload(&pv(), 258, &added(3, 7));
        let mut expected = vec![19 << 2];
        expected.extend(b"commonwatt/report/1");
        expected.extend([69; 32]);
        expected.extend(AsRef::<[u8]>::as_ref(&pv()));
        expected.extend([2, 1, 0, 0, 0, 0, 0, 0]);
        expected.extend([3, 0, 0, 0, 1, 7, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(payload, expected);
    });
}
