//! What has happened on the network, named as in metrics: for whoever shows it.

use crate::{
    peer_book::Refusal,
    topic::Topic,
    traffic::{Counters, Protocol, Statistics, Traffic},
};

/// A figure that only grows, since the start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Figure {
    /// Its name. Figures of one name follow each other and differ by their labels.
    pub name: &'static str,
    /// What it says.
    pub help: &'static str,
    /// What tells it from others of its name.
    pub labels: Vec<(&'static str, &'static str)>,
    /// How many.
    pub value: u64,
}

/// Returns all figures as they are at the start.
pub fn figures_at_start() -> Vec<Figure> {
    let counters = Counters::default();
    figures(&counters.statistics(), &counters.traffic())
}

/// Returns everything that is counted, always the same figures in the same order.
pub(crate) fn figures(statistics: &Statistics, traffic: &Traffic) -> Vec<Figure> {
    let mut all = Vec::new();
    let mut add = |name, help, labels: &[(&'static str, &'static str)], value| {
        all.push(Figure {
            name,
            help,
            labels: labels.to_vec(),
            value,
        });
    };
    add(
        "commonwatt_network_connections_total",
        "Connections established",
        &[],
        statistics.connections,
    );
    add(
        "commonwatt_network_crowded_out_total",
        "Connections given up before they had shown who they are, since others came",
        &[],
        statistics.crowded_out,
    );
    add(
        "commonwatt_network_hellos_refused_total",
        "Peers that were not let in",
        &[],
        statistics.hellos_refused,
    );
    add(
        "commonwatt_network_bans_total",
        "Peers banned",
        &[],
        statistics.bans,
    );
    for refusal in Refusal::ALL {
        let count = statistics.refusals.get(&refusal).copied();
        add(
            "commonwatt_network_refusals_total",
            "What was counted against peers, by kind",
            &[("kind", refusal.name())],
            count.unwrap_or_default(),
        );
    }
    for (verdict, count) in [
        ("accepted", statistics.accepted),
        ("ignored", statistics.ignored),
        ("rejected", statistics.rejected),
        ("late", statistics.unjudged),
    ] {
        add(
            "commonwatt_network_verdicts_total",
            "Gossiped messages, by what this node made of them",
            &[("verdict", verdict)],
            count,
        );
    }
    for topic in Topic::ALL {
        add(
            "commonwatt_network_gossip_dropped_total",
            "Gossiped messages for which there was no room, by topic",
            &[("topic", topic.name())],
            statistics.inbox_dropped[topic.index()],
        );
    }
    for (answer, count) in [
        ("given", statistics.requests_taken),
        ("busy", statistics.requests_busy),
    ] {
        add(
            "commonwatt_network_requests_total",
            "Requests of peers, by whether there was room to answer them",
            &[("answer", answer)],
            count,
        );
    }
    for protocol in Protocol::ALL {
        let bytes = traffic.of(protocol);
        for (way, count) in [("sent", bytes.sent), ("received", bytes.received)] {
            add(
                "commonwatt_network_bytes_total",
                "Bytes on all streams, by protocol and way",
                &[("protocol", protocol.name()), ("way", way)],
                count,
            );
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::traffic::count;

    #[test]
    fn every_figure_is_there_once_and_those_of_a_name_together() {
        let counters = Counters::default();
        count(&counters.bans, 3);
        counters.add_refusal(Refusal::Flood);
        counters.add_sent(Protocol::Sync, 70);
        let figures = figures(&counters.statistics(), &counters.traffic());
        let keys = figures.iter().map(|figure| (figure.name, &figure.labels));
        assert_eq!(keys.clone().collect::<BTreeSet<_>>().len(), figures.len());
        let mut names: Vec<_> = keys.map(|(name, _)| name).collect();
        names.dedup();
        let distinct: BTreeSet<_> = names.iter().collect();
        assert_eq!(distinct.len(), names.len());
        let value = |name: &str, labels: &[(&str, &str)]| {
            let mut figures = figures.iter();
            let found = figures.find(|figure| figure.name == name && figure.labels == labels);
            found.map(|figure| figure.value)
        };
        assert_eq!(value("commonwatt_network_bans_total", &[]), Some(3));
        let floods = value("commonwatt_network_refusals_total", &[("kind", "flood")]);
        assert_eq!(floods, Some(1));
        let sync = [("protocol", "sync"), ("way", "sent")];
        assert_eq!(value("commonwatt_network_bytes_total", &sync), Some(70));
    }
}
