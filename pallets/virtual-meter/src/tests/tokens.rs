use commonwatt_primitives::{Step, Wh};
use frame_support::traits::{
    fungible::Mutate,
    tokens::{Fortitude, Precision, Preservation},
};

use crate::{Event, VotingDebt, mock::*};

const X: AccountId = 10;
const PV: u32 = 1;

fn spend(who: AccountId, amount: u128) {
    let (keep, exact) = (Preservation::Expendable, Precision::Exact);
    VotingTokens::burn_from(&who, amount, keep, exact, Fortitude::Polite)
        .expect("the balance suffices");
}

#[test]
fn members_get_tokens_for_what_they_are_allocated_and_accounts_of_the_community_do_not() {
    chain(agreement(pro_rata(&[X]))).execute_with(|| {
        register_generator(PV, 20);
        register_generator(2, COMMUNITY);
        register_consumer(X);
        measure(1, PV, 399);
        measure(1, 2, 399);
        consume(1, X, 399);
        finish_block();
        // A tenth of each member's Wh, rounded down; the rest of meter 1 belongs to account 20.
        assert_eq!(
            VirtualMeter::vgm(Step(1), &20).map(|v| v.rest),
            Some(Wh(200))
        );
        assert_eq!((tokens(X), tokens(20), tokens(COMMUNITY)), (39, 20, 0));
        assert_eq!(VotingTokens::total_issuance(), 59);
    });
}

#[test]
fn a_correction_issues_or_withdraws_the_difference() {
    chain(agreement(static_key(false, &[(X, 1_000_000)]))).execute_with(|| {
        register_generator(PV, COMMUNITY);
        measure(1, PV, 1_005);
        finish_block();
        assert_eq!(tokens(X), 100);
        measure(1, PV, 1_239);
        finish_block();
        assert_eq!(tokens(X), 123);
        measure(1, PV, 500);
        let told = finish_block();
        assert!(told.contains(&Event::VotingTokensWithdrawn {
            who: X,
            burned: 73,
            owed: 0
        }));
        assert_eq!((tokens(X), VotingDebt::<Test>::get(X)), (50, 0));
    });
}

#[test]
fn tokens_that_were_spent_become_a_debt_that_later_issues_pay() {
    chain(agreement(static_key(false, &[(X, 1_000_000)]))).execute_with(|| {
        register_generator(PV, COMMUNITY);
        measure(1, PV, 1_000);
        finish_block();
        spend(X, 90);
        measure(1, PV, 0);
        let told = finish_block();
        assert!(told.contains(&Event::VotingTokensWithdrawn {
            who: X,
            burned: 10,
            owed: 90
        }));
        assert_eq!((tokens(X), VotingDebt::<Test>::get(X)), (0, 90));
        measure(3, PV, 500);
        finish_block();
        assert_eq!((tokens(X), VotingDebt::<Test>::get(X)), (0, 40));
        measure(4, PV, 500);
        finish_block();
        assert_eq!((tokens(X), VotingDebt::<Test>::get(X)), (10, 0));
        assert!(!VotingDebt::<Test>::contains_key(X));
    });
}
