//! Who lives on a simulated chain: validators with their keys, two cryptometers, and what they sign.

use std::sync::Arc;

use commonwatt_chain::SessionPairs;
use commonwatt_primitives::{AccountId, Hash, Quality, Step, StepTiming, Wh, keys::SessionKeys};
use commonwatt_runtime::{
    Council, Runtime, RuntimeCall,
    configs::VotingTokensInstance,
    example::{self, account, beacon_pair, pair},
    genesis::{CommunityGenesis, GenesisValidator},
    transaction::{SigningContext, sign_ed25519},
};
use frame_support::dispatch::Callable;
use pallet_energy_token::{Call as EnergyCall, Measurement, Report};
use pallet_miner_auction::{Call as AuctionCall, draw::Rule};
use sp_core::{Pair, ed25519, sr25519, storage::Storage};

/// The member that is no validator.
const GIVER: &str = "Giver";
/// The validator that is no member.
const DSO: &str = "Dso";
/// The generators' devices of the example community.
const DEVICES: [&str; 2] = ["A", "B"];
/// Bytes of what the council is asked for at most.
const MOTION_BYTES_MAX: u32 = 1_000;
/// Coins a member begins with.
const COINS: u128 = 1_000_000;

/// A validator and its keys.
#[derive(Clone)]
pub struct Member {
    /// Who it is.
    pub account: AccountId,
    /// The key of its account, which signs bids.
    pub pair: ed25519::Pair,
    /// Its vote key.
    pub vote: ed25519::Pair,
    /// Its beacon key.
    pub beacon: sr25519::Pair,
}

impl Member {
    fn new(name: &str) -> Self {
        Self {
            account: account(name),
            pair: pair(name),
            vote: pair(&format!("{name} votes")),
            beacon: beacon_pair(name),
        }
    }

    /// Returns its session keys' secrets.
    pub fn session(&self) -> Arc<SessionPairs> {
        Arc::new(SessionPairs {
            vote: self.vote,
            beacon: self.beacon.clone(),
        })
    }
}

/// The community: what all nodes begin with.
#[derive(Clone)]
pub struct Community {
    /// When its steps close.
    pub timing: StepTiming,
    /// Its validators; node `n` is that of the `n`th.
    pub members: Vec<Member>,
    /// A member who runs no node and gives others coins.
    pub giver: Member,
    /// Its cryptometers.
    pub devices: Vec<ed25519::Pair>,
    /// The state of block 0.
    pub storage: Storage,
}

impl Community {
    /// Makes a community of so many validators, whose miners are chosen by a rule.
    ///
    /// # Errors
    /// What is wrong with its genesis.
    pub fn new(validators: usize, timing: StepTiming, rule: Rule) -> Result<Self, String> {
        let names: Vec<_> = (1..validators)
            .map(|number| format!("V{number}"))
            .chain([DSO.to_owned()])
            .collect();
        let members: Vec<_> = names.iter().map(|name| Member::new(name)).collect();
        let giver = Member::new(GIVER);
        let mut genesis = genesis_of(&members, &giver, timing);
        genesis.miner_auction.rules.rule = rule;
        Ok(Self {
            timing,
            devices: DEVICES.iter().map(|name| pair(name)).collect(),
            storage: genesis.build_storage()?,
            members,
            giver,
        })
    }

    /// Adds a voting token that nobody issued to the state of block 0: planted, for the simulator to find.
    pub fn forge_token(&mut self) {
        let key = pallet_balances::TotalIssuance::<Runtime, VotingTokensInstance>::hashed_key();
        if let Some(value) = self.storage.top.get_mut(&key[..])
            && let Some(first) = value.first_mut()
        {
            *first = first.wrapping_sub(1);
        }
    }

    /// Returns which node's validator an account is.
    pub fn node_of(&self, account: &AccountId) -> Option<usize> {
        self.members
            .iter()
            .position(|member| member.account == *account)
    }
}

fn genesis_of(validators: &[Member], giver: &Member, timing: StepTiming) -> CommunityGenesis {
    let mut genesis = example::genesis();
    genesis.timing = timing;
    let members: Vec<_> = validators
        .iter()
        .chain([giver])
        .map(|member| member.account.clone())
        .filter(|who| *who != account(DSO))
        .collect();
    genesis.validators = validators
        .iter()
        .map(|member| GenesisValidator {
            account: member.account.clone(),
            keys: SessionKeys {
                vote: member.vote.public(),
                beacon: member.beacon.public(),
            },
        })
        .collect();
    for meter in &mut genesis.meters {
        meter.info.owner = members[0].clone();
        meter.info.beneficiary = members[0].clone();
    }
    genesis.agreement = Some(example::shared_alike(&members));
    genesis.council = vec![members[0].clone()];
    genesis.coins = members.iter().map(|who| (who.clone(), COINS)).collect();
    genesis.members = members;
    genesis
}

/// Returns a device's signed reading of a step.
pub fn reading(
    device: &ed25519::Pair,
    genesis: Hash,
    nonce: u32,
    step: Step,
    measured: Measurement,
) -> Vec<u8> {
    let report = Report {
        step,
        reading: measured,
    };
    let call = RuntimeCall::EnergyToken(EnergyCall::report {
        sequence: u64::from(nonce).saturating_add(1),
        report,
    });
    sign_ed25519(call, nonce, &SigningContext::immortal(genesis), device)
}

/// Returns what a device measured as the whole of a step.
pub fn interval(energy: Wh) -> Measurement {
    Measurement::Interval {
        energy,
        version: 1,
        quality: Quality::Measured,
    }
}

/// Returns a validator's signed bid.
pub fn bid(member: &Member, genesis: Hash, nonce: u32, height: Step, amount: u64) -> Vec<u8> {
    let call = RuntimeCall::MinerAuction(AuctionCall::bid {
        height,
        amount: amount.into(),
    });
    sign_ed25519(
        call,
        nonce,
        &SigningContext::immortal(genesis),
        &member.pair,
    )
}

/// Returns a member's signed gift of a coin to another.
pub fn gift(from: &Member, to: &Member, genesis: Hash, nonce: u32) -> Vec<u8> {
    let call = RuntimeCall::Balances(pallet_balances::Call::transfer_keep_alive {
        dest: to.account.clone().into(),
        value: 1,
    });
    sign_ed25519(call, nonce, &SigningContext::immortal(genesis), &from.pair)
}

type CouncilCall = <Council as Callable<Runtime>>::RuntimeCall;

/// Returns the only councillor's signed pardon.
pub fn pardon(councillor: &Member, genesis: Hash, nonce: u32, who: AccountId) -> Vec<u8> {
    let pardon = RuntimeCall::MinerAuction(AuctionCall::pardon { who });
    let motion = RuntimeCall::Council(CouncilCall::propose {
        threshold: 1,
        proposal: Box::new(pardon),
        length_bound: MOTION_BYTES_MAX,
    });
    let context = SigningContext::immortal(genesis);
    sign_ed25519(motion, nonce, &context, &councillor.pair)
}

/// Returns the hash by which pools and blocks know an extrinsic.
pub fn hash_of(extrinsic: &[u8]) -> Hash {
    commonwatt_txpool::hash_of(extrinsic)
}

/// Returns the timing of a chain with steps of a length, as such a chain is set up.
pub fn timing_of(step_ms: u64) -> StepTiming {
    let (gate_ms, settle_delay_ms) = match step_ms {
        0..=5_000 => (step_ms / 10, step_ms * 3 / 20),
        5_001..=60_000 => (step_ms / 10, step_ms / 10),
        _ => (60_000, 3_000),
    };
    StepTiming {
        genesis_ms: GENESIS_MS,
        step_ms,
        metered_ms: 900_000,
        gate_open_ms: gate_ms,
        gate_close_ms: gate_ms,
        settle_delay_ms,
    }
}

/// When all simulated chains begin, by the clocks on the wall.
pub const GENESIS_MS: u64 = 1_700_000_000_000;

/// Returns what an extrinsic asks for; `None` when its bytes are none.
pub fn decode_call(extrinsic: &[u8]) -> Option<RuntimeCall> {
    commonwatt_executor::decode_extrinsic(extrinsic)
        .ok()
        .map(|extrinsic| extrinsic.function)
}
