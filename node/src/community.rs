//! Turns community data into a chain: members, meters, devices and the agreement.
//!
//! The keys made here derive from the public development phrase, so whoever reads this can sign with them:
//! for demonstration and measurement only, never for a real community.

use std::sync::LazyLock;

use commonwatt_community_data::{Community, Participant};
use commonwatt_primitives::{
    AccountId, Bps, MeterClass, MeterId, MeterKind, Ppm, Step, StepTiming, keys::SessionKeys,
    metering::MeterInfo, split::split_by_largest_remainder,
};
use commonwatt_runtime::genesis::{CommunityGenesis, GenesisMeter, GenesisValidator};
use pallet_virtual_meter::{GenesisAgreement, KeyTerms};
use sp_core::{
    Pair,
    crypto::{DEV_PHRASE, DeriveJunction},
    ed25519, sr25519,
};

use crate::spec::{ChainSpec, ChainType};

/// Which of the agreement's keys to use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum KeyKind {
    /// Fixed shares, in proportion to yearly consumption.
    #[default]
    Static,
    /// The same, but nobody gets more than it consumes.
    Capped,
    /// In proportion to each step's consumption.
    Prorata,
}

impl KeyKind {
    /// Returns the word the command line knows it by.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Static => "static",
            Self::Capped => "capped",
            Self::Prorata => "prorata",
        }
    }
}

/// The names of the well-known development accounts.
pub const DEVELOPERS: [&str; 6] = ["Alice", "Bob", "Charlie", "Dave", "Eve", "Ferdie"];

/// Coins each development account begins with: a million, of six decimals.
const DEVELOPER_COINS: u128 = 1_000_000_000_000;

/// Coins each participant begins with: a hundred, several times what the demo community's largest one would spend in a
/// year if it bought all it consumes.
pub const PARTICIPANT_COINS: u128 = 100_000_000;

/// Derives a development key from a path like `//Alice`.
pub fn ed25519_key(path: &str) -> ed25519::Pair {
    // Turning the phrase into a seed takes a millisecond on purpose, so it is done once.
    static ROOT: LazyLock<ed25519::Pair> = LazyLock::new(root);
    derive(&*ROOT, path)
}

/// Derives a development key from a path like `//Alice`.
pub fn sr25519_key(path: &str) -> sr25519::Pair {
    static ROOT: LazyLock<sr25519::Pair> = LazyLock::new(root);
    derive(&*ROOT, path)
}

fn root<P: Pair>() -> P {
    P::from_phrase(DEV_PHRASE, None)
        .expect("the development phrase is valid")
        .0
}

fn derive<P: Pair>(root: &P, path: &str) -> P {
    let junctions = path.split("//").skip(1).map(DeriveJunction::hard);
    root.derive(junctions, None)
        .expect("hard junctions are always derived")
        .0
}

fn account(pair: &ed25519::Pair) -> AccountId {
    AccountId::new(pair.public().0)
}

/// Returns the account of the development chains' DSO.
pub fn dso() -> AccountId {
    account(&ed25519_key("//Dso"))
}

/// Returns the key of a participant's account.
pub fn member_key(participant: &Participant) -> ed25519::Pair {
    ed25519_key(&format!("//member//{}", participant.id))
}

/// Returns the account of a participant.
pub fn member_account(participant: &Participant) -> AccountId {
    account(&member_key(participant))
}

/// What a device of the community measures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Measures {
    /// A participant's consumption.
    Load,
    /// A participant's generation.
    Generation,
}

/// A cryptometer of the community, able to sign.
pub struct Device {
    /// Its meter.
    pub meter: MeterId,
    /// The participant's place in the data.
    pub participant: usize,
    /// What it measures.
    pub measures: Measures,
    /// Its key.
    pub pair: ed25519::Pair,
}

impl Device {
    /// Returns the device's account.
    pub fn account(&self) -> AccountId {
        account(&self.pair)
    }
}

/// Returns the community's devices by ascending meter: consumption of all participants, then generators.
pub fn devices(community: &Community) -> Vec<Device> {
    let load = (0..community.participants.len()).map(|index| (index, Measures::Load, "load"));
    let generation = community
        .pv_indices()
        .map(|index| (index, Measures::Generation, "pv"));
    load.chain(generation)
        .zip(0u32..)
        .map(|((participant, measures, kind), number)| Device {
            meter: MeterId(number),
            participant,
            measures,
            pair: ed25519_key(&format!(
                "//meter//{}//{kind}",
                community.participants[participant].id
            )),
        })
        .collect()
}

fn genesis_meter(community: &Community, device: &Device) -> GenesisMeter {
    let participant = &community.participants[device.participant];
    let owner = member_account(participant);
    let (kind, capacity_w) = match device.measures {
        Measures::Load => (MeterKind::Consumption, participant.load_capacity_w()),
        Measures::Generation => (
            MeterKind::Generation,
            participant.pv_capacity_w().unwrap_or_default(),
        ),
    };
    GenesisMeter {
        info: MeterInfo {
            kind,
            beneficiary: owner.clone(),
            owner,
            class: MeterClass::B,
            pulses_per_kwh: 1_000,
            capacity_w,
            loss: Bps(0),
            efficiency: Bps::FULL,
            storage_pair: None,
            commissioned: Step(1),
            retired: None,
        },
        device: Some(device.account()),
    }
}

fn agreement(community: &Community, kind: KeyKind) -> GenesisAgreement<AccountId> {
    let accounts: Vec<_> = community.participants.iter().map(member_account).collect();
    let key = match kind {
        KeyKind::Prorata => KeyTerms::ProRata {
            participants: accounts,
        },
        KeyKind::Static | KeyKind::Capped => {
            // By account, since ties of the largest remainder go to the earlier account.
            let mut loads: Vec<_> = accounts
                .into_iter()
                .zip(
                    community
                        .participants
                        .iter()
                        .map(|participant| participant.annual_load_wh),
                )
                .collect();
            loads.sort();
            let weights: Vec<_> = loads.iter().map(|(_, load)| *load).collect();
            let parts = split_by_largest_remainder(u64::from(Ppm::FULL.0), &weights)
                .expect("participants consume something in a year");
            let shares = loads
                .into_iter()
                .zip(parts)
                .map(|((who, _), part)| {
                    (
                        who,
                        Ppm(u32::try_from(part).expect("a part of a million fits")),
                    )
                })
                .collect();
            KeyTerms::Static {
                capped: kind == KeyKind::Capped,
                shares,
            }
        }
    };
    GenesisAgreement {
        key,
        community_account: account(&ed25519_key("//community")),
        loss_account: account(&ed25519_key("//losses")),
    }
}

/// Returns the session keys of a development validator.
pub fn session_keys(name: &str) -> SessionKeys {
    SessionKeys {
        vote: ed25519_key(&format!("//{name}")).public(),
        beacon: sr25519_key(&format!("//{name}")).public(),
    }
}

/// Returns the genesis of a community with one validator, //Alice, and all development accounts as members. Everybody has
/// coins to trade with.
pub fn genesis(community: &Community, kind: KeyKind, timing: StepTiming) -> CommunityGenesis {
    let developers: Vec<AccountId> = DEVELOPERS
        .iter()
        .flat_map(|name| {
            let path = format!("//{name}");
            [
                account(&ed25519_key(&path)),
                AccountId::new(sr25519_key(&path).public().0),
            ]
        })
        .collect();
    let households: Vec<AccountId> = community.participants.iter().map(member_account).collect();
    let alice = account(&ed25519_key("//Alice"));
    CommunityGenesis {
        timing,
        dsos: vec![dso()],
        members: developers.iter().chain(&households).cloned().collect(),
        council: ["Alice", "Bob", "Charlie"]
            .map(|name| account(&ed25519_key(&format!("//{name}"))))
            .to_vec(),
        validators: vec![GenesisValidator {
            account: alice,
            keys: session_keys("Alice"),
        }],
        meters: devices(community)
            .iter()
            .map(|device| genesis_meter(community, device))
            .collect(),
        coins: developers
            .into_iter()
            .map(|who| (who, DEVELOPER_COINS))
            .chain(households.into_iter().map(|who| (who, PARTICIPANT_COINS)))
            .collect(),
        agreement: Some(agreement(community, kind)),
        correction_window: 96,
        retention: pallet_virtual_meter::RETENTION_DEFAULT,
        plausibility_tolerance: Bps(11_000),
        voting_tokens_per_wh: Bps(100),
        quotas: Default::default(),
        mpe_table: Default::default(),
        miner_auction: Default::default(),
        reputation: Default::default(),
        market: Default::default(),
    }
}

/// Steps of the development chain: 6 seconds, each standing for a quarter of an hour.
pub const DEV_TIMING: StepTiming = StepTiming {
    genesis_ms: 0,
    step_ms: 6_000,
    metered_ms: 900_000,
    gate_open_ms: 500,
    gate_close_ms: 500,
    settle_delay_ms: 1_000,
};

/// Returns the development chain of a community. Its first step begins when it is first started.
pub fn dev_spec(community: &Community, kind: KeyKind) -> ChainSpec {
    ChainSpec {
        name: "Commonwatt Development".into(),
        id: "dev".into(),
        chain_type: ChainType::Development,
        boot_nodes: Vec::new(),
        protocol_id: "cwdev".into(),
        properties: ChainSpec::default_properties(),
        genesis: genesis(community, kind, DEV_TIMING),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use commonwatt_runtime::genesis::Finding;

    #[test]
    fn every_key_of_the_demo_community_makes_a_sound_genesis() {
        let community = Community::demo().unwrap();
        for kind in [KeyKind::Static, KeyKind::Capped, KeyKind::Prorata] {
            let findings = genesis(&community, kind, DEV_TIMING).check();
            let errors: Vec<_> = findings
                .iter()
                .filter(|finding| matches!(finding, Finding::Error(_)))
                .collect();
            assert!(errors.is_empty(), "{errors:?}");
        }
    }

    #[test]
    fn development_keys_are_those_everybody_knows() {
        let known = ed25519::Pair::from_string("//Alice", None).unwrap();
        assert_eq!(ed25519_key("//Alice").public(), known.public());
        let known = sr25519::Pair::from_string("//meter//p01//pv", None).unwrap();
        assert_eq!(sr25519_key("//meter//p01//pv").public(), known.public());
    }

    #[test]
    fn every_meter_of_the_demo_community_has_its_own_device() {
        let community = Community::demo().unwrap();
        let devices = devices(&community);
        assert_eq!(devices.len(), 57);
        let accounts: std::collections::BTreeSet<_> = devices.iter().map(Device::account).collect();
        assert_eq!(accounts.len(), 57);
    }
}
