//! `market_*`, `loyalty_get` and `grid_statement`: the market of a step, and what it leaves over. Energies are in Wh,
//! quantities in trading units, prices, coins and money decimal digits in a string, accounts in SS58. Each method takes
//! the hash of the block to ask at as its last parameter; the best one when it is left out.

use commonwatt_primitives::{AccountId, Month, Ppm, Step, StepTiming};
use commonwatt_runtime::{
    Hash,
    apis::{MarketRates, Matched},
};
use commonwatt_storage::State;
use jsonrpsee::server::RegisterMethodError;
use pallet_double_auction::{
    ClearingInfo, HISTORY_MAX, HistoryEntry, MarketContract, MemberOrders, MonthEntry,
    ORDERS_PER_ANSWER_MAX, OrderBook, PAST_STEPS_MAX,
};
use pallet_outer_grid::{STATEMENT_MONTHS_MAX, STATEMENT_STEPS_MAX, Statement};

use crate::{
    arguments::Arguments,
    energy::{ask, count_between, header_of},
    error::{Answer, Fault},
    market_json::{
        ClearingJson, HistoryJson, LoyaltyJson, MatchedJson, MemberOrdersJson, OrderBookJson,
        RulesJson, StatementJson,
    },
    market_news,
    methods::{Methods, Node},
    types::Account,
};

/// Orders and trades in one answer when it is not said how many.
const PER_PAGE: u32 = 1_000;
/// Past steps of `market_orders` when it is not said how many: a day of quarter-hours.
const PAST_STEPS: u32 = 96;
/// Steps of `market_history` when it is not said how many.
const HISTORY_STEPS: u32 = 96;
/// Months that `market_orders` sums up.
const MONTHS: u32 = 24;

pub(crate) fn register(methods: &mut Methods) -> Result<(), RegisterMethodError> {
    methods.work("market_rules", rules)?;
    methods.work("market_orderBook", order_book)?;
    methods.work("market_matched", matched)?;
    methods.work("market_clearing", clearing)?;
    methods.work("market_orders", orders)?;
    methods.work("market_history", history)?;
    methods.work("loyalty_get", loyalty)?;
    methods.work("grid_statement", statement)?;
    market_news::register(methods)
}

/// Which part of a list is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Page {
    /// Where it begins.
    pub(crate) start: u32,
    /// How many items it has at most.
    pub(crate) count: u32,
}

impl Page {
    fn take(arguments: &mut Arguments) -> Answer<Self> {
        let start = arguments.optional("start")?.unwrap_or(0);
        let count = bounded(
            arguments.optional("count")?,
            PER_PAGE,
            ORDERS_PER_ANSWER_MAX,
            "orders",
        )?;
        Ok(Self { start, count })
    }

    /// Returns where the next page of a list begins; `None` on its last one.
    pub(crate) fn next(self, total: u32) -> Option<u32> {
        let next = self.start.saturating_add(self.count);
        (next < total).then_some(next)
    }

    /// Returns the items of the page, with their positions.
    pub(crate) fn of<T>(self, all: Vec<T>) -> impl Iterator<Item = (u32, T)> {
        let size = |count: u32| usize::try_from(count).unwrap_or(usize::MAX);
        let items = all
            .into_iter()
            .skip(size(self.start))
            .take(size(self.count));
        (self.start..).zip(items)
    }
}

/// Checks how many are asked for.
fn bounded(asked: Option<u32>, usual: u32, max: u32, what: &str) -> Answer<u32> {
    let count = asked.unwrap_or(usual);
    let size = |count: u32| usize::try_from(count).unwrap_or(usize::MAX);
    match count {
        0 => Err(Fault::parameters(format!(
            "none of the {what} are asked for: give a count of 1 to {max}, or leave it out"
        ))),
        count if count > max => Err(Fault::too_many(what, size(count), size(max))),
        count => Ok(count),
    }
}

/// The block to ask at, with its number and its state.
fn state_at(node: &Node, arguments: &mut Arguments) -> Answer<(u32, State)> {
    let at: Hash = arguments
        .optional("at")?
        .unwrap_or_else(|| node.chain.best().1);
    Ok((header_of(node, at)?.number, node.chain.state(Some(at))?))
}

fn rules(node: &Node, mut arguments: Arguments) -> Answer<RulesJson> {
    let (number, state) = state_at(node, &mut arguments)?;
    let executor = node.chain.executor();
    let contract: MarketContract = executor.call(&state, "MarketApi_market", ())?;
    let rates: MarketRates = executor.call(&state, "MarketApi_rates", ())?;
    // The next block takes orders for the step after its own.
    Ok(RulesJson::new(
        contract,
        rates,
        Step(number.saturating_add(2)),
    ))
}

fn order_book(node: &Node, mut arguments: Arguments) -> Answer<OrderBookJson> {
    let step: Step = arguments.required("step")?;
    let page = Page::take(&mut arguments)?;
    let book: OrderBook<AccountId> = ask(
        node,
        "MarketApi_order_book",
        (step, page.start, page.count),
        arguments.optional("at")?,
    )?;
    Ok(OrderBookJson::new(book, page))
}

fn matched(node: &Node, mut arguments: Arguments) -> Answer<MatchedJson> {
    let step: Step = arguments.required("step")?;
    let page = Page::take(&mut arguments)?;
    let matched: Matched = ask(node, "MarketApi_matched", step, arguments.optional("at")?)?;
    Ok(MatchedJson::new(step, matched, page))
}

fn clearing(node: &Node, mut arguments: Arguments) -> Answer<Option<ClearingJson>> {
    let step: Step = arguments.required("step")?;
    let page = Page::take(&mut arguments)?;
    let info: Option<ClearingInfo<AccountId>> =
        ask(node, "MarketApi_clearing", step, arguments.optional("at")?)?;
    Ok(info.map(|info| ClearingJson::new(info, page)))
}

fn orders(node: &Node, mut arguments: Arguments) -> Answer<MemberOrdersJson> {
    let Account(account) = arguments.required("account")?;
    let past: u32 = arguments.optional("pastSteps")?.unwrap_or(PAST_STEPS);
    if past > PAST_STEPS_MAX {
        let size = |count: u32| usize::try_from(count).unwrap_or(usize::MAX);
        return Err(Fault::too_many(
            "past steps",
            size(past),
            size(PAST_STEPS_MAX),
        ));
    }
    let (_, state) = state_at(node, &mut arguments)?;
    let executor = node.chain.executor();
    let orders: MemberOrders<AccountId> =
        executor.call(&state, "MarketApi_orders", (&account, past))?;
    let months: Vec<MonthEntry> =
        executor.call(&state, "MarketApi_trade_months", (&account, MONTHS))?;
    let loyalty: Ppm = executor.call(&state, "MarketApi_loyalty", &account)?;
    Ok(MemberOrdersJson::new(account, orders, months, loyalty))
}

fn history(node: &Node, mut arguments: Arguments) -> Answer<Vec<HistoryJson>> {
    let newest: Option<Step> = arguments.optional("newest")?;
    let count = bounded(
        arguments.optional("count")?,
        HISTORY_STEPS,
        HISTORY_MAX,
        "steps",
    )?;
    let (number, state) = state_at(node, &mut arguments)?;
    let newest = newest.unwrap_or(Step(number));
    let executor = node.chain.executor();
    let entries: Vec<HistoryEntry> = executor.call(&state, "MarketApi_history", (newest, count))?;
    Ok(entries.into_iter().map(HistoryJson::from).collect())
}

fn loyalty(node: &Node, mut arguments: Arguments) -> Answer<LoyaltyJson> {
    let Account(account) = arguments.required("account")?;
    let loyalty: Ppm = ask(
        node,
        "MarketApi_loyalty",
        &account,
        arguments.optional("at")?,
    )?;
    Ok(LoyaltyJson::new(account, loyalty))
}

/// Returns what an account owes for the outer grid, step by step as long as the detail is kept, and by months before.
fn statement(node: &Node, mut arguments: Arguments) -> Answer<StatementJson> {
    let Account(account) = arguments.required("account")?;
    let from: Step = arguments.required("from")?;
    let to: Step = arguments.required("to")?;
    let (_, state) = state_at(node, &mut arguments)?;
    let executor = node.chain.executor();
    let kept: (Step, Step) = executor.call(&state, "EnergyApi_kept_steps", ())?;
    let timing: StepTiming = executor.call(&state, "EnergyApi_timing", ())?;
    verify_period(from, to, kept, &timing)?;
    let statement: Statement =
        executor.call(&state, "MarketApi_statement", (&account, from, to))?;
    Ok(StatementJson::new(account, (from, to), statement))
}

/// Checks that one statement can tell of all that is asked for.
fn verify_period(
    from: Step,
    to: Step,
    (oldest, newest): (Step, Step),
    timing: &StepTiming,
) -> Answer<()> {
    if from > to {
        return Err(Fault::parameters(format!(
            "from {from} lies after to {to}: exchange them"
        )));
    }
    if from > newest {
        return Err(Fault::parameters(format!(
            "from {from} lies after the last step that closed, {newest}: ask from there or earlier"
        )));
    }
    let to = to.min(newest);
    let size = |count: u32| usize::try_from(count).unwrap_or(usize::MAX);
    let steps = match from.max(oldest) {
        first if first > to => 0,
        first => count_between(first, to)?,
    };
    if steps > STATEMENT_STEPS_MAX {
        return Err(Fault::too_many(
            "steps",
            size(steps),
            size(STATEMENT_STEPS_MAX),
        ));
    }
    let month = |step: Step| Month::from_unix_ms(timing.closes_at_ms(step)).0;
    let months = month(to).saturating_sub(month(from)).saturating_add(1);
    if months > STATEMENT_MONTHS_MAX {
        return Err(Fault::too_many(
            "months",
            size(months),
            size(STATEMENT_MONTHS_MAX),
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_follow_each_other_and_end() {
        let all: Vec<u32> = (0..25).collect();
        let mut seen = Vec::new();
        let mut page = Page {
            start: 0,
            count: 10,
        };
        let mut pages = 0;
        loop {
            pages += 1;
            for (position, item) in page.of(all.clone()) {
                assert_eq!(position, item);
                seen.push(item);
            }
            match page.next(25) {
                Some(next) => page.start = next,
                None => break,
            }
        }
        assert_eq!((pages, seen), (3, all.clone()));
        let beyond = Page {
            start: 25,
            count: 10,
        };
        assert_eq!(beyond.of(all).count(), 0);
        assert_eq!(beyond.next(25), None);
        let last = Page {
            start: u32::MAX,
            count: 10,
        };
        assert_eq!(last.next(u32::MAX), None);
    }

    #[test]
    fn a_count_is_bounded_on_both_sides() {
        assert_eq!(bounded(None, 5, 10, "orders"), Ok(5));
        assert_eq!(bounded(Some(10), 5, 10, "orders"), Ok(10));
        for bad in [0, 11] {
            assert!(bounded(Some(bad), 5, 10, "orders").is_err(), "{bad}");
        }
    }

    #[test]
    fn a_period_that_one_statement_cannot_tell_of_is_refused() {
        let timing = StepTiming::PRODUCTION;
        let verify = |from, to, oldest, newest| {
            let kept = (Step(oldest), Step(newest));
            verify_period(Step(from), Step(to), kept, &timing).map_err(|fault| fault.to_string())
        };
        let refusal =
            |from, to, oldest, newest| verify(from, to, oldest, newest).expect_err("it is refused");
        assert_eq!(verify(1, 3_360, 1, 5_000), Ok(()));
        // Of what is no longer kept, months tell; of what has not come yet, nobody.
        assert_eq!(verify(1, 6_000, 4_000, 5_000), Ok(()));
        assert_eq!(verify(1, 10, 4_000, 5_000), Ok(()));
        assert_eq!(verify(5_000, u32::MAX, 4_000, 5_000), Ok(()));
        assert!(refusal(1, 3_361, 1, 5_000).contains("3361 steps"));
        assert!(refusal(9, 8, 1, 5_000).contains("exchange them"));
        assert!(refusal(5_001, 5_002, 1, 5_000).contains("last step that closed, 5000"));
        // Ten years have 350 640 quarter-hours, and some.
        assert!(refusal(1, 400_000, 399_000, 400_000).contains("months"));
    }
}
