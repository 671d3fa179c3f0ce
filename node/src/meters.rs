//! The demo community's cryptometers: clients that sign what they measured and submit it over JSON-RPC.

use std::time::Duration;

use anyhow::{Context, Result};
use commonwatt_community_data::{
    Community, DEMO_START_STEP, DEMO_STEPS, StepReadings, demo_readings,
};
use commonwatt_primitives::{Quality, Step, StepTiming, Wh};
use commonwatt_runtime::{
    Hash, RuntimeCall,
    transaction::{SigningContext, sign_ed25519},
};
use jsonrpsee::{core::client::ClientT, rpc_params};
use jsonrpsee_ws_client::{WsClient, WsClientBuilder};
use pallet_energy_token::{Call, Measurement, Report};

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
pub fn demo_week(community: &Community) -> Result<Vec<StepReadings>> {
    let week = demo_readings(community)?.collect::<Result<Vec<_>, _>>()?;
    Ok(week)
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

/// A device with the nonce of its next transaction.
struct Connected {
    device: Device,
    nonce: u32,
}

/// The demo community's meters, connected to a node.
pub struct Meters {
    client: WsClient,
    context: SigningContext,
    connected: Vec<Connected>,
    week: Vec<StepReadings>,
}

impl Meters {
    /// Connects to the node at `url` and asks for every device's nonce.
    pub async fn connect(url: &str, community: &Community) -> Result<Self> {
        let client = WsClientBuilder::default()
            .request_timeout(REQUEST_TIMEOUT)
            .build(url)
            .await
            .with_context(|| format!("the meters cannot reach the node at {url}"))?;
        let genesis_hash: Hash = client
            .request("chain_getBlockHash", rpc_params![0])
            .await
            .context("the node does not tell its genesis hash")?;
        let mut connected = Vec::new();
        for device in devices(community) {
            let nonce = client
                .request(
                    "system_accountNextIndex",
                    rpc_params![device.account().to_string()],
                )
                .await
                .context("the node does not tell a meter's nonce")?;
            connected.push(Connected { device, nonce });
        }
        let week = demo_week(community)?;
        Ok(Self {
            client,
            context: SigningContext::immortal(genesis_hash),
            connected,
            week,
        })
    }

    /// Signs and submits every meter's reading of a step; returns how many the node refused.
    pub async fn report(&mut self, step: Step) -> usize {
        let readings = &self.week[demo_row(step) as usize];
        let mut refused = 0;
        for Connected { device, nonce } in &mut self.connected {
            let call = interval_call(device, step, readings);
            let transaction = sign_ed25519(call, *nonce, &self.context, &device.pair);
            let encoded = format!("0x{}", hex::encode(transaction));
            let answer: Result<Hash, _> = self
                .client
                .request("author_submitExtrinsic", rpc_params![encoded])
                .await;
            match answer {
                Ok(_) => *nonce = nonce.saturating_add(1),
                Err(error) => {
                    refused += 1;
                    tracing::warn!(meter = device.meter.0, %step, %error, "reading refused");
                    // Whoever lost count asks again.
                    let asked: Result<u32, _> = self
                        .client
                        .request(
                            "system_accountNextIndex",
                            rpc_params![device.account().to_string()],
                        )
                        .await;
                    if let Ok(current) = asked {
                        *nonce = current;
                    }
                }
            }
        }
        refused
    }

    /// Reports every step at its end until asked to stop.
    pub async fn run(mut self, timing: StepTiming, stop: Stop) -> Result<()> {
        let mut step = timing.step_at(now_ms());
        loop {
            let closes_at_ms = timing.closes_at_ms(step);
            let waiter = stop.clone();
            let stopped =
                tokio::task::spawn_blocking(move || waiter.wait_until(closes_at_ms)).await;
            if stopped? {
                return Ok(());
            }
            self.report(step).await;
            // Steps that went by meanwhile (the machine slept) were not measured.
            step = timing.step_at(now_ms()).max(Step(step.0.saturating_add(1)));
        }
    }
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
