//! Signing transactions, and reading them back.

use codec::{DecodeAll, Encode};
use commonwatt_clearing::Side;
use commonwatt_keystore::KeyPair;
use commonwatt_primitives::{AccountId, Coin, Hash, Price, Step, Wh};
use commonwatt_runtime::{
    Address, RuntimeCall, UncheckedExtrinsic,
    transaction::{SigningContext, sign_with},
};
use pallet_double_auction::{Cap, OrderId, OrderTerms, When};
use sp_core::{Blake2Hasher, Hasher};
use sp_runtime::{
    MultiSignature,
    generic::{Era, Preamble},
};

use crate::{
    answers::OrderName,
    units::{CoinFormat, show_wh},
};

/// Longest transaction that is read: this wallet's own are a few hundred bytes.
pub const TRANSACTION_BYTES_MAX: usize = 64 * 1024;

/// A text is no transaction.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TransactionError {
    /// It is not written in hexadecimal.
    #[error(
        "this is no transaction: it must be 0x and hexadecimal digits, as `--offline` prints it"
    )]
    Hexadecimal,
    /// It is too long.
    #[error(
        "this is longer than {TRANSACTION_BYTES_MAX} bytes, so it is no transaction of a wallet"
    )]
    TooLong,
    /// It means nothing to this runtime.
    #[error(
        "the bytes are no transaction of this chain's present version ({0}): sign again with the wallet that came with it"
    )]
    Bytes(String),
    /// Nobody signed it.
    #[error("the transaction is not signed")]
    Unsigned,
}

/// A signed transaction.
#[derive(Clone, Debug)]
pub struct Signed {
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// Who signed it.
    pub signer: AccountId,
    /// What it does.
    pub call: RuntimeCall,
}

impl Signed {
    /// Signs a call.
    pub fn sign(call: RuntimeCall, nonce: u32, context: &SigningContext, pair: &KeyPair) -> Self {
        let signer = AccountId::new(pair.public());
        let sign = |payload: &[u8]| -> MultiSignature {
            match pair {
                KeyPair::Ed25519(pair) => pair.sign(payload).into(),
                KeyPair::Sr25519(pair) => pair.sign(payload).into(),
            }
        };
        let bytes = sign_with(call.clone(), nonce, 0, context, signer.clone(), sign).encode();
        Self {
            bytes,
            signer,
            call,
        }
    }

    /// Reads a transaction that was signed elsewhere.
    pub fn parse(text: &str) -> Result<Self, TransactionError> {
        let text = text.trim();
        let digits = text
            .strip_prefix("0x")
            .ok_or(TransactionError::Hexadecimal)?;
        if digits.len() / 2 > TRANSACTION_BYTES_MAX {
            return Err(TransactionError::TooLong);
        }
        let bytes = hex::decode(digits).map_err(|_| TransactionError::Hexadecimal)?;
        let decoded = UncheckedExtrinsic::decode_all(&mut &bytes[..])
            .map_err(|error| TransactionError::Bytes(error.to_string()))?;
        let Preamble::Signed(Address::Id(signer), _, _) = decoded.preamble else {
            return Err(TransactionError::Unsigned);
        };
        Ok(Self {
            bytes,
            signer,
            call: decoded.function,
        })
    }

    /// Returns it as nodes take it.
    pub fn to_hex(&self) -> String {
        format!("0x{}", hex::encode(&self.bytes))
    }

    /// Returns the hash by which it is known.
    pub fn hash(&self) -> Hash {
        Blake2Hasher::hash(&self.bytes)
    }
}

/// Returns what a transaction is valid for: for ever, or from block `birth` on, whose hash is given.
pub fn context_of(genesis_hash: Hash, era: Era, birth_hash: Hash) -> SigningContext {
    SigningContext {
        genesis_hash,
        era,
        era_hash: match era {
            Era::Immortal => genesis_hash,
            Era::Mortal(..) => birth_hash,
        },
    }
}

// ---------------------------------------------------------------------------------- calls

/// Returns the call that places an order.
pub fn place(terms: OrderTerms) -> RuntimeCall {
    RuntimeCall::DoubleAuction(pallet_double_auction::Call::place { terms })
}

/// Returns the call that takes an order back.
pub fn cancel(id: OrderId) -> RuntimeCall {
    RuntimeCall::DoubleAuction(pallet_double_auction::Call::cancel { id })
}

/// Returns the call that puts an order in the place of another.
pub fn replace(id: OrderId, limit: Price, units: u32) -> RuntimeCall {
    RuntimeCall::DoubleAuction(pallet_double_auction::Call::replace { id, limit, units })
}

/// Returns the call that sends coins, and leaves the sender enough to exist.
pub fn transfer(to: AccountId, value: Coin) -> RuntimeCall {
    RuntimeCall::Balances(pallet_balances::Call::transfer_keep_alive {
        dest: Address::Id(to),
        value,
    })
}

/// Returns to whom a call sends coins, and how many, if that is what it does.
pub fn transfer_in(call: &RuntimeCall) -> Option<(&AccountId, Coin)> {
    use pallet_balances::Call;
    match call {
        RuntimeCall::Balances(
            Call::transfer_keep_alive {
                dest: Address::Id(to),
                value,
            }
            | Call::transfer_allow_death {
                dest: Address::Id(to),
                value,
            },
        ) => Some((to, *value)),
        _ => None,
    }
}

/// Says what a call does.
pub fn describe(call: &RuntimeCall, coin: &CoinFormat, unit: Wh) -> String {
    use pallet_double_auction::Call;
    match call {
        RuntimeCall::DoubleAuction(Call::place { terms }) => describe_terms(terms, coin),
        RuntimeCall::DoubleAuction(Call::cancel { id }) => {
            format!("cancel order {}", OrderName(*id))
        }
        RuntimeCall::DoubleAuction(Call::replace { id, limit, units }) => {
            let price = coin.show_price(*limit, unit);
            let energy = show_units(*units, unit);
            format!("replace order {} by {energy} at {price}", OrderName(*id))
        }
        RuntimeCall::Balances(pallet_balances::Call::transfer_keep_alive {
            dest: Address::Id(to),
            value,
        }) => format!("send {} to {to}", coin.show(*value)),
        other => {
            use frame_support::traits::GetCallMetadata;
            let call = other.get_call_metadata();
            format!("{}.{}", call.pallet_name, call.function_name)
        }
    }
}

/// Returns the energy of so many units.
pub fn show_units(units: u32, unit: Wh) -> String {
    show_wh(u128::from(units).saturating_mul(u128::from(unit.0)))
}

/// Says what an order is.
pub fn describe_terms(terms: &OrderTerms, coin: &CoinFormat) -> String {
    let energy = show_units(terms.units, terms.unit);
    let price = coin.show_price(terms.limit, terms.unit);
    let what = match terms.side {
        Side::Buy => format!("buy up to {energy} for at most {price}"),
        Side::Sell => format!("sell up to {energy} for at least {price}"),
    };
    let cap = match terms.cap {
        Cap::Quantity => "",
        Cap::Need => ", no more than is needed,",
    };
    let when = match terms.when {
        When::Once(step) => format!("in step {step}"),
        When::Standing { until: None } => "in every step".to_owned(),
        When::Standing {
            until: Some(Step(step)),
        } => format!("in every step up to {step}"),
    };
    format!("{what}{cap} {when}")
}

/// Returns the most that a purchase can cost, which is what it puts on hold.
pub fn cost_of(limit: Price, units: u32) -> Coin {
    limit.saturating_mul(Coin::from(units))
}

/// Says what an order puts on hold, behind what it is.
pub fn describe_hold(terms: &OrderTerms, coin: &CoinFormat) -> String {
    let held = coin.show(cost_of(terms.limit, terms.units));
    match (terms.side, terms.when) {
        (Side::Sell, _) => String::new(),
        (Side::Buy, When::Once(_)) => format!("; {held} are put on hold for it"),
        (Side::Buy, When::Standing { .. }) => {
            format!("; {held} are put on hold for it in every step")
        }
    }
}

/// Says what a call could spend, which nobody can compare with a tariff offline; `None` when it spends nothing.
pub fn describe_stake(call: &RuntimeCall, coin: &CoinFormat) -> Option<String> {
    use pallet_double_auction::Call;
    let (who, total, when) = match call {
        RuntimeCall::DoubleAuction(Call::place { terms }) if terms.side == Side::Buy => {
            let when = match terms.when {
                When::Once(_) => "",
                When::Standing { .. } => " in every step",
            };
            ("It", cost_of(terms.limit, terms.units), when)
        }
        RuntimeCall::DoubleAuction(Call::replace { id, limit, units }) => {
            let when = if id.is_standing() {
                " in every step"
            } else {
                ""
            };
            ("If the order buys, it", cost_of(*limit, *units), when)
        }
        _ => return None,
    };
    Some(format!(
        "{who} can spend up to {}{when}. Whether the outer grid would take less is not known offline.",
        coin.show(total)
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use commonwatt_keystore::{Scheme, SecretUri};
    use sp_runtime::traits::Verify;

    const UNIT: Wh = Wh(10);

    fn pair(scheme: Scheme) -> KeyPair {
        SecretUri::parse("//Alice")
            .unwrap()
            .to_pair(scheme)
            .unwrap()
    }

    fn order() -> RuntimeCall {
        place(OrderTerms {
            side: Side::Buy,
            limit: 7,
            units: 150,
            unit: UNIT,
            when: When::Once(Step(12)),
            cap: Cap::Need,
        })
    }

    fn genesis() -> Hash {
        Hash::repeat_byte(0x11)
    }

    /// Both schemes: what is signed decodes as the runtime decodes it, and its signature is over the payload that the
    /// runtime checks.
    #[test]
    fn what_is_signed_offline_is_a_transaction_of_the_runtime() {
        let contexts = [
            SigningContext::immortal(genesis()),
            context_of(genesis(), Era::mortal(64, 1_000), Hash::repeat_byte(0x22)),
        ];
        for scheme in [Scheme::Ed25519, Scheme::Sr25519] {
            for context in &contexts {
                let key = pair(scheme);
                let signed = Signed::sign(order(), 5, context, &key);
                let read = Signed::parse(&signed.to_hex()).unwrap();
                assert_eq!(
                    (&read.signer, &read.call),
                    (&AccountId::new(key.public()), &order())
                );
                assert_eq!(read.hash(), signed.hash());
                let decoded = UncheckedExtrinsic::decode_all(&mut &signed.bytes[..]).unwrap();
                let Preamble::Signed(_, signature, extension) = decoded.preamble else {
                    panic!("it is signed");
                };
                assert_eq!(
                    extension,
                    commonwatt_runtime::transaction::extension(context.era, 5, 0)
                );
                let payload = sp_runtime::generic::SignedPayload::<RuntimeCall, _>::from_raw(
                    order(),
                    extension,
                    commonwatt_runtime::transaction::implicit(
                        context.genesis_hash,
                        context.era_hash,
                    ),
                );
                assert!(payload.using_encoded(|bytes| signature.verify(bytes, &read.signer)));
            }
        }
    }

    /// ed25519 signs alike each time, so the bytes are a vector.
    #[test]
    fn the_same_key_makes_the_same_bytes() {
        let context = SigningContext::immortal(genesis());
        let sign = || Signed::sign(order(), 5, &context, &pair(Scheme::Ed25519)).to_hex();
        assert_eq!(sign(), sign());
        let digits = sign();
        // Version 4, signed; then address, signature, an immortal era, nonce 5, no tip, and the order.
        let call = hex::encode(order().encode());
        assert!(digits.ends_with(&format!("001400{call}")), "{digits}");
        assert_eq!(call, "1700001c590228000c00000001");
    }

    #[test]
    fn other_chains_and_numbers_make_other_signatures() {
        let key = pair(Scheme::Ed25519);
        let sign = |genesis, nonce| {
            Signed::sign(order(), nonce, &SigningContext::immortal(genesis), &key).bytes
        };
        let one = sign(genesis(), 5);
        assert_ne!(one, sign(Hash::zero(), 5));
        assert_ne!(one, sign(genesis(), 6));
    }

    #[test]
    fn what_is_no_transaction_is_refused() {
        let parse = |text: &str| Signed::parse(text).unwrap_err();
        assert_eq!(parse(""), TransactionError::Hexadecimal);
        assert_eq!(parse("0x1"), TransactionError::Hexadecimal);
        assert_eq!(parse("0xzz"), TransactionError::Hexadecimal);
        assert!(matches!(parse("0x0102"), TransactionError::Bytes(_)));
        let long = format!("0x{}", "00".repeat(TRANSACTION_BYTES_MAX + 1));
        assert_eq!(parse(&long), TransactionError::TooLong);
        let bare = UncheckedExtrinsic::new_bare(order()).encode();
        assert_eq!(
            parse(&format!("0x{}", hex::encode(bare))),
            TransactionError::Unsigned
        );
        // Something behind it.
        let context = SigningContext::immortal(genesis());
        let mut text = Signed::sign(order(), 5, &context, &pair(Scheme::Ed25519)).to_hex();
        text.push_str("00");
        assert!(matches!(parse(&text), TransactionError::Bytes(_)));
    }

    #[test]
    fn calls_are_told_in_words() {
        let coin = CoinFormat::default();
        let told = |call: &RuntimeCall| describe(call, &coin, UNIT);
        assert_eq!(
            told(&order()),
            "buy up to 1.5kWh for at most 7 uCWC/10Wh, no more than is needed, in step 12"
        );
        let id = OrderId::standing(3);
        assert_eq!(told(&cancel(id)), "cancel order standing-3");
        assert_eq!(
            told(&replace(id, 8, 5)),
            "replace order standing-3 by 50Wh at 8 uCWC/10Wh"
        );
        assert_eq!(transfer_in(&cancel(id)), None);
        let to = AccountId::new([0; 32]);
        let sent = transfer(to.clone(), 2_500_000);
        assert_eq!(transfer_in(&sent), Some((&to, 2_500_000)));
        assert!(told(&transfer(to, 2_500_000)).starts_with("send 2.5 CWC to 5C4hrf"));
        let stake = |call: &RuntimeCall| describe_stake(call, &coin);
        assert!(
            stake(&order())
                .unwrap()
                .starts_with("It can spend up to 1050 uCWC. ")
        );
        let replaced = stake(&replace(id, 8, 5)).unwrap();
        assert!(
            replaced.starts_with("If the order buys, it can spend up to 40 uCWC in every step."),
            "{replaced}"
        );
        assert_eq!(stake(&cancel(id)), None);
        let remark = RuntimeCall::System(frame_system::Call::remark { remark: Vec::new() });
        assert_eq!(told(&remark), "System.remark");
    }
}
