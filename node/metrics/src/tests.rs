//! The figures of a real chain, and what is written about them.

use std::{
    collections::BTreeSet,
    fs,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use commonwatt_chain::{Chain, ChainConfig, HealthCheck, SessionPairs, Unready, Validators};
use commonwatt_executor::{BuildLimits, Executor};
use commonwatt_primitives::{Quality, Step, Wh, digest::Punctuality};
use commonwatt_runtime::{
    RuntimeCall,
    example::{beacon_pair, genesis, pair},
    transaction::{SigningContext, sign_ed25519},
};
use commonwatt_storage::{ChainDb, CommitMode, DatabaseKind, DbConfig};
use commonwatt_txpool::TransactionSource;
use pallet_energy_token::{Call as EnergyCall, Measurement, Report};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::{
    About, Count, Kind, Metrics, Protocol, ReadCounts, RpcFigures, serve,
    server::{Patience, serve_with},
};

const EXTERNAL: TransactionSource = TransactionSource::External;

fn metrics() -> Arc<Metrics> {
    let about = About {
        name: "commonwatt".into(),
        version: "1.2.3".into(),
        chain_id: "test".into(),
        is_authority: true,
    };
    Arc::new(Metrics::new(&about).unwrap())
}

/// A chain that metrics observe.
struct Watched {
    chain: Arc<Chain>,
    check: HealthCheck,
    metrics: Arc<Metrics>,
    _folder: TempDir,
}

fn watched() -> Watched {
    let folder = tempfile::tempdir().unwrap();
    let config = DbConfig {
        kind: DatabaseKind::Redb,
        ..DbConfig::default()
    };
    let db = ChainDb::open(&folder.path().join("db"), config).unwrap();
    let storage = genesis().build_storage().unwrap();
    let mut chain = Chain::open(db, Executor::new(), storage, ChainConfig::default()).unwrap();
    let validator = chain.next_lineup().unwrap().validators.remove(0);
    let pairs = SessionPairs {
        vote: pair("X"),
        beacon: beacon_pair("X"),
    };
    let agreement = Validators::new(&validator, pairs).unwrap();
    chain.set_agreement(Arc::new(agreement));
    let chain = Arc::new(chain);
    let metrics = metrics();
    assert!(chain.set_observer(metrics.clone()));
    Watched {
        check: HealthCheck::new(chain.clone()).unwrap(),
        chain,
        metrics,
        _folder: folder,
    }
}

impl Watched {
    /// Submits a reading of a generator.
    fn report(&self, by: &str, step: u32, wh: u64, sequence: u64) -> bool {
        let reading = Measurement::Interval {
            energy: Wh(wh),
            version: u32::try_from(sequence).unwrap(),
            quality: Quality::Measured,
        };
        let report = Report {
            step: Step(step),
            reading,
        };
        let call: RuntimeCall = EnergyCall::report { sequence, report }.into();
        let nonce = u32::try_from(sequence).unwrap() - 1;
        let context = SigningContext::immortal(self.chain.genesis_hash());
        let extrinsic = sign_ed25519(call, nonce, &context, &pair(by));
        self.chain.submit(EXTERNAL, extrinsic).is_ok()
    }

    /// Makes the next block and has it noted, so many milliseconds after its step closed.
    fn make_block(&self, punctuality: Punctuality, after_ms: u64) {
        let mut heads = self.chain.subscribe_heads();
        let limits = BuildLimits {
            bytes_max: 1 << 20,
            misfits_max: 8,
            is_over: &|| false,
        };
        let block = self
            .chain
            .author_next(
                self.check.timing(),
                punctuality,
                &limits,
                CommitMode::Durable,
            )
            .unwrap()
            .unwrap();
        let closed_ms = self.check.timing().closes_at_ms(Step(self.chain.best().0));
        let head = heads.try_recv().unwrap();
        assert_eq!(head.hash, block.hash);
        self.metrics
            .note_head(&self.check, &head, closed_ms + after_ms);
    }

    /// Returns what Prometheus would read at an instant.
    fn exported(&self, now_ms: u64) -> String {
        self.metrics.refresh(&self.check, now_ms);
        self.metrics.encode().unwrap()
    }
}

/// Returns the value of one line of the export, whose labels may stand in any order.
fn value(exported: &str, figure: &str) -> f64 {
    let wanted = parts(figure);
    let found = exported.lines().find_map(|line| {
        let (name, value) = line.rsplit_once(' ')?;
        (parts(name) == wanted).then(|| value.parse().unwrap())
    });
    found.unwrap_or_else(|| panic!("no {figure} in\n{exported}"))
}

fn parts(figure: &str) -> BTreeSet<&str> {
    figure.split(['{', ',', '}']).collect()
}

#[test]
fn a_step_shows_in_the_figures() {
    let node = watched();
    assert!(node.report("A", 1, 15_000, 1));
    assert!(node.report("B", 1, 10_000, 1));
    node.make_block(Punctuality::OnTime, 3_200);
    let now_ms = node.check.timing().settles_at_ms(Step(1));
    let exported = node.exported(now_ms);
    let value = |figure: &str| value(&exported, figure);

    assert_eq!(
        value(r#"substrate_block_height{chain="test",status="best"}"#),
        1.0
    );
    assert_eq!(
        value(r#"substrate_block_height{chain="test",status="finalized"}"#),
        1.0
    );
    assert_eq!(value(r#"commonwatt_step_readings{chain="test"}"#), 2.0);
    assert_eq!(
        value(r#"commonwatt_readings_total{chain="test",kind="generation"}"#),
        2.0
    );
    assert_eq!(
        value(r#"commonwatt_step_generated_watthours{chain="test"}"#),
        25_000.0
    );
    assert_eq!(
        value(r#"commonwatt_generated_watthours_total{chain="test"}"#),
        25_000.0
    );
    let allocated = |part| {
        let figure =
            format!(r#"commonwatt_step_allocated_watthours{{chain="test",part="{part}"}}"#);
        value(&figure)
    };
    assert_eq!(allocated("shared") + allocated("rest"), 25_000.0);
    // The timestamp and the two readings.
    assert_eq!(value(r#"commonwatt_block_extrinsics{chain="test"}"#), 3.0);
    assert!(value(r#"commonwatt_block_bytes{chain="test"}"#) > 200.0);
    assert_eq!(
        value(r#"commonwatt_database_commit_seconds_count{chain="test"}"#),
        1.0
    );
    assert_eq!(
        value(r#"substrate_proposer_block_constructed_count{chain="test"}"#),
        1.0
    );
    let in_time =
        r#"commonwatt_step_closure_to_final_seconds_sum{chain="test",punctuality="on_time"}"#;
    assert_eq!(value(in_time), 3.2);
    assert_eq!(value(r#"commonwatt_blocks_late_total{chain="test"}"#), 0.0);
    assert_eq!(value(r#"commonwatt_steps_behind{chain="test"}"#), 0.0);
    assert!(value(r#"substrate_sub_txpool_validations_finished{chain="test"}"#) >= 2.0);
    assert!(value(r#"commonwatt_database_disk_bytes{chain="test"}"#) > 0.0);
}

#[test]
fn what_no_block_has_told_yet_is_not_exported() {
    let node = watched();
    let of_a_block = |name: &&str| {
        name.starts_with("commonwatt_step_")
            && *name != "commonwatt_step_seconds"
            && !name.contains("clos")
            || name.starts_with("commonwatt_block_") && !name.contains("execution")
            || *name == "substrate_proposer_number_of_transactions"
    };
    let described = node.metrics.described();
    let expected: BTreeSet<_> = described
        .iter()
        .map(|figure| figure.name.as_str())
        .filter(of_a_block)
        .collect();
    assert_eq!(expected.len(), 8, "{expected:?}");
    let names = |exported: &str| -> BTreeSet<String> {
        let names = exported
            .lines()
            .filter_map(|line| line.split(['{', ' ']).next());
        names.filter(of_a_block).map(str::to_owned).collect()
    };
    assert_eq!(names(&node.exported(0)), BTreeSet::new());
    node.make_block(Punctuality::OnTime, 0);
    let found = names(&node.exported(0));
    assert_eq!(
        found.iter().map(String::as_str).collect::<BTreeSet<_>>(),
        expected
    );
}

#[test]
fn a_late_report_is_a_correction_and_a_late_block_is_counted() {
    let node = watched();
    assert!(node.report("A", 1, 15_000, 1));
    node.make_block(Punctuality::OnTime, 0);
    assert!(node.report("A", 1, 15_500, 2));
    node.make_block(Punctuality::Late, 2_000_000);
    let exported = node.exported(0);
    let value = |figure: &str| value(&exported, figure);
    assert_eq!(
        value(r#"commonwatt_corrections_total{cause="late_report",chain="test"}"#),
        1.0
    );
    assert_eq!(
        value(r#"commonwatt_corrected_watthours_total{chain="test",direction="raised"}"#),
        500.0
    );
    assert_eq!(
        value(r#"commonwatt_steps_corrected_total{chain="test"}"#),
        1.0
    );
    assert_eq!(value(r#"commonwatt_blocks_late_total{chain="test"}"#), 1.0);
    // The second step had no reading of its own.
    assert_eq!(value(r#"commonwatt_step_readings{chain="test"}"#), 0.0);
    assert_eq!(
        node.metrics.last_step().map(|step| step.is_late),
        Some(true)
    );
}

#[test]
fn what_the_pool_holds_and_refuses_is_counted_by_lane_and_reason() {
    let node = watched();
    assert!(node.report("A", 1, 15_000, 1));
    // A reading of a later step waits for it.
    assert!(node.report("B", 3, 10_000, 1));
    assert!(!node.report("A", 1, 15_000, 1));
    assert!(node.chain.submit(EXTERNAL, vec![1, 2, 3]).is_err());
    let exported = node.exported(0);
    let value = |figure: &str| value(&exported, figure);
    assert_eq!(
        value(r#"commonwatt_pool_transactions{chain="test",lane="reading",state="ready"}"#),
        1.0
    );
    assert_eq!(
        value(r#"commonwatt_pool_transactions{chain="test",lane="reading",state="waiting"}"#),
        1.0
    );
    assert_eq!(
        value(r#"substrate_ready_transactions_number{chain="test"}"#),
        1.0
    );
    let refused = |reason| {
        let figure =
            format!(r#"commonwatt_transactions_refused_total{{chain="test",reason="{reason}"}}"#);
        value(&figure)
    };
    assert_eq!(refused("malformed"), 1.0);
    assert_eq!(refused("already_pooled"), 1.0);
    assert_eq!(refused("too_large"), 0.0);
}

#[test]
fn calls_are_counted_by_method_protocol_and_result() {
    let metrics = metrics();
    let rpc: RpcFigures = metrics.rpc().clone();
    rpc.session_opened();
    rpc.call_started(Protocol::WebSocket, "system_health");
    let took = Duration::from_micros(40);
    rpc.call_finished(Protocol::WebSocket, "system_health", false, took);
    let exported = metrics.encode().unwrap();
    assert_eq!(
        value(
            &exported,
            r#"substrate_rpc_calls_finished{chain="test",is_error="false",method="system_health",protocol="ws"}"#
        ),
        1.0
    );
    assert_eq!(
        value(
            &exported,
            r#"substrate_rpc_calls_time_sum{chain="test",method="system_health",protocol="ws"}"#
        ),
        40.0
    );
    assert_eq!(
        value(&exported, r#"substrate_rpc_sessions_opened{chain="test"}"#),
        1.0
    );
}

// ---------------------------------------------------------------------------------- readiness

#[test]
fn a_node_is_ready_until_two_steps_have_settled_without_a_block() {
    let node = watched();
    let settles_at = |step| node.check.timing().settles_at_ms(Step(step));
    assert_eq!(node.check.verify_ready(0), Ok(()));
    assert_eq!(node.check.verify_ready(settles_at(2) - 1), Ok(()));
    let overdue = Unready::Overdue { best: 0, behind: 2 };
    assert_eq!(node.check.verify_ready(settles_at(2)), Err(overdue));
    node.make_block(Punctuality::Late, 0);
    assert_eq!(node.check.verify_ready(settles_at(2)), Ok(()));
    assert_eq!(node.check.steps_behind(settles_at(2)), 1);
    node.chain.set_catching_up(true);
    let catching_up = Unready::CatchingUp { best: 1, behind: 1 };
    assert_eq!(node.check.verify_ready(settles_at(2)), Err(catching_up));
}

#[test]
fn a_node_whose_clock_is_behind_its_chain_is_not_ready() {
    let node = watched();
    let settles_at = |step| node.check.timing().settles_at_ms(Step(step));
    for _ in 0..3 {
        node.make_block(Punctuality::OnTime, 0);
    }
    assert_eq!(node.check.verify_ready(settles_at(3)), Ok(()));
    // As far as the clocks of two nodes may differ.
    assert_eq!(node.check.verify_ready(settles_at(3) - 1), Ok(()));
    let behind = Unready::ClockBehind { best: 3, ahead: 2 };
    assert_eq!(node.check.verify_ready(settles_at(2) - 1), Err(behind));
    assert_eq!(node.check.steps_ahead(0), 3);
    assert_eq!(node.check.steps_ahead(settles_at(9)), 0);
}

// ---------------------------------------------------------------------------------- the server

async fn ask(address: std::net::SocketAddr, request: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let status = answer
        .split(' ')
        .nth(1)
        .and_then(|code| code.parse().ok())
        .unwrap_or(0);
    let body = answer
        .split_once("\r\n\r\n")
        .map_or("", |(_, body)| body)
        .to_owned();
    (status, body)
}

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n")
}

#[tokio::test]
async fn the_server_tells_figures_health_and_readiness() {
    let node = watched();
    let server = serve(
        ([127, 0, 0, 1], 0).into(),
        node.metrics.clone(),
        node.check.clone(),
    )
    .await
    .unwrap();
    let address = server.local_addr();

    let (status, body) = ask(address, &get("/metrics")).await;
    assert_eq!(status, 200);
    let behind = value(&body, r#"commonwatt_steps_behind{chain="test"}"#);
    assert!(behind > 2.0, "the example chain began long ago");

    let (status, body) = ask(address, &get("/health")).await;
    assert_eq!(status, 200);
    let health: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!(health["isSyncing"], false);

    let (status, body) = ask(address, &get("/health/readiness")).await;
    assert_eq!(status, 503);
    assert!(body.contains("block 0 is the last"), "{body}");

    assert_eq!(ask(address, &get("/elsewhere")).await.0, 404);
    let post = "POST /metrics HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n";
    assert_eq!(ask(address, post).await.0, 405);
    let long = format!("GET /{} HTTP/1.1\r\n\r\n", "a".repeat(64 * 1024));
    let mut stream = TcpStream::connect(address).await.unwrap();
    // The server may close before all of it is written.
    let _ = stream.write_all(long.as_bytes()).await;
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    assert!(!answer.starts_with(b"HTTP/1.1 200"));
}

#[tokio::test]
async fn those_who_hold_their_connection_lose_it_and_others_are_served() {
    let node = watched();
    let short = Duration::from_millis(100);
    let patience = Patience {
        header: short,
        whole: short,
    };
    let server = serve_with(
        ([127, 0, 0, 1], 0).into(),
        node.metrics.clone(),
        node.check.clone(),
        patience,
    )
    .await
    .unwrap();
    let address = server.local_addr();
    let mut idle = Vec::new();
    // Three times as many as there are places for.
    for _ in 0..48 {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream
            .write_all(b"GET /metrics HTTP/1.1\r\n")
            .await
            .unwrap();
        idle.push(stream);
    }
    let (status, _) = ask(address, &get("/health")).await;
    assert_eq!(status, 200);
    for mut stream in idle {
        let mut answer = Vec::new();
        // Closed, with an answer that says so or without.
        let _ = stream.read_to_end(&mut answer).await;
        assert!(!answer.starts_with(b"HTTP/1.1 200"));
    }
}

// ---------------------------------------------------------------------------------- what is written about them

/// Returns the text of a file of the project.
fn read(path: &str) -> String {
    let path = format!("{}/../../{path}", env!("CARGO_MANIFEST_DIR"));
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Returns every word that has the form of a figure's name.
fn names_in(text: &str) -> BTreeSet<&str> {
    text.split(|letter: char| !(letter.is_ascii_alphanumeric() || letter == '_'))
        .filter(|word| {
            ["substrate_", "commonwatt_", "process_"]
                .iter()
                .any(|prefix| word.starts_with(prefix) && word.len() > prefix.len())
        })
        .collect()
}

/// The network's own figures are included by the node, where a test compares them with the documentation.
fn is_of_network(name: &str) -> bool {
    name.starts_with("commonwatt_network_")
}

#[test]
fn what_others_count_is_exported_as_it_is_when_asked() {
    let metrics = metrics();
    let asked = Arc::new(AtomicU64::new(0));
    let times = asked.clone();
    let count = |name, label, value| Count {
        name,
        help: "Something",
        labels: vec![("kind", label)],
        value,
    };
    let read: ReadCounts = Box::new(move || {
        let times = times.fetch_add(1, Ordering::Relaxed);
        vec![
            count("others_total", "a", times),
            count("others_total", "b", 7),
            count("more_total", "a", 1),
        ]
    });
    metrics.include(read).unwrap();
    let _ = metrics.encode().unwrap();
    let text = metrics.encode().unwrap();
    assert_eq!(asked.load(Ordering::Relaxed), 3);
    for line in [
        "# TYPE others_total counter",
        "others_total{kind=\"a\",chain=\"test\"} 2",
        "others_total{kind=\"b\",chain=\"test\"} 7",
        "more_total{kind=\"a\",chain=\"test\"} 1",
    ] {
        assert!(text.contains(line), "{text}");
    }
    // A name is taken once.
    let again = metrics.include(Box::new(move || vec![count("others_total", "a", 0)]));
    assert!(again.is_err());
}

#[test]
fn names_follow_prometheus_conventions() {
    for figure in metrics().described() {
        let name = &figure.name;
        assert!(!figure.help.is_empty(), "{name}");
        if name.starts_with("commonwatt_") {
            let is_total = name.ends_with("_total");
            assert_eq!(is_total, figure.kind == Kind::Counter, "{name}");
        }
    }
}

#[test]
fn the_documentation_lists_every_figure_and_no_other() {
    let metrics = metrics();
    let documentation = read("docs/metrics.md");
    let exported: BTreeSet<_> = metrics
        .described()
        .iter()
        .map(|figure| figure.name.as_str())
        .collect();
    let documented: BTreeSet<_> = documentation
        .lines()
        .filter_map(|line| line.strip_prefix("| `"))
        .filter_map(|line| line.split(['`', '{']).next())
        .filter(|name| names_in(name).contains(name) && !is_of_network(name))
        .collect();
    assert_eq!(documented, exported);
    for figure in metrics.described() {
        for label in &figure.labels {
            let row = documentation
                .lines()
                .find(|line| line.starts_with(&format!("| `{}", figure.name)))
                .unwrap_or_default();
            assert!(row.contains(label), "{row} does not name {label}");
        }
    }
}

#[test]
fn dashboard_and_alerts_use_only_figures_that_exist() {
    let metrics = metrics();
    let mut series = BTreeSet::new();
    for figure in metrics.described() {
        let name = &figure.name;
        match figure.kind {
            Kind::Histogram => {
                series.extend(["bucket", "sum", "count"].map(|part| format!("{name}_{part}")));
            }
            Kind::Counter | Kind::Gauge => {
                series.insert(name.clone());
            }
        }
    }
    let dashboard: serde_json::Value =
        serde_json::from_str(&read("docker/grafana/dashboards/commonwatt.json")).unwrap();
    let mut expressions = Vec::new();
    collect_expressions(&dashboard, &mut expressions);
    assert!(expressions.len() > 20, "{}", expressions.len());
    let alerts = read("docker/prometheus/alerts.yml");
    let lines = alerts.lines().filter(|line| line.contains("expr:"));
    expressions.extend(lines.map(str::to_owned));
    for expression in &expressions {
        let names = names_in(expression);
        for name in &names {
            assert!(
                series.contains(*name) || is_of_network(name),
                "{name} in {expression}"
            );
        }
        assert!(
            !names.is_empty() || expression.contains("up{"),
            "{expression}"
        );
    }
}

fn collect_expressions(value: &serde_json::Value, into: &mut Vec<String>) {
    match value {
        serde_json::Value::Object(fields) => {
            for (name, field) in fields {
                match field.as_str() {
                    Some(text)
                        if name == "expr" || (name == "query" && text.contains("substrate_")) =>
                    {
                        into.push(text.to_owned());
                    }
                    _ => collect_expressions(field, into),
                }
            }
        }
        serde_json::Value::Array(items) => {
            for item in items {
                collect_expressions(item, into);
            }
        }
        _ => {}
    }
}
