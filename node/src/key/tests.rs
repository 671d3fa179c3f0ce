//! The commands as an operator types them, through the parser of the command line.

use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use anyhow::Result;
use clap::Parser;
use serde_json::Value;
use tempfile::TempDir;

use super::{Console, KeyCommand};

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    key: KeyCommand,
}

/// What a command did.
struct Done {
    result: Result<()>,
    out: String,
    notes: String,
}

impl Done {
    fn ok(self) -> Self {
        if let Err(error) = &self.result {
            panic!("{error:#}");
        }
        self
    }

    fn error(self) -> String {
        format!("{:#}", self.result.unwrap_err())
    }

    fn json(self) -> Value {
        serde_json::from_str(&self.ok().out).unwrap()
    }

    /// Returns the first word after a label.
    fn field(&self, label: &str) -> String {
        let line = self.out.lines().find_map(|line| line.strip_prefix(label));
        let line = line.unwrap_or_else(|| panic!("no {label} in {}", self.out));
        line.trim_start_matches(':').trim().to_owned()
    }
}

fn key_with_input(arguments: &[&str], mut input: &[u8]) -> Done {
    let line = Line::try_parse_from(std::iter::once(&"key").chain(arguments)).unwrap();
    let (mut out, mut notes) = (Vec::new(), Vec::new());
    let result = line.key.run_with(&mut Console {
        out: &mut out,
        notes: &mut notes,
        input: &mut input,
    });
    Done {
        result,
        out: String::from_utf8(out).unwrap(),
        notes: String::from_utf8(notes).unwrap(),
    }
}

fn key(arguments: &[&str]) -> Done {
    key_with_input(arguments, b"")
}

fn refused_by_parser(arguments: &[&str]) -> String {
    match Line::try_parse_from(std::iter::once(&"key").chain(arguments)) {
        Ok(_) => panic!("{arguments:?} was accepted"),
        Err(error) => error.to_string(),
    }
}

/// A folder for a test, and paths in it.
struct Place(TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> String {
        self.0.path().join(name).to_str().unwrap().to_owned()
    }

    fn file(&self, name: &str, content: &str) -> String {
        let path = self.path(name);
        fs::write(&path, content).unwrap();
        path
    }
}

fn mode(path: &str) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

const ALICE: &str = "0x88dc3417d5058ec4b4503e0c12ea1a0a89be200fe98922423d4334014fa6b0ee";
const ALICE_ADDRESS: &str = "5FA9nQDVg267DEd8m1ZypXLBnvN7SFxYwV7ndqSYGiN9TTpu";
const ALICE_SR25519: &str = "0xd43593c715fdd31c61141abd04a99fd6822c8558854ccde39a5684e7a56da27d";
const PHRASE: &str = "legal winner thank year wave sausage worth useful legal winner thank yellow";

#[test]
fn a_generated_account_is_the_one_its_phrase_gives() {
    for (scheme, words) in [("ed25519", "12"), ("sr25519", "24")] {
        let arguments = ["generate", "--scheme", scheme, "--words", words, "--json"];
        let made = key(&arguments).json();
        let phrase = made["secretPhrase"].as_str().unwrap();
        assert_eq!(phrase.split(' ').count().to_string(), words);
        let arguments = ["inspect", "-", "--scheme", scheme, "--json"];
        let inspected = key_with_input(&arguments, phrase.as_bytes()).json();
        assert!(inspected.get("secretPhrase").is_none());
        for field in ["scheme", "publicKey", "accountId", "ss58Address"] {
            assert_eq!(inspected[field], made[field]);
        }
    }
    assert!(refused_by_parser(&["generate", "--words", "13"]).contains("12, 15, 18, 21 or 24"));
    assert!(refused_by_parser(&["generate", "--scheme", "rsa"]).contains("ed25519 or sr25519"));
}

#[test]
fn a_phrase_written_to_a_file_is_not_shown() {
    let place = Place::new();
    let file = place.path("phrase");
    let done = key(&["generate", "--output", &file]).ok();
    let phrase = fs::read_to_string(&file).unwrap();
    assert_eq!(mode(&file), 0o600);
    assert!(!done.out.contains(&phrase) && !done.notes.contains(&phrase));
    let inspected = key(&["inspect", &file]).ok();
    assert_eq!(inspected.out, done.out);
    let error = key(&["generate", "--output", &file]).error();
    assert!(error.contains("left as it is"), "{error}");
    assert_eq!(fs::read_to_string(&file).unwrap(), phrase);
}

#[test]
fn inspect_knows_secrets_addresses_and_public_keys() {
    let alice = key(&["inspect", "//Alice"]).ok();
    assert_eq!(alice.field("Public key"), ALICE);
    assert_eq!(alice.field("Account id"), ALICE);
    assert_eq!(alice.field("SS58 address"), ALICE_ADDRESS);
    assert!(alice.notes.contains("anybody can sign"), "{}", alice.notes);
    let wallet = key(&["inspect", "//Alice", "--scheme", "sr25519"]).ok();
    assert_eq!(wallet.field("Public key"), ALICE_SR25519);
    let address = key(&["inspect", ALICE_ADDRESS]).ok();
    assert_eq!(address.field("Public key"), ALICE);
    let public = key(&["inspect", "--public", ALICE]).ok();
    assert_eq!(public.field("SS58 address"), ALICE_ADDRESS);
    // Without --public the same digits are a seed.
    assert_ne!(key(&["inspect", ALICE]).ok().field("Public key"), ALICE);
}

#[test]
fn a_secret_on_the_command_line_is_warned_about_and_never_repeated() {
    let done = key(&["inspect", PHRASE]).ok();
    assert!(
        done.notes.contains("can see a secret on the command line"),
        "{}",
        done.notes
    );
    assert!(!done.out.contains("winner") && !done.notes.contains("winner"));
    let place = Place::new();
    for quiet in [place.file("phrase", PHRASE), ALICE_ADDRESS.to_owned()] {
        let notes = key(&["inspect", &quiet]).ok().notes;
        assert!(notes.is_empty(), "{notes}");
    }
    let mistyped = PHRASE.replace("wave", "wafe");
    for argument in [mistyped.as_str(), "winner", "winner!"] {
        let error = key(&["inspect", argument]).error();
        assert!(
            !error.contains("winner") && !error.contains("wafe"),
            "{error}"
        );
        assert!(
            error.contains("neither a file that exists nor a key"),
            "{error}"
        );
    }
    // A mistyped path is not taken for soft steps from the development phrase.
    let missing = place.path("missing");
    let error = key(&["inspect", &missing, "--scheme", "sr25519"]).error();
    assert!(
        error.contains("neither a file that exists nor a key"),
        "{error}"
    );
    let error = key_with_input(&["inspect", "-"], mistyped.as_bytes()).error();
    assert!(
        error.contains("word 5") && !error.contains("wafe"),
        "{error}"
    );
}

#[test]
fn inserted_keys_are_listed() {
    let place = Place::new();
    let keystore = place.path("keystore");
    let suri = place.file("suri", &format!("{PHRASE}//validator\n"));
    for purpose in ["vote", "beacon"] {
        let arguments = [
            "insert",
            "--keystore",
            &keystore,
            "--purpose",
            purpose,
            "--suri",
            &suri,
        ];
        let first = key(&arguments).ok();
        assert!(
            first.out.starts_with(&format!("{purpose} 0x")),
            "{}",
            first.out
        );
        // Setting up can be repeated.
        let again = key(&arguments).ok();
        assert_eq!(again.out, first.out);
        assert!(again.notes.contains("already"), "{}", again.notes);
    }
    let listed = key(&["list", "--keystore", &keystore, "--json"]).json();
    let listed = listed.as_array().unwrap();
    assert_eq!(listed.len(), 2);
    assert_eq!(listed[0]["purpose"], "vote");
    assert_eq!(listed[1]["scheme"], "sr25519");
    assert_eq!(listed[1]["protection"], "clear");
    let file = listed[0]["file"].as_str().unwrap();
    assert_eq!(
        fs::read_to_string(file).unwrap(),
        format!("\"{PHRASE}//validator\"")
    );
    assert!(file.contains("/766f7465") && mode(file) == 0o600);

    let done = key(&[
        "insert",
        "--keystore",
        &keystore,
        "--purpose",
        "vote",
        "--suri",
        "//Alice",
    ])
    .ok();
    assert!(
        done.notes.contains("Never use it for a real community"),
        "{}",
        done.notes
    );
    assert_eq!(
        key(&["list", "--keystore", &keystore])
            .ok()
            .out
            .lines()
            .count(),
        3
    );
    assert!(refused_by_parser(&["insert", "--purpose", "mine"]).contains("vote or beacon"));
}

#[test]
fn a_missing_keystore_is_not_made_by_looking_at_it() {
    let place = Place::new();
    let keystore = place.path("keystore");
    let error = key(&["list", "--keystore", &keystore]).error();
    assert!(error.contains("commonwatt key rotate"), "{error}");
    assert!(!Path::new(&keystore).exists());
}

#[test]
fn rotation_adds_keys_and_prints_what_the_dso_registers() {
    let place = Place::new();
    let keystore = place.path("keystore");
    let first = key(&["rotate", "--keystore", &keystore, "--json"]).json();
    let second = key(&["rotate", "--keystore", &keystore]).ok();
    assert!(
        second.notes.contains("registry.registerValidator"),
        "{}",
        second.notes
    );
    let [vote, beacon] = ["Vote key", "Beacon key"].map(|label| second.field(label));
    assert_eq!(
        second.field("Session keys"),
        format!("{vote}{}", &beacon[2..])
    );
    assert_ne!(first["vote"], vote);
    let listed = key(&["list", "--keystore", &keystore]).ok().out;
    for public in [
        &vote,
        &beacon,
        first["vote"].as_str().unwrap(),
        first["beacon"].as_str().unwrap(),
    ] {
        assert!(listed.contains(public), "{public} is not in {listed}");
    }
}

#[test]
fn a_keystore_under_a_password_takes_keys_with_that_password_only() {
    let place = Place::new();
    let keystore = place.path("keystore");
    let [right, wrong] = [
        place.file("right", "right\n"),
        place.file("wrong", "wrong\n"),
    ];
    let rotate = |password: Option<&str>| {
        let mut arguments = vec!["rotate", "--keystore", &keystore];
        arguments.extend(
            password
                .map(|file| ["--password-file", file])
                .into_iter()
                .flatten(),
        );
        key(&arguments)
    };
    rotate(Some(&right)).ok();
    assert!(
        rotate(Some(&wrong))
            .error()
            .contains("the password does not open")
    );
    assert!(rotate(None).error().contains("--password-file"));
    let listed = key(&["list", "--keystore", &keystore]).ok().out;
    assert_eq!(listed.matches("encrypted").count(), 2, "{listed}");
    let empty = place.file("empty", "\n");
    assert!(
        rotate(Some(&empty))
            .error()
            .contains("the password is empty")
    );
    assert!(rotate(Some(&place.path("none"))).error().contains("none"));
    refused_by_parser(&["rotate", "--password-file", "a", "--password-interactive"]);
    refused_by_parser(&["rotate", "--password", "on the command line"]);
}

#[test]
fn keys_go_to_the_chain_that_is_named() {
    let place = Place::new();
    let community = commonwatt_community_data::Community::demo().unwrap();
    let spec = crate::community::dev_spec(&community, crate::community::KeyKind::Static);
    let spec = place.file("village.json", &spec.to_json());
    let base = place.path("base");
    key(&["rotate", "--chain", &spec, "--base-path", &base]).ok();
    // The chain is known now, and the only one.
    let listed = key(&["list", "--base-path", &base]).ok().out;
    assert_eq!(listed.lines().count(), 2);
    let peer_id = key(&["generate-node-key", "--chain", "dev", "--base-path", &base])
        .ok()
        .out;
    assert_eq!(
        key(&["inspect-node-key", "--base-path", &base]).ok().out,
        peer_id
    );
    let chain = place.path("base/chains/dev");
    assert_eq!(
        fs::read_dir(format!("{chain}/keystore")).unwrap().count(),
        2
    );
    assert_eq!(mode(&format!("{chain}/keystore")), 0o700);
    assert_eq!(mode(&format!("{chain}/network/secret_ed25519")), 0o600);
    refused_by_parser(&["list", "--keystore", "a", "--chain", "dev"]);
}

#[test]
fn a_node_key_is_made_shown_and_never_replaced() {
    let place = Place::new();
    let file = place.path("network/secret_ed25519");
    let peer_id = key(&["generate-node-key", "--file", &file]).ok().out;
    assert!(peer_id.starts_with("12D3KooW"), "{peer_id}");
    assert_eq!(
        key(&["inspect-node-key", "--file", &file]).ok().out,
        peer_id
    );
    let error = key(&["generate-node-key", "--file", &file]).error();
    assert!(error.contains("another peer id"), "{error}");
    assert_eq!(
        key(&["inspect-node-key", "--file", &file]).ok().out,
        peer_id
    );

    // Without a place for it the key goes to the standard output, and what others may see beside it.
    let done = key(&["generate-node-key"]).ok();
    let shown = key_with_input(&["inspect-node-key", "--file", "-"], done.out.as_bytes()).ok();
    assert_eq!(shown.out, done.notes);

    let error = key(&["inspect-node-key", "--file", &place.path("none")]).error();
    assert!(error.contains("generate-node-key"), "{error}");
}

#[test]
fn exported_accounts_are_imported_again() {
    let place = Place::new();
    let suri = place.file("suri", PHRASE);
    let password = place.file("password", "pass word");
    let keystore = place.path("keystore");
    for (scheme, purpose) in [("ed25519", "vote"), ("sr25519", "beacon")] {
        let file = place.path(&format!("{scheme}.json"));
        let arguments = [
            "export",
            "--suri",
            &suri,
            "--scheme",
            scheme,
            "--account-password-file",
            &password,
            "--name",
            "member 7",
            "--output",
            &file,
        ];
        key(&arguments).ok();
        assert_eq!(mode(&file), 0o600);
        let own = key(&["inspect", &suri, "--scheme", scheme]).ok().out;
        // What an encrypted file says of itself, and what it holds.
        let said = key(&["inspect", &file]).ok();
        assert_eq!(said.out, own);
        assert!(said.notes.contains("encrypted"), "{}", said.notes);
        let held = key(&["inspect", &file, "--account-password-file", &password]).ok();
        assert_eq!(held.out, own);

        let import = [
            "import",
            &file,
            "--purpose",
            purpose,
            "--keystore",
            &keystore,
        ];
        assert!(key(&import).error().contains("--account-password-file"));
        let other = if purpose == "vote" { "beacon" } else { "vote" };
        let with = |purpose| {
            let mut arguments = import.to_vec();
            arguments[3] = purpose;
            arguments.extend(["--account-password-file", &password]);
            key(&arguments)
        };
        assert!(with(other).error().contains("another purpose"));
        let imported = with(purpose).ok().out;
        assert!(own.contains(imported.split(' ').nth(1).unwrap().trim()));

        // From the keystore, in clear, to a secret that other commands read.
        let clear = key(&[
            "export",
            "--purpose",
            purpose,
            "--keystore",
            &keystore,
            "--unencrypted",
        ])
        .ok();
        let target = place.path(&format!("{scheme}.secret"));
        key_with_input(&["import", "-", "--output", &target], clear.out.as_bytes()).ok();
        assert_eq!(mode(&target), 0o600);
        assert_eq!(key(&["inspect", &target, "--scheme", scheme]).ok().out, own);
    }
}

#[test]
fn an_export_says_which_key_and_how_it_is_protected() {
    let place = Place::new();
    let keystore = place.path("keystore");
    for _ in 0..2 {
        key(&["rotate", "--keystore", &keystore]).ok();
    }
    let error = key(&[
        "export",
        "--purpose",
        "vote",
        "--keystore",
        &keystore,
        "--unencrypted",
    ])
    .error();
    assert!(
        error.contains("2 vote keys") && error.contains("--public"),
        "{error}"
    );
    let listed = key(&["list", "--keystore", &keystore, "--json"]).json();
    let public = listed[1]["publicKey"].as_str().unwrap();
    let arguments = [
        "export",
        "--purpose",
        "vote",
        "--keystore",
        &keystore,
        "--unencrypted",
        "--public",
        public,
    ];
    let exported = key(&arguments).json();
    let address = exported["address"].as_str().unwrap();
    assert_eq!(key(&["inspect", address]).ok().field("Public key"), public);
    let arguments = [
        "export",
        "--purpose",
        "vote",
        "--keystore",
        &keystore,
        "--unencrypted",
        "--public",
        ALICE,
    ];
    assert!(key(&arguments).error().contains("key list"));

    assert!(refused_by_parser(&["export", "--unencrypted"]).contains("--purpose"));
    assert!(refused_by_parser(&["export", "--suri", "//Alice"]).contains("--unencrypted"));
    refused_by_parser(&[
        "export",
        "--suri",
        "//Alice",
        "--purpose",
        "vote",
        "--unencrypted",
    ]);
    assert!(refused_by_parser(&["import", "file"]).contains("--output"));
}

#[test]
fn an_account_file_and_a_bare_key_are_not_mistaken_for_each_other() {
    let place = Place::new();
    let suri = place.file("suri", PHRASE);
    let account = key(&["export", "--suri", &suri, "--unencrypted"]).ok().out;
    let account = place.file("account.json", &account);
    let keystore = place.path("keystore");
    let error = key(&[
        "insert",
        "--keystore",
        &keystore,
        "--purpose",
        "vote",
        "--suri",
        &account,
    ])
    .error();
    assert!(error.contains("commonwatt key import"), "{error}");
    let error = key(&[
        "import",
        &suri,
        "--keystore",
        &keystore,
        "--purpose",
        "vote",
    ])
    .error();
    assert!(error.contains("commonwatt key insert"), "{error}");
    let error = key(&[
        "insert",
        "--keystore",
        &keystore,
        "--purpose",
        "vote",
        "--suri",
        ALICE_ADDRESS,
    ])
    .error();
    assert!(error.contains("cannot sign"), "{error}");
    assert!(!Path::new(&keystore).exists());
}
