//! `energy_*`, on the worked example of the sources.

use codec::Decode;
use commonwatt_primitives::{MeterId, Quality, Step, Wh};
use commonwatt_runtime::{AccountId, Runtime, RuntimeCall, example::account};
use commonwatt_storage::StatePruning;
use pallet_virtual_meter::{Lot, StepSummary, Vgm, VgmEntry};
use serde_json::{Value, json};
use sp_core::{Bytes, H256};
use sp_runtime::traits::BlakeTwo256;
use sp_state_machine::{StorageProof, read_proof_check};

use crate::support::{TestNode, config, hex, next};

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
    assert_eq!(client.call("energy_agreement", json!([1])).await, agreement);
    let shares = agreement["key"]["static"]["shares"].as_array().unwrap();
    assert!(shares.contains(&json!([x, 320_000])));
    let refused = client.refusal("energy_stepSummary", json!([])).await;
    assert!(
        refused.message.contains("parameter 1 (step) is missing"),
        "{refused:?}"
    );
}

fn bytes(value: &Value) -> Vec<u8> {
    serde_json::from_value::<Bytes>(value.clone()).unwrap().0
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trace_can_be_checked_against_the_state_root_alone() {
    let node = node_with_the_example().await;
    let client = node.client().await;
    let trace = client
        .call("energy_trace", json!([1, account("Y").to_string()]))
        .await;
    let proof = &trace["proof"];
    let block: H256 = serde_json::from_value(proof["block"].clone()).unwrap();
    // The header is what a light client trusts; it says the root.
    let header = node.chain.db().header(&block).unwrap().unwrap();
    assert_eq!(proof["stateRoot"], json!(header.state_root));
    assert_eq!(proof["number"], json!(header.number));
    let nodes = proof["nodes"].as_array().unwrap().iter().map(bytes);
    let keys = ["summary", "buckets", "entry", "lots"].map(|name| bytes(&proof[name]));
    let values = read_proof_check::<BlakeTwo256, _>(
        header.state_root,
        StorageProof::new(nodes.collect::<Vec<_>>()),
        keys.iter(),
    )
    .unwrap();
    let value = |index: usize| values[&keys[index]].clone().unwrap();
    let summary = StepSummary::decode(&mut &value(0)[..]).unwrap();
    assert_eq!(json!(summary.version), trace["version"]);
    assert_eq!(summary.generated, Wh(25_000));
    let buckets = u32::decode(&mut &value(1)[..]).unwrap();
    let bucket = pallet_virtual_meter::bucket_of(&account("Y"), buckets);
    assert_eq!(keys[2], Vgm::<Runtime>::hashed_key_for(Step(1), bucket));
    let entries = Vec::<(AccountId, VgmEntry)>::decode(&mut &value(2)[..]).unwrap();
    let entry = entries
        .iter()
        .find(|(who, _)| *who == account("Y"))
        .unwrap()
        .1;
    assert_eq!(json!(entry.allocated()), trace["allocated"]);
    let lots = Vec::<Lot<AccountId>>::decode(&mut &value(3)[..]).unwrap();
    let lots: Vec<_> = lots.iter().map(|lot| (lot.meter, lot.energy)).collect();
    assert_eq!(lots, [(MeterId(0), Wh(15_000)), (MeterId(1), Wh(10_000))]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_sees_its_role_meters_months_and_steps_page_by_page() {
    let node = node_with_the_example().await;
    let client = node.client().await;
    for step in 2..6 {
        let extrinsic = hex(&node.sign_reading("A", step - 1, step, u64::from(step) * 1_000));
        client
            .call("author_submitExtrinsic", json!([extrinsic]))
            .await;
        node.author();
    }
    let y = account("Y").to_string();
    let view = client.call("energy_member", json!([y, null, 2])).await;
    assert_eq!(view["role"], json!("member"));
    assert_eq!(view["isValidator"], json!(false));
    assert_eq!(view["meters"], json!([1]));
    assert_eq!(view["coins"], json!("0"));
    // 1 % of 17 000 + 0.68 · 14 000 Wh.
    let shared = 17_000 + 680 * 14;
    let tokens: u64 = view["votingTokens"].as_str().unwrap().parse().unwrap();
    assert!(tokens > 0, "{view}");
    let months = view["months"].as_array().unwrap();
    assert_eq!(months[0]["month"], json!("2023-11"));
    assert_eq!(months[0]["shared"], json!(shared));
    let steps = |view: &Value| -> Vec<u64> {
        let entries = view["entries"].as_array().unwrap().iter();
        entries
            .map(|entry| entry["step"].as_u64().unwrap())
            .collect()
    };
    assert_eq!(steps(&view), [5, 4]);
    assert_eq!(view["entries"][0]["netWh"], json!(3_400));
    assert_eq!(view["entries"][0]["marketFaceWh"], json!(-3_400));
    assert_eq!(view["next"], json!(4));
    let view = client
        .call("energy_member", json!([y, view["next"], 3]))
        .await;
    assert_eq!(steps(&view), [3, 2, 1]);
    assert_eq!(view["next"], Value::Null);

    let stranger = account("Stranger").to_string();
    let view = client.call("energy_member", json!([stranger])).await;
    assert_eq!(
        (&view["role"], &view["entries"]),
        (&Value::Null, &json!([]))
    );
    let refused = client.refusal("energy_member", json!([y, null, 673])).await;
    assert_eq!(refused.code, 4002, "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_meter_is_shown_with_its_device_and_its_readings() {
    let node = node_with_the_example().await;
    let client = node.client().await;
    node.author();
    let view = client.call("energy_meter", json!([0])).await;
    assert_eq!(view["kind"], json!("generation"));
    assert_eq!(view["owner"], json!(account("X").to_string()));
    assert_eq!(view["device"], json!(account("A").to_string()));
    assert_eq!(
        (&view["register"], &view["flag"]),
        (&Value::Null, &Value::Null)
    );
    let reading = &view["readings"][0];
    assert_eq!(reading["step"], json!(1));
    assert_eq!(reading["energy"], json!(15_000));
    assert_eq!(reading["quality"], json!("measured"));
    let view = client.call("energy_meter", json!([0, 2, 2])).await;
    assert_eq!(view["readings"], json!([]));
    assert_eq!(client.call("energy_meter", json!([9])).await, Value::Null);
    let refused = client.refusal("energy_meter", json!([0, 3, 2])).await;
    assert!(refused.message.contains("exchange them"), "{refused:?}");
    let refused = client.refusal("energy_meter", json!([0, 1, 673])).await;
    assert_eq!(refused.code, 4002, "{refused:?}");
}

fn correction(step: u32, energy_wh: u64, reason: &str) -> RuntimeCall {
    RuntimeCall::EnergyToken(pallet_energy_token::Call::correct_reading {
        meter: MeterId(0),
        step: Step(step),
        energy: Wh(energy_wh),
        quality: Quality::Measured,
        reason: reason.as_bytes().to_vec().try_into().unwrap(),
    })
}

/// The example; then block 2 carries a late reading of step 1, block 3 nothing, block 4 a correction by the DSO.
async fn node_with_corrections(pruning: StatePruning) -> TestNode {
    let node = TestNode::start_with(config(), pruning).await;
    let client = node.client().await;
    let submit = async |extrinsic: Vec<u8>| {
        client
            .call("author_submitExtrinsic", json!([hex(&extrinsic)]))
            .await
    };
    submit(node.sign_reading("A", 0, 1, 15_000)).await;
    node.author();
    submit(node.sign_reading("B", 0, 1, 10_000)).await;
    node.author();
    node.author();
    submit(node.sign("Dso", 0, correction(1, 14_000, "wrong constant"))).await;
    node.author();
    node
}

#[tokio::test(flavor = "multi_thread")]
async fn late_corrections_are_told_with_from_to_and_cause() {
    let node = node_with_corrections(StatePruning::default()).await;
    let client = node.client().await;
    let answer = client.call("energy_lateCorrections", json!([1, 4])).await;
    assert_eq!(answer["steps"], json!([{ "step": 1, "version": 3 }]));
    let hash_of = |number| node.chain.db().hash_of(number).unwrap().unwrap();
    let expected = json!([
        {
            "step": 1, "block": 2, "blockHash": hash_of(2), "meter": 1, "from": null, "to": 10_000,
            "cause": { "lateReport": { "device": account("B").to_string(), "sequence": 1 } },
        },
        {
            "step": 1, "block": 4, "blockHash": hash_of(4), "meter": 0, "from": 15_000, "to": 14_000,
            "cause": { "dso": { "reason": "wrong constant" } },
        },
    ]);
    assert_eq!(answer["readings"], expected);
    let runs: Vec<_> = answer["runs"]
        .as_array()
        .unwrap()
        .iter()
        .map(|run| {
            (
                run["block"].clone(),
                run["version"].clone(),
                run["generated"].clone(),
            )
        })
        .collect();
    assert_eq!(json!(runs), json!([[2, 2, 25_000], [4, 3, 24_000]]));
    assert_eq!(
        (&answer["discarded"], &answer["next"]),
        (&Value::Null, &Value::Null)
    );
    let rest = client
        .call("energy_lateCorrections", json!([1, 4, 3]))
        .await;
    assert_eq!(rest["readings"].as_array().unwrap().len(), 1);

    let none = client.call("energy_lateCorrections", json!([2, 4])).await;
    assert_eq!(
        (&none["steps"], &none["readings"]),
        (&json!([]), &json!([]))
    );
    let refused = client
        .refusal("energy_lateCorrections", json!([1, 5_000]))
        .await;
    assert_eq!(refused.code, 4002, "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn blocks_whose_events_are_gone_are_named() {
    let node = node_with_corrections(StatePruning::Keep(2)).await;
    let client = node.client().await;
    for _ in 0..3 {
        node.author();
    }
    let answer = client.call("energy_lateCorrections", json!([1, 1])).await;
    assert_eq!(answer["steps"], json!([{ "step": 1, "version": 3 }]));
    assert_eq!(answer["readings"], json!([]));
    assert_eq!(answer["discarded"]["from"], json!(2));
    assert!(answer["discarded"]["to"].as_u64() >= Some(4), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_is_told_when_a_step_closes_and_which_earlier_ones_changed() {
    let node = TestNode::start().await;
    let client = node.client().await;
    let mut steps = client
        .subscribe(
            "energy_subscribeSteps",
            json!([]),
            "energy_unsubscribeSteps",
        )
        .await;
    let first = next(&mut steps).await;
    assert_eq!(first["step"], json!(0));
    assert_eq!(first["block"], json!(node.chain.genesis_hash()));
    let submit = async |extrinsic: Vec<u8>| {
        client
            .call("author_submitExtrinsic", json!([hex(&extrinsic)]))
            .await
    };
    submit(node.sign_reading("A", 0, 1, 15_000)).await;
    let hash = node.author().hash;
    let step = next(&mut steps).await;
    assert_eq!((&step["step"], &step["block"]), (&json!(1), &json!(hash)));
    assert_eq!(step["late"], json!(false));
    assert_eq!(step["author"], json!(account("X").to_string()));
    assert_eq!(step["summary"]["generated"], json!(15_000));
    assert_eq!(step["corrected"], json!([]));
    submit(node.sign_reading("B", 0, 1, 10_000)).await;
    node.author();
    let step = next(&mut steps).await;
    assert_eq!(step["summary"]["generated"], json!(0));
    assert_eq!(step["corrected"][0]["step"], json!(1));
    assert_eq!(step["corrected"][0]["generated"], json!(25_000));
    assert_eq!(step["corrected"][0]["version"], json!(2));
}
