use commonwatt_primitives::{Bps, MeterId, MeterKind, Step, Wh, metering::MeterInfo};
use proptest::prelude::*;

use super::distribution::any_week;
use crate::mock::*;

const X: AccountId = 10;
const Y: AccountId = 20;
const A: u32 = 1;
const B: u32 = 2;

fn from(step: u32, who: AccountId) -> Option<Vec<(u32, u64)>> {
    let trace = VirtualMeter::trace(Step(step), &who)?;
    Some(
        trace
            .from
            .into_iter()
            .map(|(MeterId(meter), Wh(energy))| (meter, energy))
            .collect(),
    )
}

#[test]
fn every_kilowatt_hour_of_the_papers_example_comes_from_its_generators() {
    chain(agreement(static_key(false, &[(X, 320_000), (Y, 680_000)]))).execute_with(|| {
        register_generator(A, COMMUNITY);
        register_generator(B, COMMUNITY);
        measure(1, A, 15_000);
        measure(1, B, 10_000);
        finish_block();
        assert_eq!(from(1, X), Some(vec![(A, 4_800), (B, 3_200)]));
        assert_eq!(from(1, Y), Some(vec![(A, 10_200), (B, 6_800)]));
        assert_eq!(from(1, COMMUNITY), None);
    });
}

#[test]
fn a_rest_comes_from_ones_own_generator_and_a_loss_from_where_it_was_lost() {
    chain(agreement(pro_rata(&[X]))).execute_with(|| {
        register(
            A,
            MeterInfo {
                loss: Bps(1_000),
                ..meter(MeterKind::Generation, Y)
            },
        );
        register_generator(B, COMMUNITY);
        register_consumer(X);
        measure(1, A, 1_000);
        measure(1, B, 300);
        consume(1, X, 800);
        finish_block();
        assert_eq!(from(1, X), Some(vec![(A, 600), (B, 200)]));
        assert_eq!(from(1, Y), Some(vec![(A, 300)]));
        assert_eq!(from(1, COMMUNITY), Some(vec![(B, 100)]));
        assert_eq!(from(1, LOSSES), Some(vec![(A, 100)]));
    });
}

#[test]
fn a_trace_shows_the_trades_next_to_the_sources() {
    chain(agreement(static_key(false, &[(X, 1_000_000)]))).execute_with(|| {
        register_generator(A, COMMUNITY);
        measure(1, A, 100);
        finish_block();
        sell(1, X, Y, 30).expect("it has enough");
        let trace = VirtualMeter::trace(Step(1), &X).expect("it has an entry");
        assert_eq!(
            (trace.allocated, trace.sold, trace.net_wh),
            (Wh(100), Wh(30), 70)
        );
        let trace = VirtualMeter::trace(Step(1), &Y).expect("it has an entry");
        assert_eq!(
            (trace.from, trace.bought, trace.net_wh),
            (vec![], Wh(30), 30)
        );
        assert_eq!(trace.bought_from, [(MeterId(A), Wh(30))]);
    });
}

#[test]
fn what_was_bought_is_traced_to_its_generators() {
    chain(agreement(static_key(false, &[(X, 500_000), (Y, 500_000)]))).execute_with(|| {
        register_generator(A, COMMUNITY);
        register_generator(B, COMMUNITY);
        measure(1, A, 150);
        measure(1, B, 50);
        finish_block();
        for (seller, energy) in [(X, 40), (Y, 60), (X, 8)] {
            sell(1, seller, 30, energy).expect("it has enough");
        }
        sell(1, X, 31, 52).expect("it has enough");
        let bought = |who| VirtualMeter::trace(Step(1), &who).expect("it has an entry");
        let (first, second) = (bought(30), bought(31));
        let of = |trace: &crate::Trace<AccountId>, meter| {
            let mut from = trace.bought_from.iter();
            from.find(|(id, _)| *id == MeterId(meter))
                .map_or(0, |(_, energy)| energy.0)
        };
        assert_eq!(of(&first, A) + of(&first, B), 108);
        assert_eq!(of(&second, A) + of(&second, B), 52);
        // X sold all it had, three quarters of it made by A.
        assert_eq!(of(&first, A) + of(&second, A), 75 + 45);
        assert_eq!(first.bought_from_outer_grid, Wh(0));
    });
}

#[test]
fn a_trace_without_its_sales_is_none_rather_than_a_part() {
    chain(agreement(static_key(false, &[(X, 1_000_000)]))).execute_with(|| {
        register_generator(A, COMMUNITY);
        measure(1, A, 100);
        finish_block();
        sell(1, X, Y, 40).expect("it has enough");
        assert!(VirtualMeter::trace(Step(1), &Y).is_some());
        forget_sales();
        assert_eq!(VirtualMeter::trace(Step(1), &Y), None);
    });
}

#[test]
fn what_a_correction_withdrew_from_the_seller_reads_covered_by_the_outer_grid() {
    chain(agreement(static_key(false, &[(X, 1_000_000)]))).execute_with(|| {
        register_generator(A, COMMUNITY);
        measure(1, A, 100);
        finish_block();
        sell(1, X, Y, 80).expect("it has enough");
        measure(1, A, 50);
        finish_block();
        let trace = VirtualMeter::trace(Step(1), &Y).expect("it has an entry");
        assert_eq!(trace.bought, Wh(80));
        assert_eq!(trace.bought_from, [(MeterId(A), Wh(50))]);
        assert_eq!(trace.bought_from_outer_grid, Wh(30));
    });
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn traces_sum_to_the_lots_and_to_what_each_account_was_allocated(week in any_week()) {
        chain(week.agreement()).execute_with(|| {
            week.register();
            week.measure(1);
            finish_block();
            let mut traced = vec![0; week.losses.len()];
            for (who, _) in VirtualMeter::allocations(Step(1)) {
                let trace = VirtualMeter::trace(Step(1), &who).expect("it has an entry");
                let sum: u64 = trace.from.iter().map(|(_, energy)| energy.0).sum();
                assert_eq!(Wh(sum), trace.allocated);
                for (meter, energy) in trace.from {
                    traced[meter.0 as usize] += energy.0;
                }
            }
            assert_eq!(traced, week.generation[0]);
        });
    }
}
