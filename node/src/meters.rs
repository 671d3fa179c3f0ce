//! The demo community's cryptometers: clients that sign what they measured and submit it over JSON-RPC.

use std::{sync::Arc, time::Duration};

use anyhow::{Context, Result, anyhow};
use commonwatt_community_data::{
    Community, DEMO_START_STEP, DEMO_STEPS, StepReadings, demo_readings,
};
use commonwatt_primitives::{MeterId, Quality, Step, StepTiming, Wh};
use commonwatt_runtime::{
    Hash, RuntimeCall,
    transaction::{SigningContext, sign_ed25519},
};
use jsonrpsee::{
    core::client::{ClientT, Error as ClientError},
    rpc_params,
};
use jsonrpsee_ws_client::{WsClient, WsClientBuilder};
use pallet_energy_token::{Call, Measurement, Report};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Value;

use crate::{
    community::{Device, Measures, devices},
    stop::{Stop, now_ms},
};

/// How long a request may take before the meter gives up on it.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

/// Returns the row of the demo data that a step of the chain plays; the week repeats.
pub fn demo_row(step: Step) -> u32 {
    DEMO_START_STEP.wrapping_add(step.0.saturating_sub(1)) % DEMO_STEPS
}

/// Returns the whole demo week.
pub fn demo_week(community: &Community) -> Result<Arc<[StepReadings]>> {
    let week = demo_readings(community)?.collect::<Result<Vec<_>, _>>()?;
    Ok(week.into())
}

/// Returns the report of a device for a step: its meter's interval.
pub fn interval_call(device: &Device, step: Step, readings: &StepReadings) -> RuntimeCall {
    let energy = match device.measures {
        Measures::Load => readings.load_wh.get(device.participant).copied(),
        Measures::Generation => readings
            .pv_wh
            .iter()
            .find(|(participant, _)| *participant == device.participant)
            .map(|(_, energy)| *energy),
    };
    let reading = Measurement::Interval {
        energy: Wh(energy.unwrap_or_default()),
        version: 1,
        quality: Quality::Measured,
    };
    // A device reports each step once, so the step's number serves as sequence.
    let sequence = u64::from(step.0);
    RuntimeCall::EnergyToken(Call::report {
        sequence,
        report: Report { step, reading },
    })
}

/// A reading that the node did not take.
#[derive(Debug)]
pub struct Refused {
    /// Whose it is.
    pub meter: MeterId,
    /// Of which step.
    pub step: Step,
    /// What the node said.
    pub reason: String,
}

/// Some of the demo community's meters, connected to a node.
pub struct Meters {
    client: WsClient,
    context: SigningContext,
    devices: Arc<[Device]>,
    /// Of each device's next transaction, once it is known.
    nonces: Vec<Option<u32>>,
    week: Arc<[StepReadings]>,
}

impl Meters {
    /// Connects all meters to the node at `url`.
    pub async fn connect(url: &str, community: &Community) -> Result<Self> {
        let week = demo_week(community)?;
        Self::connect_some(url, devices(community).into(), week).await
    }

    /// Connects some meters to the node at `url`; `week` is what all of them measure.
    pub async fn connect_some(
        url: &str,
        devices: Arc<[Device]>,
        week: Arc<[StepReadings]>,
    ) -> Result<Self> {
        let client = WsClientBuilder::default()
            .request_timeout(REQUEST_TIMEOUT)
            .build(url)
            .await
            .with_context(|| format!("the meters cannot reach the node at {url}"))?;
        let genesis_hash: Hash = client
            .request("chain_getBlockHash", rpc_params![0])
            .await
            .context("the node does not tell its genesis hash")?;
        Ok(Self {
            client,
            context: SigningContext::immortal(genesis_hash),
            nonces: vec![None; devices.len()],
            devices,
            week,
        })
    }

    /// Returns when the chain's steps close.
    pub async fn timing(&self) -> Result<StepTiming> {
        Ok(self.ask::<StepTiming>("energy_timing").await?)
    }

    /// Returns the last step that has a block.
    pub async fn best(&self) -> Result<Step> {
        #[derive(Deserialize)]
        struct Header {
            number: String,
        }
        let header: Header = self.ask("chain_getHeader").await?;
        let digits = header.number.trim_start_matches("0x");
        let number = u32::from_str_radix(digits, 16)
            .map_err(|_| anyhow!("{:?} is no block's number", header.number))?;
        Ok(Step(number))
    }

    async fn ask<Answer: DeserializeOwned>(&self, method: &str) -> Result<Answer, ClientError> {
        self.client.request(method, rpc_params![]).await
    }

    /// Signs and submits every meter's reading of a step; returns those that the node refused.
    ///
    /// # Errors
    /// The node cannot be reached any more.
    pub async fn report(&mut self, step: Step) -> Result<Vec<Refused>> {
        let mut refused = Vec::new();
        for index in 0..self.devices.len() {
            refused.extend(self.report_one(index, step).await?);
        }
        Ok(refused)
    }

    /// The same for the meters of which the chain knows no reading of that step.
    pub async fn report_missing(&mut self, step: Step) -> Result<Vec<Refused>> {
        let mut refused = Vec::new();
        for index in 0..self.devices.len() {
            let meter = self.devices[index].meter.0;
            let known: Option<Value> = self
                .client
                .request("energy_reading", rpc_params![meter, step.0])
                .await
                .context("the node does not tell a meter's reading")?;
            if known.is_none() {
                refused.extend(self.report_one(index, step).await?);
            }
        }
        Ok(refused)
    }

    async fn report_one(&mut self, index: usize, step: Step) -> Result<Option<Refused>> {
        let device = &self.devices[index];
        let nonce = match self.nonces[index] {
            Some(nonce) => nonce,
            None => self.ask_nonce(device).await?,
        };
        let readings = &self.week[demo_row(step) as usize];
        let call = interval_call(device, step, readings);
        let transaction = sign_ed25519(call, nonce, &self.context, &device.pair);
        let encoded = format!("0x{}", hex::encode(transaction));
        let answer: Result<Hash, _> = self
            .client
            .request("author_submitExtrinsic", rpc_params![encoded])
            .await;
        let refused = match answer {
            Ok(_) => {
                self.nonces[index] = nonce.checked_add(1);
                None
            }
            Err(ClientError::Call(error)) => {
                // Whoever lost count asks again.
                self.nonces[index] = None;
                Some(Refused {
                    meter: device.meter,
                    step,
                    reason: error.to_string(),
                })
            }
            Err(error) => return Err(error).context("the node does not answer its meters"),
        };
        Ok(refused)
    }

    async fn ask_nonce(&self, device: &Device) -> Result<u32> {
        let account = device.account().to_string();
        self.client
            .request("system_accountNextIndex", rpc_params![account])
            .await
            .context("the node does not tell a meter's nonce")
    }

    /// Reports every step at its end until asked to stop.
    pub async fn run(mut self, timing: StepTiming, stop: Stop) -> Result<()> {
        let mut step = timing.step_at(now_ms());
        loop {
            if wait_for_end(step, timing, &stop).await? {
                return Ok(());
            }
            match self.report(step).await {
                Ok(refused) => {
                    for Refused {
                        meter,
                        step,
                        reason,
                    } in refused
                    {
                        tracing::warn!(meter = meter.0, %step, reason, "reading refused");
                    }
                }
                Err(error) => tracing::warn!(%step, error = format!("{error:#}"), "readings lost"),
            }
            // Steps that went by meanwhile (the machine slept) were not measured.
            step = timing.step_at(now_ms()).max(Step(step.0.saturating_add(1)));
        }
    }
}

/// Waits until a step has ended; returns early, and true, when asked to stop.
pub async fn wait_for_end(step: Step, timing: StepTiming, stop: &Stop) -> Result<bool> {
    let closes_at_ms = timing.closes_at_ms(step);
    let waiter = stop.clone();
    let stopped = tokio::task::spawn_blocking(move || waiter.wait_until(closes_at_ms)).await?;
    Ok(stopped)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_demo_begins_by_day_and_repeats_weekly() {
        assert_eq!(demo_row(Step(1)), DEMO_START_STEP);
        assert_eq!(demo_row(Step(1 + DEMO_STEPS)), DEMO_START_STEP);
        assert_eq!(demo_row(Step(DEMO_STEPS - DEMO_START_STEP + 1)), 0);
    }

    #[test]
    fn the_first_step_shown_has_generation() {
        let community = Community::demo().unwrap();
        let week = demo_week(&community).unwrap();
        assert!(week[demo_row(Step(1)) as usize].generation_wh() > 0);
    }
}
