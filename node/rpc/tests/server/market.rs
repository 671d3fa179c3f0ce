//! `market_*`, `loyalty_get` and `grid_statement`, on a chain on which X and Y trade.

use commonwatt_clearing::{Mechanism, Side};
use commonwatt_primitives::{Bps, Step, Wh};
use commonwatt_runtime::{RuntimeCall, example::account, genesis::CommunityGenesis};
use commonwatt_storage::StatePruning;
use pallet_double_auction::{Call, Cap, OrderId, OrderTerms, When};
use serde_json::{Value, json};

use crate::support::{Client, Refused, TestNode, config, hex, next};

fn terms(side: Side, limit: u128, units: u32, when: When) -> OrderTerms {
    OrderTerms {
        side,
        limit,
        units,
        unit: Wh(10),
        when,
        cap: Cap::Quantity,
    }
}

fn order(side: Side, step: u32, limit: u128, units: u32) -> OrderTerms {
    terms(side, limit, units, When::Once(Step(step)))
}

fn standing(side: Side, limit: u128, units: u32) -> OrderTerms {
    terms(side, limit, units, When::Standing { until: None })
}

fn place(terms: OrderTerms) -> RuntimeCall {
    Call::place { terms }.into()
}

fn id(step: u32, number: u32) -> OrderId {
    OrderId {
        step: Step(step),
        number,
    }
}

/// A node, a client, and the nonces of X and Y.
struct Market {
    node: TestNode,
    client: Client,
    nonces: [u32; 2],
}

impl Market {
    async fn start() -> Self {
        Self::start_on(|_| {}).await
    }

    async fn start_on(change: impl FnOnce(&mut CommunityGenesis)) -> Self {
        let node = TestNode::start_on(
            config(),
            StatePruning::default(),
            Default::default(),
            change,
        )
        .await;
        let client = node.client().await;
        Self {
            node,
            client,
            nonces: [0, 0],
        }
    }

    /// Signs with the next nonce of X or Y and submits.
    async fn try_submit(&mut self, who: &str, call: RuntimeCall) -> Result<Value, Refused> {
        let nonce = &mut self.nonces[usize::from(who == "Y")];
        let extrinsic = hex(&self.node.sign(who, *nonce, call));
        let submitted = self
            .client
            .try_call("author_submitExtrinsic", json!([extrinsic]))
            .await;
        if submitted.is_ok() {
            *nonce += 1;
        }
        submitted
    }

    async fn submit(&mut self, who: &str, call: RuntimeCall) {
        if let Err(refused) = self.try_submit(who, call).await {
            panic!("{refused:?}");
        }
    }

    /// Makes A and B report a step: 8 of 25 kWh to X, 17 to Y.
    async fn generate(&self, step: u32, nonce: u32) {
        for (device, energy_wh) in [("A", 15_000), ("B", 10_000)] {
            let extrinsic = hex(&self.node.sign_reading(device, nonce, step, energy_wh));
            self.client
                .call("author_submitExtrinsic", json!([extrinsic]))
                .await;
        }
    }

    /// X buys 1 000 units of step 2 from Y at (5 + 3) / 2, who offers 5 000 and has 1 700.
    async fn trade_in_step_two(&mut self) {
        self.submit("X", place(order(Side::Buy, 2, 5, 1_000))).await;
        self.submit("Y", place(order(Side::Sell, 2, 3, 5_000)))
            .await;
        self.node.author();
        self.generate(2, 0).await;
        self.node.author();
    }

    async fn call(&self, method: &str, list: Value) -> Value {
        self.client.call(method, list).await
    }

    /// Why an order of X or Y is refused; it must be with 1010.
    async fn refusal(&mut self, who: &str, call: RuntimeCall) -> String {
        match self.try_submit(who, call).await {
            Ok(hash) => panic!("it was taken: {hash}"),
            Err(refused) => {
                assert_eq!(
                    (refused.code, refused.message.as_str()),
                    (1010, "Invalid Transaction"),
                    "{refused:?}"
                );
                refused.data
            }
        }
    }
}

fn x() -> String {
    account("X").to_string()
}

fn y() -> String {
    account("Y").to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_rules_are_told() {
    let market = Market::start().await;
    let rules = market.call("market_rules", json!([])).await;
    assert_eq!(rules["unit"], json!(10));
    let average = json!([{ "fromStep": 1, "mechanism": { "name": "average" } }]);
    assert_eq!(rules["mechanisms"], average);
    assert_eq!(
        (
            &rules["stepsAhead"],
            &rules["ordersMax"],
            &rules["standingMax"]
        ),
        (&json!(96), &json!(16), &json!(16))
    );
    let tariffs = json!([{ "fromStep": 1, "buy": "9", "feedIn": "2" }]);
    assert_eq!(rules["tariffs"], tariffs);
    assert_eq!(rules["coinRates"], Value::Null);
    assert_eq!(rules["loyalty"]["boost"], json!(50_000));
    // Block 1 takes orders for step 2.
    assert_eq!(rules["nextStep"], json!(2));
    market.node.author();
    let later = market.call("market_rules", json!([])).await;
    assert_eq!(later["nextStep"], json!(3));
    let genesis = market.node.chain.genesis_hash();
    let before = market.call("market_rules", json!([genesis])).await;
    assert_eq!(before, rules);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_mechanism_is_told_with_its_parameter() {
    let uniform = Mechanism::Uniform { kappa: Bps(2_500) };
    let market = Market::start_on(|genesis| genesis.market.mechanism = uniform).await;
    let rules = market.call("market_rules", json!([])).await;
    let mechanism = json!({ "name": "uniform", "kappaBps": 2_500 });
    assert_eq!(rules["mechanisms"][0]["mechanism"], mechanism);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_book_of_a_step_is_told_page_by_page() {
    let mut market = Market::start().await;
    for limit in [3, 4, 5] {
        market
            .submit("X", place(order(Side::Buy, 7, limit, 10)))
            .await;
    }
    market.submit("Y", place(order(Side::Sell, 7, 2, 50))).await;
    market.node.author();
    let book = market.call("market_orderBook", json!([7])).await;
    assert_eq!((&book["step"], &book["unit"]), (&json!(7), &json!(10)));
    assert_eq!(book["mechanism"], json!({ "name": "average" }));
    assert_eq!((&book["next"], &book["total"]), (&Value::Null, &json!(4)));
    let orders = book["orders"].as_array().unwrap();
    assert_eq!(orders.len(), 4);
    let sale = orders.iter().find(|order| order["owner"] == json!(y()));
    let expected = json!({
        "id": "7-3", "step": 7, "owner": y(), "side": "sell", "limit": "2", "units": 50, "cap": "quantity",
        "arrival": 1, "status": "open", "withdrawn": null, "offered": 0, "traded": 0, "coins": "0",
    });
    assert_eq!(sale, Some(&expected));

    let mut paged = Vec::new();
    let mut start = json!(0);
    while !start.is_null() {
        let page = market.call("market_orderBook", json!([7, start, 3])).await;
        assert_eq!(page["total"], json!(4));
        paged.extend(page["orders"].as_array().unwrap().clone());
        start = page["next"].clone();
    }
    assert_eq!(&paged, orders);

    for count in [0, 10_001] {
        let refused = market
            .client
            .refusal("market_orderBook", json!([7, 0, count]))
            .await;
        assert!([-32602, 4002].contains(&refused.code), "{refused:?}");
    }
    let empty = market.call("market_orderBook", json!([50])).await;
    assert_eq!((&empty["orders"], &empty["total"]), (&json!([]), &json!(0)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clearing_is_told_with_all_that_proves_it() {
    let mut market = Market::start().await;
    market.trade_in_step_two().await;
    let clearing = market.call("market_clearing", json!([2])).await;
    let figures = json!({
        "state": "cleared", "reason": null, "mechanism": { "name": "average" }, "k": 1_000, "price": "4",
        "volumeUnits": 1_000, "energyWh": 10_000, "turnover": "4000", "surplus": "0", "welfare": "2000",
        "unmatchedDemand": 0, "unmatchedSupply": 700, "unit": 10, "step": 2,
        "range": { "low": "3", "high": "3" }, "quote": { "name": "single", "price": "4" },
        "demand": [{ "price": "5", "units": 1_000 }], "supply": [{ "price": "3", "units": 1_700 }],
        "proof": {
            "k": 1_000, "bid": "5", "ask": "3", "nextBid": null, "nextAsk": "3",
            "demandAbove": 0, "demandAtLeast": 1_000, "supplyBelow": 0, "supplyAtMost": 1_700, "netted": 0,
        },
        "withdrawals": { "items": [], "next": null, "total": 0 },
        "cancelled": { "items": [], "next": null, "total": 0 },
    });
    for (name, value) in figures.as_object().unwrap() {
        assert_eq!(&clearing[name], value, "{name}");
    }
    let orders = &clearing["orders"];
    assert_eq!(
        (&orders["total"], &orders["next"]),
        (&json!(2), &Value::Null)
    );
    let orders = orders["items"].as_array().unwrap();
    let position = |owner: &str| {
        let found = orders.iter().find(|order| order["owner"] == json!(owner));
        let order = found.unwrap();
        assert_eq!(order["loyaltyMillionths"], json!(1_000_000));
        assert!(order["tieBreak"].as_str().unwrap().starts_with("0x"));
        (order["position"].clone(), order["units"].clone())
    };
    let ((bought_at, bought), (sold_at, sold)) = (position(&x()), position(&y()));
    assert_eq!((bought, sold), (json!(1_000), json!(1_700)));
    let had = |owner: &str| {
        let found = orders.iter().find(|order| order["owner"] == json!(owner));
        let order = found.unwrap();
        (order["forSaleUnits"].clone(), order["withdrawn"].clone())
    };
    assert_eq!(had(&x()), (Value::Null, Value::Null));
    assert_eq!(had(&y()), (json!(1_700), Value::Null));
    let trade = json!({
        "buyer": x(), "seller": y(), "buyOrder": "2-0", "sellOrder": "2-1", "buyAt": bought_at, "sellAt": sold_at,
        "units": 1_000, "price": "4", "buyerPaid": "4000", "sellerReceived": "4000",
    });
    let trades = json!({ "items": [trade], "next": null, "total": 1 });
    assert_eq!(clearing["trades"], trades);

    // Orders and trades come in pages.
    let page = market.call("market_clearing", json!([2, 1, 1])).await;
    assert_eq!(page["orders"]["items"], json!([orders[1]]));
    assert_eq!(page["trades"]["items"], json!([]));
    assert_eq!(page["k"], json!(1_000));
    let first = market.call("market_clearing", json!([2, 0, 1])).await;
    assert_eq!(first["orders"]["next"], json!(1));
    assert_eq!(first["trades"]["next"], Value::Null);
    // A step without orders has no clearing, nor has one to come.
    for step in [1, 3, 50] {
        let none = market.call("market_clearing", json!([step])).await;
        assert_eq!(none, Value::Null);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_sees_its_orders_what_is_held_and_how_they_ended() {
    let mut market = Market::start().await;
    market.submit("X", place(standing(Side::Buy, 1, 7))).await;
    market.trade_in_step_two().await;
    market.submit("X", place(order(Side::Buy, 9, 5, 20))).await;
    market.node.author();
    let view = market.call("market_orders", json!([x()])).await;
    assert_eq!(view["account"], json!(x()));
    // The standing one stands in the book of the next step.
    let ids = |list: &Value| -> Vec<Value> {
        let orders = list.as_array().unwrap().iter();
        orders.map(|order| order["id"].clone()).collect()
    };
    assert_eq!(ids(&view["open"]), [json!("standing-0"), json!("9-0")]);
    assert_eq!(view["open"][0]["step"], json!(4));
    let standing = json!([{
        "id": "standing-0", "side": "buy", "limit": "1", "units": 7, "cap": "quantity", "arrival": 1, "until": null,
    }]);
    assert_eq!(view["standing"], standing);
    assert_eq!(view["held"], json!("107"));
    assert_eq!(
        ids(&view["past"]),
        ["standing-0", "standing-0", "2-0"].map(|id| json!(id))
    );
    let settled = &view["past"][2];
    assert_eq!(
        (&settled["status"], &settled["traded"], &settled["coins"]),
        (&json!("cleared"), &json!(1_000), &json!("4000"))
    );
    assert_eq!(view["months"], json!([]));
    // 1 000 units traded in step 2; the standing order was left alone in step 3, and it fades.
    let loyalty = market.call("loyalty_get", json!([x()])).await;
    assert_eq!(view["loyalty"], loyalty["loyalty"]);
    let millionths = loyalty["millionths"].as_u64().unwrap();
    assert!((1_000_001..=1_050_000).contains(&millionths), "{loyalty}");
    let text = format!("1.{:06}", millionths - 1_000_000);
    assert_eq!(loyalty["loyalty"], json!(text));

    let none = market.call("market_orders", json!([x(), 0])).await;
    assert_eq!(none["past"], json!([]));
    let refused = market
        .client
        .refusal("market_orders", json!([x(), 961]))
        .await;
    assert_eq!(refused.code, 4002, "{refused:?}");
    let nobody = market
        .call("market_orders", json!([account("Stranger").to_string()]))
        .await;
    assert_eq!(
        (&nobody["open"], &nobody["held"], &nobody["loyalty"]),
        (&json!([]), &json!("0"), &json!("1.000000"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_history_has_the_steps_with_orders_newest_first() {
    let mut market = Market::start().await;
    market.trade_in_step_two().await;
    market.submit("X", place(order(Side::Buy, 5, 1, 1))).await;
    for _ in 0..3 {
        market.node.author();
    }
    let history = market.call("market_history", json!([])).await;
    let entry = json!({
        "step": 2, "state": "cleared", "reason": null, "mechanism": { "name": "average" }, "k": 1_000,
        "price": "4", "range": { "low": "3", "high": "3" }, "volumeUnits": 1_000, "turnover": "4000",
        "welfare": "2000", "orders": 2, "members": 2, "trades": 1,
    });
    assert_eq!(history[1], entry);
    let lonely = &history[0];
    assert_eq!(
        (
            &lonely["step"],
            &lonely["k"],
            &lonely["price"],
            &lonely["trades"]
        ),
        (&json!(5), &json!(0), &Value::Null, &json!(0))
    );
    // X's bid, without an ask.
    assert_eq!(lonely["range"], json!({ "low": "1", "high": null }));
    let before = market.call("market_history", json!([4])).await;
    assert_eq!(before, json!([entry]));
    let short = market.call("market_history", json!([5, 1])).await;
    assert_eq!(short, json!([lonely]));
    for count in [0, 3_361] {
        let refused = market
            .client
            .refusal("market_history", json!([null, count]))
            .await;
        assert!([-32602, 4002].contains(&refused.code), "{refused:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_matched_so_far_is_told_where_orders_match_as_they_arrive() {
    let continuous = |genesis: &mut CommunityGenesis| {
        genesis.market.mechanism = Mechanism::Continuous;
    };
    let mut market = Market::start_on(continuous).await;
    market.submit("Y", place(order(Side::Sell, 9, 3, 30))).await;
    market.node.author();
    market.submit("X", place(order(Side::Buy, 9, 5, 20))).await;
    market.node.author();
    let matched = market.call("market_matched", json!([9])).await;
    assert_eq!(
        (&matched["ordersTotal"], &matched["tradesTotal"]),
        (&json!(2), &json!(1))
    );
    assert_eq!(matched["orders"][0]["id"], json!("9-0"));
    let trade = &matched["trades"][0];
    assert_eq!(
        (
            &trade["buyOrder"],
            &trade["sellOrder"],
            &trade["units"],
            &trade["price"]
        ),
        (&json!("9-1"), &json!("9-0"), &json!(20), &json!("3"))
    );
    assert_eq!(
        (&trade["buyer"], &trade["seller"]),
        (&json!(x()), &json!(y()))
    );
    assert_eq!(
        (
            &matched["orders"][0]["withdrawn"],
            &matched["orders"][0]["forSaleUnits"]
        ),
        (&Value::Null, &Value::Null)
    );
    let page = market.call("market_matched", json!([9, 0, 1])).await;
    assert_eq!(
        (&page["next"], &page["orders"][1]),
        (&json!(1), &Value::Null)
    );
    let other = market.call("market_matched", json!([10])).await;
    assert_eq!(other["trades"], json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_order_that_matched_is_told_of_until_its_step_is_forgotten() {
    let continuous = |genesis: &mut CommunityGenesis| {
        genesis.market.mechanism = Mechanism::Continuous;
    };
    let mut market = Market::start_on(continuous).await;
    market.submit("Y", place(order(Side::Sell, 5, 3, 30))).await;
    market.node.author();
    market.submit("X", place(order(Side::Buy, 5, 5, 20))).await;
    market.node.author();
    market
        .submit("X", Call::cancel { id: id(5, 1) }.into())
        .await;
    market.node.author();
    let told = |order: &Value| (order["status"].clone(), order["withdrawn"].clone());
    let withdrawn = (json!("withdrawn"), json!(3));
    let view = market.call("market_orders", json!([x()])).await;
    assert_eq!(told(&view["open"][0]), withdrawn);
    // What it may have matched holds its coins until the step.
    assert_eq!(view["held"], json!("100"));
    let matched = market.call("market_matched", json!([5])).await;
    assert_eq!(matched["orders"][1]["withdrawn"], json!(3));
    market.node.author();
    market.node.author();
    let view = market.call("market_orders", json!([x()])).await;
    assert_eq!(told(&view["past"][0]), withdrawn);
    assert_eq!(view["held"], json!("0"));
    // Y had nothing to sell after all.
    let clearing = market.call("market_clearing", json!([5])).await;
    let orders = &clearing["orders"]["items"];
    assert_eq!(
        (&orders[0]["forSaleUnits"], &orders[0]["withdrawn"]),
        (&json!(0), &Value::Null)
    );
    assert_eq!(
        (&orders[1]["forSaleUnits"], &orders[1]["withdrawn"]),
        (&Value::Null, &json!(3))
    );
    let cancelled = json!([{ "matched": 0, "sell": 0, "units": 20 }]);
    assert_eq!(clearing["cancelled"]["items"], cancelled);
    assert_eq!(clearing["trades"]["total"], json!(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_outer_grid_takes_what_the_market_left() {
    let mut market = Market::start().await;
    market.trade_in_step_two().await;
    let statement = market.call("grid_statement", json!([y(), 1, 2])).await;
    // 17 kWh less the 10 that were sold, at 2 for 10 Wh.
    let total = json!({ "boughtWh": 0, "fedInWh": 7_000, "charged": "0", "credited": "1400", "owed": "-1400" });
    assert_eq!(statement["total"], total);
    let line = &statement["lines"][0];
    assert_eq!(
        (&line["step"], &line["buy"], &line["feedIn"], &line["owed"]),
        (&json!(2), &json!("9"), &json!("2"), &json!("-1400"))
    );
    assert_eq!(statement["lines"].as_array().unwrap().len(), 1);
    assert_eq!(
        (&statement["account"], &statement["from"], &statement["to"]),
        (&json!(y()), &json!(1), &json!(2))
    );
    assert_eq!(statement["months"], json!([]));
    let refused = market
        .client
        .refusal("grid_statement", json!([y(), 2, 1]))
        .await;
    assert!(refused.message.contains("exchange them"), "{refused:?}");
    let refused = market
        .client
        .refusal("grid_statement", json!([y(), 3, 4]))
        .await;
    assert!(
        refused.message.contains("last step that closed, 2"),
        "{refused:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn clearings_are_told_as_they_come_the_last_one_at_once() {
    let mut market = Market::start().await;
    let subscribe = async |client: &Client| {
        client
            .subscribe(
                "market_subscribeClearings",
                json!([]),
                "market_unsubscribeClearings",
            )
            .await
    };
    let mut early = subscribe(&market.client).await;
    market.trade_in_step_two().await;
    let hash = market.node.chain.best().1;
    let news = next(&mut early).await;
    let expected = json!({
        "step": 2, "block": hash, "state": "cleared", "reason": null, "mechanism": { "name": "average" },
        "k": 1_000, "price": "4", "range": { "low": "3", "high": "3" }, "volumeUnits": 1_000, "turnover": "4000",
        "welfare": "2000", "orders": 2, "members": 2, "trades": 1,
    });
    assert_eq!(news, expected);
    market.node.author();
    let mut late = subscribe(&market.client).await;
    assert_eq!(next(&mut late).await, expected);
    // Nothing is told of step 3, which had no orders.
    market.submit("X", place(order(Side::Buy, 5, 1, 1))).await;
    market.node.author();
    market.node.author();
    for news in [&mut early, &mut late] {
        assert_eq!(next(news).await["step"], json!(5));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_hears_of_its_own_orders_alone() {
    let mut market = Market::start().await;
    let subscribe = async |client: &Client, who: String| {
        client
            .subscribe(
                "market_subscribeFills",
                json!([who]),
                "market_unsubscribeFills",
            )
            .await
    };
    let mut of_x = subscribe(&market.client, x()).await;
    let mut of_y = subscribe(&market.client, y()).await;
    market.trade_in_step_two().await;
    let hash = market.node.chain.best().1;
    let fill = next(&mut of_x).await;
    assert_eq!((&fill["step"], &fill["block"]), (&json!(2), &json!(hash)));
    assert_eq!(
        (
            &fill["state"],
            &fill["bought"],
            &fill["sold"],
            &fill["paid"],
            &fill["received"]
        ),
        (
            &json!("cleared"),
            &json!(1_000),
            &json!(0),
            &json!("4000"),
            &json!("0")
        )
    );
    assert_eq!(fill["orders"].as_array().unwrap().len(), 1);
    assert_eq!(fill["orders"][0]["id"], json!("2-0"));
    assert_eq!(fill["skipped"], json!([]));
    let fill = next(&mut of_y).await;
    assert_eq!(
        (
            &fill["sold"],
            &fill["received"],
            &fill["orders"][0]["offered"]
        ),
        (&json!(1_000), &json!("4000"), &json!(1_700))
    );

    // Y has 4 000 coins, and spends 3 200 of them on its standing order: too few are left for the next step.
    market.submit("Y", place(standing(Side::Buy, 4, 800))).await;
    market
        .submit("X", place(order(Side::Sell, 4, 4, 800)))
        .await;
    market.node.author();
    market.generate(4, 1).await;
    market.node.author();
    let fill = next(&mut of_y).await;
    assert_eq!(
        (
            &fill["step"],
            &fill["state"],
            &fill["bought"],
            &fill["paid"]
        ),
        (&json!(4), &json!("cleared"), &json!(800), &json!("3200"))
    );
    let skipped = json!([{ "id": "standing-0", "step": 5, "reason": "notEnoughCoins" }]);
    assert_eq!(fill["skipped"], skipped);
    assert_eq!(next(&mut of_x).await["received"], json!("3200"));
    // In a step without orders it is told of what was skipped alone.
    market.node.author();
    let fill = next(&mut of_y).await;
    assert_eq!(
        (&fill["step"], &fill["state"], &fill["orders"]),
        (&json!(5), &Value::Null, &json!([]))
    );
    assert_eq!(fill["skipped"][0]["step"], json!(6));
    let refused = market
        .client
        .try_subscribe(
            "market_subscribeFills",
            json!([]),
            "market_unsubscribeFills",
        )
        .await;
    let refused = refused.map(|_| ()).unwrap_err();
    assert!(
        refused.message.contains("(account) is missing"),
        "{refused:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_that_would_fail_is_refused_at_once_with_cause_and_mend() {
    let mut market = Market::start().await;
    let cases = [
        (
            order(Side::Buy, 1, 5, 10),
            "GateClosed",
            "for steps 2 to 97.",
        ),
        (
            order(Side::Buy, 98, 5, 10),
            "TooFarAhead",
            "for steps 2 to 97.",
        ),
        (
            order(Side::Buy, 2, 5, 0),
            "NothingOrdered",
            "at least one unit",
        ),
        (
            order(Side::Buy, 2, 0, 1),
            "LimitIsZero",
            "at least one coin",
        ),
        (order(Side::Buy, 2, u128::MAX, 1), "LimitTooHigh", "2^64"),
        (
            order(Side::Buy, 2, 1_001, 1_000),
            "NotEnoughCoins",
            "1000000 are free.",
        ),
        (
            order(Side::Buy, 2, u128::from(u64::MAX), u32::MAX),
            "NotEnoughCoins",
            "cancel another order",
        ),
        (
            OrderTerms {
                unit: Wh(100),
                ..order(Side::Buy, 2, 5, 1)
            },
            "WrongUnit",
            "The unit is 10 Wh.",
        ),
        (
            OrderTerms {
                cap: Cap::Need,
                ..order(Side::Sell, 2, 5, 1)
            },
            "CapOnSale",
            "caps purchases only",
        ),
        (
            terms(
                Side::Sell,
                5,
                1,
                When::Standing {
                    until: Some(Step(1)),
                },
            ),
            "AlreadyExpired",
            "for steps 2 to 97.",
        ),
    ];
    for (order, name, words) in cases {
        let data = market.refusal("X", place(order)).await;
        assert!(
            data.contains(&format!("\"DoubleAuction.{name}: ")),
            "{data}"
        );
        assert!(data.contains(words), "{name}: {data}");
    }
    let pending = market.call("author_pendingExtrinsics", json!([])).await;
    assert_eq!(pending, json!([]));

    // Who is registered but no member, and who is not registered at all.
    let call = place(order(Side::Sell, 2, 5, 1));
    for (who, words) in [
        ("Dso", "DoubleAuction.NotAMember: Only members trade"),
        ("Stranger", "account not registered: ask the DSO"),
    ] {
        let extrinsic = hex(&market.node.sign(who, 0, call.clone()));
        let refused = market
            .client
            .refusal("author_submitExtrinsic", json!([extrinsic]))
            .await;
        assert_eq!(refused.code, 1010, "{refused:?}");
        assert!(refused.data.contains(words), "{refused:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn cancelling_what_is_not_ones_own_or_not_open_is_refused_at_once() {
    let mut market = Market::start().await;
    market.submit("X", place(order(Side::Buy, 2, 5, 10))).await;
    market.submit("X", place(order(Side::Buy, 9, 5, 10))).await;
    market.node.author();
    let cancel = |id| RuntimeCall::from(Call::cancel { id });
    for (who, id, name) in [
        ("Y", id(9, 0), "NotYourOrder"),
        ("X", id(9, 1), "UnknownOrder"),
        ("X", OrderId::standing(0), "UnknownOrder"),
        // Block 2 closes step 2.
        ("X", id(2, 0), "GateClosed"),
    ] {
        let data = market.refusal(who, cancel(id)).await;
        assert!(
            data.contains(&format!("\"DoubleAuction.{name}: ")),
            "{data}"
        );
    }
    let data = market
        .refusal(
            "Y",
            Call::replace {
                id: id(9, 0),
                limit: 1,
                units: 1,
            }
            .into(),
        )
        .await;
    assert!(data.contains("DoubleAuction.NotYourOrder"), "{data}");
    let data = market.refusal("X", place(order(Side::Buy, 9, 5, 99))).await;
    assert!(data.contains("DoubleAuction.DuplicateOrder"), "{data}");
    market.submit("X", cancel(id(9, 0))).await;
    market.node.author();
    let view = market.call("market_orders", json!([x()])).await;
    assert_eq!((&view["open"], &view["held"]), (&json!([]), &json!("0")));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_earlier_transaction_may_mend_is_left_to_the_block() {
    let mut market = Market::start().await;
    market
        .submit("X", place(order(Side::Buy, 9, 900_000, 1)))
        .await;
    market.node.author();
    // There are coins for the second order only after the first one was cancelled, which waits in the pool.
    let dear = place(order(Side::Buy, 10, 800_000, 1));
    let data = market.refusal("X", dear.clone()).await;
    assert!(data.contains(" 100000 are free."), "{data}");
    market
        .submit("X", Call::cancel { id: id(9, 0) }.into())
        .await;
    // Another one than was refused, whose bytes are not looked at again before the next block.
    let dear_too = place(order(Side::Buy, 10, 800_001, 1));
    market.submit("X", dear_too).await;
    // Whatever comes before, this one has no unit.
    let data = market.refusal("X", place(order(Side::Buy, 10, 1, 0))).await;
    assert!(data.contains("NothingOrdered"), "{data}");
    assert_eq!(market.node.author().extrinsics, 3);
    let view = market.call("market_orders", json!([x()])).await;
    assert_eq!(view["held"], json!("800001"));
    assert_eq!(view["open"][0]["id"], json!("10-0"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_whose_gate_closed_while_it_waited_leaves_the_pool() {
    let mut market = Market::start().await;
    // The nonce before it is missing, so it waits.
    market.nonces[0] = 1;
    market.submit("X", place(order(Side::Buy, 3, 5, 10))).await;
    market.node.author();
    assert_eq!(market.node.chain.pool_status().future.total(), 1);
    market.node.author();
    assert_eq!(market.node.chain.pool_status().future.total(), 0);
}
