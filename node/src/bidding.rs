//! Bids by themselves: so that a validator need not sit in front of its wallet.
//!
//! Between the gates of each step the node offers, by its member's policy, voting tokens for the height that bids are
//! due for. The bid is an ordinary transaction of the member's account, whose secret the node is lent in a file; without
//! `--bid` the node bids nothing.

use std::{fmt, path::PathBuf, str::FromStr, sync::Arc};

use anyhow::{Context, Result, anyhow, ensure};
use clap::Args;
use codec::Encode;
use commonwatt_chain::Chain;
use commonwatt_keystore::{KeyPair, Scheme, SecretUri, files};
use commonwatt_primitives::{AccountId, Step, StepTiming, VotingToken};
use commonwatt_runtime::{
    RuntimeCall,
    apis::BidderView,
    transaction::{SigningContext, sign_with},
};
use pallet_miner_auction::{BidTerms, Call};
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
    #[arg(long, value_name = "TOKENS", default_value_t)]
    bid_floor: VotingToken,
    /// File with the secret phrase or seed of the validator's account, which signs the bids. Whoever has it owns the
    /// account
    #[arg(long, value_name = "FILE", requires = "validator")]
    bid_account_suri_file: Option<PathBuf>,
}

impl BidArgs {
    /// Returns who bids on `chain`, if somebody does.
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
        let validators = chain.next_lineup()?.validators;
        let key = [Scheme::Ed25519, Scheme::Sr25519]
            .into_iter()
            .map(|scheme| secret.to_pair(scheme))
            .find(|pair| {
                pair.as_ref().map_or(true, |pair| {
                    let account = account_of(pair);
                    validators.iter().any(|validator| validator.account == account)
                })
            })
            .transpose()?
            .ok_or_else(|| {
                anyhow!(
                    "{} is the secret of no validator's account: name the file of the account that the chain knows \
                     this validator by, or leave out --bid",
                    path.display()
                )
            })?;
        Bidder::new(chain.clone(), timing, key, self.bid, self.bid_floor).map(Some)
    }
}

/// Bids for one validator.
pub struct Bidder {
    chain: Arc<Chain>,
    timing: StepTiming,
    key: KeyPair,
    account: AccountId,
    policy: BidPolicy,
    floor: VotingToken,
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
        ensure!(policy != BidPolicy::Off, "who bids nothing needs no bidder");
        Ok(Self {
            account: account_of(&key),
            chain,
            timing,
            key,
            policy,
            floor,
        })
    }

    /// Bids once in each step, between its gates, until asked to stop.
    pub async fn run(self, stop: Stop) -> Result<()> {
        tracing::info!(account = %self.account, policy = %self.policy, floor = self.floor, "bidding");
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

    /// Submits the bid that is due in the next block; returns how much it offers, `None` when there is nothing to offer.
    pub fn bid(&self) -> Result<Option<u64>> {
        let (best, best_hash) = self.chain.best();
        let state = self.chain.state(Some(best_hash))?;
        let view: BidderView =
            self.chain
                .executor()
                .call(&state, "AuctionApi_bidder", &self.account)?;
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
        let nonce = self.chain.next_nonce(&self.account)?;
        let extrinsic = sign_with(call, nonce, 0, &context, self.account.clone(), |payload| {
            sign(&self.key, payload)
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
    use commonwatt_chain::{ChainConfig, SessionPairs, Validators};
    use commonwatt_executor::{BuildLimits, Executor};
    use commonwatt_primitives::digest::Punctuality;
    use commonwatt_runtime::example;
    use commonwatt_storage::{ChainDb, CommitMode, DbConfig};
    use pallet_miner_auction::Bid;

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

    #[test]
    fn a_bid_is_made_for_the_height_that_is_due() {
        let folder = tempfile::tempdir().unwrap();
        let db = ChainDb::open(&folder.path().join("db"), DbConfig::default()).unwrap();
        let genesis = example::genesis();
        let storage = genesis.build_storage().unwrap();
        let mut chain = Chain::open(db, Executor::new(), storage, ChainConfig::default()).unwrap();
        let pairs = SessionPairs {
            vote: example::pair("X"),
            beacon: example::beacon_pair("X"),
        };
        let validator = chain.next_lineup().unwrap().validators.remove(0);
        let agreement = Validators::new(&validator, pairs).unwrap();
        chain.set_agreement(Arc::new(agreement));
        let chain = Arc::new(chain);
        let bidder = |secret: &str, policy| {
            let key = SecretUri::parse(secret).unwrap().to_pair(Scheme::Ed25519);
            Bidder::new(chain.clone(), genesis.timing, key.unwrap(), policy, 0)
        };
        let of_x = bidder("//X", BidPolicy::Share(5)).unwrap();
        let bids_for = |height| -> Vec<Bid<AccountId>> {
            let state = chain.state(None).unwrap();
            chain
                .executor()
                .call(&state, "AuctionApi_bids_for", Step(height))
                .unwrap()
        };
        let limits = BuildLimits {
            bytes_max: 1 << 20,
            misfits_max: 8,
            is_over: &|| false,
        };
        // Of 100 tokens, of 95 and of 91.
        for (height, amount) in [(5, 5), (6, 4), (7, 4)] {
            assert_eq!(of_x.bid().unwrap(), Some(amount));
            chain
                .author_next(
                    &genesis.timing,
                    Punctuality::OnTime,
                    &limits,
                    CommitMode::Durable,
                )
                .unwrap()
                .unwrap();
            let account = example::account("X");
            assert_eq!(bids_for(height), [Bid { account, amount }]);
        }
        // Who is no validator bids nothing, and nobody needs a bidder for that.
        let of_y = bidder("//Y", BidPolicy::Amount(1)).unwrap();
        assert_eq!(of_y.bid().unwrap(), None);
        assert!(bidder("//X", BidPolicy::Off).is_err());
    }
}
