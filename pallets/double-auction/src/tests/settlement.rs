use commonwatt_clearing::{Mechanism, Quote, Side};
use commonwatt_primitives::{
    Bps, Step, Wh,
    traits::{MarketConduct, Sale, Sales as _},
};
use frame_support::{
    assert_ok,
    traits::{fungible::MutateHold, tokens::Precision},
};

use crate::{
    Books, Cap, Event, HoldReason, MemberBook, OrderStatus, OrderTerms, Outcomes, StepOutcome,
    Trades, VoidReason, mock::*,
};

/// BEN has 1 000 Wh more than he uses, CARLA 500 Wh.
fn sellers_have_energy(step: u32) {
    hold_energy(step, BEN, 1_200, Some(200));
    hold_energy(step, CARLA, 500, None);
}

fn conduct_of(traded: u64, unserved: u64, cut_off: u64) -> MarketConduct {
    MarketConduct {
        traded: Wh(traded),
        unserved: Wh(unserved),
        cut_off: Wh(cut_off),
    }
}

fn record(step: u32) -> crate::ClearingRecord {
    match Outcomes::<Test>::get(Step(step)) {
        Some(StepOutcome::Cleared(record)) => record,
        other => panic!("step {step} is {other:?}"),
    }
}

#[test]
fn energy_and_coins_change_hands_at_the_average_price() {
    // [T] 4.4: "finding k and set the price at the average of the k-th values: p = (b_k + s_k)/2. The first k sellers
    // sell the good to the first k buyers."
    test(|| {
        sellers_have_energy(2);
        let bought = buy(ANNA, 2, 9, 60);
        let sold = sell(BEN, 2, 3, 80);
        finish_block();
        let told = finish_block();
        assert_eq!(fill(2, ANNA, bought), (60, 360));
        assert_eq!(fill(2, BEN, sold), (60, 360));
        assert_eq!(coins(ANNA), (COINS - 360, 0));
        assert_eq!(coins(BEN), (COINS + 360, 0));
        assert_eq!((moved(2, ANNA), moved(2, BEN)), ((600, 0), (0, 600)));
        let record = record(2);
        assert_eq!(record.quote, Quote::Single { price: 6 });
        assert_eq!((record.breakeven.k, record.totals.volume), (60, 60));
        assert_eq!(record.totals.welfare, 60 * 6);
        assert_eq!(told.len(), 3);
        assert!(told.contains(&Event::MemberTraded {
            step: Step(2),
            who: ANNA,
            bought: Wh(600),
            sold: Wh(0),
            paid: 360,
            received: 0,
        }));
        assert_eq!(
            Market::sales_of(Step(2)),
            Some(vec![Sale {
                seller: BEN,
                buyer: ANNA,
                energy: Wh(600)
            }])
        );
    });
}

#[test]
fn nobody_sells_what_it_uses_itself_or_does_not_have() {
    test(|| {
        sellers_have_energy(2);
        buy(ANNA, 2, 9, 500);
        let ben = sell(BEN, 2, 3, 500);
        let carla = sell(CARLA, 2, 4, 500);
        let dora = sell(DORA, 2, 1, 500);
        finish_blocks_until(3);
        assert_eq!(fill(2, BEN, ben).0, 100);
        assert_eq!(fill(2, CARLA, carla).0, 50);
        assert_eq!(fill(2, DORA, dora).0, 0);
        let offered = |who| Market::offered(Step(2), &who);
        assert_eq!(
            [offered(BEN), offered(CARLA), offered(DORA)],
            [Wh(1_000), Wh(500), Wh(0)]
        );
    });
}

#[test]
fn caps_apply_across_all_orders_of_a_member() {
    test(|| {
        sellers_have_energy(2);
        hold_energy(2, ANNA, 100, Some(450));
        buy(ANNA, 2, 20, 10);
        let capped = |limit| OrderTerms {
            cap: Cap::Need,
            ..terms(Side::Buy, 2, limit, 30)
        };
        let dear = placed(ANNA, capped(9));
        let cheap = placed(ANNA, capped(8));
        let low = sell(BEN, 2, 3, 80);
        let high = sell(BEN, 2, 4, 80);
        finish_blocks_until(3);
        // ANNA lacks 35 units, BEN has 100.
        assert_eq!((fill(2, ANNA, dear).0, fill(2, ANNA, cheap).0), (30, 5));
        let book = Books::<Test>::get(Step(2), BEN).expect("it has orders");
        let offered: Vec<_> = book.orders.iter().map(|order| order.offered).collect();
        assert_eq!(offered, [80, 20]);
        assert_eq!((fill(2, BEN, low).0, fill(2, BEN, high).0), (45, 0));
    });
}

#[test]
fn a_need_that_nobody_knows_is_nothing() {
    test(|| {
        sellers_have_energy(2);
        hold_energy(2, ANNA, 100, None);
        let order = OrderTerms {
            cap: Cap::Need,
            ..terms(Side::Buy, 2, 9, 30)
        };
        let id = placed(ANNA, order);
        sell(BEN, 2, 3, 80);
        finish_blocks_until(3);
        assert_eq!(fill(2, ANNA, id), (0, 0));
        assert_eq!(coins(ANNA), (COINS, 0));
    });
}

#[test]
fn the_market_of_a_late_step_does_not_clear() {
    test(|| {
        sellers_have_energy(2);
        buy(ANNA, 2, 9, 60);
        sell(BEN, 2, 3, 80);
        finish_block();
        set_late(true);
        let told = finish_block();
        let reason = VoidReason::Late;
        assert_eq!(
            told,
            [Event::StepVoid {
                step: Step(2),
                reason
            }]
        );
        assert_eq!(coins(ANNA), (COINS, 0));
        assert_eq!(moved(2, ANNA), (0, 0));
        let past = Market::orders_of(&ANNA, 5).past;
        assert_eq!(past.len(), 1);
        assert!(
            past.iter()
                .all(|order| order.status == OrderStatus::Expired)
        );
        assert_eq!(conduct(2, ANNA), None);
        // The next one does.
        set_late(false);
        sellers_have_energy(4);
        buy(ANNA, 4, 9, 60);
        sell(BEN, 4, 3, 80);
        finish_blocks_until(5);
        assert_eq!(moved(4, ANNA), (600, 0));
    });
}

#[test]
fn coins_stay_when_energy_does_not_move() {
    test(|| {
        sellers_have_energy(2);
        buy(ANNA, 2, 9, 60);
        sell(BEN, 2, 3, 80);
        refuse_energy();
        finish_block();
        let told = finish_block();
        let reason = VoidReason::Fault;
        assert_eq!(
            told,
            [Event::StepVoid {
                step: Step(2),
                reason
            }]
        );
        assert_eq!((coins(ANNA), coins(BEN)), ((COINS, 0), (COINS, 0)));
        assert_eq!(moved(2, ANNA), (0, 0));
        assert_eq!(Trades::<Test>::iter().count(), 0);
    });
}

#[test]
fn energy_stays_when_coins_do_not_move() {
    test(|| {
        sellers_have_energy(2);
        buy(ANNA, 2, 9, 60);
        buy(DORA, 2, 9, 10);
        sell(BEN, 2, 3, 80);
        finish_block();
        // Behind the market's back.
        Balances::release(&HoldReason::Order.into(), &DORA, 90, Precision::Exact)
            .expect("it is on hold");
        let number = System::block_number();
        use frame_support::traits::Hooks;
        Market::on_finalize(number);
        let reason = VoidReason::Fault;
        assert_eq!(
            events(),
            [Event::StepVoid {
                step: Step(2),
                reason
            }]
        );
        assert_eq!((coins(ANNA), coins(BEN)), ((COINS, 0), (COINS, 0)));
        assert_eq!((moved(2, ANNA), moved(2, BEN)), ((0, 0), (0, 0)));
    });
}

#[test]
fn a_member_never_trades_with_itself() {
    test(|| {
        sellers_have_energy(2);
        buy(BEN, 2, 9, 60);
        sell(BEN, 2, 3, 80);
        finish_block();
        let before = coins(BEN);
        finish_block();
        assert_eq!(before, (COINS - 540, 540));
        assert_eq!(coins(BEN), (COINS, 0));
        assert_eq!(moved(2, BEN), (0, 0));
        assert_eq!(Market::sales_of(Step(2)), Some(Vec::new()));
        for mechanism in [Mechanism::Loyal, Mechanism::McAfee, Mechanism::Continuous] {
            test_with(mechanism, || {
                sellers_have_energy(2);
                buy(BEN, 2, 9, 60);
                sell(BEN, 2, 3, 80);
                buy(ANNA, 2, 8, 5);
                finish_blocks_until(3);
                assert!(
                    Market::sales_of(Step(2))
                        .expect("they are kept")
                        .iter()
                        .all(|sale| sale.buyer == ANNA)
                );
            });
        }
    });
}

#[test]
fn who_is_no_member_any_more_does_not_trade_and_gets_its_coins_back() {
    test(|| {
        sellers_have_energy(2);
        buy(ANNA, 2, 9, 60);
        buy(DORA, 2, 8, 60);
        sell(BEN, 2, 3, 80);
        finish_block();
        deregister(ANNA);
        finish_block();
        assert_eq!(coins(ANNA), (COINS, 0));
        assert_eq!(moved(2, DORA), (600, 0));
    });
}

#[test]
fn ties_go_to_the_earlier_block_and_not_to_the_earlier_call() {
    test(|| {
        sellers_have_energy(3);
        let late = 5;
        let early = 6;
        let first = buy(early, 3, 9, 10);
        sell(BEN, 3, 3, 15);
        finish_block();
        let second = buy(late, 3, 9, 10);
        finish_blocks_until(4);
        assert_eq!((fill(3, early, first).0, fill(3, late, second).0), (10, 5));
    });
    // Within a block the beacon decides, whoever came first.
    let winner_of = |callers: [AccountId; 2]| {
        let mut winner = None;
        test(|| {
            sellers_have_energy(2);
            sell(BEN, 2, 3, 10);
            let ids = callers.map(|who| (who, buy(who, 2, 9, 10)));
            finish_blocks_until(3);
            let won = ids.into_iter().find(|&(who, id)| fill(2, who, id).0 == 10);
            winner = won.map(|(who, _)| who);
        });
        winner
    };
    assert_eq!(winner_of([5, 6]), winner_of([6, 5]));
    assert!(winner_of([5, 6]).is_some());
}

#[test]
fn the_more_loyal_side_gets_the_better_price() {
    // [T] 4.11–4.13: "If seller have more loyalty value, the price will incline towards higher end in equilibrium price
    // range. Else, price will incline to the lower end of range."
    let price_with = |buyer: u32, seller: u32| {
        let mut price = 0;
        test_with(Mechanism::Loyal, || {
            sellers_have_energy(2);
            set_loyalty(ANNA, buyer);
            set_loyalty(BEN, seller);
            let id = buy(ANNA, 2, 12, 10);
            sell(BEN, 2, 2, 10);
            finish_blocks_until(3);
            price = fill(2, ANNA, id).1 / 10;
        });
        price
    };
    assert_eq!(price_with(1_000_000, 1_000_000), 7);
    assert_eq!(price_with(1_000_000, 4_000_000), 10);
    assert_eq!(price_with(4_000_000, 1_000_000), 4);
}

#[test]
fn a_uniform_price_lies_where_kappa_says() {
    let uniform = |kappa| Mechanism::Uniform { kappa: Bps(kappa) };
    for (kappa, price) in [(0, 2), (2_500, 4), (10_000, 12)] {
        test_with(uniform(kappa), || {
            sellers_have_energy(2);
            let id = buy(ANNA, 2, 12, 10);
            sell(BEN, 2, 2, 10);
            finish_blocks_until(3);
            assert_eq!(fill(2, ANNA, id), (10, price * 10));
        });
    }
}

#[test]
fn what_mcafees_reduction_leaves_goes_to_the_treasury() {
    test_with(Mechanism::McAfee, || {
        sellers_have_energy(2);
        let first = buy(ANNA, 2, 12, 10);
        let marginal = buy(DORA, 2, 8, 1);
        sell(BEN, 2, 2, 10);
        sell(CARLA, 2, 4, 1);
        finish_blocks_until(3);
        // k = 11; ten trade: buyers pay b_k = 8, sellers get s_k = 4.
        assert_eq!(fill(2, ANNA, first), (10, 80));
        assert_eq!(fill(2, DORA, marginal), (0, 0));
        assert_eq!(coins(BEN), (COINS + 40, 0));
        assert_eq!(coins(TREASURY), (40, 0));
        assert_eq!(record(2).totals.surplus, 40);
    });
}

#[test]
fn loyalty_hears_who_traded_who_was_left_over_and_who_was_cut_off() {
    // [T] 4.4: "participated buyers and sellers get boost for loyalty parameter. Those, who does not get a supplier or
    // buyer, but had appropriate price, get slight loyalty parameter increase. Those, who was cut from the auction by
    // clearing price get decrease in loyalty parameter."
    test(|| {
        sellers_have_energy(2);
        buy(ANNA, 2, 9, 120);
        buy(DORA, 2, 2, 10);
        sell(BEN, 2, 3, 100);
        sell(CARLA, 2, 30, 50);
        finish_blocks_until(3);
        assert_eq!(conduct(2, ANNA), Some(conduct_of(1_000, 200, 0)));
        assert_eq!(conduct(2, BEN), Some(conduct_of(1_000, 0, 0)));
        assert_eq!(conduct(2, DORA), Some(conduct_of(0, 0, 100)));
        assert_eq!(conduct(2, CARLA), Some(conduct_of(0, 0, 500)));
    });
}

#[test]
fn a_side_that_meets_no_other_is_not_penalized() {
    // [T] 4.4, "No buyers, approved sellers" and "No sellers, approved buyers": "They do not get penalized in loyal
    // type of auction."
    test_with(Mechanism::Loyal, || {
        sellers_have_energy(2);
        sell(BEN, 2, 3, 100);
        finish_blocks_until(3);
        assert_eq!(conduct(2, BEN), None);
        buy(ANNA, 4, 9, 10);
        finish_blocks_until(5);
        assert_eq!(conduct(4, ANNA), None);
        assert_eq!(coins(ANNA), (COINS, 0));
        assert_eq!(record(4).quote, Quote::NoTrade);
    });
}

#[test]
fn continuous_orders_match_as_they_arrive_at_the_resting_price() {
    test_with(Mechanism::Continuous, || {
        sellers_have_energy(4);
        let sold = sell(BEN, 4, 3, 30);
        finish_block();
        let first = buy(ANNA, 4, 9, 20);
        finish_block();
        let (orders, withdrawn, matches) = Market::matched(Step(4));
        assert_eq!((orders.len(), matches.len()), (2, 1));
        assert_eq!(withdrawn, [None, None]);
        let second = buy(DORA, 4, 5, 20);
        finish_blocks_until(5);
        assert_eq!(fill(4, ANNA, first), (20, 60));
        assert_eq!(fill(4, DORA, second), (10, 30));
        assert_eq!(fill(4, BEN, sold), (30, 90));
        assert_eq!(coins(ANNA), (COINS - 60, 0));
        assert_eq!(coins(DORA), (COINS - 30, 0));
    });
}

#[test]
fn a_continuous_order_that_is_withdrawn_keeps_what_it_matched() {
    test_with(Mechanism::Continuous, || {
        sellers_have_energy(5);
        let bought = buy(ANNA, 5, 9, 20);
        finish_block();
        let sold = sell(BEN, 5, 3, 8);
        finish_block();
        assert_ok!(cancel(ANNA, bought));
        // What it holds stays until it is known what matched.
        assert_eq!(coins(ANNA).1, 180);
        let late = sell(CARLA, 5, 3, 8);
        let (_, withdrawn, matches) = Market::matched(Step(5));
        assert_eq!(withdrawn, [Some(3), None, None]);
        assert_eq!(matches.len(), 1);
        finish_blocks_until(6);
        assert_eq!(fill(5, ANNA, bought), (8, 72));
        // Whoever asks later sees that it was cancelled, and what it brought all the same.
        let past = Market::orders_of(&ANNA, 9).past;
        let [order] = &past[..] else {
            panic!("one order, not {past:?}");
        };
        assert_eq!(
            (order.status, order.withdrawn, order.traded),
            (OrderStatus::Withdrawn, Some(3), 8)
        );
        assert_eq!(fill(5, BEN, sold), (8, 72));
        assert_eq!(fill(5, CARLA, late), (0, 0));
        assert_eq!(coins(ANNA), (COINS - 72, 0));
    });
}

#[test]
fn a_continuous_order_withdrawn_in_its_own_block_never_was() {
    test_with(Mechanism::Continuous, || {
        sellers_have_energy(3);
        sell(BEN, 3, 3, 8);
        finish_block();
        let bought = buy(ANNA, 3, 9, 20);
        assert_ok!(cancel(ANNA, bought));
        assert_eq!(coins(ANNA), (COINS, 0));
        finish_blocks_until(4);
        assert_eq!(record(3).totals.volume, 0);
    });
}

#[test]
fn a_shortfall_cancels_the_sellers_last_matches_first_and_is_told() {
    test_with(Mechanism::Continuous, || {
        hold_energy(4, BEN, 250, None);
        let sold = sell(BEN, 4, 3, 40);
        finish_block();
        let first = buy(ANNA, 4, 9, 20);
        finish_block();
        let second = buy(DORA, 4, 9, 20);
        finish_block();
        let told = finish_block();
        assert_eq!(fill(4, BEN, sold), (25, 75));
        assert_eq!(fill(4, ANNA, first), (20, 60));
        assert_eq!(fill(4, DORA, second), (5, 15));
        assert_eq!(coins(DORA), (COINS - 15, 0));
        assert_eq!(shortfalls(), [(Step(4), BEN, Wh(400), Wh(150))]);
        assert!(told.contains(&Event::Shortfall {
            step: Step(4),
            who: BEN,
            promised: Wh(400),
            missing: Wh(150),
        }));
        // It traded, but what it lacked is no service.
        assert_eq!(conduct(4, BEN), Some(conduct_of(250, 0, 150)));
        assert_eq!(record(4).cancelled, 1);
    });
}

#[test]
fn what_a_seller_never_had_is_no_service() {
    test_with(Mechanism::Continuous, || {
        sellers_have_energy(4);
        let first = sell(BEN, 4, 2, 40);
        finish_block();
        let promised = sell(CARLA, 4, 2, 1_000_000);
        finish_block();
        let bought = buy(ANNA, 4, 9, 20);
        finish_blocks_until(5);
        assert_eq!(fill(4, ANNA, bought).0, 20);
        assert_eq!(fill(4, BEN, first).0, 20);
        assert_eq!(fill(4, CARLA, promised).0, 0);
        assert_eq!(conduct(4, BEN), Some(conduct_of(200, 200, 0)));
        // She had 500 Wh.
        assert_eq!(conduct(4, CARLA), Some(conduct_of(0, 500, 0)));
    });
}

#[test]
fn a_clearing_is_answered_with_its_curves_and_what_was_left() {
    test(|| {
        sellers_have_energy(2);
        buy(ANNA, 2, 9, 60);
        buy(DORA, 2, 5, 10);
        sell(BEN, 2, 3, 50);
        sell(CARLA, 2, 7, 20);
        finish_blocks_until(3);
        let info = Market::clearing(Step(2)).expect("it is kept");
        let levels = |levels: &[crate::CurveLevel]| -> Vec<_> {
            levels
                .iter()
                .map(|level| (level.price, level.units))
                .collect()
        };
        assert_eq!(levels(&info.demand), [(9, 60), (5, 70)]);
        assert_eq!(levels(&info.supply), [(3, 50), (7, 70)]);
        assert_eq!((info.unmatched_demand, info.unmatched_supply), (10, 10));
        assert_eq!(info.verify(), Ok(()));
        let clearing = info.clearing.expect("it was cleared");
        assert_eq!(commonwatt_clearing::verify(&info.orders, &clearing), Ok(()));
        assert_eq!(info.for_sale, [(BEN, 100), (CARLA, 50)]);
        assert_eq!(Market::history(Step(9), 20).len(), 1);
        assert_eq!(Market::clearing(Step(1)), None);
    });
}

#[test]
fn a_step_without_a_seed_to_break_its_ties_is_void() {
    for mechanism in [Mechanism::Average, Mechanism::Continuous] {
        test_with(mechanism, || {
            sellers_have_energy(2);
            buy(ANNA, 2, 9, 60);
            sell(BEN, 2, 3, 80);
            finish_block();
            lose_seeds();
            let told = finish_block();
            let void = Event::StepVoid {
                step: Step(2),
                reason: VoidReason::Fault,
            };
            assert_eq!(told, [void]);
            assert_eq!(coins(ANNA), (COINS, 0));
            assert_eq!(moved(2, ANNA), (0, 0));
        });
    }
}

#[test]
fn a_clearing_that_cannot_be_read_back_is_not_answered() {
    test(|| {
        sellers_have_energy(2);
        buy(ANNA, 2, 9, 60);
        sell(BEN, 2, 3, 80);
        finish_blocks_until(3);
        assert!(Market::clearing(Step(2)).is_some());
        lose_seeds();
        assert_eq!(Market::clearing(Step(2)), None);
        assert_eq!(Market::sales_of(Step(2)), None);
        assert!(Market::do_try_state().is_err());
    });
}

/// Writes something else into what is kept of ANNA's, BEN's or everybody's part of step 4.
type Tamper = fn();

fn tamper_with_book(who: AccountId, change: fn(&mut MemberBook<MaxBooked>)) {
    Books::<Test>::mutate(Step(4), who, |book| {
        change(book.as_mut().expect("it has a book"));
    });
}

#[test]
fn what_sellers_had_and_what_was_cancelled_is_a_part_of_the_proof() {
    let tampered: [(&str, Tamper); 4] = [
        ("nothing", || ()),
        ("what the seller had", || {
            tamper_with_book(BEN, |book| book.for_sale += 1);
        }),
        ("a cancellation that was", || {
            tamper_with_book(CARLA, |book| book.orders[0].withdrawn = None);
        }),
        ("a cancellation that was not", || {
            tamper_with_book(BEN, |book| book.orders[0].withdrawn = Some(2));
        }),
    ];
    for (what, tamper) in tampered {
        test_with(Mechanism::Continuous, || {
            // BEN sells 40 units and has 25; CARLA's offer is taken back before DORA comes.
            hold_energy(4, BEN, 250, None);
            hold_energy(4, CARLA, 500, None);
            sell(BEN, 4, 3, 40);
            let back = sell(CARLA, 4, 2, 10);
            buy(5, 4, 2, 1);
            finish_block();
            buy(ANNA, 4, 9, 20);
            assert_ok!(cancel(CARLA, back));
            finish_block();
            buy(DORA, 4, 9, 30);
            finish_block();
            finish_block();
            assert_eq!(record(4).cancelled, 1);
            tamper();
            let is_untouched = what == "nothing";
            assert_eq!(Market::do_try_state().is_ok(), is_untouched, "{what}");
            let info = Market::clearing(Step(4));
            let is_proved = info.is_some_and(|info| info.verify().is_ok());
            assert_eq!(is_proved, is_untouched, "{what}");
        });
    }
}

#[test]
fn a_clearing_that_was_tampered_with_is_found_out() {
    let tampered: [(&str, fn()); 4] = [
        ("a fill", || {
            Books::<Test>::mutate(Step(2), ANNA, |book| {
                if let Some(order) = book.as_mut().and_then(|book| book.orders.get_mut(0)) {
                    order.traded -= 1;
                }
            });
        }),
        ("a limit", || {
            Books::<Test>::mutate(Step(2), ANNA, |book| {
                if let Some(order) = book.as_mut().and_then(|book| book.orders.get_mut(0)) {
                    order.limit += 1;
                }
            });
        }),
        ("a price", || {
            Trades::<Test>::mutate(Step(2), 0, |trades| {
                if let Some(trade) = trades.get_mut(0) {
                    trade.buyer_pays += 1;
                }
            });
        }),
        ("the record", || {
            Outcomes::<Test>::mutate(Step(2), |outcome| {
                if let Some(StepOutcome::Cleared(record)) = outcome {
                    record.breakeven.k -= 1;
                }
            });
        }),
    ];
    for (what, tamper) in tampered {
        test(|| {
            sellers_have_energy(2);
            buy(ANNA, 2, 9, 60);
            sell(BEN, 2, 3, 80);
            finish_block();
            finish_block();
            tamper();
            assert!(Market::do_try_state().is_err(), "{what} was changed");
        });
    }
}
