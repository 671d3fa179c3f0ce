//! What pallets ask of each other. A pallet names the trait in its `Config`; the runtime connects it.

use alloc::vec::Vec;

use crate::{
    metering::{MeterId, MeterInfo, Role},
    time::{Month, Step},
    units::Wh,
};

/// Who is registered. Answered by `pallet-registry`.
pub trait Registrar<AccountId> {
    /// Returns what an account may do; `None` when it is not registered.
    fn role_of(who: &AccountId) -> Option<Role>;

    /// Returns whether the account is a member.
    fn is_member(who: &AccountId) -> bool {
        Self::role_of(who) == Some(Role::Member)
    }
}

/// Which meters there are. Answered by `pallet-registry`.
pub trait Meters<AccountId> {
    /// Returns the meter a device is bound to now.
    fn meter_of_device(device: &AccountId) -> Option<MeterId>;

    /// Returns what is known about a meter.
    fn meter(meter: MeterId) -> Option<MeterInfo<AccountId>>;

    /// Returns what is known about a meter, with the beneficiary, loss and efficiency that held in
    /// `step`.
    fn meter_at(meter: MeterId, step: Step) -> Option<MeterInfo<AccountId>>;

    /// Returns the device bound to `meter` at `step`, for reports of the past.
    fn was_bound(device: &AccountId, meter: MeterId, step: Step) -> bool;
}

/// The chain's clock in market steps. Answered by `pallet-market-step`.
pub trait MarketClock {
    /// Returns the step that the block under construction closes.
    fn current_step() -> Step;

    /// Returns whether that block is late.
    fn is_late() -> bool;

    /// Returns how many steps after `step`, up to the current one, were not late.
    fn on_time_steps_since(step: Step) -> u32;

    /// Returns how much metered time a step stands for, in milliseconds.
    fn metered_ms() -> u64;

    /// Returns the month in which `step` closes.
    fn month_of(step: Step) -> Month;
}

/// A meter's energy in a step, as the distribution takes it in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MeteredEnergy {
    /// The meter.
    pub meter: MeterId,
    /// Its energy in the step.
    pub energy: Wh,
}

/// What was measured. Answered by `pallet-energy-token`.
pub trait Readings {
    /// Returns every reading of `step`, of all kinds of meters, by ascending meter.
    fn readings_of(step: Step) -> Vec<MeteredEnergy>;

    /// Returns and forgets at most `limit` past steps whose readings changed, earliest first.
    fn take_changed_steps(limit: u32) -> Vec<Step>;
}
