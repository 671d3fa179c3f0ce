//! No secret is ever shown.

use std::fmt::Debug;

use super::password;
use crate::{Account, Keystore, NodeKey, Purpose, Scheme, SecretUri};

/// Checks that a text holds no part of a secret that is too long to be there by chance.
fn verify_hides(shown: &str, secrets: &[&str]) {
    let shown = shown.to_lowercase();
    for secret in secrets {
        let secret = secret.trim_start_matches("0x").to_lowercase();
        let parts = secret.as_bytes().windows(secret.len().min(16));
        for part in parts {
            let part = str::from_utf8(part).unwrap();
            assert!(!shown.contains(part), "{shown:?} shows {part:?}");
        }
    }
}

fn shown(value: &dyn Debug) -> String {
    format!("{value:?} {value:#?} {value:x?} {value:X?}")
}

#[test]
fn no_debug_output_shows_a_secret() {
    let seed = "0x9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60";
    let bytes = hex::decode(&seed[2..]).unwrap();
    // The seed as a derived implementation would print it.
    let listed = format!("{:?}", &bytes[..8]);
    let listed = listed.trim_matches(['[', ']']);
    let word = "correct horse battery";
    let uri = SecretUri::parse(&format!("{seed}///{word}")).unwrap();
    let secret = password(word);
    verify_hides(&shown(&uri), &[seed, word, listed]);
    verify_hides(&shown(&secret), &[word]);
    verify_hides(&shown(&Some(secret.clone())), &[word]);

    for scheme in [Scheme::Ed25519, Scheme::Sr25519] {
        let pair = uri.to_pair(scheme).unwrap();
        let expanded = SecretUri::of_pair(&pair);
        verify_hides(&shown(&pair), &[seed, listed, expanded.expose()]);
        let account = Account::new(&pair, None, None, 42).unwrap();
        let json: serde_json::Value = serde_json::from_slice(&account.to_json()).unwrap();
        verify_hides(
            &shown(&account),
            &[json["encoded"].as_str().unwrap(), expanded.expose()],
        );
    }

    let node_key = NodeKey::from_seed(&bytes.try_into().unwrap());
    verify_hides(&shown(&node_key), &[seed, listed]);
    assert!(shown(&node_key).contains(&node_key.peer_id()));

    let folder = tempfile::tempdir().unwrap();
    let keystore = Keystore::open(folder.path().join("keys"), None).unwrap();
    keystore.insert(Purpose::Vote, &uri).unwrap();
    let shown_keys = shown(&keystore.session_keys().unwrap()) + &shown(&keystore.list().unwrap());
    verify_hides(&shown_keys, &[seed, listed, word]);
    let keystore = Keystore::open(folder.path().join("others"), Some(secret)).unwrap();
    verify_hides(&shown(&keystore), &[word]);
}

#[test]
fn no_error_repeats_the_secret_that_was_refused() {
    let phrase = "bottom drive obey lake curtain smoke basket hold race lonely fit walk";
    let wrong = [
        phrase.replace("obey", "obeyy"),
        phrase.replace("bottom drive", "drive bottom"),
        phrase.replace(" fit walk", ""),
        format!("{phrase}!//path"),
        format!("{phrase}//"),
        "0x9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f6g".to_owned(),
    ];
    for wrong in wrong {
        let error = SecretUri::parse(&wrong).unwrap_err();
        let words: Vec<_> = wrong.split(' ').collect();
        let pairs: Vec<_> = words.windows(2).map(|pair| pair.join(" ")).collect();
        let mut parts: Vec<_> = pairs.iter().map(String::as_str).collect();
        parts.push(&wrong);
        verify_hides(&format!("{error} {error:?}"), &parts);
    }
    let error = NodeKey::parse(b"9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f6g")
        .unwrap_err();
    verify_hides(
        &format!("{error} {error:?}"),
        &["9d61b19deffd5a60ba844af492ec2cc44449c5697b326919"],
    );
}
