use commonwatt_primitives::{
    Month, Step, Wh,
    traits::{EnergyMove, TradableEnergy as _},
};
use frame_support::{assert_noop, assert_ok};

use crate::{Error, Event, mock::*};

const X: AccountId = 10;
const Y: AccountId = 20;
const PV: u32 = 1;

/// X has 1 000 Wh of step 1, of which it consumed 400; Y consumed 500.
fn after_step_one() -> sp_io::TestExternalities {
    let mut chain = chain(agreement(static_key(false, &[(X, 1_000_000)])));
    chain.execute_with(|| {
        register_generator(PV, COMMUNITY);
        register_consumer(X);
        register_consumer(Y);
        measure(1, PV, 1_000);
        consume(1, X, 400);
        consume(1, Y, 500);
        finish_block();
    });
    chain
}

fn transfer(step: u32, from: AccountId, to: AccountId, energy: u64) -> sp_runtime::DispatchResult {
    sell(step, from, to, energy)
}

fn net(who: AccountId) -> i128 {
    VirtualMeter::vgm(Step(1), &who).map_or(0, |entry| entry.net_wh())
}

#[test]
fn energy_moves_from_the_seller_to_the_buyer() {
    after_step_one().execute_with(|| {
        assert_ok!(transfer(1, X, Y, 600));
        let told = Event::EnergyTraded {
            step: Step(1),
            energy: Wh(600),
            accounts: 2,
        };
        assert_eq!(virtual_meter_events(), [told]);
        assert_eq!((net(X), net(Y)), (400, 600));
        assert_eq!(VirtualMeter::market_face_meter(Step(1), &X), Some(0));
        assert_eq!(VirtualMeter::market_face_meter(Step(1), &Y), Some(-100));
        assert_eq!(VirtualMeter::month_total(Month(0), &X).sold, Wh(600));
        assert_eq!(VirtualMeter::month_total(Month(0), &Y).bought, Wh(600));
        // What was bought can be sold on.
        assert_ok!(transfer(1, Y, 30, 600));
        assert_eq!((net(Y), net(30)), (0, 600));
        finish_block();
    });
}

#[test]
fn nobody_sells_more_than_it_has() {
    after_step_one().execute_with(|| {
        assert_noop!(transfer(1, X, Y, 1_001), Error::<Test>::NotEnoughEnergy);
        assert_noop!(transfer(1, Y, X, 1), Error::<Test>::NotEnoughEnergy);
        assert_ok!(transfer(1, X, Y, 1_000));
        assert_noop!(transfer(1, X, Y, 1), Error::<Test>::NotEnoughEnergy);
    });
}

#[test]
fn what_is_bought_is_what_is_sold_by_accounts_named_once() {
    after_step_one().execute_with(|| {
        let one = |who, bought, sold| EnergyMove {
            who,
            bought: Wh(bought),
            sold: Wh(sold),
        };
        let moved = |moves: &[EnergyMove<AccountId>]| VirtualMeter::move_energy(Step(1), moves);
        assert_noop!(transfer(1, X, Y, 0), Error::<Test>::UnbalancedTrade);
        assert_noop!(moved(&[]), Error::<Test>::UnbalancedTrade);
        assert_noop!(
            moved(&[one(X, 0, 5), one(Y, 6, 0)]),
            Error::<Test>::UnbalancedTrade
        );
        for moves in [[one(Y, 5, 0), one(X, 0, 5)], [one(X, 5, 0), one(X, 0, 5)]] {
            assert_noop!(moved(&moves), Error::<Test>::TradersOutOfOrder);
        }
        // Several at once, one of them on both sides.
        assert_ok!(moved(&[one(X, 0, 9), one(Y, 5, 0), one(30, 4, 0)]));
        assert_ok!(moved(&[one(X, 0, 5), one(Y, 5, 3), one(30, 3, 0)]));
        assert_eq!((net(X), net(Y), net(30)), (986, 7, 7));
        finish_block();
    });
}

#[test]
fn an_account_that_owes_energy_may_buy() {
    after_step_one().execute_with(|| {
        assert_ok!(transfer(1, X, Y, 900));
        assert_ok!(transfer(1, Y, 30, 500));
        measure(1, PV, 600);
        finish_block();
        assert_eq!(net(X), -300);
        assert_ok!(transfer(1, 30, X, 100));
        assert_eq!(net(X), -200);
        finish_block();
    });
}

#[test]
fn who_is_told_of_expired_steps_hears_what_was_left_after_the_trades() {
    after_step_one().execute_with(|| {
        assert_ok!(transfer(1, X, Y, 600));
        finish_blocks_until(RETENTION + 1);
        assert_eq!(expired(), [(Step(1), X, 0), (Step(1), Y, -100)]);
    });
}

#[test]
fn only_members_trade() {
    after_step_one().execute_with(|| {
        assert_noop!(transfer(1, X, MEMBERS_END, 1), Error::<Test>::NotAMember);
        assert_noop!(transfer(1, COMMUNITY, X, 1), Error::<Test>::NotAMember);
    });
}

#[test]
fn energy_is_scoped_to_a_step_that_is_distributed_and_kept() {
    after_step_one().execute_with(|| {
        assert_noop!(transfer(2, X, Y, 1), Error::<Test>::StepNotKept);
        finish_blocks_until(RETENTION + 1);
        assert_noop!(transfer(1, X, Y, 1), Error::<Test>::StepNotKept);
    });
}

#[test]
fn a_correction_after_the_energy_was_sold_on_leaves_the_trade_and_the_shortfall_with_the_seller() {
    after_step_one().execute_with(|| {
        assert_ok!(transfer(1, X, Y, 900));
        measure(1, PV, 600);
        let told = finish_block();
        assert!(told.contains(&Event::VgmCorrected {
            step: Step(1),
            member: X,
            from: 100,
            to: -300
        }));
        let seller = VirtualMeter::vgm(Step(1), &X).expect("it has an entry");
        assert_eq!((seller.shared, seller.sold), (Wh(600), Wh(900)));
        assert_eq!(VirtualMeter::market_face_meter(Step(1), &X), Some(700));
        let buyer = VirtualMeter::vgm(Step(1), &Y).expect("it has an entry");
        assert_eq!((buyer.bought, buyer.net_wh()), (Wh(900), 900));
        assert_noop!(transfer(1, X, Y, 1), Error::<Test>::NotEnoughEnergy);
        // Down to nothing: the seller's entry stays, for the trade.
        measure(1, PV, 0);
        finish_block();
        assert_eq!(net(X), -900);
    });
}
