//! Placing, cancelling and replacing orders.
//!
//! A call works on a [`Draft`] of the caller's book of one step: it is changed in memory, and written when
//! nothing can fail any more. The coins on hold follow the difference.

use alloc::vec::Vec;

use commonwatt_clearing::{LIMIT_MAX, Mechanism, Side};
use commonwatt_primitives::{
    BlockNumber, Coin, Price, Step,
    traits::{MarketClock, Registrar},
};
use frame_support::{
    BoundedVec, ensure,
    traits::{
        Get,
        fungible::{InspectHold, MutateHold},
        tokens::Precision,
    },
};
use sp_runtime::{ArithmeticError, DispatchError, DispatchResult};

use crate::{
    BookedOrder, Books, Cap, Config, Error, Event, HoldReason, MemberBook, NextStanding, OrderId,
    OrderTerms, Origin, Pallet, STEPS_AHEAD_MAX, Sizes, SkipReason, Standing, StandingOrder, Unit,
    When, types::BookSize,
};

/// A member's standing orders.
type StandingOf<T> = BoundedVec<StandingOrder, <T as Config>::MaxStanding>;
/// One standing order, and the member's standing orders with or without it.
type OneStanding<T> = (StandingOrder, StandingOf<T>);
/// An order that was taken out: of the standing ones, of an open book, or of both.
type Removed<T> = (Option<OneStanding<T>>, Option<(BookedOrder, Draft<T>)>);

/// The book of one member in one step, while a call changes it.
pub(crate) struct Draft<T: Config> {
    step: Step,
    who: T::AccountId,
    book: MemberBook<T::MaxBooked>,
    escrow_before: Coin,
    size: BookSize,
    was_empty: bool,
}

impl<T: Config> Draft<T> {
    pub(crate) fn open(step: Step, who: &T::AccountId) -> Self {
        let book = Books::<T>::get(step, who).unwrap_or_default();
        Self {
            step,
            who: who.clone(),
            escrow_before: book.escrow,
            was_empty: book.orders.is_empty(),
            size: Sizes::<T>::get(step),
            book,
        }
    }

    /// Adds an order that the terms of the step allow; returns its id.
    fn add(&mut self, mut order: BookedOrder) -> Result<OrderId, DispatchError> {
        ensure!(
            !self
                .book
                .orders
                .iter()
                .any(|other| other.is_duplicate_of(&order)),
            Error::<T>::DuplicateOrder
        );
        if let Origin::Once(number) = &mut order.origin {
            let (mut open, mut kept) = (0u32, 0u32);
            let orders = self.book.orders.iter();
            for other in orders.filter(|other| matches!(other.origin, Origin::Once(_))) {
                kept = kept.saturating_add(1);
                open = open.saturating_add(u32::from(other.withdrawn.is_none()));
            }
            ensure!(open < T::MaxOrders::get(), Error::<T>::TooManyOrders);
            // Standing orders have their room in any case.
            let room = T::MaxBooked::get().saturating_sub(T::MaxStanding::get());
            ensure!(kept < room, Error::<T>::TooManyChanges);
            *number = self.size.next;
            self.size.next = self.size.next.checked_add(1).ok_or(Error::<T>::BookFull)?;
        }
        self.push(order)
    }

    /// Adds an order without asking whether it is one too many for its owner.
    fn push(&mut self, order: BookedOrder) -> Result<OrderId, DispatchError> {
        ensure!(
            self.size.orders < T::MaxOrdersPerStep::get(),
            Error::<T>::BookFull
        );
        self.book.escrow = self
            .book
            .escrow
            .checked_add(order.escrow())
            .ok_or(ArithmeticError::Overflow)?;
        self.book
            .orders
            .try_push(order)
            .map_err(|_| Error::<T>::TooManyOrders)?;
        self.size.orders = self.size.orders.saturating_add(1);
        self.size.note(&order);
        Ok(order.origin.id(self.step))
    }

    /// Takes an order back. Where orders match as they arrive it stays, marked, for what it may have matched until then.
    fn withdraw(&mut self, origin: Origin, now: BlockNumber) -> Result<BookedOrder, DispatchError> {
        let position = self
            .book
            .orders
            .iter()
            .position(|order| order.origin == origin && order.withdrawn.is_none())
            .ok_or(Error::<T>::UnknownOrder)?;
        let order = self
            .book
            .orders
            .get_mut(position)
            .ok_or(Error::<T>::UnknownOrder)?;
        let before = *order;
        let may_have_matched = before.arrival < now
            && self.size.may_have_matched(&before)
            && Pallet::<T>::mechanism_at(self.step) == Mechanism::Continuous;
        if may_have_matched {
            order.withdrawn = Some(now);
        } else {
            self.book.orders.remove(position);
            self.book.escrow = self.book.escrow.saturating_sub(before.escrow());
            self.size.orders = self.size.orders.saturating_sub(1);
        }
        Ok(before)
    }

    /// Checks that the owner has the coins the draft holds more than before.
    fn verify_coins(&self) -> DispatchResult {
        let more = self.book.escrow.saturating_sub(self.escrow_before);
        ensure!(
            more == 0 || T::Currency::can_hold(&HoldReason::Order.into(), &self.who, more),
            Error::<T>::NotEnoughCoins
        );
        Ok(())
    }

    /// Writes the book and moves the coins.
    fn write(mut self) -> DispatchResult {
        Pallet::<T>::change_hold(&self.who, self.escrow_before, self.book.escrow)?;
        let is_empty = self.book.orders.is_empty();
        match (self.was_empty, is_empty) {
            (true, false) => self.size.members = self.size.members.saturating_add(1),
            (false, true) => self.size.members = self.size.members.saturating_sub(1),
            _ => (),
        }
        if is_empty {
            Books::<T>::remove(self.step, &self.who);
        } else {
            Books::<T>::insert(self.step, &self.who, self.book);
        }
        Sizes::<T>::insert(self.step, self.size);
        Ok(())
    }
}

impl<T: Config> Pallet<T> {
    pub(crate) fn do_place(who: T::AccountId, terms: OrderTerms) -> DispatchResult {
        // Check and compute.
        let now = Self::open_block(&who)?;
        Self::verify_terms(&terms)?;
        let step = Self::first_step(terms.when, now)?;
        Self::verify_cap(&terms, step)?;
        let mut draft = Draft::<T>::open(step, &who);
        let standing = match terms.when {
            When::Once(_) => None,
            When::Standing { until } => Some(Self::with_standing(&who, &terms, until, now, None)?),
        };
        let origin = match &standing {
            Some((order, _)) => Origin::Standing(order.number),
            None => Origin::Once(0),
        };
        let id = draft.add(booked(origin, &terms, now))?;
        draft.verify_coins()?;
        // Write.
        draft.write()?;
        Self::write_standing(&who, standing);
        // Tell.
        Self::deposit_event(Event::OrderPlaced { who, id, terms });
        Ok(())
    }

    pub(crate) fn do_cancel(who: T::AccountId, id: OrderId) -> DispatchResult {
        // Check and compute.
        let now = Self::open_block(&who)?;
        let (standing, draft) = Self::without(&who, id, now)?;
        // Write.
        if let Some((_, draft)) = draft {
            draft.write()?;
        }
        if let Some(rest) = standing {
            Self::put_standing(&who, rest.1);
        }
        // Tell.
        Self::deposit_event(Event::OrderCancelled { who, id });
        Ok(())
    }

    pub(crate) fn do_replace(
        who: T::AccountId,
        id: OrderId,
        limit: Price,
        units: u32,
    ) -> DispatchResult {
        // Check and compute.
        let now = Self::open_block(&who)?;
        let (standing, draft) = Self::without(&who, id, now)?;
        let next = Step(now.saturating_add(1));
        let (step, side, cap, when) = match (&standing, &draft) {
            (Some((old, _)), _) => {
                let until = old.until;
                (next, old.side, old.cap, When::Standing { until })
            }
            (None, Some((old, _))) => (id.step, old.side, old.cap, When::Once(id.step)),
            (None, None) => return Err(Error::<T>::UnknownOrder.into()),
        };
        let terms = OrderTerms {
            side,
            limit,
            units,
            unit: Unit::<T>::get(),
            when,
            cap,
        };
        Self::verify_terms(&terms)?;
        Self::first_step(when, now)?;
        Self::verify_cap(&terms, step)?;
        let mut draft = draft.map_or_else(|| Draft::<T>::open(step, &who), |(_, draft)| draft);
        let (origin, standing) = match standing {
            Some((old, rest)) => {
                let (order, all) = Self::with_standing(&who, &terms, old.until, now, Some(rest))?;
                (Origin::Standing(order.number), Some((order, all)))
            }
            None => (Origin::Once(0), None),
        };
        let new = draft.add(booked(origin, &terms, now))?;
        draft.verify_coins()?;
        // Write.
        draft.write()?;
        Self::write_standing(&who, standing);
        // Tell.
        Self::deposit_event(Event::OrderReplaced {
            who,
            old: id,
            new,
            terms,
        });
        Ok(())
    }

    /// Returns the block under construction, if it takes orders of this account.
    fn open_block(who: &T::AccountId) -> Result<BlockNumber, DispatchError> {
        ensure!(T::Registry::is_member(who), Error::<T>::NotAMember);
        ensure!(!T::Clock::is_late(), Error::<T>::BlockLate);
        Ok(T::Clock::current_step().0)
    }

    fn verify_terms(terms: &OrderTerms) -> DispatchResult {
        ensure!(terms.unit == Unit::<T>::get(), Error::<T>::WrongUnit);
        ensure!(terms.units > 0, Error::<T>::NothingOrdered);
        ensure!(terms.limit <= LIMIT_MAX, Error::<T>::LimitTooHigh);
        match terms.side {
            Side::Buy => ensure!(terms.limit > 0, Error::<T>::LimitIsZero),
            Side::Sell => ensure!(terms.cap == Cap::Quantity, Error::<T>::CapOnSale),
        }
        Ok(())
    }

    /// Returns the first step an order is for.
    fn first_step(when: When, now: BlockNumber) -> Result<Step, DispatchError> {
        let next = Step(now.checked_add(1).ok_or(Error::<T>::TooFarAhead)?);
        match when {
            When::Once(step) => {
                ensure!(step >= next, Error::<T>::GateClosed);
                ensure!(
                    step.since(Step(now)) <= STEPS_AHEAD_MAX,
                    Error::<T>::TooFarAhead
                );
                Ok(step)
            }
            When::Standing { until } => {
                ensure!(
                    until.is_none_or(|until| until >= next),
                    Error::<T>::AlreadyExpired
                );
                Ok(next)
            }
        }
    }

    fn verify_cap(terms: &OrderTerms, step: Step) -> DispatchResult {
        ensure!(
            terms.cap == Cap::Quantity || Self::mechanism_at(step) != Mechanism::Continuous,
            Error::<T>::NeedUnknown
        );
        Ok(())
    }

    /// Returns a new standing order, and the member's standing orders with it.
    fn with_standing(
        who: &T::AccountId,
        terms: &OrderTerms,
        until: Option<Step>,
        now: BlockNumber,
        others: Option<StandingOf<T>>,
    ) -> Result<OneStanding<T>, DispatchError> {
        let mut all = others.unwrap_or_else(|| Standing::<T>::get(who));
        let order = StandingOrder {
            number: NextStanding::<T>::get(),
            side: terms.side,
            limit: terms.limit,
            units: terms.units,
            cap: terms.cap,
            arrival: now,
            until,
        };
        ensure!(
            !all.iter()
                .any(|other| other.booked().is_duplicate_of(&order.booked())),
            Error::<T>::DuplicateOrder
        );
        order
            .number
            .checked_add(1)
            .ok_or(Error::<T>::NumbersExhausted)?;
        all.try_push(order)
            .map_err(|_| Error::<T>::TooManyStandingOrders)?;
        Ok((order, all))
    }

    fn write_standing(who: &T::AccountId, standing: Option<OneStanding<T>>) {
        if let Some((order, all)) = standing {
            NextStanding::<T>::put(order.number.saturating_add(1));
            Standing::<T>::insert(who, all);
        }
    }

    fn put_standing(who: &T::AccountId, orders: StandingOf<T>) {
        if orders.is_empty() {
            Standing::<T>::remove(who);
        } else {
            Standing::<T>::insert(who, orders);
        }
    }

    /// Returns a member's standing orders and the draft of its book without an order: the standing part for a
    /// standing one, the draft where the order stands in a book that is still open.
    fn without(
        who: &T::AccountId,
        id: OrderId,
        now: BlockNumber,
    ) -> Result<Removed<T>, DispatchError> {
        if !id.is_standing() {
            ensure!(id.step.0 > now, Error::<T>::GateClosed);
            let mut draft = Draft::<T>::open(id.step, who);
            let foreign = id.number < draft.size.next;
            let order = draft
                .withdraw(Origin::Once(id.number), now)
                .map_err(|error| Self::foreign_or(foreign, error))?;
            return Ok((None, Some((order, draft))));
        }
        let mut all = Standing::<T>::get(who);
        let position = all
            .iter()
            .position(|order| order.number == id.number)
            .ok_or_else(|| {
                let foreign = id.number < NextStanding::<T>::get();
                Self::foreign_or(foreign, Error::<T>::UnknownOrder.into())
            })?;
        let order = all.remove(position);
        // One that came in this very block stands in the next step's book already.
        let draft = if order.arrival == now {
            let mut draft = Draft::<T>::open(Step(now.saturating_add(1)), who);
            let booked = draft.withdraw(Origin::Standing(id.number), now)?;
            Some((booked, draft))
        } else {
            None
        };
        Ok((Some((order, all)), draft))
    }

    /// A number that was given belongs to somebody else, or to an order that is gone.
    fn foreign_or(was_given: bool, error: DispatchError) -> DispatchError {
        if was_given {
            Error::<T>::NotYourOrder.into()
        } else {
            error
        }
    }

    /// Moves what is on hold for an account's orders from one sum to another.
    pub(crate) fn change_hold(who: &T::AccountId, before: Coin, after: Coin) -> DispatchResult {
        let reason = HoldReason::Order.into();
        if after > before {
            T::Currency::hold(&reason, who, after - before)
                .map_err(|_| Error::<T>::NotEnoughCoins)?;
        } else if before > after {
            T::Currency::release(&reason, who, before - after, Precision::Exact)?;
        }
        Ok(())
    }

    /// Puts a member's standing orders into the book of `step`, as far as there is room and coins; returns those
    /// that were left out, and what the book holds. The coins are the caller's to move.
    pub(crate) fn book_standing(
        step: Step,
        book: &mut MemberBook<T::MaxBooked>,
        size: &mut BookSize,
        orders: &[StandingOrder],
        mut coins: Coin,
    ) -> Vec<(OrderId, SkipReason)> {
        let is_continuous = Self::mechanism_at(step) == Mechanism::Continuous;
        let mut skipped = Vec::new();
        let was_empty = book.orders.is_empty();
        for standing in orders {
            let order = standing.booked();
            let escrow = order.escrow();
            let reason = if is_continuous && order.cap == Cap::Need {
                Some(SkipReason::NeedUnknown)
            } else if escrow > coins {
                Some(SkipReason::NotEnoughCoins)
            } else if size.orders >= T::MaxOrdersPerStep::get()
                || book.orders.try_push(order).is_err()
            {
                Some(SkipReason::BookFull)
            } else {
                None
            };
            if let Some(reason) = reason {
                skipped.push((OrderId::standing(standing.number), reason));
                continue;
            }
            size.note(&order);
            coins = coins.saturating_sub(escrow);
            book.escrow = book.escrow.saturating_add(escrow);
            size.orders = size.orders.saturating_add(1);
        }
        if was_empty && !book.orders.is_empty() {
            size.members = size.members.saturating_add(1);
        }
        skipped
    }
}

fn booked(origin: Origin, terms: &OrderTerms, now: BlockNumber) -> BookedOrder {
    BookedOrder {
        origin,
        side: terms.side,
        limit: terms.limit,
        units: terms.units,
        cap: terms.cap,
        arrival: now,
        withdrawn: None,
        offered: 0,
        traded: 0,
        coins: 0,
    }
}
