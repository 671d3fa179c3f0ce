//! The community of the papers' worked example, for tests and for whoever wants to see a small genesis.
//!
//! Two members, X and Y, share two generators, A and B: 8 of 25 kWh to X and 17 to Y [D Table 1]. Keys derive
//! from the public development phrase.

use std::sync::LazyLock;

use commonwatt_primitives::{
    AccountId, Bps, MeterClass, MeterKind, Ppm, Step, StepTiming, keys::SessionKeys,
    metering::MeterInfo,
};
use pallet_virtual_meter::{GenesisAgreement, KeyTerms};
use sp_core::{
    Pair,
    crypto::{DEV_PHRASE, DeriveJunction},
    ed25519, sr25519,
};

use crate::genesis::{CommunityGenesis, GenesisMeter, GenesisValidator};

/// Returns the key of `X`, `Y`, `Dso`, or the devices `A` and `B`: `//name` of the development phrase.
pub fn pair(name: &str) -> ed25519::Pair {
    // Making a seed of a phrase is slow on purpose; deriving from it is not.
    static ROOT: LazyLock<ed25519::Pair> = LazyLock::new(root);
    derive(&*ROOT, name)
}

fn root<P: Pair>() -> P {
    P::from_phrase(DEV_PHRASE, None)
        .expect("the development phrase is valid")
        .0
}

fn derive<P: Pair>(root: &P, name: &str) -> P {
    root.derive(std::iter::once(DeriveJunction::hard(name)), None)
        .expect("hard junctions are always derived")
        .0
}

/// Returns the account of that key.
pub fn account(name: &str) -> AccountId {
    AccountId::new(pair(name).public().0)
}

/// Returns an agreement by which all have the same static share, but for the first, who has the rest as well.
pub fn shared_alike<'a>(
    people: impl IntoIterator<Item = &'a AccountId>,
) -> GenesisAgreement<AccountId> {
    let mut shares: Vec<_> = people
        .into_iter()
        .map(|who| (who.clone(), Ppm(0)))
        .collect();
    let count = u32::try_from(shares.len()).unwrap_or(u32::MAX).max(1);
    let part = Ppm::FULL.0 / count;
    for (_, share) in &mut shares {
        share.0 = part;
    }
    if let Some((_, first)) = shares.first_mut() {
        first.0 += Ppm::FULL.0 - part * count;
    }
    static_agreement(shares)
}

fn static_agreement(shares: Vec<(AccountId, Ppm)>) -> GenesisAgreement<AccountId> {
    GenesisAgreement {
        key: KeyTerms::Static {
            capped: false,
            shares,
        },
        community_account: account("Community"),
        loss_account: account("Losses"),
    }
}

/// Returns the beacon key of that name.
pub fn beacon_pair(name: &str) -> sr25519::Pair {
    static ROOT: LazyLock<sr25519::Pair> = LazyLock::new(root);
    derive(&*ROOT, name)
}

fn generator(owner: &str, device: &str) -> GenesisMeter {
    GenesisMeter {
        info: MeterInfo {
            kind: MeterKind::Generation,
            owner: account(owner),
            beneficiary: account(owner),
            class: MeterClass::B,
            pulses_per_kwh: 1_000,
            capacity_w: 100_000,
            loss: Bps(0),
            efficiency: Bps::FULL,
            storage_pair: None,
            commissioned: Step(1),
            retired: None,
        },
        device: Some(account(device)),
    }
}

/// Returns the genesis: X validates and is the council; meter 0 is A's, meter 1 is B's.
pub fn genesis() -> CommunityGenesis {
    CommunityGenesis {
        timing: StepTiming {
            genesis_ms: 1_700_000_000_000,
            ..StepTiming::PRODUCTION
        },
        dsos: vec![account("Dso")],
        members: vec![account("X"), account("Y")],
        council: vec![account("X")],
        validators: vec![GenesisValidator {
            account: account("X"),
            keys: SessionKeys {
                vote: pair("X").public(),
                beacon: beacon_pair("X").public(),
            },
        }],
        meters: vec![generator("X", "A"), generator("Y", "B")],
        coins: vec![(account("X"), 1_000_000)],
        agreement: Some(static_agreement(vec![
            (account("X"), Ppm(320_000)),
            (account("Y"), Ppm(680_000)),
        ])),
        correction_window: 96,
        retention: 200,
        plausibility_tolerance: Bps(11_000),
        voting_tokens_per_wh: Bps(100),
        quotas: Default::default(),
        mpe_table: Default::default(),
        miner_auction: Default::default(),
        reputation: Default::default(),
        market: Default::default(),
    }
}
