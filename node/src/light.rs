//! `commonwatt light`: follows a chain by headers and certificates alone.

use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow, bail, ensure};
use clap::Args;
use commonwatt_light::{Contradiction, FollowError, Follower, Genesis, Ledger, News, Verified};
use commonwatt_network::{
    Admission, Admit, Claim, Hello, Introduction, Network, NetworkHandle, PeerId, StaticPeer,
};
use commonwatt_primitives::{Step, StepTiming, digest::Punctuality};
use commonwatt_storage::RedbStore;
use serde_json::json;

use crate::{
    agreement::NetworkArgs,
    args::ChainArgs,
    paths::{create_folders, write_new},
    report::{grouped, is_output_closed, say, utc},
    service::verify_beginning,
    signals::ask_on_signal,
    spec::ChainSpec,
    stop::{Stop, now_ms},
    supervisor::Supervisor,
    threads,
};

/// Page cache of the ledger: it is read at its end only.
const CACHE_BYTES: usize = 8 * 1024 * 1024;

/// Blocks verified at once above which a single line tells of all of them.
const LINES_AT_ONCE_MAX: usize = 16;

/// How often is said again what somebody should do something about.
const REMIND_EVERY: Duration = Duration::from_secs(60);

/// Steps without a block that are no sign of anything: the one that is open, and the one that just closed.
const STEPS_OPEN_MAX: u32 = 2;

/// What the files begin with that hold evidence against the validators.
const CONTRADICTION: &str = "contradiction-";

/// Follow a chain by headers and certificates alone: verify what was agreed on, from the genesis in the chain spec on, on a
/// small machine and without trusting any node.
///
/// Every block's certificate must hold the signatures of more than two thirds of the validators of its height; who they are
/// is proven, epoch by epoch, by the state roots of blocks verified before. Author, seal and randomness beacon are checked,
/// too; what is in the blocks is not looked at. A line is printed for each block. If validators sign two different blocks of
/// one height, the evidence is kept and the program ends.
///
/// It listens on no port. The nodes it asks have to let it in: their operators name its peer id, which it prints, with
/// --reserved-nodes.
#[derive(Clone, Debug, Args)]
pub struct LightCommand {
    #[command(flatten)]
    chain: ChainArgs,
    /// Nodes to ask, like /dns/node.example/tcp/30333/p2p/12D3KooW…; with several, one that lies or lacks something is noticed
    /// [default: the chain spec's bootNodes]
    #[arg(long, value_name = "ADDRESS", num_args = 1..)]
    bootnodes: Vec<StaticPeer>,
    /// File with the node key, by which others know this node [default: in the chain's folder, made when it is missing]
    #[arg(long, value_name = "FILE")]
    node_key_file: Option<PathBuf>,
    /// End when this block was verified
    #[arg(long, value_name = "HEIGHT", value_parser = clap::value_parser!(u32).range(1..))]
    until: Option<u32>,
    /// Print each block as a line of JSON, for programs
    #[arg(long)]
    json: bool,
}

impl LightCommand {
    /// Follows until a signal comes.
    pub fn run(self) -> Result<()> {
        if let Some(file) = self.chain.spec_file() {
            // Before a copy is put into the chain's folder.
            verify_beginning(&ChainSpec::read(file)?)?;
        }
        let (folder, spec) = self.chain.open_or_create()?;
        verify_beginning(&spec)?;
        let _lock = folder.lock()?;
        let light = folder.light();
        create_folders(&light).with_context(|| format!("cannot create {}", light.display()))?;
        refuse_contradicted(&light)?;
        let ledger = open_ledger(&light, &spec)?;

        let network = NetworkArgs::asking(self.bootnodes.clone(), self.node_key_file.clone());
        let setup = network.setup(&folder, ledger.genesis().hash(), &spec.boot_peers()?)?;
        let mut config = setup.config;
        config.listen.clear();
        config.gossip = false;
        ensure!(
            !config.static_peers.is_empty(),
            "there is nobody to ask: name nodes of this chain with --bootnodes, like \
             /dns/node.example/tcp/30333/p2p/12D3KooW…"
        );
        let asked = config.static_peers.iter().map(|peer| peer.id);
        let asked = Arc::new(Asked(asked.collect()));

        let runtime = threads::start_async()?;
        let mut tasks = Supervisor::new(runtime.handle().clone());
        let stop = tasks.stop().clone();
        tasks.spawn("waiting for signals", ask_on_signal(stop.clone()));
        let count = asked.0.len();
        let (network, events) = runtime.block_on(Network::start(config, asked.clone(), asked))?;
        tracing::info!(
            version = env!("CARGO_PKG_VERSION"),
            chain = spec.id,
            genesis = ?ledger.genesis().hash(),
            verified = ledger.tip().number,
            peer = %network.local_peer_id(),
            folder = %light.display(),
            "the light node runs"
        );
        let teller = Teller {
            json: self.json,
            timing: spec.genesis.timing,
            network: network.clone(),
            asked: count,
            stop: stop.clone(),
            reminded: None,
            output: Ok(()),
        };
        let timing = spec.genesis.timing;
        let follower = Follower::new(network.clone(), events, self.until)
            .with_clock(move || timing.step_at(now_ms()).0);
        tasks.spawn(
            "following the chain",
            follow(follower, ledger, teller, light, stop),
        );
        tasks.wait();
        let result = tasks.end();
        runtime.block_on(network.shutdown());
        result
    }
}

/// Opens what was verified so far.
fn open_ledger(light: &Path, spec: &ChainSpec) -> Result<Ledger> {
    let storage = spec.genesis.build_storage();
    let storage = storage.map_err(|error| anyhow!("{error}"))?;
    let genesis = Genesis::of(storage)?;
    let explain = || {
        format!(
            "the headers in {} cannot be used; they can be removed, and verified again from the beginning",
            light.display()
        )
    };
    let store = RedbStore::open(light, CACHE_BYTES).with_context(explain)?;
    Ledger::open(Box::new(store), genesis).with_context(explain)
}

/// Refuses to go on where the validators were seen to contradict themselves.
fn refuse_contradicted(light: &Path) -> Result<()> {
    let failed = || format!("cannot look into {}", light.display());
    for entry in fs::read_dir(light).with_context(failed)? {
        let entry = entry.with_context(failed)?;
        if entry
            .file_name()
            .to_string_lossy()
            .starts_with(CONTRADICTION)
        {
            bail!(
                "the validators of this chain contradicted themselves: the evidence is in {}. Show it to the others of the \
                 community; once it is settled which chain counts, remove {} and begin anew",
                entry.path().display(),
                light.display()
            );
        }
    }
    Ok(())
}

/// Follows, and explains its end.
async fn follow(
    follower: Follower,
    ledger: Ledger,
    mut teller: Teller,
    light: PathBuf,
    stop: Stop,
) -> Result<()> {
    let until = stop.clone();
    let followed = follower
        .run(ledger, until.asked(), |news| teller.tell(&news))
        .await;
    let ledger = match followed {
        Ok(ledger) => ledger,
        Err(FollowError::Contradiction(contradiction)) => {
            return Err(accuse(&light, &contradiction));
        }
        Err(error) => return Err(error.into()),
    };
    if let Err(error) = teller.output {
        let error = anyhow::Error::from(error);
        // Who reads no more, as `head`, wants no more.
        if !is_output_closed(&error) {
            return Err(error);
        }
    }
    tracing::info!(
        verified = ledger.tip().number,
        "stopped; what was verified is on disk"
    );
    stop.ask();
    Ok(())
}

/// Keeps the evidence, and says what it means.
fn accuse(light: &Path, contradiction: &Contradiction) -> anyhow::Error {
    let name = format!("{CONTRADICTION}{}.json", now_ms());
    let path = light.join(name);
    let text = format!("{:#}\n", contradiction.to_json());
    let kept = match write_new(&path, &text) {
        Ok(()) => format!("the evidence is in {}", path.display()),
        Err(error) => format!("the evidence could not be written ({error:#}): {text}"),
    };
    let both = contradiction.signed_both();
    let both: Vec<_> = both.iter().map(ToString::to_string).collect();
    let both = match both.is_empty() {
        true => String::new(),
        false => format!(" {} signed both.", both.join(", ")),
    };
    anyhow!(
        "THE VALIDATORS CONTRADICTED THEMSELVES: {}.{both} No block from here on can be trusted; {kept}. Show it to the others \
         of the community",
        contradiction.breach
    )
}

/// Lets in the nodes that are asked, and nobody else.
struct Asked(BTreeSet<PeerId>);

impl Admission for Asked {
    fn admit(&self, peer: &PeerId, _: &Hello, _: &[u8]) -> Admit {
        match self.0.contains(peer) {
            true => Admit::Full,
            false => Admit::Refused("a light node has nothing to give".into()),
        }
    }
}

impl Introduction for Asked {
    fn claim(&self, _: &[u8]) -> Claim {
        Claim::Full
    }
}

/// Tells the user what is going on: blocks on the standard output, everything else in the log.
struct Teller {
    json: bool,
    timing: StepTiming,
    network: NetworkHandle,
    /// How many nodes are asked.
    asked: usize,
    stop: Stop,
    /// When something was said last that somebody should do something about.
    reminded: Option<Instant>,
    /// Whether somebody still reads the output.
    output: io::Result<()>,
}

impl Teller {
    fn tell(&mut self, news: &News<'_>) {
        match news {
            News::PeerCame(id) => tracing::info!(peer = %id, "connected"),
            News::PeerGone => tracing::info!("disconnected"),
            News::Verified { blocks, best } => {
                self.reminded = None;
                self.print(blocks, *best);
            }
            News::Flawed { peer, number, flaw } => {
                let peer = peer.map_or_else(|| "gone".to_owned(), |id| id.to_string());
                tracing::warn!(%peer, number, "a peer's answer is wrong, and nothing of it was kept: {flaw}");
            }
            News::Unproven(number) => self.remind(|| {
                tracing::warn!(
                    "none of the peers can show who validates after block {number}: name another node with --bootnodes, one \
                     with --state-pruning archive, or one that has run since then"
                );
            }),
            News::Tick { tip, best, peers } => self.look_around(*tip, *best, *peers),
        }
    }

    fn remind(&mut self, say: impl FnOnce()) {
        let is_due = self
            .reminded
            .is_none_or(|reminded| reminded.elapsed() >= REMIND_EVERY);
        if is_due {
            self.reminded = Some(Instant::now());
            say();
        }
    }

    fn look_around(&mut self, tip: u32, best: u32, peers: usize) {
        if peers == 0 {
            let (asked, own) = (self.asked, self.network.local_peer_id());
            return self.remind(|| {
                tracing::warn!(
                    "Waiting for peers: none of the {asked} nodes that are asked is connected and lets this node in. They may be \
                     down or of another chain, or their operators have to name this node: --reserved-nodes {own}"
                );
            });
        }
        let behind = self.timing.step_at(now_ms()).since(Step(tip));
        if best <= tip && behind > STEPS_OPEN_MAX {
            let next = tip.saturating_add(1);
            let since = utc(self.timing.closes_at_ms(Step(next)));
            self.remind(|| {
                tracing::warn!(
                    behind,
                    "block {next} is due since {since}, and no peer has it: the validators do not agree, the nodes asked are \
                     behind, or the clock here is wrong"
                );
            });
        }
    }

    fn print(&mut self, blocks: &[Verified], best: u32) {
        if self.output.is_ok() {
            self.output = self.try_print(blocks, best);
        }
        if self.output.is_err() {
            self.stop.ask();
        }
    }

    fn try_print(&self, blocks: &[Verified], best: u32) -> io::Result<()> {
        if self.json {
            return blocks
                .iter()
                .try_for_each(|block| say!("{}", self.json_line(block)));
        }
        if let [first, .., last] = blocks
            && blocks.len() > LINES_AT_ONCE_MAX
        {
            let late = blocks.iter().filter(|block| is_late(block)).count();
            return say!(
                "blocks {} to {} of {} are right, {late} of them late; {:?} {}",
                grouped(first.number.into()),
                grouped(last.number.into()),
                grouped(best.max(last.number).into()),
                last.hash,
                self.closed_at(last)
            );
        }
        blocks
            .iter()
            .try_for_each(|block| say!("{}", self.text_line(block)))
    }

    fn closed_at(&self, block: &Verified) -> String {
        utc(self.timing.closes_at_ms(Step(block.number)))
    }

    fn text_line(&self, block: &Verified) -> String {
        let Verified {
            number,
            hash,
            author,
            rank,
            signed,
            validators,
            ..
        } = block;
        let late = match is_late(block) {
            true => "late",
            false => "on time",
        };
        format!(
            "block {number} {hash:?} {} {late}, by {author} of rank {rank}, signed by {signed} of {validators}",
            self.closed_at(block)
        )
    }

    fn json_line(&self, block: &Verified) -> serde_json::Value {
        json!({
            "number": block.number,
            "hash": format!("{:?}", block.hash),
            "closesAtMs": self.timing.closes_at_ms(Step(block.number)),
            "late": is_late(block),
            "author": block.author.to_string(),
            "rank": block.rank,
            "signed": block.signed,
            "validators": block.validators,
        })
    }
}

fn is_late(block: &Verified) -> bool {
    block.punctuality == Punctuality::Late
}
