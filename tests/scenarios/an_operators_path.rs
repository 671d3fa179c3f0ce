//! Set up, run, stop, export, import elsewhere, check, go back, start over: what an operator does with a node.

mod support;

use std::{collections::BTreeSet, fs, os::unix::fs::PermissionsExt, path::Path};

use support::operator::Site;

/// Every file below a folder with its content.
fn files(folder: &Path) -> BTreeSet<(std::path::PathBuf, Vec<u8>)> {
    let mut found = BTreeSet::new();
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            let content = fs::read(&path).expect("a file");
            found.insert((path, content));
        }
    }
    found
}

fn best(site: &Site) -> (u64, String) {
    let info = site.info();
    let number = info["best"]["number"].as_u64().expect("a number");
    (
        number,
        info["best"]["hash"].as_str().expect("a hash").to_owned(),
    )
}

#[test]
fn what_a_validator_made_is_the_same_wherever_it_is_imported() {
    let site = Site::validator();
    let node = site.start(&["--validator", "--name", "village square"]);
    node.wait_for_block(4);
    let third = node.block_hash(3).unwrap();
    node.stop();
    let (number, hash) = best(&site);
    assert!(number >= 4);

    // The chain goes on where it was.
    let node = site.start(&["--validator"]);
    node.wait_for_block(u32::try_from(number).unwrap() + 2);
    assert_eq!(node.block_hash(3), Some(third.clone()));
    node.stop();
    let (number, _) = best(&site);

    // Blocks can be checked again, by number and by hash.
    let said = site.run(&["check-block", "3"]);
    assert!(said.contains(&third) && said.contains("is right"), "{said}");
    assert!(site.run(&["check-block", &hash]).contains("is right"));
    let said = site.run(&["check-block", "0"]);
    assert!(said.contains("what the chain spec says"), "{said}");
    let said = site.refused(&["check-block", "4000000"]);
    assert!(
        said.contains(&format!("the last one is {number}")),
        "{said}"
    );

    // Elsewhere, in two parts, on the other back end.
    let (first, all) = (site.path("first.blocks"), site.path("all.blocks"));
    let (first, all) = (first.to_str().unwrap(), all.to_str().unwrap());
    site.run(&["export-blocks", "--to", "3", "--out", first]);
    site.run(&["export-blocks", "--out", all]);
    let said = site.refused(&["export-blocks", "--out", all]);
    assert!(said.contains("exists already"), "{said}");
    let other = site.another();
    let said = other.run(&["import-blocks", first, "--database", "redb"]);
    assert!(said.contains("Imported 3 blocks"), "{said}");
    let said = other.run(&["import-blocks", all, "--database", "redb"]);
    assert!(said.contains("3 were there already"), "{said}");
    assert_eq!(best(&other), best(&site));
    assert_eq!(
        other.info()["best"]["stateRoot"],
        site.info()["best"]["stateRoot"]
    );
    assert_eq!(other.info()["states"]["count"], number + 1);

    // It serves what it has, and makes no blocks.
    let node = other.start(&["--database", "redb"]);
    assert_eq!(node.block_hash(3), Some(third));
    node.stop();
    assert_eq!(best(&other).0, number);
    let said = support::expect_failure(other.node(&["--database", "redb", "--validator"]));
    assert!(
        said.contains("vote key 0x") && said.contains("commonwatt key insert"),
        "{said}"
    );
}

#[test]
fn a_chain_that_was_reverted_takes_the_same_blocks_again() {
    let site = Site::validator();
    let node = site.start(&["--validator"]);
    node.wait_for_block(5);
    node.stop();
    let before = best(&site);
    let all = site.path("all.blocks");
    let all = all.to_str().unwrap();
    site.run(&["export-blocks", "--out", all]);

    let said = site.refused(&["revert", "2"]);
    assert!(said.contains("final") && said.contains("--yes"), "{said}");
    assert_eq!(best(&site), before);
    let said = site.run(&["revert", "2", "--yes"]);
    assert!(said.contains("Reverted 2 final blocks"), "{said}");
    assert_eq!(best(&site).0, before.0 - 2);
    let said = site.refused(&["revert", "1000000", "--yes"]);
    assert!(said.contains("cannot go back 1000000"), "{said}");

    let said = site.run(&["import-blocks", all]);
    assert!(said.contains("Imported 2 blocks"), "{said}");
    assert_eq!(best(&site), before);

    // What is made anew, late, is another block than the one made in time, and the two are not joined.
    site.run(&["revert", "2", "--yes"]);
    let node = site.start(&["--validator"]);
    let number = u32::try_from(before.0).unwrap();
    node.wait_for_block(number);
    let made_anew = node.block_hash(number).unwrap();
    node.stop();
    if made_anew == before.1 {
        // A machine so slow that both were late: then it is the same block to the last bit.
        let said = site.run(&["import-blocks", all]);
        assert!(said.contains("Imported 0 blocks"), "{said}");
    } else {
        let said = site.refused(&["import-blocks", all]);
        assert!(said.contains("cannot be joined"), "{said}");
    }
}

#[test]
fn what_is_not_kept_is_not_gone_back_to() {
    let site = Site::validator();
    let node = site.start(&["--validator", "--state-pruning", "3"]);
    node.wait_for_block(6);
    node.stop();
    let before = best(&site);
    let said = site.refused(&["revert", "4", "--yes"]);
    assert!(said.contains("N can be 1 to 2"), "{said}");
    let said = site.refused(&["check-block", "2"]);
    assert!(said.contains("archive node"), "{said}");
    let said = support::expect_failure(site.node(&["--state-pruning", "archive"]));
    assert!(said.contains("--state-pruning"), "{said}");
    assert_eq!(best(&site), before);
    site.run(&["revert", "2", "--yes"]);
    assert_eq!(best(&site).0, before.0 - 2);
}

#[test]
fn purging_leaves_keys_and_spec() {
    let site = Site::validator();
    let node = site.start(&["--validator"]);
    node.wait_for_block(1);
    let said = site.refused(&["purge-chain", "-y"]);
    assert!(said.contains("another process"), "{said}");
    node.stop();
    let keys = files(&site.chain().join("keystore"));
    let identity = files(&site.chain().join("network"));
    assert_eq!((keys.len(), identity.len()), (2, 1));
    for (path, _) in keys.iter().chain(&identity) {
        assert_eq!(
            fs::metadata(path).unwrap().permissions().mode() & 0o777,
            0o600
        );
    }

    let said = site.refused(&["purge-chain"]);
    assert!(said.contains("give -y"), "{said}");
    assert!(best(&site).0 >= 1);
    site.run(&["purge-chain", "-y"]);
    let said = site.run(&["purge-chain", "-y"]);
    assert!(
        said.contains("Removed") || said.contains("nothing"),
        "{said}"
    );
    assert_eq!(files(&site.chain().join("keystore")), keys);
    assert_eq!(files(&site.chain().join("network")), identity);
    assert!(site.chain().join("chain-spec.json").exists());
    let said = site.refused(&["chain-info"]);
    assert!(said.contains("no database"), "{said}");

    // It begins again with block 0, under the same keys.
    let node = site.start(&["--validator"]);
    node.wait_for_block(1);
    node.stop();
}

#[test]
fn setting_up_again_replaces_no_key() {
    let site = Site::validator();
    let before = files(&site.base());
    let said = site.run(&["init", "--chain", site.spec()]);
    assert!(
        said.contains("was there") && !said.contains(", new"),
        "{said}"
    );
    assert!(said.contains("--validator"), "{said}");
    assert_eq!(files(&site.base()), before);
}

#[test]
fn a_second_signal_is_not_needed_and_any_of_them_stops_in_order() {
    for signal in ["INT", "TERM", "HUP"] {
        let site = Site::validator();
        let node = site.start(&["--validator"]);
        node.wait_for_block(1);
        let (status, log) = node.end(signal);
        assert!(status.success(), "{signal}: {log:#?}");
        let made = log.iter().filter(|line| line.contains(" made ")).count();
        assert!(
            log.last().is_some_and(|line| line.contains("stopped")),
            "{signal}, {made} blocks more: {log:#?}"
        );
    }
}
