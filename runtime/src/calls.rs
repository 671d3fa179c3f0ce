//! Which calls may be made at all, and which must wait.

use frame_support::traits::Contains;

use crate::RuntimeCall;

/// Refuses calls that no origin may make.
///
/// - A new runtime is a new binary, chosen by the on-chain marker: setting code would need wasm.
/// - Nobody writes raw storage: every number has a pallet that answers for it.
/// - Voting tokens move only by bids (PROTOCOL 5).
pub struct CallFilter;

impl Contains<RuntimeCall> for CallFilter {
    fn contains(call: &RuntimeCall) -> bool {
        use frame_system::Call;
        match call {
            RuntimeCall::VotingTokens(_) => false,
            RuntimeCall::System(call) => !matches!(
                call,
                Call::set_code { .. }
                    | Call::set_code_without_checks { .. }
                    | Call::authorize_upgrade { .. }
                    | Call::authorize_upgrade_without_checks { .. }
                    | Call::apply_authorized_upgrade { .. }
                    | Call::set_heap_pages { .. }
                    | Call::set_storage { .. }
                    | Call::kill_storage { .. }
                    | Call::kill_prefix { .. }
            ),
            _ => true,
        }
    }
}

/// Lets what speaks of a step to come wait in the pool instead of failing in a block: a reading of one that
/// has not closed, a bid whose gates are not open yet.
pub struct StepGate;

impl pallet_quota::CallGate<RuntimeCall> for StepGate {
    fn is_premature(call: &RuntimeCall) -> bool {
        match call {
            RuntimeCall::EnergyToken(call) => crate::EnergyToken::is_premature(call),
            RuntimeCall::MinerAuction(call) => crate::MinerAuction::is_premature(call),
            _ => false,
        }
    }

    fn is_metering(call: &RuntimeCall) -> bool {
        use pallet_energy_token::Call;
        matches!(
            call,
            RuntimeCall::EnergyToken(
                Call::report { .. } | Call::report_batch { .. } | Call::relay { .. }
            )
        )
    }
}
