//! Tests of the crate as a whole; `vectors/polkadot-js.json` was made by the real @polkadot/keyring.

mod accounts;
mod files;
mod keystore;
mod secrecy;
mod secrets;

use serde::Deserialize;
use serde_json::Value;
use zeroize::Zeroizing;

use crate::{Password, Scheme};

#[derive(Deserialize)]
struct Vectors {
    keys: Vec<KeyVector>,
    accounts: Vec<AccountVector>,
}

#[derive(Deserialize)]
struct KeyVector {
    uri: String,
    scheme: String,
    public: String,
    address: String,
}

#[derive(Deserialize)]
struct AccountVector {
    uri: String,
    scheme: String,
    password: Option<String>,
    public: String,
    account: Value,
}

fn vectors() -> Vectors {
    serde_json::from_str(include_str!("../vectors/polkadot-js.json")).unwrap()
}

fn scheme(name: &str) -> Scheme {
    name.parse().unwrap()
}

fn password(text: &str) -> Password {
    Password::new(Zeroizing::new(text.to_owned())).unwrap()
}

fn hexadecimal(bytes: &[u8]) -> String {
    format!("0x{}", hex::encode(bytes))
}
