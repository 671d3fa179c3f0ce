use std::time::{Duration, Instant};

use commonwatt_primitives::Step;
use frame_support::traits::Hooks;

use crate::mock::*;

const MEMBERS: u32 = 36;
const GENERATORS: u32 = 21;
const BLOCKS: u32 = 200;

/// What `weights.rs` goes by: `cargo test --release -p pallet-virtual-meter -- --ignored --nocapture`.
#[test]
#[ignore = "a measurement, for an idle machine and a release build"]
fn measure_a_block() {
    let members: Vec<AccountId> = (0..MEMBERS).map(AccountId::from).collect();
    let mut chain = chain(agreement(pro_rata(&members)));
    let mut spent = [Duration::ZERO; 3];
    chain.execute_with(|| {
        for id in 0..GENERATORS {
            register_generator(id, AccountId::from(id));
        }
        members.iter().copied().for_each(register_consumer);
    });
    for step in 1..=BLOCKS {
        chain.execute_with(|| {
            for id in 0..GENERATORS {
                measure(step, id, u64::from((step * 37 + id * 91) % 400));
            }
            for &member in &members {
                consume(step, member, u64::from(step * 53) * (member + 3) % 700);
            }
            let start = Instant::now();
            VirtualMeter::on_finalize(step);
            spent[0] += start.elapsed();
            // The same step again, with one reading changed.
            if step > 1 {
                measure(step - 1, 0, 5);
                let mut book = crate::distribution::AgreementBook::<Test>::new();
                let start = Instant::now();
                VirtualMeter::distribute(Step(step - 1), &mut book);
                spent[1] += start.elapsed();
                use commonwatt_primitives::traits::Readings;
                Community::take_changed_steps(1);
            }
            System::reset_events();
            System::set_block_number(step + 1);
            let start = Instant::now();
            VirtualMeter::on_initialize(step + 1);
            spent[2] += start.elapsed();
        });
        chain.commit_all().expect("no block is open");
    }
    let [first, again, expiry] = spent.map(|total| total / BLOCKS);
    println!("distribution {first:?}, correction {again:?}, on_initialize {expiry:?} a block");
}
