//! Bids by themselves: so that a validator need not sit in front of its wallet.
//!
//! Between the gates of each step the node offers, by its member's policy, voting tokens for the height that bids are
//! due for. The bid is an ordinary transaction of the member's account, whose secret the node is lent in a file; without
//! `--bid` the node bids nothing. Nor does it while the chain knows no validator by that account: one that is about to join,
//! whose chain is not there yet, or that has left goes on as a node like any other, and bids as soon as it may.

use std::{collections::BTreeSet, fmt, path::PathBuf, str::FromStr, sync::Arc};

use anyhow::{Context, Result, anyhow, ensure};
use clap::Args;
use codec::Encode;
use commonwatt_chain::{Chain, ChainError};
use commonwatt_keystore::{KeyPair, Scheme, SecretError, SecretUri, files};
use commonwatt_primitives::{AccountId, Step, StepTiming, VotingToken};
use commonwatt_runtime::{
    RuntimeCall,
    apis::BidderView,
    transaction::{SigningContext, sign_with},
};
use pallet_miner_auction::{BidTerms, Call};
use parking_lot::Mutex;
use sp_core::{ed25519, sr25519};
use sp_runtime::{MultiSignature, generic::Era, transaction_validity::TransactionSource};
use tokio::sync::broadcast::error::RecvError;

use crate::{
    key::warn_if_exposed,
    stop::{Stop, now_ms},
};

/// Blocks in which a bid could be: it is good for one only, the next; the shortest era has four.
const BID_ERA_BLOCKS: u64 = 4;

/// How much a validator offers for a height.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BidPolicy {
    /// Nothing: somebody else bids, or nobody.
    #[default]
    Off,
    /// This part of its free tokens, in percent, rounded down, at least one token.
    Share(u8),
    /// So many tokens, or as many as the rules allow.
    Amount(u64),
}

impl FromStr for BidPolicy {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || {
            format!(
                "{text:?} is no way to bid: say off, share=5% (1 to 100, whole percents of the free tokens), or amount=N \
                 (tokens)"
            )
        };
        if text == "off" {
            return Ok(Self::Off);
        }
        let (kind, value) = text.split_once('=').ok_or_else(wrong)?;
        let policy = match kind {
            "share" => {
                let percent = value
                    .strip_suffix('%')
                    .and_then(|digits| digits.parse().ok());
                percent
                    .filter(|percent| (1..=100).contains(percent))
                    .map(Self::Share)
            }
            "amount" => {
                let amount = value.parse().ok();
                amount.filter(|&amount| amount > 0).map(Self::Amount)
            }
            _ => None,
        };
        policy.ok_or_else(wrong)
    }
}

impl fmt::Display for BidPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off => f.write_str("off"),
            Self::Share(percent) => write!(f, "share={percent}%"),
            Self::Amount(amount) => write!(f, "amount={amount}"),
        }
    }
}

impl BidPolicy {
    /// Returns what to offer, so that at least `floor` tokens stay free; `None` for no bid.
    pub fn compute_offer(self, floor: VotingToken, terms: &BidTerms) -> Option<u64> {
        let spare = terms.free.checked_sub(floor)?;
        let wanted = match self {
            Self::Off => return None,
            Self::Share(percent) => (terms.free / 100 * VotingToken::from(percent))
                .saturating_add(terms.free % 100 * VotingToken::from(percent) / 100),
            Self::Amount(amount) => amount.into(),
        };
        let offer = wanted
            .max(terms.min.into())
            .min(terms.max.into())
            .min(spare);
        u64::try_from(offer)
            .ok()
            .filter(|&offer| offer >= terms.min)
    }
}

/// How the node bids.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "The auction")]
pub struct BidArgs {
    /// What to bid for each height: off, share=5% of the free voting tokens, or amount=N of them
    #[arg(
        long,
        value_name = "POLICY",
        default_value_t,
        requires = "bid_account_suri_file"
    )]
    bid: BidPolicy,
    /// Voting tokens that always stay free: no bid goes below
    #[arg(long, value_name = "TOKENS", default_value_t, requires = "bid")]
    bid_floor: VotingToken,
    /// File with the secret phrase or seed of the validator's account, which signs the bids. Whoever has it owns the
    /// account
    #[arg(long, value_name = "FILE", requires = "validator")]
    bid_account_suri_file: Option<PathBuf>,
}

impl BidArgs {
    /// Returns who bids on `chain`, if somebody does. Whether the chain knows a validator by that secret makes no difference: it
    /// may later, and is asked before each bid.
    pub fn bidder(&self, chain: &Arc<Chain>, timing: StepTiming) -> Result<Option<Bidder>> {
        let (BidPolicy::Share(_) | BidPolicy::Amount(_), Some(path)) =
            (self.bid, &self.bid_account_suri_file)
        else {
            return Ok(None);
        };
        let (bytes, exposure) = files::read_input(path)?;
        warn_if_exposed(path, exposure);
        let secret = SecretUri::from_file_content(&bytes)
            .with_context(|| format!("{} holds no secret", path.display()))?;
        let keys = keys_of(&secret)
            .with_context(|| format!("{} is the secret of no account", path.display()))?;
        let bidder = Bidder::of(chain.clone(), timing, keys, self.bid, self.bid_floor)?;
        // Told at once, and not only when the first bid is due.
        bidder.find_key()?;
        Ok(Some(bidder))
    }
}

/// Returns the keys of a secret, one for each kind of account it may be of. A soft junction makes no ed25519 key.
fn keys_of(secret: &SecretUri) -> Result<Vec<KeyPair>, SecretError> {
    let keys = [Scheme::Ed25519, Scheme::Sr25519].map(|scheme| secret.to_pair(scheme));
    match keys.iter().any(Result::is_ok) {
        true => Ok(keys.into_iter().flatten().collect()),
        false => keys.into_iter().collect(),
    }
}

/// Bids for one validator.
pub struct Bidder {
    chain: Arc<Chain>,
    timing: StepTiming,
    /// Of one secret. By which of them the validator is known, the chain says.
    keys: Vec<KeyPair>,
    policy: BidPolicy,
    floor: VotingToken,
    told: Mutex<Option<Standing>>,
}

/// For whom a bidder bids.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Standing {
    /// For this validator, which may be one of a later epoch only.
    Validator(AccountId),
    /// For nobody: the chain knows no validator by its secret.
    Stranger,
}

fn account_of(key: &KeyPair) -> AccountId {
    AccountId::new(key.public())
}

impl Bidder {
    /// Creates a bidder that signs with the key of the validator's account.
    ///
    /// # Errors
    /// The policy is to bid nothing.
    pub fn new(
        chain: Arc<Chain>,
        timing: StepTiming,
        key: KeyPair,
        policy: BidPolicy,
        floor: VotingToken,
    ) -> Result<Self> {
        Self::of(chain, timing, vec![key], policy, floor)
    }

    /// Creates a bidder that signs with that of these keys by which the chain knows a validator.
    fn of(
        chain: Arc<Chain>,
        timing: StepTiming,
        keys: Vec<KeyPair>,
        policy: BidPolicy,
        floor: VotingToken,
    ) -> Result<Self> {
        ensure!(policy != BidPolicy::Off, "who bids nothing needs no bidder");
        Ok(Self {
            chain,
            timing,
            keys,
            policy,
            floor,
            told: Mutex::default(),
        })
    }

    /// Bids once in each step, between its gates, until asked to stop.
    pub async fn run(self, stop: Stop) -> Result<()> {
        tracing::info!(policy = %self.policy, floor = self.floor, "bidding");
        let bidder = Arc::new(self);
        let mut heads = bidder.chain.subscribe_heads();
        loop {
            let (best, _) = bidder.chain.best();
            let (worker, waker) = (bidder.clone(), stop.clone());
            let work = move || worker.bid_after(best, &waker);
            if tokio::task::spawn_blocking(work).await? {
                return Ok(());
            }
            while bidder.chain.best().0 <= best {
                tokio::select! {
                    () = stop.asked() => return Ok(()),
                    head = heads.recv() => if let Err(RecvError::Closed) = head {
                        return Ok(());
                    }
                }
            }
        }
    }

    /// Waits for the gates of the step after block `best`, and bids in it; returns whether somebody asked to stop.
    fn bid_after(&self, best: u32, stop: &Stop) -> bool {
        // While catching up the gates are long closed, and a late block takes no bids.
        let Some(due_ms) = compute_due_ms(&self.timing, best, now_ms()) else {
            return stop.is_asked();
        };
        if stop.wait_until(due_ms) {
            return true;
        }
        if let Err(error) = self.bid() {
            // The next step is another chance.
            tracing::warn!(error = format!("{error:#}"), "no bid was made");
        }
        false
    }

    /// Returns the key of the validator's account, if the chain knows one by these keys: it is registered, or still acts. Says so
    /// when that has changed.
    fn find_key(&self) -> Result<Option<&KeyPair>, ChainError> {
        let acting = self.chain.next_lineup()?.validators.into_iter();
        let mut known: BTreeSet<_> = acting.map(|validator| validator.account).collect();
        let registered = self.chain.validators()?.into_iter();
        known.extend(registered.map(|(account, _)| account));
        let found = self
            .keys
            .iter()
            .find(|key| known.contains(&account_of(key)));
        let standing = match found {
            Some(key) => Standing::Validator(account_of(key)),
            None => Standing::Stranger,
        };
        let mut told = self.told.lock();
        if told.as_ref() != Some(&standing) {
            self.say(&standing);
            *told = Some(standing);
        }
        drop(told);
        Ok(found)
    }

    fn say(&self, standing: &Standing) {
        let best = self.chain.best().0;
        match standing {
            Standing::Validator(account) => {
                tracing::info!(%account, best, "bids are made for this validator, while it has a vote and voting tokens");
            }
            Standing::Stranger => {
                let accounts = self.keys.iter().map(|key| account_of(key).to_string());
                let accounts: Vec<_> = accounts.collect();
                tracing::warn!(
                    accounts = accounts.join(" or "),
                    best,
                    "nothing is bid: --bid-account-suri-file holds the secret of no account that is a validator after this block. \
                     Bids begin when it is one; if `commonwatt validators` lists another account for this node, name the file of \
                     that one's secret"
                );
            }
        }
    }

    /// Submits the bid that is due in the next block; returns how much it offers, `None` when there is nothing to offer.
    pub fn bid(&self) -> Result<Option<u64>> {
        let Some(key) = self.find_key()? else {
            return Ok(None);
        };
        let account = account_of(key);
        let (best, best_hash) = self.chain.best();
        let state = self.chain.state(Some(best_hash))?;
        let view: BidderView = self
            .chain
            .executor()
            .call(&state, "AuctionApi_bidder", &account)?;
        let Some(terms) = view.terms else {
            tracing::debug!(best, "no validator of that height, or no tokens: no bid");
            return Ok(None);
        };
        let Some(amount) = self.policy.compute_offer(self.floor, &terms) else {
            tracing::debug!(best, free = terms.free, "no bid goes below the floor");
            return Ok(None);
        };
        let call = RuntimeCall::MinerAuction(Call::bid {
            height: terms.height,
            amount: amount.into(),
        });
        let context = SigningContext {
            genesis_hash: self.chain.genesis_hash(),
            era: Era::mortal(BID_ERA_BLOCKS, best.into()),
            era_hash: best_hash,
        };
        let nonce = self.chain.next_nonce(&account)?;
        let extrinsic = sign_with(call, nonce, 0, &context, account, |payload| {
            sign(key, payload)
        });
        self.chain
            .submit(TransactionSource::Local, extrinsic.encode())
            .map_err(|error| anyhow!("the bid was refused: {}", error.cause()))?;
        tracing::debug!(height = terms.height.0, amount, "bid");
        Ok(Some(amount))
    }
}

/// Returns when to bid in the step after block `best`, which this node has at `now_ms`; `None` when it is too late for that.
///
/// Other nodes refuse a bid as long as they do not have that block, and one that reaches them after closure makes them doubt
/// the block that holds it. So a bid is made in the middle between the gates, and never right after the block or right
/// before closure.
fn compute_due_ms(timing: &StepTiming, best: u32, now_ms: u64) -> Option<u64> {
    let opens_ms = timing
        .closes_at_ms(Step(best))
        .saturating_add(timing.gate_open_ms);
    let closes_ms = timing
        .closes_at_ms(Step(best.saturating_add(1)))
        .saturating_sub(timing.gate_close_ms);
    let passing_on_ms = timing.gate_close_ms.min(timing.settle_delay_ms);
    let middle_ms = opens_ms.midpoint(closes_ms);
    let due_ms = middle_ms.max(now_ms.saturating_add(passing_on_ms));
    (due_ms.saturating_add(passing_on_ms) <= closes_ms).then_some(due_ms)
}

fn sign(key: &KeyPair, payload: &[u8]) -> MultiSignature {
    let signature = key.sign(payload);
    match key.scheme() {
        Scheme::Ed25519 => ed25519::Signature::from_raw(signature).into(),
        Scheme::Sr25519 => sr25519::Signature::from_raw(signature).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    use codec::Decode;
    use commonwatt_chain::{ChainConfig, SessionPairs, Validators};
    use commonwatt_executor::{BuildLimits, Executor};
    use commonwatt_primitives::{
        Quality, Wh, auction::Validator, digest::Punctuality, keys::SessionKeys,
    };
    use commonwatt_runtime::{
        configs::EPOCH_LENGTH, example, genesis::CommunityGenesis, transaction::sign_ed25519,
    };
    use commonwatt_storage::{ChainDb, CommitMode, DbConfig};
    use pallet_energy_token::{Call as EnergyCall, Measurement, Report};
    use pallet_miner_auction::Bid;
    use pallet_registry::Call as RegistryCall;
    use sp_core::Pair;
    use tempfile::TempDir;

    fn terms(free: VotingToken, max: u64) -> BidTerms {
        BidTerms {
            height: Step(5),
            free,
            in_escrow: 0,
            min: 1,
            max,
        }
    }

    #[test]
    fn a_bid_is_made_when_others_have_the_block_and_before_closure() {
        let timing = StepTiming {
            genesis_ms: 0,
            step_ms: 6_000,
            metered_ms: 900_000,
            gate_open_ms: 500,
            gate_close_ms: 500,
            settle_delay_ms: 1_000,
        };
        let due_ms = |now_ms| compute_due_ms(&timing, 1, now_ms);
        // Between the gates, from 6 500 to 11 500.
        assert_eq!(due_ms(7_100), Some(9_000));
        assert_eq!(due_ms(10_000), Some(10_500));
        assert_eq!(due_ms(10_500), Some(11_000));
        assert_eq!(due_ms(10_501), None);
        assert_eq!(due_ms(60_000), None);
    }

    #[test]
    fn policies_are_read_as_they_are_written() {
        for (text, policy) in [
            ("off", BidPolicy::Off),
            ("share=5%", BidPolicy::Share(5)),
            ("share=100%", BidPolicy::Share(100)),
            ("amount=12", BidPolicy::Amount(12)),
        ] {
            assert_eq!(text.parse(), Ok(policy));
            assert_eq!(policy.to_string(), text);
        }
        for text in [
            "",
            "on",
            "share=5",
            "share=0%",
            "share=101%",
            "share=-5%",
            "amount=0",
            "amount=x",
        ] {
            let said = text.parse::<BidPolicy>().unwrap_err();
            assert!(said.contains("share=5%"), "{text}: {said}");
        }
    }

    #[test]
    fn an_offer_keeps_to_policy_rules_and_floor() {
        let share = |percent, floor, free, max| {
            BidPolicy::Share(percent).compute_offer(floor, &terms(free, max))
        };
        assert_eq!(share(5, 0, 1_000, 400), Some(50));
        // Rounded down, but at least a token.
        assert_eq!(share(5, 0, 39, 15), Some(1));
        assert_eq!(share(5, 0, 3, 1), Some(1));
        assert_eq!(share(100, 0, 1_000, 400), Some(400));
        // The floor stays.
        assert_eq!(share(50, 700, 1_000, 1_000), Some(300));
        assert_eq!(share(50, 1_000, 1_000, 1_000), None);
        assert_eq!(share(50, 2_000, 1_000, 1_000), None);
        // Without overflow.
        let rich = VotingToken::MAX;
        assert_eq!(share(5, 0, rich, u64::MAX), Some(u64::MAX));
        let amount = |amount, max| BidPolicy::Amount(amount).compute_offer(0, &terms(100, max));
        assert_eq!((amount(7, 40), amount(70, 40)), (Some(7), Some(40)));
        assert_eq!(BidPolicy::Off.compute_offer(0, &terms(100, 40)), None);
    }

    /// A chain that X makes alone.
    struct Site {
        genesis: CommunityGenesis,
        chain: Arc<Chain>,
        folder: TempDir,
    }

    fn site(genesis: CommunityGenesis) -> Site {
        let folder = tempfile::tempdir().unwrap();
        let db = ChainDb::open(&folder.path().join("db"), DbConfig::default()).unwrap();
        let storage = genesis.build_storage().unwrap();
        let mut chain = Chain::open(db, Executor::new(), storage, ChainConfig::default()).unwrap();
        let pairs = SessionPairs {
            vote: example::pair("X"),
            beacon: example::beacon_pair("X"),
        };
        let validator = chain.next_lineup().unwrap().validators.remove(0);
        let agreement = Validators::new(&validator, pairs).unwrap();
        chain.set_agreement(Arc::new(agreement));
        Site {
            genesis,
            chain: Arc::new(chain),
            folder,
        }
    }

    impl Site {
        fn bidder(&self, secret: &str, policy: BidPolicy) -> Result<Bidder> {
            let key = SecretUri::parse(secret)?.to_pair(Scheme::Ed25519)?;
            Bidder::new(self.chain.clone(), self.genesis.timing, key, policy, 0)
        }

        /// Returns the bidder of a node that is started with the secret in a file.
        fn started(&self, secret: &str, bid: BidPolicy) -> Result<Option<Bidder>> {
            let path = self.folder.path().join("account");
            fs::write(&path, secret).unwrap();
            let args = BidArgs {
                bid,
                bid_floor: 0,
                bid_account_suri_file: Some(path),
            };
            args.bidder(&self.chain, self.genesis.timing)
        }

        fn submit(&self, by: &str, nonce: u32, call: RuntimeCall) {
            let context = SigningContext::immortal(self.chain.genesis_hash());
            let signed = sign_ed25519(call, nonce, &context, &example::pair(by));
            let source = TransactionSource::External;
            self.chain.submit(source, signed).unwrap();
        }

        fn make_block(&self) {
            let limits = BuildLimits {
                bytes_max: 1 << 20,
                misfits_max: 8,
                is_over: &|| false,
            };
            let timing = &self.genesis.timing;
            self.chain
                .author_next(timing, Punctuality::OnTime, &limits, CommitMode::Durable)
                .unwrap()
                .unwrap();
        }

        fn ask<Answer: Decode>(&self, method: &str, height: Step) -> Answer {
            let state = self.chain.state(None).unwrap();
            self.chain.executor().call(&state, method, height).unwrap()
        }

        fn bids_for(&self, height: u32) -> Vec<Bid<AccountId>> {
            self.ask("AuctionApi_bids_for", Step(height))
        }

        fn validators_of(&self, height: u32) -> Vec<AccountId> {
            let validators: Option<Vec<Validator<AccountId>>> =
                self.ask("AuctionApi_validators", Step(height));
            let validators = validators.unwrap().into_iter();
            validators.map(|validator| validator.account).collect()
        }
    }

    #[test]
    fn a_bid_is_made_for_the_height_that_is_due() {
        let site = site(example::genesis());
        let of_x = site.bidder("//X", BidPolicy::Share(5)).unwrap();
        // Of 100 tokens, of 95 and of 91.
        for (height, amount) in [(5, 5), (6, 4), (7, 4)] {
            assert_eq!(of_x.bid().unwrap(), Some(amount));
            site.make_block();
            let account = example::account("X");
            assert_eq!(site.bids_for(height), [Bid { account, amount }]);
        }
        // Nobody needs a bidder to bid nothing.
        assert!(site.bidder("//X", BidPolicy::Off).is_err());
    }

    #[test]
    fn who_is_no_validator_starts_all_the_same_and_bids_nothing() {
        let site = site(example::genesis());
        let of_y = site.started("//Y", BidPolicy::Amount(1)).unwrap().unwrap();
        assert_eq!(*of_y.told.lock(), Some(Standing::Stranger));
        assert_eq!(of_y.bid().unwrap(), None);
        assert!(site.chain.ready().is_empty());
        let of_x = site.started("//X", BidPolicy::Amount(1)).unwrap().unwrap();
        assert_eq!(of_x.bid().unwrap(), Some(1));
        assert!(site.started("//X", BidPolicy::Off).unwrap().is_none());
        assert!(site.started("no secret", BidPolicy::Amount(1)).is_err());
    }

    #[test]
    fn an_account_may_be_of_a_kind_that_has_soft_junctions() {
        let schemes = |secret: &str| -> Vec<Scheme> {
            let keys = keys_of(&SecretUri::parse(secret).unwrap()).unwrap();
            keys.iter().map(KeyPair::scheme).collect()
        };
        assert_eq!(schemes("//Y"), [Scheme::Ed25519, Scheme::Sr25519]);
        assert_eq!(schemes("//Y/roof"), [Scheme::Sr25519]);
    }

    /// Returns the genesis in which Y has an account of the other kind, and that account.
    fn genesis_with_sr25519() -> (CommunityGenesis, AccountId) {
        let secret = SecretUri::parse("//Y").unwrap();
        let account = account_of(&secret.to_pair(Scheme::Sr25519).unwrap());
        let genesis = serde_json::to_string(&example::genesis()).unwrap();
        let genesis = genesis.replace(&example::account("Y").to_string(), &account.to_string());
        (serde_json::from_str(&genesis).unwrap(), account)
    }

    #[test]
    fn one_that_joins_bids_as_soon_as_it_may_and_one_that_leaves_no_more() {
        let (genesis, y) = genesis_with_sr25519();
        let site = site(genesis);
        let policy = BidPolicy::Amount(1);
        let of_x = site.started("//X", policy).unwrap().unwrap();
        let of_y = site.started("//Y", policy).unwrap().unwrap();
        assert_eq!(of_x.bid().unwrap(), Some(1));
        assert_eq!(of_y.bid().unwrap(), None);

        // Y gets voting tokens with its energy, and takes X's place.
        for (device, wh) in [("A", 15_000), ("B", 10_000)] {
            let reading = Measurement::Interval {
                energy: Wh(wh),
                version: 1,
                quality: Quality::Measured,
            };
            let step = Step(1);
            let report = Report { step, reading };
            let report = EnergyCall::report {
                sequence: 1,
                report,
            };
            site.submit(device, 0, report.into());
        }
        let registering = RegistryCall::register_validator {
            who: y.clone(),
            keys: SessionKeys {
                vote: example::pair("Y").public(),
                beacon: example::beacon_pair("Y").public(),
            },
        };
        site.submit("Dso", 0, registering.into());
        let who = example::account("X");
        site.submit("Dso", 1, RegistryCall::remove_validator { who }.into());
        site.make_block();

        // From now on it is known, but has no vote yet; X still has.
        assert_eq!(of_y.bid().unwrap(), None);
        assert_eq!(*of_y.told.lock(), Some(Standing::Validator(y.clone())));
        assert_eq!(of_x.bid().unwrap(), Some(1));
        let amount = loop {
            if let Some(amount) = of_y.bid().unwrap() {
                break amount;
            }
            assert!(site.chain.best().0 < 2 * EPOCH_LENGTH, "no bid was made");
            site.make_block();
        };
        assert_eq!(of_x.bid().unwrap(), None);
        let height = site.chain.best().0 + 1 + site.genesis.miner_auction.rules.bid_lead;
        assert_eq!(site.validators_of(height), std::slice::from_ref(&y));
        assert_eq!(site.validators_of(height - 1), [example::account("X")]);
        site.make_block();
        let account = y;
        assert_eq!(site.bids_for(height), [Bid { account, amount }]);
    }
}
