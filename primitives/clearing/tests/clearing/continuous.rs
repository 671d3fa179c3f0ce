//! Orders matched as they arrive.

use codec::{Decode, Encode};
use commonwatt_clearing::{
    Book, CancelledUnits, Clearing, Mechanism, Order, OrderError, Played, ProofError, Side::*,
    Trade, Withdrawal, clear, play, settle, sort_arrivals, verify, verify_book,
};

use crate::support::{cleared, order};

/// Submits orders; returns the book and its matches.
fn submit(orders: &[Order<u64>]) -> (Book<u64>, Vec<Trade>) {
    let mut book = Book::default();
    let matches = orders
        .iter()
        .flat_map(|order| book.submit(order).unwrap())
        .collect();
    (book, matches)
}

fn trade(buy: u32, sell: u32, units: u32, price: u128) -> Trade {
    Trade {
        buy,
        sell,
        units,
        buyer_pays: price,
        seller_gets: price,
    }
}

#[test]
fn an_order_meets_the_best_price_first_and_then_the_earlier() {
    let orders = vec![
        order(0, 1, Sell, 12, 5),
        order(1, 2, Sell, 10, 5),
        order(2, 3, Sell, 10, 5),
        order(3, 4, Buy, 12, 12),
    ];
    let (book, matches) = submit(&orders);
    assert_eq!(
        matches,
        [trade(3, 1, 5, 10), trade(3, 2, 5, 10), trade(3, 0, 2, 12)]
    );
    assert_eq!(
        book.resting(Sell)
            .map(|(position, limit, left)| (position, limit, left.units))
            .collect::<Vec<_>>(),
        [(0, 12, 3)]
    );
    assert_eq!(book.resting(Buy).count(), 0);
}

#[test]
fn the_resting_orders_limit_is_the_price() {
    let (_, matches) = submit(&[order(0, 1, Buy, 30, 1), order(1, 2, Sell, 10, 1)]);
    assert_eq!(matches, [trade(0, 1, 1, 30)]);
    let (_, matches) = submit(&[order(0, 1, Sell, 10, 1), order(1, 2, Buy, 30, 1)]);
    assert_eq!(matches, [trade(1, 0, 1, 10)]);
}

#[test]
fn an_order_passes_over_its_own_members_and_both_stay() {
    let orders = vec![
        order(0, 1, Sell, 10, 5),
        order(1, 2, Sell, 11, 5),
        order(2, 1, Buy, 12, 7),
    ];
    let (book, matches) = submit(&orders);
    assert_eq!(matches, [trade(2, 1, 5, 11)]);
    assert_eq!(book.resting(Sell).count(), 1);
    assert_eq!(
        book.resting(Buy)
            .next()
            .map(|(position, _, left)| (position, left.units)),
        Some((2, 2))
    );
    assert_eq!(cleared(&orders, Mechanism::Continuous).trades, matches);
}

#[test]
fn a_book_goes_through_its_encoding_unchanged() {
    let (mut book, _) = submit(&[order(0, 1, Sell, 10, 5), order(1, 2, Buy, 9, 5)]);
    let mut read = Book::<u64>::decode(&mut &book.encode()[..]).unwrap();
    assert_eq!(read, book);
    let next = order(2, 3, Buy, 10, 2);
    assert_eq!(read.submit(&next), book.submit(&next));
}

#[test]
fn a_refused_order_leaves_the_book_as_it_was() {
    let (mut book, _) = submit(&[order(0, 1, Sell, 10, 5)]);
    let before = book.clone();
    assert!(matches!(
        book.submit(&order(1, 2, Buy, 10, 0)),
        Err(OrderError::NoUnits { position: 1, .. })
    ));
    assert!(matches!(
        book.submit(&order(1, 2, Buy, 1 << 64, 1)),
        Err(OrderError::LimitTooHigh { .. })
    ));
    assert_eq!(book, before);
}

/// Orders of which the last came a block later than the others.
fn two_blocks(mut orders: Vec<Order<u64>>) -> Vec<Order<u64>> {
    if let Some(last) = orders.last_mut() {
        last.arrival = 1;
    }
    orders
}

#[test]
fn what_was_taken_back_does_not_trade_and_the_proof_knows() {
    let orders = two_blocks(vec![
        order(0, 1, Sell, 10, 5),
        order(1, 2, Buy, 10, 2),
        order(2, 3, Buy, 10, 2),
    ]);
    let mut book = Book::default();
    let mut matches = book.submit(&orders[0]).unwrap();
    matches.extend(book.submit(&orders[1]).unwrap());
    let withdrawal = book.withdraw(0, &orders[0]).unwrap();
    assert_eq!(book.withdraw(0, &orders[0]), None, "only once");
    assert_eq!(book.withdraw(1, &orders[1]), None, "nothing of it waits");
    matches.extend(book.submit(&orders[2]).unwrap());
    assert_eq!(matches, [trade(1, 0, 2, 10)]);
    let in_block_one = |position| (position < 2).then_some(1);
    let played = Played {
        matches: matches.clone(),
        withdrawals: vec![withdrawal],
    };
    assert_eq!(play(&orders, in_block_one), Ok(played));
    let clearing = settle(&orders, &matches, vec![withdrawal], |_| u64::MAX).unwrap();
    let check = |clearing: &Clearing| verify_book(&orders, clearing, in_block_one, |_| u64::MAX);
    assert_eq!(check(&clearing), Ok(()));
    let mut changed = clearing.clone();
    changed.history.withdrawals.clear();
    assert!(check(&changed).is_err());
    let mut changed = clearing.clone();
    changed.history.withdrawals[0].before = 3;
    assert!(check(&changed).is_err());
    let mut changed = clearing.clone();
    changed.history.withdrawals[0].order = 9;
    assert!(check(&changed).is_err());
    // Without the cancellation, or with another one, it is not the clearing of these orders.
    assert!(verify(&orders, &clearing).is_err());
    assert!(verify_book(&orders, &clearing, |_| Some(2), |_| u64::MAX).is_err());
}

#[test]
fn a_withdrawal_that_nobody_asked_for_is_refused() {
    // The seller's order is said to be taken back before the buyer came.
    let orders = two_blocks(vec![order(0, 1, Sell, 10, 5), order(1, 2, Buy, 10, 2)]);
    let invented = Withdrawal {
        order: 0,
        before: 1,
    };
    let clearing = settle(&orders, &[], vec![invented], |_| u64::MAX).unwrap();
    assert_eq!(clearing.totals.volume, 0);
    assert!(matches!(
        verify(&orders, &clearing),
        Err(ProofError::History(_))
    ));
    let taken_back = |position| (position == 0).then_some(1);
    assert_eq!(
        verify_book(&orders, &clearing, taken_back, |_| u64::MAX),
        Ok(())
    );
}

#[test]
fn an_order_is_not_cancelled_before_its_own_block_is_over() {
    let orders = [order(0, 1, Sell, 10, 5)];
    assert!(matches!(
        play(&orders, |_| Some(0)),
        Err(OrderError::ForeignRecord(_))
    ));
}

#[test]
fn in_a_block_cancellations_come_before_arrivals_and_by_position() {
    let mut orders = two_blocks(vec![
        order(0, 1, Sell, 10, 5),
        order(1, 2, Sell, 11, 5),
        order(2, 3, Buy, 11, 4),
    ]);
    let in_block = |block| move |position| (position < 2).then_some(block);
    let withdrawal = |order, before| Withdrawal { order, before };
    let played = play(&orders, in_block(1)).unwrap();
    assert_eq!(played.matches, []);
    assert_eq!(played.withdrawals, [withdrawal(0, 2), withdrawal(1, 2)]);
    let played = play(&orders, in_block(2)).unwrap();
    assert_eq!(played.matches, [trade(2, 0, 4, 10)]);
    assert_eq!(played.withdrawals, [withdrawal(0, 3), withdrawal(1, 3)]);
    // What is matched to the last unit is not there to be taken back.
    orders[2].units = 5;
    let played = play(&orders, in_block(2)).unwrap();
    assert_eq!(played.withdrawals, [withdrawal(1, 3)]);
}

/// Seller 1 sells 4 + 3 + 3, and has 5; seller 2 is not touched.
fn a_seller_lacks_energy() -> (Vec<Order<u64>>, Vec<Trade>, impl Fn(&u64) -> u64) {
    let orders = vec![
        order(0, 1, Sell, 10, 10),
        order(1, 2, Sell, 10, 5),
        order(2, 3, Buy, 10, 4),
        order(3, 4, Buy, 11, 3),
        order(4, 5, Buy, 12, 5),
    ];
    let (_, matches) = submit(&orders);
    let may_sell = |account: &u64| if *account == 1 { 5 } else { u64::MAX };
    (orders, matches, may_sell)
}

fn cancelled(matched: u32, units: u32) -> CancelledUnits {
    CancelledUnits {
        matched,
        sell: 0,
        units,
    }
}

#[test]
fn a_shortfall_cancels_the_sellers_last_matches_first() {
    let (orders, matches, may_sell) = a_seller_lacks_energy();
    assert_eq!(
        matches,
        [
            trade(2, 0, 4, 10),
            trade(3, 0, 3, 10),
            trade(4, 0, 3, 10),
            trade(4, 1, 2, 10)
        ]
    );
    let clearing = settle(&orders, &matches, vec![], &may_sell).unwrap();
    assert_eq!(
        clearing.trades,
        [trade(2, 0, 4, 10), trade(3, 0, 1, 10), trade(4, 1, 2, 10)]
    );
    assert_eq!(
        clearing.history.cancelled,
        [cancelled(1, 2), cancelled(2, 3)]
    );
    let check = |clearing: &Clearing| verify_book(&orders, clearing, |_| None, &may_sell);
    assert_eq!(check(&clearing), Ok(()));
    // An earlier match may not give way to a later one.
    let mut changed = clearing.clone();
    changed.history.cancelled = vec![cancelled(0, 4), cancelled(1, 1)];
    changed.trades = vec![trade(3, 0, 2, 10), trade(4, 0, 3, 10), trade(4, 1, 2, 10)];
    assert!(matches!(check(&changed), Err(ProofError::History(_))));
    let mut changed = clearing;
    changed.history.cancelled.pop();
    assert!(check(&changed).is_err());
}

#[test]
fn a_seller_sells_all_that_it_matched_and_has() {
    let (orders, matches, may_sell) = a_seller_lacks_energy();
    let check = |clearing: &Clearing| verify_book(&orders, clearing, |_| None, &may_sell);
    // One unit less, with all that follows from it: the last matches go first, and the sums are right.
    let spared = settle(&orders, &matches, vec![], |who| may_sell(who).min(4)).unwrap();
    assert_eq!(spared.history.cancelled, [cancelled(1, 3), cancelled(2, 3)]);
    assert_eq!(spared.trades, [trade(2, 0, 4, 10), trade(4, 1, 2, 10)]);
    assert!(matches!(check(&spared), Err(ProofError::History(_))));
    let more = settle(&orders, &matches, vec![], |who| may_sell(who).max(6)).unwrap();
    assert!(matches!(check(&more), Err(ProofError::History(_))));
    let all = settle(&orders, &matches, vec![], |_| u64::MAX).unwrap();
    assert!(check(&all).is_err());
    assert_eq!(verify(&orders, &all), Ok(()));
}

#[test]
fn a_settlement_of_other_orders_is_refused() {
    let orders = vec![order(0, 1, Sell, 10, 10)];
    assert!(matches!(
        settle(&orders, &[trade(7, 0, 1, 10)], vec![], |_| 9),
        Err(OrderError::ForeignRecord(_))
    ));
    assert!(matches!(
        settle(&orders, &[trade(0, 7, 1, 10)], vec![], |_| 9),
        Err(OrderError::ForeignRecord(_))
    ));
}

#[test]
fn a_blocks_orders_arrive_by_their_hash_and_blocks_in_their_order() {
    let mut orders = vec![
        order(3, 1, Buy, 1, 1),
        order(1, 2, Buy, 1, 1),
        order(2, 3, Buy, 1, 1),
    ];
    orders[1].arrival = 5;
    assert!(matches!(
        clear(
            &[orders[1].clone(), orders[0].clone()],
            Mechanism::Continuous
        ),
        Err(OrderError::OutOfOrder {
            position: 1,
            arrival: 0
        })
    ));
    sort_arrivals(&mut orders);
    assert_eq!(
        orders.iter().map(|order| order.account).collect::<Vec<_>>(),
        [3, 1, 2]
    );
    cleared(&orders, Mechanism::Continuous);
}
