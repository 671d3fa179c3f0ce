//! Bringing a transaction into a block, and telling what came of it.

use std::time::Duration;

use codec::Decode;
use commonwatt_primitives::{AccountId, Coin, Hash, Wh};
use commonwatt_runtime::{Runtime, RuntimeCall, RuntimeEvent};
use frame_metadata::{RuntimeMetadata, RuntimeMetadataPrefixed};
use frame_support::{storage::storage_prefix, traits::Get};
use frame_system::{EventRecord, Phase};
use jsonrpsee::{core::client::Subscription, rpc_params};
use pallet_double_auction::{OrderId, OrderTerms};
use scale_info::TypeDef;
use serde_json::Value;
use sp_runtime::{ArithmeticError, DispatchError, ModuleError, TokenError};

use crate::{
    answers::{Amount, BlockNumber, Member, OrderName, Orders, SignedBlock, TransactionStatus},
    client::{Client, ClientError, INVALID_TRANSACTION, harmless},
    progress::Progress,
    signing::{Signed, cost_of, describe_hold, describe_terms},
    units::CoinFormat,
};

/// Steps that a transaction may take until it is in a block, unless somebody says otherwise.
const PATIENCE_STEPS: u32 = 3;
/// What an order is refused with that its account has too few coins for.
const NOT_ENOUGH_COINS: &str = "DoubleAuction.NotEnoughCoins";
/// What a call is refused with that comes too late for its step.
const GATE_CLOSED: &str = "DoubleAuction.GateClosed";
/// Code of a transaction whose nonce another one in the pool has.
const LOW_PRIORITY: i32 = 1014;
/// What nodes say of a nonce that was used.
const STALE: [&str; 2] = ["ask system_accountNextIndex", "outdated"];
/// What is added to that for the ways there and back.
const PATIENCE_MORE: Duration = Duration::from_secs(30);

/// Why a transaction did not do what it should.
#[derive(Debug, thiserror::Error)]
pub enum SubmitError {
    /// The node refused it, or is gone.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// No block took it in time.
    #[error(
        "no block took transaction {hash:?} within {waited:?}: it may still be taken; look with `commonwatt wallet orders` or \
         `balance` before sending another"
    )]
    Deadline {
        /// Which.
        hash: Hash,
        /// How long was waited.
        waited: Duration,
    },
    /// The node stopped telling.
    #[error(
        "the node stopped telling about transaction {0:?}: it may still be taken; look with `commonwatt wallet orders` or \
         `balance` before sending another"
    )]
    Ended(Hash),
    /// Another one took its place.
    #[error(
        "another transaction of this account took the place of {0:?}: it has the same nonce; send it again"
    )]
    Usurped(Hash),
    /// The pool threw it out.
    #[error("the node's pool is full and dropped the transaction: send it again in the next step")]
    Dropped,
    /// It became invalid.
    #[error(
        "the transaction became invalid before a block took it: its nonce was used by another one, its era is over, or the \
         account's quota of the step is used up; send it again"
    )]
    Invalid,
    /// The node is not true to itself.
    #[error("block {0:?} does not hold the transaction the node says it holds: ask another node")]
    NotInBlock(Hash),
    /// The events mean nothing to this runtime.
    #[error(
        "the events of block {0:?} cannot be read: use the wallet that came with the chain's present version"
    )]
    Events(Hash),
    /// There are fewer coins than the order puts on hold.
    #[error(
        "too few free coins: the order puts {needed} on hold, and {free} are free beside the coin that keeps the account alive \
         ({held} on hold for its orders): lower --limit or the energy, or cancel another order; where orders match as \
         they arrive, one that may have matched keeps its coins until its step ({NOT_ENOUGH_COINS})"
    )]
    Coins {
        /// What the order puts on hold.
        needed: String,
        /// What could be.
        free: String,
        /// What is on hold already.
        held: String,
    },
    /// The step of the order is closed.
    #[error(
        "order {order} can no longer be {change}: its step takes no more changes, and the order counts as it stands ({GATE_CLOSED})"
    )]
    TooLate {
        /// Which order.
        order: OrderName,
        /// What was to be done with it.
        change: &'static str,
    },
    /// The block took it, and the runtime refused it.
    #[error("block {number} took the transaction and refused it: {failure}")]
    Failed {
        /// The block's number.
        number: u32,
        /// What is wrong, and what to do.
        failure: Failure,
    },
}

impl SubmitError {
    /// Returns whether an order was refused because its account has too few coins.
    fn lacks_coins(&self) -> bool {
        self.is_called(NOT_ENOUGH_COINS)
    }

    /// Returns whether the runtime refused the call with the error of this name.
    fn is_called(&self, name: &str) -> bool {
        match self {
            Self::Client(ClientError::Refused {
                data: Some(data), ..
            }) => data.starts_with(name),
            Self::Failed { failure, .. } => failure.name == name,
            _ => false,
        }
    }

    /// Returns whether the node did not take it because its nonce was used by another one meanwhile.
    pub fn is_nonce_taken(&self) -> bool {
        let Self::Client(ClientError::Refused { code, data, .. }) = self else {
            return false;
        };
        let says = |words: &str| data.as_deref().is_some_and(|data| data.contains(words));
        match *code {
            LOW_PRIORITY => true,
            INVALID_TRANSACTION => STALE.into_iter().any(says),
            _ => false,
        }
    }

    /// Returns whether it was sent and may be in a block, or come into one.
    pub fn is_undecided(&self) -> bool {
        matches!(
            self,
            Self::Deadline { .. } | Self::Ended(_) | Self::NotInBlock(_) | Self::Events(_)
        )
    }
}

/// Why the runtime refused a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Its name, such as `DoubleAuction.GateClosed`.
    pub name: String,
    /// What it means and what to do, in the words of the chain's metadata.
    pub meaning: String,
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.meaning.is_empty() {
            true => f.write_str(&self.name),
            false => write!(f, "{} ({})", self.meaning, self.name),
        }
    }
}

/// A transaction in a block.
#[derive(Clone, Debug)]
pub struct Included {
    /// The transaction's hash.
    pub hash: Hash,
    /// The block.
    pub block: Hash,
    /// The block's number.
    pub number: u32,
    /// What it did.
    pub events: Vec<RuntimeEvent>,
}

impl Included {
    /// Returns the order that came of it, and what it says.
    pub fn order(&self) -> Option<(OrderId, OrderTerms)> {
        use pallet_double_auction::Event;
        self.events.iter().find_map(|event| match event {
            RuntimeEvent::DoubleAuction(Event::OrderPlaced { id, terms, .. }) => {
                Some((*id, *terms))
            }
            RuntimeEvent::DoubleAuction(Event::OrderReplaced { new, terms, .. }) => {
                Some((*new, *terms))
            }
            _ => None,
        })
    }

    /// Returns the order that it took back, to put another in its place or none.
    pub fn withdrawn(&self) -> Option<OrderId> {
        use pallet_double_auction::Event;
        self.events.iter().find_map(|event| match event {
            RuntimeEvent::DoubleAuction(
                Event::OrderCancelled { id, .. } | Event::OrderReplaced { old: id, .. },
            ) => Some(*id),
            _ => None,
        })
    }

    /// Tells what it did to the signer, in words.
    pub fn describe(&self, signer: &AccountId, coin: &CoinFormat) -> Vec<String> {
        let events = self.events.iter();
        events
            .filter_map(|event| describe_event(event, signer, coin))
            .collect()
    }
}

fn describe_event(event: &RuntimeEvent, signer: &AccountId, coin: &CoinFormat) -> Option<String> {
    use pallet_double_auction::Event;
    Some(match event {
        RuntimeEvent::DoubleAuction(Event::OrderPlaced { id, terms, .. }) => {
            let hold = describe_hold(terms, coin);
            let terms = describe_terms(terms, coin);
            format!("order {} is placed: {terms}{hold}", OrderName(*id))
        }
        RuntimeEvent::DoubleAuction(Event::OrderCancelled { id, .. }) => {
            format!("order {} is cancelled", OrderName(*id))
        }
        RuntimeEvent::DoubleAuction(Event::OrderReplaced {
            old, new, terms, ..
        }) => {
            let (old, new) = (OrderName(*old), OrderName(*new));
            let hold = describe_hold(terms, coin);
            let terms = describe_terms(terms, coin);
            format!("order {old} is replaced by {new}: {terms}{hold}")
        }
        RuntimeEvent::Balances(pallet_balances::Event::Transfer { from, to, amount })
            if from == signer =>
        {
            format!("{} went to {to}", coin.show(*amount))
        }
        _ => return None,
    })
}

/// Returns how long a transaction may take, unless somebody says otherwise.
pub fn patience(client: &Client) -> Duration {
    let steps_ms = client
        .facts()
        .timing
        .step_ms
        .saturating_mul(u64::from(PATIENCE_STEPS));
    Duration::from_millis(steps_ms).saturating_add(PATIENCE_MORE)
}

/// Returns how many coins an account can send or put on hold: one has to stay.
pub fn spendable(member: &Member) -> Coin {
    let Amount(coins) = member.coins;
    coins.saturating_sub(<Runtime as pallet_balances::Config>::ExistentialDeposit::get())
}

/// Returns what an order of a call puts on hold when it buys.
fn escrow_of(call: &RuntimeCall) -> Option<Coin> {
    use pallet_double_auction::Call;
    let (limit, units) = match call {
        RuntimeCall::DoubleAuction(Call::place { terms }) => (terms.limit, terms.units),
        RuntimeCall::DoubleAuction(Call::replace { limit, units, .. }) => (*limit, *units),
        _ => return None,
    };
    Some(cost_of(limit, units))
}

/// Submits a transaction, and waits until a block holds it and is final; returns what it did.
pub async fn submit(
    client: &Client,
    signed: &Signed,
    patience: Duration,
    progress: &Progress,
) -> Result<Included, SubmitError> {
    match submit_once(client, signed, patience, progress).await {
        Err(error) if error.lacks_coins() => {
            // The node counts smallest coins, people do not.
            Err(count_coins(client, signed).await.unwrap_or(error))
        }
        // The runtime's words are for who places an order.
        Err(error) if error.is_called(GATE_CLOSED) => {
            Err(changed_too_late(&signed.call).unwrap_or(error))
        }
        result => result,
    }
}

/// Says that an order cannot be changed any more, if that is what a call does.
fn changed_too_late(call: &RuntimeCall) -> Option<SubmitError> {
    use pallet_double_auction::Call;
    let (id, change) = match call {
        RuntimeCall::DoubleAuction(Call::cancel { id }) => (id, "cancelled"),
        RuntimeCall::DoubleAuction(Call::replace { id, .. }) => (id, "replaced"),
        _ => return None,
    };
    let order = OrderName(*id);
    Some(SubmitError::TooLate { order, change })
}

/// Says in the chain's coins what an order needs and what there is; `None` when the node does not tell.
async fn count_coins(client: &Client, signed: &Signed) -> Option<SubmitError> {
    let needed = escrow_of(&signed.call)?;
    let account = signed.signer.to_string();
    let (_, at) = client.best().await.ok()?;
    let asked = rpc_params![&account, Value::Null, 0, at];
    let member: Member = client.ask("energy_member", asked).await.ok()?;
    let asked = rpc_params![&account, 0, at];
    let orders: Orders = client.ask("market_orders", asked).await.ok()?;
    let coin = &client.facts().coin;
    let Amount(held) = orders.held;
    Some(SubmitError::Coins {
        needed: coin.show(needed),
        free: coin.show(spendable(&member)),
        held: coin.show(held),
    })
}

async fn submit_once(
    client: &Client,
    signed: &Signed,
    patience: Duration,
    progress: &Progress,
) -> Result<Included, SubmitError> {
    let hash = signed.hash();
    let news: Subscription<TransactionStatus> = client
        .follow(
            "author_submitAndWatchExtrinsic",
            rpc_params![signed.to_hex()],
            "author_unwatchExtrinsic",
        )
        .await?;
    let waiting = tokio::time::timeout(patience, wait_for_block(news, hash));
    let block = progress
        .during("waiting for the block", waiting)
        .await
        .map_err(|_| SubmitError::Deadline {
            hash,
            waited: patience,
        })??;
    let included = read_outcome(client, signed, block).await?;
    let failure = included.events.iter().find_map(|event| match event {
        RuntimeEvent::System(frame_system::Event::ExtrinsicFailed { dispatch_error, .. }) => {
            Some(*dispatch_error)
        }
        _ => None,
    });
    match failure {
        None => Ok(included),
        Some(error) => Err(SubmitError::Failed {
            number: included.number,
            failure: explain(client, error, &signed.call, block).await,
        }),
    }
}

async fn wait_for_block(
    mut news: Subscription<TransactionStatus>,
    hash: Hash,
) -> Result<Hash, SubmitError> {
    let mut block = None;
    loop {
        match (news.next().await, block) {
            (Some(Ok(TransactionStatus::Finalized(final_block))), _) => return Ok(final_block),
            (Some(Ok(TransactionStatus::InBlock(in_block))), _) => block = Some(in_block),
            (Some(Ok(TransactionStatus::Retracted(_))), _) => block = None,
            (Some(Ok(TransactionStatus::Usurped(_))), _) => return Err(SubmitError::Usurped(hash)),
            (Some(Ok(TransactionStatus::Dropped)), _) => return Err(SubmitError::Dropped),
            (Some(Ok(TransactionStatus::Invalid)), _) => return Err(SubmitError::Invalid),
            (Some(Ok(_)), _) => {}
            // On this chain a stored block is final, so it counts even if nobody says so any more.
            (None, Some(block)) => return Ok(block),
            (None, None) => return Err(SubmitError::Ended(hash)),
            (Some(Err(error)), _) => {
                return Err(SubmitError::Client(ClientError::Answer {
                    method: "author_submitAndWatchExtrinsic",
                    cause: harmless(&error.to_string()),
                }));
            }
        }
    }
}

/// Reads what a transaction did from the events of its block.
async fn read_outcome(
    client: &Client,
    signed: &Signed,
    block: Hash,
) -> Result<Included, SubmitError> {
    let held: SignedBlock = client.ask("chain_getBlock", rpc_params![block]).await?;
    let text = signed.to_hex();
    let index = held
        .block
        .extrinsics
        .iter()
        .position(|extrinsic| *extrinsic == text)
        .and_then(|index| u32::try_from(index).ok())
        .ok_or(SubmitError::NotInBlock(block))?;
    let key = format!("0x{}", hex::encode(storage_prefix(b"System", b"Events")));
    let events: Option<String> = client
        .ask("state_getStorage", rpc_params![key, block])
        .await?;
    let records: Vec<EventRecord<RuntimeEvent, Hash>> = events
        .and_then(|text| hex::decode(text.strip_prefix("0x")?).ok())
        .and_then(|bytes| Decode::decode(&mut &bytes[..]).ok())
        .ok_or(SubmitError::Events(block))?;
    let BlockNumber(number) = held.block.header.number;
    Ok(Included {
        hash: signed.hash(),
        block,
        number,
        events: records
            .into_iter()
            .filter(|record| record.phase == Phase::ApplyExtrinsic(index))
            .map(|record| record.event)
            .collect(),
    })
}

/// Says why the runtime refused a call, in the words of the chain's metadata where it has any.
async fn explain(
    client: &Client,
    error: DispatchError,
    call: &RuntimeCall,
    block: Hash,
) -> Failure {
    if let DispatchError::Module(module) = error {
        let metadata: Result<String, _> = client.ask("state_getMetadata", rpc_params![block]).await;
        return metadata
            .ok()
            .and_then(|text| hex::decode(text.strip_prefix("0x")?).ok())
            .and_then(|bytes| find_error(&bytes, module))
            .unwrap_or_else(|| Failure {
                name: format!("error {:?} of pallet {}", module.error, module.index),
                meaning: String::new(),
            });
    }
    Failure {
        name: format!("{error:?}"),
        meaning: meaning_of(error, call).to_owned(),
    }
}

/// Says what an error means that is no pallet's own.
fn meaning_of(error: DispatchError, call: &RuntimeCall) -> &'static str {
    let sends_coins = matches!(call, RuntimeCall::Balances(_));
    match error {
        DispatchError::BadOrigin => "the account may not make this call",
        DispatchError::Token(
            TokenError::FundsUnavailable | TokenError::NotExpendable | TokenError::OnlyProvider,
        )
        | DispatchError::Arithmetic(ArithmeticError::Underflow)
            if sends_coins =>
        {
            "the account had fewer free coins than that: `commonwatt wallet balance` shows them"
        }
        DispatchError::Token(error) => error.into(),
        DispatchError::Arithmetic(error) => error.into(),
        _ => "",
    }
}

/// Finds a pallet's error in metadata of version 14.
fn find_error(mut metadata: &[u8], error: ModuleError) -> Option<Failure> {
    let RuntimeMetadataPrefixed(_, RuntimeMetadata::V14(metadata)) =
        RuntimeMetadataPrefixed::decode(&mut metadata).ok()?
    else {
        return None;
    };
    let mut pallets = metadata.pallets.into_iter();
    let pallet = pallets.find(|pallet| pallet.index == error.index)?;
    let errors = metadata.types.resolve(pallet.error?.ty.id)?;
    let TypeDef::Variant(variants) = &errors.type_def else {
        return None;
    };
    let variant = variants
        .variants
        .iter()
        .find(|variant| Some(&variant.index) == error.error.first())?;
    let words: Vec<_> = variant.docs.iter().map(|line| line.trim()).collect();
    Some(Failure {
        name: harmless(&format!("{}.{}", pallet.name, variant.name)),
        meaning: harmless(words.join(" ").trim_end_matches('.')),
    })
}

/// Says what a call did that left no event a member understands.
pub fn describe_done(included: &Included, signed: &Signed, coin: &CoinFormat, unit: Wh) -> String {
    let told = included.describe(&signed.signer, coin);
    match told.is_empty() {
        true => format!(
            "done: {}",
            crate::signing::describe(&signed.call, coin, unit)
        ),
        false => told.join("; "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use codec::Encode;
    use commonwatt_clearing::Side;
    use commonwatt_primitives::Step;
    use commonwatt_runtime::Runtime;
    use frame_support::traits::PalletInfoAccess;
    use pallet_double_auction::{Cap, Error, When};
    use sp_io::TestExternalities;

    fn explain(error: ModuleError) -> Option<Failure> {
        let metadata = TestExternalities::new_empty().execute_with(Runtime::metadata);
        find_error(&metadata.encode(), error)
    }

    fn module_error(error: Error<Runtime>) -> ModuleError {
        match DispatchError::from(error) {
            DispatchError::Module(error) => error,
            _ => panic!("a pallet's error is a module's"),
        }
    }

    #[test]
    fn a_pallets_error_is_told_in_its_own_words() {
        let failure = explain(module_error(Error::GateClosed)).unwrap();
        assert_eq!(failure.name, "DoubleAuction.GateClosed");
        assert!(failure.meaning.contains("Choose a later step"), "{failure}");
        let failure = explain(module_error(Error::NotEnoughCoins)).unwrap();
        // Documentation of several lines is one sentence.
        assert!(
            failure
                .meaning
                .contains("keeps it alive: lower one of them, or cancel"),
            "{failure}"
        );
    }

    #[test]
    fn an_error_nobody_knows_is_no_panic() {
        let index = u8::try_from(commonwatt_runtime::DoubleAuction::index()).unwrap();
        let unknown = ModuleError {
            index,
            error: [250, 0, 0, 0],
            message: None,
        };
        assert_eq!(explain(unknown), None);
        assert_eq!(
            explain(ModuleError {
                index: 99,
                ..unknown
            }),
            None
        );
        assert_eq!(find_error(b"meta", unknown), None);
    }

    #[test]
    fn a_transfer_of_more_than_there_is_says_so() {
        let transfer = crate::signing::transfer(AccountId::new([1; 32]), 5);
        let other = RuntimeCall::System(frame_system::Call::remark { remark: Vec::new() });
        for error in [
            DispatchError::Arithmetic(ArithmeticError::Underflow),
            DispatchError::Token(TokenError::FundsUnavailable),
        ] {
            assert!(meaning_of(error, &transfer).contains("fewer free coins"));
            assert!(!meaning_of(error, &other).contains("coins"), "{error:?}");
        }
    }

    #[test]
    fn what_may_still_be_taken_is_undecided() {
        let hash = Hash::zero();
        let waited = Duration::ZERO;
        for error in [
            SubmitError::Ended(hash),
            SubmitError::Deadline { hash, waited },
            SubmitError::NotInBlock(hash),
        ] {
            assert!(error.is_undecided(), "{error}");
        }
        assert!(!SubmitError::Dropped.is_undecided());
        assert!(!SubmitError::Invalid.is_undecided());
    }

    #[test]
    fn events_are_told_in_words() {
        use pallet_double_auction::Event;
        let who = AccountId::new([1; 32]);
        let other = AccountId::new([2; 32]);
        let terms = OrderTerms {
            side: Side::Sell,
            limit: 3,
            units: 20,
            unit: Wh(10),
            when: When::Standing { until: None },
            cap: Cap::Quantity,
        };
        let id = OrderId::standing(4);
        let placed = Event::OrderPlaced {
            who: who.clone(),
            id,
            terms,
        };
        let paid = pallet_balances::Event::Transfer {
            from: who.clone(),
            to: other.clone(),
            amount: 5,
        };
        let included = Included {
            hash: Hash::zero(),
            block: Hash::zero(),
            number: 1,
            events: vec![
                RuntimeEvent::DoubleAuction(placed),
                RuntimeEvent::Balances(paid),
            ],
        };
        let coin = CoinFormat::default();
        let told = included.describe(&who, &coin);
        assert_eq!(
            told[0],
            "order standing-4 is placed: sell up to 200Wh for at least 3 uCWC/10Wh in every step"
        );
        assert_eq!(told[1], format!("5 uCWC went to {other}"));
        assert_eq!(included.describe(&other, &coin).len(), 1);
        assert_eq!(included.order(), Some((id, terms)));
        assert_eq!(Step(0), id.step);
    }
}
