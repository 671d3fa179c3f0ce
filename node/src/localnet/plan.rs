//! What a local network is made of, and its set-up on disk.
//!
//! ```text
//! <base>/chain-spec.json            the spec all nodes share
//! <base>/lock                       held by the process that runs the network
//! <base>/node1/flags                how node 1 is started, one argument a line
//! <base>/node1/account              the secret that signs the bids of its validator
//! <base>/node1/log                  what it wrote
//! <base>/node1/chains/localnet/…    its folder, as any node has it
//! ```
//!
//! ## Invariants
//! - A set-up may be repeated: keys and chain are never replaced, flags always.
//! - All keys but the node keys derive from the public development phrase. Such a network is for trying out only.

use std::{
    fs::{self, File, TryLockError},
    io::{self, Write},
    net::IpAddr,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail, ensure};
use commonwatt_community_data::Community;
use commonwatt_keystore::{
    Keystore, NodeKey, Purpose, SecretUri,
    files::{self, Draft},
};
use commonwatt_network::PeerId;
use commonwatt_primitives::{AccountId, StepTiming};
use commonwatt_runtime::genesis::GenesisValidator;
use commonwatt_storage::{DatabaseKind, StatePruning};
use sp_core::Pair;

use crate::{
    bidding::BidPolicy,
    community::{self, DEVELOPERS, KeyKind, ed25519_key},
    dev::scale,
    paths::{ChainFolder, create_folders, write_new},
    spec::{ChainSpec, ChainType},
    stop::now_ms,
};

/// Id of a local network's chain.
pub const CHAIN_ID: &str = "localnet";

/// Validators that one machine is asked to run.
pub const VALIDATORS_MAX: u16 = 64;

/// Full nodes that one machine is asked to run.
pub const FULL_NODES_MAX: u16 = 16;

/// Validators of a new network unless somebody says otherwise: the fewest that agree while one is gone.
const VALIDATORS_DEFAULT: u16 = 4;

/// Where the number of a node stands in a pattern of hosts.
const PLACE: &str = "{}";

/// Where nodes are found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hosts {
    /// All on this machine, each with ports of its own.
    ThisMachine,
    /// Each on a host of its own, with the same ports.
    Named {
        /// What stands before the node's number.
        before: String,
        /// What stands after it.
        after: String,
    },
}

impl Hosts {
    /// Reads a pattern like `node{}`.
    pub fn parse(pattern: &str) -> Result<Self, String> {
        let is_fit = |part: &str| {
            part.chars()
                .all(|sign| sign.is_ascii_alphanumeric() || "-.:".contains(sign))
        };
        match pattern.split_once(PLACE) {
            Some((before, after)) if is_fit(before) && is_fit(after) => Ok(Self::Named {
                before: before.to_owned(),
                after: after.to_owned(),
            }),
            _ => Err(format!(
                "{pattern:?} does not name hosts: write the number's place once as {PLACE}, like node{PLACE} or \
                 10.1.0.{PLACE}"
            )),
        }
    }

    /// Returns the multiaddr part of a node's host.
    fn multiaddr(&self, number: u16) -> String {
        match self {
            Self::ThisMachine => "/ip4/127.0.0.1".to_owned(),
            Self::Named { before, after } => {
                let host = format!("{before}{number}{after}");
                match host.parse::<IpAddr>() {
                    Ok(IpAddr::V4(_)) => format!("/ip4/{host}"),
                    Ok(IpAddr::V6(_)) => format!("/ip6/{host}"),
                    Err(_) => format!("/dns4/{host}"),
                }
            }
        }
    }
}

/// The ports of a node; of the first one, in a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ports {
    /// JSON-RPC.
    pub rpc: u16,
    /// Peers.
    pub network: u16,
    /// Metrics.
    pub metrics: u16,
}

impl Ports {
    /// Returns the ports `places` further on; `None` past the last port.
    fn checked_add(self, places: u16) -> Option<Self> {
        Some(Self {
            rpc: self.rpc.checked_add(places)?,
            network: self.network.checked_add(places)?,
            metrics: self.metrics.checked_add(places)?,
        })
    }
}

/// What is asked for.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Validators; those of the chain, or the default of a new one, when it is `None`.
    pub validators: Option<u16>,
    /// Nodes that follow.
    pub full_nodes: u16,
    /// Length of a step; as with the validators.
    pub step_ms: Option<u64>,
    /// How the community shares; as with the validators.
    pub key: Option<KeyKind>,
    /// How long after the set-up step 1 of a new chain begins, in seconds.
    pub begin_in_s: u64,
    /// What validators bid.
    pub bid: BidPolicy,
    /// Where the nodes are.
    pub hosts: Hosts,
    /// The first node's ports.
    pub ports: Ports,
    /// How each stores the chain.
    pub database: DatabaseKind,
    /// Which states each keeps.
    pub pruning: StatePruning,
    /// Others that they let in.
    pub reserved: Vec<PeerId>,
    /// Their log filter.
    pub log: Option<String>,
}

/// A node that is set up.
#[derive(Clone, Debug)]
pub struct PlannedNode {
    /// From 1.
    pub number: u16,
    /// What it is called.
    pub name: String,
    /// Path of the key of its validator, like `Alice`; `None` for a full node.
    pub validator: Option<String>,
    /// Its folder.
    pub folder: PathBuf,
    /// Its ports.
    pub ports: Ports,
    /// Its identity among its peers.
    pub peer_id: String,
    /// Arguments to start it with.
    pub flags: Vec<String>,
}

impl PlannedNode {
    /// Returns the validator's account; `None` for a full node.
    pub fn account(&self) -> Option<AccountId> {
        self.validator.as_deref().map(account_of)
    }

    /// Returns the file of its log.
    pub fn log(&self) -> PathBuf {
        self.folder.join("log")
    }
}

/// A network that is set up, and locked as long as this lives.
#[derive(Debug)]
pub struct Network {
    /// The chain.
    pub spec: ChainSpec,
    /// Whether the chain is new.
    pub is_new: bool,
    /// Validators, then full nodes.
    pub nodes: Vec<PlannedNode>,
    _lock: File,
}

/// Returns the path, below the development phrase, of a validator's keys and account.
fn validator_path(number: u16) -> String {
    DEVELOPERS
        .get(usize::from(number.saturating_sub(1)))
        // Not a path of two: secrets read a number that stands alone as one, and not as its digits.
        .map_or_else(|| format!("Validator{number}"), |name| (*name).to_owned())
}

fn account_of(validator: &str) -> AccountId {
    ed25519_key(&format!("//{validator}")).public().0.into()
}

/// Returns the chain of a local network: the demo community, with as many validators.
pub fn local_spec(
    community: &Community,
    kind: KeyKind,
    timing: StepTiming,
    validators: u16,
) -> ChainSpec {
    let mut genesis = community::genesis(community, kind, timing);
    let coins = genesis.coins.first().map_or(0, |(_, coins)| *coins);
    genesis.validators = (1..=validators)
        .map(validator_path)
        .map(|path| GenesisValidator {
            account: account_of(&path),
            keys: community::session_keys(&path),
        })
        .collect();
    for validator in &genesis.validators {
        if !genesis.members.contains(&validator.account) {
            genesis.members.push(validator.account.clone());
            genesis.coins.push((validator.account.clone(), coins));
        }
    }
    ChainSpec {
        name: "Commonwatt Local Network".into(),
        id: CHAIN_ID.into(),
        chain_type: ChainType::Local,
        boot_nodes: Vec::new(),
        protocol_id: "cwlocal".into(),
        properties: ChainSpec::default_properties(),
        genesis,
    }
}

impl Plan {
    /// Sets the network up below `base`, or what is missing of it.
    pub fn set_up(&self, base: &Path, community: &Community) -> Result<Network> {
        create_folders(base).with_context(|| {
            format!(
                "cannot create {}; choose another folder with --base-path",
                base.display()
            )
        })?;
        let lock = lock(base)?;
        let (spec, is_new) = self.load_or_begin(base, community)?;
        let validators = u16::try_from(spec.genesis.validators.len())
            .context("the chain has more validators than one machine runs")?;
        let count = validators.saturating_add(self.full_nodes);
        let mut nodes = (1..=count)
            .map(|number| self.set_up_node(base, number, validators))
            .collect::<Result<Vec<_>>>()?;
        let peers: Vec<_> = nodes
            .iter()
            .map(|node| (self.address(node), node.validator.is_some()))
            .collect();
        for (place, node) in nodes.iter_mut().enumerate() {
            let others = peers
                .iter()
                .enumerate()
                .filter(|(other, _)| *other != place);
            node.flags = self.flags(node, others.map(|(_, peer)| peer));
            let text = node.flags.join("\n") + "\n";
            replace(&node.folder.join("flags"), &text)?;
            let folder = ChainFolder::create(&node.folder, CHAIN_ID)?;
            write_new(&folder.chain_spec(), &spec.to_json())?;
        }
        Ok(Network {
            spec,
            is_new,
            nodes,
            _lock: lock,
        })
    }

    /// Returns the spec of the network in `base`; begins a new one there when there is none.
    fn load_or_begin(&self, base: &Path, community: &Community) -> Result<(ChainSpec, bool)> {
        let path = base.join("chain-spec.json");
        if path.exists() {
            let spec = ChainSpec::read(&path)?;
            self.verify_unchanged(&spec, base, community)?;
            return Ok((spec, false));
        }
        let mut timing = community::DEV_TIMING;
        if let Some(step_ms) = self.step_ms {
            scale(&mut timing, step_ms);
        }
        // On a whole second, when all nodes are up.
        let begin_ms = now_ms().saturating_add(self.begin_in_s.saturating_mul(1_000));
        timing.genesis_ms = begin_ms.div_ceil(1_000).saturating_mul(1_000);
        let validators = self.validators.unwrap_or(VALIDATORS_DEFAULT);
        let spec = local_spec(community, self.key.unwrap_or_default(), timing, validators);
        spec.verify()?;
        write_new(&path, &spec.to_json())?;
        Ok((spec, true))
    }

    fn verify_unchanged(&self, spec: &ChainSpec, base: &Path, community: &Community) -> Result<()> {
        let mend = |flag: &str| {
            format!(
                "leave out {flag}, remove {} to begin anew, or choose another folder with --base-path",
                base.display()
            )
        };
        let there = base.display();
        ensure!(
            spec.id == CHAIN_ID,
            "{there} holds the chain {:?}, which is no local network: choose another folder with --base-path",
            spec.id
        );
        let validators = spec.genesis.validators.len();
        if let Some(asked) = self.validators
            && usize::from(asked) != validators
        {
            bail!(
                "the network in {there} has {validators} validators, not {asked}: {}",
                mend("--validators")
            );
        }
        let step_ms = spec.genesis.timing.step_ms;
        if let Some(asked) = self.step_ms
            && asked != step_ms
        {
            bail!(
                "the network in {there} has steps of {step_ms} ms, not {asked}: {}",
                mend("--step-ms")
            );
        }
        if let Some(asked) = self.key {
            let other = community::genesis(community, asked, spec.genesis.timing);
            ensure!(
                other.agreement == spec.genesis.agreement,
                "the network in {there} began with another key than {}: {}",
                asked.as_str(),
                mend("--key")
            );
        }
        Ok(())
    }

    /// Makes the folder and the keys of a node.
    fn set_up_node(&self, base: &Path, number: u16, validators: u16) -> Result<PlannedNode> {
        let name = format!("node{number}");
        let folder = base.join(&name);
        let chain = ChainFolder::create(&folder, CHAIN_ID)?;
        let validator = (number <= validators).then(|| validator_path(number));
        if let Some(path) = &validator {
            let secret = format!("//{path}");
            insert_keys(&chain, &secret)?;
            let account = folder.join("account");
            if !account.exists() {
                files::write_private(&account, secret.as_bytes())?;
            }
        }
        let ports = match self.hosts {
            Hosts::ThisMachine => self.ports.checked_add(number.saturating_sub(1)),
            Hosts::Named { .. } => Some(self.ports),
        };
        Ok(PlannedNode {
            number,
            validator,
            peer_id: take_node_key(&chain)?,
            ports: ports.with_context(|| {
                format!(
                    "the ports of {name} would be past the last one, 65535: begin with lower ones"
                )
            })?,
            name,
            folder,
            flags: Vec::new(),
        })
    }

    /// Returns where peers find a node.
    fn address(&self, node: &PlannedNode) -> String {
        let host = self.hosts.multiaddr(node.number);
        format!("{host}/tcp/{}/p2p/{}", node.ports.network, node.peer_id)
    }

    /// Returns the arguments to start a node with; `others` are the addresses of the other nodes, and whether each is a
    /// validator.
    fn flags<'a>(
        &self,
        node: &PlannedNode,
        others: impl Iterator<Item = &'a (String, bool)>,
    ) -> Vec<String> {
        let path = |path: &Path| path.to_string_lossy().into_owned();
        let mut flags = vec![
            format!("--chain={CHAIN_ID}"),
            format!("--base-path={}", path(&node.folder)),
            format!("--name={}", node.name),
            format!("--rpc-port={}", node.ports.rpc),
            format!("--prometheus-port={}", node.ports.metrics),
            format!("--database={}", self.database),
            format!("--state-pruning={}", self.pruning),
        ];
        let listen = match self.hosts {
            Hosts::ThisMachine => "/ip4/127.0.0.1",
            Hosts::Named { .. } => {
                flags.push("--rpc-external".into());
                flags.push("--rpc-methods=safe".into());
                flags.push("--prometheus-external".into());
                "/ip4/0.0.0.0"
            }
        };
        flags.push(format!("--listen-addr={listen}/tcp/{}", node.ports.network));
        for (address, is_validator) in others {
            // Validators know each other by the chain; full nodes have to be named to be let in.
            let flag = match is_validator {
                true => "--bootnodes",
                false => "--reserved-nodes",
            };
            flags.push(format!("{flag}={address}"));
        }
        for peer in &self.reserved {
            flags.push(format!("--reserved-nodes={peer}"));
        }
        if node.validator.is_some() {
            flags.push("--validator".into());
            if self.bid != BidPolicy::Off {
                flags.push(format!("--bid={}", self.bid));
                let account = node.folder.join("account");
                flags.push(format!("--bid-account-suri-file={}", path(&account)));
            }
        }
        if let Some(log) = &self.log {
            flags.push(format!("--log={log}"));
        }
        flags
    }
}

/// Keeps other processes from running the network in `base`.
fn lock(base: &Path) -> Result<File> {
    let path = base.join("lock");
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .with_context(|| format!("cannot open {}", path.display()))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => bail!(
            "another process runs the network in {}; stop it, or give this one another folder with --base-path and \
             other ports",
            base.display()
        ),
        Err(TryLockError::Error(error)) => {
            Err(error).with_context(|| format!("cannot lock {}", path.display()))
        }
    }
}

/// Stores a validator's session keys unless they are there.
fn insert_keys(chain: &ChainFolder, secret: &str) -> Result<()> {
    let keystore = Keystore::open(chain.keystore(), None)?;
    let before = keystore.list()?;
    let secret = SecretUri::parse(secret)?;
    for purpose in Purpose::ALL {
        let public = secret.to_pair(purpose.scheme())?.public();
        let is_there = before
            .iter()
            .any(|key| key.purpose == purpose && key.public == public);
        if !is_there {
            keystore.insert(purpose, &secret)?;
        }
    }
    Ok(())
}

/// Makes the node key unless there is one; returns the peer id.
fn take_node_key(chain: &ChainFolder) -> Result<String> {
    let path = chain.network().join(NodeKey::FILE_NAME);
    if let Some(key) = NodeKey::read(&path)? {
        return Ok(key.peer_id());
    }
    let key = NodeKey::generate()?;
    key.write(&path)?;
    Ok(key.peer_id())
}

/// Writes a file so that it is on disk whole, or the former one is.
fn replace(path: &Path, text: &str) -> Result<()> {
    let write = || -> io::Result<()> {
        let mut draft = Draft::begin(path)?;
        draft.file().write_all(text.as_bytes())?;
        draft.replace()
    };
    write().with_context(|| format!("cannot write {}", path.display()))
}

/// Returns how many full nodes the network in `base` was last set up with; none when there is no network.
pub fn count_full_nodes(base: &Path) -> Result<u16> {
    let path = base.join("chain-spec.json");
    if !path.exists() {
        return Ok(0);
    }
    let validators = ChainSpec::read(&path)?.genesis.validators.len();
    let set_up = (1..=VALIDATORS_MAX.saturating_add(FULL_NODES_MAX))
        .take_while(|number| base.join(format!("node{number}")).join("flags").is_file())
        .count();
    let full = set_up.saturating_sub(validators);
    Ok(u16::try_from(full)
        .unwrap_or(FULL_NODES_MAX)
        .min(FULL_NODES_MAX))
}

/// Returns how many bytes a node's log has.
pub fn log_bytes(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |metadata| metadata.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use commonwatt_keystore::Scheme;
    use std::collections::BTreeSet;

    fn plan() -> Plan {
        Plan {
            validators: Some(4),
            full_nodes: 1,
            step_ms: Some(2_000),
            key: None,
            begin_in_s: 0,
            bid: BidPolicy::Share(5),
            hosts: Hosts::ThisMachine,
            ports: Ports {
                rpc: 9_944,
                network: 30_333,
                metrics: 9_615,
            },
            database: DatabaseKind::default(),
            pruning: StatePruning::Archive,
            reserved: Vec::new(),
            log: None,
        }
    }

    fn set_up(plan: &Plan, base: &Path) -> Result<Network> {
        plan.set_up(base, &Community::demo().unwrap())
    }

    fn refusal(plan: &Plan, base: &Path) -> String {
        format!("{:#}", set_up(plan, base).unwrap_err())
    }

    #[test]
    fn a_network_of_any_size_has_a_sound_chain() {
        let community = Community::demo().unwrap();
        for validators in [1, 6, 7, VALIDATORS_MAX] {
            let mut timing = community::DEV_TIMING;
            timing.genesis_ms = 1;
            let spec = local_spec(&community, KeyKind::Static, timing, validators);
            spec.verify().unwrap();
            let accounts: BTreeSet<_> = spec
                .genesis
                .validators
                .iter()
                .map(|validator| &validator.account)
                .collect();
            assert_eq!(accounts.len(), usize::from(validators));
            assert!(
                accounts
                    .iter()
                    .all(|who| spec.genesis.members.contains(who))
            );
        }
    }

    #[test]
    fn each_node_has_its_own_folder_ports_and_identity() {
        let base = tempfile::tempdir().unwrap();
        let network = set_up(&plan(), base.path()).unwrap();
        assert!(network.is_new);
        assert_eq!(network.nodes.len(), 5);
        let peers: BTreeSet<_> = network.nodes.iter().map(|node| &node.peer_id).collect();
        assert_eq!(peers.len(), 5);
        for (node, number) in network.nodes.iter().zip(1u16..) {
            assert_eq!(node.ports.rpc, 9_943 + number);
            assert_eq!(node.ports.network, 30_332 + number);
            assert_eq!(node.ports.metrics, 9_614 + number);
            let chain = ChainFolder::find(&node.folder, CHAIN_ID).unwrap();
            let spec = ChainSpec::read(&chain.chain_spec()).unwrap();
            assert_eq!(
                spec.genesis_hash().unwrap(),
                network.spec.genesis_hash().unwrap()
            );
            let keystore = Keystore::open(chain.keystore(), None).unwrap();
            let Some(validator) = &node.validator else {
                assert_eq!(number, 5);
                assert!(keystore.list().unwrap().is_empty());
                continue;
            };
            keystore
                .session_pair(&community::session_keys(validator))
                .unwrap();
            let of_spec = &network.spec.genesis.validators[usize::from(number) - 1];
            assert_eq!(node.account().as_ref(), Some(&of_spec.account));
        }
    }

    #[test]
    fn the_secrets_of_many_validators_are_those_that_the_chain_knows() {
        let base = tempfile::tempdir().unwrap();
        let mut many = plan();
        many.validators = Some(8);
        let network = set_up(&many, base.path()).unwrap();
        for (node, of_spec) in network.nodes.iter().zip(&network.spec.genesis.validators) {
            let secret = fs::read(node.folder.join("account")).unwrap();
            let pair = SecretUri::from_file_content(&secret)
                .unwrap()
                .to_pair(Scheme::Ed25519)
                .unwrap();
            assert_eq!(
                AccountId::new(pair.public()),
                of_spec.account,
                "{}",
                node.name
            );
            let chain = ChainFolder::create(&node.folder, CHAIN_ID).unwrap();
            let keystore = Keystore::open(chain.keystore(), None).unwrap();
            keystore.session_pair(&of_spec.keys).unwrap();
        }
    }

    #[test]
    fn every_node_is_told_of_all_others_and_not_of_itself() {
        let base = tempfile::tempdir().unwrap();
        let network = set_up(&plan(), base.path()).unwrap();
        for node in &network.nodes {
            let named = |flag: &str, other: &PlannedNode| {
                node.flags
                    .iter()
                    .any(|word| word.starts_with(flag) && word.ends_with(&other.peer_id))
            };
            for other in &network.nodes {
                let is_other = other.number != node.number;
                let is_validator = other.validator.is_some();
                assert_eq!(named("--bootnodes=", other), is_other && is_validator);
                assert_eq!(named("--reserved-nodes=", other), is_other && !is_validator);
            }
            let file = fs::read_to_string(node.folder.join("flags")).unwrap();
            assert_eq!(file.lines().collect::<Vec<_>>(), node.flags);
        }
    }

    #[test]
    fn a_set_up_is_repeated_without_harm() {
        let base = tempfile::tempdir().unwrap();
        let first = set_up(&plan(), base.path()).unwrap();
        let before: Vec<_> = first
            .nodes
            .iter()
            .map(|node| node.peer_id.clone())
            .collect();
        let genesis = first.spec.genesis_hash().unwrap();
        drop(first);
        let mut bare = plan();
        bare.validators = None;
        bare.step_ms = None;
        let again = set_up(&bare, base.path()).unwrap();
        assert!(!again.is_new);
        let after: Vec<_> = again
            .nodes
            .iter()
            .map(|node| node.peer_id.clone())
            .collect();
        assert_eq!(after, before);
        assert_eq!(again.spec.genesis_hash().unwrap(), genesis);
        assert_eq!(count_full_nodes(base.path()).unwrap(), 1);
    }

    #[test]
    fn another_network_than_the_one_there_is_refused_with_the_mend() {
        let base = tempfile::tempdir().unwrap();
        drop(set_up(&plan(), base.path()).unwrap());
        let mut other = plan();
        other.validators = Some(7);
        let said = refusal(&other, base.path());
        assert!(said.contains("has 4 validators, not 7"), "{said}");
        assert!(said.contains("leave out --validators"), "{said}");
        let mut other = plan();
        other.step_ms = Some(6_000);
        let said = refusal(&other, base.path());
        assert!(said.contains("steps of 2000 ms, not 6000"), "{said}");
        let mut other = plan();
        other.key = Some(KeyKind::Prorata);
        let said = refusal(&other, base.path());
        assert!(said.contains("another key than prorata"), "{said}");
    }

    #[test]
    fn one_process_at_a_time_runs_a_network() {
        let base = tempfile::tempdir().unwrap();
        let running = set_up(&plan(), base.path()).unwrap();
        let said = refusal(&plan(), base.path());
        assert!(said.contains("another process runs the network"), "{said}");
        drop(running);
        set_up(&plan(), base.path()).unwrap();
    }

    #[test]
    fn hosts_of_their_own_share_their_ports() {
        let base = tempfile::tempdir().unwrap();
        let mut named = plan();
        named.hosts = Hosts::parse("node{}").unwrap();
        let network = set_up(&named, base.path()).unwrap();
        let node = &network.nodes[4];
        assert_eq!(node.ports, named.ports);
        let first = format!(
            "--bootnodes=/dns4/node1/tcp/30333/p2p/{}",
            network.nodes[0].peer_id
        );
        assert!(node.flags.contains(&first), "{:?}", node.flags);
        for flag in ["--rpc-external", "--listen-addr=/ip4/0.0.0.0/tcp/30333"] {
            assert!(node.flags.iter().any(|word| word == flag), "{flag}");
        }
    }

    #[test]
    fn a_pattern_names_hosts_or_addresses() {
        let multiaddr = |pattern| Hosts::parse(pattern).unwrap().multiaddr(3);
        assert_eq!(multiaddr("node{}"), "/dns4/node3");
        assert_eq!(multiaddr("10.1.0.{}"), "/ip4/10.1.0.3");
        assert_eq!(multiaddr("fd00::{}"), "/ip6/fd00::3");
        for wrong in ["node", "node{}{}", "no de{}", "a/{}"] {
            assert!(Hosts::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn ports_past_the_last_one_are_refused() {
        let base = tempfile::tempdir().unwrap();
        let mut high = plan();
        high.ports.network = 65_533;
        let said = refusal(&high, base.path());
        assert!(said.contains("ports of node4"), "{said}");
    }
}
