//! `balance`: what an account has, and owes.

use clap::Args;
use commonwatt_primitives::Step;
use jsonrpsee::rpc_params;
use serde_json::{Value, json};

use super::{
    Console,
    args::{NodeArgs, WhoArgs},
    orders::understand,
};
use crate::{
    answers::{self, Amount, Entry, Loyalty, Member, SignedAmount, Statement},
    client::harmless,
    error::WalletError,
    table::{Align, Table},
    units::{grouped, table_signed_wh, table_wh},
};

/// Steps whose bill from the outer grid is shown: a day of quarter-hours.
const STATEMENT_STEPS: u32 = 96;

#[derive(Debug, Args)]
pub(super) struct Balance {
    #[command(flatten)]
    node: NodeArgs,
    #[command(flatten)]
    who: WhoArgs,
    /// Show the virtual generation meter of so many of the last steps
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(0..=672))]
    steps: u32,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Balance {
    pub(super) async fn run(self, console: &mut Console<'_>) -> Result<(), WalletError> {
        let id = self.who.id(console.notes)?.to_string();
        let client = self.node.connect().await?;
        // All of it from one block, so that the figures fit each other.
        let (best, block) = client.best().await?;
        let first = best
            .saturating_add(1)
            .saturating_sub(STATEMENT_STEPS)
            .max(1);
        let (before, steps) = (Value::Null, self.steps);
        let member = client
            .ask::<Value>("energy_member", rpc_params![&id, before, steps, block])
            .await?;
        let orders = client
            .ask::<Value>("market_orders", rpc_params![&id, 0, block])
            .await?;
        let loyalty = client
            .ask::<Value>("loyalty_get", rpc_params![&id, block])
            .await?;
        let statement = match best {
            0 => None,
            _ => {
                let period = rpc_params![&id, first, best, block];
                Some(client.ask::<Value>("grid_statement", period).await?)
            }
        };
        if self.json {
            return console.json(&json!({
                "account": id,
                "block": best,
                "member": member,
                "held": orders.get("held"),
                "loyalty": loyalty.get("loyalty"),
                "outerGrid": statement,
            }));
        }
        let member: Member = understand("energy_member", member)?;
        let orders: answers::Orders = understand("market_orders", orders)?;
        let loyalty: Loyalty = understand("loyalty_get", loyalty)?;
        let coin = &client.facts().coin;
        let role = member.role.as_ref().and_then(Value::as_str);
        let (Amount(coins), Amount(held)) = (member.coins, orders.held);
        let (Amount(tokens), Amount(debt)) = (member.voting_tokens, member.voting_debt);
        let out = &mut *console.out;
        writeln!(out, "account        {id}")?;
        let role = role.map_or_else(|| "not registered: ask the DSO".to_owned(), harmless);
        writeln!(out, "role           {role}")?;
        writeln!(
            out,
            "coins          {} free, {} on hold for orders",
            coin.show(coins),
            coin.show(held)
        )?;
        let debt = match debt {
            0 => String::new(),
            debt => format!(", {} will be deducted", grouped(debt)),
        };
        writeln!(out, "voting tokens  {}{debt}", grouped(tokens))?;
        writeln!(out, "loyalty        {}", harmless(&loyalty.loyalty))?;
        if let Some(statement) = statement {
            let statement: Statement = understand("grid_statement", statement)?;
            let line = describe_statement(&statement, first, best);
            writeln!(out, "outer grid     {line}")?;
        }
        if !member.entries.is_empty() {
            write!(out, "\n{}", entry_table(&member.entries))?;
        }
        Ok(())
    }
}

fn describe_statement(statement: &Statement, first: u32, last: u32) -> String {
    let total = statement.total;
    let SignedAmount(owed) = total.owed;
    let money = grouped(owed.unsigned_abs());
    let what = match owed {
        ..0 => format!("{money} smallest units of money are due to the account"),
        0 => "nothing is owed".to_owned(),
        1.. => format!("{money} smallest units of money are owed"),
    };
    format!(
        "{what} for steps {first} to {last}: bought {}, fed in {}",
        table_wh(u128::from(total.bought_wh.0)),
        table_wh(u128::from(total.fed_in_wh.0))
    )
}

fn entry_table(entries: &[Entry]) -> Table {
    let headings = [
        "step",
        "allocated",
        "bought",
        "sold",
        "has",
        "consumed",
        "from outer grid",
    ];
    let mut table = Table::new(headings.map(|heading| (heading, Align::Right)));
    for entry in entries {
        let Step(step) = entry.step;
        let allocated = u128::from(entry.shared.0) + u128::from(entry.rest.0);
        let consumed = entry.consumption.map(|energy| u128::from(energy.0));
        let outer = entry
            .consumption
            .map(|energy| i128::from(energy.0) - entry.net_wh());
        table.row([
            grouped(u128::from(step)),
            table_wh(allocated),
            table_wh(u128::from(entry.bought.0)),
            table_wh(u128::from(entry.sold.0)),
            table_signed_wh(entry.net_wh()),
            consumed.map_or_else(|| "unknown".to_owned(), table_wh),
            outer.map_or_else(|| "unknown".to_owned(), table_signed_wh),
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::from_value;

    #[test]
    fn a_meter_is_shown_with_what_the_outer_grid_covers() {
        let entries: Vec<Entry> = from_value(json!([
            {"step": 1234, "shared": 1500, "rest": 0, "lost": 0, "bought": 100, "sold": 0, "consumption": 2000,
             "netWh": 1600, "marketFaceWh": 400},
            {"step": 1233, "shared": 500, "rest": 10, "lost": 0, "bought": 0, "sold": 300, "consumption": null,
             "netWh": 210, "marketFaceWh": -210},
        ]))
        .unwrap();
        let text = entry_table(&entries).to_string();
        let lines: Vec<_> = text.lines().collect();
        assert!(
            lines[1].contains("1 234") && lines[1].ends_with("400 Wh"),
            "{text}"
        );
        assert!(
            lines[2].contains("210 Wh") && lines[2].ends_with("unknown"),
            "{text}"
        );
    }

    #[test]
    fn money_for_the_outer_grid_says_who_owes_it() {
        let told = |owed: &str| {
            let statement: Statement = from_value(
                json!({"total": {"boughtWh": 1000, "fedInWh": 20, "charged": "9", "credited": "2", "owed": owed}}),
            )
            .unwrap();
            describe_statement(&statement, 3, 98)
        };
        assert_eq!(
            told("1234"),
            "1 234 smallest units of money are owed for steps 3 to 98: bought 1 000 Wh, fed in 20 Wh"
        );
        assert!(told("-7").starts_with("7 smallest units of money are due to the account"));
        assert!(told("0").starts_with("nothing is owed"));
    }
}
