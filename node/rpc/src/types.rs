//! What calls take and give, where neither Substrate's types nor the runtime's serve as they are.

use commonwatt_primitives::{AccountId, MeterId, Step, Wh};
use pallet_transaction_payment::{FeeDetails, InclusionFee};
use pallet_virtual_meter::{Trace, VgmEntry};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
pub(crate) use sp_core::Bytes;
use sp_core::{H256, bytes::from_hex, crypto::Ss58Codec};

/// One of something, or a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub(crate) enum OneOrMany<T> {
    /// One.
    One(T),
    /// A list.
    Many(Vec<T>),
}

/// A block number: as a number, or big-endian in hexadecimal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BlockNumber(pub(crate) u32);

impl<'de> Deserialize<'de> for BlockNumber {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Written {
            Number(u64),
            Hexadecimal(String),
        }
        let number = match Written::deserialize(deserializer)? {
            Written::Number(number) => Some(number),
            Written::Hexadecimal(text) => text
                .strip_prefix("0x")
                .filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()))
                .and_then(|digits| u64::from_str_radix(digits, 16).ok()),
        };
        number.and_then(|number| u32::try_from(number).ok()).map(Self).ok_or_else(|| {
            D::Error::custom("a block number is 0 to 4294967295, or the same in hexadecimal such as \"0x2a\"")
        })
    }
}

/// An account: in SS58, or its 32 bytes in hexadecimal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Account(pub(crate) AccountId);

impl<'de> Deserialize<'de> for Account {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let account = if text.starts_with("0x") {
            from_hex(&text)
                .ok()
                .and_then(|bytes| <[u8; 32]>::try_from(bytes).ok())
                .map(AccountId::new)
        } else {
            AccountId::from_ss58check(&text).ok()
        };
        account.map(Self).ok_or_else(|| {
            D::Error::custom(format!(
                "{text:?} is no account: give its SS58 address, or its 32 bytes in hexadecimal"
            ))
        })
    }
}

/// A block with the proof that it is final.
#[derive(Serialize)]
pub(crate) struct SignedBlock {
    pub(crate) block: Block,
    /// Engine and proof, both as lists of bytes: Substrate's shape.
    pub(crate) justifications: Option<Vec<([u8; 4], Vec<u8>)>>,
}

/// A block.
#[derive(Serialize)]
pub(crate) struct Block {
    pub(crate) header: commonwatt_runtime::Header,
    pub(crate) extrinsics: Vec<Bytes>,
}

/// Values as they were at a block.
#[derive(Serialize)]
pub(crate) struct StorageChangeSet {
    pub(crate) block: H256,
    pub(crate) changes: Vec<(Bytes, Option<Bytes>)>,
}

/// Trie nodes that prove what a state holds.
#[derive(Serialize)]
pub(crate) struct ReadProof {
    pub(crate) at: H256,
    pub(crate) proof: Vec<Bytes>,
}

/// How the node is connected.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Health {
    pub(crate) peers: u32,
    pub(crate) is_syncing: bool,
    pub(crate) should_have_peers: bool,
}

/// How far the node is.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SyncState {
    pub(crate) starting_block: u32,
    pub(crate) current_block: u32,
    pub(crate) highest_block: u32,
}

/// A 128-bit number in hexadecimal, as Substrate gives fees.
pub(crate) struct HexNumber(u128);

impl Serialize for HexNumber {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{:#x}", self.0))
    }
}

/// The parts of a fee.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct FeeDetailsJson {
    inclusion_fee: Option<InclusionFeeJson>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct InclusionFeeJson {
    base_fee: HexNumber,
    len_fee: HexNumber,
    adjusted_weight_fee: HexNumber,
}

impl From<FeeDetails<u128>> for FeeDetailsJson {
    fn from(details: FeeDetails<u128>) -> Self {
        let inclusion_fee = details.inclusion_fee.map(
            |InclusionFee {
                 base_fee,
                 len_fee,
                 adjusted_weight_fee,
             }| InclusionFeeJson {
                base_fee: HexNumber(base_fee),
                len_fee: HexNumber(len_fee),
                adjusted_weight_fee: HexNumber(adjusted_weight_fee),
            },
        );
        Self { inclusion_fee }
    }
}

/// The virtual generation meter of an account in a step.
#[derive(Serialize)]
pub(crate) struct AllocationJson {
    account: AccountId,
    #[serde(flatten)]
    entry: VgmEntry,
}

impl From<(AccountId, VgmEntry)> for AllocationJson {
    fn from((account, entry): (AccountId, VgmEntry)) -> Self {
        Self { account, entry }
    }
}

/// From which generators a member's energy came.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct TraceJson {
    step: Step,
    version: u32,
    member: AccountId,
    allocated: Wh,
    from: Vec<Origin>,
    bought: Wh,
    sold: Wh,
    net_wh: SignedNumber,
}

/// What one generator contributed.
#[derive(Serialize)]
struct Origin {
    meter: MeterId,
    energy: Wh,
}

impl From<Trace<AccountId>> for TraceJson {
    fn from(trace: Trace<AccountId>) -> Self {
        let Trace {
            step,
            version,
            member,
            allocated,
            from,
            bought,
            sold,
            net_wh,
        } = trace;
        let from = from
            .into_iter()
            .map(|(meter, energy)| Origin { meter, energy })
            .collect();
        let net_wh = SignedNumber(net_wh);
        Self {
            step,
            version,
            member,
            allocated,
            from,
            bought,
            sold,
            net_wh,
        }
    }
}

/// A signed number: a JSON number when it fits into 64 bits, its decimal digits as a string otherwise.
struct SignedNumber(i128);

impl Serialize for SignedNumber {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match i64::try_from(self.0) {
            Ok(number) => serializer.serialize_i64(number),
            Err(_) => serializer.collect_str(&self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{from_value, json, to_value};

    #[test]
    fn block_numbers_come_as_numbers_and_in_hexadecimal() {
        let read = |value| from_value::<BlockNumber>(value).ok().map(|number| number.0);
        assert_eq!(read(json!(42)), Some(42));
        assert_eq!(read(json!("0x2a")), Some(42));
        assert_eq!(read(json!("0x0000002a")), Some(42));
        for bad in [
            json!("42"),
            json!("0x"),
            json!("0x+1"),
            json!(-1),
            json!(1u64 << 32),
            json!([]),
        ] {
            assert_eq!(read(bad.clone()), None, "{bad}");
        }
    }

    #[test]
    fn accounts_come_in_ss58_and_in_hexadecimal() {
        let alice = "5GrwvaEF5zXb26Fz9rcQpDWS57CtERHpNehXCPcNoHGKutQY";
        let hexadecimal = "0xd43593c715fdd31c61141abd04a99fd6822c8558854ccde39a5684e7a56da27d";
        let read = |value| from_value::<Account>(value).map(|account| account.0);
        let account = read(json!(alice)).expect("an address");
        assert_eq!(read(json!(hexadecimal)).expect("32 bytes"), account);
        assert!(read(json!("5Grwva")).is_err());
        assert!(read(json!("0x1234")).is_err());
    }

    #[test]
    fn signed_numbers_are_strings_only_when_they_are_long() {
        assert_eq!(to_value(SignedNumber(-5)).expect("JSON"), json!(-5));
        let long = i128::from(i64::MAX) + 1;
        assert_eq!(
            to_value(SignedNumber(long)).expect("JSON"),
            json!("9223372036854775808")
        );
    }

    #[test]
    fn fees_are_in_hexadecimal() {
        let details = FeeDetails {
            inclusion_fee: Some(InclusionFee {
                base_fee: 255,
                len_fee: 0,
                adjusted_weight_fee: 1,
            }),
            tip: 9,
        };
        assert_eq!(
            to_value(FeeDetailsJson::from(details)).expect("JSON"),
            json!({ "inclusionFee": { "baseFee": "0xff", "lenFee": "0x0", "adjustedWeightFee": "0x1" } })
        );
    }
}
