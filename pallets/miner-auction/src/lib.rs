//! # Miner auction
//!
//! Who makes the next block: bids in voting tokens, the randomness beacon, the ranking of a height, what
//! becomes of the tokens, and the validators themselves (PROTOCOL 6, 7).
//!
//! ## Terms
//! - lead `L`: bids in block `s` are for height `s + L`.
//! - candidate: a validator of the height that may bid.
//! - escrow: a keyless account that holds all open bids.
//! - ranking: who makes the block of a height, rank 0 first; the bidders by the rule, then the others.
//! - pot: the tokens offered for a height.
//! - void: an auction for which nobody could bid.
//! - epoch: `EpochLength` heights with one validator set; epoch `e` begins with height `e · EpochLength`.
//!
//! ## Invariants
//! - The escrow holds exactly the sum of all open bids.
//! - Voting tokens are only moved and burned here: what was burned is counted, none are made.
//! - A ranking holds every validator of its height once, but for those it names as excluded.
//! - From four validators up nobody makes two blocks in a row, unless all others have equivocated.
//! - There is a ranking for the next height, and it is never empty.
//! - The set of an epoch is fixed when the epoch before begins; afterwards it only loses equivocators.
//! - A key acts from the second epoch after the one in which it was registered.
//!
//! ## Decisions
//! - The gates within a step are kept by the voters, who know when they saw a bid. The chain knows
//!   blocks: a bid for `h` is taken in block `h − L` and in no other, and in no late one.
//! - Bids wait in an escrow account rather than on hold: a hold needs a token beside it to keep its account
//!   alive, and a candidate with a single token may bid it.
//! - With few candidates a bid is at most 40 % of the tokens that are *not yet in escrow*. Bids for `L`
//!   heights can be open at once; measured on all tokens they could take 160 %, measured like this a
//!   candidate that loses all of them has made the same moves as one that lost turn after turn in the
//!   sources' simulations. The floor compares the same tokens with 20 % of an equal share of all
//!   candidates' tokens, escrow included. Rounding never forbids a bid of one token.
//! - "Candidates" in that rule are those who may bid: how many will is not known while they do.
//! - Who did not bid is drawn by the same rule, with the stake left out.
//! - In a late block nobody has missed a turn, and nothing is burned: an outage is nobody's fault. The pot
//!   still goes to its author, if it bid.
//! - The penalty for an auction without bids is due at the end of the block that should have taken
//!   them. Validators without a member's role, such as the DSO's, pay none.
//! - An equivocator is neither ranked nor paid, unless nobody else is left to rank: a chain without blocks
//!   helps nobody. It leaves the next epoch's set, the earliest offence first, as long as four validators
//!   remain. A pardon lets it register anew.
//! - The registry remembers who may validate with which keys, here is only who does: sets are copied
//!   from it at each epoch's beginning. An empty registry leaves the set as it was.
//!
//! ## Not here
//! Votes and rounds (the consensus crate); what reputation is (`pallet-reputation`); who issues voting
//! tokens (`pallet-virtual-meter`).

#![cfg_attr(not(feature = "std"), no_std)]

extern crate alloc;

pub mod draw;
mod queries;
mod ranking;
mod settlement;
#[cfg(any(test, feature = "try-runtime"))]
mod try_state;
mod types;
mod validators;
pub mod weights;

#[cfg(test)]
mod mock;
#[cfg(test)]
mod tests;

pub use pallet::*;
pub use ranking::compute_risk_averse_bound;
pub use types::*;
pub use weights::WeightInfo;

const LOG_TARGET: &str = "commonwatt::miner-auction";

#[allow(
    clippy::let_unit_value,
    deprecated,
    reason = "unsigned evidence: the transaction format of this chain has no authorized calls"
)]
#[frame_support::pallet]
pub mod pallet {
    use alloc::{boxed::Box, vec::Vec};
    use commonwatt_primitives::{
        Hash, Step, VotingToken,
        auction::{
            BlockClaim, ClaimSource, Equivocation, EvidenceFlaw, OnBlockAuthored, Reputation,
            Validator, ValidatorRegistry, possession_message,
        },
        beacon::{BeaconOutput, VerifyBeacon, compute_seed},
        keys::SessionKeys,
        traits::{MarketClock, Registrar},
    };
    use frame_support::{
        PalletId,
        pallet_prelude::*,
        traits::{fungible, tokens::Preservation},
    };
    use frame_system::pallet_prelude::*;
    use sp_runtime::traits::{AccountIdConversion, Verify, Zero};

    use crate::{
        draw::{CANDIDATES_MAX, Ranked},
        types::*,
        weights::WeightInfo,
    };

    #[pallet::config]
    pub trait Config: frame_system::Config<RuntimeEvent: From<Event<Self>>, Hash = Hash> {
        /// The chain's clock.
        type Clock: MarketClock;
        /// Who is a member.
        type Registry: Registrar<Self::AccountId>;
        /// Who may validate, with which keys.
        type Validators: ValidatorRegistry<Self::AccountId>;
        /// The voting tokens. Their existential deposit must not exceed one, see `integrity_test`.
        type VotingTokens: fungible::Mutate<Self::AccountId, Balance = VotingToken>;
        /// How far validators are trusted.
        type Reputation: Reputation<Self::AccountId>;
        /// Who is told about blocks made and turns missed.
        type OnBlockAuthored: OnBlockAuthored<Self::AccountId>;
        /// What the header says about its author.
        type Claims: ClaimSource<Self::AccountId>;
        /// How beacon proofs are checked.
        type Beacon: VerifyBeacon;
        /// Evidence of equivocation, as the consensus crate encodes it.
        type Evidence: Parameter + Equivocation;
        /// Who may pardon an equivocator.
        type PardonOrigin: EnsureOrigin<Self::RuntimeOrigin>;
        /// From which the escrow account is derived.
        #[pallet::constant]
        type PalletId: Get<PalletId>;
        /// Greatest number of validators, at most [`CANDIDATES_MAX`].
        #[pallet::constant]
        type MaxValidators: Get<u32>;
        /// Heights of an epoch.
        #[pallet::constant]
        type EpochLength: Get<u32>;
        /// For how many steps after a height evidence of it counts.
        #[pallet::constant]
        type EvidenceWindow: Get<u32>;
        /// How many more seeds are kept than auctions, for whom it may concern: detail of a kept step may refer to the
        /// beacon of a block before it.
        #[pallet::constant]
        type EarlierSeeds: Get<u32>;
        /// What the work costs.
        type WeightInfo: WeightInfo;
    }

    #[pallet::pallet]
    pub struct Pallet<T>(_);

    /// The community's contract about mining.
    #[pallet::storage]
    pub type MiningRules<T> = StorageValue<_, Rules, ValueQuery>;

    /// `S_h` of each kept block, and of [`Config::EarlierSeeds`] blocks before the kept ones.
    #[pallet::storage]
    pub type Seeds<T> = StorageMap<_, Twox64Concat, Step, Hash, OptionQuery>;

    /// The open bids of each height whose block is still to come. Heights nobody could bid for have
    /// none.
    #[pallet::storage]
    pub type Books<T: Config> =
        StorageMap<_, Twox64Concat, Step, BidBook<T::AccountId, T::MaxValidators>, OptionQuery>;

    /// The auction of each kept height, and of the next one.
    #[pallet::storage]
    pub type Auctions<T: Config> =
        StorageMap<_, Twox64Concat, Step, Auction<T::AccountId, T::MaxValidators>, OptionQuery>;

    /// The validators of each epoch by account: those of the next one, and as far back as evidence counts.
    #[pallet::storage]
    pub type Sets<T: Config> = StorageMap<
        _,
        Twox64Concat,
        u32,
        BoundedVec<Validator<T::AccountId>, T::MaxValidators>,
        OptionQuery,
    >;

    /// Each validator's last block, or the last height before it became one.
    #[pallet::storage]
    pub type LastBlocks<T: Config> =
        StorageMap<_, Blake2_128Concat, T::AccountId, Step, OptionQuery>;

    /// Who contradicted itself.
    #[pallet::storage]
    pub type Offences<T: Config> =
        StorageMap<_, Blake2_128Concat, T::AccountId, Offence, OptionQuery>;

    /// All voting tokens ever burned here.
    #[pallet::storage]
    pub type Burned<T> = StorageValue<_, VotingToken, ValueQuery>;

    /// The registry's genesis must be built before: its validators are the first ones. Without any, no
    /// block can follow.
    #[pallet::genesis_config]
    #[derive(frame_support::DefaultNoBound)]
    pub struct GenesisConfig<T: Config> {
        /// The contract about mining.
        pub rules: Rules,
        /// `S_0`. Chains with the same keys need different ones, lest one foretells the other.
        pub seed: Hash,
        #[serde(skip)]
        #[doc(hidden)]
        pub _config: PhantomData<T>,
    }

    #[pallet::genesis_build]
    impl<T: Config> BuildGenesisConfig for GenesisConfig<T> {
        fn build(&self) {
            if let Err(error) = self.rules.verify(T::EpochLength::get()) {
                panic!("genesis: mining: {error}");
            }
            let registered = T::Validators::validators().len();
            assert!(
                u32::try_from(registered).is_ok_and(|count| count <= T::MaxValidators::get()),
                "genesis: mining: at most {} validators",
                T::MaxValidators::get()
            );

            MiningRules::<T>::put(self.rules);
            Seeds::<T>::insert(Step(0), self.seed);
            if registered == 0 {
                // As in an empty preset: nobody can make a block.
                return;
            }
            Pallet::<T>::fix_set(0);
            Pallet::<T>::fix_set(1);
            for validator in Sets::<T>::get(0).into_iter().flatten() {
                LastBlocks::<T>::insert(validator.account, Step(0));
            }
            Pallet::<T>::make_ranking(Step(1), None);
        }
    }

    #[pallet::event]
    #[pallet::generate_deposit(pub(crate) fn deposit_event)]
    pub enum Event<T: Config> {
        /// A candidate offered tokens for a height.
        BidPlaced {
            /// The height.
            height: Step,
            /// Who.
            who: T::AccountId,
            /// How many tokens.
            amount: u64,
        },
        /// It was decided who makes the block of a height.
        RankingMade {
            /// The height.
            height: Step,
            /// `S_{h-1}`.
            before: Hash,
            /// Whether nobody could bid.
            is_void: bool,
            /// How many of the ranked bid.
            bidders: u32,
            /// The ranking with all bids, wealth and draws, the winner first.
            ranking: Vec<Ranked<T::AccountId>>,
            /// Who is not in it, and why.
            excluded: Vec<Excluded<T::AccountId>>,
        },
        /// The pot of a height went where it belongs.
        AuctionSettled {
            /// The height.
            height: Step,
            /// How it ended.
            outcome: Outcome<T::AccountId>,
            /// Whose turns passed.
            missed: Vec<T::AccountId>,
        },
        /// A bid went back to its bidder.
        BidReturned {
            /// The height it was for.
            height: Step,
            /// Whose.
            who: T::AccountId,
            /// How much.
            amount: u64,
        },
        /// A bid was burned: its bidder let its turn pass to one who did not bid, or equivocated.
        BidBurned {
            /// The height it was for.
            height: Step,
            /// Whose.
            who: T::AccountId,
            /// How much.
            amount: u64,
        },
        /// Nobody bid for a height.
        NobodyBid {
            /// The height.
            height: Step,
            /// What all member validators lost together.
            burned: VotingToken,
        },
        /// A validator lost tokens, because nobody bid.
        PenaltyBurned {
            /// The height.
            height: Step,
            /// Who.
            who: T::AccountId,
            /// How many tokens.
            amount: VotingToken,
        },
        /// The beacon advanced.
        BeaconAdvanced {
            /// The height.
            height: Step,
            /// `S_h`.
            seed: Hash,
        },
        /// A validator registered new keys.
        KeysSet {
            /// Who.
            who: T::AccountId,
            /// The keys.
            keys: SessionKeys,
            /// The first epoch in which they act.
            from_epoch: u32,
        },
        /// The validators of an epoch were fixed.
        ValidatorSetFixed {
            /// The epoch.
            epoch: u32,
            /// The validators.
            validators: Vec<T::AccountId>,
        },
        /// Registered validators found no room in a set.
        ValidatorSetFull {
            /// The epoch.
            epoch: u32,
            /// How many were left out.
            left_out: u32,
        },
        /// An epoch began.
        EpochBegan {
            /// The epoch.
            epoch: u32,
            /// Equivocators that are no longer in its set.
            removed: Vec<T::AccountId>,
        },
        /// A validator contradicted itself.
        EquivocationPunished {
            /// Who.
            who: T::AccountId,
            /// At which height.
            height: Step,
            /// All its voting tokens, which were burned.
            burned: VotingToken,
        },
        /// An equivocator may validate again, once it is registered in a set.
        Pardoned {
            /// Who.
            who: T::AccountId,
        },
    }

    #[pallet::error]
    pub enum Error<T> {
        /// The account is not a validator at this height: ask the DSO to register one, and wait until the
        /// second epoch after that.
        NotAValidator,
        /// The account equivocated and takes no part in auctions until it is pardoned.
        Equivocator,
        /// The gates of this height are not open yet: bids for `h` are taken in block `h − L`.
        BidTooEarly,
        /// The gates of this height are closed: bid for a later one.
        BidTooLate,
        /// This block is late, so its auction is void and takes no bids: bid in the next block.
        AuctionVoid,
        /// There is one bid per candidate and height, and it cannot be changed.
        AlreadyBid,
        /// Bid at least one token.
        NothingOffered,
        /// A bid is below 2^64.
        BidTooLarge,
        /// The account has fewer free tokens; those in escrow for other heights come back when they lose
        /// nothing.
        NotEnoughTokens,
        /// With so few candidates a bid is at most 40 % of the free tokens: bid less.
        BidAboveBound,
        /// With so few candidates one whose free tokens are below a fifth of an equal share bids exactly
        /// one token.
        BidMustBeOne,
        /// A new key did not sign for this chain and account: prove that you hold both.
        NoProofOfPossession,
        /// The two messages of the evidence do not contradict each other.
        EvidenceWithoutConflict,
        /// A message of the evidence was not signed by the key it names.
        EvidenceForged,
        /// The evidence is of a height too long ago.
        EvidenceStale,
        /// The evidence is of a height that is still to come.
        EvidenceFromTheFuture,
        /// No validator of that height signed with this key.
        EvidenceOfUnknownSigner,
        /// The validator was punished for this or a later contradiction, or pardoned since.
        EvidenceOutdone,
        /// The account did not equivocate, or is pardoned already.
        NothingToPardon,
    }

    #[pallet::hooks]
    impl<T: Config> Hooks<BlockNumberFor<T>> for Pallet<T> {
        /// Checks who made the block, advances the beacon and opens the book of height `s + L`.
        ///
        /// The clock's hook must have run before.
        fn on_initialize(_: BlockNumberFor<T>) -> Weight {
            let now = T::Clock::current_step();
            // A panic here rejects the block: it was not made by its rightful author.
            let (claim, output) = Self::current_claim(now)
                .unwrap_or_else(|error| panic!("block {now} is not its author's: {error}"));
            Self::process_claim(now, &claim, &output);

            let lead = MiningRules::<T>::get().bid_lead;
            if let Some(height) = now.checked_add(lead) {
                let book = BidBook {
                    is_void: T::Clock::is_late(),
                    ..Default::default()
                };
                Books::<T>::insert(height, book);
            }
            T::WeightInfo::block(T::MaxValidators::get(), Self::open_heights_max())
        }

        /// Settles the pot, takes penalties, turns the epoch and ranks the next height.
        ///
        /// What changes balances and reputation must have run before.
        fn on_finalize(_: BlockNumberFor<T>) {
            let now = T::Clock::current_step();
            let claim = T::Claims::claim().expect("on_initialize found it in the same header");
            let rules = MiningRules::<T>::get();

            Self::settle(now, &claim);
            if let Some(height) = now.checked_add(rules.bid_lead) {
                Self::close_bids(height, rules.no_bid_penalty);
            }
            if let Some(next) = now.checked_add(1) {
                Self::turn_epoch(now, next);
                Self::make_ranking(next, Some(&claim.author));
            }
            if let Some(expired) = now.0.checked_sub(rules.retention) {
                Auctions::<T>::remove(Step(expired));
            }
            if let Some(expired) = now.0.checked_sub(Self::seeds_kept()) {
                Seeds::<T>::remove(Step(expired));
            }
        }

        fn integrity_test() {
            use fungible::Inspect;
            assert!(
                (1..=CANDIDATES_MAX).contains(&T::MaxValidators::get()),
                "MaxValidators must be at most {CANDIDATES_MAX}, so that wealth fits into 128 bits"
            );
            assert!(
                T::EpochLength::get() >= BID_LEAD_MIN,
                "an epoch must be longer than the shortest bid lead"
            );
            assert!(
                T::VotingTokens::minimum_balance() <= 1,
                "a single token must be able to exist"
            );
        }

        #[cfg(feature = "try-runtime")]
        fn try_state(_: BlockNumberFor<T>) -> Result<(), sp_runtime::TryRuntimeError> {
            Self::do_try_state()
        }
    }

    #[pallet::call]
    impl<T: Config> Pallet<T> {
        /// Offers `amount` voting tokens for `height`, which is `L` after the block that takes the bid.
        #[pallet::call_index(0)]
        #[pallet::weight((
            T::WeightInfo::bid(T::MaxValidators::get(), Pallet::<T>::open_heights_max()),
            DispatchClass::Operational,
        ))]
        pub fn bid(
            origin: OriginFor<T>,
            height: Step,
            #[pallet::compact] amount: VotingToken,
        ) -> DispatchResult {
            let who = ensure_signed(origin)?;
            Self::do_bid(who, height, amount)
        }

        /// Registers new keys for the caller's validator. Both keys sign
        /// [`possession_message`]; they act from the second epoch after this one.
        #[pallet::call_index(1)]
        #[pallet::weight(T::WeightInfo::set_keys())]
        pub fn set_keys(
            origin: OriginFor<T>,
            keys: SessionKeys,
            vote_proof: sp_core::ed25519::Signature,
            beacon_proof: sp_core::sr25519::Signature,
        ) -> DispatchResult {
            let who = ensure_signed(origin)?;
            ensure!(T::Validators::is_validator(&who), Error::<T>::NotAValidator);
            let message = possession_message(&Self::genesis_hash(), &who, &keys);
            ensure!(
                vote_proof.verify(message.as_slice(), &keys.vote)
                    && beacon_proof.verify(message.as_slice(), &keys.beacon),
                Error::<T>::NoProofOfPossession
            );

            T::Validators::replace_keys(&who, &keys)?;

            let from_epoch = Self::epoch_of(T::Clock::current_step()).saturating_add(2);
            Self::deposit_event(Event::KeysSet {
                who,
                keys,
                from_epoch,
            });
            Ok(())
        }

        /// Brings evidence that a validator contradicted itself. Anyone may, also without signing: it proves itself.
        #[pallet::call_index(2)]
        #[pallet::weight((
            T::WeightInfo::report_equivocation(Pallet::<T>::open_heights_max()),
            DispatchClass::Operational,
        ))]
        pub fn report_equivocation(
            origin: OriginFor<T>,
            evidence: Box<T::Evidence>,
        ) -> DispatchResult {
            if ensure_none(origin.clone()).is_err() {
                ensure_signed(origin)?;
            }
            let (who, height) = Self::verify_evidence(&evidence)?;
            Self::punish(who, height);
            Ok(())
        }

        /// Lets an equivocator take part again: it is ranked and may bid once it is in a set.
        #[pallet::call_index(3)]
        #[pallet::weight(T::WeightInfo::pardon())]
        pub fn pardon(origin: OriginFor<T>, who: T::AccountId) -> DispatchResult {
            T::PardonOrigin::ensure_origin(origin)?;
            let offence = Offences::<T>::get(&who)
                .filter(|offence| offence.pardoned.is_none())
                .ok_or(Error::<T>::NothingToPardon)?;

            Offences::<T>::insert(
                &who,
                Offence {
                    pardoned: Some(T::Clock::current_step()),
                    ..offence
                },
            );

            Self::deposit_event(Event::Pardoned { who });
            Ok(())
        }
    }

    /// Evidence that no account stands behind: the node that found a contradiction has a vote key, but need not have the
    /// secret of an account. Only what would be punished is taken, one piece for each offender and height.
    #[pallet::validate_unsigned]
    impl<T: Config> ValidateUnsigned for Pallet<T> {
        type Call = Call<T>;

        fn validate_unsigned(_: TransactionSource, call: &Self::Call) -> TransactionValidity {
            let Call::report_equivocation { evidence } = call else {
                return InvalidTransaction::Call.into();
            };
            match Self::verify_evidence(evidence) {
                Ok((who, height)) => ValidTransaction::with_tag_prefix("MinerAuctionEvidence")
                    .priority(TransactionPriority::MAX)
                    .and_provides((who, height))
                    .longevity(T::EvidenceWindow::get().into())
                    .propagate(true)
                    .build(),
                Err(error) if error == Error::<T>::EvidenceFromTheFuture.into() => {
                    InvalidTransaction::Future.into()
                }
                Err(error)
                    if error == Error::<T>::EvidenceOutdone.into()
                        || error == Error::<T>::EvidenceStale.into() =>
                {
                    InvalidTransaction::Stale.into()
                }
                Err(_) => InvalidTransaction::BadProof.into(),
            }
        }
    }

    impl<T: Config> Pallet<T> {
        fn do_bid(who: T::AccountId, height: Step, amount: VotingToken) -> DispatchResult {
            // Check.
            let now = T::Clock::current_step();
            let due = Step(now.0.saturating_add(MiningRules::<T>::get().bid_lead));
            ensure!(height >= due, Error::<T>::BidTooLate);
            ensure!(height == due, Error::<T>::BidTooEarly);
            let mut book = Books::<T>::get(height).ok_or(Error::<T>::BidTooEarly)?;
            ensure!(!book.is_void, Error::<T>::AuctionVoid);
            let candidates = Self::candidates(height);
            ensure!(
                candidates.contains(&who) || !Self::is_validator_at(&who, height),
                Error::<T>::Equivocator
            );
            ensure!(candidates.contains(&who), Error::<T>::NotAValidator);
            let place = book
                .bids
                .binary_search_by(|bid| bid.account.cmp(&who))
                .err()
                .ok_or(Error::<T>::AlreadyBid)?;
            ensure!(amount > 0, Error::<T>::NothingOffered);
            let amount = u64::try_from(amount).map_err(|_| Error::<T>::BidTooLarge)?;
            ensure!(
                VotingToken::from(amount) <= Self::free_tokens(&who),
                Error::<T>::NotEnoughTokens
            );
            if let Some(max) = Self::compute_bound(&who, &candidates) {
                ensure!(amount == 1 || max > 1, Error::<T>::BidMustBeOne);
                ensure!(amount <= max, Error::<T>::BidAboveBound);
            }
            let bid = Bid {
                account: who.clone(),
                amount,
            };
            book.bids
                .try_insert(place, bid)
                .map_err(|_| Error::<T>::NotAValidator)?;

            // Write.
            <T::VotingTokens as fungible::Mutate<_>>::transfer(
                &who,
                &Self::escrow_account(),
                amount.into(),
                Preservation::Expendable,
            )?;
            book.had_bids = true;
            Books::<T>::insert(height, book);

            // Tell.
            Self::deposit_event(Event::BidPlaced {
                height,
                who,
                amount,
            });
            Ok(())
        }

        /// Returns what the header claims about the author of block `now`, and its beacon output.
        fn current_claim(
            now: Step,
        ) -> Result<(BlockClaim<T::AccountId>, BeaconOutput), ClaimError> {
            let claim = T::Claims::claim().ok_or(ClaimError::Missing)?;
            let output = Self::verify_claim(now, &claim)?;
            Ok((claim, output))
        }

        /// Checks what a header claims about its author, on the state after the block before.
        ///
        /// # Errors
        /// What is wrong with the claim.
        pub fn verify_claim(
            height: Step,
            claim: &BlockClaim<T::AccountId>,
        ) -> Result<BeaconOutput, ClaimError> {
            let auction = Auctions::<T>::get(height)
                .filter(|auction| auction.outcome.is_none())
                .ok_or(ClaimError::NoRanking)?;
            if auction.winner() != Some(&claim.winner) {
                return Err(ClaimError::WrongWinner);
            }
            if auction.at_rank(claim.author_rank) != Some(&claim.author) {
                return Err(ClaimError::WrongRank);
            }
            let keys = Self::keys_at(&claim.author, height).ok_or(ClaimError::NotAValidator)?;
            T::Beacon::verify(&keys.beacon, &auction.before, height.0, &claim.beacon)
                .ok_or(ClaimError::ForgedBeacon)
        }

        /// Advances the beacon and tells who made the block and who let its turn pass.
        fn process_claim(now: Step, claim: &BlockClaim<T::AccountId>, output: &BeaconOutput) {
            let Some(auction) = Auctions::<T>::get(now) else {
                return;
            };
            let seed = compute_seed(&auction.before, output);
            let missed = Self::compute_missed(&auction, claim);

            Seeds::<T>::insert(now, seed);
            LastBlocks::<T>::insert(&claim.author, now);
            T::OnBlockAuthored::on_block_authored(now, &claim.author, &missed);

            Self::deposit_event(Event::BeaconAdvanced { height: now, seed });
        }

        /// Returns who let its turn pass: nobody in a void auction or a late block.
        pub(crate) fn compute_missed(
            auction: &Auction<T::AccountId, T::MaxValidators>,
            claim: &BlockClaim<T::AccountId>,
        ) -> Vec<T::AccountId> {
            if auction.is_void || T::Clock::is_late() {
                return Vec::new();
            }
            auction.before_rank(claim.author_rank)
        }

        fn verify_evidence(evidence: &T::Evidence) -> Result<(T::AccountId, Step), DispatchError> {
            let now = T::Clock::current_step();
            let height = Step(evidence.height());
            ensure!(height <= now, Error::<T>::EvidenceFromTheFuture);
            ensure!(
                now.since(height) <= T::EvidenceWindow::get(),
                Error::<T>::EvidenceStale
            );
            let signer = evidence.signer();
            let who = Self::validators(height)
                .into_iter()
                .flatten()
                .find(|validator| validator.keys.vote == signer)
                .map(|validator| validator.account)
                .ok_or(Error::<T>::EvidenceOfUnknownSigner)?;
            if let Some(offence) = Offences::<T>::get(&who) {
                ensure!(
                    offence.pardoned.is_some_and(|pardoned| pardoned < height),
                    Error::<T>::EvidenceOutdone
                );
            }
            evidence
                .verify(&Self::genesis_hash())
                .map_err(|flaw| match flaw {
                    EvidenceFlaw::NoConflict => Error::<T>::EvidenceWithoutConflict,
                    EvidenceFlaw::BadSignature => Error::<T>::EvidenceForged,
                })?;
            Ok((who, height))
        }

        /// Returns the account that holds all open bids.
        pub fn escrow_account() -> T::AccountId {
            T::PalletId::get().into_account_truncating()
        }

        fn genesis_hash() -> Hash {
            frame_system::Pallet::<T>::block_hash(BlockNumberFor::<T>::zero())
        }

        /// Returns how many seeds are kept.
        pub(crate) fn seeds_kept() -> u32 {
            let retention = MiningRules::<T>::get().retention;
            retention.saturating_add(T::EarlierSeeds::get())
        }

        /// Returns for how many heights bids can be open at once.
        pub(crate) fn open_heights_max() -> u32 {
            MiningRules::<T>::get().bid_lead.saturating_add(1)
        }
    }
}
