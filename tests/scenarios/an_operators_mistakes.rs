//! What an operator may get wrong, and that the answer says what to do.

mod support;

use std::fs;

use serde_json::json;
use support::operator::{Site, refused, succeed};

#[test]
fn a_node_without_a_chain_says_how_to_set_one_up() {
    let site = Site::empty();
    let said = support::expect_failure(site.node(&[]));
    assert!(said.contains("commonwatt init --chain FILE"), "{said}");
    let said = support::expect_failure(site.node(&["--chain", "village"]));
    assert!(said.contains("no chain \"village\""), "{said}");
    let said = support::expect_failure(site.node(&["--chain", "no-such.json"]));
    assert!(said.contains("no-such.json"), "{said}");
    let said = site.refused(&["init"]);
    assert!(said.contains("--chain FILE"), "{said}");
    let said = site.refused(&["init", "--chain", "two words"]);
    assert!(said.contains("letters, digits"), "{said}");
    for command in ["chain-info", "export-blocks", "purge-chain"] {
        let said = site.refused(&[command]);
        assert!(said.contains("commonwatt init"), "{command}: {said}");
    }
    assert!(
        !site.base().join("chains").exists(),
        "looking makes nothing"
    );
}

#[test]
fn a_validator_without_its_key_names_it() {
    let site = Site::empty();
    site.write_spec(|_| {});
    site.run(&["init", "--chain", site.spec()]);
    let said = support::expect_failure(site.node(&["--validator"]));
    let expected = "vote key 0x";
    assert!(
        said.contains(expected) && said.contains("commonwatt key insert --purpose vote"),
        "{said}"
    );
    // The spec can still be mended: there is no block yet.
    site.write_spec(|spec| spec["genesis"]["retention"] = json!(4_000));
    let said = site.run(&["init", "--chain", site.spec()]);
    assert!(said.contains("which had no block yet"), "{said}");
    let said = support::expect_failure(site.node(&["--validator", "--password-file", "none"]));
    assert!(said.contains("none"), "{said}");
}

#[test]
fn an_encrypted_key_needs_its_password() {
    let site = Site::empty();
    let password = site.path("password");
    fs::write(&password, "correct horse\n").expect("the password is written");
    let password = password.to_str().expect("a path in UTF-8");
    let wrong = site.path("wrong");
    fs::write(&wrong, "battery staple\n").expect("another password is written");
    let wrong = wrong.to_str().expect("a path in UTF-8");
    let site = Site::validator_in(site, &["--password-file", password]);

    // A second set-up says so at once, and not the validator's start.
    let spec = site.spec();
    let said = site.refused(&["init", "--chain", spec, "--password-file", wrong]);
    assert!(said.contains("password does not open"), "{said}");
    let said = site.refused(&["init", "--chain", spec, "--password-file", "none"]);
    assert!(said.contains("no file none"), "{said}");
    let said = support::expect_failure(site.node(&["--validator"]));
    assert!(
        said.contains("are encrypted") && said.contains("--password-file"),
        "{said}"
    );
    let said = support::expect_failure(site.node(&["--validator", "--password-file", wrong]));
    assert!(said.contains("password does not open"), "{said}");
    let node = site.start(&["--validator", "--password-file", password]);
    node.wait_for_block(1);
    node.stop();
}

#[test]
fn a_chain_of_several_validators_is_not_made_alone() {
    let (site, other) = (Site::empty(), Site::empty());
    let id = Site::example()["id"].as_str().expect("an id").to_owned();
    let said = other.run(&["init", "--chain", &id]);
    let keys = said
        .lines()
        .find_map(|line| line.trim().strip_prefix("\"keys\": "))
        .expect("init prints the keys");
    let keys: serde_json::Value = serde_json::from_str(keys).expect("keys as the spec has them");
    site.write_spec(|spec| {
        let genesis = &mut spec["genesis"];
        let second = json!({"account": genesis["members"][0], "keys": keys});
        let validators = genesis["validators"].as_array_mut().expect("a list");
        validators.push(second);
    });
    site.run(&["init", "--chain", site.spec()]);
    // With keys that are nobody's, and without any, a node waits for others and serves what there is.
    for arguments in [&["--validator"][..], &[]] {
        let node = site.start(arguments);
        let health = support::rpc::ask(&node.url, "system_health");
        assert_eq!(health["shouldHavePeers"], true, "{health}");
        assert!(node.block_hash(0).is_some());
        assert_eq!(node.block_hash(1), None);
        node.stop();
    }
}

#[test]
fn a_chain_that_begins_nowhere_is_not_run() {
    let site = Site::empty();
    site.write_spec(|spec| spec["genesis"]["timing"]["genesisMs"] = json!(0));
    let said = support::expect_failure(site.node(&["--chain", site.spec()]));
    assert!(said.contains("genesisMs"), "{said}");
    // Nothing is left that the mended spec would trip over.
    site.write_spec(|_| {});
    site.start(&["--chain", site.spec()]).stop();
}

#[test]
fn a_chain_that_begins_later_is_waited_for() {
    let site = Site::empty();
    site.write_spec(|spec| {
        // In the year 2100.
        spec["genesis"]["timing"]["genesisMs"] = json!(4_102_444_800_000_u64);
    });
    let node = site.start(&["--chain", site.spec()]);
    node.expect_log("waiting for it");
    node.stop();
}

#[test]
fn another_spec_with_the_same_id_is_refused_once_there_are_blocks() {
    let site = Site::validator();
    let other = Site::empty();
    other.write_spec(|_| {});
    let said = support::expect_failure(site.node(&["--chain", other.spec()]));
    assert!(said.contains("another chain of the id"), "{said}");
    // Before the first block a mended spec takes the place of the first one.
    let said = site.run(&["init", "--chain", other.spec()]);
    assert!(said.contains("replaces the earlier one"), "{said}");
    site.run(&["init", "--chain", site.spec()]);
    let node = site.start(&["--validator"]);
    node.wait_for_block(1);
    node.stop();
    let said = site.refused(&["init", "--chain", other.spec()]);
    assert!(said.contains("purge-chain"), "{said}");
}

#[test]
fn files_that_are_no_blocks_of_this_chain_are_refused() {
    let site = Site::validator();
    let node = site.start(&["--validator"]);
    node.wait_for_block(3);
    node.stop();
    let path = site.path("all.blocks");
    let all = path.to_str().expect("a path in UTF-8");
    site.run(&["export-blocks", "--out", all]);
    let bytes = fs::read(&path).expect("the file is there");
    let changed = |name: &str, bytes: &[u8]| {
        let path = site.path(name);
        fs::write(&path, bytes).expect("a changed file");
        path.to_str().expect("a path in UTF-8").to_owned()
    };

    // Each file is refused by a node that has nothing yet.
    let other = site.another();
    let said = other.refused(&["import-blocks", "no-such.blocks"]);
    assert!(said.contains("no-such.blocks"), "{said}");
    let said = other.refused(&["import-blocks", site.spec()]);
    assert!(said.contains("no file of blocks"), "{said}");
    let cut = changed("cut.blocks", &bytes[..bytes.len() - 1]);
    let said = other.refused(&["import-blocks", &cut]);
    assert!(said.contains("it was cut"), "{said}");
    // What came before the cut is kept, and the whole file goes on from there.
    let kept = other.info()["best"]["number"].as_u64().expect("a number");
    assert!(kept >= 2);
    let mut flipped = bytes.clone();
    let last = flipped.len() - 1;
    flipped[last] ^= 1;
    let said = other.refused(&["import-blocks", &changed("flipped.blocks", &flipped)]);
    assert!(said.contains("checksum"), "{said}");
    let said = other.run(&["import-blocks", all]);
    assert!(
        said.contains(&format!("{kept} were there already")),
        "{said}"
    );

    // A file that begins too late.
    let third = site.another();
    let late = site.path("late.blocks");
    let late = late.to_str().expect("a path in UTF-8");
    site.run(&["export-blocks", "--from", "3", "--out", late]);
    let said = third.refused(&["import-blocks", late]);
    assert!(said.contains("import blocks from 1 on first"), "{said}");
    let said = site.refused(&["export-blocks", "--from", "9", "--to", "7", "--out", late]);
    assert!(said.contains("exists already"), "{said}");
    let nowhere = site.path("no/such/folder");
    let nowhere = nowhere.to_str().expect("a path in UTF-8");
    let said = site.refused(&["export-blocks", "--out", nowhere]);
    assert!(
        said.contains("cannot write") && said.contains("no/such"),
        "{said}"
    );
    let said = site.refused(&["export-blocks", "--from", "900000", "--out", "-"]);
    assert!(said.contains("choose --from and --to"), "{said}");

    // A file of another chain.
    let stranger = Site::validator();
    let said = stranger.refused(&["import-blocks", all]);
    assert!(said.contains("another chain"), "{said}");
}

#[test]
fn flags_that_make_no_sense_are_refused() {
    let said = refused(&["--rpc-max-connections", "0"]);
    assert!(said.contains("1..=65535"), "{said}");
    let said = refused(&["--rpc-methods", "some"]);
    assert!(said.contains("auto") && said.contains("unsafe"), "{said}");
    let said = refused(&["--rpc-methods", "safe", "--rpc-unsafe"]);
    assert!(said.contains("cannot be used with"), "{said}");
    let said = refused(&["--state-pruning", "0"]);
    assert!(said.contains("archive"), "{said}");
    let said = refused(&["--name", ""]);
    assert!(said.contains("characters"), "{said}");
    let said = refused(&["--no-prometheus", "--prometheus-port", "1"]);
    assert!(said.contains("cannot be used with"), "{said}");
    let said = refused(&["revert", "0"]);
    assert!(said.contains('0'), "{said}");
    let said = refused(&["check-block", "newest"]);
    assert!(said.contains("64 hexadecimal digits"), "{said}");
    let said = refused(&["completions", "cmd"]);
    assert!(said.contains("bash"), "{said}");
    let said = refused(&["--base-path", "x", "chain-info"]);
    assert!(said.contains("after 'chain-info'"), "{said}");
    let said = refused(&["start"]);
    assert!(said.contains("unrecognized subcommand"), "{said}");
    assert!(succeed(&["completions", "bash"]).contains("import-blocks"));
}
