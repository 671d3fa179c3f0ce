//! Secrets: key files, account files, and what people type.

use std::{
    fs::{self, OpenOptions},
    io::Write,
    os::unix::fs::OpenOptionsExt,
    path::PathBuf,
    sync::LazyLock,
};

use commonwatt_keystore::{
    Account, Keystore, NodeKey, Password, Purpose, Scheme, SecretUri, StoredKey, Zeroizing,
};
use sp_core::crypto::{AccountId32, Ss58Codec};

use crate::fixtures::scratch;

/// The password of the encrypted account files among the seeds.
pub const PASSWORD: &str = "correct horse battery";
/// One encrypted input of so many is opened: it takes half a second, on purpose.
const SEALED_PER_OPENED: u32 = 256;
/// Shorter pieces of a secret may turn up in an error by chance.
const TELLTALE_BYTES: usize = 8;

/// Returns a password.
pub fn password(text: &str) -> Password {
    Password::new(Zeroizing::new(text.to_owned())).expect("neither empty nor long")
}

/// An account file of polkadot.js: a key that is taken out can be put in again.
pub fn account_file(data: &[u8]) {
    let Ok(account) = Account::parse(data) else {
        return;
    };
    let is_encrypted = account.is_encrypted().expect("a parsed account says so");
    let opened = account.open(None);
    let opened = match is_encrypted {
        false => opened,
        true => {
            assert!(
                opened.is_err(),
                "an encrypted account opens without password"
            );
            if crc32c::crc32c(data) % SEALED_PER_OPENED != 0 {
                return;
            }
            account.open(Some(&password(PASSWORD)))
        }
    };
    let Ok(pair) = opened else {
        return;
    };
    let written = Account::new(&pair, None, account.name(), 42)
        .expect("in clear nothing random is needed")
        .to_json();
    let again = Account::parse(&written).expect("what was written can be read");
    assert_eq!(again.name(), account.name());
    let again = again.open(None).expect("what was written can be opened");
    assert_eq!(again.public(), pair.public());
}

/// Returns the secret whose keys the files of [`keystore_file`] are named after.
pub fn named_secret() -> SecretUri {
    SecretUri::parse("//Alice").expect("a development key")
}

/// A key file of a keystore, under the names of two keys: it holds that key, or it is refused.
pub fn keystore_file(data: &[u8]) {
    static FOLDER: LazyLock<(PathBuf, Vec<StoredKey>)> = LazyLock::new(|| {
        let folder = scratch().join("keystore");
        let keystore = Keystore::open(&folder, None).expect("an empty folder");
        for purpose in Purpose::ALL {
            keystore
                .insert(purpose, &named_secret())
                .expect("the folder can be written to");
        }
        let keys = keystore.list().expect("two keys");
        (folder, keys)
    });
    let (folder, keys) = &*FOLDER;
    for StoredKey { path, .. } in keys {
        let _ = fs::remove_file(path);
        OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)
            .and_then(|mut file| file.write_all(data))
            .expect("the folder can be written to");
    }
    let keystore = Keystore::open(folder, None).expect("a folder of its own");
    if let Ok(listed) = keystore.list() {
        assert_eq!(listed.len(), keys.len());
    }
    for key in keys {
        if let Ok(Some(found)) = keystore.pair(key.purpose, &key.public) {
            assert_eq!(found.public(), key.public);
        }
    }
    if let Err(error) = keystore.session_keys() {
        assert_hidden(&error.to_string(), data);
    }
}

/// What people type or give in files, as the first byte says: a secret, a node key, a password, an address. What is
/// accepted means the same when it is written and read again; an error never repeats a secret.
pub fn secret(data: &[u8]) {
    let Some((kind, bytes)) = data.split_first() else {
        return;
    };
    match kind % 4 {
        0 => match SecretUri::from_file_content(bytes) {
            Ok(secret) => {
                let again = SecretUri::parse(secret.expose()).expect("what was shown can be read");
                assert!(!format!("{secret:?}").contains(secret.expose()));
                for scheme in [Scheme::Ed25519, Scheme::Sr25519] {
                    let pairs = (secret.to_pair(scheme), again.to_pair(scheme));
                    match pairs {
                        (Ok(one), Ok(other)) => assert_eq!(one.public(), other.public()),
                        (Err(one), Err(other)) => assert_eq!(one, other),
                        _ => panic!("a secret and its copy are of two kinds"),
                    }
                }
            }
            Err(error) => assert_hidden(&error.to_string(), bytes),
        },
        1 => match NodeKey::parse(bytes) {
            Ok(key) => {
                let again = NodeKey::parse(key.to_hex().as_bytes()).expect("its own form");
                assert_eq!(again.peer_id(), key.peer_id());
            }
            Err(error) => assert_hidden(&error.to_string(), bytes),
        },
        2 => match Password::from_file_content(bytes) {
            Ok(password) => assert_eq!(format!("{password:?}"), "Password(hidden)"),
            Err(error) => assert_hidden(&error.to_string(), bytes),
        },
        _ => {
            if let Ok(text) = str::from_utf8(bytes)
                && let Ok((account, format)) = AccountId32::from_ss58check_with_version(text)
            {
                let again = account.to_ss58check_with_version(format);
                assert_eq!(AccountId32::from_ss58check(&again).ok(), Some(account));
            }
        }
    }
}

/// Checks that an error does not repeat what it is about.
fn assert_hidden(error: &str, secret: &[u8]) {
    let Ok(secret) = str::from_utf8(secret) else {
        return;
    };
    let secret = secret.trim();
    assert!(
        secret.len() < TELLTALE_BYTES || !error.contains(secret),
        "an error repeats the secret: {error}"
    );
}
