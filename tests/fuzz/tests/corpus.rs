//! Every input that is kept, through its target: seeds, and what once broke a promise. Needs no fuzzer.

// Crates that were built with counters need the library that counts.
#[cfg(feature = "libfuzzer")]
use libfuzzer_sys as _;

use std::{
    fs,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
};

use commonwatt_fuzz::{TARGETS, Target};

/// Returns the inputs kept for a target, in the order of their names.
fn inputs(kind: &str, name: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(kind).join(name);
    let Ok(entries) = fs::read_dir(folder) else {
        return Vec::new();
    };
    let mut paths: Vec<_> = entries
        .map(|entry| entry.expect("the folder is readable").path())
        .collect();
    paths.sort();
    paths
}

fn replay(name: &str, target: Target) {
    let seeds = inputs("corpus", name);
    assert!(!seeds.is_empty(), "{name} has no seeds");
    let failed: Vec<_> = seeds
        .into_iter()
        .chain(inputs("regressions", name))
        .filter(|path| {
            let input = fs::read(path).expect("an input is readable");
            catch_unwind(AssertUnwindSafe(|| target(&input))).is_err()
        })
        .collect();
    assert!(failed.is_empty(), "{name} fails on {failed:?}");
}

/// Targets share folders and servers within a process, so they go one after the other.
#[test]
fn every_input_that_is_kept_passes() {
    for (name, target) in TARGETS {
        println!("{name}");
        replay(name, *target);
    }
}

#[test]
fn every_folder_of_inputs_belongs_to_a_target() {
    for kind in ["corpus", "regressions"] {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(kind);
        for entry in fs::read_dir(folder).into_iter().flatten() {
            let name = entry.expect("the folder is readable").file_name();
            assert!(
                TARGETS.iter().any(|(target, _)| name == *target),
                "{kind} has inputs for {name:?}, which is no target"
            );
        }
    }
}
