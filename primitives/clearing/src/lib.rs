//! # Clearing
//!
//! The double auction of a market step as pure functions on integers (PROTOCOL 9, [T] 4.4): orders in, trades out,
//! with a proof that anyone can check from what the chain stores.
//!
//! ## Terms
//! - unit: the trading unit, the least energy that is traded. Limits and prices are per unit.
//! - `b_1 ≥ b_2 ≥ …`, `s_1 ≤ s_2 ≤ …`: the limits of the units bid and asked for, in the order of priority.
//! - breakeven index `k`: the largest index with `b_k ≥ s_k`.
//! - call: `average`, `loyal`, `uniform` and `mcafee`, which clear all orders of a step at once; the other
//!   mechanism, `continuous`, matches orders as they arrive.
//!
//! ## How a pallet uses it
//! A call:
//! 1. At the step's block, take its orders in a sequence that can be read back from the chain later, each cut to what
//!    its owner may trade (`units` after the caps across a member's orders; orders cut to nothing are left out).
//! 2. [`clear`] them. [`Trade`]s name orders by their position in that sequence. Each trade moves
//!    [`Trade::units`] × the trading unit of energy, [`Trade::buyer_owes`] coins out of the buyer's escrow and
//!    [`Trade::seller_receives`] coins to the seller; the difference, [`Totals::surplus`] in sum, is the treasury's.
//! 3. Store orders and [`Clearing`]. `try_state` and anyone else run [`verify`] on them.
//! 4. [`compute_outcomes`] says what loyalty asks about each order, [`compute_curves`] what a chart shows.
//!
//! `continuous`:
//! 1. Keep a [`Book`] for each open step, beside the list of its orders and the list of its trades so far. In every
//!    block sort the block's new orders with [`sort_arrivals`], append them to the step's orders and [`Book::submit`]
//!    each: its position there is [`Book::submitted`] at that moment. Append what that returns to the trades. Orders
//!    stay in the list for good, so that positions don't move.
//! 2. [`Book::withdraw`] an order that its owner cancels, before the block's new orders, and note the [`Withdrawal`]
//!    that this returns. A replaced order is one withdrawn and one submitted. Store in which block each was.
//! 3. At the step's block call [`settle`] with orders, trades, withdrawals and how many units each member may sell: what
//!    is missing is cancelled from a seller's last matches backwards, and [`History::cancelled`] names it, for
//!    reputation. Then go on as with a call, from 2. What each member may sell is stored too: with it and the
//!    blocks of the cancellations, [`verify_book`] takes the part of [`verify`].
//!
//! Who rather keeps arrivals and cancellations than a book lets [`play`] do 1 and 2 at the step's block.
//!
//! ## Rules that the protocol leaves open
//! - **Priority**: limit; in `loyal` then higher loyalty; then earlier block; then smaller tie-break hash; then smaller
//!   order id. The result of a call doesn't depend on the sequence that the orders are handed over in.
//! - **A member never trades with itself.** In a call, `k`, range and price follow from all orders. Of a member who is
//!   among the first `k` buyers and the first `k` sellers, as many units as it has on both sides are taken out of both,
//!   its last in priority first: they would have left it with the energy and, at one price, the coins it had. A pair of
//!   units that everybody would trade with shifts `k` by one, and leaves `b_k`, `s_k` and both neighbours where they
//!   were, so nobody else gains or loses by it. A pair at the margin is itself `b_k` or `s_k`, and does move the price:
//!   never beyond the limit of anybody who trades. A seller could have moved it as far by asking more for its own last
//!   unit, a buyer by bidding less. What is taken out is [`Totals::netted`], and counts as not traded.
//!   In `continuous`, an order passes over the resting orders of its own member, and both stay.
//! - **Pairs**: first unit with first unit, second with second, in the order of priority, after taking out; equal pairs of
//!   orders in a row are one trade.
//! - **Rounding**: a price is a whole number of the coin's smallest unit, rounded down, for each unit; a trade's coins are
//!   price × units, so nothing is left over. Buyer and seller of a trade have the same price, but in the reduction of
//!   `mcafee`, whose difference goes to the treasury. `mcafee` without a reduction rounds its price down too, and has no
//!   surplus.
//!
//! ## Invariants
//! - No trade's price is outside either limit, and none is between orders of one member.
//! - Buyers owe what sellers receive and the treasury gets; units bought are units sold.
//! - Nothing here uses floats, allocates by unit, or depends on the order of a hash map.
//!
//! ## Not here
//! Who may order, gates, escrow, caps, storage, loyalty's update: `pallet-double-auction`, `pallet-loyalty`.

#![cfg_attr(not(feature = "std"), no_std)]

extern crate alloc;

mod book;
mod breakeven;
mod call;
mod curves;
mod mechanism;
mod netting;
mod order;
mod outcome;
mod proof;
mod ranking;
mod trade;

pub use book::{Book, Played, Resting, play, settle, sort_arrivals};
pub use breakeven::{Breakeven, Range};
pub use call::clear;
pub use curves::{Curves, Level, compute_curves};
pub use mechanism::{Mechanism, MechanismTextError, Quote};
pub use order::{LIMIT_MAX, ORDERS_MAX, Order, OrderError, Side};
pub use outcome::{Outcome, Rest, compute_outcomes};
pub use proof::{ProofError, verify, verify_book};
pub use trade::{CancelledUnits, Clearing, History, Totals, Trade, Withdrawal};
