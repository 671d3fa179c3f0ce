//! A community of several validators that bids, mines and now and then is absent or late: a chain without a node,
//! for tests and for whoever wants auctions to recompute. Everything follows from a seed.

use std::collections::BTreeMap;

use commonwatt_primitives::{
    AccountId, Hash, Quality, Step, VotingToken, Wh,
    auction::{Deliveries, Delivery},
    beacon::{self, BeaconOutput, Schnorrkel, VerifyBeacon},
    digest::{Punctuality, StepDigest},
    evidence::{EquivocationProof, Evidence, SignedVote, Vote, VoteKind},
    keys::SessionKeys,
    metering::MeterKind,
};
use pallet_energy_token::{Call as EnergyCall, Measurement, Report};
use pallet_miner_auction::{Bid, Call as AuctionCall};
use pallet_reputation::{
    Call as ReputationCall, Declared, Event as ReputationEvent, Measure, Rules as ReputationRules,
    Score,
};
use sp_core::Pair;
use sp_io::TestExternalities;
use sp_runtime::{Digest, DispatchError, traits::Header as _};

use crate::{
    Executive, Header, MinerAuction, Reputation, Runtime, RuntimeCall, RuntimeEvent, System,
    UncheckedExtrinsic, VotingTokens,
    configs::MeteredDeliveries,
    example::{self, account, beacon_pair, pair},
    genesis::{CommunityGenesis, GenesisValidator, MiningTerms},
    transaction::{SigningContext, sign_with},
};

/// The generators' devices of the example community.
const DEVICES: [&str; 2] = ["A", "B"];
/// The validator that is no member.
pub const DSO: &str = "Dso";

/// What happens in a story.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// From which everything follows.
    pub seed: u64,
    /// Validators that are members; the DSO is one more.
    pub members: u32,
    /// The contract about mining.
    pub rules: MiningTerms,
    /// How many steps detail is kept.
    pub retention: u32,
    /// How often a validator bids, in percent.
    pub bidding_percent: u64,
    /// How often one whose turn it is lets it pass, in percent.
    pub absent_percent: u64,
    /// How often a block is late, in percent.
    pub late_percent: u64,
    /// Energy each generator measures in a step at most, in Wh; also each member, where members declare.
    pub energy_max_wh: u64,
    /// Which measure of reputation feeds the auction.
    pub measure: Measure,
    /// Steps of a period of declarations.
    pub period: u32,
    /// How often a member declares for a period, in percent; with none, members have no meters of consumption.
    pub declaring_percent: u64,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            seed: 1,
            members: 5,
            rules: MiningTerms::default(),
            retention: 1_000,
            bidding_percent: 70,
            absent_percent: 15,
            late_percent: 5,
            energy_max_wh: 5_000,
            measure: Measure::BlocksCreated,
            period: ReputationRules::default().period,
            declaring_percent: 0,
        }
    }
}

/// What a block brought, beyond what its auction tells.
#[derive(Clone, Debug)]
pub struct Told {
    /// The block.
    pub height: Step,
    /// What its header says.
    pub digest: StepDigest,
    /// `vrf_h`.
    pub output: BeaconOutput,
    /// `S_h`.
    pub seed: Hash,
    /// Bids it took, for `L` heights later.
    pub bids: Vec<Bid<AccountId>>,
    /// Tokens it made, by account.
    pub issued: BTreeMap<AccountId, VotingToken>,
    /// Free tokens of all validators after it, by account.
    pub free: BTreeMap<AccountId, VotingToken>,
    /// Tokens in escrow after it.
    pub escrow: VotingToken,
    /// All tokens after it.
    pub issuance: VotingToken,
    /// What members declared in it, with the period it is for.
    pub declared: Vec<(AccountId, u32, Vec<Declared>)>,
    /// What is known of what validators used and offered in its step.
    pub delivered: BTreeMap<AccountId, Delivery>,
    /// Delivery scores of all validators after it.
    pub scores: BTreeMap<AccountId, Score>,
}

/// A chain that goes on by itself.
pub struct Story {
    plan: Plan,
    externalities: TestExternalities,
    genesis: CommunityGenesis,
    names: Vec<String>,
    nonces: BTreeMap<String, u32>,
    random: Random,
    height: u32,
}

/// A sequence of numbers that everybody can repeat (SplitMix64).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound.max(1)
    }

    fn is_within(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }
}

/// Returns the names of the devices that measure what members use, in the members' order.
fn consumption_devices(plan: &Plan) -> Vec<String> {
    match plan.declaring_percent {
        0 => Vec::new(),
        _ => (0..plan.members)
            .map(|number| format!("C{number}"))
            .collect(),
    }
}

/// Returns the genesis of a story's community.
fn genesis_of(plan: &Plan, names: &[String]) -> CommunityGenesis {
    let mut genesis = example::genesis();
    let members: Vec<_> = names
        .iter()
        .filter(|name| *name != DSO)
        .map(|name| account(name))
        .collect();
    genesis.validators = names
        .iter()
        .map(|name| GenesisValidator {
            account: account(name),
            keys: SessionKeys {
                vote: pair(name).public(),
                beacon: beacon_pair(name).public(),
            },
        })
        .collect();
    for meter in &mut genesis.meters {
        meter.info.owner = members[0].clone();
        meter.info.beneficiary = members[0].clone();
    }
    if plan.declaring_percent > 0 {
        let generator = genesis.meters[0].clone();
        for (owner, device) in members.iter().zip(consumption_devices(plan)) {
            let mut meter = generator.clone();
            meter.info.kind = MeterKind::Consumption;
            meter.info.owner = owner.clone();
            meter.device = Some(account(&device));
            genesis.meters.push(meter);
        }
    }
    genesis.reputation.rules.measure = plan.measure;
    genesis.reputation.rules.period = plan.period;
    genesis.agreement = Some(example::shared_alike(&members));
    genesis.council = vec![members[0].clone()];
    genesis.coins = vec![(members[0].clone(), 1_000_000)];
    genesis.members = members;
    genesis.retention = plan.retention;
    genesis.miner_auction.rules = plan.rules;
    genesis
}

impl Story {
    /// Begins a story.
    ///
    /// # Errors
    /// What is wrong with its genesis.
    pub fn begin(plan: Plan) -> Result<Self, String> {
        let names: Vec<_> = (0..plan.members)
            .map(|number| format!("V{number}"))
            .chain([DSO.to_owned()])
            .collect();
        let genesis = genesis_of(&plan, &names);
        let mut externalities = TestExternalities::new(genesis.build_storage()?);
        externalities
            .commit_all()
            .map_err(|error| format!("the genesis cannot be stored: {error}"))?;
        Ok(Self {
            random: Random(plan.seed),
            plan,
            externalities,
            genesis,
            names,
            nonces: BTreeMap::new(),
            height: 0,
        })
    }

    /// Returns the genesis.
    pub fn genesis(&self) -> &CommunityGenesis {
        &self.genesis
    }

    /// Returns the names of the validators.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// Asks the state after the last block.
    pub fn ask<Answer>(&mut self, question: impl FnOnce() -> Answer) -> Answer {
        self.externalities.execute_with(question)
    }

    /// Makes the next block, with what chance brings.
    ///
    /// # Panics
    /// A block cannot be made: a flaw of the runtime, or of this story.
    pub fn go_on(&mut self) -> Told {
        let calls = self.chance_calls();
        let ranks = self.ask_ranks();
        let mut rank = 0;
        while rank + 1 < ranks && self.random.is_within(self.plan.absent_percent) {
            rank += 1;
        }
        let punctuality = match self.random.is_within(self.plan.late_percent) {
            true => Punctuality::Late,
            false => Punctuality::OnTime,
        };
        let (told, _) = self.make_block(rank, punctuality, calls);
        told
    }

    /// Makes the next block by the validator of a rank, with calls and their signers; returns what became of the calls.
    ///
    /// # Panics
    /// The block cannot be made, or a transaction cannot be part of it.
    pub fn make_block(
        &mut self,
        rank: u32,
        punctuality: Punctuality,
        calls: Vec<(String, RuntimeCall)>,
    ) -> (Told, Vec<Result<(), DispatchError>>) {
        self.height += 1;
        let height = Step(self.height);
        let closes_at_ms = self.genesis.timing.closes_at_ms(height);
        let names = &self.names;
        let nonces = &mut self.nonces;
        let result = self.externalities.execute_with(|| {
            let (digest, output) = claim(names, height, rank, punctuality);
            begin_block(height, &digest, closes_at_ms);
            let outcomes = calls
                .into_iter()
                .map(|(by, call)| {
                    let nonce = nonces.entry(by.clone()).or_default();
                    let extrinsic = sign(&by, call, *nonce);
                    *nonce += 1;
                    Executive::apply_extrinsic(extrinsic)
                        .expect("the story's transactions are sound")
                })
                .collect();
            Executive::finalize_block();
            (tell(names, height, digest, output), outcomes)
        });
        self.externalities
            .commit_all()
            .expect("the state of a test is in memory");
        result
    }

    /// Returns the call that reports a validator's two votes for one round of the last height, signed by it.
    ///
    /// # Panics
    /// There is no such validator, or no block yet.
    pub fn equivocation_of(&mut self, name: &str) -> RuntimeCall {
        let height = self.height;
        let genesis_hash = self.ask(|| System::block_hash(0));
        let key = pair(name);
        let signed = |block| {
            let vote = Vote {
                height,
                round: 0,
                kind: VoteKind::Precommit,
                block,
                validator: account(name),
            };
            let payload = codec::Encode::encode(&(b"commonwatt/vote/1", genesis_hash, &vote));
            SignedVote {
                signature: key.sign(&payload),
                vote,
            }
        };
        let evidence = Evidence {
            key: key.public(),
            proof: EquivocationProof::Votes {
                first: signed(None),
                second: signed(Some(Hash::repeat_byte(7))),
            },
        };
        AuctionCall::report_equivocation {
            evidence: Box::new(evidence),
        }
        .into()
    }

    fn ask_ranks(&mut self) -> u32 {
        let next = Step(self.height + 1);
        let ranks = self.ask(|| MinerAuction::ranking(next)).unwrap_or_default();
        u32::try_from(ranks.len()).unwrap_or(u32::MAX)
    }

    /// Returns the readings and bids of the next block.
    fn chance_calls(&mut self) -> Vec<(String, RuntimeCall)> {
        let step = Step(self.height + 1);
        let generators = DEVICES.iter().map(|device| String::from(*device));
        let mut calls: Vec<_> = generators
            .chain(consumption_devices(&self.plan))
            .map(|device| {
                let energy = Wh(self.random.below(self.plan.energy_max_wh));
                (device, reading(step, energy))
            })
            .collect();
        calls.extend(self.chance_declarations(step));
        for name in self.names.clone() {
            let who = account(&name);
            let terms = self.ask(|| MinerAuction::bid_terms(&who));
            let Some(terms) = terms.filter(|_| self.random.is_within(self.plan.bidding_percent))
            else {
                continue;
            };
            // Not all at once, so that the rich do not run dry where bids are free.
            let max = terms.max.min(terms.max / 4 + 1);
            let amount = 1 + self.random.below(max);
            let call = AuctionCall::bid {
                height: terms.height,
                amount: amount.into(),
            };
            calls.push((name, call.into()));
        }
        calls
    }

    /// Returns what members declare in the first block of a period for the next one.
    fn chance_declarations(&mut self, step: Step) -> Vec<(String, RuntimeCall)> {
        let length = self.plan.period;
        if self.plan.declaring_percent == 0 || step.0 % length != 1 % length {
            return Vec::new();
        }
        let members: Vec<_> = self
            .names
            .iter()
            .filter(|name| *name != DSO)
            .cloned()
            .collect();
        let declaring: Vec<_> = members
            .into_iter()
            .filter(|_| self.random.is_within(self.plan.declaring_percent))
            .collect();
        declaring
            .into_iter()
            .map(|name| {
                let each = Declared {
                    used: Wh(self.random.below(self.plan.energy_max_wh)),
                    offered: Wh(0),
                };
                let steps = (0..length).map(|_| each).collect::<Vec<_>>();
                let call = ReputationCall::declare {
                    period: step.0 / length + 1,
                    steps: steps.try_into().expect("genesis has checked the period"),
                };
                (name, call.into())
            })
            .collect()
    }
}

fn reading(step: Step, energy: Wh) -> RuntimeCall {
    let reading = Measurement::Interval {
        energy,
        version: 1,
        quality: Quality::Measured,
    };
    EnergyCall::report {
        sequence: step.0.into(),
        report: Report { step, reading },
    }
    .into()
}

/// Returns the claim of whoever has a rank, and its beacon output.
fn claim(
    names: &[String],
    height: Step,
    rank: u32,
    punctuality: Punctuality,
) -> (StepDigest, BeaconOutput) {
    let ranking = MinerAuction::ranking(height).expect("the next height is ranked");
    let before = MinerAuction::beacon(height.saturating_sub(1)).expect("its seed is kept");
    let place = usize::try_from(rank).expect("ranks are few");
    let author = ranking[place].clone();
    let name = names
        .iter()
        .find(|name| account(name) == author)
        .expect("all validators are of the story");
    let key = beacon_pair(name);
    let proof = beacon::prove(&key, &before, height.0);
    let output = Schnorrkel::verify(&key.public(), &before, height.0, &proof)
        .expect("it was proven with this key");
    let digest = StepDigest::V1 {
        author,
        author_rank: rank,
        winner: ranking[0].clone(),
        beacon: proof,
        punctuality,
    };
    (digest, output)
}

fn begin_block(height: Step, digest: &StepDigest, closes_at_ms: u64) {
    let header = Header::new(
        height.0,
        Default::default(),
        Default::default(),
        // Any hashes do, as long as no two blocks share one.
        Hash::from_low_u64_be(u64::from(height.0)),
        Digest {
            logs: digest.to_items(),
        },
    );
    Executive::initialize_block(&header);
    let inherent =
        UncheckedExtrinsic::new_bare(RuntimeCall::Timestamp(pallet_timestamp::Call::set {
            now: closes_at_ms,
        }));
    Executive::apply_extrinsic(inherent)
        .expect("the inherent is sound")
        .expect("the time is the step's end");
}

fn sign(by: &str, call: RuntimeCall, nonce: u32) -> UncheckedExtrinsic {
    let context = SigningContext::immortal(System::block_hash(0));
    let key = pair(by);
    sign_with(call, nonce, 0, &context, account(by), |payload| {
        key.sign(payload).into()
    })
}

fn tell(names: &[String], height: Step, digest: StepDigest, output: BeaconOutput) -> Told {
    let mut issued = BTreeMap::new();
    let mut declared = Vec::new();
    for record in System::read_events_no_consensus() {
        match record.event {
            RuntimeEvent::VotingTokens(pallet_balances::Event::Minted { who, amount }) => {
                *issued.entry(who).or_default() += amount;
            }
            RuntimeEvent::Reputation(ReputationEvent::Declared { who, period }) => {
                let steps = Reputation::declaration(period, &who)
                    .expect("it is kept until its period is over");
                declared.push((who, period, steps));
            }
            _ => {}
        }
    }
    let validators: Vec<_> = names.iter().map(|name| account(name)).collect();
    let lead = MinerAuction::rules().bid_lead;
    let escrow = MinerAuction::escrow_account();
    Told {
        height,
        digest,
        output,
        seed: MinerAuction::beacon(height).expect("the block has advanced the beacon"),
        bids: MinerAuction::bids_for(Step(height.0 + lead)),
        issued,
        free: validators
            .iter()
            .map(|who| (who.clone(), VotingTokens::free_balance(who)))
            .collect(),
        escrow: VotingTokens::free_balance(&escrow),
        issuance: pallet_balances::TotalIssuance::<Runtime, pallet_balances::Instance2>::get(),
        declared,
        delivered: validators
            .iter()
            .filter_map(|who| {
                let delivery = MeteredDeliveries::delivery_of(who, height)?;
                Some((who.clone(), delivery))
            })
            .collect(),
        scores: validators
            .iter()
            .map(|who| (who.clone(), Reputation::reputation_info(who).delivery))
            .collect(),
    }
}
