//! Prints the auctions of a seeded story as JSON Lines, for `tests/verify_auction.py` to recompute.
//!
//! `cargo run -p commonwatt-rpc --example auction_story -- --help` says what it takes.

use std::{
    env,
    error::Error,
    fmt::Display,
    io::{self, BufWriter, Write},
    process::ExitCode,
    str::FromStr,
};

use commonwatt_primitives::{
    Step,
    digest::{Punctuality, StepDigest},
    traits::Registrar,
};
use commonwatt_rpc::{AuctionJson, BidJson, RulesJson};
use commonwatt_runtime::{
    MinerAuction, Registry, Reputation,
    apis::AuctionContract,
    configs::{EPOCH_LENGTH, EVIDENCE_WINDOW},
    genesis::GENESIS_VOTING_TOKENS,
    story::{Plan, Story, Told},
};
use pallet_reputation::Measure;
use serde_json::{Value, json};

const USAGE: &str = "\
Prints the auctions of a seeded story as JSON Lines: the contract, then a line for each height.

usage: auction_story HEIGHTS [SEED] [RULE] [BASIS] [FEW_CANDIDATES] [MEASURE]

  HEIGHTS         how many heights, for instance 1000
  SEED            from which everything follows
  RULE            proportional, ratio or highest-reputation
  BASIS           offered or owned
  FEW_CANDIDATES  with fewer candidates than this, bids are bounded
  MEASURE         blocks-created, or delivery: members declare what they will use";

/// Reads a word as the chain spec has it.
fn word<T: serde::de::DeserializeOwned>(name: &str, text: String) -> Result<T, String> {
    serde_json::from_value(Value::String(text)).map_err(|error| format!("{name}: {error}"))
}

fn number<T: FromStr<Err: Display>>(name: &str, text: &str) -> Result<T, String> {
    text.parse()
        .map_err(|error| format!("{name} is a number, not {text:?}: {error}"))
}

fn plan(mut arguments: impl Iterator<Item = String>) -> Result<(u32, Plan), String> {
    let heights = arguments.next().ok_or("say how many heights")?;
    let heights = number("HEIGHTS", &heights)?;
    let mut plan = Plan {
        // Nothing is forgotten before it is printed.
        retention: 1_000,
        ..Plan::default()
    };
    if let Some(seed) = arguments.next() {
        plan.seed = number("SEED", &seed)?;
    }
    if let Some(rule) = arguments.next() {
        plan.rules.rule = word("RULE", rule)?;
    }
    if let Some(basis) = arguments.next() {
        plan.rules.basis = word("BASIS", basis)?;
    }
    if let Some(few) = arguments.next() {
        plan.rules.few_candidates = number("FEW_CANDIDATES", &few)?;
    }
    if let Some(measure) = arguments.next() {
        plan.measure = word("MEASURE", measure)?;
    }
    if let Some(more) = arguments.next() {
        return Err(format!(
            "there is nothing to say after MEASURE, but {more:?}"
        ));
    }
    if plan.measure == Measure::Delivery {
        // Many short periods, so that scores grow and shrink.
        plan.period = 8;
        plan.declaring_percent = 80;
    }
    Ok((heights, plan))
}

/// Returns what is known before the first block.
fn beginning(story: &mut Story) -> Value {
    story.ask(|| {
        let contract = AuctionContract {
            mining: MinerAuction::rules(),
            reputation: Reputation::rules(),
            epoch_length: EPOCH_LENGTH,
            evidence_window: EVIDENCE_WINDOW,
            burned: MinerAuction::burned(),
        };
        let validators: Vec<_> = MinerAuction::validators(Step(1))
            .into_iter()
            .flatten()
            .map(|validator| {
                json!({
                    "isMember": Registry::is_member(&validator.account),
                    "account": validator.account,
                    "tokens": GENESIS_VOTING_TOKENS.to_string(),
                })
            })
            .collect();
        json!({
            "rules": RulesJson::from(contract),
            "validators": validators,
            "seed": MinerAuction::beacon(Step(0)),
        })
    })
}

fn line(story: &mut Story, told: Told) -> Value {
    let Told {
        height,
        digest,
        output,
        seed,
        bids,
        issued,
        free,
        escrow,
        issuance,
        declared,
        delivered,
        scores,
    } = told;
    let StepDigest::V1 {
        author,
        author_rank,
        winner,
        punctuality,
        ..
    } = digest;
    let (auction, burned) = story.ask(|| (MinerAuction::auction(height), MinerAuction::burned()));
    let in_words = |amounts: std::collections::BTreeMap<_, u128>| -> Value {
        amounts
            .into_iter()
            .map(|(who, amount): (commonwatt_primitives::AccountId, u128)| {
                (who.to_string(), Value::String(amount.to_string()))
            })
            .collect()
    };
    json!({
        "auction": auction.map(AuctionJson::from),
        "header": {
            "author": author,
            "authorRank": author_rank,
            "winner": winner,
            "isLate": punctuality == Punctuality::Late,
        },
        "vrf": sp_core::Bytes(output.to_vec()),
        "seed": seed,
        "bids": bids.into_iter().map(BidJson::from).collect::<Vec<_>>(),
        "issued": in_words(issued),
        "free": in_words(free),
        "escrow": escrow.to_string(),
        "issuance": issuance.to_string(),
        "burned": burned.to_string(),
        "declared": declared
            .into_iter()
            .map(|(who, period, steps)| {
                let steps: Vec<_> = steps.iter().map(|step| (step.used, step.offered)).collect();
                json!({ "account": who, "period": period, "steps": steps })
            })
            .collect::<Vec<_>>(),
        "delivered": delivered
            .into_iter()
            .map(|(who, delivery)| (who.to_string(), json!([delivery.used, delivery.offered])))
            .collect::<Value>(),
        "scores": scores
            .into_iter()
            .map(|(who, score)| (who.to_string(), json!(score.0)))
            .collect::<Value>(),
    })
}

fn print(heights: u32, plan: Plan) -> Result<(), Box<dyn Error>> {
    let mut story = Story::begin(plan)?;
    let mut out = BufWriter::new(io::stdout().lock());
    writeln!(out, "{}", beginning(&mut story))?;
    for _ in 0..heights {
        let told = story.go_on();
        writeln!(out, "{}", line(&mut story, told))?;
    }
    out.flush()?;
    Ok(())
}

fn main() -> ExitCode {
    let arguments: Vec<_> = env::args().skip(1).collect();
    if arguments
        .iter()
        .any(|word| word == "--help" || word == "-h")
    {
        println!("{USAGE}");
        return ExitCode::SUCCESS;
    }
    let (heights, plan) = match plan(arguments.into_iter()) {
        Ok(planned) => planned,
        Err(why) => {
            eprintln!("error: {why}\n\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    match print(heights, plan) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
