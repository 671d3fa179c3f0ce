//! `commonwatt validators`: bids, turns and reputation of validators, as a running node tells them.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Args;
use jsonrpsee::{
    core::{client::ClientT, params::ArrayParams},
    rpc_params,
};
use jsonrpsee_ws_client::{WsClient, WsClientBuilder};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;

use crate::{
    report::{grouped, say},
    threads,
};

/// How long the node may take for an answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// Largest answer, in bytes.
const ANSWER_BYTES_MAX: u32 = 4 * 1024 * 1024;

/// Heights looked back at most.
const HEIGHTS_MAX: u32 = 672;

/// Shows how validators do: their bids, whose turn it is next, what they made and missed, their reputation and tokens.
#[derive(Debug, Args)]
pub struct Validators {
    /// Only this validator, with its bids and each of its turns
    #[arg(value_name = "ACCOUNT")]
    account: Option<String>,
    /// The node to ask
    #[arg(long, value_name = "URL", default_value = "ws://127.0.0.1:9944")]
    url: String,
    /// How many heights to look back
    #[arg(long, value_name = "COUNT", default_value_t = 96, value_parser = clap::value_parser!(u32).range(1..=i64::from(HEIGHTS_MAX)))]
    last: u32,
    /// As one JSON object
    #[arg(long)]
    json: bool,
}

// ---------------------------------------------------------------------------------- what the node answers

#[derive(Deserialize)]
struct Header {
    number: String,
}

#[derive(Deserialize)]
struct Validator {
    account: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Auction {
    is_void: bool,
    ranking: Vec<Candidate>,
    excluded: Vec<Candidate>,
    outcome: Option<Outcome>,
}

#[derive(Deserialize)]
struct Candidate {
    account: String,
    offered: String,
    #[serde(default)]
    reason: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Outcome {
    author: String,
    author_rank: u32,
    is_late: bool,
    burned: String,
    returned: String,
}

#[derive(Deserialize)]
struct Bidder {
    bids: Vec<Bid>,
    terms: Option<Terms>,
    offence: Option<Value>,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
struct Bid {
    height: u32,
    amount: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
struct Terms {
    height: u32,
    free: String,
    in_escrow: String,
    min: String,
    max: String,
}

#[derive(Deserialize)]
struct Reputation {
    reputation: u16,
}

// ---------------------------------------------------------------------------------- what is told

/// What became of a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
enum Turn {
    /// It made the block.
    Made,
    /// It made the block after the step's time.
    MadeLate,
    /// Somebody behind it in the ranking made the block.
    Missed,
}

/// A height at which a validator won, made the block or missed its turn.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct TurnAt {
    height: u32,
    rank: u32,
    turn: Turn,
    /// Voting tokens it offered.
    offered: String,
    /// Of the auction's pot, burned and given back.
    burned: String,
    returned: String,
}

/// A validator in figures.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Status {
    account: String,
    /// Its place in the ranking of the next height; none while that is not decided, or when it is excluded.
    next_rank: Option<usize>,
    /// Why it is not ranked there.
    excluded: Option<String>,
    /// Its open bids.
    bids: Vec<Bid>,
    /// What it may bid in the next block; none when it may not.
    terms: Option<Terms>,
    reputation: u16,
    made: u32,
    made_late: u32,
    missed: u32,
    /// That it contradicted itself.
    offence: Option<Value>,
    turns: Vec<TurnAt>,
}

/// All of it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    best: u32,
    /// The first height looked at.
    since: u32,
    validators: Vec<Status>,
}

impl Validators {
    /// Asks the node and prints.
    pub fn run(self) -> Result<()> {
        let report = threads::start_async()?.block_on(self.ask())?;
        if self.json {
            say!("{}", serde_json::to_string_pretty(&report)?)?;
            return Ok(());
        }
        match (&self.account, report.validators.as_slice()) {
            (Some(_), [status]) => print_one(&report, status),
            _ => print_all(&report),
        }
    }

    async fn ask(&self) -> Result<Report> {
        let client = WsClientBuilder::default()
            .connection_timeout(PATIENCE)
            .request_timeout(PATIENCE)
            .max_response_size(ANSWER_BYTES_MAX)
            .build(&self.url)
            .await
            .with_context(|| {
                format!(
                    "no node answers at {}: start one, or name its JSON-RPC with --url ws://HOST:PORT",
                    self.url
                )
            })?;
        let header: Header = request(&client, "chain_getHeader", rpc_params![]).await?;
        let digits = header.number.trim_start_matches("0x");
        let best = u32::from_str_radix(digits, 16).with_context(|| {
            format!(
                "the node at {} names the block {:?}",
                self.url, header.number
            )
        })?;
        let validators: Option<Vec<Validator>> =
            request(&client, "auction_validators", rpc_params![]).await?;
        let accounts: Vec<String> = validators
            .unwrap_or_default()
            .into_iter()
            .map(|validator| validator.account)
            .filter(|account| self.account.as_ref().is_none_or(|wanted| wanted == account))
            .collect();
        let accounts = match (&self.account, accounts.is_empty()) {
            // Who has just left the set, or is about to come in, has bids and turns too.
            (Some(account), true) => vec![account.clone()],
            (None, true) => bail!("the chain at {} has no validators", self.url),
            _ => accounts,
        };

        let next = best.saturating_add(1);
        let upcoming: Option<Auction> =
            request(&client, "auction_auction", rpc_params![next]).await?;
        let mut statuses = Vec::with_capacity(accounts.len());
        for account in accounts {
            let bidder: Bidder = request(&client, "auction_bids", rpc_params![&account]).await?;
            let reputation: Reputation =
                request(&client, "auction_reputation", rpc_params![&account]).await?;
            let mut status = Status {
                bids: bidder.bids,
                terms: bidder.terms,
                offence: bidder.offence,
                reputation: reputation.reputation,
                account,
                ..Status::default()
            };
            if let Some(upcoming) = &upcoming {
                status.look_ahead(upcoming);
            }
            statuses.push(status);
        }
        let since = best.saturating_sub(self.last).saturating_add(1);
        for height in since..=best {
            let auction: Option<Auction> =
                request(&client, "auction_auction", rpc_params![height]).await?;
            for status in &mut statuses {
                if let Some(auction) = &auction {
                    status.count(height, auction);
                }
            }
        }
        Ok(Report {
            best,
            since,
            validators: statuses,
        })
    }
}

async fn request<Answer: DeserializeOwned>(
    client: &WsClient,
    method: &str,
    parameters: ArrayParams,
) -> Result<Answer> {
    client
        .request(method, parameters)
        .await
        .with_context(|| format!("the node does not answer {method}"))
}

impl Status {
    /// Notes where it stands in the auction of the next height.
    fn look_ahead(&mut self, auction: &Auction) {
        let place = |candidates: &[Candidate]| {
            let mut candidates = candidates.iter();
            candidates.position(|candidate| candidate.account == self.account)
        };
        self.next_rank = place(&auction.ranking);
        self.excluded =
            place(&auction.excluded).and_then(|place| auction.excluded.get(place)?.reason.clone());
    }

    /// Notes what it did at a height. In a void or late auction nobody is blamed for not having made the block.
    fn count(&mut self, height: u32, auction: &Auction) {
        let Some(outcome) = &auction.outcome else {
            return;
        };
        let ranked = auction.ranking.iter().zip(0u32..);
        let place = ranked
            .clone()
            .find(|(candidate, _)| candidate.account == self.account);
        let (rank, offered) = match place {
            Some((candidate, rank)) => (rank, candidate.offered.clone()),
            // Who has no rank may have its turn after everybody else.
            None => (outcome.author_rank, "0".to_owned()),
        };
        let turn = if outcome.author == self.account {
            match outcome.is_late {
                true => Turn::MadeLate,
                false => Turn::Made,
            }
        } else if place.is_some()
            && rank < outcome.author_rank
            && !auction.is_void
            && !outcome.is_late
        {
            Turn::Missed
        } else {
            return;
        };
        match turn {
            Turn::Made => self.made += 1,
            Turn::MadeLate => self.made_late += 1,
            Turn::Missed => self.missed += 1,
        }
        self.turns.push(TurnAt {
            height,
            rank,
            turn,
            offered,
            burned: outcome.burned.clone(),
            returned: outcome.returned.clone(),
        });
    }

    fn standing(&self) -> String {
        match (&self.excluded, self.next_rank) {
            (Some(reason), _) => reason_in_words(reason).to_owned(),
            (None, Some(0)) => "makes the next block".to_owned(),
            (None, Some(rank)) => format!("rank {rank}"),
            (None, None) => "not ranked".to_owned(),
        }
    }
}

fn reason_in_words(reason: &str) -> &str {
    match reason {
        "authoredBefore" => "made the last block",
        "equivocated" => "contradicted itself",
        "leftTheSet" => "has left the set",
        other => other,
    }
}

/// Groups digits of an amount; what is no number stays as it is.
fn amount(digits: &str) -> String {
    digits.parse().map_or_else(|_| digits.to_owned(), grouped)
}

fn print_all(report: &Report) -> Result<()> {
    say!(
        "blocks {} to {}; bids are voting tokens",
        report.since,
        report.best
    )?;
    say!(
        "{:<50} {:<22} {:>12} {:>14} {:>14} {:>10} {:>6} {:>5} {:>7}",
        "validator",
        "next height",
        "open bids",
        "free tokens",
        "in escrow",
        "reputation",
        "made",
        "late",
        "missed"
    )?;
    for status in &report.validators {
        let bids: u128 = status
            .bids
            .iter()
            .filter_map(|bid| bid.amount.parse::<u128>().ok())
            .sum();
        let terms = status.terms.as_ref();
        let told = |digits: fn(&Terms) -> &str| {
            terms.map_or("-".to_owned(), |terms| amount(digits(terms)))
        };
        say!(
            "{:<50} {:<22} {:>12} {:>14} {:>14} {:>10} {:>6} {:>5} {:>7}",
            status.account,
            status.standing(),
            grouped(bids),
            told(|terms| &terms.free),
            told(|terms| &terms.in_escrow),
            status.reputation,
            status.made,
            status.made_late,
            status.missed
        )?;
    }
    Ok(())
}

fn print_one(report: &Report, status: &Status) -> Result<()> {
    say!("{}", status.account)?;
    say!(
        "  next height   {}: {}",
        report.best.saturating_add(1),
        status.standing()
    )?;
    say!("  reputation    {}", status.reputation)?;
    match &status.terms {
        Some(terms) => say!(
            "  may bid       {} to {} voting tokens for height {}; {} free, {} in escrow",
            amount(&terms.min),
            amount(&terms.max),
            terms.height,
            amount(&terms.free),
            amount(&terms.in_escrow)
        )?,
        None => say!(
            "  may bid       not now: it is no validator of the height that is open, or excluded"
        )?,
    }
    for bid in &status.bids {
        say!(
            "  bid           {} for height {}",
            amount(&bid.amount),
            bid.height
        )?;
    }
    if let Some(offence) = &status.offence {
        say!("  contradiction {offence}: ask the DSO to pardon it once the cause is mended")?;
    }
    say!(
        "  blocks {} to {}: {} made, {} of a late step, {} missed",
        report.since,
        report.best,
        status.made,
        status.made_late,
        status.missed
    )?;
    for turn in &status.turns {
        let what = match turn.turn {
            Turn::Made => "made",
            Turn::MadeLate => "made late",
            Turn::Missed => "MISSED",
        };
        say!(
            "    {:>8}  {what:<9}  rank {:<3} offered {}",
            turn.height,
            turn.rank,
            amount(&turn.offered)
        )?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn auction(outcome: Value) -> Auction {
        serde_json::from_value(json!({
            "isVoid": false,
            "ranking": [{"account": "a", "offered": "7"}, {"account": "b", "offered": "5"}],
            "excluded": [{"account": "c", "offered": "9", "reason": "authoredBefore"}],
            "outcome": outcome,
        }))
        .unwrap()
    }

    fn outcome(author: &str, rank: u32, is_late: bool) -> Value {
        json!({"author": author, "authorRank": rank, "isLate": is_late, "burned": "1", "returned": "2"})
    }

    fn counted(account: &str, outcomes: &[Value]) -> Status {
        let mut status = Status {
            account: account.to_owned(),
            ..Status::default()
        };
        for (outcome, height) in outcomes.iter().zip(1..) {
            status.count(height, &auction(outcome.clone()));
        }
        status
    }

    #[test]
    fn a_turn_is_made_or_missed() {
        let outcomes = [
            outcome("a", 0, false),
            outcome("b", 1, false),
            outcome("b", 1, true),
            Value::Null,
        ];
        let a = counted("a", &outcomes);
        assert_eq!((a.made, a.made_late, a.missed), (1, 0, 1));
        assert_eq!(a.turns[1].turn, Turn::Missed);
        let b = counted("b", &outcomes);
        assert_eq!((b.made, b.made_late, b.missed), (1, 1, 0));
        // Excluded from the ranking: no turn to miss.
        let c = counted("c", &outcomes);
        assert_eq!(c.turns, []);
    }

    #[test]
    fn the_next_height_is_told_in_words() {
        let told = |account: &str| {
            let mut status = Status {
                account: account.to_owned(),
                ..Status::default()
            };
            status.look_ahead(&auction(Value::Null));
            status.standing()
        };
        assert_eq!(told("a"), "makes the next block");
        assert_eq!(told("b"), "rank 1");
        assert_eq!(told("c"), "made the last block");
        assert_eq!(told("d"), "not ranked");
    }
}
