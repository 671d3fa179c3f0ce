//! Random books that a plain script can make too: `tests/clearing_baseline.py` draws the same numbers.

use commonwatt_clearing::{Order, Side};
use commonwatt_primitives::{Hash, Ppm};

/// An account as the chain has it.
pub type Account = [u8; 32];

/// Who is on which side.
#[derive(Clone, Copy)]
pub enum Members {
    /// A member buys or sells: what caps leave of a step's orders.
    OneSided,
    /// Every member does both, and is netted.
    BothSided,
}

/// Knuth's linear congruential generator; its upper 31 bits.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 33
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}

/// Returns a book of `count` orders, ten for each member, at 4 000 prices.
pub fn book(count: u32, members: Members) -> Vec<Order<Account>> {
    let mut numbers = Numbers(count.into());
    let members_count = u64::from(count / 10).max(2);
    (0..count)
        .map(|position| {
            let member = numbers.below(members_count);
            let coin = numbers.below(2);
            let is_buyer = match members {
                Members::OneSided => member.is_multiple_of(2),
                Members::BothSided => coin == 0,
            };
            let limit = numbers.below(4_000).into();
            let units = u32::try_from(numbers.below(50) + 1).expect("it is small");
            let arrival = u32::try_from(numbers.below(96)).expect("it is small");
            let tie = (numbers.next() << 31) | numbers.next();
            let mut tie_break = Hash::zero();
            tie_break.0[..8].copy_from_slice(&tie.to_be_bytes());
            Order {
                id: Hash::from_low_u64_be(position.into()),
                account: account(member),
                side: if is_buyer { Side::Buy } else { Side::Sell },
                limit,
                units,
                loyalty: Ppm(u32::try_from(500_000 + member * 7 % 1_000_000).expect("it is small")),
                arrival,
                tie_break,
            }
        })
        .collect()
}

fn account(member: u64) -> Account {
    let mut bytes = [0; 32];
    let mut numbers = Numbers(member.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    for chunk in bytes.chunks_mut(4) {
        let number = u32::try_from(numbers.next()).expect("31 bits fit");
        chunk.copy_from_slice(&number.to_be_bytes());
    }
    bytes
}
