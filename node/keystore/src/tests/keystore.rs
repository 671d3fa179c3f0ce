//! The keystore and the node key.

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use sp_core::{Pair, crypto::VrfSecret, ed25519, sr25519};
use tempfile::TempDir;

use super::password;
use crate::{
    FileError, Keystore, KeystoreError, NodeKey, NodeKeyError, Protection, Purpose, Scheme,
    SecretUri,
};

fn open(folder: &TempDir, with: Option<&str>) -> Keystore {
    Keystore::open(path(folder), with.map(password)).unwrap()
}

fn path(folder: &TempDir) -> PathBuf {
    folder.path().join("chains/dev/keystore")
}

fn alice() -> SecretUri {
    SecretUri::parse("//Alice").unwrap()
}

fn vote() -> ed25519::Public {
    ed25519::Pair::from_string("//Alice", None)
        .unwrap()
        .public()
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

#[test]
fn files_are_named_and_filled_as_substrate_does() {
    let folder = tempfile::tempdir().unwrap();
    let keystore = open(&folder, None);
    assert_eq!(keystore.insert(Purpose::Vote, &alice()).unwrap(), vote().0);
    let name = "766f746588dc3417d5058ec4b4503e0c12ea1a0a89be200fe98922423d4334014fa6b0ee";
    let file = path(&folder).join(name);
    assert_eq!(fs::read_to_string(&file).unwrap(), "\"//Alice\"");
    assert_eq!(mode(&file), 0o600);
    assert_eq!(mode(&path(&folder)), 0o700);
    let beacon = keystore.insert(Purpose::Beacon, &alice()).unwrap();
    assert!(
        path(&folder)
            .join(format!("6265636e{}", hex::encode(beacon)))
            .exists()
    );
}

#[test]
fn a_stored_key_signs() {
    for with in [None, Some("password")] {
        let folder = tempfile::tempdir().unwrap();
        let keystore = open(&folder, with);
        let keys = keystore.rotate().unwrap();
        let (vote, beacon) = open(&folder, with).session_pair(&keys).unwrap();
        assert!(ed25519::Pair::verify(
            &vote.sign(b"vote"),
            b"vote",
            &keys.vote
        ));
        let input = sr25519::vrf::VrfTranscript::new(b"beacon", &[]).into_sign_data();
        let proof = beacon.as_pair().vrf_sign(&input);
        assert!(sp_core::crypto::VrfPublic::vrf_verify(
            &keys.beacon,
            &input,
            &proof
        ));
        let pairs = keystore.session_keys().unwrap();
        assert_eq!((pairs.vote.len(), pairs.beacon.len()), (1, 1));
    }
}

#[test]
fn rotation_keeps_the_old_keys() {
    let folder = tempfile::tempdir().unwrap();
    let keystore = open(&folder, None);
    let old = keystore.rotate().unwrap();
    let new = keystore.rotate().unwrap();
    assert_ne!(old, new);
    assert!(keystore.session_pair(&old).is_ok() && keystore.session_pair(&new).is_ok());
    let listed = keystore.list().unwrap();
    assert_eq!(listed.len(), 4);
    assert!(listed.is_sorted_by_key(|key| (key.purpose, key.public)));
}

#[test]
fn a_key_is_never_overwritten() {
    let folder = tempfile::tempdir().unwrap();
    let keystore = open(&folder, None);
    keystore.insert(Purpose::Vote, &alice()).unwrap();
    let file = keystore.list().unwrap().remove(0).path;
    let before = fs::read(&file).unwrap();
    for with in [None, Some("password")] {
        let error = open(&folder, with)
            .insert(Purpose::Vote, &alice())
            .unwrap_err();
        assert!(matches!(error, KeystoreError::Exists { .. }), "{error}");
        assert_eq!(fs::read(&file).unwrap(), before);
    }
    // The same account is another key for another purpose.
    let pair = alice().to_pair(Scheme::Ed25519).unwrap();
    let error = keystore.insert_pair(Purpose::Beacon, &pair).unwrap_err();
    assert!(
        matches!(error, KeystoreError::WrongScheme { .. }),
        "{error}"
    );
    assert_eq!(keystore.list().unwrap().len(), 1);
}

#[test]
fn a_removed_key_is_gone_and_missed_with_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let keystore = open(&folder, None);
    let keys = keystore.rotate().unwrap();
    assert!(keystore.remove(Purpose::Beacon, &keys.beacon.0).unwrap());
    assert!(!keystore.remove(Purpose::Beacon, &keys.beacon.0).unwrap());
    assert!(keystore.beacon_pair(&keys.beacon).unwrap().is_none());
    let error = keystore.session_pair(&keys).unwrap_err().to_string();
    assert!(
        error.contains("beacon key 0x") && error.contains("commonwatt key insert"),
        "{error}"
    );
}

#[test]
fn encrypted_keys_open_with_their_password_only() {
    let folder = tempfile::tempdir().unwrap();
    open(&folder, Some("right"))
        .insert(Purpose::Vote, &alice())
        .unwrap();
    let listed = open(&folder, None).list().unwrap();
    assert_eq!(listed[0].protection, Protection::Password);
    let text = fs::read_to_string(&listed[0].path).unwrap();
    assert!(
        !text.contains("Alice") && text.contains("xsalsa20-poly1305"),
        "{text}"
    );

    assert!(
        open(&folder, Some("right"))
            .vote_pair(&vote())
            .unwrap()
            .is_some()
    );
    let error = open(&folder, Some("wrong")).vote_pair(&vote()).unwrap_err();
    assert!(matches!(error, KeystoreError::WrongPassword(_)), "{error}");
    let error = open(&folder, None).vote_pair(&vote()).unwrap_err();
    assert!(error.to_string().contains("--password-file"), "{error}");

    // A mistyped or forgotten password makes no key that nobody could open beside the others.
    for with in [None, Some("wrong")] {
        assert!(open(&folder, with).generate(Purpose::Beacon).is_err());
    }
    assert_eq!(open(&folder, None).list().unwrap().len(), 1);
    open(&folder, Some("right"))
        .generate(Purpose::Beacon)
        .unwrap();
}

#[test]
fn keys_in_clear_stay_readable_when_a_password_is_introduced() {
    let folder = tempfile::tempdir().unwrap();
    open(&folder, None).insert(Purpose::Vote, &alice()).unwrap();
    let keystore = open(&folder, Some("password"));
    assert!(keystore.vote_pair(&vote()).unwrap().is_some());
    keystore.generate(Purpose::Vote).unwrap();
    let protections: Vec<_> = keystore
        .list()
        .unwrap()
        .into_iter()
        .map(|key| key.protection)
        .collect();
    assert!(
        protections.contains(&Protection::Clear) && protections.contains(&Protection::Password)
    );
}

#[test]
fn files_and_folders_that_others_can_reach_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let keystore = open(&folder, None);
    keystore.insert(Purpose::Vote, &alice()).unwrap();
    let file = keystore.list().unwrap().remove(0).path;
    set_mode(&file, 0o644);
    for error in [
        keystore.vote_pair(&vote()).unwrap_err(),
        keystore.list().unwrap_err(),
    ] {
        assert!(
            matches!(error, KeystoreError::File(FileError::Exposed { .. })),
            "{error}"
        );
        assert!(error.to_string().contains("chmod 600"), "{error}");
    }
    set_mode(&file, 0o600);
    set_mode(&path(&folder), 0o770);
    let error = Keystore::open(path(&folder), None).unwrap_err().to_string();
    assert!(error.contains("chmod 700"), "{error}");
    let error = Keystore::open(&file, None).unwrap_err();
    assert!(
        matches!(error, KeystoreError::File(FileError::NotAFile(_))),
        "{error}"
    );
}

#[test]
fn a_key_under_another_keys_name_is_damage() {
    let folder = tempfile::tempdir().unwrap();
    let keystore = open(&folder, None);
    let keys = keystore.rotate().unwrap();
    let listed = keystore.list().unwrap();
    let own = fs::read(&listed[0].path).unwrap();
    for content in [
        &b"\"//Alice\""[..],
        b"\"no secret\"",
        b"",
        b"0x00",
        b"{}",
        b"\"unfinished",
    ] {
        fs::write(&listed[0].path, content).unwrap();
        let error = keystore.vote_pair(&keys.vote).unwrap_err();
        assert!(matches!(error, KeystoreError::Damaged { .. }), "{error}");
        let error = error.to_string();
        assert!(
            error.contains("restore it from a copy") && !error.contains("unfinished"),
            "{error}"
        );
    }
    fs::write(&listed[0].path, own).unwrap();
    assert!(keystore.vote_pair(&keys.vote).unwrap().is_some());
}

#[test]
fn other_files_in_the_folder_are_left_aside() {
    let folder = tempfile::tempdir().unwrap();
    let keystore = open(&folder, None);
    keystore.insert(Purpose::Vote, &alice()).unwrap();
    let name = keystore.list().unwrap()[0]
        .path
        .file_name()
        .unwrap()
        .to_str()
        .unwrap()
        .to_owned();
    for other in [
        "README".to_owned(),
        name.to_uppercase(),
        format!("{name}.old"),
        name.replace("766f7465", "61757261"),
    ] {
        fs::write(path(&folder).join(other), "x").unwrap();
    }
    assert_eq!(keystore.list().unwrap().len(), 1);
    assert_eq!(keystore.session_keys().unwrap().vote.len(), 1);
}

#[test]
fn a_keystore_that_cannot_be_written_says_so_and_keeps_nothing_half() {
    let folder = tempfile::tempdir().unwrap();
    let keystore = open(&folder, None);
    fs::remove_dir(path(&folder)).unwrap();
    let error = keystore.generate(Purpose::Vote).unwrap_err().to_string();
    assert!(error.contains(path(&folder).to_str().unwrap()), "{error}");
}

#[test]
fn a_full_keystore_is_listed_and_takes_no_other_key() {
    let folder = tempfile::tempdir().unwrap();
    let keystore = open(&folder, None);
    let write = |number: u16| {
        let secret = SecretUri::parse(&format!("0x{number:064x}")).unwrap();
        let public = secret.to_pair(Scheme::Ed25519).unwrap().public();
        let file = path(&folder).join(format!("766f7465{}", hex::encode(public)));
        fs::write(&file, format!("\"{}\"", secret.expose())).unwrap();
        set_mode(&file, 0o600);
    };
    (1..=1_023).for_each(write);
    // Half of a rotation would help nobody.
    let error = keystore.rotate().unwrap_err();
    assert!(
        matches!(error, KeystoreError::Full { more: 2, .. }),
        "{error}"
    );
    keystore.insert(Purpose::Vote, &alice()).unwrap();
    fs::write(path(&folder).join("README"), "x").unwrap();
    assert_eq!(keystore.list().unwrap().len(), 1_024);
    let error = keystore.generate(Purpose::Vote).unwrap_err();
    assert!(
        matches!(error, KeystoreError::Full { keys: 1_024, .. }),
        "{error}"
    );
    assert!(error.to_string().contains("move those"), "{error}");
    assert_eq!(keystore.list().unwrap().len(), 1_024);
    write(1_024);
    let error = keystore.list().unwrap_err();
    assert!(matches!(error, KeystoreError::TooMany(_)), "{error}");
}

#[test]
fn the_peer_id_is_the_one_libp2p_gives() {
    // Substrate's documentation: the node key 1 and its peer id.
    let mut seed = [0; 32];
    seed[31] = 1;
    let key = NodeKey::from_seed(&seed);
    assert_eq!(
        key.peer_id(),
        "12D3KooWEyoppNCUx8Yx66oV9fJnriXwCcXwDDUA2kj6vnc6iDEp"
    );
    // The key of the libp2p specification of peer ids, with its public key in protobuf after the multihash's head.
    let seed =
        hex::decode("7e0830617c4a7de83925dfb2694556b12936c477a0e1feb2e148ec9da60fee7d").unwrap();
    let key = NodeKey::from_seed(&seed.try_into().unwrap());
    let peer_id = bs58::decode(key.peer_id()).into_vec().unwrap();
    assert_eq!(
        hex::encode(peer_id),
        "0024080112201ed1e8fae2c4a144b8be8fd4b47bf3d3b34b871c3cacf6010f0e42d474fce27e"
    );
}

#[test]
fn a_node_key_is_kept_and_never_overwritten() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("chains/dev/network/secret_ed25519");
    assert!(NodeKey::read(&file).unwrap().is_none());
    let key = NodeKey::generate().unwrap();
    key.write(&file).unwrap();
    assert_eq!(mode(&file), 0o600);
    assert_eq!(mode(file.parent().unwrap()), 0o700);
    assert_eq!(
        NodeKey::read(&file).unwrap().unwrap().peer_id(),
        key.peer_id()
    );
    let other = NodeKey::generate().unwrap();
    assert!(matches!(
        other.write(&file),
        Err(NodeKeyError::File(FileError::Exists(_)))
    ));
    assert_eq!(
        NodeKey::read(&file).unwrap().unwrap().peer_id(),
        key.peer_id()
    );
    // As other tools write it: the bytes themselves, with 0x, with a newline.
    for content in [
        key.to_seed().to_vec(),
        format!("0x{}\n", *key.to_hex()).into_bytes(),
    ] {
        fs::write(&file, content).unwrap();
        assert_eq!(
            NodeKey::read(&file).unwrap().unwrap().peer_id(),
            key.peer_id()
        );
    }
    // Half a key, or one that was cut to 32 characters, is no key of 32 bytes.
    for content in [
        "something else",
        &key.to_hex()[..32],
        &format!("0x{}", &key.to_hex()[..30]),
        &" ".repeat(32),
    ] {
        fs::write(&file, content).unwrap();
        let error = NodeKey::read(&file).unwrap_err().to_string();
        assert!(error.contains("generate-node-key"), "{error}");
    }
    set_mode(&file, 0o640);
    assert!(
        NodeKey::read(&file)
            .unwrap_err()
            .to_string()
            .contains("chmod 600")
    );
}
