//! Runtime APIs beyond Substrate's own: what a member, an auditor and a wallet ask about energy.

use commonwatt_primitives::{
    AccountId, MeterId, Role, Step, StepTiming, keys::SessionKeys, metering::MeterInfo,
};
use pallet_energy_token::Reading;
use pallet_virtual_meter::{AgreementInfo, StepSummary, Trace, VgmEntry};

sp_api::decl_runtime_apis! {
    /// Steps, readings and where the energy went.
    pub trait EnergyApi {
        /// Returns when steps close.
        fn timing() -> StepTiming;

        /// Returns a step in figures; `None` when its detail is not kept.
        fn step_summary(step: Step) -> Option<StepSummary>;

        /// Returns every virtual generation meter of a step, by account.
        fn allocations(step: Step) -> Vec<(AccountId, VgmEntry)>;

        /// Returns from which generators a member's energy of a step came.
        fn trace(step: Step, member: AccountId) -> Option<Trace<AccountId>>;

        /// Returns the reading of a meter in a step.
        fn reading(meter: MeterId, step: Step) -> Option<Reading>;

        /// Returns the agreement in force in a step.
        fn agreement_at(step: Step) -> Option<AgreementInfo<AccountId>>;
    }

    /// Who is who.
    pub trait RegistryApi {
        /// Returns what an account may do; `None` when it is not registered.
        fn role_of(who: AccountId) -> Option<Role>;

        /// Returns the meter a device speaks for.
        fn meter_of_device(device: AccountId) -> Option<MeterId>;

        /// Returns what is known about a meter.
        fn meter(meter: MeterId) -> Option<MeterInfo<AccountId>>;

        /// Returns the validators with their keys, by account.
        fn validators() -> Vec<(AccountId, SessionKeys)>;
    }
}
