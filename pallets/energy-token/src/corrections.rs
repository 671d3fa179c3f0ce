//! Corrections by the DSO.

use commonwatt_primitives::{
    MeterId, Quality, Step, Wh,
    traits::{MarketClock, Meters},
};
use frame_support::ensure;
use sp_runtime::DispatchResult;

use crate::{
    math::compute_energy_max,
    pallet::*,
    types::{Reading, ReadingSource},
};

impl<T: Config> Pallet<T> {
    pub(crate) fn do_correct_reading(
        meter: MeterId,
        step: Step,
        energy: Wh,
        quality: Quality,
        reason: ReasonOf<T>,
    ) -> DispatchResult {
        // Check.
        ensure!(!reason.is_empty(), Error::<T>::ReasonEmpty);
        let now = T::Clock::current_step();
        let rules = Settings::<T>::get();
        let info = T::Registry::meter(meter).ok_or(Error::<T>::MeterUnknown)?;
        Self::verify_in_service(&info, step, now)?;
        Self::verify_kept(step, now, &rules)?;
        let energy_max =
            compute_energy_max(info.capacity_w, T::Clock::metered_ms(), rules.tolerance);
        ensure!(energy <= energy_max, Error::<T>::BeyondCapacity);
        let before = Self::reading(meter, step);
        match before {
            Some(known) => ensure!(quality.may_replace(known.quality), Error::<T>::QualityWorse),
            None => Self::verify_room(step)?,
        }
        // Compute.
        let from = before.map(|known| known.energy);
        let reading = Reading {
            energy,
            quality,
            // A device that counted its versions to the end cannot keep the DSO from correcting it.
            version: before.map_or(0, |known| known.version.saturating_add(1)),
            source: ReadingSource::Correction,
        };
        let changed = match from {
            Some(from) if from == energy => None,
            _ => Self::compute_changed_steps(step, now)?,
        };
        // Write.
        Self::put_reading(meter, step, before, reading);
        if let Some(changed) = changed {
            ChangedSteps::<T>::put(changed);
        }
        // Tell.
        let cause = CorrectionCause::Dso { reason };
        Self::deposit_event(Event::ReadingCorrected {
            meter,
            step,
            from,
            to: energy,
            cause,
        });
        Ok(())
    }
}
