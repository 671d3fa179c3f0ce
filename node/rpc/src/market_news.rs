//! `market_subscribeClearings` and `market_subscribeFills`: the market as it is settled, from what each block wrote.

use std::{collections::BTreeMap, sync::Arc};

use codec::Decode;
use commonwatt_chain::NewHead;
use commonwatt_clearing::Side;
use commonwatt_primitives::{AccountId, Coin, Step};
use commonwatt_runtime::{Hash, Runtime, RuntimeEvent};
use frame_support::storage::storage_prefix;
use frame_system::EventRecord;
use jsonrpsee::{
    server::{RegisterMethodError, SubscriptionCloseResponse},
    types::Params,
};
use pallet_double_auction::{
    Books, Event, HistoryEntry, MemberBook, OrderId, OrderInfo, Outcomes, SkipReason, StepOutcome,
};
use serde::Serialize;
use tokio::sync::Mutex;

use crate::{
    arguments::Arguments,
    energy::ask,
    error::{Answer, Fault},
    market_json::{HistoryJson, Id, OrderJson, StateJson},
    methods::{Methods, Node, to_json},
    news::{self, End, Kind, Pending, Start, close, next_head},
    types::{Account, Decimal},
};

/// Steps among which the last clearing is looked for: a day of quarter-hours.
const LAST_CLEARING_STEPS: u32 = 96;

pub(crate) fn register(methods: &mut Methods) -> Result<(), RegisterMethodError> {
    let clearings = [
        "market_subscribeClearings",
        "market_clearing",
        "market_unsubscribeClearings",
    ];
    methods.subscription(clearings, follow_clearings)?;
    let fills = [
        "market_subscribeFills",
        "market_fill",
        "market_unsubscribeFills",
    ];
    methods.subscription(fills, follow_fills)
}

/// Returns what a block wrote under a key.
fn written<T: Decode>(head: &NewHead, key: &[u8]) -> Option<T> {
    let at = head
        .storage
        .binary_search_by(|(written, _)| written.as_slice().cmp(key))
        .ok()?;
    let (_, value) = head.storage.get(at)?;
    T::decode(&mut value.as_ref()?.as_slice()).ok()
}

/// Returns how the market of a block's step ended, if it had orders.
fn outcome_in(head: &NewHead) -> Option<StepOutcome> {
    let step = Step(head.header.number);
    written(head, &Outcomes::<Runtime>::hashed_key_for(step))
}

// ---------------------------------------------------------------------------------- clearings

/// A step's market as it is settled.
#[derive(Serialize)]
struct ClearingNews {
    #[serde(flatten)]
    figures: HistoryJson,
    block: Hash,
}

impl ClearingNews {
    fn new(step: Step, outcome: StepOutcome, block: Hash) -> Self {
        Self {
            figures: HistoryEntry { step, outcome }.into(),
            block,
        }
    }
}

/// Tells of the last clearing at once, if there was one lately, and of each further one in its block.
async fn follow_clearings(
    _: Params<'static>,
    pending: Pending,
    node: Arc<Node>,
) -> SubscriptionCloseResponse {
    let first = |node: &Node| {
        let (number, hash) = node.chain.best();
        let question = (Step(number), LAST_CLEARING_STEPS);
        let entries: Vec<HistoryEntry> = ask(node, "MarketApi_history", question, Some(hash))?;
        let mut message = None;
        if let Some(HistoryEntry { step, outcome }) = entries.first().copied()
            && let Some(block) = node.chain.db().hash_of(step.0)?
        {
            message = Some(to_json(&ClearingNews::new(step, outcome, block))?);
        }
        Ok(Start { number, message })
    };
    news::follow(pending, node, Kind::Clearing, first, |head| {
        let step = Step(head.header.number);
        let news = outcome_in(head).map(|outcome| ClearingNews::new(step, outcome, head.hash));
        news.as_ref().map(to_json).transpose()
    })
    .await
}

// ---------------------------------------------------------------------------------- an account's own orders

/// How orders of an account ended, and which standing ones leave the next step out.
#[derive(Serialize)]
struct FillNews {
    step: Step,
    block: Hash,
    /// Null when the account had no orders in this step.
    #[serde(flatten)]
    state: StateJson,
    orders: Vec<OrderJson>,
    bought: u64,
    sold: u64,
    paid: Decimal<Coin>,
    received: Decimal<Coin>,
    skipped: Vec<SkippedJson>,
}

#[derive(Serialize)]
struct SkippedJson {
    id: Id,
    step: Step,
    reason: &'static str,
}

/// Standing orders that the next step is without, by owner.
pub(crate) type Skips = BTreeMap<AccountId, Vec<Skipped>>;

/// A standing order that leaves a step out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Skipped {
    id: OrderId,
    step: Step,
    reason: SkipReason,
}

/// Which standing orders the last block left out: its events are decoded once, however many are told, and on no thread
/// that serves connections.
#[derive(Default)]
pub(crate) struct LastSkips(Mutex<Option<(Hash, Arc<Skips>)>>);

impl LastSkips {
    async fn of(&self, head: &Arc<NewHead>) -> Answer<Arc<Skips>> {
        let mut last = self.0.lock().await;
        if let Some((hash, skips)) = &*last
            && *hash == head.hash
        {
            return Ok(skips.clone());
        }
        let block = head.clone();
        let skips = tokio::task::spawn_blocking(move || skips_in(&block)).await;
        let skips = skips.map_err(|_| Fault::internal("the events of a block were not read"))?;
        let skips = Arc::new(skips);
        *last = Some((head.hash, skips.clone()));
        Ok(skips)
    }
}

fn skips_in(head: &NewHead) -> Skips {
    let key = storage_prefix(b"System", b"Events");
    let events: Vec<EventRecord<RuntimeEvent, Hash>> = written(head, &key).unwrap_or_default();
    let mut skips = Skips::new();
    for record in events {
        if let RuntimeEvent::DoubleAuction(Event::StandingOrderSkipped {
            who,
            id,
            step,
            reason,
        }) = record.event
        {
            let skipped = Skipped { id, step, reason };
            skips.entry(who).or_default().push(skipped);
        }
    }
    skips
}

/// Tells an account how its orders ended.
async fn follow_fills(
    params: Params<'static>,
    pending: Pending,
    node: Arc<Node>,
) -> SubscriptionCloseResponse {
    let account = Arguments::parse(&params).and_then(|mut given| given.required("account"));
    let account = match account {
        Ok(Account(account)) => account,
        Err(fault) => return pending.reject(fault).await,
    };
    let mut heads = node.chain.subscribe_heads();
    let (start, _) = node.chain.best();
    let Some(mut subscriber) = pending.accept(node.keep_alive).await else {
        return SubscriptionCloseResponse::None;
    };
    let skips = node.skips.clone();
    drop(node);
    let told = async {
        loop {
            let head = next_head(&mut subscriber, &mut heads, start).await?;
            let unsaid = |_| Some("a block could not be told of".to_owned());
            let skips = skips.of(&head).await.map_err(unsaid)?;
            let skipped = skips.get(&account).map_or(&[][..], Vec::as_slice);
            if let Some(news) = fills_in(&head, &account, skipped) {
                let message = to_json(&news).map_err(unsaid)?;
                subscriber.send(message).await?;
            }
        }
    };
    let ended: Result<std::convert::Infallible, End> = told.await;
    let Err(end) = ended;
    close(end)
}

/// Returns what a block brought an account's orders, if anything.
fn fills_in(head: &NewHead, account: &AccountId, skipped: &[Skipped]) -> Option<FillNews> {
    type Book = MemberBook<<Runtime as pallet_double_auction::Config>::MaxBooked>;
    let step = Step(head.header.number);
    let outcome = outcome_in(head);
    let book: Option<Book> = outcome.and_then(|_| {
        let key = Books::<Runtime>::hashed_key_for(step, account);
        written(head, &key)
    });
    if book.is_none() && skipped.is_empty() {
        return None;
    }
    let orders = book.iter().flat_map(|book| book.orders.iter());
    let sum = |side: Side| {
        let of_side = orders.clone().filter(|order| order.side == side);
        of_side.fold((0_u64, 0_u128), |(units, coins), order| {
            (
                units.saturating_add(order.traded.into()),
                coins.saturating_add(order.coins),
            )
        })
    };
    let ((bought, paid), (sold, received)) = (sum(Side::Buy), sum(Side::Sell));
    let state = outcome.filter(|_| book.is_some());
    Some(FillNews {
        step,
        block: head.hash,
        state: StateJson::from(state.as_ref()),
        orders: orders
            .clone()
            .map(|order| OrderInfo::new(step, outcome, account, order).into())
            .collect(),
        bought,
        sold,
        paid: Decimal(paid),
        received: Decimal(received),
        skipped: skipped.iter().map(SkippedJson::from).collect(),
    })
}

impl From<&Skipped> for SkippedJson {
    fn from(Skipped { id, step, reason }: &Skipped) -> Self {
        Self {
            id: Id(*id),
            step: *step,
            reason: match reason {
                SkipReason::NotEnoughCoins => "notEnoughCoins",
                SkipReason::BookFull => "bookFull",
                SkipReason::NeedUnknown => "needUnknown",
                SkipReason::NotAMember => "notAMember",
            },
        }
    }
}
