//! Sums over a chain's raw state, beside the code that keeps them.

use std::collections::BTreeSet;

use codec::{Decode, DecodeAll};
use commonwatt_primitives::{AccountId, Step};
use commonwatt_runtime::{
    Hash, Runtime, RuntimeEvent,
    configs::{VALIDATORS_MAX, VotingTokensInstance},
};
use commonwatt_storage::State;
use frame_support::{StorageHasher, Twox128, storage::StoragePrefixedMap, traits::ConstU32};
use frame_system::EventRecord;
use pallet_balances::AccountData;
use pallet_miner_auction::{BidBook, Offence};
use sp_state_machine::{Backend, IterArgs};

type Book = BidBook<AccountId, ConstU32<VALIDATORS_MAX>>;

/// Bytes of a hash in front of an account's bytes in a key.
const ACCOUNT_BYTES: usize = 32;

/// What a state says about voting tokens.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tokens {
    /// What the pallet says there is.
    pub issuance: u128,
    /// What all accounts have together.
    pub balances: u128,
    /// What lies in escrow.
    pub escrow: u128,
    /// What is offered in open bids.
    pub open_bids: u128,
}

fn values<Value: Decode>(state: &State, prefix: &[u8]) -> Result<Vec<(Vec<u8>, Value)>, String> {
    let mut arguments = IterArgs::default();
    arguments.prefix = Some(prefix);
    let pairs = state.pairs(arguments)?;
    pairs
        .map(|pair| {
            let (key, value) = pair?;
            let value = Value::decode_all(&mut &value[..]).map_err(|error| error.to_string())?;
            Ok((key, value))
        })
        .collect()
}

fn account_of(key: &[u8]) -> Option<AccountId> {
    let start = key.len().checked_sub(ACCOUNT_BYTES)?;
    <[u8; ACCOUNT_BYTES]>::try_from(key.get(start..)?)
        .ok()
        .map(AccountId::new)
}

/// Adds up the voting tokens of a state.
///
/// # Errors
/// It cannot be read.
pub fn tokens(state: &State) -> Result<Tokens, String> {
    let issuance_key =
        pallet_balances::TotalIssuance::<Runtime, VotingTokensInstance>::hashed_key();
    let issuance = state.storage(&issuance_key)?;
    let issuance = issuance
        .map(|value| u128::decode_all(&mut &value[..]).map_err(|error| error.to_string()))
        .transpose()?;
    let prefix = pallet_balances::Account::<Runtime, VotingTokensInstance>::final_prefix();
    let escrow_account = commonwatt_runtime::MinerAuction::escrow_account();
    let mut tokens = Tokens {
        issuance: issuance.unwrap_or_default(),
        ..Tokens::default()
    };
    for (key, data) in values::<AccountData<u128>>(state, &prefix)? {
        let all = data.free.saturating_add(data.reserved);
        tokens.balances = tokens.balances.saturating_add(all);
        if account_of(&key).as_ref() == Some(&escrow_account) {
            tokens.escrow = all;
        }
    }
    let books = pallet_miner_auction::Books::<Runtime>::final_prefix();
    for (_, book) in values::<Book>(state, &books)? {
        let offered = book.bids.iter().map(|bid| u128::from(bid.amount));
        tokens.open_bids = tokens.open_bids.saturating_add(offered.sum());
    }
    Ok(tokens)
}

/// Returns who contradicted itself, as far as the chain knows.
///
/// # Errors
/// The state cannot be read.
pub fn offences(state: &State) -> Result<Vec<(AccountId, Offence)>, String> {
    let prefix = pallet_miner_auction::Offences::<Runtime>::final_prefix();
    let offences = values::<Offence>(state, &prefix)?;
    Ok(offences
        .into_iter()
        .filter_map(|(key, offence)| Some((account_of(&key)?, offence)))
        .collect())
}

/// Returns the steps whose late readings wait to be distributed: a block runs so many corrections as have room in it.
///
/// # Errors
/// The state cannot be read.
pub fn waiting_steps(state: &State) -> Result<BTreeSet<Step>, String> {
    let key = pallet_energy_token::ChangedSteps::<Runtime>::hashed_key();
    let waiting = state.storage(&key)?;
    let waiting = waiting
        .map(|value| BTreeSet::decode_all(&mut &value[..]).map_err(|error| error.to_string()))
        .transpose()?;
    Ok(waiting.unwrap_or_default())
}

/// Returns the voting tokens that were minted in the block a state is of.
///
/// # Errors
/// The state cannot be read.
pub fn minted(state: &State) -> Result<u128, String> {
    let key = [Twox128::hash(b"System"), Twox128::hash(b"Events")].concat();
    let Some(events) = state.storage(&key)? else {
        return Ok(0);
    };
    let events = Vec::<EventRecord<RuntimeEvent, Hash>>::decode_all(&mut &events[..])
        .map_err(|error| error.to_string())?;
    let amounts = events.into_iter().filter_map(|record| match record.event {
        RuntimeEvent::VotingTokens(pallet_balances::Event::Minted { amount, .. }) => Some(amount),
        _ => None,
    });
    Ok(amounts.sum())
}
