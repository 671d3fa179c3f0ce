//! The invariants of the pallet, checked after every block of the tests.

use alloc::collections::BTreeMap;
use commonwatt_clearing::{Mechanism, Side, verify_book};
use commonwatt_primitives::{Coin, Step, traits::MarketClock};
use frame_support::{ensure, traits::fungible::InspectHold};
use sp_runtime::TryRuntimeError;

use crate::{
    BookSize, Books, Config, HoldReason, OldestKept, Outcomes, Pallet, Sizes, Standing,
    StepOutcome, Terms, Trades, queries::StoredClearing,
};

impl<T: Config> Pallet<T> {
    /// Checks what the module's documentation promises, after a block.
    pub fn do_try_state() -> Result<(), TryRuntimeError> {
        let now = T::Clock::current_step();
        Self::check_books(now)?;
        Self::check_terms()?;
        for orders in Standing::<T>::iter_values() {
            ensure!(!orders.is_empty(), "standing orders of nobody are kept");
            ensure!(
                orders
                    .iter()
                    .all(|order| order.covers(Step(now.0.saturating_add(1)))),
                "an expired standing order is kept"
            );
        }
        for (step, outcome) in Outcomes::<T>::iter() {
            ensure!(
                OldestKept::<T>::get() <= step && step <= now,
                "an outcome outside the kept steps"
            );
            match outcome {
                StepOutcome::Cleared(_) => Self::check_clearing(step)?,
                StepOutcome::Void(_) => ensure!(
                    Trades::<T>::iter_prefix(step).next().is_none(),
                    "a void step has trades"
                ),
            }
        }
        Ok(())
    }

    fn check_books(now: Step) -> Result<(), TryRuntimeError> {
        let mut held = BTreeMap::<T::AccountId, Coin>::new();
        let mut sizes = BTreeMap::<Step, BookSize>::new();
        for (step, who, book) in Books::<T>::iter() {
            ensure!(!book.orders.is_empty(), "an empty book is kept");
            if step <= now {
                ensure!(book.escrow == 0, "a settled book holds coins");
                continue;
            }
            let escrow = book
                .orders
                .iter()
                .try_fold(0, |sum: Coin, order| sum.checked_add(order.escrow()))
                .ok_or("an escrow does not fit")?;
            ensure!(escrow == book.escrow, "an escrow is not that of its orders");
            let sum = held.entry(who).or_default();
            *sum = sum.checked_add(escrow).ok_or("the escrows do not fit")?;
            let size = sizes.entry(step).or_default();
            size.members += 1;
            for order in &book.orders {
                size.note(order);
            }
            size.orders = size
                .orders
                .checked_add(u32::try_from(book.orders.len()).map_err(|_| "too many orders")?)
                .ok_or("too many orders")?;
        }
        for (step, size) in Sizes::<T>::iter() {
            ensure!(step > now, "the size of a past book is kept");
            let counted = sizes.remove(&step).unwrap_or_default();
            ensure!(
                (size.orders, size.members) == (counted.orders, counted.members),
                "a book's size is not that of its orders"
            );
            let mut all = size;
            all.highest_bid = size.highest_bid.max(counted.highest_bid);
            all.lowest_ask = match (size.lowest_ask, counted.lowest_ask) {
                (Some(noted), Some(found)) => Some(noted.min(found)),
                (noted, found) => noted.or(found),
            };
            ensure!(all == size, "an order's limit was not noted");
        }
        ensure!(sizes.is_empty(), "a book's size is missing");
        for who in frame_system::Account::<T>::iter_keys() {
            let escrow = held.remove(&who).unwrap_or_default();
            ensure!(
                T::Currency::balance_on_hold(&HoldReason::Order.into(), &who) == escrow,
                "the coins on hold are not the open escrow"
            );
        }
        ensure!(
            held.values().all(|escrow| *escrow == 0),
            "an account without coins has an escrow"
        );
        Ok(())
    }

    fn check_terms() -> Result<(), TryRuntimeError> {
        ensure!(
            Terms::<T>::get().is_sorted_by(|one, next| one.effective_from < next.effective_from),
            "agreements do not follow one another"
        );
        Ok(())
    }

    /// Anyone can check a clearing like this, from what the state holds.
    fn check_clearing(step: Step) -> Result<(), TryRuntimeError> {
        let StoredClearing {
            members,
            sequence,
            clearing,
        } = Self::stored_clearing(step).ok_or("a clearing cannot be read back")?;
        verify_book(
            &sequence.orders,
            &clearing,
            |position| Self::withdrawn_at(&members, &sequence, position),
            |who| Self::for_sale(&members, who),
        )
        .map_err(|_| "a clearing is not proved by what is stored with it")?;
        let mut fills = BTreeMap::<usize, (u32, Coin)>::new();
        for trade in &clearing.trades {
            for (position, coins) in [
                (trade.buy, trade.buyer_owes()),
                (trade.sell, trade.seller_receives()),
            ] {
                let at = usize::try_from(position).map_err(|_| "a position does not fit")?;
                let (units, sum) = fills.entry(at).or_default();
                *units = units.checked_add(trade.units).ok_or("units do not fit")?;
                *sum = coins
                    .and_then(|coins| sum.checked_add(coins))
                    .ok_or("coins do not fit")?;
            }
        }
        for (at, place) in sequence.places.iter().enumerate() {
            let order = members
                .get(place.member)
                .and_then(|member| member.book.orders.get(place.order))
                .ok_or("a place without an order")?;
            let (units, coins) = fills.remove(&at).unwrap_or_default();
            ensure!(
                (order.traded, order.coins) == (units, coins),
                "an order's fill is not that of the trades"
            );
            ensure!(
                order.side == Side::Sell || order.coins <= order.escrow(),
                "a buyer paid more than it held"
            );
        }
        ensure!(fills.is_empty(), "a trade of no order");
        for member in &members {
            let sum = |what: fn(&crate::BookedOrder) -> u32| -> u64 {
                let sales = member.book.orders.iter();
                let sales = sales.filter(|order| order.side == Side::Sell);
                sales.map(|order| u64::from(what(order))).sum()
            };
            ensure!(
                sum(|order| order.traded) <= member.book.for_sale,
                "a member sold more than it had"
            );
            ensure!(
                clearing.mechanism == Mechanism::Continuous
                    || sum(|order| order.offered) <= member.book.for_sale,
                "a member offered more than it had"
            );
        }
        Ok(())
    }
}
