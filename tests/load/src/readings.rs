//! Readings: signed here, submitted over WebSocket, found again in blocks and in the chain's sums.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, Result, anyhow, bail, ensure};
use commonwatt_primitives::{
    AccountId, Bps, Hash, MeterClass, MeterId, MeterKind, Step, metering::MeterInfo,
};
use commonwatt_runtime::{
    RuntimeCall,
    transaction::{SigningContext, sign_ed25519},
};
use futures::{
    StreamExt,
    stream::{self, FuturesUnordered},
};
use jsonrpsee::{
    core::client::{ClientT, Error, Subscription, SubscriptionClientT},
    rpc_params,
};
use jsonrpsee_ws_client::WsClient;
use pallet_energy_token::{Measurement, Report};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use sp_core::{Blake2Hasher, Hasher, Pair, ed25519};

use crate::{
    client::Endpoint,
    latency::{Latencies, Summary},
};

/// Steps from the present one to the first a new meter measures; the call must be in a block before that.
const STEPS_AHEAD: u32 = 3;
/// Blocks for which readings that are on their way are waited for at the end.
const DRAIN_BLOCKS: u32 = 20;
/// Blocks at the beginning whose readings don't count: the load is still rising.
const WARM_UP_BLOCKS: usize = 2;
/// How long to wait before a reading that the node was too busy for is submitted again.
const BUSY_PAUSE: Duration = Duration::from_millis(20);
/// How often that is tried.
const BUSY_TRIES: u32 = 500;
/// JSON-RPC codes that mean "try again": busy, and the pool is full.
const BUSY_CODES: [i32; 2] = [-32000, 1016];
/// JSON-RPC code of a transaction that is in the pool already, after an answer was lost.
const ALREADY_IMPORTED: i32 = 1013;

/// How many meters report, and how.
pub struct FleetPlan {
    /// Meters, each with a device of its own.
    pub meters: u32,
    /// Connections.
    pub gateways: usize,
    /// Readings without an answer on each of them.
    pub in_flight: usize,
    /// Readings a second at most, of all together.
    pub rate: Option<u32>,
}

/// How reporting went.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Readings {
    /// Connections that submitted.
    pub connections: usize,
    /// Readings that the node took.
    pub taken: u64,
    /// Answers that asked to try again.
    pub busy: u64,
    /// Readings in blocks a second, after the first blocks.
    pub per_second: f64,
    /// The most readings in one block.
    pub most_in_a_block: u64,
    /// From submitting to the node's answer.
    pub submission: Summary,
    /// From submitting to hearing of the block it is in.
    pub to_block: Summary,
}

/// A device with what it has used up.
pub struct Device {
    pair: ed25519::Pair,
    nonce: u32,
    sequence: u64,
}

/// Meters of our own, and all their readings that were found in blocks.
pub struct Fleet {
    meters: Vec<MeterId>,
    devices: Vec<Device>,
    in_flight: usize,
    gateways: usize,
    rate: Option<u32>,
    first_step: Step,
    last_step: Step,
    found: u64,
}

/// When each reading was submitted that is not in a block yet.
type Pending = Arc<Mutex<HashMap<Hash, Instant>>>;

/// What the gateways count.
#[derive(Default)]
pub struct Counters {
    taken: AtomicU64,
    busy: AtomicU64,
    is_over: AtomicBool,
}

fn development_key(path: &str) -> Result<ed25519::Pair> {
    ed25519::Pair::from_string(path, None).map_err(|error| anyhow!("no key of {path}: {error}"))
}

fn account(pair: &ed25519::Pair) -> AccountId {
    AccountId::new(pair.public().0)
}

fn hexadecimal(bytes: &[u8]) -> String {
    format!("0x{}", hex::encode(bytes))
}

/// Returns the milliseconds since 1970.
pub fn now_ms() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

async fn nonce_of(client: &WsClient, pair: &ed25519::Pair) -> Result<u32> {
    let account = account(pair).to_string();
    Ok(client
        .request("system_accountNextIndex", rpc_params![account])
        .await?)
}

impl Fleet {
    /// Has the development chain's DSO put meters into service, and waits until they measure.
    pub async fn commission(endpoint: &Endpoint, plan: &FleetPlan) -> Result<Self> {
        let client = endpoint.connect().await?;
        let dso = development_key("//Dso")?;
        let owner = account(&development_key("//Bob")?);
        let mut heads = follow_heads(&client).await?;
        let commissioned = Step(next_head(&mut heads).await?.saturating_add(STEPS_AHEAD));
        let mut nonce = nonce_of(&client, &dso).await?;
        let mut devices = Vec::new();
        for index in 0..plan.meters {
            let pair = development_key(&format!("//load//{index}"))?;
            let info = MeterInfo {
                kind: MeterKind::Consumption,
                owner: owner.clone(),
                beneficiary: owner.clone(),
                class: MeterClass::B,
                pulses_per_kwh: 1_000,
                capacity_w: u32::MAX,
                loss: Bps(0),
                efficiency: Bps::FULL,
                storage_pair: None,
                commissioned,
                retired: None,
            };
            let call = RuntimeCall::Registry(pallet_registry::Call::commission_meter {
                info,
                device: Some(account(&pair)),
            });
            let transaction = sign_ed25519(call, nonce, &endpoint.context, &dso);
            let _: Hash = client
                .request(
                    "author_submitExtrinsic",
                    rpc_params![hexadecimal(&transaction)],
                )
                .await
                .context("a meter could not be put into service")?;
            nonce = nonce.saturating_add(1);
            devices.push(Device {
                pair,
                nonce: 0,
                sequence: 1,
            });
        }
        while next_head(&mut heads).await? < commissioned.0.saturating_sub(1) {}
        let mut meters = Vec::new();
        for device in &devices {
            let meter: Option<MeterId> = meter_of(&client, &account(&device.pair)).await?;
            meters.push(meter.ok_or_else(|| anyhow!("a meter was not put into service"))?);
        }
        Ok(Self {
            meters,
            devices,
            in_flight: plan.in_flight.max(1),
            gateways: plan.gateways.max(1),
            rate: plan.rate,
            first_step: commissioned,
            last_step: commissioned,
            found: 0,
        })
    }

    /// Returns how many readings were found in blocks.
    pub fn found(&self) -> u64 {
        self.found
    }

    /// Returns how many readings a connection submits without waiting for an answer.
    pub fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// Hands the devices out, in so many parts that differ by one at most.
    pub fn hand_out(&mut self, parts: usize) -> Vec<Vec<Device>> {
        let mut devices = std::mem::take(&mut self.devices);
        let mut handed_out = Vec::with_capacity(parts);
        for left in (1..=parts).rev() {
            let rest = devices.split_off(devices.len().div_ceil(left));
            handed_out.push(std::mem::replace(&mut devices, rest));
        }
        handed_out
    }

    /// Takes devices back that have reported up to a step.
    pub fn take_back(&mut self, devices: Vec<Device>, last_step: Step) {
        self.devices.extend(devices);
        self.last_step = last_step;
    }

    /// Reports as much as the node takes for so many steps, and waits until it all is in blocks.
    pub async fn report_for(&mut self, endpoint: &Endpoint, steps: u32) -> Result<Readings> {
        let pending = Pending::default();
        let counters = Arc::new(Counters::default());
        let watcher = endpoint.connect().await?;
        let mut heads = follow_heads(&watcher).await?;
        next_head(&mut heads).await?;

        let share = self.devices.len().div_ceil(self.gateways);
        let mut gateways = FuturesUnordered::new();
        let mut devices = std::mem::take(&mut self.devices);
        let interval = self.rate.map(|rate| {
            // Each gateway submits its part of the rate.
            let gateways = u32::try_from(self.gateways).unwrap_or(u32::MAX);
            Duration::from_secs(1) * gateways / rate.max(1)
        });
        while !devices.is_empty() {
            let rest = devices.split_off(share.min(devices.len()));
            let gateway = Gateway {
                client: endpoint.connect().await?,
                endpoint: endpoint.clone(),
                devices: std::mem::replace(&mut devices, rest),
                in_flight: self.in_flight,
                interval,
                pending: pending.clone(),
                counters: counters.clone(),
            };
            gateways.push(tokio::spawn(gateway.run()));
        }

        let mut in_blocks = Vec::new();
        let mut to_block = Latencies::default();
        for _ in 0..steps {
            let block = next_head(&mut heads).await?;
            in_blocks.push(find_readings(&watcher, block, &pending, &mut to_block).await?);
        }
        counters.is_over.store(true, Ordering::Relaxed);
        let mut submission = Latencies::default();
        while let Some(ended) = gateways.next().await {
            let (devices, latencies) = ended??;
            self.devices.extend(devices);
            submission.append(latencies);
        }
        self.last_step = endpoint.timing.step_at(now_ms());

        let mut total: u64 = in_blocks.iter().sum();
        let connections = self.gateways;
        for _ in 0..DRAIN_BLOCKS {
            if pending.lock().is_empty() {
                break;
            }
            let block = next_head(&mut heads).await?;
            total = total
                .saturating_add(find_readings(&watcher, block, &pending, &mut to_block).await?);
        }
        let lost = pending.lock().len();
        ensure!(
            lost == 0,
            "{lost} readings that the node took came into none of {DRAIN_BLOCKS} blocks"
        );
        self.found = self.found.saturating_add(total);

        let steady = in_blocks.get(WARM_UP_BLOCKS..).unwrap_or_default();
        let seconds = steady.len() as f64 * endpoint.timing.step_ms as f64 / 1_000.0;
        Ok(Readings {
            connections,
            taken: counters.taken.load(Ordering::Relaxed),
            busy: counters.busy.load(Ordering::Relaxed),
            per_second: steady.iter().sum::<u64>() as f64 / seconds,
            most_in_a_block: in_blocks.iter().copied().max().unwrap_or_default(),
            submission: submission.summarize(),
            to_block: to_block.summarize(),
        })
    }

    /// Returns the energy that the chain knows of our meters, in Wh: one for each reading.
    pub async fn credited(&self, endpoint: &Endpoint) -> Result<u64> {
        #[derive(Deserialize)]
        struct Reading {
            energy: u64,
        }
        let client = endpoint.connect().await?;
        let steps = self.first_step.0..=self.last_step.0.saturating_add(1);
        let questions = self
            .meters
            .iter()
            .flat_map(|meter| steps.clone().map(move |step| (*meter, Step(step))));
        let answers = questions.map(|(meter, step)| {
            let client = &client;
            async move {
                let reading: Option<Reading> = client
                    .request("energy_reading", rpc_params![meter, step])
                    .await?;
                anyhow::Ok(reading.map_or(0, |reading| reading.energy))
            }
        });
        let mut answers = stream::iter(answers).buffer_unordered(self.in_flight);
        let mut sum = 0_u64;
        while let Some(energy) = answers.next().await {
            sum = sum.saturating_add(energy?);
        }
        Ok(sum)
    }
}

/// A connection that submits the readings of some devices.
struct Gateway {
    client: WsClient,
    endpoint: Endpoint,
    devices: Vec<Device>,
    in_flight: usize,
    interval: Option<Duration>,
    pending: Pending,
    counters: Arc<Counters>,
}

impl Gateway {
    /// Submits until it is over; returns the devices, and how long the answers took.
    async fn run(self) -> Result<(Vec<Device>, Latencies)> {
        let Self {
            client,
            endpoint,
            mut devices,
            in_flight,
            interval,
            pending,
            counters,
        } = self;
        let mut latencies = Latencies::default();
        let mut turn = 0_usize;
        let mut due = Instant::now();
        let mut running = FuturesUnordered::new();
        loop {
            let is_over = counters.is_over.load(Ordering::Relaxed);
            if is_over && running.is_empty() {
                return Ok((devices, latencies));
            }
            if !is_over && running.len() < in_flight {
                if let Some(interval) = interval {
                    tokio::time::sleep_until(due.into()).await;
                    due += interval;
                }
                let count = devices.len().max(1);
                let device = devices
                    .get_mut(turn % count)
                    .ok_or_else(|| anyhow!("no devices"))?;
                turn = turn.wrapping_add(1);
                let step = endpoint.timing.step_at(now_ms());
                let transaction = device.sign(step, &endpoint.context);
                pending
                    .lock()
                    .insert(Blake2Hasher::hash(&transaction), Instant::now());
                running.push(submit(&client, transaction, &counters));
                continue;
            }
            if let Some(took) = running.next().await {
                latencies.add(took?);
            }
        }
    }
}

impl Device {
    /// Signs that one more pulse was counted in the step.
    pub fn sign(&mut self, step: Step, context: &SigningContext) -> Vec<u8> {
        let report = Report {
            step,
            reading: Measurement::Pulses(1),
        };
        let call = RuntimeCall::EnergyToken(pallet_energy_token::Call::report {
            sequence: self.sequence,
            report,
        });
        let transaction = sign_ed25519(call, self.nonce, context, &self.pair);
        self.sequence = self.sequence.saturating_add(1);
        self.nonce = self.nonce.saturating_add(1);
        transaction
    }
}

/// Submits until the node takes it; returns how long the answer took that said so.
pub async fn submit(
    client: &WsClient,
    transaction: Vec<u8>,
    counters: &Counters,
) -> Result<Duration> {
    let encoded = hexadecimal(&transaction);
    for _ in 0..BUSY_TRIES {
        let asked = Instant::now();
        let answer: Result<Hash, Error> = client
            .request("author_submitExtrinsic", rpc_params![&encoded])
            .await;
        match answer {
            Ok(_) => {
                counters.taken.fetch_add(1, Ordering::Relaxed);
                return Ok(asked.elapsed());
            }
            Err(Error::Call(error)) if error.code() == ALREADY_IMPORTED => {
                return Ok(asked.elapsed());
            }
            Err(Error::Call(error)) if BUSY_CODES.contains(&error.code()) => {
                counters.busy.fetch_add(1, Ordering::Relaxed);
                tokio::time::sleep(BUSY_PAUSE).await;
            }
            Err(error) => return Err(error).context("a reading was refused"),
        }
    }
    bail!("the node was too busy for a reading {BUSY_TRIES} times")
}

/// The part of a header that is looked at.
#[derive(Deserialize)]
pub struct Head {
    number: String,
}

/// Subscribes to the heads; the first is there at once.
pub async fn follow_heads(client: &WsClient) -> Result<Subscription<Head>> {
    Ok(client
        .subscribe(
            "chain_subscribeNewHeads",
            rpc_params![],
            "chain_unsubscribeNewHeads",
        )
        .await?)
}

/// Waits for the next head; returns its number.
pub async fn next_head(heads: &mut Subscription<Head>) -> Result<u32> {
    let head = heads
        .next()
        .await
        .ok_or_else(|| anyhow!("the subscription ended"))??;
    Ok(u32::from_str_radix(
        head.number.trim_start_matches("0x"),
        16,
    )?)
}

/// Returns how many pending readings a block holds, which then are pending no more.
async fn find_readings(
    client: &WsClient,
    number: u32,
    pending: &Pending,
    to_block: &mut Latencies,
) -> Result<u64> {
    #[derive(Deserialize)]
    struct Signed {
        block: Body,
    }
    #[derive(Deserialize)]
    struct Body {
        extrinsics: Vec<String>,
    }
    let heard = Instant::now();
    let hash: Hash = client
        .request("chain_getBlockHash", rpc_params![number])
        .await?;
    let block: Signed = client.request("chain_getBlock", rpc_params![hash]).await?;
    let mut found = 0_u64;
    for extrinsic in &block.block.extrinsics {
        let bytes = hex::decode(extrinsic.trim_start_matches("0x"))?;
        if let Some(submitted) = pending.lock().remove(&Blake2Hasher::hash(&bytes)) {
            to_block.add(heard.saturating_duration_since(submitted));
            found = found.saturating_add(1);
        }
    }
    Ok(found)
}

/// Returns for which meter a device speaks.
async fn meter_of(client: &WsClient, device: &AccountId) -> Result<Option<MeterId>> {
    let asked = rpc_params!["RegistryApi_meter_of_device", hexadecimal(device.as_ref())];
    let answer: String = client.request("state_call", asked).await?;
    let bytes = hex::decode(answer.trim_start_matches("0x"))?;
    Ok(codec::Decode::decode(&mut &bytes[..])?)
}
