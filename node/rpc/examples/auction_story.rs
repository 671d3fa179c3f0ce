//! Prints the auctions of a seeded story as JSON Lines, for `tests/verify_auction.py` to recompute.
//!
//! `cargo run -p commonwatt-rpc --example auction_story -- HEIGHTS [SEED] [RULE] [BASIS] [FEW_CANDIDATES] [MEASURE]`; RULE
//! is `proportional`, `ratio` or `highest-reputation`, BASIS is `offered` or `owned`, MEASURE is `blocks-created` or
//! `delivery`, by which members declare what they will use.

use std::{
    env,
    error::Error,
    io::{self, BufWriter, Write},
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

/// Reads a word as the chain spec has it.
fn word<T: serde::de::DeserializeOwned>(text: String) -> Result<T, serde_json::Error> {
    serde_json::from_value(Value::String(text))
}

fn plan(mut arguments: impl Iterator<Item = String>) -> Result<(u32, Plan), Box<dyn Error>> {
    let heights = arguments.next().ok_or("say how many heights")?.parse()?;
    let mut plan = Plan {
        // Nothing is forgotten before it is printed.
        retention: 1_000,
        ..Plan::default()
    };
    if let Some(seed) = arguments.next() {
        plan.seed = seed.parse()?;
    }
    if let Some(rule) = arguments.next() {
        plan.rules.rule = word(rule)?;
    }
    if let Some(basis) = arguments.next() {
        plan.rules.basis = word(basis)?;
    }
    if let Some(few) = arguments.next() {
        plan.rules.few_candidates = few.parse()?;
    }
    if let Some(measure) = arguments.next() {
        plan.measure = word(measure)?;
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

fn main() -> Result<(), Box<dyn Error>> {
    let (heights, plan) = plan(env::args().skip(1))?;
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
