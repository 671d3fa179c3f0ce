//! The demo community's members on the market: clients that look at their own meters and place orders over JSON-RPC.
//!
//! When step `s − 1` has its block, every member that expects to have something left over in step `s + 1`, or to lack it,
//! places one order for that step. It comes into the block of step `s`, before the gate. What a member expects is the mean
//! of the last steps that it knows.
//!
//! Every member has one node. Whose node is gone trades again when it is back; the others do not notice.

pub mod policy;

use std::{
    collections::{BTreeMap, VecDeque},
    convert::Infallible,
    time::Duration,
};

use anyhow::{Context, Result, anyhow, bail};
use codec::{DecodeAll, Encode};
use commonwatt_community_data::Community;
use commonwatt_primitives::{AccountId, Step, StepTiming};
use commonwatt_runtime::{
    Hash, RuntimeCall,
    apis::MarketRates,
    transaction::{SigningContext, sign_ed25519},
};
use jsonrpsee::{
    core::client::{ClientT, Error as ClientError, Subscription, SubscriptionClientT},
    rpc_params,
};
use jsonrpsee_ws_client::{WsClient, WsClientBuilder};
use pallet_double_auction::{Call, MarketContract, OrderTerms, When};
use pallet_virtual_meter::VgmEntry;
use serde::{Deserialize, de::DeserializeOwned};
use sp_core::{Pair, ed25519};

use self::policy::{Market, Reserve, compute_expected_wh};
use crate::{
    community::member_key,
    gateway::{Tell, pause, verify_count},
    stop::{Stop, now_ms},
};

/// How long a request may take before a member gives up on it.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

/// Steps of its own meters that a member remembers: an hour of quarters.
const MEMORY_STEPS: usize = 4;

/// Whether the demo community's members trade.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Trading {
    /// They place orders for each step.
    #[default]
    On,
    /// Nobody places orders for them.
    Off,
}

/// A member with its key.
pub struct Trader {
    account: AccountId,
    pair: ed25519::Pair,
    /// Its place in the community, from which its prices follow.
    place: usize,
    /// What it had left over, or lacked, in the last steps.
    memory: VecDeque<i128>,
    /// Of its next transaction, once it is known.
    nonce: Option<u32>,
}

/// Returns the community's members, able to sign.
fn traders(community: &Community) -> impl Iterator<Item = Trader> {
    community
        .participants
        .iter()
        .enumerate()
        .map(|(place, participant)| {
            let pair = member_key(participant);
            Trader {
                account: AccountId::new(pair.public().0),
                pair,
                place,
                memory: VecDeque::new(),
                nonce: None,
            }
        })
}

/// Some members that trade through one node.
pub struct TradingPost {
    url: String,
    traders: Vec<Trader>,
    /// The last step that they remember.
    learned: Step,
    /// The last refusal that was told, so that it is told once.
    refusal: Option<String>,
    tell: Tell,
}

/// Spreads the demo community's members over nodes, each member to one of them.
pub fn spread(urls: &[String], community: &Community, tell: &Tell) -> Result<Vec<TradingPost>> {
    verify_count(urls, "orders")?;
    let mut posts: Vec<_> = urls
        .iter()
        .map(|url| TradingPost {
            url: url.clone(),
            traders: Vec::new(),
            learned: Step(0),
            refusal: None,
            tell: tell.clone(),
        })
        .collect();
    let count = posts.len();
    for trader in traders(community) {
        posts[trader.place % count].traders.push(trader);
    }
    Ok(posts)
}

impl TradingPost {
    /// Returns how many members trade here.
    pub fn members(&self) -> usize {
        self.traders.len()
    }

    /// Returns the node.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Trades until asked to stop.
    pub async fn run(mut self, stop: Stop) -> Result<()> {
        let mut is_told = true;
        loop {
            let served = tokio::select! {
                served = self.serve(&mut is_told) => served,
                () = stop.asked() => return Ok(()),
            };
            let Err(error) = served;
            if !is_told {
                is_told = true;
                (self.tell)(
                    &self.url,
                    format!("nobody trades at this node now: {error:#}"),
                );
            }
            if pause(&stop).await {
                return Ok(());
            }
        }
    }

    /// Trades until the node is gone.
    async fn serve(&mut self, is_told: &mut bool) -> Result<Infallible> {
        let node = Node::connect(&self.url).await?;
        // The node may have lost what it was sent.
        for trader in &mut self.traders {
            trader.nonce = None;
        }
        let mut closed: Subscription<Closed> = node
            .client
            .subscribe(
                "energy_subscribeSteps",
                rpc_params![],
                "energy_unsubscribeSteps",
            )
            .await
            .context("the node does not tell when steps close")?;
        *is_told = false;
        while let Some(step) = closed.next().await {
            let Closed { step, late } = step.context("the node's news of a step cannot be read")?;
            self.learn(&node, step).await?;
            // A late block may come after the next step's gate, and a node that catches up knows no nonces yet.
            let next = Step(step.0.saturating_add(1));
            if !late && now_ms() < node.timing.closes_at_ms(next) {
                self.trade(&node, Step(next.0.saturating_add(1))).await?;
            }
        }
        bail!("it ended the subscription")
    }

    /// Has everybody remember the steps up to `last`, as far as they are remembered at all.
    async fn learn(&mut self, node: &Node, last: Step) -> Result<()> {
        let oldest = last.saturating_sub(u32::try_from(MEMORY_STEPS).unwrap_or(u32::MAX) - 1);
        let first = Step(self.learned.0.saturating_add(1)).max(oldest);
        for step in (first.0..=last.0).map(Step) {
            let entries: Vec<Entry> = node.ask("energy_allocations", step).await?;
            let entries = entries
                .into_iter()
                .map(|entry| (entry.account, entry.entry));
            self.remember(&entries.collect());
            self.learned = step;
        }
        Ok(())
    }

    fn remember(&mut self, entries: &BTreeMap<AccountId, VgmEntry>) {
        for trader in &mut self.traders {
            let Some(entry) = entries.get(&trader.account) else {
                continue;
            };
            if trader.memory.len() >= MEMORY_STEPS {
                trader.memory.pop_front();
            }
            trader.memory.push_back(left_over_wh(entry));
        }
    }

    /// Places everybody's orders for a step.
    async fn trade(&mut self, node: &Node, step: Step) -> Result<()> {
        let market = node.market(step).await?;
        let mut refusal = None;
        for trader in &mut self.traders {
            let Some(terms) = trader.order(step, &market) else {
                continue;
            };
            let refused = node.place(trader, terms).await?;
            refusal = refusal.or(refused);
        }
        if let Some(reason) = &refusal
            && self.refusal != refusal
        {
            let text = format!("an order for step {step} was refused: {reason}");
            (self.tell)(&self.url, text);
        }
        self.refusal = refusal;
        Ok(())
    }
}

impl Trader {
    /// Returns the order it places for a step, if it places one.
    fn order(&self, step: Step, market: &Market) -> Option<OrderTerms> {
        let expected_wh = compute_expected_wh(self.memory.iter().copied());
        Reserve::of_place(self.place, market.grid).order(expected_wh, market, When::Once(step))
    }
}

/// Returns what a member had of a step before it traded.
pub fn allocated_wh(entry: &VgmEntry) -> i128 {
    i128::from(entry.shared.0) + i128::from(entry.rest.0)
}

/// Returns what a member had of a step before it traded, less what it consumed.
pub fn left_over_wh(entry: &VgmEntry) -> i128 {
    allocated_wh(entry) - i128::from(entry.consumption.unwrap_or_default().0)
}

/// A step that closed, as the node tells it.
#[derive(Deserialize)]
struct Closed {
    step: Step,
    late: bool,
}

/// A member's virtual generation meter, as the node tells it.
#[derive(Deserialize)]
struct Entry {
    account: AccountId,
    #[serde(flatten)]
    entry: VgmEntry,
}

/// A node, asked over JSON-RPC.
struct Node {
    client: WsClient,
    context: SigningContext,
    timing: StepTiming,
}

impl Node {
    async fn connect(url: &str) -> Result<Self> {
        let client = WsClientBuilder::default()
            .request_timeout(REQUEST_TIMEOUT)
            .build(url)
            .await
            .with_context(|| format!("the members cannot reach the node at {url}"))?;
        let genesis_hash: Hash = client
            .request("chain_getBlockHash", rpc_params![0])
            .await
            .context("the node does not tell its genesis hash")?;
        let timing = client
            .request("energy_timing", rpc_params![])
            .await
            .context("the node does not tell when steps close")?;
        Ok(Self {
            client,
            context: SigningContext::immortal(genesis_hash),
            timing,
        })
    }

    async fn ask<Answer: DeserializeOwned>(&self, method: &str, step: Step) -> Result<Answer> {
        let answer = self.client.request(method, rpc_params![step]).await;
        answer.with_context(|| format!("the node does not answer {method}"))
    }

    /// Returns the market's agreement in a step.
    async fn market(&self, step: Step) -> Result<Market> {
        let contract: MarketContract =
            ask_runtime(&self.client, "MarketApi_market", (), None).await?;
        let rates: MarketRates = ask_runtime(&self.client, "MarketApi_rates", (), None).await?;
        let mut terms = contract.terms.iter();
        let mut tariffs = rates.tariffs.iter();
        let (Some(terms), Some(tariff)) = (
            terms.rfind(|terms| terms.effective_from <= step),
            tariffs.rfind(|tariff| tariff.effective_from <= step),
        ) else {
            bail!("the chain has no market, or no tariff, for step {step}");
        };
        Ok(Market {
            unit: contract.unit,
            mechanism: terms.mechanism,
            grid: tariff.prices,
        })
    }

    /// Signs and submits a member's order; returns why the node refused it, if it did.
    ///
    /// # Errors
    /// The node cannot be reached any more.
    async fn place(&self, trader: &mut Trader, terms: OrderTerms) -> Result<Option<String>> {
        let nonce = match trader.nonce {
            Some(nonce) => nonce,
            None => self
                .client
                .request(
                    "system_accountNextIndex",
                    rpc_params![trader.account.to_string()],
                )
                .await
                .context("the node does not tell a member's nonce")?,
        };
        let call = RuntimeCall::DoubleAuction(Call::place { terms });
        let transaction = sign_ed25519(call, nonce, &self.context, &trader.pair);
        let encoded = format!("0x{}", hex::encode(transaction));
        let answer: Result<Hash, _> = self
            .client
            .request("author_submitExtrinsic", rpc_params![encoded])
            .await;
        match answer {
            Ok(_) => {
                trader.nonce = nonce.checked_add(1);
                Ok(None)
            }
            Err(ClientError::Call(error)) => {
                // Whoever lost count asks again.
                trader.nonce = None;
                Ok(Some(error.to_string()))
            }
            Err(error) => Err(error).context("the node does not answer its members"),
        }
    }
}

/// Asks a node's runtime, by `state_call`, on the state after a block, the best one when none is named.
pub async fn ask_runtime<Answer: DecodeAll>(
    client: &WsClient,
    function: &str,
    question: impl Encode,
    at: Option<Hash>,
) -> Result<Answer> {
    let question = format!("0x{}", hex::encode(question.encode()));
    let answer: String = client
        .request("state_call", rpc_params![function, question, at])
        .await
        .with_context(|| format!("the node does not answer {function}"))?;
    let bytes = hex::decode(answer.trim_start_matches("0x"));
    bytes
        .ok()
        .and_then(|bytes| Answer::decode_all(&mut bytes.as_slice()).ok())
        .ok_or_else(|| anyhow!("the answer to {function} is not what this program knows"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use commonwatt_clearing::{Mechanism, Side};
    use commonwatt_primitives::Wh;
    use pallet_outer_grid::Prices;
    use std::{collections::BTreeSet, sync::Arc};

    const MARKET: Market = Market {
        unit: Wh(10),
        mechanism: Mechanism::Average,
        grid: Prices { buy: 9, feed_in: 2 },
    };

    fn posts(count: usize) -> Vec<TradingPost> {
        let urls: Vec<_> = (0..count).map(|number| format!("ws://{number}")).collect();
        let tell: Tell = Arc::new(|_, _| {});
        spread(&urls, &Community::demo().unwrap(), &tell).unwrap()
    }

    fn entry(allocated: u64, consumption: u64) -> VgmEntry {
        VgmEntry {
            shared: Wh(allocated),
            consumption: Some(Wh(consumption)),
            ..VgmEntry::default()
        }
    }

    #[test]
    fn every_member_has_one_node() {
        let posts = posts(5);
        let counts: Vec<_> = posts.iter().map(TradingPost::members).collect();
        assert_eq!(counts, [8, 7, 7, 7, 7]);
        let members: BTreeSet<_> = posts
            .iter()
            .flat_map(|post| post.traders.iter().map(|trader| trader.account.clone()))
            .collect();
        assert_eq!(members.len(), 36);
        let tell: Tell = Arc::new(|_, _| {});
        assert!(spread(&[], &Community::demo().unwrap(), &tell).is_err());
    }

    #[test]
    fn a_member_orders_what_its_own_last_steps_let_it_expect() {
        let mut post = posts(1).remove(0);
        let (seller, buyer) = (
            post.traders[0].account.clone(),
            post.traders[1].account.clone(),
        );
        let order = |post: &TradingPost, place: usize| post.traders[place].order(Step(9), &MARKET);
        assert_eq!(order(&post, 0), None);
        for step in 0..6u64 {
            let entries = [
                (seller.clone(), entry(100 * step, 0)),
                (buyer.clone(), entry(0, 100)),
            ];
            post.remember(&entries.into());
        }
        // Of the steps 0 to 5 the last four are remembered: 200, 300, 400 and 500 Wh.
        let sale = order(&post, 0).unwrap();
        assert_eq!(
            (sale.side, sale.units, sale.when),
            (Side::Sell, 35, When::Once(Step(9)))
        );
        let purchase = order(&post, 1).unwrap();
        assert_eq!((purchase.side, purchase.units), (Side::Buy, 10));
        assert_eq!(order(&post, 2), None);
    }

    #[test]
    fn what_was_traded_does_not_change_what_a_member_expects() {
        let traded = VgmEntry {
            bought: Wh(30),
            sold: Wh(70),
            ..entry(100, 40)
        };
        assert_eq!(left_over_wh(&traded), 60);
    }

    #[test]
    fn members_without_their_node_end_when_asked() {
        let tell: Tell = Arc::new(|_, _| {});
        // Nobody listens at port 1.
        let nobody = ["ws://127.0.0.1:1".to_owned()];
        let post = spread(&nobody, &Community::demo().unwrap(), &tell)
            .unwrap()
            .remove(0);
        let runtime = crate::threads::start_async().unwrap();
        let stop = Stop::default();
        let running = runtime.spawn(post.run(stop.clone()));
        stop.ask();
        let ended = runtime
            .block_on(async { tokio::time::timeout(Duration::from_secs(30), running).await });
        ended.unwrap().unwrap().unwrap();
    }

    #[test]
    fn a_step_and_a_meter_are_read_as_the_node_tells_them() {
        let closed: Closed =
            serde_json::from_str(r#"{"step": 7, "block": "0x00", "late": false, "author": null}"#)
                .unwrap();
        assert_eq!((closed.step, closed.late), (Step(7), false));
        let account = posts(1)[0].traders[0].account.clone();
        let text = format!(
            r#"{{"account": "{account}", "shared": 5, "rest": 1, "lost": 0, "bought": 0, "sold": 0, "consumption": 2}}"#
        );
        let told: Entry = serde_json::from_str(&text).unwrap();
        assert_eq!(told.account, account);
        assert_eq!(left_over_wh(&told.entry), 4);
    }
}
