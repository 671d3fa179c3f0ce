//! One rule a test.

mod commitments;
mod corrections;
mod genesis;
mod registers;
mod relays;
mod reports;
mod retention;

use crate::{mock::*, *};
use commonwatt_primitives::traits::Readings as _;
use commonwatt_primitives::{AccountId, MeterId, MeterKind, Quality, Role, Step, Wh};
use frame_support::{assert_noop, assert_ok};
use sp_runtime::DispatchResult;

/// Sends a report of a device.
fn report(device: AccountId, sequence: u64, report: Report) -> DispatchResult {
    EnergyToken::report(RuntimeOrigin::signed(device), sequence, report)
}

/// Corrects a reading as the DSO, with a reason.
fn correct(meter: MeterId, step: u32, energy: u64, quality: Quality) -> DispatchResult {
    let reason = b"inspected"
        .to_vec()
        .try_into()
        .expect("the reason is short");
    EnergyToken::correct_reading(
        RuntimeOrigin::root(),
        meter,
        Step(step),
        Wh(energy),
        quality,
        reason,
    )
}

/// Returns the last event of the pallet.
fn last_event() -> Event<Test> {
    let record = System::events().pop().expect("there is an event");
    let RuntimeEvent::EnergyToken(event) = record.event else {
        panic!("not of this pallet")
    };
    event
}
