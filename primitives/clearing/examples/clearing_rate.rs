//! Times clearings of growing books and prints a JSON line for each; `tests/clearing_baseline.py` runs it beside its own.

#[path = "../benches/books/mod.rs"]
mod books;

use std::{fs, hint::black_box, time::Instant};

use books::{Members, book};
use commonwatt_clearing::{Mechanism, clear};
use mimalloc::MiMalloc;
use serde_json::json;

/// As in the node.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// How often each book is cleared.
const REPEATS: u16 = 31;

fn main() {
    for (name, members) in [("one", Members::OneSided), ("both", Members::BothSided)] {
        for count in [1_000, 10_000, 100_000] {
            let orders = book(count, members);
            let cpu_began = cpu_seconds();
            let mut seconds: Vec<f64> = (0..REPEATS)
                .map(|_| {
                    let began = Instant::now();
                    let clearing = black_box(clear(black_box(&orders), Mechanism::Average));
                    let seconds = began.elapsed().as_secs_f64();
                    drop(clearing);
                    seconds
                })
                .collect();
            let cpu = cpu_began
                .zip(cpu_seconds())
                .map(|(began, ended)| (ended - began) / f64::from(REPEATS));
            seconds.sort_by(f64::total_cmp);
            let clearing = clear(&orders, Mechanism::Average).expect("the book is sound");
            let line = json!({
                "sides": name,
                "orders": count,
                "k": clearing.breakeven.k,
                "volume": clearing.totals.volume,
                "turnover": clearing.totals.turnover,
                "trades": clearing.trades.len(),
                "medianSeconds": seconds[usize::from(REPEATS / 2)],
                "bestSeconds": seconds[0],
                "cpuSeconds": cpu,
                "peakKib": peak_kib(),
            });
            println!("{line}");
        }
    }
}

/// Returns how long this process has been on a processor, where the system tells: what a busy machine doesn't change much.
fn cpu_seconds() -> Option<f64> {
    let times = fs::read_to_string("/proc/self/schedstat").ok()?;
    let nanoseconds: f64 = times.split_whitespace().next()?.parse().ok()?;
    Some(nanoseconds / 1e9)
}

/// Returns the most memory this process has had so far, orders included, where the system tells.
fn peak_kib() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.split_whitespace().next()?.parse().ok()
}
