//! The clearing of a step and what follows from it (PROTOCOL 9).
//!
//! 1. Read each member's book once, with what its meter holds; apply the caps.
//! 2. Clear: pure, in `commonwatt-clearing`.
//! 3. Move energy and coins: both or neither.
//! 4. Write the books with what became of the orders, and the clearing with its proof.
//! 5. Free what is left of the escrow, and book the standing orders for the next step; each account's coins on
//!    hold are changed once.

use alloc::{
    collections::{BTreeMap, btree_map::Entry},
    vec::Vec,
};

use commonwatt_clearing::{
    Clearing, Mechanism, Order, OrderError, Played, Rest, Side, clear, compute_outcomes, play,
    settle as settle_book, sort_arrivals,
};
use commonwatt_primitives::{
    BlockNumber, Coin, Hash, Ppm, Step, Wh,
    beacon::Beacon,
    traits::{
        EnergyMove, Loyalty, MarketClock, MarketConduct, OnShortfall, Registrar, TradableEnergy,
    },
};
use frame_support::{
    storage::with_storage_layer,
    traits::{
        Get,
        fungible::{Inspect, Mutate, MutateHold},
        tokens::{Fortitude, Precision, Preservation, Restriction},
    },
};
use sp_runtime::{
    DispatchError, DispatchResult,
    traits::{BlakeTwo256, Hash as _},
};

use crate::{
    BookedOrder, Books, CancelledMatches, ClearingRecord, Config, Event, HoldReason, LOG_TARGET,
    MemberBook, OrderId, Origin, Outcomes, Pallet, Sizes, SkipReason, Standing, StandingOrder,
    StepOutcome, TRADES_PER_CHUNK, Trades, Unit, VoidReason,
    caps::{Bounds, compute_continuous_offers, compute_offers},
    types::{CancelledChunk, TradeChunk, energy_of},
};

/// Prefix of what is hashed into a tie-break.
const TIE_DOMAIN: &[u8] = b"commonwatt/tie/1";

/// A member whose orders a step settles.
pub(crate) struct Participant<T: Config> {
    pub who: T::AccountId,
    pub book: MemberBook<T::MaxBooked>,
}

/// What a clearing did to a member.
#[derive(Clone, Copy, Default)]
struct Settled {
    bought: u64,
    sold: u64,
    paid: Coin,
    received: Coin,
    missing: u64,
    conduct: MarketConduct,
}

/// Where an order of a clearing stands: the member, and the place in its book.
#[derive(Clone, Copy)]
pub(crate) struct Place {
    pub member: usize,
    pub order: usize,
}

/// The orders of a clearing, and where each stands.
pub(crate) struct Sequence<AccountId> {
    pub orders: Vec<Order<AccountId>>,
    pub places: Vec<Place>,
}

/// Coins that become free in a step, and whether their owner is a member still.
type Freed<AccountId> = BTreeMap<AccountId, (Coin, bool)>;

impl<T: Config> Pallet<T> {
    /// Settles the step of the block under construction and books the standing orders of the next one.
    pub(crate) fn settle(step: Step) {
        let mut members = Self::participants(step);
        let mut freed = Freed::<T::AccountId>::new();
        if !members.is_empty() {
            let outcome = Self::settle_step(step, &mut members);
            for Participant { who, book } in members {
                let (held, is_member) = (book.escrow, outcome.is_member(&who));
                let spent = outcome.paid(&who);
                freed.insert(who.clone(), (held.saturating_sub(spent), is_member));
                let book = MemberBook { escrow: 0, ..book };
                Books::<T>::insert(step, who, book);
            }
        }
        Sizes::<T>::remove(step);
        if let Some(next) = step.checked_add(1) {
            Self::book_next(step, next, &mut freed);
        }
        for (who, (coins, _)) in freed {
            Self::free(&who, coins);
        }
    }

    /// Returns who has orders in a step, by account.
    pub(crate) fn participants(step: Step) -> Vec<Participant<T>> {
        let mut members: Vec<Participant<T>> = Books::<T>::iter_prefix(step)
            .map(|(who, book)| Participant { who, book })
            .collect();
        members.sort_unstable_by(|one, other| one.who.cmp(&other.who));
        members
    }

    /// Clears a step, or voids it.
    fn settle_step(step: Step, members: &mut [Participant<T>]) -> StepResult<T::AccountId> {
        let mut result = StepResult::default();
        if T::Clock::is_late() {
            Self::void(step, VoidReason::Late, members);
            return result;
        }
        for member in members.iter() {
            if !T::Registry::is_member(&member.who) {
                result.strangers.push(member.who.clone());
            }
        }
        let mechanism = Self::mechanism_at(step);
        let unit = Unit::<T>::get();
        Self::apply_caps(step, mechanism, unit, &result, members);
        let Some(sequence) = Self::sequence(step, mechanism, members) else {
            tracing::error!(target: LOG_TARGET, %step, "no seed of the beacon to break ties with");
            Self::void(step, VoidReason::Fault, members);
            return result;
        };
        let cleared = Self::clear(mechanism, members, &sequence)
            .map_err(|error| {
                tracing::error!(target: LOG_TARGET, %step, %error, "orders not cleared");
            })
            .and_then(|clearing| {
                let settled = Self::sum_up(unit, members, &sequence, &clearing);
                with_storage_layer(|| {
                    Self::move_all(step, unit, members, &settled, clearing.totals.surplus)
                })
                .map_err(|error| {
                    tracing::error!(target: LOG_TARGET, %step, ?error, "market not settled");
                })
                .map(|()| (clearing, settled))
            });
        let Ok((clearing, settled)) = cleared else {
            Self::void(step, VoidReason::Fault, members);
            return result;
        };
        for (member, settled) in members.iter().zip(&settled) {
            if settled.paid > 0 {
                result.paid.insert(member.who.clone(), settled.paid);
            }
        }
        Self::record(step, members, &sequence, &clearing);
        Self::tell_fills(step, unit, members, &settled);
        Self::tell_conduct(step, unit, members, &settled);
        result
    }

    /// Leaves a step without a market: nothing was offered, nothing traded.
    fn void(step: Step, reason: VoidReason, members: &mut [Participant<T>]) {
        for member in members.iter_mut() {
            for order in member.book.orders.iter_mut() {
                (order.offered, order.traded, order.coins) = (0, 0, 0);
            }
        }
        Outcomes::<T>::insert(step, StepOutcome::Void(reason));
        Self::deposit_event(Event::StepVoid { step, reason });
    }

    fn apply_caps(
        step: Step,
        mechanism: Mechanism,
        unit: Wh,
        result: &StepResult<T::AccountId>,
        members: &mut [Participant<T>],
    ) {
        for Participant { who, book } in members {
            book.loyalty = match mechanism {
                Mechanism::Loyal => T::Loyalty::loyalty_of(who, step),
                _ => Ppm::FULL,
            };
            if !result.is_member(who) {
                continue;
            }
            let bounds = Bounds::of(T::Energy::holding(step, who), unit);
            book.for_sale = bounds.for_sale;
            let offers = match mechanism {
                Mechanism::Continuous => compute_continuous_offers(&book.orders),
                _ => compute_offers(&book.orders, bounds),
            };
            for (order, offered) in book.orders.iter_mut().zip(offers) {
                order.offered = offered;
            }
        }
    }

    /// Returns the orders of a clearing in the sequence that its trades refer to, from what is stored: in a call by
    /// member and place, in `continuous` by arrival. `None` when the seeds that break ties are no longer kept: any other
    /// seed would name other parties.
    pub(crate) fn sequence(
        step: Step,
        mechanism: Mechanism,
        members: &[Participant<T>],
    ) -> Option<Sequence<T::AccountId>> {
        let is_continuous = mechanism == Mechanism::Continuous;
        let before = step.saturating_sub(1);
        let mut seeds = BTreeMap::<BlockNumber, Hash>::new();
        let mut tie_break = |who: &T::AccountId, block: BlockNumber| {
            let seed = match seeds.entry(block) {
                Entry::Occupied(known) => *known.get(),
                Entry::Vacant(asked) => *asked.insert(T::Beacon::seed_of(Step(block))?),
            };
            Some(BlakeTwo256::hash_of(&(TIE_DOMAIN, seed, who)))
        };
        let mut orders = Vec::new();
        let mut places = Vec::new();
        for (member, Participant { who, book }) in members.iter().enumerate() {
            // One hash serves all of a member's orders, but where orders arrive one after the other.
            let in_call = match is_continuous {
                true => None,
                false => Some(tie_break(who, before.0)?),
            };
            for (order, booked) in book.orders.iter().enumerate() {
                if booked.offered == 0 {
                    continue;
                }
                let arrival = match booked.origin {
                    // It came into this step's book with the block before.
                    Origin::Standing(_) if is_continuous => before.0,
                    _ => booked.arrival,
                };
                orders.push(Order {
                    id: booked.origin.id(step).to_hash(),
                    account: who.clone(),
                    side: booked.side,
                    limit: booked.limit,
                    units: booked.offered,
                    loyalty: book.loyalty,
                    arrival,
                    tie_break: match in_call {
                        Some(tie) => tie,
                        None => tie_break(who, arrival)?,
                    },
                });
                places.push(Place { member, order });
            }
        }
        if is_continuous {
            let by_id: BTreeMap<Hash, Place> =
                orders.iter().map(|order| order.id).zip(places).collect();
            sort_arrivals(&mut orders);
            places = orders
                .iter()
                .filter_map(|order| by_id.get(&order.id).copied())
                .collect();
        }
        Some(Sequence { orders, places })
    }

    fn clear(
        mechanism: Mechanism,
        members: &[Participant<T>],
        sequence: &Sequence<T::AccountId>,
    ) -> Result<Clearing, OrderError> {
        if mechanism != Mechanism::Continuous {
            return clear(&sequence.orders, mechanism);
        }
        let Played {
            matches,
            withdrawals,
        } = Self::play(members, sequence)?;
        settle_book(&sequence.orders, &matches, withdrawals, |who| {
            Self::for_sale(members, who)
        })
    }

    /// Returns what one of the members, who are by account, had for sale, in units.
    pub(crate) fn for_sale(members: &[Participant<T>], who: &T::AccountId) -> u64 {
        let place = members.binary_search_by(|member| member.who.cmp(who));
        let member = place.ok().and_then(|place| members.get(place));
        member.map_or(0, |member| member.book.for_sale)
    }

    /// Plays a step's arrivals and withdrawals through the book of `continuous`.
    pub(crate) fn play(
        members: &[Participant<T>],
        sequence: &Sequence<T::AccountId>,
    ) -> Result<Played, OrderError> {
        play(&sequence.orders, |position| {
            Self::withdrawn_at(members, sequence, position)
        })
    }

    /// Returns the block in which an order of a sequence was cancelled, if it was.
    pub(crate) fn withdrawn_at(
        members: &[Participant<T>],
        sequence: &Sequence<T::AccountId>,
        position: u32,
    ) -> Option<BlockNumber> {
        let at = usize::try_from(position).ok()?;
        Self::booked(members, *sequence.places.get(at)?)?.withdrawn
    }

    fn booked(members: &[Participant<T>], place: Place) -> Option<&BookedOrder> {
        members.get(place.member)?.book.orders.get(place.order)
    }

    /// Writes into each order what became of it; returns what that makes for each member.
    fn sum_up(
        unit: Wh,
        members: &mut [Participant<T>],
        sequence: &Sequence<T::AccountId>,
        clearing: &Clearing,
    ) -> Vec<Settled> {
        let mut settled = alloc::vec![Settled::default(); members.len()];
        for trade in &clearing.trades {
            // A verified clearing's sums fit.
            let coins = [
                (trade.buy, trade.buyer_owes().unwrap_or_default()),
                (trade.sell, trade.seller_receives().unwrap_or_default()),
            ];
            for (position, coins) in coins {
                Self::add_fill(
                    members,
                    &mut settled,
                    sequence,
                    position,
                    trade.units,
                    coins,
                );
            }
        }
        for cancelled in &clearing.history.cancelled {
            let place = usize::try_from(cancelled.sell)
                .ok()
                .and_then(|at| sequence.places.get(at));
            if let Some(sums) = place.and_then(|place| settled.get_mut(place.member)) {
                sums.missing = sums.missing.saturating_add(u64::from(cancelled.units));
            }
        }
        let add = |to: &mut Wh, units: u64| {
            *to = Wh(to.0.saturating_add(energy_of(units, unit).0));
        };
        // What a seller could have delivered beyond what it sold. Offers of a call are capped by that, those of
        // `continuous` are not.
        let mut deliverable: Vec<u64> = members
            .iter()
            .zip(&settled)
            .map(|(member, sums)| member.book.for_sale.saturating_sub(sums.sold))
            .collect();
        let outcomes = compute_outcomes(&sequence.orders, clearing);
        for (place, outcome) in sequence.places.iter().zip(outcomes) {
            let Some(order) = Self::booked(members, *place) else {
                continue;
            };
            let (Some(sums), Some(deliverable)) = (
                settled.get_mut(place.member),
                deliverable.get_mut(place.member),
            ) else {
                continue;
            };
            let left = u64::from(outcome.left);
            add(&mut sums.conduct.traded, u64::from(outcome.traded));
            match outcome.rest {
                _ if order.withdrawn.is_some() => (),
                // Who did not deliver is not rewarded for what was left over.
                Rest::Unserved if sums.missing > 0 => (),
                Rest::Unserved if order.side == Side::Sell => {
                    let served = left.min(*deliverable);
                    *deliverable = deliverable.saturating_sub(served);
                    add(&mut sums.conduct.unserved, served);
                }
                Rest::Unserved => add(&mut sums.conduct.unserved, left),
                Rest::CutOff => add(&mut sums.conduct.cut_off, left),
                Rest::Unopposed | Rest::Nothing => (),
            }
        }
        // What was promised and is not there served nobody either.
        for sums in settled.iter_mut().filter(|sums| sums.missing > 0) {
            let missing = sums.missing;
            add(&mut sums.conduct.cut_off, missing);
        }
        settled
    }

    fn add_fill(
        members: &mut [Participant<T>],
        settled: &mut [Settled],
        sequence: &Sequence<T::AccountId>,
        position: u32,
        units: u32,
        coins: Coin,
    ) {
        let place = usize::try_from(position)
            .ok()
            .and_then(|at| sequence.places.get(at));
        let Some(&Place { member, order }) = place else {
            return;
        };
        let booked = members
            .get_mut(member)
            .and_then(|member| member.book.orders.get_mut(order));
        if let (Some(booked), Some(sums)) = (booked, settled.get_mut(member)) {
            booked.traded = booked.traded.saturating_add(units);
            booked.coins = booked.coins.saturating_add(coins);
            let units = u64::from(units);
            match booked.side {
                Side::Buy => {
                    sums.bought = sums.bought.saturating_add(units);
                    sums.paid = sums.paid.saturating_add(coins);
                }
                Side::Sell => {
                    sums.sold = sums.sold.saturating_add(units);
                    sums.received = sums.received.saturating_add(coins);
                }
            }
        }
    }

    /// Moves the energy and the coins of a clearing; the caller undoes all of it when any of it fails.
    fn move_all(
        step: Step,
        unit: Wh,
        members: &[Participant<T>],
        settled: &[Settled],
        surplus: Coin,
    ) -> DispatchResult {
        let traded = || {
            members
                .iter()
                .zip(settled)
                .filter(|(_, sums)| sums.bought > 0 || sums.sold > 0)
        };
        let moves: Vec<_> = traded()
            .map(|(member, sums)| EnergyMove {
                who: member.who.clone(),
                bought: energy_of(sums.bought, unit),
                sold: energy_of(sums.sold, unit),
            })
            .collect();
        if moves.is_empty() {
            return Ok(());
        }
        T::Energy::move_energy(step, &moves)?;
        let pot = Self::pot();
        for (member, sums) in traded().filter(|(_, sums)| sums.paid > 0) {
            T::Currency::transfer_on_hold(
                &HoldReason::Order.into(),
                &member.who,
                &pot,
                sums.paid,
                Precision::Exact,
                Restriction::Free,
                Fortitude::Force,
            )?;
        }
        let pay = |to: &T::AccountId, coins: Coin| -> Result<(), DispatchError> {
            if coins > 0 {
                T::Currency::transfer(&pot, to, coins, Preservation::Expendable)?;
            }
            Ok(())
        };
        for (member, sums) in traded() {
            pay(&member.who, sums.received)?;
        }
        pay(&T::Treasury::get(), surplus)
    }

    /// Stores the clearing and its trades.
    fn record(
        step: Step,
        members: &[Participant<T>],
        sequence: &Sequence<T::AccountId>,
        clearing: &Clearing,
    ) {
        let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        let per_chunk = usize::try_from(TRADES_PER_CHUNK).unwrap_or(usize::MAX);
        for (chunk, trades) in (0u32..).zip(clearing.trades.chunks(per_chunk)) {
            Trades::<T>::insert(step, chunk, TradeChunk::truncate_from(trades.to_vec()));
        }
        for (chunk, cancelled) in (0u32..).zip(clearing.history.cancelled.chunks(per_chunk)) {
            let cancelled = CancelledChunk::truncate_from(cancelled.to_vec());
            CancelledMatches::<T>::insert(step, chunk, cancelled);
        }
        let offers =
            |member: &&Participant<T>| member.book.orders.iter().any(|order| order.offered > 0);
        let record = ClearingRecord {
            mechanism: clearing.mechanism,
            breakeven: clearing.breakeven,
            quote: clearing.quote,
            totals: clearing.totals,
            orders: count(sequence.orders.len()),
            members: count(members.iter().filter(offers).count()),
            trades: count(clearing.trades.len()),
            cancelled: count(clearing.history.cancelled.len()),
        };
        Outcomes::<T>::insert(step, StepOutcome::Cleared(record));
        Self::deposit_event(Event::StepCleared { step, record });
    }

    fn tell_fills(step: Step, unit: Wh, members: &[Participant<T>], settled: &[Settled]) {
        for (Participant { who, .. }, sums) in members.iter().zip(settled) {
            if sums.bought > 0 || sums.sold > 0 {
                Self::deposit_event(Event::MemberTraded {
                    step,
                    who: who.clone(),
                    bought: energy_of(sums.bought, unit),
                    sold: energy_of(sums.sold, unit),
                    paid: sums.paid,
                    received: sums.received,
                });
            }
        }
    }

    /// Tells loyalty and reputation what members did.
    fn tell_conduct(step: Step, unit: Wh, members: &[Participant<T>], settled: &[Settled]) {
        for (Participant { who, .. }, sums) in members.iter().zip(settled) {
            if sums.conduct != MarketConduct::default() {
                T::Loyalty::on_market_cleared(who, step, sums.conduct);
            }
            if sums.missing > 0 {
                let promised = energy_of(sums.sold.saturating_add(sums.missing), unit);
                let missing = energy_of(sums.missing, unit);
                T::Shortfalls::on_shortfall(who, step, promised, missing);
                Self::deposit_event(Event::Shortfall {
                    step,
                    who: who.clone(),
                    promised,
                    missing,
                });
            }
        }
    }

    /// Puts the standing orders into the book of the next step, with the coins that this one set free.
    fn book_next(step: Step, next: Step, freed: &mut Freed<T::AccountId>) {
        let mut size = Sizes::<T>::get(next);
        let size_before = size;
        let all: Vec<_> = Standing::<T>::iter().collect();
        for (who, orders) in all {
            let known = freed.remove(&who);
            let (coins, is_member) = known.unwrap_or_else(|| (0, T::Registry::is_member(&who)));
            if !is_member {
                Self::free(&who, coins);
                Self::drop_standing(next, &who, &orders);
                continue;
            }
            let kept = Self::keep_unexpired(&who, next, orders);
            let due: Vec<StandingOrder> = kept
                .into_iter()
                // What came in this very block stands in the book already.
                .filter(|order| order.arrival < step.0)
                .collect();
            let skipped = Self::book_member(next, &who, &due, coins, &mut size);
            for (id, reason) in skipped {
                Self::deposit_event(Event::StandingOrderSkipped {
                    who: who.clone(),
                    id,
                    step: next,
                    reason,
                });
            }
        }
        if size != size_before {
            Sizes::<T>::insert(next, size);
        }
    }

    /// Books a member's standing orders with the coins that are free; returns which were left out.
    fn book_member(
        next: Step,
        who: &T::AccountId,
        due: &[StandingOrder],
        coins: Coin,
        size: &mut crate::types::BookSize,
    ) -> Vec<(OrderId, SkipReason)> {
        if due.is_empty() {
            Self::free(who, coins);
            return Vec::new();
        }
        let cost = due.iter().fold(0, |sum: Coin, order| {
            sum.saturating_add(order.booked().escrow())
        });
        let available = if cost > coins {
            let free = T::Currency::reducible_balance(who, Preservation::Protect, Fortitude::Force);
            coins.saturating_add(free)
        } else {
            coins
        };
        let mut book = Books::<T>::get(next, who).unwrap_or_default();
        let (escrow_before, size_before) = (book.escrow, *size);
        let skipped = Self::book_standing(next, &mut book, size, due, available);
        let added = book.escrow.saturating_sub(escrow_before);
        if Self::change_hold(who, coins, added).is_err() {
            // A ledger that says there are coins and does not hold them: without them there is no order.
            *size = size_before;
            Self::free(who, coins);
            let all = due.iter().map(|order| OrderId::standing(order.number));
            return all.map(|id| (id, SkipReason::NotEnoughCoins)).collect();
        }
        if skipped.len() < due.len() {
            Books::<T>::insert(next, who, book);
        }
        skipped
    }

    /// Forgets a member's standing orders that are for no later step; returns the others.
    fn keep_unexpired(
        who: &T::AccountId,
        next: Step,
        orders: frame_support::BoundedVec<StandingOrder, T::MaxStanding>,
    ) -> frame_support::BoundedVec<StandingOrder, T::MaxStanding> {
        let mut kept = orders;
        let before = kept.len();
        kept.retain(|order| order.covers(next));
        if kept.is_empty() {
            Standing::<T>::remove(who);
        } else if kept.len() < before {
            Standing::<T>::insert(who, &kept);
        }
        kept
    }

    /// Forgets the standing orders of somebody who is no member any more.
    fn drop_standing(next: Step, who: &T::AccountId, orders: &[StandingOrder]) {
        Standing::<T>::remove(who);
        for order in orders {
            Self::deposit_event(Event::StandingOrderSkipped {
                who: who.clone(),
                id: OrderId::standing(order.number),
                step: next,
                reason: SkipReason::NotAMember,
            });
        }
    }

    /// Gives coins that were on hold back to their owner.
    fn free(who: &T::AccountId, coins: Coin) {
        if coins == 0 {
            return;
        }
        let reason = HoldReason::Order.into();
        if let Err(error) = T::Currency::release(&reason, who, coins, Precision::Exact) {
            // The sum of what is held is checked with every order, so this is a fault of the ledger.
            tracing::error!(target: LOG_TARGET, ?who, coins, ?error, "coins not released");
        }
    }
}

/// What a settlement leaves to do.
struct StepResult<AccountId> {
    strangers: Vec<AccountId>,
    paid: BTreeMap<AccountId, Coin>,
}

impl<AccountId> Default for StepResult<AccountId> {
    fn default() -> Self {
        Self {
            strangers: Vec::new(),
            paid: BTreeMap::new(),
        }
    }
}

impl<AccountId: Ord> StepResult<AccountId> {
    fn is_member(&self, who: &AccountId) -> bool {
        // By ascending account, as the members were asked.
        self.strangers.binary_search(who).is_err()
    }

    fn paid(&self, who: &AccountId) -> Coin {
        self.paid.get(who).copied().unwrap_or_default()
    }
}
