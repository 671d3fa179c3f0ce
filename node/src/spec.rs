//! Chain specs: one JSON format, which names a chain and holds its genesis as people write it.

use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
};

use commonwatt_executor::Executor;
use commonwatt_network::{AddressError, StaticPeer};
use commonwatt_primitives::AccountId;
use commonwatt_runtime::{
    Hash,
    configs::SS58_PREFIX,
    genesis::{CommunityGenesis, Finding},
};
use ed25519_dalek::VerifyingKey;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use sp_core::Pair;

use crate::community::{self, ed25519_key, sr25519_key};

/// Largest chain spec file that is read, in bytes.
const SPEC_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// No chain in use began before 2020, milliseconds since the Unix epoch.
const LIVE_SINCE_MS: u64 = 1_577_836_800_000;

/// None that is written now begins after 2100.
const LIVE_UNTIL_MS: u64 = 4_102_444_800_000;

/// Longest name of a chain, in characters.
const NAME_CHARS_MAX: usize = 128;

/// Most decimals of a coin: as many as 128 bits hold, with some places before them.
const DECIMALS_MAX: u64 = 18;

/// The example to copy from, whose accounts belong to nobody.
const EXAMPLE: &str = include_str!("../../chain-specs/example-community.json");

/// Longest id of a chain.
const ID_BYTES_MAX: usize = 64;

/// What kind of chain it is, for people and their wallets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ChainType {
    /// One node on one machine; well-known keys.
    Development,
    /// Several nodes on one machine; well-known keys.
    Local,
    /// A real community.
    Live,
}

/// A chain: its names, its properties for wallets, and its genesis.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ChainSpec {
    /// Name for people.
    pub name: String,
    /// Name of its folder: letters, digits, `-` and `_`.
    pub id: String,
    /// What kind of chain it is.
    pub chain_type: ChainType,
    /// Addresses of nodes that every node connects to whose operator names no others.
    #[serde(default)]
    pub boot_nodes: Vec<String>,
    /// Keeps the messages of different chains apart.
    pub protocol_id: String,
    /// `ss58Format`, `tokenSymbol`, `tokenDecimals`.
    pub properties: Map<String, Value>,
    /// Everything decided before the first step.
    pub genesis: CommunityGenesis,
}

/// Why a chain spec cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SpecError {
    /// The file cannot be read.
    #[error("cannot read the chain spec {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file is larger than any spec.
    #[error("the chain spec {0} is larger than 64 MiB: is it another file?")]
    TooLarge(PathBuf),
    /// The file is not a chain spec.
    #[error("the chain spec {path} is not valid at line {line}, column {column}: {reason}")]
    Parse {
        /// The file.
        path: PathBuf,
        /// Where.
        line: usize,
        /// Where.
        column: usize,
        /// What the parser expected.
        reason: String,
    },
    /// The chain's id cannot name a folder.
    #[error("the chain id {0:?} may have letters, digits, - and _ only, 64 at most")]
    Id(String),
    /// The chain's name cannot be shown.
    #[error(
        "the chain's name may have up to 128 characters, none of them for control, and not be empty"
    )]
    Name,
    /// A property contradicts what the software does.
    #[error("the chain spec's properties.{name} is {found}, and must be {wanted}")]
    Property {
        /// The property.
        name: &'static str,
        /// What is there.
        found: Value,
        /// What could be.
        wanted: String,
    },
    /// A chain in use begins at a time that cannot be meant.
    #[error("the chain spec's genesisMs is {genesis_ms}, {problem}")]
    Begin {
        /// When step 1 begins, milliseconds since the Unix epoch.
        genesis_ms: u64,
        /// What is wrong with it, and what to write.
        problem: String,
    },
    /// A boot node is none.
    #[error("the chain spec's bootNodes: {0}")]
    BootNode(#[from] AddressError),
    /// A session key is none.
    #[error(
        "the chain spec's {purpose} key of validator {account} is no {scheme} key: were vote and beacon key exchanged? \
         `commonwatt key list` shows which is which"
    )]
    SessionKey {
        /// Whose it is.
        account: String,
        /// What it is for.
        purpose: &'static str,
        /// What keys for that are.
        scheme: &'static str,
    },
    /// The genesis contradicts itself.
    #[error("the chain spec's genesis has {count} error(s): {errors}")]
    Genesis {
        /// How many.
        count: usize,
        /// All of them.
        errors: String,
    },
}

impl ChainSpec {
    /// Reads and checks a chain spec.
    pub fn read(path: &Path) -> Result<Self, SpecError> {
        let read_error = |source| SpecError::Read {
            path: path.to_owned(),
            source,
        };
        if fs::metadata(path).map_err(read_error)?.len() > SPEC_BYTES_MAX {
            return Err(SpecError::TooLarge(path.to_owned()));
        }
        let text = fs::read(path).map_err(read_error)?;
        let spec: Self = serde_json::from_slice(&text).map_err(|error| SpecError::Parse {
            path: path.to_owned(),
            line: error.line(),
            column: error.column(),
            reason: error.to_string(),
        })?;
        spec.verify()?;
        Ok(spec)
    }

    /// Checks that a chain can begin like this.
    pub fn verify(&self) -> Result<(), SpecError> {
        if !is_id(&self.id) {
            return Err(SpecError::Id(self.id.clone()));
        }
        let is_shown = !self.name.trim().is_empty()
            && self.name.chars().count() <= NAME_CHARS_MAX
            && !self.name.chars().any(char::is_control);
        if !is_shown {
            return Err(SpecError::Name);
        }
        self.verify_properties()?;
        self.verify_begin()?;
        self.boot_peers()?;
        self.verify_session_keys()?;
        let errors: Vec<_> = self
            .genesis
            .check()
            .into_iter()
            .filter_map(|finding| match finding {
                Finding::Error(error) => Some(error),
                Finding::Note(_) => None,
            })
            .collect();
        if errors.is_empty() {
            return Ok(());
        }
        Err(SpecError::Genesis {
            count: errors.len(),
            errors: errors.join("; "),
        })
    }

    /// Checks the properties that wallets go by.
    fn verify_properties(&self) -> Result<(), SpecError> {
        let verify = |name, is_good: &dyn Fn(&Value) -> bool, wanted: String| match self
            .properties
            .get(name)
        {
            Some(found) if !is_good(found) => Err(SpecError::Property {
                name,
                found: found.clone(),
                wanted,
            }),
            _ => Ok(()),
        };
        let is_prefix = |found: &Value| found.as_u64() == Some(SS58_PREFIX.into());
        verify("ss58Format", &is_prefix, SS58_PREFIX.to_string())?;
        let is_decimals = |found: &Value| found.as_u64().is_some_and(|it| it <= DECIMALS_MAX);
        verify(
            "tokenDecimals",
            &is_decimals,
            format!("0 to {DECIMALS_MAX}"),
        )?;
        let is_symbol = |found: &Value| {
            let symbol = found.as_str().unwrap_or_default();
            (1..=12).contains(&symbol.len())
                && symbol.bytes().all(|byte| byte.is_ascii_alphanumeric())
        };
        verify(
            "tokenSymbol",
            &is_symbol,
            "1 to 12 letters and digits".to_owned(),
        )
    }

    /// Returns the boot nodes as peers to connect to.
    pub fn boot_peers(&self) -> Result<Vec<StaticPeer>, SpecError> {
        let addresses = self.boot_nodes.iter();
        Ok(addresses
            .map(|address| address.parse())
            .collect::<Result<_, _>>()?)
    }

    /// Checks that each session key is a key of its kind. Most keys that were exchanged are not.
    fn verify_session_keys(&self) -> Result<(), SpecError> {
        for validator in &self.genesis.validators {
            let keys = &validator.keys;
            let wrong = if VerifyingKey::from_bytes(&keys.vote.0).is_err() {
                ("vote", "ed25519")
            } else if schnorrkel::PublicKey::from_bytes(&keys.beacon.0).is_err() {
                ("beacon", "sr25519")
            } else {
                continue;
            };
            return Err(SpecError::SessionKey {
                account: validator.account.to_string(),
                purpose: wrong.0,
                scheme: wrong.1,
            });
        }
        Ok(())
    }

    /// Returns what is legal but perhaps not meant.
    pub fn notes(&self) -> Vec<String> {
        let mut notes: Vec<_> = self
            .genesis
            .check()
            .into_iter()
            .filter_map(|finding| match finding {
                Finding::Note(note) => Some(note),
                Finding::Error(_) => None,
            })
            .collect();
        if self.chain_type == ChainType::Live {
            notes.extend(self.note_known_accounts());
        }
        notes
    }

    /// Notes accounts and keys that no real community can mean: everybody has their secrets, or nobody.
    fn note_known_accounts(&self) -> Vec<String> {
        let developers: BTreeSet<AccountId> = community::DEVELOPERS
            .iter()
            .map(|name| format!("//{name}"))
            .flat_map(|path| {
                let (one, other) = (ed25519_key(&path), sr25519_key(&path));
                [one.public().0.into(), other.public().0.into()]
            })
            .collect();
        let example: Self =
            serde_json::from_str(EXAMPLE).expect("a test reads the example in this binary");
        let of_example: BTreeSet<_> = example.genesis.everybody().collect();
        let mut notes = Vec::new();
        for who in self.genesis.everybody() {
            if developers.contains(&who) {
                notes.push(format!(
                    "{who} is a development account, whose secret everybody knows: replace it before the chain begins"
                ));
            } else if of_example.contains(&who) {
                notes.push(format!(
                    "{who} comes from the example, and nobody has its secret: replace it before the chain begins"
                ));
            }
        }
        notes
    }

    /// Checks that a chain in use begins on its grid of steps, and not before there was such a chain: every step
    /// since would be closed at once, for good.
    fn verify_begin(&self) -> Result<(), SpecError> {
        let timing = &self.genesis.timing;
        let genesis_ms = timing.genesis_ms;
        // A step of no length is found with the rest of the genesis.
        let problem = if self.chain_type != ChainType::Live || timing.step_ms == 0 {
            return Ok(());
        } else if genesis_ms < LIVE_SINCE_MS {
            "before 2020: give milliseconds since 1970, a number of 13 digits".to_owned()
        } else if genesis_ms > LIVE_UNTIL_MS {
            "after 2100: give milliseconds since 1970, a number of 13 digits".to_owned()
        } else if !genesis_ms.is_multiple_of(timing.step_ms) {
            let next = genesis_ms
                .saturating_sub(genesis_ms % timing.step_ms)
                .saturating_add(timing.step_ms);
            format!(
                "which is no multiple of stepMs, so steps would not be the quarters of an hour that meters \
                 report: the next multiple is {next}"
            )
        } else {
            return Ok(());
        };
        Err(SpecError::Begin {
            genesis_ms,
            problem,
        })
    }

    /// Returns the spec as it is written to a file.
    pub fn to_json(&self) -> String {
        let mut text = serde_json::to_string_pretty(self)
            .expect("a spec has string keys and no foreign types");
        text.push('\n');
        text
    }

    /// Returns the hash of block 0, which names the chain.
    pub fn genesis_hash(&self) -> Result<Hash, SpecError> {
        let storage = self
            .genesis
            .build_storage()
            .map_err(|errors| SpecError::Genesis { count: 1, errors })?;
        Ok(Executor::build_genesis(storage).header.hash())
    }

    /// Returns the properties every chain of ours has.
    pub fn default_properties() -> Map<String, Value> {
        let mut properties = Map::new();
        properties.insert("ss58Format".into(), json!(SS58_PREFIX));
        properties.insert("tokenSymbol".into(), json!("CWC"));
        properties.insert("tokenDecimals".into(), json!(6));
        properties
    }
}

/// Returns whether a text can name a chain, and so its folder.
pub fn is_id(text: &str) -> bool {
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    !text.is_empty() && text.len() <= ID_BYTES_MAX && text.chars().all(is_name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::community;
    use commonwatt_community_data::Community;

    fn spec() -> ChainSpec {
        let community = Community::demo().unwrap();
        community::dev_spec(&community, community::KeyKind::Static)
    }

    fn refused(change: impl FnOnce(&mut ChainSpec)) -> String {
        let mut spec = spec();
        change(&mut spec);
        spec.verify().unwrap_err().to_string()
    }

    fn read(text: &str) -> Result<ChainSpec, SpecError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("spec.json");
        fs::write(&path, text).unwrap();
        ChainSpec::read(&path)
    }

    #[test]
    fn a_spec_survives_its_own_format() {
        let spec = spec();
        assert_eq!(read(&spec.to_json()).unwrap(), spec);
        assert_eq!(spec.genesis_hash().unwrap(), spec.genesis_hash().unwrap());
    }

    #[test]
    fn a_live_chain_that_begins_in_1970_or_off_the_grid_is_refused() {
        let begins = |genesis_ms| {
            refused(|spec| {
                spec.chain_type = ChainType::Live;
                spec.genesis.timing.step_ms = 900_000;
                spec.genesis.timing.genesis_ms = genesis_ms;
            })
        };
        assert!(begins(1_795_269_600).contains("13 digits"));
        assert!(begins(1_795_269_601_000).contains("the next multiple is 1795270500000"));
        for too_late in [1_795_345_200_000_000, u64::MAX] {
            assert!(begins(too_late).contains("after 2100"));
        }
    }

    #[test]
    fn a_name_that_cannot_be_shown_is_refused() {
        for name in ["", "  ", "a\n\u{1b}[31mb", &"a".repeat(129)] {
            let error = refused(|spec| spec.name = name.into());
            assert!(error.contains("the chain's name"), "{error}");
        }
    }

    #[test]
    fn properties_that_wallets_cannot_go_by_are_refused() {
        let wrong = [
            ("ss58Format", json!(0), "must be"),
            ("tokenDecimals", json!(99), "0 to 18"),
            ("tokenDecimals", json!("six"), "0 to 18"),
            ("tokenSymbol", json!("\u{1b}[31m"), "1 to 12 letters"),
        ];
        for (name, value, said) in wrong {
            let error = refused(|spec| {
                spec.properties.insert(name.into(), value);
            });
            assert!(error.contains(name) && error.contains(said), "{error}");
        }
    }

    #[test]
    fn accounts_that_could_do_nothing_have_no_place() {
        let stranger = AccountId::new([9; 32]);
        let error = refused(|spec| spec.genesis.council.push(stranger.clone()));
        assert!(error.contains("neither a member nor a DSO"), "{error}");
        let error = refused(|spec| spec.genesis.meters[0].info.beneficiary = stranger);
        assert!(error.contains("nor the community account"), "{error}");
    }

    #[test]
    fn boot_nodes_are_addresses_with_peer_ids() {
        let address =
            "/dns/solar.example/tcp/30333/p2p/12D3KooWJarK9B2vrRa9A3BKsb45ND9TA1hWCpRbMekU81pNq9g9";
        let mut spec = spec();
        spec.boot_nodes = vec![address.into()];
        assert_eq!(spec.verify().map_err(|error| error.to_string()), Ok(()));
        assert_eq!(spec.boot_peers().unwrap()[0].to_string(), address);
        let error = refused(|spec| spec.boot_nodes = vec!["/dns/solar.example/tcp/30333".into()]);
        assert!(
            error.contains("bootNodes") && error.contains("inspect-node-key"),
            "{error}"
        );
    }

    #[test]
    fn exchanged_session_keys_are_noticed() {
        let error = refused(|spec| {
            let keys = &mut spec.genesis.validators[0].keys;
            let (vote, beacon) = (keys.vote.0, keys.beacon.0);
            (keys.vote, keys.beacon) = (beacon.into(), vote.into());
        });
        assert!(
            error.contains("no ed25519 key") || error.contains("no sr25519 key"),
            "{error}"
        );
    }

    #[test]
    fn accounts_of_nobody_or_everybody_are_noted_on_a_live_chain() {
        let example: ChainSpec = serde_json::from_str(EXAMPLE).unwrap();
        assert_eq!(example.verify().map_err(|error| error.to_string()), Ok(()));
        let notes = example.notes().join("\n");
        for who in example.genesis.everybody() {
            assert!(
                notes.contains(&format!("{who} comes from the example")),
                "{notes}"
            );
        }
        let mut spec = spec();
        assert!(!spec.notes().join("\n").contains("replace it"));
        spec.chain_type = ChainType::Live;
        let notes = spec.notes().join("\n");
        assert!(notes.contains("everybody knows"), "{notes}");
    }

    #[test]
    fn a_missing_file_is_named() {
        let error = ChainSpec::read(Path::new("no-such.json"))
            .unwrap_err()
            .to_string();
        assert!(error.contains("no-such.json"), "{error}");
    }

    #[test]
    fn broken_json_is_located() {
        let text = spec().to_json().replacen("\"name\"", "\"nome\"", 1);
        let error = read(&text).unwrap_err().to_string();
        assert!(
            error.contains("line 2") && error.contains("nome"),
            "{error}"
        );
        let error = read("{").unwrap_err().to_string();
        assert!(error.contains("line 1"), "{error}");
    }

    #[test]
    fn impossible_genesis_values_are_refused_with_what_to_do() {
        let error = refused(|spec| spec.genesis.timing.settle_delay_ms = 6_000);
        assert!(
            error.contains("settleDelayMs must be less than stepMs"),
            "{error}"
        );
        let error = refused(|spec| spec.genesis.retention = 96);
        assert!(
            error.contains("retention must be more than correctionWindow"),
            "{error}"
        );
        let error = refused(|spec| spec.genesis.validators.clear());
        assert!(error.contains("nobody would make a block"), "{error}");
        let error = refused(|spec| spec.genesis.dsos.clear());
        assert!(error.contains("neutral metering party"), "{error}");
        let error = refused(|spec| spec.genesis.meters[3].info.capacity_w = 0);
        assert!(error.contains("meter 3"), "{error}");
        let error =
            refused(|spec| spec.genesis.meters[4].device = spec.genesis.meters[3].device.clone());
        assert!(error.contains("meter 4"), "{error}");
        let error = refused(|spec| {
            let member = spec.genesis.members[0].clone();
            spec.genesis.members.push(member);
        });
        assert!(error.contains("listed twice"), "{error}");
        let error = refused(|spec| spec.id = "../else".into());
        assert!(error.contains("letters, digits"), "{error}");
    }

    #[test]
    fn shares_that_do_not_sum_to_one_are_refused() {
        let error = refused(|spec| {
            let Some(agreement) = &mut spec.genesis.agreement else {
                panic!("the demo has one")
            };
            let pallet_virtual_meter::KeyTerms::Static { shares, .. } = &mut agreement.key else {
                panic!("the demo's key is static")
            };
            shares[0].1.0 += 1;
        });
        assert!(
            error.contains("must sum to 1000000, not 1000001"),
            "{error}"
        );
    }
}
