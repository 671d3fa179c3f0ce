//! Tags as no chain of nonces makes them: shared, crossed, in circles, changing between blocks.

use std::collections::BTreeMap;

use proptest::prelude::*;

use crate::{
    BlockReport, Checked, Hash, InvalidTransaction, Lane, Pool, PoolLimits, Refusal,
    TransactionSource, TransactionTag, TransactionValidator, ValidTransaction, Verdict,
};

/// A runtime whose answers are a table.
#[derive(Default)]
struct Table(BTreeMap<u8, Checked>);

impl TransactionValidator for Table {
    fn validate(&self, _: TransactionSource, extrinsic: &[u8]) -> Verdict {
        extrinsic
            .first()
            .and_then(|key| self.0.get(key))
            .cloned()
            .ok_or(Refusal::Invalid(InvalidTransaction::Call))
    }
}

fn any_tags() -> impl Strategy<Value = Vec<TransactionTag>> {
    prop::collection::vec((0..6_u8).prop_map(|tag| vec![tag]), 0..3)
}

fn any_checked() -> impl Strategy<Value = Checked> {
    (any_tags(), any_tags(), 0..3_u64, 0..3_usize, 0..3_u8).prop_map(
        |(requires, provides, priority, lane, sender)| Checked {
            validity: ValidTransaction {
                priority,
                requires,
                provides,
                longevity: 5,
                propagate: true,
            },
            sender: Some([sender; 32]),
            lane: Lane::ALL[lane],
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn invariants_hold_for_any_tags(
        steps in prop::collection::vec((0..12_u8, any_checked(), 0..5_u8), 1..60),
        transactions in 3..12_usize,
    ) {
        let limits = PoolLimits {
            transactions,
            future_transactions: 4,
            account_transactions: 5,
            revalidated_in_turn: 6,
            ban_blocks: 1,
            ..PoolLimits::default()
        };
        let mut pool = Pool::new(limits, 0);
        let mut table = Table::default();
        let mut number = 0;
        for (key, checked, action) in steps {
            table.0.insert(key, checked);
            if action == 0 {
                number += 1;
                let included: Vec<Hash> = pool.ready().take(2).map(|tx| tx.hash).collect();
                let report = BlockReport { number, included, ..BlockReport::default() };
                pool.on_block(&report, &table);
            } else {
                let extrinsic = vec![key, action];
                let _ = pool.submit(TransactionSource::External, extrinsic, &table);
            }
            prop_assert_eq!(pool.check_invariants(), Ok(()));
        }
    }
}
