//! How long the pure algorithm takes: `cargo bench -p commonwatt-clearing`.

#![allow(missing_docs)]

mod books;

use std::hint::black_box;

use books::{Members, book};
use commonwatt_clearing::{Mechanism, clear, compute_curves, compute_outcomes, verify};
use commonwatt_primitives::Bps;
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use mimalloc::MiMalloc;

/// As in the node.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn by_size(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("average");
    for count in [1_000, 10_000, 100_000] {
        let orders = book(count, Members::OneSided);
        group.bench_with_input(
            BenchmarkId::from_parameter(count),
            &orders,
            |bencher, orders| {
                bencher.iter(|| clear(black_box(orders), Mechanism::Average));
            },
        );
    }
    group.finish();
}

fn by_mechanism(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("100000 orders");
    group.sample_size(20);
    let mut orders = book(100_000, Members::OneSided);
    commonwatt_clearing::sort_arrivals(&mut orders);
    for mechanism in [
        Mechanism::Average,
        Mechanism::Loyal,
        Mechanism::Uniform { kappa: Bps(5_000) },
        Mechanism::McAfee,
        Mechanism::Continuous,
    ] {
        group.bench_function(mechanism.to_string(), |bencher| {
            bencher.iter(|| clear(black_box(&orders), mechanism));
        });
    }
    let netted = book(100_000, Members::BothSided);
    group.bench_function("average, every member on both sides", |bencher| {
        bencher.iter(|| clear(black_box(&netted), Mechanism::Average));
    });
    let clearing = clear(&orders, Mechanism::Average).expect("the book is sound");
    group.bench_function("verify", |bencher| {
        bencher.iter(|| verify(black_box(&orders), black_box(&clearing)));
    });
    group.bench_function("outcomes", |bencher| {
        bencher.iter(|| compute_outcomes(black_box(&orders), black_box(&clearing)));
    });
    group.bench_function("curves", |bencher| {
        bencher.iter(|| compute_curves(black_box(&orders), 256));
    });
    group.finish();
}

criterion_group!(benches, by_size, by_mechanism);
criterion_main!(benches);
