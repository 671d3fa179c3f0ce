//! `energy_*`, on the worked example of the sources.

use commonwatt_runtime::example::account;
use serde_json::{Value, json};

use crate::support::{TestNode, hex};

/// 15 and 10 kWh from A and B: 8 to X, 17 to Y [D Table 1].
async fn node_with_the_example() -> TestNode {
    let node = TestNode::start().await;
    let client = node.client().await;
    for (device, energy_wh) in [("A", 15_000), ("B", 10_000)] {
        let extrinsic = hex(&node.sign_reading(device, 0, 1, energy_wh));
        client
            .call("author_submitExtrinsic", json!([extrinsic]))
            .await;
    }
    node.author();
    node
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kilowatt_hour_is_traced_to_its_meter() {
    let node = node_with_the_example().await;
    let client = node.client().await;
    let x = account("X").to_string();
    let trace = client.call("energy_trace", json!([1, x])).await;
    assert_eq!(trace["member"], json!(x));
    assert_eq!(trace["allocated"], json!(8_000));
    assert_eq!(trace["netWh"], json!(8_000));
    assert_eq!(
        trace["from"],
        json!([{ "meter": 0, "energy": 4_800 }, { "meter": 1, "energy": 3_200 }])
    );
    let by_bytes = hex(AsRef::<[u8]>::as_ref(&account("X")));
    assert_eq!(
        client.call("energy_trace", json!([1, by_bytes])).await,
        trace
    );
    assert_eq!(
        client.call("energy_trace", json!([7, x])).await,
        Value::Null
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_is_summed_up() {
    let node = node_with_the_example().await;
    let client = node.client().await;
    let summary = client.call("energy_stepSummary", json!([1])).await;
    assert_eq!(summary["generated"], json!(25_000));
    assert_eq!(summary["shared"], json!(25_000));
    assert_eq!(
        client.call("energy_stepSummary", json!([9])).await,
        Value::Null
    );
    let genesis = json!([1, node.chain.genesis_hash()]);
    assert_eq!(
        client.call("energy_stepSummary", genesis).await,
        Value::Null
    );

    let allocations = client.call("energy_allocations", json!([1])).await;
    let of = |name: &str| {
        let wanted = json!(account(name).to_string());
        let mut entries = allocations.as_array().unwrap().iter();
        entries.find(|entry| entry["account"] == wanted).unwrap()["shared"].clone()
    };
    assert_eq!((of("X"), of("Y")), (json!(8_000), json!(17_000)));

    let reading = client.call("energy_reading", json!([0, 1])).await;
    assert_eq!(reading["energy"], json!(15_000));
    assert_eq!(reading["quality"], json!("measured"));
    assert_eq!(
        client.call("energy_reading", json!([5, 1])).await,
        Value::Null
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn timing_and_agreement_are_told() {
    let node = TestNode::start().await;
    let client = node.client().await;
    let timing = client.call("energy_timing", json!([])).await;
    assert_eq!(timing["stepMs"], json!(900_000));
    let agreement = client.call("energy_agreementAt", json!([1])).await;
    let x = account("X").to_string();
    assert_eq!(agreement["effectiveFrom"], json!(1));
    let shares = agreement["key"]["static"]["shares"].as_array().unwrap();
    assert!(shares.contains(&json!([x, 320_000])));
    let refused = client.refusal("energy_stepSummary", json!([])).await;
    assert!(
        refused.message.contains("parameter 1 (step) is missing"),
        "{refused:?}"
    );
}
