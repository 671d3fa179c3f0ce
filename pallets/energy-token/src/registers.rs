//! Comparison of what was credited with the meters' own registers.
//!
//! A meter's register and its pulses come from one measurement, so what was credited on the chain should
//! equal what the register counted; up to the meter's maximum permissible error a difference is accepted
//! (the design paper, 3.1), beyond it the meter is flagged. Nothing is corrected by itself.

use commonwatt_primitives::{
    MeterId, MeterKind, Step, Wh,
    metering::MeterInfo,
    traits::{MarketClock, Meters},
};
use frame_support::{dispatch::DispatchResultWithPostInfo, ensure, traits::Get};

use crate::{
    math::{compute_permissible_error, compute_rolled_over},
    pallet::*,
    types::{Conditions, Flag, RegisterReading},
    weights::WeightInfo,
};

/// What was credited between two register readings.
struct Credited {
    energy: Wh,
    committed_steps: u32,
}

/// A meter and its last register reading.
type Found<T> = (
    MeterInfo<<T as frame_system::Config>::AccountId>,
    Option<RegisterReading>,
);

/// The outcome of a comparison.
struct Comparison {
    credited: Credited,
    metered: Wh,
    tolerance: Wh,
    steps: u32,
}

impl<T: Config> Pallet<T> {
    pub(crate) fn do_report_register(
        meter: MeterId,
        step: Step,
        register: Wh,
        conditions: Conditions,
    ) -> DispatchResultWithPostInfo {
        // Check.
        let (info, last) = Self::find_register(meter, step)?;
        let Some(last) = last else {
            return Ok(Self::start_register(
                meter,
                RegisterReading { step, register },
            ));
        };
        // Compute.
        let metered = register
            .checked_sub(last.register)
            .ok_or(Error::<T>::RegisterRanBackwards)?;
        let comparison = Self::compute_comparison(meter, &info, last, step, metered, conditions)?;
        // Write.
        Ok(Self::settle_register(
            meter,
            RegisterReading { step, register },
            comparison,
        ))
    }

    pub(crate) fn do_roll_over_register(
        meter: MeterId,
        step: Step,
        register: Wh,
        modulus: Wh,
        conditions: Conditions,
    ) -> DispatchResultWithPostInfo {
        // Check.
        let (info, last) = Self::find_register(meter, step)?;
        let last = last.ok_or(Error::<T>::RegisterUnknown)?;
        // Compute.
        let metered = compute_rolled_over(last.register, register, modulus)
            .ok_or(Error::<T>::RegisterDidNotRollOver)?;
        let comparison = Self::compute_comparison(meter, &info, last, step, metered, conditions)?;
        // Write.
        Ok(Self::settle_register(
            meter,
            RegisterReading { step, register },
            comparison,
        ))
    }

    pub(crate) fn do_replace_register(
        meter: MeterId,
        step: Step,
        last_shown: Option<Wh>,
        first: Wh,
        conditions: Conditions,
    ) -> DispatchResultWithPostInfo {
        // Check.
        let (info, last) = Self::find_register(meter, step)?;
        let Some(last_shown) = last_shown else {
            return Ok(Self::start_register(
                meter,
                RegisterReading {
                    step,
                    register: first,
                },
            ));
        };
        let last = last.ok_or(Error::<T>::RegisterUnknown)?;
        // Compute.
        let metered = last_shown
            .checked_sub(last.register)
            .ok_or(Error::<T>::RegisterRanBackwards)?;
        let comparison = Self::compute_comparison(meter, &info, last, step, metered, conditions)?;
        // Write.
        Ok(Self::settle_register(
            meter,
            RegisterReading {
                step,
                register: first,
            },
            comparison,
        ))
    }

    /// Finds the meter and its last register reading, and checks that a reading at the end of `step`
    /// comes after it and after the step's own readings.
    fn find_register(meter: MeterId, step: Step) -> Result<Found<T>, Error<T>> {
        let info = T::Registry::meter(meter).ok_or(Error::<T>::MeterUnknown)?;
        ensure!(
            step < T::Clock::current_step(),
            Error::<T>::RegisterStepOpen
        );
        let last = Registers::<T>::get(meter);
        ensure!(
            last.is_none_or(|last| last.step < step),
            Error::<T>::RegisterStepNotNewer
        );
        Ok((info, last))
    }

    /// Compares what a register counted since `last` with what was credited since then.
    fn compute_comparison(
        meter: MeterId,
        info: &MeterInfo<T::AccountId>,
        last: RegisterReading,
        step: Step,
        metered: Wh,
        conditions: Conditions,
    ) -> Result<Comparison, Error<T>> {
        let rules = Settings::<T>::get();
        let steps = step.since(last.step);
        ensure!(
            steps <= T::RegisterIntervalMax::get(),
            Error::<T>::RegisterIntervalTooLong
        );
        // The earliest step compared is the one after the last register reading.
        let earliest = Step(last.step.0.saturating_add(1));
        Self::verify_kept(earliest, T::Clock::current_step(), &rules)
            .map_err(|_| Error::<T>::RegisterIntervalTooLong)?;
        // A device could report what it lacks after the comparison, and nothing would compare it again.
        ensure!(
            T::Clock::on_time_steps_since(step) > rules.correction_window,
            Error::<T>::RegisterStepCorrectable
        );
        let credited = Self::compute_credited(meter, info.kind, earliest, step)?;
        let error = MpeTableOf::<T>::get().error_of(info.class, conditions);
        let tolerance = compute_permissible_error(metered, error, info.pulses_per_kwh);
        Ok(Comparison {
            credited,
            metered,
            tolerance,
            steps,
        })
    }

    /// Sums the readings of a meter from `first` to `last`, both included.
    fn compute_credited(
        meter: MeterId,
        kind: MeterKind,
        first: Step,
        last: Step,
    ) -> Result<Credited, Error<T>> {
        let mut credited = Credited {
            energy: Wh::ZERO,
            committed_steps: 0,
        };
        for step in (first.0..=last.0).map(Step) {
            match Self::reading(meter, step) {
                Some(reading) => {
                    credited.energy = credited
                        .energy
                        .checked_add(reading.energy)
                        .ok_or(Error::<T>::EnergyOverflow)?;
                }
                None if kind == MeterKind::Consumption
                    && Commitments::<T>::contains_key(step, meter) =>
                {
                    credited.committed_steps = credited.committed_steps.saturating_add(1);
                }
                None => {}
            }
        }
        Ok(credited)
    }

    /// Takes a register reading as the beginning of the next comparison.
    fn start_register(
        meter: MeterId,
        reading: RegisterReading,
    ) -> frame_support::dispatch::PostDispatchInfo {
        // Write.
        Registers::<T>::insert(meter, reading);
        // Tell.
        let RegisterReading { step, register } = reading;
        Self::deposit_event(Event::RegisterStarted {
            meter,
            step,
            register,
        });
        Some(T::WeightInfo::compare_register(0)).into()
    }

    /// Keeps a register reading and tells how its comparison went.
    fn settle_register(
        meter: MeterId,
        reading: RegisterReading,
        comparison: Comparison,
    ) -> frame_support::dispatch::PostDispatchInfo {
        let Comparison {
            credited,
            metered,
            tolerance,
            steps,
        } = comparison;
        let Credited {
            energy: credited,
            committed_steps,
        } = credited;
        let step = reading.step;
        let is_comparable = committed_steps == 0;
        // What is committed can only add to what was credited: too much is too much without it.
        let is_flagged = credited.0 > metered.0.saturating_add(tolerance.0)
            || (is_comparable && credited.0.abs_diff(metered.0) > tolerance.0);
        // Write.
        Registers::<T>::insert(meter, reading);
        if is_flagged {
            FlaggedMeters::<T>::insert(
                meter,
                Flag {
                    step,
                    credited,
                    metered,
                },
            );
        }
        // Tell.
        Self::deposit_event(if is_comparable {
            Event::RegisterCompared {
                meter,
                step,
                credited,
                metered,
                tolerance,
            }
        } else {
            Event::RegisterIncomparable {
                meter,
                step,
                committed_steps,
            }
        });
        if is_flagged {
            Self::deposit_event(Event::MeterFlagged { meter, step });
        }
        Some(T::WeightInfo::compare_register(steps)).into()
    }
}
