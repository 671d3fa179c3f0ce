//! From a signed report to a reading.
//!
//! A report is checked and computed on a [`Draft`], a working copy of the little state it touches; only
//! when all reports of a call have passed is the draft written. A single report is a batch of one.

use alloc::{collections::BTreeMap, vec::Vec};
use codec::Encode;
use commonwatt_primitives::{
    Hash, MeterId, MeterKind, Quality, Role, Step, Wh,
    metering::MeterInfo,
    traits::{MarketClock, Meters, Registrar},
};
use frame_support::{
    ensure,
    traits::{Defensive as _, Get},
};
use sp_runtime::{
    DispatchResult,
    traits::{BlakeTwo256, Hash as _, Verify, Zero},
};

use crate::{
    math::{compute_energy_max, compute_pulse_energy},
    pallet::*,
    sequence::{DeviceState, SequenceError, WINDOW},
    types::{Measurement, Reading, ReadingSource, Report, Rules, bucket_of},
};

/// What the id of a lot is derived from, before meter and step.
pub const LOT_DOMAIN: &[u8] = b"commonwatt/lot/1";
/// What a consumption commitment is derived from, before its content.
pub const COMMITMENT_DOMAIN: &[u8] = b"commonwatt/consumption/1";
/// First item of what a device signs for a gateway.
pub const RELAY_DOMAIN: &str = "commonwatt/report/1";

/// Returns the id of a lot, the energy token of a meter in a step:
/// `BLAKE2b-256("commonwatt/lot/1" ‖ SCALE(meter, step))`.
///
/// The domain stands without a length. Whatever reports and corrections make of the lot's energy, the id
/// stays, so a kilowatt-hour can be traced through every trade.
pub fn compute_lot_id(meter: MeterId, step: Step) -> Hash {
    hash_of(LOT_DOMAIN, &(meter, step))
}

/// Returns the salted commitment to a consumption:
/// `BLAKE2b-256("commonwatt/consumption/1" ‖ SCALE(meter, step, energy, salt))`.
///
/// Without its 32 random bytes of salt a commitment hides nothing: the energies of a step are few enough
/// to try them all.
pub fn compute_commitment(meter: MeterId, step: Step, energy: Wh, salt: [u8; 32]) -> Hash {
    hash_of(COMMITMENT_DOMAIN, &(meter, step, energy, salt))
}

fn hash_of(domain: &[u8], content: &impl Encode) -> Hash {
    let mut bytes = domain.to_vec();
    content.encode_to(&mut bytes);
    BlakeTwo256::hash(&bytes)
}

/// Who reports, and for which meter.
struct Reporter<T: Config> {
    device: T::AccountId,
    meter: MeterId,
    info: MeterInfo<T::AccountId>,
}

/// A step as the reports of a call leave it.
struct StepDraft {
    before: Option<Reading>,
    reading: Option<Reading>,
    committed_before: bool,
    commitment: Option<Hash>,
}

/// The state that the reports of one call touch, as they leave it.
struct Draft<T: Config> {
    reporter: Reporter<T>,
    now: Step,
    rules: Rules,
    energy_max: Wh,
    state: Option<DeviceState>,
    steps: BTreeMap<Step, StepDraft>,
    changed: Option<ChangedStepsOf<T>>,
    events: Vec<Event<T>>,
}

impl<T: Config> Pallet<T> {
    /// Returns what a device signs so that a gateway can pass its report on: the SCALE encoding of
    /// `("commonwatt/report/1", genesis hash, device, sequence, report)`.
    pub fn relay_payload(device: &T::AccountId, sequence: u64, report: &Report) -> Vec<u8> {
        let genesis_hash = frame_system::Pallet::<T>::block_hash(
            frame_system::pallet_prelude::BlockNumberFor::<T>::zero(),
        );
        (RELAY_DOMAIN, genesis_hash, device, sequence, report).encode()
    }

    pub(crate) fn do_report(device: T::AccountId, sequence: u64, report: Report) -> DispatchResult {
        let mut draft = Draft::<T>::open(device)?;
        draft.apply(sequence, report)?;
        draft.write();
        Ok(())
    }

    pub(crate) fn do_report_batch(device: T::AccountId, reports: BatchOf<T>) -> DispatchResult {
        ensure!(!reports.is_empty(), Error::<T>::BatchEmpty);
        let mut draft = Draft::<T>::open(device)?;
        for (index, (sequence, report)) in (0u16..).zip(reports) {
            draft
                .apply(sequence, report)
                .map_err(|cause| Error::<T>::BatchReportRefused {
                    index,
                    // The first byte of an encoded error is its number.
                    cause: cause.encode().first().copied().unwrap_or(u8::MAX),
                })?;
        }
        draft.write();
        Ok(())
    }

    pub(crate) fn do_relay(
        gateway: T::AccountId,
        device: T::AccountId,
        sequence: u64,
        report: Report,
        signature: T::DeviceSignature,
    ) -> DispatchResult {
        ensure!(
            T::Registry::role_of(&gateway).is_some(),
            Error::<T>::NotRegistered
        );
        let mut draft = Draft::<T>::open(device)?;
        let payload = Self::relay_payload(&draft.reporter.device, sequence, &report);
        ensure!(
            signature.verify(payload.as_slice(), &draft.reporter.device),
            Error::<T>::DeviceSignatureInvalid
        );
        draft.apply(sequence, report)?;
        draft.write();
        Ok(())
    }

    /// Reveals a commitment, for the DSO when `by` is `None`.
    pub(crate) fn do_reveal_consumption(
        by: Option<T::AccountId>,
        meter: MeterId,
        step: Step,
        energy: Wh,
        salt: [u8; 32],
    ) -> DispatchResult {
        // Check.
        let now = T::Clock::current_step();
        let rules = Settings::<T>::get();
        let info = T::Registry::meter(meter).ok_or(Error::<T>::MeterUnknown)?;
        if let Some(by) = &by {
            ensure!(
                *by == info.owner || T::Registry::was_bound(by, meter, step),
                Error::<T>::NotOwnerOfConsumption
            );
            Self::verify_window_open(step, now, &rules)?;
        }
        Self::verify_kept(step, now, &rules)?;
        let commitment = Commitments::<T>::get(step, meter).ok_or(Error::<T>::NotCommitted)?;
        ensure!(
            Self::reading(meter, step).is_none(),
            Error::<T>::StepInClear
        );
        ensure!(
            compute_commitment(meter, step, energy, salt) == commitment,
            Error::<T>::CommitmentMismatch
        );
        let energy_max =
            compute_energy_max(info.capacity_w, T::Clock::metered_ms(), rules.tolerance);
        ensure!(energy <= energy_max, Error::<T>::BeyondCapacity);
        Self::verify_room(step)?;
        // Compute.
        let reading = Reading {
            energy,
            quality: Quality::Measured,
            version: 0,
            source: ReadingSource::Interval,
        };
        let changed = Self::compute_changed_steps(step, now)?;
        // Write.
        Self::put_reading(meter, step, None, reading);
        if let Some(changed) = changed {
            ChangedSteps::<T>::put(changed);
        }
        // Tell.
        Self::deposit_event(Event::ConsumptionRevealed {
            meter,
            step,
            energy,
        });
        Ok(())
    }

    /// Checks that a meter measured in `step`, which may be the current one or a past one.
    pub(crate) fn verify_in_service(
        info: &MeterInfo<T::AccountId>,
        step: Step,
        now: Step,
    ) -> Result<(), Error<T>> {
        ensure!(step > Step(0), Error::<T>::StepIsGenesis);
        ensure!(step <= now, Error::<T>::StepInFuture);
        ensure!(
            info.commissioned <= step,
            Error::<T>::StepBeforeCommissioning
        );
        ensure!(info.is_active_in(step), Error::<T>::StepAfterRetirement);
        Ok(())
    }

    /// Checks that the readings of `step` are still kept.
    pub(crate) fn verify_kept(step: Step, now: Step, rules: &Rules) -> Result<(), Error<T>> {
        ensure!(
            now.since(step) < rules.retention,
            Error::<T>::StepBeyondRetention
        );
        Ok(())
    }

    /// Checks that others than the DSO may still report `step`.
    ///
    /// Late steps don't count: after an outage the devices have as much time as ever.
    fn verify_window_open(step: Step, now: Step, rules: &Rules) -> Result<(), Error<T>> {
        ensure!(
            step >= now || T::Clock::on_time_steps_since(step) <= rules.correction_window,
            Error::<T>::CorrectionWindowClosed
        );
        Ok(())
    }

    /// Checks that `step` has room for the reading of one more meter.
    pub(crate) fn verify_room(step: Step) -> Result<(), Error<T>> {
        ensure!(
            ReadingIndexes::<T>::get(step).readings < T::MaxMeters::get(),
            Error::<T>::StepFull
        );
        Ok(())
    }

    /// Returns the changed steps with `step` among them; `None` when it is the current one, or there
    /// already, so that nothing is to be written.
    pub(crate) fn compute_changed_steps(
        step: Step,
        now: Step,
    ) -> Result<Option<ChangedStepsOf<T>>, Error<T>> {
        if step >= now {
            return Ok(None);
        }
        let mut changed = ChangedSteps::<T>::get();
        let is_new = changed
            .try_insert(step)
            .map_err(|_| Error::<T>::TooManyChangedSteps)?;
        Ok(is_new.then_some(changed))
    }

    /// Writes a reading, and counts it when the step had none of its meter; [`Self::verify_room`] goes first.
    pub(crate) fn put_reading(
        meter: MeterId,
        step: Step,
        before: Option<Reading>,
        reading: Reading,
    ) {
        let number = bucket_of(meter);
        let is_first = Readings::<T>::mutate(step, number, |bucket| {
            let is_first = bucket.0.is_empty();
            let _ = bucket
                .put(meter, reading)
                .defensive_proof("a bucket has room for all meters that belong there");
            is_first
        });
        if before.is_none() {
            ReadingIndexes::<T>::mutate(step, |index| {
                index.readings = index.readings.saturating_add(1);
                if is_first {
                    let _ = index.buckets.try_push(number).defensive_proof(
                        "the step has room: it was checked before the first write",
                    );
                }
            });
        }
    }
}

impl<T: Config> Reporter<T> {
    /// Finds the meter that a device speaks for.
    fn find(device: T::AccountId) -> Result<Self, Error<T>> {
        match T::Registry::role_of(&device) {
            Some(Role::Cryptometer) => {}
            Some(_) => return Err(Error::<T>::NotACryptometer),
            None => return Err(Error::<T>::NotRegistered),
        }
        let meter = T::Registry::meter_of_device(&device).ok_or(Error::<T>::DeviceNotBound)?;
        let info = T::Registry::meter(meter).ok_or(Error::<T>::MeterUnknown)?;
        Ok(Self {
            device,
            meter,
            info,
        })
    }
}

impl<T: Config> Draft<T> {
    /// Begins a draft with what all reports of a device share.
    fn open(device: T::AccountId) -> Result<Self, Error<T>> {
        let reporter = Reporter::<T>::find(device)?;
        let rules = Settings::<T>::get();
        Ok(Self {
            now: T::Clock::current_step(),
            energy_max: compute_energy_max(
                reporter.info.capacity_w,
                T::Clock::metered_ms(),
                rules.tolerance,
            ),
            state: Devices::<T>::get(&reporter.device),
            rules,
            reporter,
            steps: BTreeMap::new(),
            changed: None,
            events: Vec::new(),
        })
    }

    /// Checks a report against the draft and takes it in. A draft that refused one is not written.
    fn apply(&mut self, sequence: u64, report: Report) -> Result<(), Error<T>> {
        let Report {
            step,
            reading: measurement,
        } = report;
        self.verify_step(step)?;
        self.accept_sequence(sequence)?;
        self.load(step);
        match measurement {
            Measurement::Commitment(commitment) => self.commit(sequence, step, commitment),
            Measurement::Pulses(pulses) => {
                let added = self.take_pulses(pulses)?;
                self.increase(step, added)
                    .and_then(|reading| self.replace(sequence, step, reading))
            }
            Measurement::EnergyAdded(added) => {
                ensure!(!added.is_zero(), Error::<T>::NothingMeasured);
                self.increase(step, added)
                    .and_then(|reading| self.replace(sequence, step, reading))
            }
            Measurement::Interval {
                energy,
                version,
                quality,
            } => {
                let reading = Reading {
                    energy,
                    quality,
                    version,
                    source: ReadingSource::Interval,
                };
                self.verify_newer(step, &reading)?;
                self.replace(sequence, step, reading)
            }
        }
    }

    /// Checks that the device may speak of this step now.
    fn verify_step(&self, step: Step) -> Result<(), Error<T>> {
        let Reporter {
            device,
            meter,
            info,
        } = &self.reporter;
        Pallet::<T>::verify_in_service(info, step, self.now)?;
        ensure!(
            T::Registry::was_bound(device, *meter, step),
            Error::<T>::DeviceNotBoundInStep
        );
        Pallet::<T>::verify_window_open(step, self.now, &self.rules)?;
        Pallet::<T>::verify_kept(step, self.now, &self.rules)
    }

    fn accept_sequence(&mut self, sequence: u64) -> Result<(), Error<T>> {
        let highest = self.state.as_ref().map(|state| state.highest);
        let accepted = match &mut self.state {
            Some(state) => state.accept(sequence),
            None => DeviceState::first(sequence).map(|first| self.state = Some(first)),
        };
        accepted.map_err(|error| match error {
            SequenceError::Replayed => Error::<T>::SequenceReplayed,
            SequenceError::TooOld => Error::<T>::SequenceTooOld,
            SequenceError::Exhausted => Error::<T>::SequenceExhausted,
        })?;
        if let Some(from) = highest
            && sequence.saturating_sub(from) > u64::from(WINDOW) + 1
        {
            let device = self.reporter.device.clone();
            self.events.push(Event::SequenceJumped {
                device,
                from,
                to: sequence,
            });
        }
        Ok(())
    }

    /// Takes up what is known of a step when the first report of it comes.
    fn load(&mut self, step: Step) {
        let meter = self.reporter.meter;
        let may_hide = self.reporter.info.kind == MeterKind::Consumption;
        self.steps.entry(step).or_insert_with(|| {
            let before = Pallet::<T>::reading(meter, step);
            StepDraft {
                before,
                reading: before,
                // Where there is a reading, a commitment does not matter any more.
                committed_before: may_hide
                    && before.is_none()
                    && Commitments::<T>::contains_key(step, meter),
                commitment: None,
            }
        });
    }

    fn reading(&self, step: Step) -> Option<Reading> {
        self.steps.get(&step).and_then(|draft| draft.reading)
    }

    /// Turns pulses into energy, taking up the carry of the device and leaving the rest as the next.
    fn take_pulses(&mut self, pulses: u32) -> Result<Wh, Error<T>> {
        ensure!(pulses > 0, Error::<T>::NothingMeasured);
        let carry = self.state.as_ref().map_or(0, |state| state.pulse_carry);
        let (energy, rest) = compute_pulse_energy(pulses, carry, self.reporter.info.pulses_per_kwh)
            .ok_or(Error::<T>::PulseConstantZero)?;
        if let Some(state) = &mut self.state {
            state.pulse_carry = rest;
        }
        Ok(energy)
    }

    /// Returns the step's reading with `added` on top.
    fn increase(&self, step: Step, added: Wh) -> Result<Reading, Error<T>> {
        let energy = match self.reading(step) {
            Some(reading) if reading.source != ReadingSource::Increments => {
                return Err(Error::<T>::IncrementAfterWhole);
            }
            Some(reading) => reading
                .energy
                .checked_add(added)
                .ok_or(Error::<T>::EnergyOverflow)?,
            None => added,
        };
        Ok(Reading {
            energy,
            quality: Quality::Measured,
            version: 0,
            source: ReadingSource::Increments,
        })
    }

    /// Checks that an interval may replace what is known of its step.
    ///
    /// Among intervals a newer version of equal or better quality does. Over a correction of the DSO,
    /// who had a reason for it, only a better quality does, so that what was measured still replaces
    /// what the DSO put into a gap; versions say nothing there, since the DSO does not count the device's.
    fn verify_newer(&self, step: Step, reading: &Reading) -> Result<(), Error<T>> {
        let Some(known) = self.reading(step) else {
            return Ok(());
        };
        ensure!(
            reading.quality.may_replace(known.quality),
            Error::<T>::QualityWorse
        );
        match known.source {
            ReadingSource::Increments => {}
            ReadingSource::Interval => {
                ensure!(reading.version > known.version, Error::<T>::VersionNotNewer);
            }
            ReadingSource::Correction => {
                ensure!(reading.quality < known.quality, Error::<T>::CorrectedByDso);
            }
        }
        Ok(())
    }

    /// Puts a reading in the place of what is known of its step.
    fn replace(&mut self, sequence: u64, step: Step, reading: Reading) -> Result<(), Error<T>> {
        ensure!(
            reading.energy <= self.energy_max,
            Error::<T>::BeyondCapacity
        );
        let Some(draft) = self.steps.get_mut(&step) else {
            return Ok(());
        };
        ensure!(
            draft.reading.is_some() || !(draft.committed_before || draft.commitment.is_some()),
            Error::<T>::StepCommitted
        );
        if draft.reading.is_none() {
            Pallet::<T>::verify_room(step)?;
        }
        let from = draft.reading.map(|known| known.energy);
        draft.reading = Some(reading);
        if step < self.now && from != Some(reading.energy) {
            self.mark_changed(step)?;
        }
        self.tell_reading(sequence, step, from, reading.energy);
        Ok(())
    }

    /// Takes in a commitment in the place of a reading.
    fn commit(&mut self, sequence: u64, step: Step, commitment: Hash) -> Result<(), Error<T>> {
        let Reporter {
            device,
            meter,
            info,
        } = &self.reporter;
        ensure!(
            info.kind == MeterKind::Consumption,
            Error::<T>::CommitmentNotForConsumption
        );
        let Some(draft) = self.steps.get_mut(&step) else {
            return Ok(());
        };
        ensure!(draft.reading.is_none(), Error::<T>::StepInClear);
        ensure!(
            !draft.committed_before && draft.commitment.is_none(),
            Error::<T>::StepCommitted
        );
        let committers = CommittersOfStep::<T>::decode_len(step).unwrap_or_default();
        ensure!(
            u32::try_from(committers).is_ok_and(|count| count < T::MaxMeters::get()),
            Error::<T>::StepFull
        );
        draft.commitment = Some(commitment);
        self.events.push(Event::ConsumptionCommitted {
            meter: *meter,
            device: device.clone(),
            step,
            sequence,
            commitment,
        });
        Ok(())
    }

    fn mark_changed(&mut self, step: Step) -> Result<(), Error<T>> {
        let changed = self.changed.get_or_insert_with(ChangedSteps::<T>::get);
        changed
            .try_insert(step)
            .map_err(|_| Error::<T>::TooManyChangedSteps)?;
        Ok(())
    }

    fn tell_reading(&mut self, sequence: u64, step: Step, from: Option<Wh>, energy: Wh) {
        let meter = self.reporter.meter;
        let device = self.reporter.device.clone();
        self.events.push(if step < self.now {
            let cause = CorrectionCause::LateReport { device, sequence };
            Event::ReadingCorrected {
                meter,
                step,
                from,
                to: energy,
                cause,
            }
        } else if self.reporter.info.kind.is_generation() {
            Event::GenerationReported {
                meter,
                device,
                step,
                sequence,
                energy,
            }
        } else {
            Event::ConsumptionReported {
                meter,
                device,
                step,
                sequence,
                energy,
            }
        });
    }

    /// Writes the draft and tells what happened. Nothing here can fail.
    fn write(self) {
        let Reporter { device, meter, .. } = self.reporter;
        // Write.
        if let Some(state) = self.state {
            Devices::<T>::insert(device, state);
        }
        for (step, draft) in self.steps {
            if let Some(reading) = draft.reading {
                Pallet::<T>::put_reading(meter, step, draft.before, reading);
            }
            if let Some(commitment) = draft.commitment {
                Commitments::<T>::insert(step, meter, commitment);
                let _ = CommittersOfStep::<T>::try_append(step, meter)
                    .defensive_proof("the step has room: it was checked before the first write");
            }
        }
        if let Some(changed) = self.changed {
            ChangedSteps::<T>::put(changed);
        }
        // Tell.
        for event in self.events {
            Pallet::<T>::deposit_event(event);
        }
    }
}
