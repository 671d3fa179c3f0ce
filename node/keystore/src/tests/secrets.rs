//! Secret URIs and the keys they stand for.

use sp_core::{Pair, ed25519, sr25519};

use super::{hexadecimal, scheme, vectors};
use crate::{KeyPair, Scheme, SecretError, SecretUri, WORD_COUNTS};

const PHRASE: &str = "bottom drive obey lake curtain smoke basket hold race lonely fit walk";

fn parse(text: &str) -> Result<SecretUri, SecretError> {
    SecretUri::parse(text)
}

fn refused(text: &str) -> SecretError {
    parse(text).unwrap_err()
}

#[test]
fn keys_are_those_that_polkadot_js_derives() {
    let vectors = vectors().keys;
    assert_eq!(vectors.len(), 25);
    for vector in vectors {
        let pair = parse(&vector.uri)
            .unwrap()
            .to_pair(scheme(&vector.scheme))
            .unwrap();
        assert_eq!(hexadecimal(&pair.public()), vector.public, "{}", vector.uri);
        assert!(vector.address.starts_with('5'));
    }
}

#[test]
fn keys_are_those_that_substrate_derives() {
    let seed = format!("0x{}", "5a".repeat(32));
    for root in ["", PHRASE, seed.as_str()] {
        for path in [
            "//Alice",
            "//a//2//c",
            "//x///password",
            "//18446744073709551616",
        ] {
            let uri = format!("{root}{path}");
            let ours = parse(&uri).unwrap();
            let pair = ours.to_pair(Scheme::Ed25519).unwrap();
            assert_eq!(
                pair.public(),
                ed25519::Pair::from_string(&uri, None).unwrap().public().0
            );
            let pair = ours.to_pair(Scheme::Sr25519).unwrap();
            assert_eq!(
                pair.public(),
                sr25519::Pair::from_string(&uri, None).unwrap().public().0
            );
        }
        let uri = format!("{root}/soft//hard/1");
        let pair = parse(&uri).unwrap().to_pair(Scheme::Sr25519).unwrap();
        assert_eq!(
            pair.public(),
            sr25519::Pair::from_string(&uri, None).unwrap().public().0
        );
    }
}

#[test]
fn signatures_are_good_in_substrates_eyes() {
    let KeyPair::Ed25519(vote) = parse("//Alice").unwrap().to_pair(Scheme::Ed25519).unwrap() else {
        panic!("asked for ed25519")
    };
    let signature = vote.sign(b"block 1");
    assert_eq!(signature, vote.to_pair().sign(b"block 1"));
    assert!(ed25519::Pair::verify(
        &signature,
        b"block 1",
        &vote.public()
    ));
    assert!(!ed25519::Pair::verify(
        &signature,
        b"block 2",
        &vote.public()
    ));

    let KeyPair::Sr25519(beacon) = parse("//Alice").unwrap().to_pair(Scheme::Sr25519).unwrap()
    else {
        panic!("asked for sr25519")
    };
    assert!(sr25519::Pair::verify(
        &beacon.sign(b"block 1"),
        b"block 1",
        &beacon.public()
    ));
}

#[test]
fn a_new_phrase_has_as_many_words_as_asked_for_and_is_read_back() {
    for words in WORD_COUNTS {
        let secret = SecretUri::generate_phrase(words).unwrap();
        assert_eq!(secret.expose().split(' ').count(), words);
        let again = parse(secret.expose()).unwrap();
        assert_eq!(
            again.to_pair(Scheme::Sr25519).unwrap().public(),
            secret.to_pair(Scheme::Sr25519).unwrap().public()
        );
    }
    assert_eq!(
        SecretUri::generate_phrase(13).unwrap_err(),
        SecretError::WordCount(13)
    );
    let [one, other] = [(); 2].map(|()| SecretUri::generate_seed().unwrap());
    assert_ne!(one.expose(), other.expose());
    assert_eq!(one.expose().len(), 66);
}

#[test]
fn an_expanded_key_stands_for_itself() {
    let pair = parse("//Alice/soft")
        .unwrap()
        .to_pair(Scheme::Sr25519)
        .unwrap();
    let secret = SecretUri::of_pair(&pair);
    assert_eq!(secret.expose().len(), 130);
    assert_eq!(
        secret.to_pair(Scheme::Sr25519).unwrap().public(),
        pair.public()
    );
    assert_eq!(
        secret.to_pair(Scheme::Ed25519).unwrap_err(),
        SecretError::ExpandedSeed
    );
}

#[test]
fn what_is_no_secret_is_refused_with_the_reason() {
    assert_eq!(refused("  \n"), SecretError::Empty);
    assert_eq!(refused(&"a".repeat(5_000)), SecretError::TooLong);
    assert_eq!(refused("bottom drive"), SecretError::WordCount(2));
    assert_eq!(
        refused(&PHRASE.replace("lake", "lakes")),
        SecretError::UnknownWord(4)
    );
    assert_eq!(
        refused(&PHRASE.replace("drive obey", "obey drive")),
        SecretError::Checksum
    );
    assert_eq!(
        refused(&PHRASE.replace(" race", "\nrace")),
        SecretError::Syntax
    );
    assert_eq!(refused(&format!("{PHRASE}//")), SecretError::Syntax);
    assert_eq!(
        refused(&format!("{PHRASE}{}", "//1".repeat(33))),
        SecretError::PathTooLong
    );
    for seed in [
        "0x",
        "0x12",
        "0xzz",
        &format!("0x{}", "1".repeat(63)),
        &format!("0x{}", "1".repeat(66)),
    ] {
        assert_eq!(refused(seed), SecretError::Seed, "{seed}");
    }
    assert_eq!(
        SecretUri::from_file_content(&[0xff, 0xfe]).unwrap_err(),
        SecretError::NotText
    );
    let soft = parse("//Alice/soft").unwrap();
    assert_eq!(
        soft.to_pair(Scheme::Ed25519).unwrap_err(),
        SecretError::SoftPath
    );
}

#[test]
fn development_keys_are_known_as_such() {
    for known in ["//Alice", "/soft", "///password", PHRASE] {
        assert!(parse(known).unwrap().is_well_known(), "{known}");
    }
    let own = SecretUri::generate_phrase(12).unwrap();
    assert!(!own.is_well_known());
}
