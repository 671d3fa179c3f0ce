//! What calls take and give, where neither Substrate's types nor the runtime's serve as they are.

use commonwatt_primitives::{
    AccountId, Hash, MeterId, Month, Role, Step, Wh, address::account_from_address,
    metering::MeterInfo,
};
use commonwatt_runtime::apis::MeterView;
use pallet_energy_token::{Flag, Reading, RegisterReading};
use pallet_transaction_payment::{FeeDetails, InclusionFee};
use pallet_virtual_meter::{MonthTotal, StepSummary, Trace, VgmEntry};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
pub(crate) use sp_core::Bytes;
use sp_core::{H256, bytes::from_hex};

/// One of something, or a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(
    untagged,
    expecting = "one, or a list of them: block numbers are 0 to 4294967295, hashes 0x and 64 hexadecimal digits, transactions 0x and \
                 an even number of them"
)]
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

impl Account {
    /// 0x and two digits for each of 32 bytes, which is more than an address has.
    const LETTERS_MAX: usize = 66;
}

impl<'de> Deserialize<'de> for Account {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let account = if text.starts_with("0x") && text.len() <= Self::LETTERS_MAX {
            from_hex(&text)
                .ok()
                .and_then(|bytes| <[u8; 32]>::try_from(bytes).ok())
                .map(AccountId::new)
        } else {
            account_from_address(&text)
        };
        account.map(Self).ok_or_else(|| {
            let shown: String = text.chars().take(Self::LETTERS_MAX).collect();
            let more = if shown == text { "" } else { "…" };
            D::Error::custom(format!(
                "{shown:?}{more} is no account: give its SS58 address, or its 32 bytes in hexadecimal"
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
    bought_from: Vec<Origin>,
    bought_from_outer_grid: Wh,
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
            bought_from,
            bought_from_outer_grid,
            sold,
            net_wh,
        } = trace;
        let origins = |from: Vec<(MeterId, Wh)>| {
            let from = from.into_iter();
            from.map(|(meter, energy)| Origin { meter, energy })
                .collect()
        };
        let (from, bought_from) = (origins(from), origins(bought_from));
        let net_wh = SignedNumber(net_wh);
        Self {
            step,
            version,
            member,
            allocated,
            from,
            bought,
            bought_from,
            bought_from_outer_grid,
            sold,
            net_wh,
        }
    }
}

/// A trace with its proof.
#[derive(Serialize)]
pub(crate) struct TracedAt {
    #[serde(flatten)]
    pub(crate) trace: TraceJson,
    pub(crate) proof: Proof,
}

/// Trie nodes that prove what a state holds under four keys.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Proof {
    pub(crate) block: Hash,
    pub(crate) number: u32,
    pub(crate) state_root: Hash,
    pub(crate) summary: Bytes,
    /// How many buckets of entries the step has, so that everybody can tell which one an account's is in.
    pub(crate) buckets: Bytes,
    /// The bucket of the account's entry.
    pub(crate) entry: Bytes,
    pub(crate) lots: Bytes,
    pub(crate) nodes: Vec<Bytes>,
}

/// What the chain knows about an account.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct MemberJson {
    pub(crate) account: AccountId,
    pub(crate) role: Option<Role>,
    pub(crate) is_validator: bool,
    pub(crate) meters: Vec<MeterId>,
    pub(crate) coins: String,
    pub(crate) voting_tokens: String,
    pub(crate) voting_debt: String,
    pub(crate) months: Vec<MonthJson>,
    pub(crate) entries: Vec<EntryJson>,
    /// What to give as `beforeStep` for the entries before these.
    pub(crate) next: Option<Step>,
}

/// What an account had in a month.
#[derive(Serialize)]
pub(crate) struct MonthJson {
    month: MonthName,
    #[serde(flatten)]
    total: MonthTotal,
}

impl From<(Month, MonthTotal)> for MonthJson {
    fn from((month, total): (Month, MonthTotal)) -> Self {
        Self {
            month: MonthName(month),
            total,
        }
    }
}

/// An account's virtual generation meter in a step.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct EntryJson {
    step: Step,
    #[serde(flatten)]
    entry: VgmEntry,
    net_wh: SignedNumber,
    market_face_wh: SignedNumber,
}

impl From<(Step, VgmEntry)> for EntryJson {
    fn from((step, entry): (Step, VgmEntry)) -> Self {
        Self {
            step,
            net_wh: SignedNumber(entry.net_wh()),
            market_face_wh: SignedNumber(entry.market_face_wh()),
            entry,
        }
    }
}

/// What the chain knows about a meter.
#[derive(Serialize)]
pub(crate) struct MeterJson {
    meter: MeterId,
    #[serde(flatten)]
    info: MeterInfo<AccountId>,
    device: Option<AccountId>,
    register: Option<RegisterJson>,
    flag: Option<FlagJson>,
    readings: Vec<ReadingJson>,
    commitments: Vec<CommitmentJson>,
}

#[derive(Serialize)]
struct RegisterJson {
    step: Step,
    register: Wh,
}

#[derive(Serialize)]
struct FlagJson {
    step: Step,
    credited: Wh,
    metered: Wh,
}

#[derive(Serialize)]
struct ReadingJson {
    step: Step,
    #[serde(flatten)]
    reading: Reading,
}

#[derive(Serialize)]
struct CommitmentJson {
    step: Step,
    commitment: Hash,
}

impl MeterJson {
    pub(crate) fn new(
        meter: MeterId,
        view: MeterView,
        readings: Vec<(Step, Reading)>,
        commitments: Vec<(Step, Hash)>,
    ) -> Self {
        let MeterView {
            info,
            device,
            register,
            flag,
        } = view;
        let register =
            register.map(|RegisterReading { step, register }| RegisterJson { step, register });
        let flag = flag.map(
            |Flag {
                 step,
                 credited,
                 metered,
             }| FlagJson {
                step,
                credited,
                metered,
            },
        );
        Self {
            meter,
            info,
            device,
            register,
            flag,
            readings: readings
                .into_iter()
                .map(|(step, reading)| ReadingJson { step, reading })
                .collect(),
            commitments: commitments
                .into_iter()
                .map(|(step, commitment)| CommitmentJson { step, commitment })
                .collect(),
        }
    }
}

/// A step that closed.
#[derive(Serialize)]
pub(crate) struct StepJson {
    pub(crate) step: Step,
    pub(crate) block: Hash,
    pub(crate) late: bool,
    pub(crate) author: Option<AccountId>,
    pub(crate) summary: Option<StepSummary>,
    pub(crate) corrected: Vec<CorrectedStep>,
}

/// An earlier step that a block distributed again.
#[derive(Serialize)]
pub(crate) struct CorrectedStep {
    pub(crate) step: Step,
    #[serde(flatten)]
    pub(crate) summary: StepSummary,
}

/// What changed about steps after their blocks.
#[derive(Serialize)]
pub(crate) struct CorrectionsJson {
    pub(crate) steps: Vec<StepVersion>,
    pub(crate) readings: Vec<ReadingChange>,
    pub(crate) runs: Vec<StepRun>,
    /// Blocks whose events this node no longer has.
    pub(crate) discarded: Option<BlockRange>,
    /// What to give as `fromBlock` for the rest.
    pub(crate) next: Option<u32>,
}

/// How often a step was distributed.
#[derive(Serialize)]
pub(crate) struct StepVersion {
    pub(crate) step: Step,
    pub(crate) version: u32,
}

/// Blocks from one to another.
#[derive(Serialize)]
pub(crate) struct BlockRange {
    pub(crate) from: u32,
    pub(crate) to: u32,
}

/// A reading that changed.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ReadingChange {
    pub(crate) step: Step,
    pub(crate) block: u32,
    pub(crate) block_hash: Hash,
    pub(crate) meter: MeterId,
    pub(crate) from: Option<Wh>,
    pub(crate) to: Wh,
    pub(crate) cause: CauseJson,
}

/// Why a reading changed.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum CauseJson {
    LateReport { device: AccountId, sequence: u64 },
    Dso { reason: String },
}

/// A step that was distributed again.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct StepRun {
    pub(crate) step: Step,
    pub(crate) block: u32,
    pub(crate) block_hash: Hash,
    pub(crate) version: u32,
    pub(crate) generated: Wh,
    pub(crate) shared: Wh,
    pub(crate) rest: Wh,
}

/// An amount of coins or money, or a price: its decimal digits as a string.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Decimal<T>(pub(crate) T);

impl<T: std::fmt::Display> Serialize for Decimal<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

/// A month, like `2026-07`.
pub(crate) struct MonthName(pub(crate) Month);

impl Serialize for MonthName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (year, month) = self.0.year_and_month();
        serializer.collect_str(&format_args!("{year:04}-{month:02}"))
    }
}

/// A signed number: a JSON number when it fits into 64 bits, its decimal digits as a string otherwise.
pub(crate) struct SignedNumber(pub(crate) i128);

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
    fn what_is_much_longer_than_an_account_is_not_said_back() {
        for endless in ["x".repeat(8 << 20), format!("0x{}", "ab".repeat(4 << 20))] {
            let refused = from_value::<Account>(json!(endless)).expect_err("no account");
            let said = refused.to_string();
            assert!(said.len() < 200, "{} letters", said.len());
            assert!(
                said.contains("… is no account: give its SS58 address"),
                "{said}"
            );
        }
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
