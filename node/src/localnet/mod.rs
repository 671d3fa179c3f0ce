//! `commonwatt localnet`: a whole network on one machine, each node a process of its own.
//!
//! This process makes no blocks. It sets the network up, runs this program once for each node, passes the demo
//! community's readings and orders to all of them, and compares what they say. A node that dies is started again; Ctrl-C ends all.
//!
//! ## Not here
//! How a node runs: `run.rs`. What meters report: `gateway.rs`. What members order: `traders.rs`.

mod board;
mod book;
mod monitor;
mod plan;
mod process;

use std::{
    collections::BTreeMap,
    env,
    io::{self, IsTerminal, Write},
    net::{Ipv4Addr, TcpListener},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, Result, anyhow, bail};
use clap::Args;
use commonwatt_community_data::Community;
use commonwatt_network::PeerId;
use commonwatt_primitives::Step;
use commonwatt_storage::{DatabaseKind, StatePruning};
use parking_lot::Mutex;
use serde_json::json;
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
    time::{MissedTickBehavior, interval},
};

use self::{
    board::{LastBlock, NodeStatus, Status, short},
    book::{Book, Contradiction},
    monitor::{Monitor, View},
    plan::{FULL_NODES_MAX, Hosts, Network, Plan, PlannedNode, Ports, VALIDATORS_MAX},
    process::{Condition, Died, Keeper, Phase, Process, Restart},
};
use crate::{
    args::database_parser,
    bidding::BidPolicy,
    community::KeyKind,
    gateway::{self, Tell},
    paths::default_base_path,
    report::{output, say, shell_word},
    signals::Signals,
    stop::{Stop, now_ms},
    threads,
    traders::{self, Trading},
};

/// How often the table at a terminal is drawn anew, and programs get a line.
const DRAW_INTERVAL: Duration = Duration::from_secs(1);

/// How often a log gets a line.
const LINE_INTERVAL: Duration = Duration::from_secs(5);

/// Columns of a terminal that does not say how many it has.
const COLUMNS_DEFAULT: usize = 160;

/// Runs a network of validators on this machine, each a process of its own, with the demo community.
///
/// All keys but the nodes' identities are the well-known development keys: for trying out only. A network is kept and
/// goes on at the next start.
#[derive(Debug, Args)]
pub struct LocalnetCommand {
    /// Validators of a new network [default: 4]
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u16).range(1..=i64::from(VALIDATORS_MAX)))]
    validators: Option<u16>,
    /// Nodes besides that follow the chain and make no blocks [default: those there are, none at first]
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u16).range(0..=i64::from(FULL_NODES_MAX)))]
    full_nodes: Option<u16>,
    /// Length of a step in milliseconds, for a new network [default: 6000]
    #[arg(long, value_name = "MS", value_parser = clap::value_parser!(u64).range(500..=900_000))]
    step_ms: Option<u64>,
    /// How a new network's community shares its energy
    #[arg(long, value_enum, value_name = "KEY")]
    key: Option<KeyKind>,
    /// How long after the set-up a new chain's first step begins, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 3, value_parser = clap::value_parser!(u64).range(0..=86_400))]
    begin_in: u64,
    /// Folder of the network [default: ~/.local/share/commonwatt/localnet]
    #[arg(long, value_name = "FOLDER")]
    base_path: Option<PathBuf>,
    /// Use a temporary folder that is removed at the end
    #[arg(long, conflicts_with = "base_path")]
    tmp: bool,
    /// Leave the temporary folder there, to look at or to go on from
    #[arg(long, requires = "tmp")]
    keep: bool,
    /// What each validator bids for each height: off, share=5% of its free voting tokens, or amount=N of them
    #[arg(long, value_name = "POLICY", default_value = "share=5%")]
    bid: BidPolicy,
    /// Let no meters report, and nobody trade
    #[arg(long)]
    no_meters: bool,
    /// Let the members trade: each places an order for every step, by a simple policy (docs/trading.md)
    #[arg(long, value_enum, default_value_t, value_name = "on|off")]
    trade: Trading,
    /// Leave a node down that dies
    #[arg(long)]
    no_restart: bool,
    /// Print lines of JSON
    #[arg(long)]
    json: bool,
    /// JSON-RPC port of the first node; the others have the next ones
    #[arg(long, value_name = "PORT", default_value_t = 9944, value_parser = clap::value_parser!(u16).range(1..))]
    rpc_port: u16,
    /// The same for peers
    #[arg(long, value_name = "PORT", default_value_t = 30333, value_parser = clap::value_parser!(u16).range(1..))]
    port: u16,
    /// The same for metrics
    #[arg(long, value_name = "PORT", default_value_t = 9615, value_parser = clap::value_parser!(u16).range(1..))]
    prometheus_port: u16,
    /// Database back end of the nodes
    #[arg(long, default_value_t, value_parser = database_parser())]
    database: DatabaseKind,
    /// States that the nodes keep: `archive` for all, or those after the last N blocks
    #[arg(long, default_value_t = StatePruning::Archive, value_name = "archive|N")]
    state_pruning: StatePruning,
    /// Other nodes that are let in, such as a light node, as peer ids
    #[arg(long, value_name = "PEER", num_args = 1..)]
    reserved_nodes: Vec<PeerId>,
    /// Log filter of the nodes [default: warn,commonwatt=info,libp2p_gossipsub=error]
    #[arg(long, value_name = "FILTER")]
    node_log: Option<String>,
    /// Write spec, keys and each node's flags, and start nothing
    #[arg(long)]
    setup_only: bool,
    /// Hosts on which the nodes will run, with {} for a node's number, like node{}: all have the same ports then
    #[arg(long, value_name = "PATTERN", requires = "setup_only", value_parser = Hosts::parse)]
    host_pattern: Option<Hosts>,
}

impl LocalnetCommand {
    /// Runs until a signal comes.
    pub fn run(self) -> Result<()> {
        let temporary = self
            .tmp
            .then(tempfile::tempdir)
            .transpose()
            .context("no temporary folder")?;
        let base = match (&temporary, &self.base_path) {
            (Some(folder), _) => folder.path().to_owned(),
            (None, Some(base)) => base.clone(),
            (None, None) => default_base_path()?.join("localnet"),
        };
        // Nodes run in the same folder as this process, but whoever reads their flags may not.
        let base = std::path::absolute(&base).context("the folder has no absolute path")?;
        let community = Community::demo()?;
        let full_nodes = match self.full_nodes {
            Some(count) => count,
            None => plan::count_full_nodes(&base)?,
        };
        let network = self.plan(full_nodes).set_up(&base, &community)?;
        if self.setup_only {
            return describe_set_up(&network);
        }
        verify_ports(&network.nodes)?;
        let runtime = threads::start_async()?;
        let result = runtime.block_on(self.run_network(&network, &community));
        runtime.shutdown_background();
        if let Some(folder) = temporary
            && self.keep
        {
            let kept = folder.keep();
            let kept = shell_word(&kept.to_string_lossy());
            eprintln!("The network is kept: commonwatt localnet --base-path {kept}");
        }
        result
    }

    fn plan(&self, full_nodes: u16) -> Plan {
        Plan {
            validators: self.validators,
            full_nodes,
            step_ms: self.step_ms,
            key: self.key,
            begin_in_s: self.begin_in,
            bid: self.bid,
            hosts: self.host_pattern.clone().unwrap_or(Hosts::ThisMachine),
            ports: Ports {
                rpc: self.rpc_port,
                network: self.port,
                metrics: self.prometheus_port,
            },
            database: self.database,
            pruning: self.state_pruning,
            reserved: self.reserved_nodes.clone(),
            log: self.node_log.clone(),
        }
    }

    async fn run_network(&self, network: &Network, community: &Community) -> Result<()> {
        let mut signals = Signals::listen()?;
        let style = match (self.json, io::stdout().is_terminal()) {
            (true, _) => Style::Json,
            (false, true) => Style::Table,
            (false, false) => Style::Lines,
        };
        let mut show = Show {
            style,
            drawn_lines: 0,
        };
        show.greet(network, self.tmp)?;
        let restart = match self.no_restart {
            true => Restart::Never,
            false => Restart::WithBackoff,
        };
        let mut running = Running::start(network, restart)?;
        let stop = Stop::default();
        let (notes, mut noted) = mpsc::unbounded_channel();
        let mut meters = JoinSet::new();
        if !self.no_meters {
            let urls: Vec<_> = network.nodes.iter().map(rpc_url).collect();
            let tell = |who: &'static str| -> Tell {
                let notes = notes.clone();
                Arc::new(move |url, text| {
                    // Nobody listens any more once the network ends.
                    let _ = notes.send(format!("{who} at {url}: {text}"));
                })
            };
            for gateway in gateway::spread(&urls, community, &tell("meters"))? {
                meters.spawn(gateway.run(stop.clone()));
            }
            if self.trade == Trading::On {
                for post in traders::spread(&urls, community, &tell("members"))? {
                    meters.spawn(post.run(stop.clone()));
                }
            }
        }

        let mut ticks = interval(show.interval());
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let result = loop {
            tokio::select! {
                _ = signals.next() => break Ok(()),
                _ = ticks.tick() => if let Err(error) = show.show(&running.status(network)) {
                    break Err(error);
                },
                Some(died) = running.deaths.recv() => {
                    if let Err(error) = running.note_death(&mut show, network, &died) {
                        break Err(error);
                    }
                }
                Some(contradiction) = running.contradictions.recv() => {
                    let text = describe(&contradiction, network);
                    if let Err(error) = show.event("contradiction", &text, &[]) {
                        break Err(error);
                    }
                }
                Some(text) = noted.recv() => if let Err(error) = show.event("meters", &text, &[]) {
                    break Err(error);
                },
                Some(ended) = running.keepers.join_next() => {
                    break ended.map_err(|error| anyhow!("a node's keeper failed: {error}")).flatten()
                        .and_then(|()| bail!("nobody keeps a node any more: report this to the developers"));
                }
            }
        };
        // The meters first, so that nothing is on its way to a node that ends.
        stop.ask();
        meters.join_all().await;
        let said = match &result {
            Ok(()) => show.event(
                "stopping",
                "stopping all nodes; a second Ctrl-C kills them",
                &[],
            ),
            Err(_) => Ok(()),
        };
        let ended = running.end(&mut signals).await;
        result.and(said).and(ended)?;
        show.part(&running.status(network), self.tmp && !self.keep)
    }
}

/// The tasks of a network, and what they tell.
struct Running {
    keepers: JoinSet<Result<()>>,
    monitors: JoinSet<()>,
    phase: watch::Sender<Phase>,
    processes: Vec<Arc<Mutex<Process>>>,
    views: Vec<Arc<Mutex<View>>>,
    book: Arc<Mutex<Book>>,
    /// Names of nodes by their validators' addresses.
    names: BTreeMap<String, String>,
    deaths: mpsc::UnboundedReceiver<Died>,
    contradictions: mpsc::UnboundedReceiver<Contradiction>,
}

impl Running {
    fn start(network: &Network, restart: Restart) -> Result<Self> {
        let binary = env::current_exe().context("this program does not know its own path")?;
        let (phase, watched) = watch::channel(Phase::Run);
        // Bounded by how often nodes die, and by the book.
        let (told_of_death, deaths) = mpsc::unbounded_channel();
        let (told_of_contradiction, contradictions) = mpsc::unbounded_channel();
        let mut running = Self {
            keepers: JoinSet::new(),
            monitors: JoinSet::new(),
            phase,
            processes: Vec::new(),
            views: Vec::new(),
            book: Arc::default(),
            names: network
                .nodes
                .iter()
                .filter_map(|node| Some((node.account()?.to_string(), node.name.clone())))
                .collect(),
            deaths,
            contradictions,
        };
        for (place, node) in network.nodes.iter().enumerate() {
            let process = Arc::new(Mutex::new(Process::new()));
            let view = Arc::new(Mutex::new(View::default()));
            let keeper = Keeper {
                place,
                node: node.clone(),
                binary: binary.clone(),
                restart,
                process: process.clone(),
                phase: watched.clone(),
                deaths: told_of_death.clone(),
            };
            let monitor = Monitor {
                place,
                node: node.clone(),
                view: view.clone(),
                book: running.book.clone(),
                phase: watched.clone(),
                contradictions: told_of_contradiction.clone(),
            };
            running.keepers.spawn(keeper.run());
            running.monitors.spawn(monitor.run());
            running.processes.push(process);
            running.views.push(view);
        }
        Ok(running)
    }

    /// Tells of a node's death; an error when the network cannot run.
    fn note_death(&self, show: &mut Show, network: &Network, died: &Died) -> Result<()> {
        let node = &network.nodes[died.place];
        let log = node.log();
        let text = format!(
            "{} ended ({}); the end of {}:",
            node.name,
            died.how,
            log.display()
        );
        let has_answered = std::mem::take(&mut self.views[died.place].lock().has_answered);
        if !has_answered && self.processes[died.place].lock().restarts <= 1 {
            bail!(
                "{} did not come up ({}), so the network stops: {}",
                node.name,
                died.how,
                died.last_lines.join(" | ")
            );
        }
        show.event("died", &text, &died.last_lines)?;
        let is_down = |process: &Arc<Mutex<Process>>| process.lock().condition == Condition::Down;
        if self.processes.iter().all(is_down) {
            bail!("all nodes are down, and none is started again because of --no-restart");
        }
        Ok(())
    }

    /// Ends all nodes in order, or kills them when another signal comes.
    async fn end(&mut self, signals: &mut Signals) -> Result<()> {
        // Without receivers everybody has ended already.
        let _ = self.phase.send(Phase::End);
        let mut result = Ok(());
        loop {
            tokio::select! {
                _ = signals.next() => {
                    let _ = self.phase.send(Phase::Kill);
                }
                ended = self.keepers.join_next() => match ended {
                    None => break,
                    Some(Ok(kept)) => result = result.and(kept),
                    Some(Err(error)) => result = result.and(Err(anyhow!("a node's keeper failed: {error}"))),
                },
            }
        }
        while self.monitors.join_next().await.is_some() {}
        result
    }

    fn status(&self, network: &Network) -> Status {
        let timing = network.spec.genesis.timing;
        let time_ms = now_ms();
        let step = timing.step_at(time_ms);
        let book = self.book.lock();
        let nodes = network.nodes.iter().enumerate();
        let mut status = Status {
            time_ms,
            step: step.0,
            step_ends_in_ms: timing.closes_at_ms(step).saturating_sub(time_ms),
            late_blocks: book.late(),
            market: book.last_market(),
            contradiction: book
                .contradiction()
                .map(|contradiction| describe(contradiction, network)),
            troubles: Vec::new(),
            nodes: nodes
                .map(|(place, node)| self.node_status(place, node, &book))
                .collect(),
        };
        if timing.closes_at_ms(Step(0)) > time_ms {
            status.step = 0;
        }
        status.find_troubles();
        status
    }

    fn node_status(&self, place: usize, node: &PlannedNode, book: &Book) -> NodeStatus {
        let view = self.views[place].lock().clone();
        let process = self.processes[place].lock();
        let (condition, pid) = match process.condition {
            Condition::Running { pid } => {
                let condition = match (view.answers, view.has_answered) {
                    (true, _) => board::Condition::Running,
                    (false, true) => board::Condition::Silent,
                    (false, false) => board::Condition::Starting,
                };
                (condition, Some(pid))
            }
            Condition::Restarting { .. } => (board::Condition::Restarting, None),
            Condition::Down => (board::Condition::Down, None),
        };
        let last = view.best.map(|(height, hash)| {
            let facts = book.facts(height, hash);
            LastBlock {
                height,
                hash,
                author: facts.map(|facts| {
                    let name = self.names.get(&facts.author);
                    name.unwrap_or(&facts.author).clone()
                }),
                rank: facts.map(|facts| facts.rank),
                round: facts.and_then(|facts| facts.round),
                late: facts.map(|facts| facts.is_late),
            }
        });
        let tally = node
            .account()
            .map(|account| book.tally(&account.to_string()))
            .unwrap_or_default();
        NodeStatus {
            node: node.name.clone(),
            validator: node.validator.clone(),
            condition,
            pid,
            restarts: process.restarts,
            peers: if view.answers { view.peers } else { 0 },
            last,
            pool: view.pool.filter(|_| view.answers),
            bids: tally.bids,
            made: tally.made,
            missed: tally.missed,
            rpc: rpc_url(node),
            metrics: format!("http://127.0.0.1:{}/metrics", node.ports.metrics),
        }
    }
}

fn rpc_url(node: &PlannedNode) -> String {
    format!("ws://127.0.0.1:{}", node.ports.rpc)
}

/// Says what two nodes disagree about.
fn describe(contradiction: &Contradiction, network: &Network) -> String {
    let Contradiction { height, one, other } = contradiction;
    let said =
        |(place, hash): (usize, _)| format!("{} for {}", short(hash), network.nodes[place].name);
    format!(
        "THE NODES DISAGREE: block {height} is {}, and {}",
        said(*one),
        said(*other)
    )
}

/// Checks that nobody else listens where the nodes are to listen.
fn verify_ports(nodes: &[PlannedNode]) -> Result<()> {
    let mut taken = Vec::new();
    for node in nodes {
        for (port, what, flag) in [
            (node.ports.rpc, "JSON-RPC", "--rpc-port"),
            (node.ports.network, "peers", "--port"),
            (node.ports.metrics, "metrics", "--prometheus-port"),
        ] {
            if let Err(error) = TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
                taken.push(format!(
                    "{port} ({what} of {}; another with {flag}): {error}",
                    node.name
                ));
            }
        }
    }
    if taken.is_empty() {
        return Ok(());
    }
    bail!(
        "these ports cannot be had; does another network run, or what is left of one? {}",
        taken.join("; ")
    )
}

/// Says what was set up, and how to start it.
fn describe_set_up(network: &Network) -> Result<()> {
    let timing = network.spec.genesis.timing;
    say!(
        "{} ({}): genesis {:?}, steps of {} ms",
        network.spec.name,
        network.spec.id,
        network.spec.genesis_hash()?,
        timing.step_ms
    )?;
    for node in &network.nodes {
        let role = node.validator.as_deref().unwrap_or("full node");
        let flags = node.folder.join("flags");
        say!(
            "  {:<8} {role:<10} {}  commonwatt @{}",
            node.name,
            node.peer_id,
            shell_word(&flags.to_string_lossy())
        )?;
    }
    Ok(())
}

/// How the network is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Style {
    Table,
    Lines,
    Json,
}

/// Shows the network on standard output.
struct Show {
    style: Style,
    /// Lines of the table that stands there now.
    drawn_lines: usize,
}

impl Show {
    fn interval(&self) -> Duration {
        match self.style {
            Style::Table | Style::Json => DRAW_INTERVAL,
            Style::Lines => LINE_INTERVAL,
        }
    }

    fn greet(&mut self, network: &Network, is_temporary: bool) -> Result<()> {
        let Network { spec, nodes, .. } = network;
        let genesis = spec.genesis_hash()?;
        let validators = spec.genesis.validators.len();
        if self.style == Style::Json {
            let nodes: Vec<_> = nodes
                .iter()
                .map(|node| {
                    json!({
                        "node": node.name,
                        "validator": node.validator,
                        "account": node.account().map(|account| account.to_string()),
                        "peerId": node.peer_id,
                        "rpc": rpc_url(node),
                        "metrics": format!("http://127.0.0.1:{}/metrics", node.ports.metrics),
                        "folder": node.folder,
                        "log": node.log(),
                    })
                })
                .collect();
            say!(
                "{}",
                json!({
                    "event": "started", "genesis": genesis, "new": network.is_new,
                    "timing": spec.genesis.timing, "nodes": nodes,
                })
            )?;
            return Ok(());
        }
        let begins = match network.is_new {
            true => "a new chain begins",
            false => "the chain goes on",
        };
        let base = nodes
            .first()
            .and_then(|node| node.folder.parent())
            .unwrap_or_else(|| std::path::Path::new("."));
        say!(
            "{}: {begins} in {}\n  genesis   {genesis:?}\n  nodes     {validators} validators, {} full nodes; steps of \
             {} s\n  logs      {}/node*/log\n  {}\n",
            spec.name,
            base.display(),
            nodes.len().saturating_sub(validators),
            spec.genesis.timing.step_ms as f64 / 1_000.0,
            base.display(),
            match is_temporary {
                true => "stop with Ctrl-C",
                false => "stop with Ctrl-C, start again to go on",
            }
        )?;
        Ok(())
    }

    fn show(&mut self, status: &Status) -> Result<()> {
        match self.style {
            Style::Table => {
                let columns = rustix::termios::tcgetwinsize(io::stdout())
                    .ok()
                    .map(|size| usize::from(size.ws_col))
                    .filter(|columns| *columns > 0)
                    .unwrap_or(COLUMNS_DEFAULT);
                let table = status.to_table(columns);
                self.clear()?;
                write!(output(), "{table}")?;
                output().flush()?;
                self.drawn_lines = table.lines().count();
            }
            Style::Lines => say!("{}", status.to_line())?,
            Style::Json => {
                let mut value = serde_json::to_value(status)?;
                if let Some(object) = value.as_object_mut() {
                    object.insert("event".into(), "status".into());
                }
                say!("{value}")?;
            }
        }
        Ok(())
    }

    /// Takes the table away, so that what is told next stands above the next one.
    fn clear(&mut self) -> Result<()> {
        if self.drawn_lines > 0 {
            // Up so many lines, and clear to the end of the screen.
            write!(output(), "\x1b[{}A\x1b[J", self.drawn_lines)?;
            self.drawn_lines = 0;
        }
        Ok(())
    }

    fn event(&mut self, kind: &str, text: &str, lines: &[String]) -> Result<()> {
        if self.style == Style::Json {
            let time_ms = now_ms();
            say!(
                "{}",
                json!({"event": kind, "timeMs": time_ms, "text": text, "log": lines})
            )?;
            return Ok(());
        }
        self.clear()?;
        say!("{text}")?;
        for line in lines {
            say!("    {line}")?;
        }
        Ok(())
    }

    fn part(&mut self, status: &Status, is_removed: bool) -> Result<()> {
        let best = status.best();
        let how = match is_removed {
            true => "nothing is kept",
            false => "start again to go on",
        };
        self.event(
            "stopped",
            &format!("Stopped after block {best}; {how}."),
            &[],
        )
    }
}
