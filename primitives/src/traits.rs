//! What pallets ask of each other. A pallet names the trait in its `Config`; the runtime connects it.

use alloc::vec::Vec;
use sp_runtime::DispatchResult;

use crate::{
    metering::{MeterId, MeterInfo, Role},
    time::{Month, Step},
    units::{Ppm, Wh},
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

/// What an account has of a step, before it trades.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Holding {
    /// Its virtual generation meter in watt-hours; negative when a correction came after a sale.
    pub vgm_wh: i128,
    /// What it consumed, as far as the chain knows.
    pub consumption: Option<Wh>,
}

impl Holding {
    /// Returns what the account can sell: what it does not consume itself, or all when its consumption is
    /// not known (PROTOCOL 9).
    pub fn surplus(&self) -> Wh {
        Self::positive(self.vgm_wh - i128::from(self.consumption.unwrap_or_default().0))
    }

    /// Returns what the account lacks; nothing is known to lack where consumption is not known.
    pub fn need(&self) -> Wh {
        self.consumption.map_or(Wh::ZERO, |consumption| {
            Self::positive(i128::from(consumption.0) - self.vgm_wh)
        })
    }

    /// Sums of three 64-bit numbers beyond 64 bits bind nobody.
    fn positive(wh: i128) -> Wh {
        Wh(u64::try_from(wh.max(0)).unwrap_or(u64::MAX))
    }
}

/// What a market moves into and out of one virtual generation meter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EnergyMove<AccountId> {
    /// Whose meter.
    pub who: AccountId,
    /// What it bought.
    pub bought: Wh,
    /// What it sold.
    pub sold: Wh,
}

/// The energy of a step that members may trade. Answered by `pallet-virtual-meter`.
pub trait TradableEnergy<AccountId> {
    /// Returns what an account has of `step`; `None` when the step is not distributed, or no longer kept.
    fn holding(step: Step, who: &AccountId) -> Option<Holding>;

    /// Moves energy of `step` between accounts, each named once; all of it or nothing.
    ///
    /// # Errors
    /// The sums of what is bought and sold differ, an account sells more than it has or is no member, or the
    /// step is not kept.
    fn move_energy(step: Step, moves: &[EnergyMove<AccountId>]) -> DispatchResult;
}

/// Energy that went from one member to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sale<AccountId> {
    /// Who sold.
    pub seller: AccountId,
    /// Who bought.
    pub buyer: AccountId,
    /// How much.
    pub energy: Wh,
}

/// Who traded with whom, so that energy can be traced through trades. Answered by the markets.
pub trait Sales<AccountId> {
    /// Returns the sales of `step`, always in the same order; none when the step is not kept. `None` when there were
    /// some and it cannot be said any more between whom.
    fn sales_of(step: Step) -> Option<Vec<Sale<AccountId>>>;
}

impl<AccountId> Sales<AccountId> for () {
    fn sales_of(_: Step) -> Option<Vec<Sale<AccountId>>> {
        Some(Vec::new())
    }
}

/// Is told what an account had of a step when its detail leaves the state.
pub trait OnHoldingExpired<AccountId> {
    /// The detail of `step` goes; of `market_face_wh` the outer grid covered what is positive and took what is
    /// negative.
    fn on_holding_expired(step: Step, who: &AccountId, market_face_wh: i128);
}

impl<AccountId> OnHoldingExpired<AccountId> for () {
    fn on_holding_expired(_: Step, _: &AccountId, _: i128) {}
}

/// What the outer grid covered or took of each account in kept steps. Answered by `pallet-virtual-meter`.
pub trait MarketFace<AccountId> {
    /// Returns `consumption − VGM` of an account in `step`, in watt-hours; `None` when nothing is kept.
    fn market_face_wh(step: Step, who: &AccountId) -> Option<i128>;

    /// Returns the oldest and the newest kept step; the first is after the second while there is none.
    fn kept_steps() -> (Step, Step);
}

/// What became of a member's orders in the market of a step [T 4.4].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MarketConduct {
    /// Traded.
    pub traded: Wh,
    /// Priced well, but left without a counterpart.
    pub unserved: Wh,
    /// Cut off by the clearing price.
    pub cut_off: Wh,
}

/// How loyal members are to the community's market. Answered by `pallet-loyalty`.
pub trait Loyalty<AccountId> {
    /// Returns the loyalty of an account in `step`, 1.0 being a million.
    fn loyalty_of(who: &AccountId, step: Step) -> Ppm;

    /// Tells what became of an account's orders in `step`, once for each account and step.
    fn on_market_cleared(who: &AccountId, step: Step, conduct: MarketConduct);
}

/// Is told of energy that was sold and not delivered. Answered by `pallet-reputation`.
pub trait OnShortfall<AccountId> {
    /// Of `promised` energy of `step`, `missing` was not there.
    fn on_shortfall(who: &AccountId, step: Step, promised: Wh, missing: Wh);
}

impl<AccountId> OnShortfall<AccountId> for () {
    fn on_shortfall(_: &AccountId, _: Step, _: Wh, _: Wh) {}
}
