//! The commands against a node that answers what a test wants: what no honest node would do, or not at the right moment.

#![allow(clippy::unwrap_used)]

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use clap::{CommandFactory, Parser};
use codec::Encode;
use commonwatt_clearing::Side;
use commonwatt_primitives::{AccountId, Hash, Step, Wh};
use commonwatt_runtime::{Runtime, RuntimeCall, RuntimeEvent, VERSION};
use commonwatt_wallet::{Console, WalletCommand, signing::Signed};
use frame_system::{EventRecord, Phase};
use jsonrpsee::{
    RpcModule,
    core::SubscriptionResult,
    server::{PendingSubscriptionSink, Server, ServerHandle},
    types::ErrorObjectOwned,
};
use pallet_double_auction::{Call, Cap, Error, Event, OrderId, OrderTerms, When};
use serde_json::{Value, json};
use sp_io::TestExternalities;
use sp_runtime::DispatchError;
use tokio::{runtime::Runtime as Threads, sync::Semaphore};

/// The command line, as the binary has it.
#[derive(Debug, Parser)]
struct Cli {
    #[command(flatten)]
    wallet: WalletCommand,
}

/// Runs a command; returns what it printed, or what went wrong.
fn wallet(words: &[&str]) -> Result<String, String> {
    let words = ["wallet"].iter().chain(words);
    let cli = Cli::try_parse_from(words).map_err(|error| error.to_string())?;
    let (mut out, mut notes) = (Vec::new(), Vec::new());
    let console = &mut Console {
        out: &mut out,
        notes: &mut notes,
        input: &mut std::io::empty(),
    };
    cli.wallet.run(console).map_err(|error| error.to_string())?;
    Ok(String::from_utf8(out).unwrap())
}

/// What becomes of a transaction.
#[derive(Clone)]
enum Fate {
    /// A block takes it, with these events.
    Events(Vec<RuntimeEvent>),
    /// The node refuses it.
    Refused(ErrorObjectOwned),
    /// Nothing, ever.
    Silence,
    /// The node names a block that does not hold it.
    Lost,
    /// The node refuses so many, and a block takes the next one.
    Busy(usize, ErrorObjectOwned),
}

/// What a node says.
struct Said {
    spec_version: u32,
    chain_type: &'static str,
    fate: Fate,
    submitted: Mutex<Vec<String>>,
    /// The clearing and the fill of step 9, which wait until somebody has asked for the orders of it.
    news: Semaphore,
}

/// A node that says what it is told to.
struct Node {
    url: String,
    said: Arc<Said>,
    _handle: ServerHandle,
    _threads: Threads,
}

fn genesis() -> Hash {
    Hash::repeat_byte(1)
}

fn block() -> Hash {
    Hash::repeat_byte(2)
}

fn ok(value: Value) -> Result<Value, ErrorObjectOwned> {
    Ok(value)
}

fn methods(said: Arc<Said>) -> RpcModule<Arc<Said>> {
    let mut module = RpcModule::new(said);
    let mut tell = |name: &'static str, answer: fn(&Said) -> Value| {
        module
            .register_method(name, move |_, said, _| ok(answer(said)))
            .unwrap();
    };
    tell("chain_getBlockHash", |_| json!(genesis()));
    tell("chain_getFinalizedHead", |_| json!(block()));
    tell("chain_getHeader", |_| json!({"number": "0x5"}));
    tell("state_getRuntimeVersion", |said| {
        json!({
            "specName": "commonwatt", "specVersion": said.spec_version,
            "transactionVersion": VERSION.transaction_version,
        })
    });
    tell("system_chain", |_| json!("Test\u{1b}[2J"));
    tell("system_chainType", |said| json!(said.chain_type));
    tell(
        "system_properties",
        |_| json!({"tokenSymbol": "CWC", "tokenDecimals": 6}),
    );
    tell("energy_timing", |_| {
        json!({
            "genesisMs": 0, "stepMs": 60_000, "meteredMs": 900_000, "gateOpenMs": 1, "gateCloseMs": 1, "settleDelayMs": 1,
        })
    });
    tell("market_rules", |_| {
        json!({
            "unit": 10, "stepsAhead": 96, "ordersMax": 16, "standingMax": 16, "nextStep": 7, "coinRates": null, "loyalty": {},
            "mechanisms": [
                {"fromStep": 1, "mechanism": {"name": "average"}}, {"fromStep": 12, "mechanism": {"name": "continuous"}},
            ],
            "tariffs": [{"fromStep": 1, "buy": "9", "feedIn": "2"}],
        })
    });
    tell("system_accountNextIndex", |said| {
        json!(3 + said.submitted.lock().unwrap().len())
    });
    tell("state_getMetadata", |_| {
        let metadata = TestExternalities::new_empty().execute_with(Runtime::metadata);
        json!(format!("0x{}", hex::encode(metadata.encode())))
    });
    tell("chain_getBlock", |said| {
        let mut extrinsics = vec!["0x00".to_owned()];
        if !matches!(said.fate, Fate::Lost) {
            extrinsics.extend(said.submitted.lock().unwrap().last().cloned());
        }
        json!({"block": {"header": {"number": "0x6"}, "extrinsics": extrinsics}, "justifications": null})
    });
    tell("state_getStorage", |said| {
        let events = match &said.fate {
            Fate::Events(events) => events.clone(),
            Fate::Busy(..) => placed_events(),
            _ => return Value::Null,
        };
        // The block's first transaction is not the wallet's.
        let foreign = RuntimeEvent::System(frame_system::Event::NewAccount {
            account: AccountId::new([9; 32]),
        });
        let records: Vec<EventRecord<RuntimeEvent, Hash>> = [(0, foreign)]
            .into_iter()
            .chain(events.iter().map(|event| (1, event.clone())))
            .map(|(index, event)| EventRecord {
                phase: Phase::ApplyExtrinsic(index),
                event,
                topics: Vec::new(),
            })
            .collect();
        json!(format!("0x{}", hex::encode(records.encode())))
    });
    tell_trades(&mut module);
    tell_news(&mut module);
    module
        .register_subscription(
            "author_submitAndWatchExtrinsic",
            "author_extrinsicUpdate",
            "author_unwatchExtrinsic",
            |params, pending, said, _| async move {
                let transaction: String = params.one().unwrap();
                let count = {
                    let mut submitted = said.submitted.lock().unwrap();
                    submitted.push(transaction);
                    submitted.len()
                };
                let fate = match said.fate.clone() {
                    Fate::Busy(times, error) if count <= times => Fate::Refused(error),
                    fate => fate,
                };
                follow(pending, fate).await
            },
        )
        .unwrap();
    module
}

/// Step whose pages of trades never end.
const ENDLESS_STEP: u32 = 2;

/// What the node knows of Alice's trades: in step 5 she bought, on two pages; in step 4 she sold, and in step 12, which is to
/// come, her order matched already.
fn tell_trades(module: &mut RpcModule<Arc<Said>>) {
    let mut tell = |name: &'static str, answer: fn(&[Value], &Said) -> Value| {
        module
            .register_method(name, move |params, said, _| {
                let params: Vec<Value> = params.parse()?;
                assert_eq!(params.last(), Some(&json!(block())), "{name}");
                ok(answer(&params, said))
            })
            .unwrap();
    };
    tell("market_orders", |params, said| {
        let past = match params[1] == json!(1) {
            false => json!([]),
            true => {
                said.news.add_permits(2);
                json!([order("9-0", "buy", "cleared")])
            }
        };
        let open = [
            order("11-1", "sell", "open"),
            order("12-4", "sell", "open"),
            order("12-9", "buy", "withdrawn"),
        ];
        json!({"open": open, "standing": [], "held": "90", "past": past, "months": []})
    });
    tell("market_history", |params, _| match params[0] == json!(9) {
        true => json!([clearing()]),
        false => json!([]),
    });
    tell("energy_member", |params, _| {
        if params[2] == json!(0) {
            let is_registered =
                [alice(), member("//Bob")].contains(&params[0].as_str().unwrap().to_owned());
            return json!({
                "account": params[0], "role": is_registered.then_some("member"), "coins": "7000001", "votingTokens": "0",
                "votingDebt": "0", "entries": [], "next": null,
            });
        }
        let entry = |step: u32, bought: u32, sold: u32| json!({"step": step, "shared": 500, "rest": 0, "bought": bought, "sold": sold, "consumption": null});
        let (before, count) = (params[1].as_u64().unwrap(), params[2].as_u64().unwrap());
        let entries = [
            entry(5, 120, 0),
            entry(4, 0, 40),
            entry(3, 0, 0),
            entry(2, 10, 0),
        ];
        let asked = entries.into_iter().filter(|entry| {
            let step = entry["step"].as_u64().unwrap();
            (before - count..before).contains(&step)
        });
        json!({"entries": asked.collect::<Vec<_>>(), "next": null})
    });
    tell("market_clearing", |params, _| {
        let (step, start) = (params[0].as_u64().unwrap(), params[1].as_u64().unwrap());
        let (items, next) = match (step, start) {
            (5, 0) => (vec![trade(&alice(), "5Ben", 10)], json!(10_000)),
            (5, _) => (
                vec![trade("5Ben", "5Cy", 50), trade(&alice(), "5Cy\u{1b}[2J", 2)],
                Value::Null,
            ),
            (4, _) => (vec![trade("5Ben", &alice(), 4)], Value::Null),
            _ => (Vec::new(), json!(start)),
        };
        json!({
            "step": step, "state": "cleared", "mechanism": {"name": "average"},
            "trades": {"items": items, "next": next, "total": 3},
        })
    });
    tell("market_matched", |params, _| {
        let trades = match params[0].as_u64().unwrap() {
            12 => vec![trade("5Ben", &alice(), 1)],
            _ => Vec::new(),
        };
        json!({"step": params[0], "orders": [], "trades": trades, "next": null})
    });
    tell("energy_trace", |_, _| {
        json!({
            "from": [{"meter": 0, "energy": 500}], "boughtFrom": [{"meter": 3, "energy": 110}], "boughtFromOuterGrid": 10,
            "proof": {"nodes": []},
        })
    });
}

/// An order of 9 units at 3.
fn order(id: &str, side: &str, status: &str) -> Value {
    let (step, _) = id.split_once('-').unwrap();
    let step: u32 = step.parse().unwrap();
    json!({
        "id": id, "step": step, "side": side, "limit": "3", "units": 9, "cap": "quantity", "status": status, "offered": 9,
        "traded": 0, "coins": "0",
    })
}

/// The market of step 9.
fn clearing() -> Value {
    json!({
        "step": 9, "state": "cleared", "mechanism": {"name": "continuous"}, "k": 12, "price": null,
        "range": {"low": "3", "high": "3"}, "volumeUnits": 63, "turnover": "330", "orders": 5, "trades": 3,
    })
}

/// What steps bring is told by several ways: that they closed at once, all else of step 9 when somebody asked for it.
fn tell_news(module: &mut RpcModule<Arc<Said>>) {
    module
        .register_subscription(
            "energy_subscribeSteps",
            "energy_step",
            "energy_unsubscribeSteps",
            |_, pending, _, _| async move {
                let sink = pending.accept().await?;
                for step in [8, 9, 10] {
                    let closed = json!({"step": step, "block": block(), "late": false});
                    sink.send(serde_json::value::to_raw_value(&closed)?).await?;
                }
                sink.closed().await;
                Ok(())
            },
        )
        .unwrap();
    let mut tell_later = |[ask, tell, end]: [&'static str; 3], news: fn() -> Value| {
        let told = move |_, pending: PendingSubscriptionSink, said: Arc<Arc<Said>>, _| async move {
            let sink = pending.accept().await?;
            said.news.acquire().await?.forget();
            sink.send(serde_json::value::to_raw_value(&news())?).await?;
            sink.closed().await;
            Ok(())
        };
        module.register_subscription(ask, tell, end, told).unwrap();
    };
    let clearings = [
        "market_subscribeClearings",
        "market_clearing",
        "market_unsubscribeClearings",
    ];
    tell_later(clearings, clearing);
    let fills = [
        "market_subscribeFills",
        "market_fill",
        "market_unsubscribeFills",
    ];
    tell_later(
        fills,
        || json!({"step": 9, "state": "cleared", "orders": [order("9-0", "buy", "cleared")], "skipped": []}),
    );
}

fn alice() -> String {
    member("//Alice")
}

/// Returns the address of a development key.
fn member(uri: &str) -> String {
    let pair = commonwatt_keystore::SecretUri::parse(uri).unwrap();
    let pair = pair.to_pair(commonwatt_keystore::Scheme::Ed25519).unwrap();
    AccountId::new(pair.public()).to_string()
}

/// A trade at 7 smallest coins for a unit.
fn trade(buyer: &str, seller: &str, units: u32) -> Value {
    let coins = (units * 7).to_string();
    json!({
        "buyer": buyer, "seller": seller, "buyOrder": "5-0", "sellOrder": "5-1", "buyAt": 0, "sellAt": 1, "units": units,
        "price": "7", "buyerPaid": coins, "sellerReceived": coins,
    })
}

async fn follow(pending: PendingSubscriptionSink, fate: Fate) -> SubscriptionResult {
    if let Fate::Refused(error) = fate {
        pending.reject(error).await;
        return Ok(());
    }
    let sink = pending.accept().await?;
    let tell = |status: Value| serde_json::value::to_raw_value(&status).unwrap();
    sink.send(tell(json!("ready"))).await?;
    match fate {
        Fate::Silence => sink.closed().await,
        _ => {
            sink.send(tell(json!({ "inBlock": block() }))).await?;
            sink.send(tell(json!({ "finalized": block() }))).await?;
        }
    }
    Ok(())
}

fn node_that(spec_version: u32, chain_type: &'static str, fate: Fate) -> Node {
    let threads = Threads::new().unwrap();
    let said = Arc::new(Said {
        spec_version,
        chain_type,
        fate,
        submitted: Mutex::default(),
        news: Semaphore::new(0),
    });
    let methods = methods(said.clone());
    let (address, handle): (SocketAddr, _) = threads.block_on(async {
        let server = Server::builder().build("127.0.0.1:0").await.unwrap();
        (server.local_addr().unwrap(), server.start(methods))
    });
    Node {
        url: format!("ws://{address}"),
        said,
        _handle: handle,
        _threads: threads,
    }
}

/// A node of a development chain that fits.
fn node(fate: Fate) -> Node {
    node_that(VERSION.spec_version, "Development", fate)
}

impl Node {
    /// Runs a command that signs as //Alice.
    fn alice(&self, words: &[&str]) -> Result<String, String> {
        let mut all = words.to_vec();
        all.extend(["--suri", "//Alice", "--url", &self.url]);
        wallet(&all)
    }

    fn submitted(&self) -> Vec<Signed> {
        let submitted = self.said.submitted.lock().unwrap();
        submitted
            .iter()
            .map(|text| Signed::parse(text).unwrap())
            .collect()
    }
}

const BID: [&str; 6] = ["bid", "1.5kWh", "--limit", "700uCWC/kWh", "--step", "12"];

fn terms() -> OrderTerms {
    OrderTerms {
        side: Side::Buy,
        limit: 7,
        units: 150,
        unit: Wh(10),
        when: When::Once(Step(12)),
        cap: Cap::Quantity,
    }
}

fn placed() -> Fate {
    Fate::Events(placed_events())
}

fn placed_events() -> Vec<RuntimeEvent> {
    let id = OrderId {
        step: Step(12),
        number: 4,
    };
    vec![RuntimeEvent::DoubleAuction(Event::OrderPlaced {
        who: AccountId::new([7; 32]),
        id,
        terms: terms(),
    })]
}

#[test]
fn the_command_line_is_consistent() {
    Cli::command().debug_assert();
}

#[test]
fn an_order_is_what_was_written_and_what_came_of_it_is_told() {
    let node = node(placed());
    let said = node.alice(&BID).unwrap();
    assert!(
        said.contains("order 12-4 is placed: buy up to 1.5kWh for at most 7 uCWC/10Wh in step 12"),
        "{said}"
    );
    assert!(said.contains("in block 6 "), "{said}");
    let submitted = node.submitted();
    let call = RuntimeCall::DoubleAuction(Call::place { terms: terms() });
    assert_eq!(submitted.len(), 1);
    assert_eq!(submitted[0].call, call);
    let said = node.alice(&[&BID[..], &["--json"]].concat()).unwrap();
    let answer: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(
        (&answer["order"], &answer["blockNumber"]),
        (&json!("12-4"), &json!(6))
    );
}

#[test]
fn an_order_says_what_it_puts_on_hold() {
    let said = node(placed()).alice(&BID).unwrap();
    assert!(
        said.contains("; 1050 uCWC are put on hold for it"),
        "{said}"
    );
}

/// Seven smallest coins were meant, and seven million were written.
#[test]
fn an_order_that_is_worse_than_the_outer_grid_is_refused_unless_it_is_meant() {
    let node = node(placed());
    let too_dear = ["bid", "10Wh", "--limit", "7", "--step", "12"];
    let standing = ["standing", "buy", "10Wh", "--limit", "7"];
    let replaced = ["replace", "11-1", "--limit", "1uCWC"];
    let given_away = ["ask", "10Wh", "--limit", "1uCWC", "--step", "12"];
    for (words, figures) in [
        (&too_dear[..], ["7 CWC/10Wh", "9 uCWC/10Wh"]),
        (&standing, ["7 CWC/10Wh", "9 uCWC/10Wh"]),
        (&replaced, ["1 uCWC/10Wh", "2 uCWC/10Wh"]),
        (&given_away, ["1 uCWC/10Wh", "2 uCWC/10Wh"]),
    ] {
        let said = node.alice(words).unwrap_err();
        assert!(
            figures.iter().all(|figure| said.contains(figure)) && said.contains("--beyond-tariff"),
            "{words:?}: {said}"
        );
    }
    assert!(node.submitted().is_empty());
    for words in [&too_dear[..], &standing, &replaced, &given_away] {
        node.alice(&[words, &["--beyond-tariff"]].concat()).unwrap();
    }
    assert_eq!(node.submitted().len(), 4);
}

#[test]
fn a_negative_amount_is_refused_in_the_wallets_own_words() {
    let node = node(placed());
    let said = node.alice(&["bid", "10Wh", "--limit", "-1"]).unwrap_err();
    assert!(said.contains("no sign") && !said.contains("tip:"), "{said}");
    let said = node
        .alice(&["replace", "11-1", "--limit", "-1uCWC"])
        .unwrap_err();
    assert!(said.contains("no sign"), "{said}");
}

#[test]
fn nothing_is_signed_for_another_chain() {
    let node = node(placed());
    let other = format!("{:?}", Hash::repeat_byte(9));
    let said = node
        .alice(&[&BID[..], &["--genesis", &other]].concat())
        .unwrap_err();
    assert!(
        said.contains("another chain") && said.contains("--url"),
        "{said}"
    );
    assert!(node.submitted().is_empty());
    let own = format!("{:?}", genesis());
    node.alice(&[&BID[..], &["--genesis", &own]].concat())
        .unwrap();
}

#[test]
fn nothing_is_signed_for_other_rules() {
    let node = node_that(VERSION.spec_version + 1, "Development", placed());
    let said = node.alice(&BID).unwrap_err();
    assert!(
        said.contains("nothing was signed") && said.contains("spec version 2"),
        "{said}"
    );
    assert!(node.submitted().is_empty());
}

#[test]
fn a_public_key_signs_nothing_on_a_real_chain() {
    let node = node_that(VERSION.spec_version, "Live", placed());
    let said = node.alice(&BID).unwrap_err();
    assert!(said.contains("anybody can sign"), "{said}");
    assert!(node.submitted().is_empty());
}

#[test]
fn a_refusal_of_the_node_is_passed_on() {
    let refusal = ErrorObjectOwned::owned(
        1010,
        "Invalid Transaction",
        Some("DoubleAuction.WrongUnit: another unit. The unit is 999 Wh.\u{1b}[2J"),
    );
    let node = node(Fate::Refused(refusal));
    let said = node.alice(&BID).unwrap_err();
    assert!(
        said.contains("unit is 999 Wh") && !said.contains('\u{1b}'),
        "{said}"
    );
}

#[test]
fn coins_that_an_order_lacks_are_counted_as_people_do() {
    let refusal = ErrorObjectOwned::owned(
        1010,
        "Invalid Transaction",
        Some("DoubleAuction.NotEnoughCoins: too few free coins. 7000000 are free."),
    );
    let in_block = RuntimeEvent::System(frame_system::Event::ExtrinsicFailed {
        dispatch_error: DispatchError::from(Error::<Runtime>::NotEnoughCoins),
        dispatch_info: Default::default(),
    });
    for fate in [Fate::Refused(refusal), Fate::Events(vec![in_block])] {
        let bid = [
            "bid",
            "1.5kWh",
            "--limit",
            "0.1",
            "--step",
            "12",
            "--beyond-tariff",
        ];
        let said = node(fate).alice(&bid).unwrap_err();
        assert!(
            said.contains("puts 15 CWC on hold") && said.contains("7 CWC are free"),
            "{said}"
        );
        assert!(
            said.contains("90 uCWC on hold") && said.contains("DoubleAuction.NotEnoughCoins"),
            "{said}"
        );
    }
}

#[test]
fn coins_are_sent_to_whom_can_use_them_unless_it_is_said_otherwise() {
    let node = node(Fate::Events(Vec::new()));
    let (bob, nobody) = (member("//Bob"), member("//Nobody"));
    node.alice(&["transfer", &bob, "7"]).unwrap();
    let said = node.alice(&["transfer", &nobody, "7"]).unwrap_err();
    assert!(
        said.contains("not registered") && said.contains("--unregistered"),
        "{said}"
    );
    assert_eq!(node.submitted().len(), 1);
    node.alice(&["transfer", &nobody, "7", "--unregistered"])
        .unwrap();
    assert_eq!(node.submitted().len(), 2);
    // The same for what was signed elsewhere.
    let signed = node.submitted()[1].to_hex();
    let said = wallet(&["submit", &signed, "--url", &node.url]).unwrap_err();
    assert!(said.contains("not registered"), "{said}");
    wallet(&["submit", &signed, "--unregistered", "--url", &node.url]).unwrap();
    assert_eq!(node.submitted().len(), 3);
}

#[test]
fn no_more_coins_are_sent_than_are_free() {
    let node = node(Fate::Events(Vec::new()));
    let said = node
        .alice(&["transfer", &member("//Bob"), "7.000001"])
        .unwrap_err();
    assert!(
        said.contains("send 7 CWC at most") && said.contains("7.000001 CWC were to be sent"),
        "{said}"
    );
    assert!(node.submitted().is_empty());
}

#[test]
fn a_mistyped_address_is_called_one() {
    let node = node(Fate::Events(Vec::new()));
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().to_str().unwrap();
    let address = member("//Bob");
    let last = if address.ends_with('x') { "y" } else { "x" };
    let mistyped = format!("{}{last}", &address[..address.len() - 1]);
    for wrong in [mistyped.as_str(), &address[1..]] {
        let said = node
            .alice(&["transfer", wrong, "1", "--wallet", folder])
            .unwrap_err();
        assert!(said.contains("checksum") && said.contains(wrong), "{said}");
    }
    let said = node
        .alice(&["transfer", "bob", "1", "--wallet", folder])
        .unwrap_err();
    assert!(said.contains("has no account \"bob\""), "{said}");
}

#[test]
fn coins_that_a_cancelled_order_keeps_on_hold_are_told() {
    let cancelled = |number| {
        let id = OrderId {
            step: Step(12),
            number,
        };
        let who = AccountId::new([7; 32]);
        let node = node(Fate::Events(vec![RuntimeEvent::DoubleAuction(
            Event::OrderCancelled { who, id },
        )]));
        let name = format!("12-{number}");
        node.alice(&["cancel", &name]).unwrap()
    };
    let said = cancelled(9);
    assert!(
        said.contains("order 12-9 is cancelled; ")
            && said.contains("up to 27 uCWC stay on hold until step 12"),
        "{said}"
    );
    // One that is gone from the book holds nothing.
    assert!(!cancelled(5).contains("on hold"));
}

#[test]
fn a_step_closes_after_all_it_brought() {
    let node = node(Fate::Silence);
    let said = node.alice(&["watch", "--steps", "2", "--json"]).unwrap();
    let lines: Vec<Value> = said
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines.len(), 5, "{said}");
    assert_eq!(lines[0], json!({"closed": 8}));
    let brought = &lines[1..3];
    assert!(
        brought.iter().any(|news| news["clearing"]["step"] == 9),
        "{said}"
    );
    assert!(
        brought.iter().any(|news| news["fill"]["step"] == 9),
        "{said}"
    );
    // Of step 10 there is nothing to wait for.
    assert_eq!(lines[3..], [json!({"closed": 9}), json!({"closed": 10})]);
}

#[test]
fn what_was_paid_on_average_is_told_where_orders_match_as_they_arrive() {
    let said = node(Fate::Silence)
        .alice(&["watch", "--steps", "1"])
        .unwrap();
    assert!(
        said.contains("step 9 cleared: 630 Wh traded at 5.2 uCWC on average for 10Wh"),
        "{said}"
    );
}

#[test]
fn a_refusal_of_the_runtime_is_told_in_the_words_of_the_metadata() {
    let failed = RuntimeEvent::System(frame_system::Event::ExtrinsicFailed {
        dispatch_error: DispatchError::from(Error::<Runtime>::GateClosed),
        dispatch_info: Default::default(),
    });
    let said = node(Fate::Events(vec![failed])).alice(&BID).unwrap_err();
    assert!(
        said.contains("block 6") && said.contains("Choose a later step"),
        "{said}"
    );
    assert!(said.contains("DoubleAuction.GateClosed"), "{said}");
}

#[test]
fn an_order_of_a_closed_step_can_no_longer_be_changed() {
    let failed = RuntimeEvent::System(frame_system::Event::ExtrinsicFailed {
        dispatch_error: DispatchError::from(Error::<Runtime>::GateClosed),
        dispatch_info: Default::default(),
    });
    let refusal = ErrorObjectOwned::owned(
        1010,
        "Invalid Transaction",
        Some("DoubleAuction.GateClosed: too late. Choose a later step."),
    );
    for fate in [Fate::Events(vec![failed]), Fate::Refused(refusal)] {
        let node = node(fate);
        let said = node.alice(&["cancel", "5-1"]).unwrap_err();
        assert!(
            said.contains("order 5-1 can no longer be cancelled") && said.contains("GateClosed"),
            "{said}"
        );
        assert!(!said.contains("later step"), "{said}");
        let said = node
            .alice(&["replace", "11-1", "--limit", "5uCWC"])
            .unwrap_err();
        assert!(said.contains("can no longer be replaced"), "{said}");
    }
}

#[test]
fn a_call_whose_number_was_taken_meanwhile_is_signed_anew() {
    let low = ErrorObjectOwned::owned(1014, "Priority is too low", None::<()>);
    let stale = ErrorObjectOwned::owned(
        1010,
        "Invalid Transaction",
        Some(
            "the nonce has been used: ask system_accountNextIndex for the next one and sign again",
        ),
    );
    for error in [low, stale] {
        let patient = node(Fate::Busy(3, error.clone()));
        let said = patient.alice(&BID).unwrap();
        assert!(said.contains("order 12-4"), "{said}");
        assert_eq!(patient.submitted().len(), 4);
        // Another number makes another transaction.
        assert_ne!(patient.submitted()[2].bytes, patient.submitted()[3].bytes);
        let busy = node(Fate::Busy(4, error));
        let said = busy.alice(&BID).unwrap_err();
        assert!(
            said.contains("refused") || said.contains("not take"),
            "{said}"
        );
        assert_eq!(busy.submitted().len(), 4);
    }
    // What is refused for another reason is not sent again.
    let other = ErrorObjectOwned::owned(1010, "Invalid Transaction", Some("not registered"));
    let node = node(Fate::Busy(1, other));
    node.alice(&BID).unwrap_err();
    assert_eq!(node.submitted().len(), 1);
}

#[test]
fn a_transaction_in_a_file_may_be_as_long_as_any() {
    let node = node(placed());
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("transaction.hex");
    let submit = |bytes: usize| {
        std::fs::write(&path, format!("0x{}\n", "00".repeat(bytes))).unwrap();
        wallet(&["submit", path.to_str().unwrap(), "--url", &node.url]).unwrap_err()
    };
    // It is read, and is none.
    let said = submit(64 * 1024);
    assert!(said.contains("no transaction of this chain"), "{said}");
    for bytes in [64 * 1024 + 1, 80 * 1024] {
        let said = submit(bytes);
        assert!(
            said.contains("longer than 65536 bytes") && !said.contains("key"),
            "{said}"
        );
    }
    let missing = folder.path().join("nothing").display().to_string();
    let said = wallet(&["submit", &missing, "--url", &node.url]).unwrap_err();
    assert!(said.contains("there is no file"), "{said}");
}

#[test]
fn a_chain_is_shown_to_whoever_has_several_accounts() {
    let node = node(Fate::Silence);
    let base = tempfile::tempdir().unwrap();
    let private = |name: &str, text: &str| {
        let path = base.path().join(name);
        commonwatt_keystore::files::write_private(&path, text.as_bytes()).unwrap();
        path.display().to_string()
    };
    let password = private("password", "a long password");
    let folder = base.path().join("wallet").display().to_string();
    let keep = |name: &str| {
        let secret = private(name, &format!("//{name}"));
        let words = ["import", name, &secret, "--password-file", &password];
        wallet(&[&words[..], &["--wallet", &folder]].concat()).unwrap();
    };
    let ask = |words: &[&str]| {
        let more = ["--url", &node.url, "--wallet", &folder];
        wallet(&[words, &more].concat()).unwrap()
    };
    keep("Alice");
    assert!(ask(&["chain"]).contains(&alice()));
    keep("Bob");
    let said = ask(&["chain"]);
    assert!(
        said.contains("steps 7 to 102") && !said.contains("nonce"),
        "{said}"
    );
    let answer: Value = serde_json::from_str(&ask(&["chain", "--json"])).unwrap();
    assert_eq!(answer["account"], Value::Null);
    assert_eq!(
        answer["tariff"],
        json!({"fromStep": 1, "buy": "9", "feedIn": "2"})
    );
    assert_eq!(
        (&answer["coinRates"], &answer["lastStep"]),
        (&Value::Null, &json!(102))
    );
    assert_eq!(answer["timing"]["stepMs"], json!(60_000));
    // The clearing of the step that is watched.
    node.said.news.add_permits(1);
    assert!(ask(&["watch", "--steps", "1", "--json"]).contains("closed"));
}

#[test]
fn nobody_waits_for_ever() {
    let node = node(Fate::Silence);
    let began = std::time::Instant::now();
    let said = node
        .alice(&[&BID[..], &["--timeout", "1"]].concat())
        .unwrap_err();
    assert!(
        said.contains("no block took") && said.contains("wallet orders"),
        "{said}"
    );
    assert!(began.elapsed() < Duration::from_secs(30));
}

#[test]
fn a_node_that_lies_about_a_block_is_not_believed() {
    let said = node(Fate::Lost).alice(&BID).unwrap_err();
    assert!(said.contains("does not hold the transaction"), "{said}");
}

#[test]
fn what_was_signed_offline_is_submitted_as_it_is() {
    let node = node(placed());
    let own = format!("{:?}", genesis());
    let offline = [
        "--suri",
        "//Alice",
        "--offline",
        "--genesis",
        &own,
        "--nonce",
        "3",
        "--spec-version",
        "1",
        "--transaction-version",
        "1",
        "--era",
        "immortal",
    ];
    let signed = wallet(&[&BID[..], &offline].concat()).unwrap();
    let online = node.alice(&[&BID[..], &["--era", "immortal"]].concat());
    online.unwrap();
    // ed25519 signs alike each time: the two ways make the same bytes.
    assert_eq!(node.submitted()[0].to_hex(), signed.trim());
    let said = wallet(&["submit", signed.trim(), "--url", &node.url]).unwrap();
    assert!(said.contains("order 12-4"), "{said}");
    assert_eq!(node.submitted()[1].to_hex(), signed.trim());
}

#[test]
fn signing_offline_names_what_it_lacks() {
    let own = format!("{:?}", genesis());
    let offline = |more: &[&str]| {
        let words = [
            "--suri",
            "//Alice",
            "--offline",
            "--genesis",
            &own,
            "--nonce",
            "3",
        ];
        wallet(&[&BID[..], &words, more].concat()).unwrap_err()
    };
    let said = offline(&[]);
    assert!(said.contains("--spec-version"), "{said}");
    let said = offline(&["--spec-version", "2", "--transaction-version", "1"]);
    assert!(said.contains("spec version 1"), "{said}");
    let said = offline(&["--spec-version", "1", "--transaction-version", "1"]);
    assert!(
        said.contains("--era-block") && said.contains("--era immortal"),
        "{said}"
    );
    let next = ["bid", "1kWh", "--limit", "1uCWC"];
    let words = [
        "--suri",
        "//Alice",
        "--offline",
        "--genesis",
        &own,
        "--nonce",
        "3",
        "--spec-version",
        "1",
        "--transaction-version",
        "1",
        "--era",
        "immortal",
    ];
    let said = wallet(&[&next[..], &words].concat()).unwrap_err();
    assert!(said.contains("--step"), "{said}");
}

#[test]
fn a_secret_on_the_command_line_is_refused_and_not_repeated() {
    let secret = "0x0101010101010101010101010101010101010101010101010101010101010101";
    let said = wallet(&[&BID[..], &["--suri", secret]].concat()).unwrap_err();
    assert!(
        said.contains("wallet import") && !said.contains(secret),
        "{said}"
    );
}

#[test]
fn a_member_sees_whom_it_traded_with_and_who_made_it() {
    let node = node(Fate::Silence);
    let said = node
        .alice(&["history", "--trades", "--steps", "3"])
        .unwrap();
    let lines: Vec<_> = said.lines().collect();
    let rows = [
        ["12", "will sell", "10 Wh", "7 uCWC", "5Ben"],
        ["5", "bought", "100 Wh", "70 uCWC", "5Ben"],
        ["5", "bought", "20 Wh", "14 uCWC", "5Cy[2J"],
        ["4", "sold", "40 Wh", "28 uCWC", "5Ben"],
    ];
    for (line, row) in lines[1..].iter().zip(rows) {
        assert!(
            row.iter().all(|part| line.contains(part)),
            "{row:?}: {said}"
        );
    }
    assert_eq!(
        lines[6], "bought 120 Wh for 84 uCWC, sold 40 Wh for 28 uCWC",
        "{said}"
    );
    assert!(
        said.contains("outer grid") && said.contains("110 Wh"),
        "{said}"
    );
    let of_one = node
        .alice(&[
            "history", "--trades", "--newest", "4", "--steps", "1", "--json",
        ])
        .unwrap();
    let answer: Value = serde_json::from_str(&of_one).unwrap();
    assert_eq!(answer.as_array().map(Vec::len), Some(1), "{of_one}");
    let step = &answer[0];
    assert_eq!(step["trades"], json!([trade("5Ben", &alice(), 4)]));
    assert_eq!(
        (
            &step["step"],
            &step["state"],
            &step["sold"],
            &step["received"]
        ),
        (&json!(4), &json!("cleared"), &json!(4), &json!("28"))
    );
    assert!(step["trace"]["boughtFrom"].is_array() && step["trace"].get("proof").is_none());
}

#[test]
fn pages_that_never_end_are_not_turned() {
    let newest = ENDLESS_STEP.to_string();
    let said = node(Fate::Silence)
        .alice(&["history", "--trades", "--newest", &newest])
        .unwrap_err();
    assert!(said.contains("do not follow each other"), "{said}");
}

#[test]
fn an_account_without_its_trades_is_no_question() {
    let said = node(Fate::Silence).alice(&["history"]).unwrap_err();
    assert!(said.contains("--trades"), "{said}");
}

#[test]
fn a_chains_name_cannot_move_the_cursor() {
    let node = node(placed());
    let said = wallet(&["chain", "--suri", "//Alice", "--url", &node.url]).unwrap();
    assert!(
        said.contains("Test[2J") && !said.contains('\u{1b}'),
        "{said}"
    );
    assert!(
        said.contains("takes 9 and pays 2 smallest units of money for 10Wh"),
        "{said}"
    );
    assert!(said.contains("posts no rates for coins"), "{said}");
}
