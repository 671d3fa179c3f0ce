//! Account files, against those of the real polkadot.js.

use serde_json::{Value, json};

use super::{hexadecimal, password, scheme, vectors};
use crate::{Account, AccountError, Scheme, SecretUri};

fn account(value: &Value) -> Result<Account, AccountError> {
    Account::parse(value.to_string().as_bytes())
}

/// Returns the account file of //Alice in clear, as polkadot.js wrote it.
fn clear() -> Value {
    let vector = vectors()
        .accounts
        .into_iter()
        .find(|vector| vector.password.is_none());
    vector.unwrap().account
}

/// Returns one under the password `earlier`, which is quick to open.
fn sealed() -> Value {
    let vector = vectors()
        .accounts
        .into_iter()
        .find(|vector| vector.password.as_deref() == Some("earlier"));
    vector.unwrap().account
}

#[test]
fn account_files_of_polkadot_js_are_read() {
    let vectors = vectors().accounts;
    assert_eq!(vectors.len(), 11);
    for vector in vectors {
        let file = account(&vector.account).unwrap();
        assert_eq!(file.is_encrypted().unwrap(), vector.password.is_some());
        let pair = file
            .open(vector.password.as_deref().map(password).as_ref())
            .unwrap();
        assert_eq!(hexadecimal(&pair.public()), vector.public, "{}", vector.uri);
        assert_eq!(pair.scheme(), scheme(&vector.scheme));
        assert_eq!(
            file.name(),
            Some(if vector.password.as_deref() == Some("earlier") {
                "earlier"
            } else {
                "member 7"
            })
        );
        // The secret part is the right one, too.
        let own = SecretUri::parse(&vector.uri)
            .unwrap()
            .to_pair(pair.scheme())
            .unwrap();
        assert_eq!(
            SecretUri::of_pair(&pair).expose(),
            SecretUri::of_pair(&own).expose()
        );
    }
}

#[test]
fn files_in_clear_are_those_of_polkadot_js_to_the_byte() {
    for vector in vectors()
        .accounts
        .iter()
        .filter(|vector| vector.password.is_none())
    {
        let pair = SecretUri::parse(&vector.uri)
            .unwrap()
            .to_pair(scheme(&vector.scheme))
            .unwrap();
        let ours = Account::new(&pair, None, Some("member 7"), 42).unwrap();
        let ours: Value = serde_json::from_slice(&ours.to_json()).unwrap();
        assert_eq!(ours, vector.account);
    }
}

#[test]
fn a_sealed_file_opens_with_its_password_only() {
    let password = password;
    for scheme in [Scheme::Ed25519, Scheme::Sr25519] {
        let pair = SecretUri::generate_seed().unwrap().to_pair(scheme).unwrap();
        let file = Account::new(&pair, Some(&password("right")), None, 42).unwrap();
        let file = Account::parse(&file.to_json()).unwrap();
        assert_eq!(
            file.open(Some(&password("right"))).unwrap().public(),
            pair.public()
        );
        assert!(matches!(
            file.open(Some(&password("wrong"))),
            Err(AccountError::WrongPassword)
        ));
        assert!(matches!(file.open(None), Err(AccountError::PasswordNeeded)));
    }
}

#[test]
fn a_file_cannot_ask_for_more_work_than_polkadot_js_does() {
    use base64::{Engine, engine::general_purpose::STANDARD};
    for (place, value) in [
        (32, 1u32 << 30),
        (32, 1 << 12),
        (32, 0),
        (36, 1 << 20),
        (36, 0),
        (40, 1 << 16),
    ] {
        let mut file = sealed();
        let mut bytes = STANDARD.decode(file["encoded"].as_str().unwrap()).unwrap();
        bytes[place..place + 4].copy_from_slice(&value.to_le_bytes());
        file["encoded"] = STANDARD.encode(bytes).into();
        let opened = account(&file).unwrap().open(Some(&password("earlier")));
        assert!(matches!(opened, Err(AccountError::Cost)), "{opened:?}");
    }
}

#[test]
fn a_changed_file_is_refused() {
    use base64::{Engine, engine::general_purpose::STANDARD};
    let change = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut file = clear();
        let mut bytes = STANDARD.decode(file["encoded"].as_str().unwrap()).unwrap();
        change(&mut bytes);
        file["encoded"] = STANDARD.encode(bytes).into();
        account(&file).unwrap().open(None)
    };
    assert!(change(&|_| ()).is_ok());
    for place in [0, 20, 80, 100] {
        let opened = change(&|bytes| bytes[place] ^= 1);
        assert!(
            matches!(opened, Err(AccountError::Damaged(_))),
            "byte {place}: {opened:?}"
        );
    }
    for length in [0, 15, 16, 79, 85, 116] {
        let opened = change(&|bytes| bytes.truncate(length));
        assert!(
            matches!(opened, Err(AccountError::Damaged(_))),
            "{length} bytes: {opened:?}"
        );
    }
    assert!(change(&|bytes| bytes.push(0)).is_err());

    let mut file = clear();
    file["address"] = "5GrwvaEF5zXb26Fz9rcQpDWS57CtERHpNehXCPcNoHGKutQY".into();
    assert!(matches!(
        account(&file).unwrap().open(None),
        Err(AccountError::Damaged(_))
    ));
    file["encoded"] = "not base64!".into();
    assert!(matches!(
        account(&file).unwrap().open(None),
        Err(AccountError::Damaged(_))
    ));
    let mut file = sealed();
    file["encoded"] = STANDARD.encode([0; 83]).into();
    assert!(
        account(&file)
            .unwrap()
            .open(Some(&password("earlier")))
            .is_err()
    );
}

#[test]
fn other_kinds_of_files_are_refused_with_what_to_do() {
    let refused = |change: &dyn Fn(&mut Value)| {
        let mut file = clear();
        change(&mut file);
        account(&file).unwrap_err().to_string()
    };
    let error = refused(&|file| file["encoding"]["version"] = "2".into());
    assert!(
        error.contains("version 2") && error.contains("export it anew"),
        "{error}"
    );
    let error = refused(&|file| file["encoding"]["content"] = json!(["pkcs8", "ethereum"]));
    assert!(
        error.contains("ethereum") && error.contains("ed25519 and sr25519"),
        "{error}"
    );
    let error = refused(&|file| file["encoding"]["content"] = json!(["batch-pkcs8"]));
    assert!(error.contains("batch-pkcs8"), "{error}");
    let error = refused(&|file| file["encoding"]["type"] = json!(["xsalsa20-poly1305"]));
    assert!(error.contains("xsalsa20-poly1305"), "{error}");
    let error = refused(&|file| *file = json!([]));
    assert!(error.contains("one account a file"), "{error}");
}

/// One salt in 4 096 begins like this.
#[test]
fn base64_that_begins_like_hexadecimal_is_base64() {
    let mut value = sealed();
    let encoded = value["encoded"].as_str().unwrap().to_owned();
    value["encoded"] = format!("0x{}", &encoded[2..]).into();
    let error = account(&value)
        .unwrap()
        .open(Some(&password("earlier")))
        .unwrap_err();
    assert!(matches!(error, AccountError::WrongPassword), "{error}");
}
