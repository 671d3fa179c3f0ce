//! Orders, meters, coins, loyalty and the outer grid together.

use commonwatt_clearing::{Mechanism, Side};
use commonwatt_primitives::{
    MeterId, Month, Ppm, Step, Wh,
    auction::{Deliveries as _, Delivery},
    traits::{Loyalty as _, Registrar as _},
};
use frame_support::{
    assert_noop, assert_ok,
    storage::{TransactionOutcome, with_transaction},
    traits::InstanceFilter,
};
use pallet_double_auction::{Cap, OrderId, OrderTerms, STEPS_AHEAD_MAX, StepOutcome, When};
use pallet_virtual_meter::{GenesisAgreement, KeyTerms};
use sp_runtime::{ApplyExtrinsicResult, DispatchError};

use super::{apply, begin_block, reading, test, test_on};
use crate::{
    Balances, DoubleAuction, Executive, Loyalty, OuterGrid, Registry, Runtime, RuntimeCall,
    RuntimeOrigin, VirtualMeter,
    configs::{MeteredDeliveries, ProxyType},
    example::{account, genesis},
    genesis::CommunityGenesis,
    orders::{OrderRefusal, refusal_of},
};

fn order(side: Side, step: u32, limit: u128, units: u32) -> OrderTerms {
    OrderTerms {
        side,
        limit,
        units,
        unit: Wh(10),
        when: When::Once(Step(step)),
        cap: Cap::Quantity,
    }
}

fn place(terms: OrderTerms) -> RuntimeCall {
    pallet_double_auction::Call::place { terms }.into()
}

fn refusal(error: pallet_double_auction::Error<Runtime>) -> ApplyExtrinsicResult {
    Ok(Err(DispatchError::from(error)))
}

fn coins(who: &str) -> u128 {
    Balances::free_balance(account(who))
}

/// X buys 1 000 units of step 2 from Y, of what the meters A and B made.
fn step_two_is_traded() {
    begin_block(1);
    assert_ok!(apply(place(order(Side::Buy, 2, 5, 1_000)), 0, "X").unwrap());
    assert_ok!(apply(place(order(Side::Sell, 2, 3, 5_000)), 0, "Y").unwrap());
    Executive::finalize_block();
    begin_block(2);
    assert_ok!(apply(reading(1, 2, 15_000), 0, "A").unwrap());
    assert_ok!(apply(reading(1, 2, 10_000), 0, "B").unwrap());
    Executive::finalize_block();
}

#[test]
fn orders_of_two_members_move_energy_coins_loyalty_and_what_is_owed() {
    test(|| {
        step_two_is_traded();
        let vgm = |who| VirtualMeter::vgm(Step(2), &account(who)).unwrap();
        assert_eq!((vgm("X").bought, vgm("Y").sold), (Wh(10_000), Wh(10_000)));
        assert_eq!((vgm("X").net_wh(), vgm("Y").net_wh()), (18_000, 7_000));
        // (5 + 3) / 2 a unit.
        assert_eq!((coins("X"), coins("Y")), (996_000, 4_000));
        // 3:2, as in everything that A and B made in this step.
        let trace = VirtualMeter::trace(Step(2), &account("X")).unwrap();
        let bought = [(MeterId(0), Wh(6_000)), (MeterId(1), Wh(4_000))];
        assert_eq!(trace.bought_from, bought);
        assert_eq!(trace.bought_from_outer_grid, Wh(0));
        let loyalty = |who| Loyalty::loyalty_of(&account(who), Step(2));
        assert_eq!(loyalty("X"), Ppm(1_050_000));
        // Of 1 700 units it had, 700 found no buyer.
        assert!(Ppm::FULL < loyalty("Y") && loyalty("Y") < loyalty("X"));
        // Neither consumes, so all that is left is fed in: 2 for a unit.
        let owed = |who| OuterGrid::statement(&account(who), Step(1), Step(2)).total;
        assert_eq!((owed("X").credited, owed("Y").credited), (3_600, 1_400));
        let offered = MeteredDeliveries::delivery_of(&account("Y"), Step(2));
        let delivery = Delivery {
            used: Wh(0),
            offered: Wh(17_000),
        };
        assert_eq!(offered, Some(delivery));
    });
}

#[test]
fn a_correction_never_touches_a_trade() {
    test(|| {
        step_two_is_traded();
        begin_block(3);
        // Hardly anything was made after all; Y sold what was not there.
        let correct = |sequence, energy, by: &str| {
            let correction = pallet_energy_token::Measurement::Interval {
                energy: Wh(energy),
                version: 2,
                quality: commonwatt_primitives::Quality::Measured,
            };
            let report = pallet_energy_token::Report {
                step: Step(2),
                reading: correction,
            };
            apply(
                pallet_energy_token::Call::report { sequence, report }.into(),
                1,
                by,
            )
        };
        assert_ok!(correct(2, 1_500, "A").unwrap());
        assert_ok!(correct(2, 1_000, "B").unwrap());
        Executive::finalize_block();
        assert_eq!((coins("X"), coins("Y")), (996_000, 4_000));
        let face = |who| VirtualMeter::market_face_meter(Step(2), &account(who));
        assert_eq!((face("X"), face("Y")), (Some(-10_800), Some(8_300)));
        let owed = OuterGrid::statement(&account("Y"), Step(2), Step(2)).total;
        assert_eq!(owed.charged, 7_470);
        let trace = VirtualMeter::trace(Step(2), &account("X")).unwrap();
        assert_eq!(trace.bought_from_outer_grid, Wh(8_300));
    });
}

#[test]
fn wrong_orders_are_refused_with_their_reason() {
    use pallet_double_auction::Error;
    test(|| {
        begin_block(1);
        let x = |terms| place(terms);
        let cases = [
            (order(Side::Buy, 1, 5, 10), Error::GateClosed),
            (order(Side::Buy, 98, 5, 10), Error::TooFarAhead),
            (order(Side::Buy, 2, 5, 0), Error::NothingOrdered),
            (order(Side::Buy, 2, u128::MAX, 1), Error::LimitTooHigh),
            (order(Side::Buy, 2, 1_001, 1_000), Error::NotEnoughCoins),
            (
                OrderTerms {
                    unit: Wh(100),
                    ..order(Side::Buy, 2, 5, 1)
                },
                Error::WrongUnit,
            ),
        ];
        for (nonce, (terms, error)) in (0..).zip(cases) {
            assert_eq!(apply(x(terms), nonce, "X"), refusal(error));
        }
        // The DSO is registered, but no member.
        assert_eq!(
            apply(x(order(Side::Sell, 2, 5, 1)), 0, "Dso"),
            refusal(Error::NotAMember)
        );
        assert!(!Registry::is_member(&account("Dso")));
        assert_ok!(apply(x(order(Side::Buy, 2, 5, 1)), 6, "X").unwrap());
        let id = OrderId {
            step: Step(2),
            number: 0,
        };
        let cancel = || RuntimeCall::from(pallet_double_auction::Call::cancel { id });
        assert_eq!(apply(cancel(), 0, "Y"), refusal(Error::NotYourOrder));
        Executive::finalize_block();
        begin_block(2);
        assert_eq!(apply(cancel(), 7, "X"), refusal(Error::GateClosed));
    });
}

/// What the pool is told about an order; the state stays as it is.
fn judged(
    call: pallet_double_auction::Call<Runtime>,
    nonce: u32,
    who: &str,
) -> Option<OrderRefusal> {
    let judge = || {
        TransactionOutcome::Rollback(Ok::<_, DispatchError>(refusal_of(
            account(who),
            nonce,
            call,
        )))
    };
    with_transaction(judge).unwrap()
}

#[test]
fn an_order_is_judged_before_it_is_in_a_block_as_that_block_will() {
    use pallet_double_auction::{Call, Error};
    test(|| {
        begin_block(1);
        assert_ok!(apply(place(order(Side::Buy, 9, 5, 1_000)), 0, "X").unwrap());
        Executive::finalize_block();
        let theirs = OrderId {
            step: Step(9),
            number: 0,
        };
        let unknown = OrderId {
            number: 7,
            ..theirs
        };
        let cases: [(_, Option<Error<Runtime>>); 7] = [
            (
                Call::place {
                    terms: order(Side::Buy, 2, 5, 1),
                },
                Some(Error::GateClosed),
            ),
            (
                Call::place {
                    terms: order(Side::Sell, 98, 5, 1),
                },
                None,
            ),
            (
                Call::place {
                    terms: order(Side::Sell, 99, 5, 1),
                },
                Some(Error::TooFarAhead),
            ),
            (
                Call::place {
                    terms: order(Side::Buy, 3, 5, 1_000),
                },
                Some(Error::NotEnoughCoins),
            ),
            (
                Call::place {
                    terms: order(Side::Sell, 3, 5, 1_000),
                },
                None,
            ),
            (Call::cancel { id: theirs }, Some(Error::NotYourOrder)),
            (Call::cancel { id: unknown }, Some(Error::UnknownOrder)),
        ];
        let told: Vec<_> = cases
            .iter()
            .map(|(call, _)| judged(call.clone(), 0, "Y"))
            .collect();
        begin_block(2);
        for (nonce, ((call, error), told)) in (0..).zip(cases.into_iter().zip(told)) {
            let found = told.as_ref().map(|refusal| refusal.error);
            assert_eq!(found, error.map(DispatchError::from), "{call:?}");
            let applied = apply(call.into(), nonce, "Y").unwrap();
            assert_eq!(applied.err(), found, "the block says the same");
        }
    });
}

#[test]
fn what_an_earlier_transaction_or_the_next_block_may_mend_is_no_reason_to_refuse() {
    use pallet_double_auction::Call;
    test(|| {
        begin_block(1);
        Executive::finalize_block();
        let dear = || Call::place {
            terms: order(Side::Buy, 3, 5, 1_000),
        };
        let refusal = judged(dear(), 0, "Y").unwrap();
        assert!(
            refusal
                .explanation
                .starts_with("DoubleAuction.NotEnoughCoins: ")
        );
        assert!(refusal.explanation.ends_with(" 0 are free."));
        assert_eq!(judged(dear(), 1, "Y"), None);
        let empty = || Call::place {
            terms: order(Side::Buy, 3, 5, 0),
        };
        assert!(judged(empty(), 1, "Y").is_some());
        // That the last block was late says nothing about the next one.
        pallet_market_step::Late::<Runtime>::put(true);
        let good = Call::place {
            terms: order(Side::Sell, 3, 5, 1),
        };
        assert_eq!(judged(good, 0, "Y"), None);
        assert!(pallet_market_step::Late::<Runtime>::get());
        // What is no order is not judged here.
        let set = Call::set_terms {
            effective_from: Step(0),
            mechanism: Mechanism::Loyal,
        };
        assert_eq!(judged(set, 0, "Y"), None);
    });
}

#[test]
fn the_market_is_set_by_the_council_and_tariffs_by_the_dso() {
    test(|| {
        begin_block(1);
        let signed = |who: &str| RuntimeOrigin::signed(account(who));
        assert_noop!(
            DoubleAuction::set_terms(signed("Dso"), Step(192), Mechanism::Loyal),
            DispatchError::BadOrigin
        );
        assert_noop!(
            OuterGrid::set_tariff(signed("X"), Step(9), Default::default()),
            DispatchError::BadOrigin
        );
        assert_ok!(OuterGrid::set_tariff(
            signed("Dso"),
            Step(9),
            Default::default()
        ));
        // X is the council.
        let governed = |call: RuntimeCall, nonce| {
            let propose = pallet_collective::Call::execute {
                length_bound: 1_000,
                proposal: Box::new(call),
            };
            apply(RuntimeCall::Council(propose), nonce, "X")
        };
        let set = pallet_double_auction::Call::set_terms {
            effective_from: Step(192),
            mechanism: Mechanism::Loyal,
        };
        // A single member's word is not two thirds by itself: it takes a motion.
        assert_ok!(governed(set.clone().into(), 0).unwrap());
        assert_eq!(DoubleAuction::mechanism_at(Step(192)), Mechanism::Average);
        let motion = pallet_collective::Call::propose {
            threshold: 1,
            proposal: Box::new(set.into()),
            length_bound: 1_000,
        };
        assert_ok!(apply(RuntimeCall::Council(motion), 1, "X").unwrap());
        assert_eq!(DoubleAuction::mechanism_at(Step(192)), Mechanism::Loyal);
    });
}

#[test]
fn a_proxy_for_trading_places_orders_and_nothing_else() {
    let trade = place(order(Side::Buy, 2, 5, 1));
    let transfer = RuntimeCall::Balances(pallet_balances::Call::transfer_all {
        dest: account("Y").into(),
        keep_alive: true,
    });
    assert!(ProxyType::Trading.filter(&trade));
    assert!(!ProxyType::Trading.filter(&transfer));
    assert!(!ProxyType::NonTransfer.filter(&trade));
}

#[test]
fn what_a_genesis_says_about_the_market_is_checked() {
    let errors = |change: fn(&mut CommunityGenesis)| {
        let mut genesis = genesis();
        change(&mut genesis);
        genesis.build_storage().unwrap_err()
    };
    let error = errors(|genesis| genesis.market.trading_unit = Wh(0));
    assert!(error.contains("market: tradingUnit"), "{error}");
    let error = errors(|genesis| {
        let kappa = commonwatt_primitives::Bps(10_001);
        genesis.market.mechanism = Mechanism::Uniform { kappa };
    });
    assert!(error.contains("market.mechanism: kappa"), "{error}");
    let error = errors(|genesis| genesis.market.loyalty.floor = Ppm(0));
    assert!(error.contains("market.loyalty: floor"), "{error}");
}

#[test]
fn a_genesis_without_a_word_about_the_market_has_the_defaults() {
    let mut json = serde_json::to_value(genesis()).unwrap();
    let fields = json.as_object_mut().unwrap();
    assert_eq!(fields["market"]["mechanism"], "average");
    assert_eq!(fields["market"]["tradingUnit"], 10);
    assert_eq!(fields["market"]["outerGrid"]["buy"], 9);
    assert_eq!(fields["market"]["outerGrid"]["feedIn"], 2);
    fields.remove("market").unwrap();
    let read: CommunityGenesis = serde_json::from_value(json).unwrap();
    assert_eq!(read, genesis());
}

#[test]
fn what_a_step_left_over_stays_with_its_month() {
    test(|| {
        step_two_is_traded();
        let before = OuterGrid::statement(&account("Y"), Step(1), Step(2)).total;
        let month = crate::MarketStep::timing().closes_at_ms(Step(2));
        for number in 3..=genesis().retention + 2 {
            begin_block(number);
            Executive::finalize_block();
        }
        let statement = OuterGrid::statement(&account("Y"), Step(1), Step(2));
        assert_eq!(statement.lines, []);
        assert_eq!(statement.months, [(Month::from_unix_ms(month), before)]);
        assert!(DoubleAuction::clearing(Step(2)).is_none());
        let months = DoubleAuction::months_of(&account("Y"), Month::from_unix_ms(month), 1);
        assert!(matches!(&months[..], [(_, total)] if total.received == 4_000));
    });
}

#[test]
fn a_clearing_can_be_checked_from_what_the_runtime_answers() {
    test(|| {
        step_two_is_traded();
        let info = DoubleAuction::clearing(Step(2)).unwrap();
        assert!(matches!(info.outcome, StepOutcome::Cleared(_)));
        assert_eq!(info.verify(), Ok(()));
        commonwatt_clearing::verify(&info.orders, &info.clearing.unwrap()).unwrap();
    });
}

const SELLERS: [&str; 3] = ["S0", "S1", "S2"];
const BUYERS: [&str; 3] = ["B0", "B1", "B2"];

/// Three who share the energy and three who have coins, for whom detail is kept much shorter than orders may be early.
fn short_memory(mechanism: Mechanism) -> CommunityGenesis {
    let mut genesis = genesis();
    genesis.market.mechanism = mechanism;
    (genesis.correction_window, genesis.retention) = (4, 12);
    genesis.reputation.rules.period = 8;
    genesis.members.extend(SELLERS.map(account));
    genesis.members.extend(BUYERS.map(account));
    genesis
        .coins
        .extend(BUYERS.map(|who| (account(who), 100_000)));
    let shares = SELLERS.map(|who| (account(who), Ppm(300_000)));
    genesis.agreement = genesis.agreement.map(|agreement| GenesisAgreement {
        key: KeyTerms::Static {
            capped: false,
            shares: shares
                .into_iter()
                .chain([(account("Y"), Ppm(100_000))])
                .collect(),
        },
        ..agreement
    });
    genesis
}

#[test]
fn who_sold_to_whom_is_told_alike_as_long_as_a_step_is_kept() {
    for mechanism in [Mechanism::Average, Mechanism::Continuous] {
        let genesis = short_memory(mechanism);
        test_on(&genesis, || {
            // As early as may be, in one block and at one limit: the beacon alone tells who trades with whom.
            let step = 1 + STEPS_AHEAD_MAX;
            begin_block(1);
            for who in SELLERS {
                assert_ok!(apply(place(order(Side::Sell, step, 3, 400)), 0, who).unwrap());
            }
            for who in BUYERS {
                assert_ok!(apply(place(order(Side::Buy, step, 5, 300)), 0, who).unwrap());
            }
            Executive::finalize_block();
            for number in 2..step {
                begin_block(number);
                Executive::finalize_block();
            }
            begin_block(step);
            assert_ok!(apply(reading(1, step, 15_000), 0, "A").unwrap());
            assert_ok!(apply(reading(1, step, 10_000), 0, "B").unwrap());
            Executive::finalize_block();
            let told = || {
                let traces = BUYERS.map(|who| VirtualMeter::trace(Step(step), &account(who)));
                (DoubleAuction::clearing(Step(step)), traces)
            };
            let first = told();
            let (clearing, traces) = &first;
            let clearing = clearing.as_ref().unwrap();
            assert_eq!(clearing.verify(), Ok(()));
            assert_eq!(clearing.clearing.as_ref().unwrap().totals.volume, 900);
            for trace in traces {
                let trace = trace.as_ref().unwrap();
                let from = trace.bought_from.iter().map(|(_, energy)| energy.0);
                assert_eq!((trace.bought, from.sum::<u64>()), (Wh(3_000), 3_000));
            }
            for age in 1..genesis.retention {
                begin_block(step + age);
                Executive::finalize_block();
                assert_eq!(told(), first, "{mechanism}, {age} steps later");
            }
            begin_block(step + genesis.retention);
            Executive::finalize_block();
            assert_eq!(told(), (None, [None, None, None]));
        });
    }
}

#[test]
fn a_step_that_matched_continuously_can_be_checked_from_what_the_runtime_answers() {
    test_on(&short_memory(Mechanism::Continuous), || {
        begin_block(1);
        // S0 will have 750 units, of 15 and 10 kWh.
        assert_ok!(apply(place(order(Side::Sell, 4, 3, 1_000)), 0, "S0").unwrap());
        assert_ok!(apply(place(order(Side::Sell, 4, 2, 100)), 0, "S1").unwrap());
        Executive::finalize_block();
        begin_block(2);
        let id = OrderId {
            step: Step(4),
            number: 1,
        };
        // Somebody bids as much as S1 asks, but not before it changed its mind.
        assert_ok!(apply(place(order(Side::Buy, 4, 2, 10)), 0, "B2").unwrap());
        assert_ok!(apply(pallet_double_auction::Call::cancel { id }.into(), 1, "S1").unwrap());
        Executive::finalize_block();
        begin_block(3);
        assert_ok!(apply(place(order(Side::Buy, 4, 5, 500)), 0, "B0").unwrap());
        assert_ok!(apply(place(order(Side::Buy, 4, 5, 400)), 0, "B1").unwrap());
        Executive::finalize_block();
        begin_block(4);
        assert_ok!(apply(reading(1, 4, 15_000), 0, "A").unwrap());
        assert_ok!(apply(reading(1, 4, 10_000), 0, "B").unwrap());
        Executive::finalize_block();
        let info = DoubleAuction::clearing(Step(4)).unwrap();
        assert_eq!(info.verify(), Ok(()));
        assert!(info.withdrawn.contains(&Some(2)));
        let of_s0 = |info: &pallet_double_auction::ClearingInfo<_>| info.for_sale(&account("S0"));
        assert_eq!(of_s0(&info), 750);
        assert_eq!(info.clearing.as_ref().unwrap().totals.volume, 750);
        for change in [740, 760] {
            let mut other = info.clone();
            for (_, units) in &mut other.for_sale {
                *units = change;
            }
            assert!(other.verify().is_err(), "{change}");
        }
        let mut other = info.clone();
        other.withdrawn.fill(None);
        assert!(other.verify().is_err());
    });
}
