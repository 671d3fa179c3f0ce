//! `auto`: trades by itself. Each time a step has closed, the next one that orders can be for is forecast from the
//! account's own history, and an order is placed by a strategy.

use std::time::Duration;

use clap::Args;
use commonwatt_clearing::Side;
use commonwatt_primitives::{Step, Wh};
use jsonrpsee::{core::client::Subscription, rpc_params};
use pallet_double_auction::{Cap, OrderStatus, OrderTerms, When};
use serde_json::{Value, json};

use super::{
    Console,
    args::{NodeArgs, Signer, Validity, WhoArgs},
    session::{ask_rules, included_json, reachable_step, send},
    transfer::describe_rates,
    watch::next,
};
use crate::{
    answers::{
        Amount, Clearing, ClosedStep, CoinRates, Entry, Member, OrderName, Orders, Rate, Rules,
    },
    client::{Client, ClientError},
    error::WalletError,
    outcome::{self, SubmitError},
    progress::{Progress, now_ms},
    signing::{describe_terms, place},
    strategy::{self, Forecast, PastStep, Prices, Quote, Rates, Strategy, steps_per_day},
    units::CoinFormat,
};

/// Steps of history beyond a day: as many as lie between the last block and the step that is forecast, and some.
const STEPS_BEYOND_DAY: u32 = 8;
/// Most steps of history that one question gives.
const HISTORY_STEPS_MAX: u32 = 672;
/// Past markets in which the last price is looked for.
const PRICES_LOOKED_AT: u32 = 96;
/// Pause before a node that is gone is tried again.
const PAUSE: Duration = Duration::from_secs(5);
/// Blocks for which an automatic order is valid: it is of use in one of them.
const ERA_BLOCKS: u64 = 8;

#[derive(Debug, Args)]
pub(super) struct Auto {
    #[command(flatten)]
    node: NodeArgs,
    #[command(flatten)]
    who: WhoArgs,
    /// File with the password of the account in its first line [default: it is asked for]
    #[arg(long, value_name = "FILE")]
    password_file: Option<std::path::PathBuf>,
    /// How limits are chosen: truthful (what the outer grid would take or pay), midpoint (the middle of the two),
    /// shading=PERCENT (so much of the way from truthful to the other tariff), last-price
    #[arg(long, default_value = "midpoint")]
    strategy: Strategy,
    /// End after so many steps [default: go on until Ctrl-C]
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..))]
    steps: Option<u32>,
    /// Say what would be ordered, and order nothing
    #[arg(long)]
    dry_run: bool,
    /// Print JSON, one object a line
    #[arg(long)]
    json: bool,
}

/// What was decided about a step.
struct Decision {
    step: Step,
    forecast: Option<Forecast>,
    terms: Result<OrderTerms, &'static str>,
}

/// Decides about a step, by the account's own history alone.
fn decide(
    entries: &[Entry],
    rules: &Rules,
    step: Step,
    per_day: u32,
    last: Option<u128>,
    strategy: Strategy,
) -> Decision {
    let history: Vec<_> = entries
        .iter()
        .map(|entry| PastStep {
            step: entry.step,
            allocated: entry.shared.checked_add(entry.rest).unwrap_or(Wh(u64::MAX)),
            consumption: entry.consumption,
        })
        .collect();
    let forecast = Forecast::make(&history, step, per_day);
    let terms = match (&forecast, rules.tariff_at(step)) {
        (None, _) => Err("of no step is it known what the account had and consumed"),
        (_, None) => Err("no tariff of the outer grid is posted"),
        (Some(forecast), Some(tariff)) => {
            let (Amount(buy), Amount(feed_in)) = (tariff.buy, tariff.feed_in);
            match Prices::in_coins(buy, feed_in, rates_of(rules.coin_rates), last) {
                None => Err("no coins are worth the outer grid's tariff at the treasury's rates"),
                Some(prices) => strategy
                    .quote(forecast, &prices, rules.unit)
                    .map(|quote| terms_of(quote, rules, step))
                    .ok_or_else(|| why_no_quote(forecast, rules.unit)),
            }
        }
    };
    Decision {
        step,
        forecast,
        terms,
    }
}

/// Returns what coins are worth: what the treasury says, or what its silence means.
pub(super) fn rates_of(posted: Option<CoinRates>) -> Rates {
    let rate = |Rate { money, coins }: Rate| strategy::Rate {
        money: money.0,
        coins: coins.0,
    };
    posted.map_or(Rates::ONE_TO_ONE, |CoinRates { buy, sell }| Rates {
        buy: rate(buy),
        sell: rate(sell),
    })
}

/// Says why there is nothing to offer for a forecast.
fn why_no_quote(forecast: &Forecast, unit: Wh) -> &'static str {
    match forecast.side() {
        Some((Side::Buy, energy)) if energy >= unit => {
            "the smallest coin costs more than a trading unit from the outer grid"
        }
        _ => "less than a trading unit is left or lacking",
    }
}

/// Returns an account's order of a side that is for a step already: one in its book, or a standing one, which comes into the
/// book only when the step before is settled.
fn find_order(orders: &Orders, side: Side, step: Step) -> Option<OrderName> {
    let in_book = orders
        .open
        .iter()
        .find(|order| (order.step, order.side, order.status) == (step, side, OrderStatus::Open));
    let standing = orders.standing.iter();
    in_book.map(|order| order.id).or_else(|| {
        standing
            .filter(|order| order.side == side && order.covers(step))
            .map(|order| order.id)
            .next()
    })
}

/// Returns the order of a quote. What is bought is bounded by the need, where that can be known.
fn terms_of(quote: Quote, rules: &Rules, step: Step) -> OrderTerms {
    let Quote { side, limit, units } = quote;
    OrderTerms {
        side,
        limit,
        units,
        unit: rules.unit,
        when: When::Once(step),
        cap: match side {
            Side::Buy if !rules.is_continuous_at(step) => Cap::Need,
            _ => Cap::Quantity,
        },
    }
}

/// What became of a decision.
enum Deed {
    /// It was none to act upon, and why.
    Nothing(String),
    /// It was only told.
    Told,
    /// The order is in a block.
    Placed(Box<outcome::Included>),
    /// It was refused.
    Refused(String),
    /// It was sent, and nobody knows what became of it.
    Undecided(String),
}

impl Auto {
    pub(super) async fn run(self, console: &mut Console<'_>) -> Result<(), WalletError> {
        let signer = self
            .who
            .signer(self.password_file.as_ref(), console.notes)?;
        let mut client = self.connect(&signer).await?;
        if !self.json {
            writeln!(
                console.notes,
                "Trading for {} on {}: {}. End it with Ctrl-C.",
                signer.id(),
                client.facts().name,
                self.strategy
            )?;
            let rates = ask_rules(&client).await?.coin_rates;
            writeln!(console.notes, "{}", say_rates(rates, &client.facts().coin))?;
        }
        let mut left = self.steps.unwrap_or(u32::MAX);
        let mut last_step = None;
        loop {
            let lost = match self
                .trade(&client, &signer, &mut left, &mut last_step, console)
                .await
            {
                Ok(()) => return Ok(()),
                Err(error) if is_passing(&error) => error,
                Err(error) => return Err(error),
            };
            writeln!(console.notes, "Warning: {lost}; the node is tried again.")?;
            client = loop {
                tokio::select! {
                    () = tokio::time::sleep(PAUSE) => {}
                    stopped = tokio::signal::ctrl_c() => return stopped.map_err(WalletError::System),
                }
                match self.connect(&signer).await {
                    Ok(client) => break client,
                    Err(error) if is_passing(&error) => {}
                    Err(error) => return Err(error),
                }
            };
        }
    }

    async fn connect(&self, signer: &Signer) -> Result<Client, WalletError> {
        let client = self.node.connect().await?;
        let facts = client.facts();
        signer.verify_chain(facts.genesis, Some(facts.kind))?;
        Ok(client)
    }

    /// Trades until so many steps are done, or somebody presses Ctrl-C.
    async fn trade(
        &self,
        client: &Client,
        signer: &Signer,
        left: &mut u32,
        last_step: &mut Option<Step>,
        console: &mut Console<'_>,
    ) -> Result<(), WalletError> {
        let progress = Progress::new(client.facts().timing, self.json);
        let mut steps: Subscription<ClosedStep> = client
            .follow(
                "energy_subscribeSteps",
                rpc_params![],
                "energy_unsubscribeSteps",
            )
            .await?;
        while *left > 0 {
            let waiting = async {
                tokio::select! {
                    stopped = tokio::signal::ctrl_c() => stopped.map(|()| None).map_err(WalletError::System),
                    closed = next("energy_subscribeSteps", &mut steps) => closed.map(Some).map_err(WalletError::from),
                }
            };
            if progress.during("trading", waiting).await?.is_none() {
                return Ok(());
            }
            let Some(decision) = self.consider(client, signer, *last_step).await? else {
                continue;
            };
            *last_step = Some(decision.step);
            let result = self.act(client, signer, &decision, &progress).await?;
            self.report(client, &decision, &result, console)?;
            *left = left.saturating_sub(1);
        }
        Ok(())
    }

    /// Decides about the next step that was not yet decided about.
    async fn consider(
        &self,
        client: &Client,
        signer: &Signer,
        last_step: Option<Step>,
    ) -> Result<Option<Decision>, WalletError> {
        let rules = ask_rules(client).await?;
        let timing = client.facts().timing;
        let step = reachable_step(
            rules.next_step,
            |block| timing.settles_at_ms(block),
            timing.step_ms,
            now_ms(),
        );
        if last_step.is_some_and(|last| step <= last) {
            return Ok(None);
        }
        let per_day = steps_per_day(timing.metered_ms);
        let count = per_day
            .saturating_add(STEPS_BEYOND_DAY)
            .min(HISTORY_STEPS_MAX);
        let id = signer.id().to_string();
        let member: Member = client
            .ask("energy_member", rpc_params![id, Value::Null, count])
            .await?;
        let last = match self.strategy {
            Strategy::LastPrice => {
                let asked = rpc_params![Value::Null, PRICES_LOOKED_AT];
                let history: Vec<Clearing> = client.ask("market_history", asked).await?;
                history.iter().find_map(Clearing::single_price)
            }
            _ => None,
        };
        let entries = &member.entries;
        let strategy = self.strategy;
        Ok(Some(decide(entries, &rules, step, per_day, last, strategy)))
    }

    async fn act(
        &self,
        client: &Client,
        signer: &Signer,
        decision: &Decision,
        progress: &Progress,
    ) -> Result<Deed, WalletError> {
        let terms = match decision.terms {
            Ok(terms) => terms,
            Err(reason) => return Ok(Deed::Nothing(reason.to_owned())),
        };
        let id = signer.id().to_string();
        let orders: Orders = client.ask("market_orders", rpc_params![id, 0]).await?;
        if let Some(name) = find_order(&orders, terms.side, decision.step) {
            let text = format!("order {name} is there already");
            return Ok(Deed::Nothing(text));
        }
        if self.dry_run {
            return Ok(Deed::Told);
        }
        let validity = Validity::Blocks(ERA_BLOCKS);
        let patience = outcome::patience(client);
        let (call, pair) = (place(terms), &signer.pair);
        match send(client, call, validity, pair, patience, progress).await {
            Ok((_, included)) => Ok(Deed::Placed(Box::new(included))),
            Err(WalletError::Submit(SubmitError::Client(
                error @ (ClientError::Lost(_) | ClientError::Unreachable { .. }),
            ))) => Err(error.into()),
            Err(WalletError::Submit(error)) if error.is_undecided() => {
                Ok(Deed::Undecided(error.to_string()))
            }
            Err(WalletError::Submit(error)) => Ok(Deed::Refused(error.to_string())),
            Err(error) => Err(error),
        }
    }

    fn report(
        &self,
        client: &Client,
        decision: &Decision,
        result: &Deed,
        console: &mut Console<'_>,
    ) -> Result<(), WalletError> {
        let coin = &client.facts().coin;
        let told = match (&decision.terms, result) {
            (_, Deed::Nothing(reason)) => format!("nothing is ordered: {reason}"),
            (Ok(terms), Deed::Told) => format!("would {}", describe_terms(terms, coin)),
            (Ok(terms), Deed::Placed(included)) => {
                let name = included.order().map(|(id, _)| OrderName(id).to_string());
                let name = name.unwrap_or_default();
                format!("order {name}: {}", describe_terms(terms, coin))
            }
            (_, Deed::Refused(reason)) => format!("nothing is ordered: {reason}"),
            (_, Deed::Undecided(reason)) => format!("perhaps ordered: {reason}"),
            (Err(reason), _) => format!("nothing is ordered: {reason}"),
        };
        if self.json {
            let terms = decision.terms.ok();
            let included = match result {
                Deed::Placed(included) => Some(included_json(included, &told)),
                _ => None,
            };
            return console.json_line(&json!({
                "step": decision.step,
                "forecastWh": decision.forecast.map(|forecast| forecast.balance_wh.to_string()),
                "basis": decision.forecast.map(|forecast| forecast.basis.to_string()),
                "side": terms.map(|terms| terms.side),
                "limit": terms.map(|terms| terms.limit.to_string()),
                "units": terms.map(|terms| terms.units),
                "placed": included,
                "told": told,
            }));
        }
        let forecast = decision.forecast.map(|forecast| {
            let wh = crate::units::table_signed_wh(forecast.balance_wh);
            format!("forecast {wh} ({}), ", forecast.basis)
        });
        writeln!(
            console.out,
            "step {}: {}{told}",
            decision.step,
            forecast.unwrap_or_default()
        )?;
        console.out.flush()?;
        Ok(())
    }
}

/// Says how the outer grid's money becomes limits in coins.
fn say_rates(posted: Option<CoinRates>, coin: &CoinFormat) -> String {
    let rates = describe_rates(posted, coin);
    match posted {
        None => format!(
            "The treasury {rates}: the smallest coin counts as the smallest unit of money that the outer grid's tariff is in."
        ),
        Some(_) => format!("The treasury {rates}: so the outer grid's tariff is counted in coins."),
    }
}

/// Returns whether it may be better in a moment: the node is gone, or too busy to answer.
fn is_passing(error: &WalletError) -> bool {
    matches!(
        error,
        WalletError::Client(
            ClientError::Lost(_) | ClientError::Unreachable { .. } | ClientError::Deadline(_)
        )
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::strategy::Basis;
    use serde_json::from_value;

    fn rules(mechanism: &str) -> Rules {
        from_value(json!({
            "unit": 10, "stepsAhead": 96, "nextStep": 200,
            "mechanisms": [{"fromStep": 1, "mechanism": {"name": mechanism}}],
            "tariffs": [{"fromStep": 1, "buy": "9", "feedIn": "2"}],
        }))
        .unwrap()
    }

    fn entry(step: u32, shared: u64, consumption: Option<u64>) -> Entry {
        from_value(json!({
            "step": step, "shared": shared, "rest": 50, "lost": 0, "bought": 0, "sold": 0, "consumption": consumption,
        }))
        .unwrap()
    }

    fn decided(entries: &[Entry], mechanism: &str) -> Decision {
        decide(
            entries,
            &rules(mechanism),
            Step(200),
            96,
            None,
            Strategy::Midpoint,
        )
    }

    #[test]
    fn a_surplus_is_offered_and_a_need_is_asked_for() {
        let decision = decided(
            &[entry(104, 500, Some(100)), entry(198, 0, Some(900))],
            "average",
        );
        assert_eq!(
            decision.forecast.unwrap().basis,
            Basis::DayBefore(Step(104))
        );
        let terms = decision.terms.unwrap();
        assert_eq!(
            (terms.side, terms.units, terms.limit, terms.cap),
            (Side::Sell, 45, 5, Cap::Quantity)
        );
        assert_eq!(terms.when, When::Once(Step(200)));
        let terms = decided(&[entry(198, 0, Some(905))], "average")
            .terms
            .unwrap();
        assert_eq!(
            (terms.side, terms.units, terms.limit, terms.cap),
            (Side::Buy, 85, 5, Cap::Need)
        );
    }

    #[test]
    fn a_need_is_no_cap_where_orders_match_as_they_arrive() {
        let terms = decided(&[entry(198, 0, Some(905))], "continuous")
            .terms
            .unwrap();
        assert_eq!((terms.side, terms.cap), (Side::Buy, Cap::Quantity));
    }

    fn orders(open: Value, standing: Value) -> Orders {
        from_value(json!({
            "open": open, "standing": standing, "held": "0", "past": [], "months": [],
        }))
        .unwrap()
    }

    #[test]
    fn an_order_that_is_there_already_is_found_in_the_book_and_among_the_standing_ones() {
        let in_book = |status: &str| {
            json!([{
                "id": "200-1", "step": 200, "side": "buy", "limit": "3", "units": 9, "cap": "quantity", "status": status,
                "offered": 0, "traded": 0, "coins": "0",
            }])
        };
        let found = |orders: &Orders, side| {
            find_order(orders, side, Step(200)).map(|name| name.to_string())
        };
        let open = orders(in_book("open"), json!([]));
        assert_eq!(found(&open, Side::Buy).as_deref(), Some("200-1"));
        assert_eq!(found(&open, Side::Sell), None);
        assert_eq!(
            found(&orders(in_book("withdrawn"), json!([])), Side::Buy),
            None
        );
        // It is not in the book of step 200 before step 199 is settled.
        let standing = |until: Value| {
            let order = json!({
                "id": "standing-1", "side": "buy", "limit": "3", "units": 9, "cap": "quantity", "arrival": 7, "until": until,
            });
            orders(json!([]), json!([order]))
        };
        for until in [Value::Null, json!(200), json!(201)] {
            let standing = standing(until);
            assert_eq!(found(&standing, Side::Buy).as_deref(), Some("standing-1"));
            assert_eq!(found(&standing, Side::Sell), None);
        }
        assert_eq!(found(&standing(json!(199)), Side::Buy), None);
    }

    #[test]
    fn tariffs_are_money_and_limits_are_coins() {
        let with_rates = |money: &str| {
            let rate = json!({"money": money, "coins": "1"});
            let mut rules = rules("average");
            rules.coin_rates = from_value(json!({"since": 3, "buy": rate, "sell": rate})).unwrap();
            rules
        };
        let decide = |rules: &Rules, entry| {
            decide(&[entry], rules, Step(200), 96, None, Strategy::Truthful).terms
        };
        let (need, surplus) = (entry(198, 0, Some(900)), entry(198, 900, Some(0)));
        // Nine of money are four coins that cost two each; two of money are one that brings two.
        let rules = with_rates("2");
        assert_eq!(decide(&rules, need).unwrap().limit, 4);
        assert_eq!(decide(&rules, surplus).unwrap().limit, 1);
        let rules = with_rates("10");
        assert!(
            decide(&rules, need)
                .unwrap_err()
                .contains("smallest coin costs more")
        );
        assert_eq!(decide(&rules, surplus).unwrap().limit, 1);
        let rules = with_rates("0");
        assert!(
            decide(&rules, surplus)
                .unwrap_err()
                .contains("no coins are worth")
        );
        let said = say_rates(rules.coin_rates, &CoinFormat::default());
        assert!(
            said.contains("takes 0 for 1 uCWC and gives 0 for 1 uCWC, in smallest units of money"),
            "{said}"
        );
        assert!(say_rates(None, &CoinFormat::default()).contains("counts as"));
    }

    #[test]
    fn without_history_tariff_or_a_unit_nothing_is_ordered() {
        let reason = |decision: Decision| decision.terms.unwrap_err();
        assert!(reason(decided(&[entry(198, 500, None)], "average")).contains("of no step"));
        assert!(reason(decided(&[entry(198, 50, Some(100))], "average")).contains("trading unit"));
        let mut without = rules("average");
        without.tariffs.clear();
        let entries = [entry(198, 0, Some(900))];
        let decision = decide(&entries, &without, Step(200), 96, None, Strategy::Truthful);
        assert!(reason(decision).contains("no tariff"));
    }
}
