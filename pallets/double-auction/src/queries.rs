//! What wallets, nodes and other pallets ask.

use alloc::vec::Vec;
use commonwatt_clearing::{Clearing, History, Level, Mechanism, Side, compute_curves};
use commonwatt_primitives::{
    BlockNumber, Coin, Month, Step, Wh,
    traits::{MarketClock, Sale, Sales},
};
use frame_support::traits::{Get, fungible::InspectHold};

use crate::{
    Books, CancelledMatches, ClearingInfo, ClearingRecord, Config, CurveLevel, HistoryEntry,
    HoldReason, MarketContract, MemberOrders, MonthEntry, MonthTotals, MonthTrade, OrderBook,
    OrderInfo, Outcomes, Pallet, STEPS_AHEAD_MAX, Standing, StepOutcome, Terms, Trades, Unit,
    settlement::{Participant, Sequence},
    types::energy_of,
};

/// Orders in one answer.
pub const ORDERS_PER_ANSWER_MAX: u32 = 10_000;
/// Levels of a curve in one answer.
pub const LEVELS_MAX: u32 = 1_000;
/// Past steps in which a member's orders are looked for.
pub const PAST_STEPS_MAX: u32 = 960;
/// Steps of a history in one answer.
pub const HISTORY_MAX: u32 = 3_360;

/// A clearing with what it was made of, read back from the state.
pub(crate) struct StoredClearing<T: Config> {
    pub members: Vec<Participant<T>>,
    pub sequence: Sequence<T::AccountId>,
    pub clearing: Clearing,
}

/// Orders in the sequence they arrived in, the blocks in which they were cancelled, and what they matched, by position.
pub type MatchedOrders<AccountId> = (
    Vec<commonwatt_clearing::Order<AccountId>>,
    Vec<Option<BlockNumber>>,
    Vec<commonwatt_clearing::Trade>,
);

impl<T: Config> Pallet<T> {
    /// Returns how prices are found in a step from the one in force on.
    pub fn mechanism_at(step: Step) -> Mechanism {
        Terms::<T>::get()
            .iter()
            .rev()
            .find(|terms| terms.effective_from <= step)
            .map(|terms| terms.mechanism)
            .unwrap_or_default()
    }

    /// Returns what the market is.
    pub fn contract() -> MarketContract {
        let now = T::Clock::current_step();
        let mut terms = Terms::<T>::get().into_inner();
        let began = terms.partition_point(|terms| terms.effective_from <= now);
        terms.drain(..began.saturating_sub(1));
        MarketContract {
            unit: Unit::<T>::get(),
            terms,
            steps_ahead: STEPS_AHEAD_MAX,
            orders_max: T::MaxOrders::get(),
            standing_max: T::MaxStanding::get(),
        }
    }

    /// Returns the trading unit.
    pub fn unit() -> Wh {
        Unit::<T>::get()
    }

    /// Returns the book of a step to come or of a kept one: at most `count` orders from the `start`-th on, and at most
    /// [`ORDERS_PER_ANSWER_MAX`].
    ///
    /// In `continuous`, what orders matched so far stands in [`Self::matched`].
    pub fn order_book(step: Step, start: u32, count: u32) -> OrderBook<T::AccountId> {
        let size = |count: u32| usize::try_from(count).unwrap_or(usize::MAX);
        let outcome = Outcomes::<T>::get(step);
        let members = Self::participants(step);
        let total = members.iter().fold(0_usize, |total, member| {
            total.saturating_add(member.book.orders.len())
        });
        let orders = members
            .iter()
            .flat_map(|Participant { who, book }| {
                let infos = move |order| OrderInfo::new(step, outcome, who, order);
                book.orders.iter().map(infos)
            })
            .skip(size(start))
            .take(size(count.min(ORDERS_PER_ANSWER_MAX)))
            .collect();
        OrderBook {
            step,
            unit: Unit::<T>::get(),
            mechanism: Self::recorded(step)
                .map_or_else(|| Self::mechanism_at(step), |record| record.mechanism),
            orders,
            total: u32::try_from(total).unwrap_or(u32::MAX),
        }
    }

    fn recorded(step: Step) -> Option<ClearingRecord> {
        match Outcomes::<T>::get(step)? {
            StepOutcome::Cleared(record) => Some(record),
            StepOutcome::Void(_) => None,
        }
    }

    /// Returns the clearing of a kept step with the orders that prove it; `None` when it is void, or what it was made
    /// of is not kept.
    pub(crate) fn stored_clearing(step: Step) -> Option<StoredClearing<T>> {
        let record = Self::recorded(step)?;
        let members = Self::participants(step);
        let sequence = Self::sequence(step, record.mechanism, &members)?;
        let withdrawals = match record.mechanism {
            Mechanism::Continuous => Self::play(&members, &sequence).ok()?.withdrawals,
            _ => Vec::new(),
        };
        let trades = Self::chunks(record.trades)
            .flat_map(|chunk| Trades::<T>::get(step, chunk))
            .collect();
        let cancelled = Self::chunks(record.cancelled)
            .flat_map(|chunk| CancelledMatches::<T>::get(step, chunk))
            .collect();
        let clearing = Clearing {
            mechanism: record.mechanism,
            breakeven: record.breakeven,
            quote: record.quote,
            totals: record.totals,
            trades,
            history: History {
                withdrawals,
                cancelled,
            },
        };
        Some(StoredClearing {
            members,
            sequence,
            clearing,
        })
    }

    fn chunks(count: u32) -> core::ops::Range<u32> {
        0..count.div_ceil(crate::TRADES_PER_CHUNK)
    }

    /// Returns how the market of a kept step ended, with all that proves it; `None` when it had no orders, or is not
    /// kept.
    pub fn clearing(step: Step) -> Option<ClearingInfo<T::AccountId>> {
        let outcome = Outcomes::<T>::get(step)?;
        let unit = Unit::<T>::get();
        if let StepOutcome::Void(_) = outcome {
            return Some(ClearingInfo {
                step,
                unit,
                outcome,
                orders: Vec::new(),
                withdrawn: Vec::new(),
                for_sale: Vec::new(),
                clearing: None,
                demand: Vec::new(),
                supply: Vec::new(),
                unmatched_demand: 0,
                unmatched_supply: 0,
            });
        }
        let StoredClearing {
            members,
            sequence,
            clearing,
        } = Self::stored_clearing(step)?;
        let curves = compute_curves(&sequence.orders, LEVELS_MAX);
        let levels = |levels: Vec<Level>| {
            let levels = levels.into_iter();
            let level = |Level { price, units }| CurveLevel { price, units };
            levels.map(level).collect()
        };
        let offered = |side: Side| -> u64 {
            let of_side = sequence.orders.iter().filter(|order| order.side == side);
            of_side.map(|order| u64::from(order.units)).sum()
        };
        let sells = |member: &Participant<T>| {
            let mut orders = member.book.orders.iter();
            orders.any(|order| order.side == Side::Sell && order.offered > 0)
        };
        let traded = clearing.totals.volume;
        Some(ClearingInfo {
            step,
            unit,
            outcome,
            unmatched_demand: offered(Side::Buy).saturating_sub(traded),
            unmatched_supply: offered(Side::Sell).saturating_sub(traded),
            withdrawn: Self::withdrawn_of(&members, &sequence),
            for_sale: members
                .iter()
                .filter(|member| sells(member))
                .map(|member| (member.who.clone(), member.book.for_sale))
                .collect(),
            orders: sequence.orders,
            clearing: Some(clearing),
            demand: levels(curves.demand),
            supply: levels(curves.supply),
        })
    }

    fn withdrawn_of(
        members: &[Participant<T>],
        sequence: &Sequence<T::AccountId>,
    ) -> Vec<Option<BlockNumber>> {
        let positions = (0u32..).zip(&sequence.orders);
        positions
            .map(|(position, _)| Self::withdrawn_at(members, sequence, position))
            .collect()
    }

    /// Returns what orders of a step to come have matched so far, where they match as they arrive: trades by the
    /// positions of the orders that are returned with them. Sellers' shortfalls are not known yet.
    pub fn matched(step: Step) -> MatchedOrders<T::AccountId> {
        if Self::mechanism_at(step) != Mechanism::Continuous || step <= T::Clock::current_step() {
            return Default::default();
        }
        let mut members = Self::participants(step);
        for Participant { book, .. } in &mut members {
            let offers = crate::caps::compute_continuous_offers(&book.orders);
            for (order, offered) in book.orders.iter_mut().zip(offers) {
                order.offered = offered;
            }
        }
        let Some(sequence) = Self::sequence(step, Mechanism::Continuous, &members) else {
            return Default::default();
        };
        let matches =
            Self::play(&members, &sequence).map_or_else(|_| Vec::new(), |played| played.matches);
        let withdrawn = Self::withdrawn_of(&members, &sequence);
        (sequence.orders, withdrawn, matches)
    }

    /// Returns a member's orders: the open ones, the standing ones, and those of the last `past` steps.
    pub fn orders_of(who: &T::AccountId, past: u32) -> MemberOrders<T::AccountId> {
        let now = T::Clock::current_step().0;
        let infos = |step: Step| -> Vec<_> {
            let Some(book) = Books::<T>::get(step, who) else {
                return Vec::new();
            };
            let outcome = Outcomes::<T>::get(step);
            let infos = book.orders.iter();
            infos
                .map(|order| OrderInfo::new(step, outcome, who, order))
                .collect()
        };
        let open = now.saturating_add(1)..=now.saturating_add(STEPS_AHEAD_MAX);
        let first_past = now
            .saturating_add(1)
            .saturating_sub(past.min(PAST_STEPS_MAX));
        MemberOrders {
            open: open.map(Step).flat_map(infos).collect(),
            standing: Standing::<T>::get(who).into_inner(),
            held: T::Currency::balance_on_hold(&HoldReason::Order.into(), who),
            past: (first_past..=now).rev().map(Step).flat_map(infos).collect(),
        }
    }

    /// Returns how the markets of the `count` steps up to `newest` ended, newest first; steps without orders are left
    /// out.
    pub fn history(newest: Step, count: u32) -> Vec<HistoryEntry> {
        let newest = newest.min(T::Clock::current_step()).0;
        let end = newest.saturating_add(1);
        (end.saturating_sub(count.min(HISTORY_MAX))..end)
            .rev()
            .map(Step)
            .filter_map(|step| {
                let outcome = Outcomes::<T>::get(step)?;
                Some(HistoryEntry { step, outcome })
            })
            .collect()
    }

    /// Returns what a member paid and received in months whose steps are no longer kept in whole, newest first.
    pub fn months_of(who: &T::AccountId, newest: Month, count: u32) -> Vec<MonthEntry> {
        let end = newest.0.saturating_add(1);
        (end.saturating_sub(count)..end)
            .rev()
            .map(Month)
            .map(|month| (month, MonthTotals::<T>::get(month, who)))
            .filter(|(_, total)| *total != MonthTrade::default())
            .collect()
    }

    /// Returns what a member offered for sale in a kept step and had; nothing when the step is void.
    pub fn offered(step: Step, who: &T::AccountId) -> Wh {
        let book = Books::<T>::get(step, who).unwrap_or_default();
        let sales = book.orders.iter().filter(|order| order.side == Side::Sell);
        let offered: u64 = sales.map(|order| u64::from(order.offered)).sum();
        energy_of(offered.min(book.for_sale), Unit::<T>::get())
    }

    /// Returns the coins on hold for an account's orders.
    pub fn held(who: &T::AccountId) -> Coin {
        T::Currency::balance_on_hold(&HoldReason::Order.into(), who)
    }
}

impl<T: Config> Sales<T::AccountId> for Pallet<T> {
    fn sales_of(step: Step) -> Option<Vec<Sale<T::AccountId>>> {
        if Self::recorded(step).is_none() {
            return Some(Vec::new());
        }
        let StoredClearing {
            sequence, clearing, ..
        } = Self::stored_clearing(step)?;
        let unit = Unit::<T>::get();
        let owner = |position: u32| {
            let order = usize::try_from(position)
                .ok()
                .and_then(|at| sequence.orders.get(at))?;
            Some(order.account.clone())
        };
        clearing
            .trades
            .iter()
            .map(|trade| {
                Some(Sale {
                    seller: owner(trade.sell)?,
                    buyer: owner(trade.buy)?,
                    energy: energy_of(u64::from(trade.units), unit),
                })
            })
            .collect()
    }
}
