//! Arguments that several commands take, and what they mean.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Result, bail, ensure};
use clap::{
    Args,
    builder::{PossibleValuesParser, TypedValueParser},
};
use commonwatt_rpc::{Cors, Hosts, RpcConfig, Safety};
use commonwatt_storage::{DatabaseKind, DbConfig, StatePruning};

use crate::{
    paths::{ChainFolder, default_base_path, write_new},
    report::shell_word,
    spec::{self, ChainSpec},
};

const MIB: u32 = 1024 * 1024;

/// Heading of the help on JSON-RPC.
const RPC: &str = "JSON-RPC, for wallets, tools and web pages";

/// Heading of the help on metrics.
const METRICS: &str = "Metrics, for Prometheus";

/// Heading of the help on storage.
const STORAGE: &str = "Storage";

// ---------------------------------------------------------------------------------- which chain

/// Which chain a command is about.
#[derive(Clone, Debug, Default, Args)]
pub struct ChainArgs {
    /// The chain: its chain spec (a file), or the id of a chain that was set up below the base path
    /// [default: the only chain there]
    #[arg(long, value_name = "FILE|ID")]
    pub chain: Option<String>,
    /// Folder below which chains are kept [default: ~/.local/share/commonwatt]
    #[arg(long, value_name = "FOLDER")]
    pub base_path: Option<PathBuf>,
}

impl ChainArgs {
    /// Returns the folder below which chains are kept.
    pub fn base(&self) -> Result<PathBuf> {
        match &self.base_path {
            Some(base) => Ok(base.clone()),
            None => default_base_path(),
        }
    }

    /// Returns folder and spec of the chain, which need not have been set up: its folder is created, and a copy of
    /// the spec put there.
    pub fn open_or_create(&self) -> Result<(ChainFolder, ChainSpec)> {
        let base = self.base()?;
        let Some(file) = self.spec_file() else {
            return self.existing();
        };
        let spec = ChainSpec::read(file)?;
        let folder = ChainFolder::create(&base, &spec.id)?;
        let kept = folder.chain_spec();
        if !kept.exists() {
            write_new(&kept, &spec.to_json())?;
        }
        verify_same_chain(&folder, &spec)?;
        Ok((folder, spec))
    }

    /// Returns folder and spec of a chain that was set up before.
    pub fn existing(&self) -> Result<(ChainFolder, ChainSpec)> {
        let base = self.base()?;
        let id = match (&self.chain, self.spec_file()) {
            (_, Some(file)) => {
                let spec = ChainSpec::read(file)?;
                let folder = find(&base, &spec.id)?;
                verify_same_chain(&folder, &spec)?;
                return Ok((folder, spec));
            }
            (Some(id), None) => id.clone(),
            (None, None) => only_chain(&base)?,
        };
        ensure!(
            spec::is_id(&id),
            "--chain {id:?} is neither a file nor a chain's id: name the chain spec"
        );
        let folder = find(&base, &id)?;
        let spec = ChainSpec::read(&folder.chain_spec())?;
        Ok((folder, spec))
    }

    /// Returns the folder that a validator's keys and a node's identity lie in: also before there is a chain spec, for which
    /// the keys are made first.
    pub fn key_folder(&self) -> Result<ChainFolder> {
        let error = match self.existing() {
            Ok((folder, _)) => return Ok(folder),
            Err(error) => error,
        };
        let base = self.base()?;
        let id = match (&self.chain, self.spec_file()) {
            (Some(id), None) if spec::is_id(id) => id.clone(),
            (None, None) => match <[String; 1]>::try_from(ChainFolder::list_keys(&base)?) {
                Ok([id]) => id,
                Err(_) => return Err(error),
            },
            _ => return Err(error),
        };
        // One whose spec is there has told already what is wrong with it.
        ChainFolder::find_keys(&base, &id)
            .filter(|folder| !folder.chain_spec().exists())
            .ok_or(error)
    }

    /// Returns the chain spec that `--chain` names, if it names a file.
    pub fn spec_file(&self) -> Option<&Path> {
        let chain = self.chain.as_deref()?;
        let is_file = chain.contains(['/', '\\', '.']) || Path::new(chain).is_file();
        is_file.then_some(Path::new(chain))
    }
}

/// Returns the flag that names a base path to another command, if that needs one.
pub fn base_flag(base: &Path) -> String {
    match default_base_path() {
        Ok(default) if default == base => String::new(),
        _ => format!(" --base-path {}", shell_word(&base.to_string_lossy())),
    }
}

/// Returns the folder of a chain that was set up before.
fn find(base: &Path, id: &str) -> Result<ChainFolder> {
    let Some(folder) = ChainFolder::find(base, id) else {
        let known = ChainFolder::list(base)?;
        bail!(
            "there is no chain {id:?} in {}{}; set it up with `commonwatt init --chain FILE{}`, or name another \
             folder with --base-path",
            base.display(),
            if known.is_empty() {
                String::new()
            } else {
                format!(" (there is: {})", known.join(", "))
            },
            base_flag(base)
        );
    };
    Ok(folder)
}

/// Returns the id of the only chain below `base`.
fn only_chain(base: &Path) -> Result<String> {
    let mut known = ChainFolder::list(base)?;
    match (known.pop(), known.is_empty()) {
        (Some(id), true) => Ok(id),
        (None, _) => bail!(
            "no chain was set up in {} yet: name its chain spec with --chain FILE, or set it up first with \
             `commonwatt init --chain FILE{}`; `commonwatt dev` runs a demonstration without either",
            base.display(),
            base_flag(base)
        ),
        (Some(id), false) => {
            known.push(id);
            bail!(
                "there are several chains in {}: say which with --chain {}",
                base.display(),
                known.join(" or --chain ")
            )
        }
    }
}

/// Checks that the chain kept in a folder begins as `spec` says.
fn verify_same_chain(folder: &ChainFolder, spec: &ChainSpec) -> Result<()> {
    let kept = ChainSpec::read(&folder.chain_spec())?;
    let (found, asked) = (kept.genesis_hash()?, spec.genesis_hash()?);
    ensure!(
        found == asked,
        "{} holds another chain of the id {:?}: its genesis is {found:?}, the given chain spec's is {asked:?}. Use the \
         spec the chain was begun with (leave --chain out, or say --chain {}); if this one mends it before the first \
         block, take it over with `commonwatt init --chain FILE`; or name another folder with --base-path",
        folder.path().display(),
        spec.id,
        spec.id
    );
    Ok(())
}

// ---------------------------------------------------------------------------------- storage

/// How the chain is stored.
#[derive(Clone, Copy, Debug, Args)]
#[command(next_help_heading = STORAGE)]
pub struct StorageArgs {
    /// Database back end; a chain keeps the one it began with
    #[arg(long, default_value_t, value_parser = database_parser())]
    pub database: DatabaseKind,
    /// States to keep: `archive` for all, or those after the last N blocks. Blocks are always kept
    #[arg(long, default_value_t, value_name = "archive|N")]
    pub state_pruning: StatePruning,
    /// Memory for decoded parts of the state, in MiB
    #[arg(long, default_value_t = 64, value_name = "MIB", value_parser = clap::value_parser!(u16).range(1..=16_384))]
    pub state_cache: u16,
}

/// Reads the name of a back end, and lets shells complete it.
pub fn database_parser() -> impl TypedValueParser<Value = DatabaseKind> {
    PossibleValuesParser::new(DatabaseKind::ALL.map(DatabaseKind::name))
        .try_map(|name| name.parse::<DatabaseKind>())
}

impl StorageArgs {
    /// Returns the database's configuration.
    pub fn config(&self) -> DbConfig {
        DbConfig {
            kind: self.database,
            pruning: self.state_pruning,
            trie_cache_bytes: usize::from(self.state_cache) * 1024 * 1024,
            ..DbConfig::default()
        }
    }
}

// ---------------------------------------------------------------------------------- JSON-RPC

/// How JSON-RPC is served.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = RPC)]
pub struct RpcArgs {
    /// Port of JSON-RPC, HTTP and WebSocket
    #[arg(long, default_value_t = 9944, value_name = "PORT")]
    rpc_port: u16,
    /// Let other machines connect. Put a reverse proxy with TLS before it, and `--rpc-methods safe`
    #[arg(long)]
    rpc_external: bool,
    /// Methods that may be called: `auto` allows the unsafe ones as long as only this machine can connect
    #[arg(long, value_enum, default_value_t = Methods::Auto, value_name = "WHICH")]
    rpc_methods: Methods,
    /// The same as `--rpc-methods unsafe`
    #[arg(long, conflicts_with = "rpc_methods")]
    rpc_unsafe: bool,
    /// Web page that may call JSON-RPC, like https://example.org; several times or with commas for several, or `all`
    /// [default: pages of this machine and https://polkadot.js.org]
    #[arg(long, value_name = "ORIGIN", value_delimiter = ',')]
    rpc_cors: Vec<String>,
    /// Name under which the node may be reached (the `Host` of a request), like rpc.example.org:*; several times or with
    /// commas for several, or `all` [default: none besides
    /// this machine's own names, or any with --rpc-external]
    #[arg(long, value_name = "HOST", value_delimiter = ',')]
    rpc_hosts: Vec<String>,
    /// Connections at one time
    #[arg(long, value_name = "COUNT", default_value_t = RpcConfig::default().max_connections,
        value_parser = clap::value_parser!(u32).range(1..=65_535))]
    rpc_max_connections: u32,
    /// Largest request, in MiB
    #[arg(long, value_name = "MIB", default_value_t = RpcConfig::default().max_request_bytes / MIB,
        value_parser = clap::value_parser!(u32).range(1..=64))]
    rpc_max_request_size: u32,
    /// Largest answer, in MiB
    #[arg(long, value_name = "MIB", default_value_t = RpcConfig::default().max_response_bytes / MIB,
        value_parser = clap::value_parser!(u32).range(1..=256))]
    rpc_max_response_size: u32,
    /// Subscriptions of one connection
    #[arg(long, value_name = "COUNT", default_value_t = RpcConfig::default().max_subscriptions_per_connection,
        value_parser = clap::value_parser!(u32).range(1..=65_535))]
    rpc_max_subscriptions_per_connection: u32,
    /// Subscriptions of all connections
    #[arg(long, value_name = "COUNT", default_value_t = RpcConfig::default().max_subscriptions,
        value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    rpc_max_subscriptions: u32,
    /// Longest time for an answer, in seconds, waiting included
    #[arg(long, value_name = "SECONDS", default_value_t = RpcConfig::default().max_answer_time.as_secs(),
        value_parser = clap::value_parser!(u64).range(1..=3_600))]
    rpc_max_answer_time: u64,
    /// Memory for requests and answers that wait, of all connections, in MiB; beyond it the connection that owes most is
    /// cut. The process takes several times as much
    #[arg(long, value_name = "MIB", default_value_t = default_waiting_mib(),
        value_parser = clap::value_parser!(u32).range(1..=65_535))]
    rpc_max_waiting_size: u32,
    /// Requests in one batch
    #[arg(long, value_name = "COUNT", default_value_t = RpcConfig::default().max_batch,
        value_parser = clap::value_parser!(u32).range(1..=65_535))]
    rpc_max_batch_request_len: u32,
    /// Messages kept for a connection that reads too slowly
    #[arg(long, value_name = "COUNT", default_value_t = RpcConfig::default().max_unread_messages,
        value_parser = clap::value_parser!(u32).range(1..=65_535))]
    rpc_message_buffer_capacity_per_connection: u32,
}

/// Which methods may be called, as the command line knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Methods {
    /// All when only this machine can connect, the safe ones otherwise.
    Auto,
    /// Those that can neither harm the node nor keep it busy.
    Safe,
    /// All, whoever connects.
    Unsafe,
}

impl RpcArgs {
    /// Returns the server's configuration.
    pub fn config(&self) -> RpcConfig {
        let methods = match self.rpc_methods {
            _ if self.rpc_unsafe => Safety::Unsafe,
            Methods::Auto => Safety::Auto,
            Methods::Safe => Safety::Safe,
            Methods::Unsafe => Safety::Unsafe,
        };
        RpcConfig {
            listen: listen_at(self.rpc_port, self.rpc_external),
            methods,
            cors: match self.rpc_cors.as_slice() {
                [] => Cors::default(),
                origins if is_all(origins) => Cors::Any,
                origins => Cors::Origins(origins.to_vec()),
            },
            hosts: match self.rpc_hosts.as_slice() {
                [] => Hosts::Auto,
                hosts if is_all(hosts) => Hosts::Any,
                hosts => Hosts::Only(hosts.to_vec()),
            },
            max_connections: self.rpc_max_connections,
            max_request_bytes: self.rpc_max_request_size.saturating_mul(MIB),
            max_response_bytes: self.rpc_max_response_size.saturating_mul(MIB),
            max_subscriptions_per_connection: self.rpc_max_subscriptions_per_connection,
            max_subscriptions: self.rpc_max_subscriptions,
            max_answer_time: Duration::from_secs(self.rpc_max_answer_time),
            max_waiting_bytes: mib_to_bytes(self.rpc_max_waiting_size),
            max_batch: self.rpc_max_batch_request_len,
            max_unread_messages: self.rpc_message_buffer_capacity_per_connection,
            ..RpcConfig::default()
        }
    }
}

fn mib_to_bytes(mib: u32) -> usize {
    usize::try_from(u64::from(mib) * u64::from(MIB)).unwrap_or(usize::MAX)
}

fn default_waiting_mib() -> u32 {
    let mib = RpcConfig::default().max_waiting_bytes / mib_to_bytes(1);
    u32::try_from(mib).unwrap_or(u32::MAX)
}

fn is_all(given: &[String]) -> bool {
    given.iter().any(|one| one == "all")
}

fn listen_at(port: u16, is_external: bool) -> SocketAddr {
    let ip = if is_external {
        Ipv4Addr::UNSPECIFIED
    } else {
        Ipv4Addr::LOCALHOST
    };
    (IpAddr::V4(ip), port).into()
}

// ---------------------------------------------------------------------------------- metrics

/// How metrics are served.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = METRICS)]
pub struct MetricsArgs {
    /// Port of the metrics, and of /health and /health/readiness
    #[arg(long, default_value_t = 9615, value_name = "PORT")]
    prometheus_port: u16,
    /// Let other machines read the metrics
    #[arg(long)]
    prometheus_external: bool,
    /// Serve no metrics
    #[arg(long, conflicts_with_all = ["prometheus_port", "prometheus_external"])]
    no_prometheus: bool,
}

impl MetricsArgs {
    /// Returns where metrics are served, if they are.
    pub fn address(&self) -> Option<SocketAddr> {
        (!self.no_prometheus).then(|| listen_at(self.prometheus_port, self.prometheus_external))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Rpc {
        #[command(flatten)]
        rpc: RpcArgs,
    }

    fn rpc(arguments: &[&str]) -> RpcConfig {
        let words = std::iter::once(&"node").chain(arguments);
        Rpc::try_parse_from(words).unwrap().rpc.config()
    }

    #[test]
    fn without_flags_the_server_is_the_default_one() {
        assert_eq!(rpc(&[]), RpcConfig::default());
    }

    #[test]
    fn every_flag_of_the_server_does_something() {
        for arguments in [
            &["--rpc-port", "1"][..],
            &["--rpc-external"],
            &["--rpc-methods", "safe"],
            &["--rpc-unsafe"],
            &["--rpc-cors", "https://a.example"],
            &["--rpc-hosts", "a.example"],
            &["--rpc-max-connections", "1"],
            &["--rpc-max-request-size", "1"],
            &["--rpc-max-response-size", "1"],
            &["--rpc-max-subscriptions-per-connection", "1"],
            &["--rpc-max-subscriptions", "1"],
            &["--rpc-max-answer-time", "1"],
            &["--rpc-max-waiting-size", "1"],
            &["--rpc-max-batch-request-len", "1"],
            &["--rpc-message-buffer-capacity-per-connection", "1"],
        ] {
            assert_ne!(rpc(arguments), RpcConfig::default(), "{arguments:?}");
        }
    }

    #[test]
    fn origins_are_listed_with_commas_or_one_by_one() {
        let both = Cors::Origins(vec!["https://a".into(), "https://b".into()]);
        assert_eq!(rpc(&["--rpc-cors", "https://a,https://b"]).cors, both);
        let one_by_one = ["--rpc-cors", "https://a", "--rpc-cors", "https://b"];
        assert_eq!(rpc(&one_by_one).cors, both);
        assert_eq!(rpc(&["--rpc-cors", "all"]).cors, Cors::Any);
    }

    #[test]
    fn storage_has_its_defaults_and_takes_what_exists() {
        #[derive(Parser)]
        struct Storage {
            #[command(flatten)]
            storage: StorageArgs,
        }
        let storage = |arguments: &[&str]| {
            let words = std::iter::once(&"node").chain(arguments);
            Storage::try_parse_from(words).map(|parsed| parsed.storage.config())
        };
        let default = storage(&[]).unwrap();
        assert_eq!(default.kind, DatabaseKind::Sled);
        assert_eq!(default.pruning, StatePruning::Keep(256));
        let chosen = storage(&["--database", "redb", "--state-pruning", "archive"]).unwrap();
        assert_eq!(chosen.kind, DatabaseKind::Redb);
        assert_eq!(chosen.pruning, StatePruning::Archive);
        for wrong in [
            ["--database", "rocksdb"],
            ["--state-pruning", "0"],
            ["--state-pruning", "all"],
        ] {
            assert!(storage(&wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn keys_are_found_before_their_chain_has_a_spec() {
        let base = tempfile::tempdir().unwrap();
        let args = |chain: Option<&str>| ChainArgs {
            chain: chain.map(Into::into),
            base_path: Some(base.path().to_owned()),
        };
        assert!(args(None).key_folder().is_err());
        let folder = ChainFolder::create(base.path(), "village").unwrap();
        assert!(args(Some("village")).key_folder().is_err());
        std::fs::create_dir(folder.keystore()).unwrap();
        for chain in [None, Some("village")] {
            assert_eq!(args(chain).key_folder().unwrap().path(), folder.path());
        }
        assert!(args(Some("hill")).key_folder().is_err());
        // A spec that is no spec is told, not passed over.
        std::fs::write(folder.chain_spec(), "{}").unwrap();
        assert!(args(Some("village")).key_folder().is_err());
    }

    #[test]
    fn a_chain_is_named_by_file_or_by_id() {
        let named = |chain: &str| ChainArgs {
            chain: Some(chain.into()),
            base_path: None,
        };
        assert!(named("village").spec_file().is_none());
        assert!(named("village.json").spec_file().is_some());
        assert!(named("./village").spec_file().is_some());
    }

    #[test]
    fn without_a_chain_the_only_one_is_meant() {
        let base = tempfile::tempdir().unwrap();
        let said = only_chain(base.path()).unwrap_err().to_string();
        assert!(said.contains("commonwatt init"), "{said}");
        for id in ["hill", "dale"] {
            let folder = ChainFolder::create(base.path(), id).unwrap();
            write_new(&folder.chain_spec(), "{}").unwrap();
        }
        let said = only_chain(base.path()).unwrap_err().to_string();
        assert!(said.contains("--chain dale or --chain hill"), "{said}");
        std::fs::remove_dir_all(base.path().join("chains/dale")).unwrap();
        assert_eq!(only_chain(base.path()).unwrap(), "hill");
    }
}
