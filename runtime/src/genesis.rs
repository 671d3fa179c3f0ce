//! The genesis of a community as people write it, in the chain spec, and the state it becomes.

use std::collections::BTreeSet;

use codec::Encode;
use commonwatt_clearing::Mechanism;
use commonwatt_primitives::{
    AccountId, Bps, Coin, Hash, Ppm, StepTiming, VotingToken, Wh,
    keys::SessionKeys,
    metering::{MeterInfo, MeterKind},
};
use pallet_double_auction::TRADING_UNIT_DEFAULT;
use pallet_energy_token::MpeTable;
use pallet_miner_auction::draw::{Basis, Rule, Weights};
use pallet_outer_grid::{CoinRates, Prices};
use pallet_quota::Quotas;
use pallet_virtual_meter::{GenesisAgreement, KeyTerms};
use serde::{Deserialize, Serialize};
use sp_core::storage::{Storage, well_known_keys};
use sp_runtime::{
    BuildStorage,
    traits::{BlakeTwo256, Hash as _},
};

use crate::{
    RuntimeGenesisConfig, code_marker,
    configs::{
        DECLARATION_PERIOD_MAX, EPOCH_LENGTH, EVALUATIONS_PER_BLOCK, MEMBERS_MAX, METERS_MAX,
        VALIDATORS_MAX,
    },
};

/// Everything that is decided before the first step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CommunityGenesis {
    /// When steps close. A `genesisMs` of 0 is set at the first start of a development chain.
    pub timing: StepTiming,
    /// The neutral metering parties.
    pub dsos: Vec<AccountId>,
    /// The members.
    pub members: Vec<AccountId>,
    /// The council's members, who govern by two thirds.
    pub council: Vec<AccountId>,
    /// The validators with their session keys; each a member or DSO. A validator begins with 100 voting
    /// tokens [P 5.1].
    pub validators: Vec<GenesisValidator>,
    /// The meters, numbered from 0 in this order.
    pub meters: Vec<GenesisMeter>,
    /// Coins of the first hour.
    #[serde(default)]
    pub coins: Vec<(AccountId, Coin)>,
    /// The agreement in force from step 1.
    pub agreement: Option<GenesisAgreement<AccountId>>,
    /// For how many on-time steps a device may still report a past step.
    #[serde(default = "defaults::correction_window")]
    pub correction_window: u32,
    /// For how many steps detail stays in the state.
    #[serde(default = "defaults::retention")]
    pub retention: u32,
    /// What part of a meter's capacity a step's energy may reach.
    #[serde(default = "defaults::plausibility_tolerance")]
    pub plausibility_tolerance: Bps,
    /// Voting tokens issued for each Wh allocated.
    #[serde(default = "defaults::voting_tokens_per_wh")]
    pub voting_tokens_per_wh: Bps,
    /// Transactions free of charge in a step.
    #[serde(default)]
    pub quotas: Quotas,
    /// Maximum permissible errors of meters.
    #[serde(default)]
    pub mpe_table: MpeTable,
    /// Who mines.
    #[serde(default)]
    pub miner_auction: GenesisAuction,
    /// How far members are trusted.
    #[serde(default)]
    pub reputation: GenesisReputation,
    /// How members trade, and what the outer grid costs.
    #[serde(default)]
    pub market: GenesisMarket,
}

/// The auctions of the first hour.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct GenesisAuction {
    /// The contract about mining.
    pub rules: MiningTerms,
    /// `S_0`, where the beacon begins. Without one it is a hash of the timing and the validators, so that
    /// chains with the same keys have different beacons.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seed: Option<Hash>,
}

/// The contract about mining, but for how long auctions are kept: that is the community's `retention`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct MiningTerms {
    /// `L`: bids in block `s` are for height `s + L`.
    pub bid_lead: u32,
    /// How candidates are ordered.
    pub rule: Rule,
    /// What of a candidate's tokens counts.
    pub basis: Basis,
    /// How much each criterion counts.
    pub weights: Weights,
    /// What every member validator loses at most when nobody bids.
    pub no_bid_penalty: VotingToken,
    /// With fewer possible candidates than this, bids are bounded.
    pub few_candidates: u32,
}

impl Default for MiningTerms {
    fn default() -> Self {
        let pallet_miner_auction::Rules {
            bid_lead,
            rule,
            basis,
            weights,
            no_bid_penalty,
            few_candidates,
            retention: _,
        } = Default::default();
        Self {
            bid_lead,
            rule,
            basis,
            weights,
            no_bid_penalty,
            few_candidates,
        }
    }
}

/// Reputation from the first hour.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct GenesisReputation {
    /// The contract about reputation.
    pub rules: pallet_reputation::Rules,
}

/// The market of the first hour.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct GenesisMarket {
    /// How prices are found.
    pub mechanism: Mechanism,
    /// The least energy that is traded, for which all prices are.
    pub trading_unit: Wh,
    /// What the outer grid takes and pays for a unit, in smallest units of money.
    pub outer_grid: Prices,
    /// At which rates the treasury changes coins and money.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub coin_rates: Option<CoinRates>,
    /// The contract about loyalty.
    pub loyalty: pallet_loyalty::Rules,
}

impl Default for GenesisMarket {
    fn default() -> Self {
        Self {
            mechanism: Mechanism::Average,
            trading_unit: TRADING_UNIT_DEFAULT,
            outer_grid: Prices::default(),
            coin_rates: None,
            loyalty: Default::default(),
        }
    }
}

mod defaults {
    use commonwatt_primitives::Bps;

    pub fn correction_window() -> u32 {
        96
    }
    pub fn retention() -> u32 {
        pallet_virtual_meter::RETENTION_DEFAULT
    }
    pub fn plausibility_tolerance() -> Bps {
        Bps(11_000)
    }
    pub fn voting_tokens_per_wh() -> Bps {
        Bps(100)
    }
}

/// A validator of the first hour.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GenesisValidator {
    /// Who owns the node.
    pub account: AccountId,
    /// The keys it signs with.
    pub keys: SessionKeys,
}

/// A meter of the first hour.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GenesisMeter {
    /// What it is.
    pub info: MeterInfo<AccountId>,
    /// The device that speaks for it.
    pub device: Option<AccountId>,
}

/// Largest trading unit: a megawatt-hour.
pub const TRADING_UNIT_MAX: Wh = Wh(1_000_000);

/// Voting tokens each validator begins with [P 5.1].
pub const GENESIS_VOTING_TOKENS: VotingToken = 100;

/// Prefix of what is hashed into `S_0`.
const GENESIS_SEED_DOMAIN: &[u8] = b"commonwatt/beacon/0";

/// Something in a genesis that cannot work, or that its authors should know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// The chain cannot begin like this.
    Error(String),
    /// The chain works, but perhaps not as meant.
    Note(String),
}

impl CommunityGenesis {
    /// Returns all that is wrong with this genesis, or worth knowing; errors first.
    pub fn check(&self) -> Vec<Finding> {
        let mut errors = Vec::new();
        let mut notes = Vec::new();
        self.check_times(&mut errors, &mut notes);
        self.check_people(&mut errors);
        self.check_mining(&mut errors, &mut notes);
        self.check_market(&mut errors, &mut notes);
        self.check_meters(&mut errors);
        self.check_agreement(&mut errors, &mut notes);
        errors
            .into_iter()
            .map(Finding::Error)
            .chain(notes.into_iter().map(Finding::Note))
            .collect()
    }

    /// Builds the state of block 0.
    ///
    /// # Errors
    /// Every error that [`Self::check`] finds, in one text.
    pub fn build_storage(&self) -> Result<Storage, String> {
        let errors: Vec<_> = self
            .check()
            .into_iter()
            .filter_map(|finding| match finding {
                Finding::Error(error) => Some(error),
                Finding::Note(_) => None,
            })
            .collect();
        if !errors.is_empty() {
            return Err(errors.join("; "));
        }
        let mut storage = self.to_config().build_storage()?;
        storage
            .top
            .insert(well_known_keys::CODE.to_vec(), code_marker());
        Ok(storage)
    }

    fn to_config(&self) -> RuntimeGenesisConfig {
        RuntimeGenesisConfig {
            market_step: pallet_market_step::GenesisConfig {
                timing: Some(self.timing),
                ..Default::default()
            },
            balances: pallet_balances::GenesisConfig {
                balances: self.coins.clone(),
                ..Default::default()
            },
            voting_tokens: pallet_balances::GenesisConfig {
                balances: self
                    .validators
                    .iter()
                    .map(|validator| (validator.account.clone(), GENESIS_VOTING_TOKENS))
                    .collect(),
                ..Default::default()
            },
            quota: pallet_quota::GenesisConfig {
                quotas: self.quotas,
                ..Default::default()
            },
            registry: pallet_registry::GenesisConfig {
                dsos: self.dsos.clone(),
                members: self.members.clone(),
                validators: self
                    .validators
                    .iter()
                    .map(|validator| (validator.account.clone(), validator.keys.clone()))
                    .collect(),
                meters: self
                    .meters
                    .iter()
                    .map(|meter| (meter.info.clone(), meter.device.clone()))
                    .collect(),
            },
            energy_token: pallet_energy_token::GenesisConfig {
                correction_window: self.correction_window,
                retention: self.retention,
                plausibility_tolerance: self.plausibility_tolerance,
                mpe_table: self.mpe_table,
                ..Default::default()
            },
            virtual_meter: pallet_virtual_meter::GenesisConfig {
                agreement: self.agreement.clone(),
                tokens_per_wh: self.voting_tokens_per_wh,
                retention: self.retention,
            },
            reputation: pallet_reputation::GenesisConfig {
                rules: self.reputation.rules,
                ..Default::default()
            },
            miner_auction: pallet_miner_auction::GenesisConfig {
                rules: self.mining_rules(),
                seed: self.beacon_seed(),
                ..Default::default()
            },
            double_auction: pallet_double_auction::GenesisConfig {
                mechanism: self.market.mechanism,
                unit: self.market.trading_unit,
                ..Default::default()
            },
            loyalty: pallet_loyalty::GenesisConfig {
                rules: self.market.loyalty,
                ..Default::default()
            },
            outer_grid: pallet_outer_grid::GenesisConfig {
                prices: self.market.outer_grid,
                unit: self.market.trading_unit,
                rates: self.market.coin_rates,
                ..Default::default()
            },
            council_membership: pallet_membership::GenesisConfig {
                members: self.council.clone().try_into().unwrap_or_default(),
                ..Default::default()
            },
            ..Default::default()
        }
    }

    fn mining_rules(&self) -> pallet_miner_auction::Rules {
        let MiningTerms {
            bid_lead,
            rule,
            basis,
            weights,
            no_bid_penalty,
            few_candidates,
        } = self.miner_auction.rules;
        pallet_miner_auction::Rules {
            bid_lead,
            rule,
            basis,
            weights,
            no_bid_penalty,
            few_candidates,
            retention: self.retention,
        }
    }

    /// Returns all accounts that the genesis gives a role, each once, in order.
    pub fn everybody(&self) -> impl Iterator<Item = AccountId> + use<> {
        let devices = self.meters.iter().filter_map(|meter| meter.device.as_ref());
        let validators = self.validators.iter().map(|validator| &validator.account);
        let roles = self.dsos.iter().chain(&self.members).chain(&self.council);
        let accounts: BTreeSet<_> = roles.chain(devices).chain(validators).cloned().collect();
        accounts.into_iter()
    }

    /// Returns `S_0`.
    fn beacon_seed(&self) -> Hash {
        let validators: Vec<_> = self
            .validators
            .iter()
            .map(|validator| (&validator.account, &validator.keys))
            .collect();
        self.miner_auction.seed.unwrap_or_else(|| {
            let mut message = GENESIS_SEED_DOMAIN.to_vec();
            (self.timing, validators).encode_to(&mut message);
            BlakeTwo256::hash(&message)
        })
    }

    fn check_mining(&self, errors: &mut Vec<String>, notes: &mut Vec<String>) {
        if let Err(error) = self.mining_rules().verify(EPOCH_LENGTH) {
            errors.push(format!("minerAuction.rules: {error}"));
        }
        let reputation = self.reputation.rules;
        if let Err(error) = reputation.verify(DECLARATION_PERIOD_MAX) {
            errors.push(format!("reputation.rules: {error}"));
            return;
        }
        if reputation.period >= self.retention {
            errors.push(format!(
                "reputation.rules: a period of {} steps is evaluated when it is over, but their detail is kept for {} \
                 steps only; shorten period or lengthen retention",
                reputation.period, self.retention
            ));
        }
        let evaluated = u64::from(EVALUATIONS_PER_BLOCK) * u64::from(reputation.period);
        let members = u64::try_from(self.members.len()).unwrap_or(u64::MAX);
        if evaluated < members {
            errors.push(format!(
                "reputation.rules: in a period of {} steps {evaluated} declarations can be evaluated, fewer than there \
                 are members; lengthen period",
                reputation.period
            ));
        } else if evaluated < u64::from(MEMBERS_MAX) {
            notes.push(format!(
                "reputation.rules: in a period of {} steps {evaluated} declarations can be evaluated; with more members \
                 evaluations would fall behind",
                reputation.period
            ));
        }
        if self.miner_auction.rules.no_bid_penalty == 0 {
            notes.push(
                "minerAuction.rules: noBidPenalty is 0, so nobody loses anything when nobody bids"
                    .into(),
            );
        }
    }

    fn check_market(&self, errors: &mut Vec<String>, notes: &mut Vec<String>) {
        let GenesisMarket {
            mechanism,
            trading_unit,
            outer_grid,
            coin_rates,
            loyalty,
        } = self.market;
        if !(Wh(1)..=TRADING_UNIT_MAX).contains(&trading_unit) {
            errors.push(format!(
                "market: tradingUnit must lie between 1 and {TRADING_UNIT_MAX} Wh"
            ));
        }
        if let Err(error) = pallet_double_auction::verify_mechanism(mechanism) {
            errors.push(format!("market.mechanism: {error}"));
        }
        if let Err(error) = loyalty.verify() {
            errors.push(format!("market.loyalty: {error}"));
        }
        if let Some(Err(error)) = coin_rates.map(|rates| rates.verify()) {
            errors.push(format!("market.coinRates: {error}"));
        }
        if outer_grid.feed_in >= outer_grid.buy {
            notes.push(format!(
                "market.outerGrid: feedIn {} is not below buy {}, so nobody gains by trading",
                outer_grid.feed_in, outer_grid.buy
            ));
        }
        let uncapped_static = self.agreement.as_ref().is_some_and(|agreement| {
            matches!(agreement.key, KeyTerms::Static { capped: false, .. })
        });
        if uncapped_static {
            notes.push(
                "market: sales are capped by what consumption in clear leaves, and purchases on wish by the need, so orders can tell what a member consumed; consumption given as a commitment caps no sale".into(),
            );
        }
    }

    fn check_times(&self, errors: &mut Vec<String>, notes: &mut Vec<String>) {
        if let Err(error) = self.timing.verify() {
            errors.push(format!("timing: {error}"));
        }
        if self.timing.metered_ms != self.timing.step_ms {
            notes.push(format!(
                "timing: a step of {} ms stands for {} ms of metered time: right for a demonstration only",
                self.timing.step_ms, self.timing.metered_ms
            ));
        }
        let rules = pallet_energy_token::Rules {
            correction_window: self.correction_window,
            retention: self.retention,
            tolerance: self.plausibility_tolerance,
        };
        if let Err(error) = rules.verify() {
            errors.push(error.to_string());
        }
        if !self.voting_tokens_per_wh.is_fraction() {
            errors.push("votingTokensPerWh must be at most 10000, one token for each Wh".into());
        }
    }

    fn check_people(&self, errors: &mut Vec<String>) {
        let mut known = BTreeSet::new();
        for who in self.dsos.iter().chain(&self.members) {
            if !known.insert(who) {
                errors.push(format!("{who} is listed twice among dsos and members"));
            }
        }
        if self.dsos.is_empty() {
            errors.push("dsos: name at least one neutral metering party".into());
        }
        if self.members.len() > MEMBERS_MAX as usize {
            errors.push(format!("members: at most {}", MEMBERS_MAX));
        }
        if self.validators.is_empty() {
            errors.push("validators: nobody would make a block".into());
        }
        let mut validators = BTreeSet::new();
        let mut votes = BTreeSet::new();
        let mut beacons = BTreeSet::new();
        if self.validators.len() > VALIDATORS_MAX as usize {
            errors.push(format!("validators: at most {VALIDATORS_MAX}"));
        }
        for GenesisValidator {
            account,
            keys: session,
        } in &self.validators
        {
            if !known.contains(account) {
                errors.push(format!(
                    "validators: {account} is neither a member nor a DSO"
                ));
            }
            if !validators.insert(account) {
                errors.push(format!(
                    "validators: {account} is listed twice; one per member"
                ));
            }
            if !votes.insert(session.vote) {
                errors.push(format!(
                    "validators: {account} shares its vote key with another"
                ));
            }
            if !beacons.insert(session.beacon) {
                errors.push(format!(
                    "validators: {account} shares its beacon key with another"
                ));
            }
        }
        if self.council.len() > 100 {
            errors.push("council: at most 100 members".into());
        }
        let mut council = BTreeSet::new();
        for who in &self.council {
            if !council.insert(who) {
                errors.push(format!("council: {who} is listed twice"));
            }
            if !known.contains(who) {
                errors.push(format!(
                    "council: {who} is neither a member nor a DSO, so it could send no transaction"
                ));
            }
        }
        let mut funded = BTreeSet::new();
        let mut total: Coin = 0;
        for (who, amount) in &self.coins {
            if *amount == 0 {
                errors.push(format!("coins: {who} would get none; leave it out"));
            }
            if !funded.insert(who) {
                errors.push(format!("coins: {who} is listed twice"));
            }
            match total.checked_add(*amount) {
                Some(sum) => total = sum,
                None => errors.push("coins: the sum does not fit into 128 bits".into()),
            }
        }
    }

    fn check_meters(&self, errors: &mut Vec<String>) {
        let members: BTreeSet<_> = self.members.iter().collect();
        let people: BTreeSet<_> = self.members.iter().chain(&self.dsos).collect();
        let mut devices = BTreeSet::new();
        if self.meters.len() > METERS_MAX as usize {
            errors.push(format!("meters: at most {}", METERS_MAX));
        }
        for (number, GenesisMeter { info, device }) in self.meters.iter().enumerate() {
            if !members.contains(&info.owner) {
                errors.push(format!(
                    "meter {number}: owner {} is not a member",
                    info.owner
                ));
            }
            let is_community = self
                .agreement
                .as_ref()
                .is_some_and(|agreement| agreement.community_account == info.beneficiary);
            if !members.contains(&info.beneficiary) && !is_community {
                errors.push(format!(
                    "meter {number}: beneficiary {} is neither a member nor the community account",
                    info.beneficiary
                ));
            }
            if info.pulses_per_kwh == 0 || info.capacity_w == 0 {
                errors.push(format!(
                    "meter {number}: pulsesPerKwh and capacityW must be positive"
                ));
            }
            if !info.loss.is_fraction() || !info.efficiency.is_fraction() {
                errors.push(format!(
                    "meter {number}: loss and efficiency are at most 10000"
                ));
            }
            if info.retired.is_some() {
                errors.push(format!(
                    "meter {number}: a retired meter has no place in a genesis"
                ));
            }
            if let Some(pair) = info.storage_pair {
                let other = self.meters.get(pair.0 as usize).map(|meter| &meter.info);
                let is_free = !self
                    .meters
                    .iter()
                    .take(number)
                    .any(|meter| meter.info.storage_pair == Some(pair));
                let fits = is_free
                    && (pair.0 as usize) < number
                    && other.is_some_and(|other| {
                        pallet_registry::types::is_storage_pair(info.kind, other.kind)
                            && other.owner == info.owner
                    });
                if !fits {
                    errors.push(format!(
                        "meter {number}: storagePair must be an earlier meter of the same owner in the other direction, without a pair yet"
                    ));
                }
            } else if info.kind == MeterKind::StorageDischarge {
                errors.push(format!(
                    "meter {number}: a storage-discharge meter needs its storagePair"
                ));
            }
            if let Some(device) = device
                && (people.contains(device) || !devices.insert(device))
            {
                errors.push(format!(
                    "meter {number}: device {device} has another role or speaks for another meter"
                ));
            }
        }
    }

    fn check_agreement(&self, errors: &mut Vec<String>, notes: &mut Vec<String>) {
        let Some(agreement) = &self.agreement else {
            notes.push(
                "agreement: none, so all energy stays with the generators' beneficiaries".into(),
            );
            return;
        };
        let members: BTreeSet<_> = self.members.iter().collect();
        let participants: Vec<_> = match &agreement.key {
            KeyTerms::Static { shares, capped } => {
                let sum: u64 = shares.iter().map(|(_, share)| u64::from(share.0)).sum();
                if sum != u64::from(Ppm::FULL.0) {
                    errors.push(format!(
                        "agreement: the shares must sum to {}, not {sum}",
                        Ppm::FULL
                    ));
                }
                if *capped {
                    notes.push(
                        "agreement: a binding cap publishes what a member consumed; consumption given as a commitment counts as none".into(),
                    );
                }
                shares.iter().map(|(who, _)| who).collect()
            }
            KeyTerms::ProRata { participants } => {
                notes.push(
                    "agreement: a pro rata key publishes what members consumed; consumption given as a commitment counts as none".into(),
                );
                participants.iter().collect()
            }
        };
        if participants.is_empty() {
            errors.push("agreement: it needs at least one participant".into());
        }
        let mut seen = BTreeSet::new();
        for who in participants {
            if !members.contains(who) {
                errors.push(format!("agreement: {who} is not a member"));
            }
            if !seen.insert(who) {
                errors.push(format!("agreement: {who} takes part twice"));
            }
        }
    }
}
