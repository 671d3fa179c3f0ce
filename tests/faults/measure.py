#!/usr/bin/env python3
"""What agreement costs on one machine: how long blocks take until they are final on all nodes, what nodes send and keep, how fast
missed steps are made up for, and how fast a node that joins has all blocks.

    measure.py BINARY [--validators 4,7,10] [--step-ms 4000] [--steps 30] [--missed 500] [--json FILE]

For each number of validators a network of its own, on lines without faults, first without and then with the demo community's 57
readings a step. Figures of other machines differ; docs/localnet.md has those of one. Needs what run.py needs. Python's standard
library only.
"""

import argparse
import json
import re
import shutil
import signal
import statistics
import sys
from datetime import datetime
from time import time

from cluster import PATIENCE_S, Cluster, Skipped, require_tools, wait_for_height, wait_for_same_chain

# Blocks that pass before anything is measured: connections are made, caches filled.
FIRST_STEPS = 5
LONG_PATIENCE_S = 1_800
NOT_HERE = 77


def decisions(node):
    """When each block was decided at a node, in milliseconds since 1970."""
    found = {}
    for line in node.lines(": decided block="):
        at = datetime.fromisoformat(line.split()[0].replace("Z", "+00:00"))
        found[int(re.search(r"block=(\d+)", line)[1])] = at.timestamp() * 1_000
    return found


def percentile(values, part):
    return sorted(values)[min(len(values) - 1, int(len(values) * part))]


def measure_blocks(cluster, steps):
    """Watches some steps; returns the figures."""
    validators = cluster.validators
    first = cluster.wait_for_next_block(validators[0]) + 1
    sent = cluster.lines.sent()
    patience_s = PATIENCE_S + 2 * steps * cluster.step_ms / 1_000
    for node in validators:
        wait_for_height(node.rpc, first + steps - 1, patience_s)
    now = cluster.lines.sent()
    timing = cluster.timing
    per_node = [decisions(node) for node in validators]
    took = []
    for height in range(first, first + steps):
        due_ms = timing["genesisMs"] + height * timing["stepMs"] + timing["settleDelayMs"]
        took.append(max(decided[height] for decided in per_node) - due_ms)
    blocks = [validators[0].rpc.author(height) for height in range(first, first + steps)]
    sent_bytes = [now[node.number] - sent[node.number] for node in validators]
    return {
        "blocks": steps,
        "finalMs": {"median": round(statistics.median(took)), "p99": round(percentile(took, 0.99)), "max": round(max(took))},
        "late": sum(is_late for _, _, is_late in blocks),
        "notByTheWinner": sum(rank > 0 for _, rank, _ in blocks),
        "sentBytesPerBlockAndNode": round(sum(sent_bytes) / len(sent_bytes) / steps),
        "residentMb": {"mean": round(statistics.mean(node.memory_bytes("VmRSS") for node in validators) / 1e6),
                       "peak": round(max(node.memory_bytes() for node in validators) / 1e6)},
    }


def measure_network(arguments, validators):
    """A network of so many, without readings and with them."""
    cluster = Cluster(arguments.binary, arguments.step_ms, validators=validators, full_nodes=0, meters=False,
                      begin_in_s=6 + validators)
    try:
        cluster.start()
        for node in cluster.nodes:
            wait_for_height(node.rpc, FIRST_STEPS)
        empty = measure_blocks(cluster, arguments.steps)
        cluster.start_meters()
        wait_for_height(cluster.nodes[0].rpc, cluster.height() + 2)
        with_readings = measure_blocks(cluster, arguments.steps)
        cluster.verify(1, has_all_energy=False)
        return {"validators": validators, "withoutReadings": empty, "withReadings": with_readings}
    finally:
        cluster.close()


def begin_long_ago(cluster, missed):
    """Has the chain begin so many steps before now."""
    spec = json.loads((cluster.base / "chain-spec.json").read_text(encoding="utf-8"))
    spec["genesis"]["timing"]["genesisMs"] -= missed * cluster.step_ms
    cluster.timing = spec["genesis"]["timing"]
    text = json.dumps(spec, indent=2)
    for file in [cluster.base / "chain-spec.json", *(node.chain_folder / "chain-spec.json" for node in cluster.nodes)]:
        file.write_text(text, encoding="utf-8")


def measure_catching_up(arguments):
    """How fast four validators make up for missed steps, and how fast a node that joins fetches their blocks."""
    cluster = Cluster(arguments.binary, arguments.step_ms, meters=False)
    try:
        begin_long_ago(cluster, arguments.missed)
        cluster.start()
        joins = cluster.nodes[-1]
        first = cluster.nodes[0]
        wait_for_height(first.rpc, 10, LONG_PATIENCE_S)
        begun, height = time(), first.rpc.height()
        wait_for_height(first.rpc, arguments.missed, LONG_PATIENCE_S)
        made_per_s = (first.rpc.height() - height) / (time() - begun)
        wait_for_height(joins.rpc, arguments.missed, LONG_PATIENCE_S)
        joins.stop()
        shutil.rmtree(joins.chain_folder / "db")
        joins.log.unlink()
        joins.start()
        wait_for_height(joins.rpc, arguments.missed, LONG_PATIENCE_S)
        decided = decisions(joins)
        fetched_per_s = (arguments.missed - 1) / ((decided[arguments.missed] - decided[1]) / 1_000)
        wait_for_same_chain([node.rpc for node in cluster.nodes], arguments.missed)
        cluster.verify(1, has_all_energy=False)
        return {"missed": arguments.missed, "madePerS": round(made_per_s, 1), "fetchedPerS": round(fetched_per_s, 1)}
    finally:
        cluster.close()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("binary", help="the commonwatt program")
    parser.add_argument("--validators", default="4,7,10", help="how many, in networks of their own")
    parser.add_argument("--step-ms", type=int, default=4_000)
    parser.add_argument("--steps", type=int, default=30, help="blocks that each figure is of")
    parser.add_argument("--missed", type=int, default=500, help="steps that are made up for, and fetched; 0 for none")
    parser.add_argument("--json", help="a file that the figures are written to")
    arguments = parser.parse_args()
    try:
        require_tools()
    except Skipped as reason:
        print(f"skipped: {reason}")
        return NOT_HERE
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    figures = []
    if arguments.missed:
        figures.append(measure_catching_up(arguments))
        print(json.dumps(figures[-1]), flush=True)
    for count in arguments.validators.split(","):
        figures.append(measure_network(arguments, int(count)))
        print(json.dumps(figures[-1]), flush=True)
    if arguments.json:
        with open(arguments.json, "w", encoding="utf-8") as file:
            json.dump(figures, file, indent=1)
    return 0


if __name__ == "__main__":
    sys.exit(main())
