#!/usr/bin/env python3
"""What a running node exports, against what is written about it: docs/metrics.md lists every figure, the dashboard and the
alerts use no other; health, readiness, and the log's filter; and a metrics port that is taken harms nothing.

    check_metrics.py BINARY

Python's standard library only. Prints what it checks and the plain closing line.
"""

import json
import pathlib
import re
import signal
import socket
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request

PATIENCE_S = 120
PROJECT = pathlib.Path(__file__).resolve().parent.parent
NAME = re.compile(r"\b(?:substrate|commonwatt|process)_[a-z0-9_]+")
SERIES = re.compile(r"^([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? (\S+)$")


class Node:
    """A development node."""

    def __init__(self, binary, base, *more):
        command = [binary, "dev", "--base-path", base, "--step-ms", "1000", "--rpc-port", "0", *more]
        self.log = tempfile.TemporaryFile("w+")
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=self.log, text=True)
        self.rpc = self.metrics = None
        signal.alarm(PATIENCE_S)
        for line in self.process.stdout:
            if "JSON-RPC" in line:
                self.rpc = line.split()[1].replace("ws://", "http://")
            if line.strip().startswith("metrics"):
                self.metrics = line.split()[1].removesuffix("/metrics")
            if "stop with Ctrl-C" in line:
                return
        raise AssertionError(f"the node did not start: {self.errors()}")

    def wait_for_blocks(self, count):
        """Waits for so many blocks."""
        signal.alarm(PATIENCE_S)
        for line in self.process.stdout:
            count -= line.startswith("step")
            if count == 0:
                return
        raise AssertionError(f"the node ended: {self.errors()}")

    def call(self, method, *params):
        """Returns the whole JSON-RPC answer."""
        body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).encode()
        request = urllib.request.Request(self.rpc, body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:
            return json.load(answer)

    def errors(self):
        """Returns what the node logged so far."""
        self.log.seek(0)
        return self.log.read()

    def stop(self):
        """Ends the node as a supervisor does; returns its exit status."""
        self.process.send_signal(signal.SIGTERM)
        self.process.communicate(timeout=PATIENCE_S)
        return self.process.returncode

    def kill(self):
        """Makes sure that nothing is left running."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()


# Figures that a node alone never knows.
WITH_PEERS = {"commonwatt_agreement_round", "commonwatt_agreement_voting"}
# How those of the network itself begin; a test of the node compares them with the documentation.
OF_NETWORK = "commonwatt_network_"


def get(url):
    """Returns status and text."""
    try:
        with urllib.request.urlopen(url, timeout=PATIENCE_S) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def parse(text):
    """Returns each figure's series as {name: {labels: value}}, and the kinds as {name: kind}."""
    series, kinds = {}, {}
    for line in text.splitlines():
        if line.startswith("# TYPE "):
            _, _, name, kind = line.split(" ")
            kinds[name] = kind
        elif not line.startswith("#"):
            name, labels, value = SERIES.match(line).groups()
            key = frozenset(re.findall(r'(\w+)="([^"]*)"', labels or ""))
            series.setdefault(name, {})[key] = float(value)
    return series, kinds


def value(series, name, **labels):
    """Returns the one value of a series with these labels."""
    wanted = set(labels.items())
    found = [number for key, number in series[name].items() if wanted <= key]
    assert len(found) == 1, (name, labels, found)
    return found[0]


def expressions(node):
    """Returns every query of a dashboard."""
    if isinstance(node, dict):
        for key, inner in node.items():
            if key in ("expr", "definition") and isinstance(inner, str):
                yield inner
            else:
                yield from expressions(inner)
    elif isinstance(node, list):
        for inner in node:
            yield from expressions(inner)


def check_figures(node):
    """What is exported is what is written about."""
    node.wait_for_blocks(3)
    node.call("system_health")
    assert "error" in node.call("system_noSuchMethod")
    assert "error" in node.call("author_submitExtrinsic", "0x0123")
    status, text = get(f"{node.metrics}/metrics")
    assert status == 200, text
    series, kinds = parse(text)

    documented = set(re.findall(r"^\| `([a-z0-9_]+)", (PROJECT / "docs/metrics.md").read_text(), re.M))
    with_peers = WITH_PEERS | {name for name in documented if name.startswith(OF_NETWORK)}
    assert set(kinds) | with_peers == documented, (set(kinds) | with_peers) ^ documented
    print(f"{len(kinds)} figures are exported, and docs/metrics.md lists exactly these")

    dashboard = json.loads((PROJECT / "docker/grafana/dashboards/commonwatt.json").read_text())
    queries = list(expressions(dashboard))
    alerts = (PROJECT / "docker/prometheus/alerts.yml").read_text()
    queries += [line for line in alerts.splitlines() if line.strip().startswith("expr:")]
    used = {name for query in queries for name in NAME.findall(query)}
    assert used and used <= set(series) | with_peers, used - set(series) - with_peers
    own = {name for name in kinds if name.startswith("commonwatt_")}
    shown = {re.sub(r"_(bucket|sum|count)$", "", name) if name not in kinds else name for name in used}
    print(f"{len(queries)} queries of dashboard and alerts use {len(used)} of them; not shown: {sorted(own - shown)}")

    height = value(series, "substrate_block_height", status="best", chain="dev")
    assert height >= 3, height
    assert value(series, "substrate_block_height", status="finalized") == height
    assert value(series, "substrate_block_height", status="sync_target") >= height
    assert value(series, "commonwatt_blocks_total") >= 3
    assert value(series, "commonwatt_database_commit_seconds_count") >= 3
    assert value(series, "substrate_proposer_block_constructed_count") >= 3
    assert value(series, "commonwatt_step_readings") > 0
    assert value(series, "commonwatt_consumed_watthours_total") > 0
    assert value(series, "commonwatt_transactions_refused_total", reason="malformed") == 1
    assert value(series, "substrate_rpc_calls_finished", method="unknown", is_error="true") == 1
    assert value(series, "substrate_rpc_calls_finished", method="system_health", is_error="false") == 1
    # The meters of the development chain are connected by WebSocket.
    assert value(series, "substrate_rpc_sessions_opened") >= 1
    assert "noSuchMethod" not in text
    print("their values are those of the chain: blocks, readings, energy, calls, refusals")

    # The summary of a step over JSON-RPC is what its figures were.
    step = int(height)
    summary = node.call("energy_stepSummary", step)["result"]
    generated = value(series, "commonwatt_step_generated_watthours")
    previous = node.call("energy_stepSummary", step - 1)["result"]
    known = {summary["generated"], previous["generated"]}
    assert int(generated) in {int(wh) for wh in known}, (generated, known)
    print(f"generated in the last step: {generated:.0f} Wh, as energy_stepSummary says")


def check_health(node):
    """Alive and ready, on both ports."""
    for base in (node.rpc, node.metrics):
        status, text = get(f"{base}/health")
        health = json.loads(text)
        assert status == 200 and health == {"peers": 0, "isSyncing": False, "shouldHavePeers": False}, text
        status, text = get(f"{base}/health/readiness")
        assert (status, text) == (200, "ready\n"), (status, text)
    assert get(f"{node.metrics}/elsewhere")[0] == 404
    print("/health and /health/readiness answer on both ports")


def check_filter(node):
    """The log's filter follows JSON-RPC."""
    before = len(node.errors())
    assert node.call("system_addLogFilter", "commonwatt_txpool=debug,jsonrpsee=trace")["result"] is None
    assert "commonwatt_txpool=debug" in node.errors()[before:]
    bad = node.call("system_addLogFilter", "commonwatt=loud")["error"]
    assert "target=level" in bad["message"] and "loud" in bad["message"], bad
    node.call("system_chain", "a parameter that nobody should see")
    assert node.call("system_resetLogFilter")["result"] is None
    assert "nobody should see" not in node.errors()
    print("the log's filter is changed, a bad one refused, no parameter of a call logged")


def check_taken_port(binary, node):
    """A second node with the first one's metrics port runs without metrics, and says so."""
    with tempfile.TemporaryDirectory() as base:
        other = Node(binary, base, "--prometheus-port", node.metrics.rsplit(":", 1)[1])
        try:
            assert other.metrics is None
            other.wait_for_blocks(2)
            assert other.stop() == 0
            assert "--prometheus-port" in other.errors(), other.errors()
        finally:
            other.kill()
    print("a node whose metrics port is taken says so, and makes its blocks")


def check_silent_clients(node):
    """Clients that say nothing do not hold up the node, nor, for long, the metrics."""
    address = node.metrics.removeprefix("http://").split(":")
    silent = [socket.create_connection((address[0], int(address[1])), PATIENCE_S) for _ in range(20)]
    node.wait_for_blocks(2)
    assert get(f"{node.metrics}/health")[0] == 200
    for client in silent:
        client.close()
    print("20 silent connections hold up neither blocks nor, for long, the metrics")


def main():
    binary = sys.argv[1]
    with tempfile.TemporaryDirectory() as base:
        node = Node(binary, base, "--prometheus-port", "0")
        try:
            check_figures(node)
            check_health(node)
            check_filter(node)
            check_taken_port(binary, node)
            check_silent_clients(node)
            assert node.stop() == 0, node.errors()
        finally:
            node.kill()
    print("the metrics are as they are described")


if __name__ == "__main__":
    main()
