//! Trading in a replay: what members order, what the market made of it, and what that is worth.
//!
//! Orders are signed by their members, validated, pooled and carried by blocks as the readings are. After every block the
//! chain is asked how its step ended, and what it says is held against itself: the clearing's proof, energy in its meters
//! against its trades, coins in its accounts against its prices.
//!
//! ## Not here
//! How members think: `traders/policy.rs`. The same figures from the data alone: `tests/verify_trading.py`.

use std::{
    collections::{BTreeMap, VecDeque},
    fmt::Write as _,
    fs::File,
    io::{BufWriter, Write},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, anyhow, bail, ensure};
use clap::Args;
use commonwatt_chain::Chain;
use commonwatt_clearing::{Clearing, Mechanism, Side, Trade};
use commonwatt_community_data::{Community, StepReadings};
use commonwatt_executor::Executor;
use commonwatt_primitives::{AccountId, Coin, Step, Wh};
use commonwatt_runtime::{
    RuntimeCall,
    apis::{AccountView, MarketRates},
    configs::Treasury,
    transaction::{SigningContext, sign_ed25519},
};
use commonwatt_storage::State;
use frame_support::storage::storage_prefix;
use pallet_double_auction::{
    Call, ClearingInfo, ClearingRecord, MarketContract, MemberOrders, OrderBook, OrderTerms,
    StepOutcome, When,
};
use pallet_outer_grid::{GridTotal, Statement};
use pallet_virtual_meter::VgmEntry;
use rayon::prelude::*;
use serde::Serialize;
use sp_core::{Pair, ed25519};
use sp_state_machine::Backend;

use crate::{
    community::{PARTICIPANT_COINS, member_key},
    replay::write_order,
    report::{grouped, say},
    traders::{
        allocated_wh, left_over_wh,
        policy::{Market, Reserve},
    },
};

/// Steps of a day, after which members expect the same again.
const STEPS_PER_DAY: u32 = 96;

/// Steps of which members remember what they had left over: those that are over when an order for the same time of the
/// next day is due, one step ahead.
const STEPS_REMEMBERED: usize = 95;

/// Units that a standing order offers for sale: more than anybody has in a step, so that only the rule bounds it which
/// lets nobody sell what it does not have.
const STANDING_SALE_UNITS: u32 = 1_000_000;

/// How members decide what to order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Policy {
    /// Standing orders to sell what is left over and to buy what is lacking, at the member's reservation prices
    Reserve,
    /// The same at the outer grid's own tariffs: all that members can exchange is exchanged
    Perfect,
    /// An order for each step, at the reservation prices, for what was left over or lacking a day before
    Persistence,
}

impl Policy {
    fn as_str(self) -> &'static str {
        match self {
            Self::Reserve => "reserve",
            Self::Perfect => "perfect",
            Self::Persistence => "persistence",
        }
    }

    fn is_standing(self) -> bool {
        self != Self::Persistence
    }
}

/// Whether and how members trade in a replay.
#[derive(Debug, Args)]
#[command(next_help_heading = "Trading")]
pub struct TradeArgs {
    /// Let every member trade what the key leaves it with or without
    #[arg(long = "trade", value_enum, value_name = "POLICY")]
    policy: Option<Policy>,
    /// How prices are found: average, loyal, uniform:KAPPA with KAPPA from 0 to 10000, mcafee or continuous
    #[arg(long, default_value_t, requires = "policy")]
    mechanism: Mechanism,
    /// Write how the market of every step ended, read from the chain, to this CSV file
    #[arg(long, value_name = "FILE", requires = "policy")]
    trades: Option<PathBuf>,
}

impl TradeArgs {
    /// Returns how prices are to be found.
    ///
    /// # Errors
    /// The policy and the mechanism do not go together.
    pub fn mechanism(&self) -> Result<Mechanism> {
        let is_standing = self.policy.is_some_and(Policy::is_standing);
        ensure!(
            !is_standing || self.mechanism != Mechanism::Continuous,
            "where orders match as they arrive nobody knows what it will need, so no purchase can be capped by it: take \
             --trade persistence"
        );
        Ok(self.mechanism)
    }

    /// Returns who trades on a chain that has begun, if anybody does.
    pub fn start(&self, chain: &Chain, community: &Community) -> Result<Option<Trading>> {
        let Some(policy) = self.policy else {
            return Ok(None);
        };
        let trading = Trading::new(policy, chain, community, self.trades.as_deref())?;
        Ok(Some(trading))
    }
}

/// A figure under three arrangements: everybody alone with its own plant; shared by the key, without a market; after trading.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Compared<T> {
    alone: T,
    key: T,
    market: T,
}

/// Parts of a whole, in millionths, rounded down.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Shares {
    /// What of the generation was consumed by whose it was in the same step.
    self_consumption_ppm: Compared<u64>,
    /// What of the consumption was covered by that.
    self_sufficiency_ppm: Compared<u64>,
}

/// What trading came to.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct MarketOutcome {
    policy: &'static str,
    mechanism: String,
    unit_wh: u64,
    /// What the outer grid takes and pays for a unit.
    grid_buy: u64,
    grid_feed_in: u64,
    /// Orders that members sent.
    orders_sent: u64,
    /// Steps with an order, and with a trade.
    steps_open: u32,
    steps_traded: u32,
    trades: u64,
    volume_wh: u64,
    /// Energy that was sold and not there (`continuous`).
    cancelled_wh: u64,
    /// By how much buyers valued what was traded more than sellers did.
    welfare: Coin,
    /// What buyers paid, and what of it went to the treasury instead of sellers.
    turnover: Coin,
    surplus: Coin,
    /// Energy that was consumed by whose it was.
    covered_wh: Compared<u64>,
    #[serde(flatten)]
    shares: Shares,
    /// Money owed to the outer grid, less what it owes.
    owed_to_grid: Compared<i128>,
    /// What of the debt sharing and trading each save.
    saved_by_key: i128,
    saved_by_market: i128,
    /// Clearings whose stored proof was checked.
    proofs: u32,
    /// Comparisons of all accounts with all trades.
    balance_checks: u32,
}

impl MarketOutcome {
    /// Tells people.
    pub fn tell(&self) -> Result<()> {
        let line = |name: &str, value: String| say!("  {name:<22} {value}");
        let wh = |wh: u64| format!("{} Wh", grouped(wh.into()));
        let percent = |ppm: u64| format!("{}.{:02} %", ppm / 10_000, ppm % 10_000 / 100);
        let money = |money: i128| {
            let sign = if money < 0 { "-" } else { "" };
            format!("{sign}{}", grouped(money.unsigned_abs()))
        };
        let share = |of: &Compared<u64>| {
            format!(
                "{} alone, {} by the key, {} after trading",
                percent(of.alone),
                percent(of.key),
                percent(of.market)
            )
        };
        line(
            "market",
            format!(
                "{}, policy {}, prices for {} Wh",
                self.mechanism, self.policy, self.unit_wh
            ),
        )?;
        line(
            "traded",
            format!(
                "{} in {} trades of {} steps; {} were sold and not there",
                wh(self.volume_wh),
                grouped(self.trades.into()),
                grouped(self.steps_traded.into()),
                wh(self.cancelled_wh)
            ),
        )?;
        line(
            "paid",
            format!(
                "{} coins, {} of them to the treasury",
                grouped(self.turnover),
                grouped(self.surplus)
            ),
        )?;
        line("welfare", format!("{} coins", grouped(self.welfare)))?;
        line("self-consumption", share(&self.shares.self_consumption_ppm))?;
        line("self-sufficiency", share(&self.shares.self_sufficiency_ppm))?;
        let owed = self.owed_to_grid;
        line(
            "owed to the outer grid",
            format!(
                "{} alone, {} by the key, {} after trading",
                money(owed.alone),
                money(owed.key),
                money(owed.market)
            ),
        )?;
        line(
            "saved",
            format!(
                "{} by the key, {} more by trading",
                money(self.saved_by_key),
                money(self.saved_by_market)
            ),
        )?;
        line(
            "checked",
            format!(
                "{} clearings by their proofs, {} times every account to the last coin",
                grouped(self.proofs.into()),
                grouped(self.balance_checks.into())
            ),
        )?;
        Ok(())
    }
}

/// A member that trades.
struct Member {
    id: String,
    account: AccountId,
    pair: ed25519::Pair,
    reserve: Reserve,
    /// More units than it can lack in a step.
    purchase_units: u32,
    nonce: u32,
    paid: Coin,
    received: Coin,
    grid: GridTotal,
}

/// What a member did in one step, by the trades.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
struct Traded {
    bought: u64,
    sold: u64,
    paid: Coin,
    received: Coin,
}

/// The members of a replay, and what became of their orders.
pub struct Trading {
    policy: Policy,
    market: Market,
    context: SigningContext,
    /// In the order of `community.csv`.
    members: Vec<Member>,
    places: BTreeMap<AccountId, usize>,
    /// What each had left over in the last steps but one day, the oldest first.
    days: VecDeque<Vec<i128>>,
    /// Orders that the block under construction should take.
    placed: usize,
    issuance: Coin,
    generated_wh: u64,
    consumed_wh: u64,
    outcome: MarketOutcome,
    file: Option<TradesFile>,
}

impl Trading {
    fn new(
        policy: Policy,
        chain: &Chain,
        community: &Community,
        file: Option<&Path>,
    ) -> Result<Self> {
        let state = chain.state(None)?;
        let contract: MarketContract = chain.executor().call(&state, "MarketApi_market", ())?;
        let rates: MarketRates = chain.executor().call(&state, "MarketApi_rates", ())?;
        let (Some(terms), Some(tariff)) = (contract.terms.first(), rates.tariffs.first()) else {
            bail!("the chain began without a market, or without a tariff");
        };
        let market = Market {
            unit: contract.unit,
            mechanism: terms.mechanism,
            grid: tariff.prices,
        };
        let members: Vec<_> = (0..community.participants.len())
            .map(|place| Member::new(policy, community, place, &market))
            .collect();
        let places = members
            .iter()
            .enumerate()
            .map(|(place, member)| (member.account.clone(), place))
            .collect();
        let outcome = MarketOutcome {
            policy: policy.as_str(),
            mechanism: market.mechanism.to_string(),
            unit_wh: market.unit.0,
            grid_buy: market.grid.buy,
            grid_feed_in: market.grid.feed_in,
            ..MarketOutcome::default()
        };
        let file = file
            .map(|path| TradesFile::create(path, community, policy, &market))
            .transpose()?;
        Ok(Self {
            policy,
            market,
            context: SigningContext::immortal(chain.genesis_hash()),
            members,
            places,
            days: VecDeque::new(),
            placed: 0,
            issuance: issuance(&state)?,
            generated_wh: 0,
            consumed_wh: 0,
            outcome,
            file,
        })
    }

    /// Returns the transactions that members send in a step, for the next one or from then on.
    pub fn transactions(&mut self, step: Step) -> Vec<Vec<u8>> {
        let next = Step(step.0.saturating_add(1));
        let orders: Vec<Vec<OrderTerms>> = match self.policy {
            Policy::Reserve | Policy::Perfect if step == Step(1) => {
                let members = self.members.iter();
                members
                    .map(|member| member.standing_orders(&self.market))
                    .collect()
            }
            Policy::Reserve | Policy::Perfect => Vec::new(),
            Policy::Persistence => self.expect(next),
        };
        let (context, members) = (&self.context, &mut self.members);
        let signed: Vec<_> = members
            .par_iter_mut()
            .zip(orders)
            .flat_map_iter(|(member, orders)| {
                let sign = |terms| member.sign(terms, context);
                orders.into_iter().map(sign).collect::<Vec<_>>()
            })
            .collect();
        self.placed = signed.len();
        self.outcome.orders_sent += signed.len() as u64;
        signed
    }

    /// Returns everybody's order for a step: what it had left over, or lacked, a day before.
    fn expect(&self, step: Step) -> Vec<Vec<OrderTerms>> {
        let is_known = self.days.len() == STEPS_REMEMBERED;
        let Some(day_before) = self.days.front().filter(|_| is_known) else {
            return Vec::new();
        };
        let order = |(member, left_over_wh): (&Member, &i128)| {
            let order = member
                .reserve
                .order(*left_over_wh, &self.market, When::Once(step));
            order.into_iter().collect()
        };
        self.members.iter().zip(day_before).map(order).collect()
    }

    /// Takes down how a step ended, and checks it. `entries` are all virtual generation meters of the step.
    pub fn settle(
        &mut self,
        executor: &Executor,
        state: &State,
        step: Step,
        row: &StepReadings,
        entries: &[(AccountId, VgmEntry)],
    ) -> Result<()> {
        self.verify_booked(executor, state, step)?;
        let info: Option<ClearingInfo<AccountId>> =
            executor.call(state, "MarketApi_clearing", step)?;
        let mut traded = vec![Traded::default(); self.members.len()];
        let cleared = match &info {
            None => None,
            Some(info) => Some(
                self.sum_up(info, &mut traded)
                    .with_context(|| format!("the market of step {step}"))?,
            ),
        };
        let figures = self.compare(row, entries, &traded)?;
        if let Some(file) = &mut self.file {
            file.write(step, cleared, info.as_ref(), &figures, |who| {
                self.places.get(who).map(|place| &*self.members[*place].id)
            })?;
        }
        if step.0.is_multiple_of(STEPS_PER_DAY) {
            self.verify_coins(executor, state)?;
        }
        Ok(())
    }

    /// Checks that the block of a step took every order that was sent for the next one.
    fn verify_booked(&self, executor: &Executor, state: &State, step: Step) -> Result<()> {
        if self.placed == 0 {
            return Ok(());
        }
        let next = Step(step.0.saturating_add(1));
        let question = (next, 0u32, 0u32);
        let book: OrderBook<AccountId> = executor.call(state, "MarketApi_order_book", question)?;
        ensure!(
            usize::try_from(book.total) == Ok(self.placed),
            "of {} orders sent for step {next} its book holds {}",
            self.placed,
            book.total
        );
        Ok(())
    }

    /// Checks a clearing's proof and adds its trades up by member.
    fn sum_up<'a>(
        &mut self,
        info: &'a ClearingInfo<AccountId>,
        traded: &mut [Traded],
    ) -> Result<(&'a Clearing, ClearingRecord)> {
        let (StepOutcome::Cleared(record), Some(clearing)) = (info.outcome, &info.clearing) else {
            bail!("was not cleared: {:?}", info.outcome);
        };
        info.verify().context("its proof is refused")?;
        let outcome = &mut self.outcome;
        for trade in &clearing.trades {
            for (position, side) in [(trade.buy, Side::Buy), (trade.sell, Side::Sell)] {
                let order = usize::try_from(position)
                    .ok()
                    .and_then(|at| info.orders.get(at));
                let place = order.and_then(|order| self.places.get(&order.account));
                let sums = place
                    .and_then(|place| traded.get_mut(*place))
                    .ok_or_else(|| anyhow!("a stranger traded"))?;
                let units = u64::from(trade.units);
                match side {
                    Side::Buy => {
                        sums.bought += units;
                        sums.paid += owed(trade, Trade::buyer_owes)?;
                    }
                    Side::Sell => {
                        sums.sold += units;
                        sums.received += owed(trade, Trade::seller_receives)?;
                    }
                }
            }
        }
        let unit = self.market.unit.0;
        let totals = clearing.totals;
        let cancelled = clearing.history.cancelled.iter();
        outcome.steps_open += 1;
        outcome.steps_traded += u32::from(totals.volume > 0);
        outcome.trades += clearing.trades.len() as u64;
        outcome.volume_wh += totals.volume * unit;
        outcome.cancelled_wh += cancelled
            .map(|cut| u64::from(cut.units) * unit)
            .sum::<u64>();
        outcome.welfare += totals.welfare;
        outcome.turnover += totals.turnover;
        outcome.surplus += totals.surplus;
        outcome.proofs += 1;
        Ok((clearing, record))
    }

    /// Holds the meters against the trades, and compares everybody's step with and without community and market.
    fn compare(
        &mut self,
        row: &StepReadings,
        entries: &[(AccountId, VgmEntry)],
        traded: &[Traded],
    ) -> Result<StepFigures> {
        let unit = self.market.unit;
        let mut figures = StepFigures::default();
        let net_wh: i128 = entries.iter().map(|(_, entry)| entry.net_wh()).sum();
        ensure!(
            net_wh == i128::from(row.generation_wh()),
            "the meters hold {net_wh} Wh of {} Wh generated",
            row.generation_wh()
        );
        let mut day = Vec::with_capacity(self.members.len());
        for (place, (member, traded)) in self.members.iter_mut().zip(traded).enumerate() {
            let entry = entries
                .binary_search_by(|(who, _)| who.cmp(&member.account))
                .map_or_else(|_| VgmEntry::default(), |at| entries[at].1);
            let of_meter = (entry.bought.0, entry.sold.0);
            let of_trades = (traded.bought * unit.0, traded.sold * unit.0);
            ensure!(
                of_meter == of_trades,
                "{} bought and sold {of_trades:?} Wh, but its meter has {of_meter:?}",
                member.id
            );
            member.paid += traded.paid;
            member.received += traded.received;
            let load_wh = row.load_wh.get(place).copied().unwrap_or_default();
            ensure!(
                entry.consumption == Some(Wh(load_wh)),
                "{} consumed {load_wh} Wh, but its meter has {:?}",
                member.id,
                entry.consumption
            );
            let own = row.pv_wh.iter().find(|(whose, _)| *whose == place);
            let held = Compared {
                alone: own.map_or(0, |(_, wh)| i128::from(*wh)),
                key: allocated_wh(&entry),
                market: entry.net_wh(),
            };
            let market = figures.add(held, load_wh, &self.market)?;
            member.grid = member
                .grid
                .checked_add(&market)
                .ok_or_else(|| anyhow!("more money than there are numbers"))?;
            day.push(left_over_wh(&entry));
        }
        if self.days.len() >= STEPS_REMEMBERED {
            self.days.pop_front();
        }
        self.days.push_back(day);
        self.generated_wh += row.generation_wh();
        self.consumed_wh += row.consumption_wh();
        let outcome = &mut self.outcome;
        outcome.covered_wh = outcome.covered_wh.zip(figures.covered_wh, |a, b| a + b);
        outcome.owed_to_grid = outcome.owed_to_grid.zip(figures.owed, |a, b| a + b);
        Ok(figures)
    }

    /// Compares every account with what its trades paid and received, and the sum of all coins with that of the genesis.
    fn verify_coins(&mut self, executor: &Executor, state: &State) -> Result<()> {
        for member in &self.members {
            let view: AccountView = executor.call(state, "EnergyApi_account", &member.account)?;
            let question = (&member.account, 0u32);
            let orders: MemberOrders<AccountId> =
                executor.call(state, "MarketApi_orders", question)?;
            let there = view.coins.checked_add(orders.held);
            let due = PARTICIPANT_COINS
                .checked_add(member.received)
                .and_then(|coins| coins.checked_sub(member.paid));
            ensure!(
                there == due,
                "{} has {there:?} coins, but its trades leave it {due:?}",
                member.id
            );
            ensure!(
                !self.policy.is_standing() || orders.standing.len() == 2,
                "{} has {} standing orders",
                member.id,
                orders.standing.len()
            );
        }
        let treasury: AccountView = executor.call(state, "EnergyApi_account", Treasury::get())?;
        ensure!(
            treasury.coins == self.outcome.surplus,
            "the treasury has {} coins, but clearings left {}",
            treasury.coins,
            self.outcome.surplus
        );
        let issuance = issuance(state)?;
        ensure!(
            issuance == self.issuance,
            "there are {issuance} coins, {} at the genesis",
            self.issuance
        );
        self.outcome.balance_checks += 1;
        Ok(())
    }

    /// Compares the outer grid's statements with what the steps came to.
    fn verify_statements(&self, executor: &Executor, state: &State, last: Step) -> Result<()> {
        for member in &self.members {
            let question = (&member.account, Step(1), last);
            let statement: Statement = executor.call(state, "MarketApi_statement", question)?;
            let mut total = Some(statement.total);
            for (_, month) in &statement.months {
                total = total.and_then(|total| total.checked_add(month));
            }
            ensure!(
                total == Some(member.grid),
                "{} owes the outer grid {total:?} by its statement, but by its meters {:?}",
                member.id,
                member.grid
            );
        }
        Ok(())
    }

    /// Checks what only the end shows, and returns what trading came to.
    pub fn finish(mut self, chain: &Chain, last: Step) -> Result<MarketOutcome> {
        let state = chain.state(None)?;
        self.verify_coins(chain.executor(), &state)?;
        self.verify_statements(chain.executor(), &state, last)?;
        if let Some(file) = self.file {
            file.finish()?;
        }
        let mut outcome = self.outcome;
        let (generated, consumed) = (self.generated_wh, self.consumed_wh);
        outcome.shares = Shares {
            self_consumption_ppm: outcome.covered_wh.map(|wh| ppm(wh, generated)),
            self_sufficiency_ppm: outcome.covered_wh.map(|wh| ppm(wh, consumed)),
        };
        let owed = outcome.owed_to_grid;
        outcome.saved_by_key = owed.alone - owed.key;
        outcome.saved_by_market = owed.key - owed.market;
        Ok(outcome)
    }
}

impl Member {
    fn new(policy: Policy, community: &Community, place: usize, market: &Market) -> Self {
        let participant = &community.participants[place];
        let pair = member_key(participant);
        let reserve = match policy {
            Policy::Reserve | Policy::Persistence => Reserve::of_place(place, market.grid),
            Policy::Perfect => Reserve::of_grid(market.grid),
        };
        // A reading is within its meter's capacity, and a step a quarter of an hour.
        let step_wh = u64::from(participant.load_capacity_w()).div_ceil(4);
        let units = step_wh.div_ceil(market.unit.0.max(1));
        Self {
            id: participant.id.clone(),
            account: AccountId::new(pair.public().0),
            pair,
            reserve,
            purchase_units: u32::try_from(units).unwrap_or(u32::MAX).max(1),
            nonce: 0,
            paid: 0,
            received: 0,
            grid: GridTotal::default(),
        }
    }

    /// Returns one order for each side, of quantities that never bind: what is there, and the need, do.
    fn standing_orders(&self, market: &Market) -> Vec<OrderTerms> {
        let when = When::Standing { until: None };
        let orders = [
            (Side::Sell, STANDING_SALE_UNITS),
            (Side::Buy, self.purchase_units),
        ];
        orders
            .map(|(side, units)| self.reserve.terms(side, units, market, when))
            .to_vec()
    }

    fn sign(&mut self, terms: OrderTerms, context: &SigningContext) -> Vec<u8> {
        let call = RuntimeCall::DoubleAuction(Call::place { terms });
        let transaction = sign_ed25519(call, self.nonce, context, &self.pair);
        self.nonce = self.nonce.saturating_add(1);
        transaction
    }
}

/// What a step came to for all members together.
#[derive(Clone, Copy, Debug, Default)]
struct StepFigures {
    covered_wh: Compared<u64>,
    owed: Compared<i128>,
}

impl StepFigures {
    /// Adds a member that holds energy in each arrangement; returns what the outer grid charges and credits it after trading.
    fn add(&mut self, held_wh: Compared<i128>, load_wh: u64, market: &Market) -> Result<GridTotal> {
        let load = i128::from(load_wh);
        let covered = held_wh.map(|held| u64::try_from(held.clamp(0, load)).unwrap_or_default());
        let of_step = |held| GridTotal::of_step(load - held, market.grid, market.unit);
        let bills = held_wh.map(of_step);
        let owed = bills.map(|bill| bill.map(|bill| bill.owed()));
        let (Some(alone), Some(key), Some(market), Some(bill)) =
            (owed.alone, owed.key, owed.market, bills.market)
        else {
            bail!("more money than there are numbers");
        };
        let owed = Compared { alone, key, market };
        self.covered_wh = self.covered_wh.zip(covered, |a, b| a + b);
        self.owed = self.owed.zip(owed, |a, b| a + b);
        Ok(bill)
    }
}

impl<T> Compared<T> {
    fn map<U>(self, change: impl Fn(T) -> U) -> Compared<U> {
        Compared {
            alone: change(self.alone),
            key: change(self.key),
            market: change(self.market),
        }
    }

    fn zip(self, other: Self, join: impl Fn(T, T) -> T) -> Self {
        Self {
            alone: join(self.alone, other.alone),
            key: join(self.key, other.key),
            market: join(self.market, other.market),
        }
    }
}

/// Returns a part of a whole in millionths, rounded down; 0 of nothing.
fn ppm(part: u64, whole: u64) -> u64 {
    let parts = u128::from(part) * 1_000_000;
    let parts = parts.checked_div(u128::from(whole)).unwrap_or_default();
    u64::try_from(parts).unwrap_or(u64::MAX)
}

fn owed(trade: &Trade, of: impl Fn(&Trade) -> Option<Coin>) -> Result<Coin> {
    of(trade).ok_or_else(|| anyhow!("a trade is worth more coins than there are numbers"))
}

/// Returns how many coins there are.
fn issuance(state: &State) -> Result<Coin> {
    let key = storage_prefix(b"Balances", b"TotalIssuance");
    let value = state.storage(&key).map_err(|error| anyhow!("{error}"))?;
    let bytes = value.and_then(|value| value.try_into().ok());
    bytes
        .map(Coin::from_le_bytes)
        .ok_or_else(|| anyhow!("the chain does not tell how many coins there are"))
}

// ---------------------------------------------------------------------------------- the export

/// How the market of every step ended, as `tests/verify_trading.py` reads it.
struct TradesFile {
    writer: BufWriter<File>,
    path: PathBuf,
}

impl TradesFile {
    fn create(path: &Path, community: &Community, policy: Policy, market: &Market) -> Result<Self> {
        let file =
            File::create(path).with_context(|| format!("cannot write {}", path.display()))?;
        let mut writer = BufWriter::new(file);
        write_order(&mut writer, community)?;
        let Market {
            unit,
            mechanism,
            grid,
        } = market;
        writeln!(writer, "# policy: {}", policy.as_str())?;
        writeln!(writer, "# mechanism: {mechanism}")?;
        writeln!(writer, "# unit: {}", unit.0)?;
        writeln!(writer, "# grid: {},{}", grid.buy, grid.feed_in)?;
        writeln!(
            writer,
            "step,k,low,high,volume,welfare,turnover,surplus,orders,covered_alone_wh,covered_key_wh,covered_wh,\
             owed_alone,owed_key,owed,trades"
        )?;
        Ok(Self {
            writer,
            path: path.to_owned(),
        })
    }

    fn write<'a>(
        &mut self,
        step: Step,
        cleared: Option<(&Clearing, ClearingRecord)>,
        info: Option<&ClearingInfo<AccountId>>,
        figures: &StepFigures,
        name: impl Fn(&AccountId) -> Option<&'a str>,
    ) -> Result<()> {
        let StepFigures { covered_wh, owed } = figures;
        write!(self.writer, "{}", step.0 - 1)?;
        let mut trades = String::new();
        match cleared {
            None => write!(self.writer, ",0,,,0,0,0,0,0")?,
            Some((clearing, record)) => {
                let range = clearing.breakeven.range();
                let price = |price: Option<Coin>| price.map_or_else(String::new, |p| p.to_string());
                let totals = clearing.totals;
                write!(
                    self.writer,
                    ",{},{},{},{},{},{},{},{}",
                    clearing.breakeven.k,
                    price(range.low),
                    price(range.high),
                    totals.volume,
                    totals.welfare,
                    totals.turnover,
                    totals.surplus,
                    record.orders
                )?;
                let orders = info.map_or(&[][..], |info| &info.orders);
                let owner = |position: u32| {
                    let order = orders.get(usize::try_from(position).ok()?)?;
                    name(&order.account)
                };
                for trade in &clearing.trades {
                    let (Some(buyer), Some(seller)) = (owner(trade.buy), owner(trade.sell)) else {
                        bail!("a stranger traded");
                    };
                    let Trade {
                        units,
                        buyer_pays,
                        seller_gets,
                        ..
                    } = trade;
                    let gap = if trades.is_empty() { "" } else { " " };
                    write!(
                        trades,
                        "{gap}{buyer}<{seller}:{units}@{buyer_pays}/{seller_gets}"
                    )?;
                }
            }
        }
        writeln!(
            self.writer,
            ",{},{},{},{},{},{},{trades}",
            covered_wh.alone, covered_wh.key, covered_wh.market, owed.alone, owed.key, owed.market
        )?;
        Ok(())
    }

    fn finish(mut self) -> Result<()> {
        self.writer
            .flush()
            .with_context(|| format!("cannot write {}", self.path.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;
    use pallet_outer_grid::Prices;

    const MARKET: Market = Market {
        unit: Wh(10),
        mechanism: Mechanism::Average,
        grid: Prices { buy: 9, feed_in: 2 },
    };

    #[derive(Parser)]
    struct Replay {
        #[command(flatten)]
        trade: TradeArgs,
    }

    fn parse(arguments: &[&str]) -> Result<TradeArgs, clap::Error> {
        let words = std::iter::once(&"replay").chain(arguments);
        Replay::try_parse_from(words).map(|replay| replay.trade)
    }

    #[test]
    fn nobody_trades_unless_asked_to() {
        let none = parse(&[]).unwrap();
        assert!(none.policy.is_none());
        assert_eq!(none.mechanism().unwrap(), Mechanism::Average);
        for without_policy in [["--mechanism", "loyal"], ["--trades", "file"]] {
            assert!(parse(&without_policy).is_err(), "{without_policy:?}");
        }
    }

    #[test]
    fn needs_that_nobody_knows_cap_no_standing_order() {
        let arguments = |policy| ["--trade", policy, "--mechanism", "continuous"];
        for policy in ["reserve", "perfect"] {
            let refused = parse(&arguments(policy)).unwrap().mechanism().unwrap_err();
            let said = refused.to_string();
            assert!(said.contains("--trade persistence"), "{said}");
        }
        let taken = parse(&arguments("persistence")).unwrap();
        assert_eq!(taken.mechanism().unwrap(), Mechanism::Continuous);
    }

    #[test]
    fn what_a_member_holds_covers_what_it_consumes_and_the_outer_grid_the_rest() {
        let mut figures = StepFigures::default();
        // Its own plant gave 40 of 100 Wh, the key 70, and 30 more were bought.
        let held = Compared {
            alone: 40,
            key: 70,
            market: 100,
        };
        let bill = figures.add(held, 100, &MARKET).unwrap();
        assert_eq!(bill, GridTotal::default());
        // Somebody who sold 30 of 200 Wh, and consumed 50.
        let held = Compared {
            alone: 0,
            key: 200,
            market: 170,
        };
        let bill = figures.add(held, 50, &MARKET).unwrap();
        assert_eq!((bill.fed_in_wh, bill.credited), (120, 24));
        let covered = Compared {
            alone: 40,
            key: 70 + 50,
            market: 100 + 50,
        };
        assert_eq!(figures.covered_wh, covered);
        let owed = Compared {
            alone: 54 + 45,
            key: 27 - 30,
            market: -24,
        };
        assert_eq!(figures.owed, owed);
    }

    #[test]
    fn parts_are_rounded_down_and_nothing_has_none() {
        assert_eq!(ppm(1, 3), 333_333);
        assert_eq!(ppm(3, 3), 1_000_000);
        assert_eq!(ppm(0, 0), 0);
        assert_eq!(ppm(u64::MAX, u64::MAX), 1_000_000);
    }

    #[test]
    fn a_standing_purchase_suffices_for_whatever_its_meter_can_measure() {
        let community = Community::demo().unwrap();
        for (place, participant) in community.participants.iter().enumerate() {
            let member = Member::new(Policy::Reserve, &community, place, &MARKET);
            let [sale, purchase] = &member.standing_orders(&MARKET)[..] else {
                panic!("one order for each side");
            };
            assert!(sale.limit < 9 && purchase.limit > 2);
            let most_wh = u64::from(participant.load_capacity_w()) / 4;
            assert!(u64::from(purchase.units) * MARKET.unit.0 >= most_wh);
            // What it has on hold for one step is a small part of what it begins with.
            let escrow = purchase.limit * Coin::from(purchase.units);
            assert!(escrow * 100 < PARTICIPANT_COINS, "{}", member.id);
        }
    }
}
