//! What is shown of a local network: a table for people at a terminal, a line for a log, JSON for programs.

use std::fmt::Write;

use commonwatt_primitives::Wh;
use commonwatt_runtime::Hash;
use serde::Serialize;

use super::book::MarketFacts;
use crate::report::{energy, grouped};

/// Blocks a node may be behind the best one without a word: the news is on its way.
const BEHIND_MAX: u32 = 2;

/// How a node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Condition {
    /// Its process runs, and has not answered yet.
    Starting,
    /// It answers.
    Running,
    /// Its process runs, and does not answer.
    Silent,
    /// It died and will be started again.
    Restarting,
    /// It does not run.
    Down,
}

impl Condition {
    fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Silent => "SILENT",
            Self::Restarting => "RESTARTING",
            Self::Down => "DOWN",
        }
    }
}

/// A node's last block.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LastBlock {
    /// Its height.
    pub height: u32,
    /// Its hash.
    pub hash: Hash,
    /// Who made it: a node's name.
    pub author: Option<String>,
    /// The author's place in the ranking.
    pub rank: Option<u32>,
    /// The round in which it was agreed upon.
    pub round: Option<u32>,
    /// Whether it came late.
    pub late: Option<bool>,
}

/// What is shown of a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeStatus {
    /// Its name.
    pub node: String,
    /// Its validator's name; `None` for a full node.
    pub validator: Option<String>,
    /// How it is.
    pub condition: Condition,
    /// Its process.
    pub pid: Option<u32>,
    /// How often it was started again.
    pub restarts: u32,
    /// Its peers.
    pub peers: u32,
    /// Its last block.
    pub last: Option<LastBlock>,
    /// Transactions in its pool.
    pub pool: Option<u64>,
    /// Heights its validator has bid for, since the network was started.
    pub bids: u32,
    /// Blocks it made.
    pub made: u32,
    /// Turns it missed.
    pub missed: u32,
    /// Where it serves JSON-RPC.
    pub rpc: String,
    /// Where it serves metrics.
    pub metrics: String,
}

/// What is shown of a network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// When, in milliseconds since the Unix epoch.
    pub time_ms: u64,
    /// The step that is under way; zero before the first.
    pub step: u32,
    /// When it ends.
    pub step_ends_in_ms: u64,
    /// Blocks that came late, since the network was started.
    pub late_blocks: u32,
    /// How the last market that had orders ended, since the network was started.
    pub market: Option<MarketFacts>,
    /// What two nodes disagree about.
    pub contradiction: Option<String>,
    /// What is wrong, in words; empty when nothing is.
    pub troubles: Vec<String>,
    /// The nodes.
    pub nodes: Vec<NodeStatus>,
}

impl Status {
    /// Finds out what is wrong.
    pub fn find_troubles(&mut self) {
        self.troubles = self.contradiction.iter().cloned().collect();
        for node in &self.nodes {
            let what = match node.condition {
                Condition::Down => "is down",
                Condition::Restarting => "has died and is started again",
                Condition::Silent => "does not answer",
                Condition::Starting | Condition::Running => continue,
            };
            self.troubles.push(format!("{} {what}", node.node));
        }
        let best = self.best();
        for node in &self.nodes {
            let Some(last) = &node.last else { continue };
            let behind = best.saturating_sub(last.height);
            if node.condition == Condition::Running && behind > BEHIND_MAX {
                self.troubles
                    .push(format!("{} is {behind} blocks behind", node.node));
            }
        }
        // The step before the present one may not have settled yet.
        let overdue = self.step.saturating_sub(best).saturating_sub(1);
        if overdue > BEHIND_MAX {
            self.troubles
                .push(format!("{overdue} steps have closed since block {best}"));
        }
    }

    /// Returns the highest block that a node has.
    pub fn best(&self) -> u32 {
        let heights = self.nodes.iter().filter_map(|node| node.last.as_ref());
        heights.map(|last| last.height).max().unwrap_or_default()
    }

    /// Returns the height up to which all nodes that answer have the same blocks.
    fn agreed(&self) -> Option<u32> {
        self.answering()
            .map(|node| node.last.as_ref().map(|last| last.height))
            .min()
            .flatten()
    }

    fn answering(&self) -> impl Iterator<Item = &NodeStatus> {
        self.nodes
            .iter()
            .filter(|node| node.condition == Condition::Running)
    }

    /// Returns in words how the network is.
    fn verdict(&self) -> String {
        if !self.troubles.is_empty() {
            return self.troubles.join("; ");
        }
        let answering = self.answering().count();
        match self.agreed() {
            Some(height) if answering == self.nodes.len() => {
                format!("all {answering} nodes agree up to block {height}")
            }
            _ => format!("{answering} of {} nodes answer", self.nodes.len()),
        }
    }

    /// Returns one line that says how the network is.
    pub fn to_line(&self) -> String {
        let newest = self
            .nodes
            .iter()
            .filter_map(|node| node.last.as_ref())
            .max_by_key(|last| last.height);
        let mut line = format!("step {}", self.step);
        if let Some(last) = newest {
            let _ = write!(line, "  #{} {}", last.height, short(last.hash));
            if let Some(author) = &last.author {
                let _ = write!(line, " by {author}");
            }
            if let (Some(rank), Some(round)) = (last.rank, last.round) {
                let _ = write!(line, " (rank {rank}, round {round})");
            }
            if last.late == Some(true) {
                line.push_str(" late");
            }
        }
        if let Some(market) = &self.market {
            let _ = write!(line, "  {}", describe_market(market));
        }
        let peers: Vec<_> = self
            .nodes
            .iter()
            .map(|node| node.peers.to_string())
            .collect();
        let _ = write!(line, "  peers {}  ", peers.join(" "));
        line + &self.verdict()
    }

    /// Returns a table whose lines have `width` characters at most.
    pub fn to_table(&self, width: usize) -> String {
        let head = [
            "node",
            "validator",
            "process",
            "pid",
            "peers",
            "block",
            "hash",
            "round",
            "author",
            "rank",
            "late",
            "pool",
            "bids",
            "made",
            "missed",
            "JSON-RPC",
        ]
        .map(ToOwned::to_owned);
        let mut rows = vec![head];
        rows.extend(self.nodes.iter().map(NodeStatus::to_row));
        let mut widths = [0; 16];
        for row in &rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.chars().count());
            }
        }
        let seconds = self.step_ends_in_ms as f64 / 1_000.0;
        let market = self.market.as_ref().map_or_else(String::new, |market| {
            format!("; {}", describe_market(market))
        });
        let mut lines = vec![match self.step {
            0 => format!("the first step begins in {seconds:.1} s"),
            step => format!(
                "step {step} closes in {seconds:.1} s; {} blocks came late{market}",
                grouped(self.late_blocks.into())
            ),
        }];
        lines.extend(rows.iter().map(|row| {
            let cells = row.iter().zip(widths);
            let line: Vec<_> = cells
                .map(|(cell, width)| format!("{cell:<width$}"))
                .collect();
            line.join("  ")
        }));
        lines.push(self.verdict());
        let mut table = String::new();
        for line in lines {
            table.extend(line.trim_end().chars().take(width));
            table.push('\n');
        }
        table
    }
}

impl NodeStatus {
    fn to_row(&self) -> [String; 16] {
        let last = self.last.as_ref();
        let number = |value: Option<u32>| value.map_or_else(dash, |value| value.to_string());
        let of_validator = |count: u32| match self.validator {
            Some(_) => count.to_string(),
            None => dash(),
        };
        [
            self.node.clone(),
            self.validator.clone().unwrap_or_else(dash),
            match self.restarts {
                0 => self.condition.as_str().to_owned(),
                restarts => format!("{} ({restarts}x again)", self.condition.as_str()),
            },
            number(self.pid),
            self.peers.to_string(),
            number(last.map(|last| last.height)),
            last.map_or_else(dash, |last| short(last.hash)),
            number(last.and_then(|last| last.round)),
            last.and_then(|last| last.author.clone())
                .unwrap_or_else(dash),
            number(last.and_then(|last| last.rank)),
            match last.and_then(|last| last.late) {
                Some(true) => "yes".to_owned(),
                Some(false) => "no".to_owned(),
                None => dash(),
            },
            self.pool
                .map_or_else(dash, |pool| grouped(u128::from(pool))),
            of_validator(self.bids),
            of_validator(self.made),
            of_validator(self.missed),
            self.rpc.clone(),
        ]
    }
}

fn describe_market(market: &MarketFacts) -> String {
    let MarketFacts {
        step,
        volume_wh,
        price,
        unit_wh,
    } = market;
    match price {
        None => format!("market {step}: nothing traded"),
        Some(price) => format!(
            "market {step}: {} at {price} for {}",
            energy(Wh(*volume_wh)),
            energy(Wh(*unit_wh))
        ),
    }
}

fn dash() -> String {
    "-".to_owned()
}

/// Returns the two ends of a hash, by which people tell blocks apart.
pub fn short(hash: Hash) -> String {
    let digits = hex::encode(hash);
    let (begin, rest) = digits.split_at(4);
    let (_, end) = rest.split_at(rest.len().saturating_sub(4));
    format!("0x{begin}…{end}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(number: u32, height: u32) -> NodeStatus {
        NodeStatus {
            node: format!("node{number}"),
            validator: (number < 3).then(|| "Alice".into()),
            condition: Condition::Running,
            pid: Some(100 + number),
            restarts: 0,
            peers: 2,
            last: Some(LastBlock {
                height,
                hash: Hash::repeat_byte(0xab),
                author: Some("node2".into()),
                rank: Some(0),
                round: Some(1),
                late: Some(false),
            }),
            pool: Some(1_234),
            bids: 7,
            made: 3,
            missed: 0,
            rpc: "ws://127.0.0.1:9944".into(),
            metrics: "http://127.0.0.1:9615/metrics".into(),
        }
    }

    fn status(heights: [u32; 3]) -> Status {
        let mut status = Status {
            time_ms: 1,
            step: 10,
            step_ends_in_ms: 1_500,
            late_blocks: 0,
            market: None,
            contradiction: None,
            troubles: Vec::new(),
            nodes: (1..)
                .zip(heights)
                .map(|(number, height)| node(number, height))
                .collect(),
        };
        status.find_troubles();
        status
    }

    #[test]
    fn nodes_that_agree_are_said_to() {
        let status = status([9, 9, 8]);
        assert!(status.troubles.is_empty(), "{:?}", status.troubles);
        let line = status.to_line();
        assert!(
            line.contains("#9 0xabab…abab by node2 (rank 0, round 1)"),
            "{line}"
        );
        assert!(line.contains("peers 2 2 2"), "{line}");
        assert!(line.ends_with("all 3 nodes agree up to block 8"), "{line}");
    }

    #[test]
    fn what_is_wrong_is_said() {
        assert_eq!(status([9, 9, 5]).troubles, ["node3 is 4 blocks behind"]);
        assert_eq!(
            status([5, 5, 5]).troubles,
            ["4 steps have closed since block 5"]
        );
        let mut trouble = status([9, 9, 9]);
        trouble.nodes[0].condition = Condition::Down;
        trouble.nodes[1].condition = Condition::Silent;
        trouble.contradiction = Some("the nodes disagree".into());
        trouble.find_troubles();
        assert_eq!(
            trouble.troubles,
            [
                "the nodes disagree",
                "node1 is down",
                "node2 does not answer"
            ]
        );
        assert!(
            trouble
                .to_line()
                .ends_with("node1 is down; node2 does not answer")
        );
    }

    #[test]
    fn the_last_market_is_said() {
        let mut status = status([9, 9, 9]);
        status.market = Some(MarketFacts {
            step: 9,
            volume_wh: 1_230,
            price: Some("5".into()),
            unit_wh: 10,
        });
        let said = "market 9: 1 230 Wh at 5 for 10 Wh";
        assert!(status.to_line().contains(said), "{}", status.to_line());
        let table = status.to_table(1_000);
        let first = table.lines().next().unwrap();
        assert!(first.ends_with(&format!("late; {said}")), "{first}");
        if let Some(market) = &mut status.market {
            market.price = None;
        }
        let line = status.to_line();
        assert!(line.contains("market 9: nothing traded"), "{line}");
    }

    #[test]
    fn a_table_has_a_line_for_each_node_and_never_wraps() {
        let table = status([9, 9, 9]).to_table(1_000);
        let lines: Vec<_> = table.lines().collect();
        assert_eq!(lines.len(), 6);
        assert!(lines[0].starts_with("step 10 closes in 1.5 s"), "{table}");
        assert!(lines[2].contains("node1  Alice      running"), "{table}");
        assert!(lines[4].contains("1 234"), "{table}");
        // Bids and turns are a validator's.
        assert_eq!(lines[4].matches(" - ").count(), 4, "{table}");
        let narrow = status([9, 9, 9]).to_table(40);
        assert!(narrow.lines().all(|line| line.chars().count() <= 40));
    }

    #[test]
    fn programs_find_what_they_look_for() {
        let json = serde_json::to_string(&status([9, 9, 9])).unwrap();
        assert!(!json.contains('\n'));
        let value: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(value["nodes"][0]["last"]["height"], 9);
        assert_eq!(value["nodes"][2]["validator"], serde_json::Value::Null);
        assert_eq!(value["nodes"][0]["condition"], "running");
    }
}
