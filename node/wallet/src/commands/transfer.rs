//! `transfer`, `submit` and `chain`.

use std::{
    fs::File,
    io::{self, Read},
    path::Path,
    time::Duration,
};

use clap::Args;
use commonwatt_keystore::FileError;
use commonwatt_primitives::{AccountId, Coin, Step, Wh};
use commonwatt_runtime::VERSION;
use jsonrpsee::rpc_params;
use serde_json::{Value, json};

use super::{
    Console,
    args::{NodeArgs, WhoArgs},
    session::{SignArgs, ask_rules, describe_kept, print_included},
};
use crate::{
    answers::{Amount, CoinRates, Member, Rate, Rules},
    client::Client,
    error::WalletError,
    outcome::{self, spendable},
    progress::{Progress, describe_moment, now_ms},
    signing::{Signed, TRANSACTION_BYTES_MAX, TransactionError, describe, transfer, transfer_in},
    units::{CoinFormat, grouped, show_wh},
};

/// Longest text of a transaction: its digits, 0x, and room for white space around them.
const TRANSACTION_TEXT_BYTES_MAX: usize = 2 * TRANSACTION_BYTES_MAX + 64;

#[derive(Debug, Args)]
pub(super) struct Transfer {
    /// To whom: an address, or the name of an account in this wallet
    #[arg(value_name = "ADDRESS|NAME")]
    to: String,
    /// How many coins: like 7.25, or 500uCWC for millionths
    #[arg(value_name = "COINS", allow_negative_numbers = true)]
    amount: String,
    #[command(flatten)]
    receiver: ReceiverArgs,
    #[command(flatten)]
    sign: SignArgs,
}

/// Who may receive coins.
#[derive(Clone, Copy, Debug, Args)]
struct ReceiverArgs {
    /// The receiver need not be registered: it cannot send the coins on, nor trade, until the DSO has registered it
    #[arg(long)]
    unregistered: bool,
}

impl ReceiverArgs {
    /// Refuses to send coins that are not there, or to where they could not be moved.
    async fn verify(
        self,
        client: &Client,
        from: &AccountId,
        to: &AccountId,
        amount: Coin,
    ) -> Result<(), WalletError> {
        let (_, at) = client.best().await?;
        let member = async |account: &AccountId| -> Result<Member, WalletError> {
            let asked = rpc_params![account.to_string(), Value::Null, 0, at];
            Ok(client.ask("energy_member", asked).await?)
        };
        let coin = &client.facts().coin;
        let free = spendable(&member(from).await?);
        if amount > free {
            return Err(WalletError::usage(format!(
                "the account can send {} at most, beside the coin that keeps it alive, and {} were to be sent: lower the amount, \
                 or cancel orders that coins are on hold for; nothing was sent",
                coin.show(free),
                coin.show(amount)
            )));
        }
        if !self.unregistered && member(to).await?.role.is_none() {
            return Err(WalletError::usage(format!(
                "{to} is not registered: it could neither send the coins on nor trade with them. Ask the DSO to register it first, \
                 or say with --unregistered that it is meant; nothing was sent"
            )));
        }
        Ok(())
    }
}

impl Transfer {
    pub(super) async fn run(self, console: &mut Console<'_>) -> Result<(), WalletError> {
        let to = self.sign.who.resolve(&self.to, console.notes)?;
        let session = self.sign.begin(console.notes).await?;
        let amount = session.coin().parse(&self.amount)?;
        if amount == 0 {
            return Err(WalletError::usage(
                "nothing would be sent: give more than zero",
            ));
        }
        if let Some(client) = session.client() {
            let from = session.signer.id();
            self.receiver.verify(client, &from, &to, amount).await?;
        }
        // No energy is in it, so the unit does not matter.
        session.finish(transfer(to, amount), Wh(1), console).await
    }
}

#[derive(Debug, Args)]
pub(super) struct Submit {
    /// The transaction as `--offline` printed it: 0x and hexadecimal digits, a file with them, or - for the standard input
    #[arg(value_name = "HEX|FILE|-")]
    transaction: String,
    #[command(flatten)]
    receiver: ReceiverArgs,
    #[command(flatten)]
    node: NodeArgs,
    /// Seconds to wait for a block [default: three steps and half a minute]
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=86_400))]
    timeout: Option<u64>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Submit {
    pub(super) async fn run(self, console: &mut Console<'_>) -> Result<(), WalletError> {
        let signed = Signed::parse(&self.read(console)?)?;
        let client = self.node.connect().await?;
        let facts = client.facts();
        let unit = ask_rules(&client).await?.unit;
        writeln!(
            console.notes,
            "Signed by {}: {}",
            signed.signer,
            describe(&signed.call, &facts.coin, unit)
        )?;
        if let Some((to, amount)) = transfer_in(&signed.call) {
            let from = &signed.signer;
            self.receiver.verify(&client, from, to, amount).await?;
        }
        let patience = self
            .timeout
            .map_or_else(|| outcome::patience(&client), Duration::from_secs);
        let progress = Progress::new(facts.timing, self.json);
        let included = outcome::submit(&client, &signed, patience, &progress).await?;
        let kept = describe_kept(&client, &signed.signer, &included).await;
        print_included(&included, &signed, kept, &client, unit, self.json, console)
    }

    fn read(&self, console: &mut Console<'_>) -> Result<String, WalletError> {
        if self.transaction.starts_with("0x") {
            return Ok(self.transaction.clone());
        }
        match self.transaction.as_str() {
            "-" => read_transaction(&mut *console.input, Path::new("the standard input")),
            name => {
                let path = Path::new(name);
                let file = File::open(path).map_err(|source| match source.kind() {
                    io::ErrorKind::NotFound => FileError::Missing(path.to_owned()),
                    _ => cannot("open", path, source),
                })?;
                if file.metadata().is_ok_and(|metadata| metadata.is_dir()) {
                    return Err(FileError::NotAFile(path.to_owned()).into());
                }
                read_transaction(file, path)
            }
        }
    }
}

fn cannot(action: &'static str, path: &Path, source: io::Error) -> FileError {
    FileError::Io {
        action,
        path: path.to_owned(),
        source,
    }
}

/// Reads the hexadecimal digits of a transaction, as long as one may be.
fn read_transaction(stream: impl Read, path: &Path) -> Result<String, WalletError> {
    let mut bytes = Vec::new();
    let bound = u64::try_from(TRANSACTION_TEXT_BYTES_MAX).unwrap_or(u64::MAX);
    stream
        .take(bound.saturating_add(1))
        .read_to_end(&mut bytes)
        .map_err(|source| cannot("read", path, source))?;
    if bytes.len() > TRANSACTION_TEXT_BYTES_MAX {
        return Err(TransactionError::TooLong.into());
    }
    Ok(String::from_utf8(bytes).map_err(|_| TransactionError::Hexadecimal)?)
}

#[derive(Debug, Args)]
pub(super) struct ChainInfo {
    #[command(flatten)]
    node: NodeArgs,
    #[command(flatten)]
    who: WhoArgs,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl ChainInfo {
    pub(super) async fn run(self, console: &mut Console<'_>) -> Result<(), WalletError> {
        let id = self.who.id_if_any(console.notes)?;
        let client = self.node.connect().await?;
        let rules = ask_rules(&client).await?;
        let (best, hash) = client.best().await?;
        let nonce = match &id {
            None => None,
            Some(id) => Some(client.nonce(id).await?),
        };
        let facts = client.facts();
        let tariff = rules.tariff_at(rules.next_step);
        let last_step = last_step(&rules);
        if self.json {
            return console.json(&json!({
                "chain": facts.name,
                "genesis": facts.genesis,
                "specVersion": VERSION.spec_version,
                "transactionVersion": VERSION.transaction_version,
                "block": best,
                "blockHash": hash,
                "unitWh": rules.unit,
                "coin": facts.coin.symbol(),
                "decimals": facts.coin.decimals(),
                "nextStep": rules.next_step,
                "stepsAhead": rules.steps_ahead,
                "lastStep": last_step,
                "timing": facts.timing,
                "tariff": tariff.map(|tariff| json!({
                    "fromStep": tariff.from_step,
                    "buy": tariff.buy.0.to_string(),
                    "feedIn": tariff.feed_in.0.to_string(),
                })),
                "coinRates": rules.coin_rates.map(|CoinRates { buy, sell }| json!({
                    "buy": rate_json(buy),
                    "sell": rate_json(sell),
                })),
                "account": id.map(|id| id.to_string()),
                "nonce": nonce,
            }));
        }
        let mut lines = vec![
            ("chain", facts.name.clone()),
            ("genesis", format!("{:?}", facts.genesis)),
            (
                "versions",
                format!(
                    "spec {}, transactions {}",
                    VERSION.spec_version, VERSION.transaction_version
                ),
            ),
            ("best block", format!("{best} {hash:?}")),
            ("now", describe_moment(&facts.timing, now_ms())),
            ("trading unit", show_wh(u128::from(rules.unit.0))),
            (
                "coin",
                format!(
                    "{} of {} decimals",
                    facts.coin.symbol(),
                    facts.coin.decimals()
                ),
            ),
            (
                "orders",
                format!("steps {} to {last_step}", rules.next_step),
            ),
        ];
        if let Some(tariff) = tariff {
            let (Amount(buy), Amount(feed_in)) = (tariff.buy, tariff.feed_in);
            let energy = show_wh(u128::from(rules.unit.0));
            let (buy, feed_in) = (grouped(buy), grouped(feed_in));
            lines.push((
                "outer grid",
                format!("takes {buy} and pays {feed_in} smallest units of money for {energy}"),
            ));
        }
        lines.push(("treasury", describe_rates(rules.coin_rates, &facts.coin)));
        if let (Some(id), Some(nonce)) = (id, nonce) {
            lines.push(("account", id.to_string()));
            lines.push(("nonce", nonce.to_string()));
        }
        for (name, value) in lines {
            writeln!(console.out, "{name:<13} {value}")?;
        }
        Ok(())
    }
}

/// Returns the last step that an order in the next block can be for: that many are open, the next one among them.
fn last_step(rules: &Rules) -> Step {
    let more = rules.steps_ahead.saturating_sub(1);
    rules.next_step.checked_add(more).unwrap_or(Step(u32::MAX))
}

fn rate_json(rate: Rate) -> Value {
    json!({"money": rate.money.0.to_string(), "coins": rate.coins.0.to_string()})
}

/// Says what the treasury changes coins and money at.
pub(super) fn describe_rates(posted: Option<CoinRates>, coin: &CoinFormat) -> String {
    let Some(CoinRates { buy, sell }) = posted else {
        return "posts no rates for coins".to_owned();
    };
    format!(
        "takes {} for {} and gives {} for {}, in smallest units of money",
        grouped(sell.money.0),
        coin.show(sell.coins.0),
        grouped(buy.money.0),
        coin.show(buy.coins.0)
    )
}
