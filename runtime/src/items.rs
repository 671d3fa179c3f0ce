//! What transactions bring that authors must neither leave out nor slip in, until when it is taken, and how urgent it is
//! (PROTOCOL 7).
//!
//! Asked by nodes, for their pools and for judging blocks; the chain itself never does. A call may hold others, and what
//! counts is what is carried out in the end: who wraps a bid may neither bid after the gate nor have it left out.

use std::collections::BTreeMap;

use commonwatt_primitives::{Step, StepTiming};
use pallet_double_auction::Call as MarketCall;
use pallet_energy_token::Call as EnergyCall;
use pallet_miner_auction::Call as AuctionCall;
use pallet_multisig::Call as MultisigCall;
use pallet_proxy::Call as ProxyCall;
use pallet_utility::Call as UtilityCall;
use sp_runtime::generic::Preamble;

use crate::{AccountId, Address, RuntimeCall, UncheckedExtrinsic};

/// Wrappers through which a single call keeps its urgency: a proxy of a multisig's batch takes three. More would let a short
/// call that goes first be made a long one.
const WRAPPERS_MAX: u32 = 4;

/// What authors must neither leave out nor slip in; what is taken for the shortest time comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ItemKind {
    /// A bid for a height to come.
    Bid,
    /// An order of the market, another one in its place, or its end.
    Order,
    /// Proof that a validator contradicted itself.
    Evidence,
    /// A cryptometer's report.
    Reading,
}

impl ItemKind {
    /// Returns until when an item is taken in a step: bids and orders until its gate closes, the others until the block.
    pub fn closes_at_ms(self, timing: &StepTiming, step: Step) -> u64 {
        match self {
            Self::Bid | Self::Order => timing
                .closes_at_ms(step)
                .saturating_sub(timing.gate_close_ms),
            Self::Evidence | Self::Reading => timing.settles_at_ms(step),
        }
    }

    /// Returns how urgent it is.
    pub fn urgency(self) -> Urgency {
        match self {
            Self::Evidence | Self::Bid => Urgency::EvidenceAndBids,
            Self::Reading => Urgency::Readings,
            Self::Order => Urgency::Rest,
        }
    }

    /// Returns what a call is by itself; `None` for what no deadline is set for.
    fn of(call: &RuntimeCall) -> Option<Self> {
        match call {
            RuntimeCall::EnergyToken(
                EnergyCall::report { .. }
                | EnergyCall::report_batch { .. }
                | EnergyCall::relay { .. },
            ) => Some(Self::Reading),
            RuntimeCall::DoubleAuction(
                MarketCall::place { .. } | MarketCall::replace { .. } | MarketCall::cancel { .. },
            ) => Some(Self::Order),
            RuntimeCall::MinerAuction(AuctionCall::bid { .. }) => Some(Self::Bid),
            RuntimeCall::MinerAuction(AuctionCall::report_equivocation { .. }) => {
                Some(Self::Evidence)
            }
            _ => None,
        }
    }
}

/// In which order blocks are built, the most urgent first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Urgency {
    /// Evidence and bids.
    EvidenceAndBids,
    /// Readings.
    Readings,
    /// Everything else.
    Rest,
}

impl Urgency {
    /// All of them, in their order.
    pub const ALL: [Self; 3] = [Self::EvidenceAndBids, Self::Readings, Self::Rest];
}

/// What a call brings, itself or in the calls it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Contents {
    /// Of all it brings, what is taken for the shortest time; `None` when no deadline is set for any of it.
    pub item: Option<ItemKind>,
    /// How urgent it is. Several calls in one are not, whatever they are: else a bid would draw a block full of anything to
    /// the front.
    pub urgency: Urgency,
}

impl Contents {
    /// Returns what a call brings, through utility, proxies and multisigs. A call that still needs the approval of others
    /// counts as if it had it. What the council carries out is left aside: nothing that has a deadline takes its origin.
    pub fn of(call: &RuntimeCall) -> Self {
        Self {
            item: earliest_of(call),
            urgency: urgency_of(call),
        }
    }
}

/// Returns what is taken for the shortest time among a call and all it holds. As much work as decoding it was, and no
/// recursion, however deep it is.
fn earliest_of(call: &RuntimeCall) -> Option<ItemKind> {
    let mut earliest = None;
    let mut open = vec![call];
    while let Some(call) = open.pop() {
        let found = ItemKind::of(call).into_iter();
        earliest = found.chain(earliest).min();
        open.extend(inner_calls(call));
    }
    earliest
}

fn urgency_of(call: &RuntimeCall) -> Urgency {
    let mut call = call;
    for _ in 0..=WRAPPERS_MAX {
        match inner_calls(call)[..] {
            [] => return ItemKind::of(call).map_or(Urgency::Rest, ItemKind::urgency),
            [inner] => call = inner,
            _ => return Urgency::Rest,
        }
    }
    Urgency::Rest
}

/// Returns the calls that a call holds, one level down.
fn inner_calls(call: &RuntimeCall) -> Vec<&RuntimeCall> {
    match call {
        RuntimeCall::Utility(
            UtilityCall::batch { calls }
            | UtilityCall::batch_all { calls }
            | UtilityCall::force_batch { calls },
        ) => calls.iter().collect(),
        RuntimeCall::Utility(UtilityCall::if_else { main, fallback }) => vec![main, fallback],
        RuntimeCall::Utility(
            UtilityCall::as_derivative { call, .. }
            | UtilityCall::dispatch_as { call, .. }
            | UtilityCall::dispatch_as_fallible { call, .. }
            | UtilityCall::with_weight { call, .. },
        )
        | RuntimeCall::Proxy(
            ProxyCall::proxy { call, .. } | ProxyCall::proxy_announced { call, .. },
        )
        | RuntimeCall::Multisig(
            MultisigCall::as_multi_threshold_1 { call, .. } | MultisigCall::as_multi { call, .. },
        ) => vec![call],
        _ => Vec::new(),
    }
}

/// Finds out when it is the turn of transactions that are shown to it in their order.
///
/// An account's transactions depend on those before, so none is more urgent than they are: the pool gives it out after
/// them.
#[derive(Debug, Default)]
pub struct Turns(BTreeMap<AccountId, Urgency>);

impl Turns {
    /// Returns when it is the turn of the next transaction.
    pub fn turn_of(&mut self, extrinsic: &UncheckedExtrinsic) -> Urgency {
        let own = Contents::of(&extrinsic.function).urgency;
        match &extrinsic.preamble {
            Preamble::Signed(Address::Id(who), ..) => {
                let turn = self.0.entry(who.clone()).or_insert(own);
                *turn = own.max(*turn);
                *turn
            }
            // What nobody signs is a block's inherents, which come before everything, and evidence.
            Preamble::Bare(_) => Urgency::EvidenceAndBids,
            _ => own,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        configs::ProxyType,
        example::{account, pair},
        transaction::{SigningContext, sign_with},
    };
    use commonwatt_primitives::{Hash, Wh};
    use frame_support::weights::Weight;
    use pallet_double_auction::OrderId;
    use pallet_energy_token::{Measurement, Report};
    use sp_core::Pair;

    fn bid() -> RuntimeCall {
        AuctionCall::bid {
            height: Step(9),
            amount: 1,
        }
        .into()
    }

    fn order() -> RuntimeCall {
        let id = OrderId {
            step: Step(1),
            number: 7,
        };
        MarketCall::cancel { id }.into()
    }

    fn reading() -> RuntimeCall {
        let report = Report {
            step: Step(1),
            reading: Measurement::EnergyAdded(Wh(1)),
        };
        EnergyCall::report {
            sequence: 1,
            report,
        }
        .into()
    }

    fn remark() -> RuntimeCall {
        frame_system::Call::remark { remark: vec![1] }.into()
    }

    fn batch(calls: Vec<RuntimeCall>) -> RuntimeCall {
        UtilityCall::batch { calls }.into()
    }

    fn proxied(call: RuntimeCall) -> RuntimeCall {
        ProxyCall::proxy {
            real: account("X").into(),
            force_proxy_type: None,
            call: Box::new(call),
        }
        .into()
    }

    /// Returns a call in each wrapper that holds one call.
    fn wrapped(call: &RuntimeCall) -> Vec<RuntimeCall> {
        let inner = || Box::new(call.clone());
        let as_origin =
            || Box::new(frame_system::RawOrigin::<AccountId>::Signed(account("X")).into());
        vec![
            batch(vec![call.clone()]),
            UtilityCall::batch_all {
                calls: vec![call.clone()],
            }
            .into(),
            UtilityCall::force_batch {
                calls: vec![call.clone()],
            }
            .into(),
            UtilityCall::as_derivative {
                index: 0,
                call: inner(),
            }
            .into(),
            UtilityCall::dispatch_as {
                as_origin: as_origin(),
                call: inner(),
            }
            .into(),
            UtilityCall::dispatch_as_fallible {
                as_origin: as_origin(),
                call: inner(),
            }
            .into(),
            UtilityCall::with_weight {
                call: inner(),
                weight: Weight::zero(),
            }
            .into(),
            proxied(call.clone()),
            ProxyCall::proxy_announced {
                delegate: account("Y").into(),
                real: account("X").into(),
                force_proxy_type: Some(ProxyType::Any),
                call: inner(),
            }
            .into(),
            MultisigCall::as_multi_threshold_1 {
                other_signatories: vec![account("Y")],
                call: inner(),
            }
            .into(),
            MultisigCall::as_multi {
                threshold: 2,
                other_signatories: vec![account("Y")],
                maybe_timepoint: None,
                call: inner(),
                max_weight: Weight::zero(),
            }
            .into(),
        ]
    }

    fn contents(item: Option<ItemKind>, urgency: Urgency) -> Contents {
        Contents { item, urgency }
    }

    #[test]
    fn a_wrapped_call_is_what_it_wraps() {
        for (call, item, urgency) in [
            (bid(), Some(ItemKind::Bid), Urgency::EvidenceAndBids),
            (reading(), Some(ItemKind::Reading), Urgency::Readings),
            (order(), Some(ItemKind::Order), Urgency::Rest),
            (remark(), None, Urgency::Rest),
        ] {
            let expected = contents(item, urgency);
            assert_eq!(Contents::of(&call), expected, "{call:?}");
            for once in wrapped(&call) {
                assert_eq!(Contents::of(&once), expected, "{once:?}");
                for twice in wrapped(&once) {
                    assert_eq!(Contents::of(&twice), expected, "{twice:?}");
                }
            }
        }
    }

    #[test]
    fn several_calls_in_one_have_the_earliest_deadline_and_no_urgency() {
        let late_bid = contents(Some(ItemKind::Bid), Urgency::Rest);
        let either = UtilityCall::if_else {
            main: Box::new(remark()),
            fallback: Box::new(bid()),
        };
        for call in [
            batch(vec![reading(), order(), bid(), remark()]),
            batch(vec![batch(vec![remark(), proxied(bid())]), remark()]),
            proxied(batch(vec![bid(), bid()])),
            either.into(),
        ] {
            assert_eq!(Contents::of(&call), late_bid, "{call:?}");
        }
        let orders = batch(vec![order(), reading()]);
        let expected = contents(Some(ItemKind::Order), Urgency::Rest);
        assert_eq!(Contents::of(&orders), expected);
        let empty = contents(None, Urgency::Rest);
        assert_eq!(Contents::of(&batch(Vec::new())), empty);
    }

    #[test]
    fn depth_takes_the_urgency_of_a_bid_and_never_its_deadline() {
        let nest = |levels| (0..levels).fold(bid(), |call, _| proxied(call));
        for (levels, urgency) in [
            (WRAPPERS_MAX, Urgency::EvidenceAndBids),
            (WRAPPERS_MAX + 1, Urgency::Rest),
            (200, Urgency::Rest),
        ] {
            let expected = contents(Some(ItemKind::Bid), urgency);
            assert_eq!(Contents::of(&nest(levels)), expected, "{levels}");
        }
    }

    #[test]
    fn nobody_is_more_urgent_than_what_went_before() {
        let mut turns = Turns::default();
        let mut turn_of = |call, by| {
            let context = SigningContext::immortal(Hash::zero());
            let key = pair(by);
            turns.turn_of(&sign_with(call, 0, 0, &context, account(by), |payload| {
                key.sign(payload).into()
            }))
        };
        assert_eq!(turn_of(bid(), "X"), Urgency::EvidenceAndBids);
        assert_eq!(turn_of(reading(), "X"), Urgency::Readings);
        assert_eq!(turn_of(bid(), "X"), Urgency::Readings);
        assert_eq!(turn_of(remark(), "X"), Urgency::Rest);
        assert_eq!(turn_of(reading(), "X"), Urgency::Rest);
        assert_eq!(turn_of(bid(), "Y"), Urgency::EvidenceAndBids);
        let inherent = UncheckedExtrinsic::new_bare(remark());
        assert_eq!(turns.turn_of(&inherent), Urgency::EvidenceAndBids);
    }
}
