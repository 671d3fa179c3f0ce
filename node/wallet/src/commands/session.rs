//! From a call to what came of it: signed and submitted, or signed and printed.

use std::{io::Write, path::PathBuf, time::Duration};

use clap::Args;
use commonwatt_clearing::Side;
use commonwatt_keystore::KeyPair;
use commonwatt_primitives::{AccountId, Hash, Step, Wh};
use commonwatt_runtime::{RuntimeCall, VERSION, transaction::SigningContext};
use jsonrpsee::rpc_params;
use serde_json::{Value, json};

use super::{
    Console,
    args::{NodeArgs, Signer, StepText, Validity, WhoArgs},
};
use crate::{
    answers::{Amount, Order, OrderName, Orders, Rules},
    client::Client,
    error::WalletError,
    outcome::{self, Included, describe_done},
    progress::{Progress, now_ms},
    signing::{self, Signed, context_of},
    units::{CoinFormat, parse_energy},
};

/// How long before a block is made an order for it is still sent.
const MARGIN_MS: u64 = 500;
/// The part of a step that this is at most.
const MARGIN_PART: u64 = 8;
/// How often a call is signed anew because its number was taken.
const NONCE_RETRIES_MAX: u32 = 3;
/// The trading unit of chains that say nothing else.
const USUAL_UNIT: Wh = Wh(10);

/// How a transaction is signed and sent.
#[derive(Clone, Debug, Args)]
pub(super) struct SignArgs {
    #[command(flatten)]
    pub node: NodeArgs,
    #[command(flatten)]
    pub who: WhoArgs,
    /// File with the password of the account in its first line [default: it is asked for]
    #[arg(long, value_name = "FILE")]
    pub password_file: Option<PathBuf>,
    /// For how many blocks the transaction is valid: a power of two, or immortal
    #[arg(long, value_name = "BLOCKS", default_value = "64")]
    pub era: Validity,
    /// Seconds to wait for a block [default: three steps and half a minute]
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub timeout: Option<u64>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub offline: OfflineArgs,
}

/// What signing without a node needs to know; `commonwatt wallet chain` shows it.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Signing offline")]
pub(super) struct OfflineArgs {
    /// Ask no node: print the signed transaction, for `commonwatt wallet submit`
    #[arg(long, requires_all = ["genesis", "nonce", "spec_version", "transaction_version"])]
    offline: bool,
    /// Number of the account's next transaction
    #[arg(long, value_name = "NUMBER", requires = "offline")]
    nonce: Option<u32>,
    /// Spec version of the chain
    #[arg(long, value_name = "NUMBER", requires = "offline")]
    spec_version: Option<u32>,
    /// Transaction version of the chain
    #[arg(long, value_name = "NUMBER", requires = "offline")]
    transaction_version: Option<u32>,
    /// Block from which the transaction is valid, unless --era is immortal
    #[arg(long, value_name = "NUMBER", requires_all = ["offline", "era_hash"])]
    era_block: Option<u32>,
    /// Hash of that block
    #[arg(long, value_name = "HASH", requires_all = ["offline", "era_block"])]
    era_hash: Option<Hash>,
    /// The chain's trading unit [default: 10Wh]
    #[arg(long, value_name = "ENERGY", requires = "offline", value_parser = parse_energy)]
    unit: Option<Wh>,
    /// Decimals of the chain's coin [default: 6]
    #[arg(long, value_name = "COUNT", requires = "offline")]
    decimals: Option<u32>,
}

/// Somebody who signs, with or without a node.
pub(super) struct Session<'a> {
    args: &'a SignArgs,
    pub signer: Signer,
    mode: Mode,
}

enum Mode {
    Online(Box<Online>),
    Offline(Offline),
}

struct Online {
    client: Client,
    progress: Progress,
}

struct Offline {
    nonce: u32,
    context: SigningContext,
    coin: CoinFormat,
    unit: Wh,
}

/// What an order needs to know of the market.
pub(super) struct Market {
    pub unit: Wh,
    /// The chain's rules, when there is a node to ask.
    pub rules: Option<Rules>,
}

impl SignArgs {
    /// Opens the account, and connects to the node unless it is signed offline.
    pub(super) async fn begin(&self, notes: &mut dyn Write) -> Result<Session<'_>, WalletError> {
        let signer = self.who.signer(self.password_file.as_ref(), notes)?;
        let mode = match self.offline.offline {
            true => Mode::Offline(self.begin_offline(&signer)?),
            false => {
                let client = self.node.connect().await?;
                let facts = client.facts();
                signer.verify_chain(facts.genesis, Some(facts.kind))?;
                let progress = Progress::new(facts.timing, self.json);
                Mode::Online(Box::new(Online { client, progress }))
            }
        };
        Ok(Session {
            args: self,
            signer,
            mode,
        })
    }

    fn begin_offline(&self, signer: &Signer) -> Result<Offline, WalletError> {
        let OfflineArgs {
            nonce,
            spec_version,
            transaction_version,
            era_block,
            era_hash,
            unit,
            decimals,
            ..
        } = self.offline;
        let (Some(genesis), Some(nonce)) = (self.node.genesis, nonce) else {
            return Err(WalletError::usage(
                "signing offline needs --genesis and --nonce",
            ));
        };
        let (asked, own) = (
            (spec_version, transaction_version),
            (
                Some(VERSION.spec_version),
                Some(VERSION.transaction_version),
            ),
        );
        if asked != own {
            return Err(WalletError::usage(format!(
                "this wallet signs for spec version {} and transaction version {} alone: nothing was signed; take the wallet that \
                 came with the chain's present version",
                VERSION.spec_version, VERSION.transaction_version
            )));
        }
        signer.verify_chain(genesis, None)?;
        let context = match (self.era, era_block, era_hash) {
            (Validity::Immortal, _, _) => SigningContext::immortal(genesis),
            (validity, Some(block), Some(hash)) => {
                context_of(genesis, validity.era_from(block), hash)
            }
            _ => {
                return Err(WalletError::usage(
                    "say from which block on the transaction is valid, with --era-block and --era-hash, or that it is for \
                     ever, with --era immortal",
                ));
            }
        };
        let usual = CoinFormat::default();
        let coin = match decimals {
            None => usual,
            Some(decimals) => CoinFormat::new(usual.symbol(), decimals).ok_or_else(|| {
                WalletError::usage("no coin has so many decimals: see `commonwatt wallet chain`")
            })?,
        };
        Ok(Offline {
            nonce,
            context,
            coin,
            unit: unit.unwrap_or(USUAL_UNIT),
        })
    }

    /// Returns how long a transaction may take.
    pub(super) fn patience(&self, client: &Client) -> Duration {
        self.timeout
            .map_or_else(|| outcome::patience(client), Duration::from_secs)
    }
}

impl Session<'_> {
    /// Returns how the chain writes its coin.
    pub(super) fn coin(&self) -> &CoinFormat {
        match &self.mode {
            Mode::Online(online) => &online.client.facts().coin,
            Mode::Offline(offline) => &offline.coin,
        }
    }

    /// Returns the node, if there is one to ask.
    pub(super) fn client(&self) -> Option<&Client> {
        match &self.mode {
            Mode::Online(online) => Some(&online.client),
            Mode::Offline(_) => None,
        }
    }

    /// Returns what an order needs to know of the market.
    pub(super) async fn market(&self) -> Result<Market, WalletError> {
        match &self.mode {
            Mode::Offline(offline) => Ok(Market {
                unit: offline.unit,
                rules: None,
            }),
            Mode::Online(online) => {
                let rules = ask_rules(&online.client).await?;
                Ok(Market {
                    unit: rules.unit,
                    rules: Some(rules),
                })
            }
        }
    }

    /// Returns the step that is meant. The next one is that of the next block that an order can still reach.
    pub(super) fn step(&self, text: StepText, market: &Market) -> Result<Step, WalletError> {
        let next = || match (&self.mode, &market.rules) {
            (Mode::Online(online), Some(rules)) => {
                let timing = &online.client.facts().timing;
                Ok(reachable_step(
                    rules.next_step,
                    |block| timing.settles_at_ms(block),
                    timing.step_ms,
                    now_ms(),
                ))
            }
            _ => Err(WalletError::usage(
                "nobody knows the next step offline: give the step's own number with --step",
            )),
        };
        match text {
            StepText::At(step) => Ok(step),
            StepText::Next => next(),
            StepText::Ahead(count) => next()?
                .checked_add(count)
                .ok_or_else(|| WalletError::usage("there is no step with such a number")),
        }
    }

    /// Signs a call and brings it into a block, or prints it; tells what came of it.
    pub(super) async fn finish(
        self,
        call: RuntimeCall,
        unit: Wh,
        console: &mut Console<'_>,
    ) -> Result<(), WalletError> {
        match self.mode {
            Mode::Offline(offline) => {
                let signed = Signed::sign(call, offline.nonce, &offline.context, &self.signer.pair);
                print_signed(&signed, &offline, unit, self.args.json, console)
            }
            Mode::Online(online) => {
                let Online { client, progress } = *online;
                let patience = self.args.patience(&client);
                let (validity, pair) = (self.args.era, &self.signer.pair);
                let (signed, included) =
                    send(&client, call, validity, pair, patience, &progress).await?;
                let kept = describe_kept(&client, &signed.signer, &included).await;
                let is_json = self.args.json;
                print_included(&included, &signed, kept, &client, unit, is_json, console)
            }
        }
    }
}

/// Returns the rules of the market.
pub(super) async fn ask_rules(client: &Client) -> Result<Rules, WalletError> {
    let rules: Rules = client.ask("market_rules", rpc_params![]).await?;
    if rules.unit.is_zero() {
        return Err(WalletError::usage(
            "the node says that the trading unit is nothing: ask another node",
        ));
    }
    Ok(rules)
}

/// Returns the first step an order can be for: `next`, as long as the block before it is not just being made.
pub(super) fn reachable_step(
    next: Step,
    settles_at_ms: impl Fn(Step) -> u64,
    step_ms: u64,
    now_ms: u64,
) -> Step {
    let margin_ms = MARGIN_MS.min(step_ms / MARGIN_PART);
    let is_too_late = now_ms.saturating_add(margin_ms) >= settles_at_ms(next.saturating_sub(1));
    // A chain that is far behind catches up, and its late blocks take no orders anyway.
    match is_too_late {
        true => next.checked_add(1).unwrap_or(next),
        false => next,
    }
}

/// Signs a call and brings it into a block.
///
/// The number of the account's next transaction may be taken by another one between question and answer, as when two
/// commands run at once. The node took nothing then, so the call is signed anew with the number after.
pub(super) async fn send(
    client: &Client,
    call: RuntimeCall,
    validity: Validity,
    pair: &KeyPair,
    patience: Duration,
    progress: &Progress,
) -> Result<(Signed, Included), WalletError> {
    let mut retries = NONCE_RETRIES_MAX;
    loop {
        let signed = sign(client, call.clone(), validity, pair).await?;
        match outcome::submit(client, &signed, patience, progress).await {
            Err(error) if error.is_nonce_taken() && retries > 0 => {
                retries = retries.saturating_sub(1);
            }
            Err(error) => return Err(error.into()),
            Ok(included) => return Ok((signed, included)),
        }
    }
}

/// Signs a call for the node's chain: with the account's next number, from the best block on.
async fn sign(
    client: &Client,
    call: RuntimeCall,
    validity: Validity,
    pair: &KeyPair,
) -> Result<Signed, WalletError> {
    let id = AccountId::new(pair.public());
    let nonce = client.nonce(&id).await?;
    let (best, hash) = client.best().await?;
    let context = context_of(client.facts().genesis, validity.era_from(best), hash);
    Ok(Signed::sign(call, nonce, &context, pair))
}

fn print_signed(
    signed: &Signed,
    offline: &Offline,
    unit: Wh,
    is_json: bool,
    console: &mut Console<'_>,
) -> Result<(), WalletError> {
    let does = signing::describe(&signed.call, &offline.coin, unit);
    if let Some(stake) = signing::describe_stake(&signed.call, &offline.coin) {
        writeln!(console.notes, "{stake}")?;
    }
    if is_json {
        return console.json(&json!({
            "extrinsic": signed.to_hex(),
            "transaction": signed.hash(),
            "signer": signed.signer.to_string(),
            "nonce": offline.nonce,
            "does": does,
        }));
    }
    writeln!(console.notes, "Signed by {}: {does}", signed.signer)?;
    writeln!(console.out, "{}", signed.to_hex())?;
    Ok(())
}

/// Returns what came of a transaction, for programs.
pub(super) fn included_json(included: &Included, done: &str) -> Value {
    let order = included.order().map(|(id, _)| OrderName(id).to_string());
    json!({
        "transaction": included.hash,
        "block": included.block,
        "blockNumber": included.number,
        "order": order,
        "done": done,
    })
}

/// Says what of an order that a transaction took back is not free yet: where orders match as they arrive, it stays for what
/// it may have matched. The transaction is done, so that a node which does not tell is no error.
pub(super) async fn describe_kept(
    client: &Client,
    signer: &AccountId,
    included: &Included,
) -> Option<String> {
    let gone = included.withdrawn()?;
    let asked = rpc_params![signer.to_string(), 0, included.block];
    let orders: Orders = client.ask("market_orders", asked).await.ok()?;
    let mut open = orders.open.iter();
    let order = open.find(|order| order.id == OrderName(gone) && order.is_withdrawn())?;
    Some(describe_withdrawn(order, &client.facts().coin))
}

fn describe_withdrawn(order: &Order, coin: &CoinFormat) -> String {
    let Amount(limit) = order.limit;
    match order.side {
        Side::Buy => {
            let escrow = limit.saturating_mul(u128::from(order.units));
            format!(
                "for what it may have matched until then, up to {} stay on hold until step {} is settled",
                coin.show(escrow),
                order.step
            )
        }
        Side::Sell => "what it matched until then stays sold".to_owned(),
    }
}

/// Tells what came of a transaction, and what it left as it was.
pub(super) fn print_included(
    included: &Included,
    signed: &Signed,
    kept: Option<String>,
    client: &Client,
    unit: Wh,
    is_json: bool,
    console: &mut Console<'_>,
) -> Result<(), WalletError> {
    let mut done = describe_done(included, signed, &client.facts().coin, unit);
    if let Some(kept) = kept {
        done = format!("{done}; {kept}");
    }
    if is_json {
        return console.json(&included_json(included, &done));
    }
    writeln!(console.out, "{done}")?;
    writeln!(
        console.out,
        "in block {} {:?}, which is final",
        included.number, included.block
    )?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_that_would_miss_its_block_is_for_the_step_after() {
        // Block s is made at 1000·s + 100.
        let settles_at = |Step(step): Step| u64::from(step) * 1_000 + 100;
        let reach = |now_ms| reachable_step(Step(7), settles_at, 1_000, now_ms);
        assert_eq!(reach(5_200), Step(7));
        // An eighth of the step before block 6 is made.
        assert_eq!(reach(5_974), Step(7));
        assert_eq!(reach(5_975), Step(8));
        assert_eq!(reach(6_500), Step(8));
        let long = reachable_step(Step(7), |_| 10_000, 900_000, 9_500);
        assert_eq!(long, Step(8));
    }
}
