use std::collections::BTreeMap;

use commonwatt_primitives::{Step, Wh};
use proptest::prelude::*;

use crate::{Vgm, VgmBuckets, VgmEntry, bucket_of, mock::*};

fn entry(shared: u64) -> VgmEntry {
    VgmEntry {
        shared: Wh(shared),
        ..Default::default()
    }
}

fn write(step: Step, changes: &BTreeMap<AccountId, u64>) {
    let changes = changes.iter().map(|(who, shared)| (who, entry(*shared)));
    VirtualMeter::write_entries(step, changes);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever is written in whatever portions, an empty entry being none.
    #[test]
    fn buckets_hold_what_a_map_would(
        writes in prop::collection::vec(prop::collection::btree_map(0u64..400, 0u64..3, 0..150), 1..8),
    ) {
        sp_io::TestExternalities::default().execute_with(|| {
            let step = Step(7);
            let mut expected = BTreeMap::new();
            for changes in &writes {
                write(step, changes);
                expected.extend(changes.iter().map(|(who, shared)| (*who, *shared)));
                expected.retain(|_, shared| *shared > 0);

                let held = VirtualMeter::entries(step);
                let held: BTreeMap<_, _> = held.into_iter().map(|(who, entry)| (who, entry.shared.0)).collect();
                prop_assert_eq!(&held, &expected);
                for who in 0..400 {
                    let shared = VirtualMeter::entry(step, &who).map(|entry| entry.shared.0);
                    prop_assert_eq!(shared, expected.get(&who).copied());
                }
                let buckets = VgmBuckets::<Test>::get(step).unwrap_or(0);
                for (_, number, bucket) in Vgm::<Test>::iter() {
                    prop_assert!(!bucket.is_empty() && bucket.len() <= 64);
                    prop_assert!(bucket.iter().all(|(who, _)| bucket_of(who, buckets) == number));
                }
            }
            Ok(())
        })?;
    }
}

#[test]
fn buckets_that_grow_are_counted_anew() {
    sp_io::TestExternalities::default().execute_with(|| {
        let step = Step(1);
        write(step, &(0..10).map(|who| (who, 1)).collect());
        assert_eq!(VgmBuckets::<Test>::get(step), Some(1));
        write(step, &(10..100).map(|who| (who, 1)).collect());
        assert_eq!(VgmBuckets::<Test>::get(step), Some(7));
        assert_eq!(VirtualMeter::entries(step).len(), 100);
    });
}

#[test]
fn a_step_is_removed_bucket_by_bucket() {
    sp_io::TestExternalities::default().execute_with(|| {
        let step = Step(1);
        write(step, &(0..100).map(|who| (who, 1)).collect());
        let first = VirtualMeter::remove_entries(step, 20);
        assert!((20..60).contains(&first.len()), "{}", first.len());
        let rest = VirtualMeter::remove_entries(step, u32::MAX);
        let mut accounts: Vec<_> = first.iter().chain(&rest).map(|(who, _)| *who).collect();
        accounts.sort_unstable();
        assert_eq!(accounts, (0..100).collect::<Vec<_>>());
        assert_eq!(Vgm::<Test>::iter().count(), 0);
        assert_eq!(VgmBuckets::<Test>::get(step), None);
        assert!(VirtualMeter::remove_entries(step, 1).is_empty());
    });
}
