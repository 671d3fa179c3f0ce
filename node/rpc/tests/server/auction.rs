//! `auction_*`, on a chain with one validator that bids.

use commonwatt_primitives::Step;
use commonwatt_runtime::{RuntimeCall, example::account};
use pallet_miner_auction::Call;
use serde_json::{Value, json};

use crate::support::{TestNode, hex};

/// X bids 30 tokens in block 1, for block 5.
async fn node_with_a_bid() -> TestNode {
    let node = TestNode::start().await;
    let client = node.client().await;
    let call = Call::bid {
        height: Step(5),
        amount: 30,
    };
    let extrinsic = hex(&node.sign("X", 0, RuntimeCall::MinerAuction(call)));
    client
        .call("author_submitExtrinsic", json!([extrinsic]))
        .await;
    node.author();
    node
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wallet_sees_who_won_and_why() {
    let node = node_with_a_bid().await;
    let client = node.client().await;
    let x = account("X").to_string();
    let bids = client.call("auction_bids", json!([x])).await;
    assert_eq!(bids["bids"], json!([{ "height": 5, "amount": "30" }]));
    assert_eq!(bids["terms"]["height"], json!(6));
    assert_eq!(bids["terms"]["free"], json!("70"));
    assert_eq!(bids["terms"]["inEscrow"], json!("30"));
    // 40 % of what is free: with so few candidates bids are bounded.
    assert_eq!(bids["terms"]["max"], json!("28"));
    assert_eq!(bids["offence"], Value::Null);
    assert_eq!(
        client.call("auction_bidsFor", json!([5])).await,
        json!([{ "account": x, "amount": "30" }])
    );
    assert_eq!(
        client.call("auction_ranking", json!([5])).await,
        Value::Null
    );

    for _ in 0..3 {
        node.author();
    }
    // The next height.
    assert_eq!(client.call("auction_ranking", json!([])).await, json!([x]));
    let auction = client.call("auction_auction", json!([5])).await;
    assert_eq!(auction["bidders"], json!(1));
    assert_eq!(auction["rule"], json!("proportional"));
    let first = &auction["ranking"][0];
    assert_eq!(first["account"], json!(x));
    assert_eq!(
        (&first["offered"], &first["age"]),
        (&json!("30"), &json!(1))
    );
    assert_eq!(first["reputation"], json!(4));
    assert_eq!(auction["biddersWealth"], first["wealth"]);
    assert_eq!(auction["outcome"], Value::Null);
    let seed = client.call("auction_beacon", json!([4])).await;
    assert_eq!(auction["before"], seed);

    node.author();
    let auction = client.call("auction_auction", json!([5])).await;
    let outcome = json!({
        "author": x, "authorRank": 0, "isLate": false,
        "pot": "30", "burned": "0", "returned": "0",
    });
    assert_eq!(auction["outcome"], outcome);
}

#[tokio::test(flavor = "multi_thread")]
async fn rules_validators_and_reputation_are_told() {
    let node = node_with_a_bid().await;
    let client = node.client().await;
    let x = account("X").to_string();
    let rules = client.call("auction_rules", json!([])).await;
    assert_eq!(rules["mining"]["bidLead"], json!(4));
    assert_eq!(rules["reputation"]["measure"], json!("blocks-created"));
    assert_eq!(
        (&rules["epochLength"], &rules["burned"]),
        (&json!(96), &json!("0"))
    );
    let validators = client.call("auction_validators", json!([])).await;
    assert_eq!(validators[0]["account"], json!(x));
    assert!(validators[0]["keys"]["beacon"].is_string());
    let reputation = client.call("auction_reputation", json!([x])).await;
    assert_eq!(reputation["authored"], json!(1));
    assert_eq!(reputation["reputation"], json!(1));
    // Block 2 brings no bids, so that the penalty is burned.
    node.author();
    let rules = client.call("auction_rules", json!([])).await;
    assert_eq!(rules["burned"], json!("1"));
}
