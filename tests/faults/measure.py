#!/usr/bin/env python3
"""What agreement costs on one machine: how long blocks take until they are final on all nodes, what nodes send and keep, how fast
missed steps are made up for, and how fast a node that joins has all blocks.

    measure.py BINARY [--validators 4,7,10,16] [--step-ms 4000] [--steps 30] [--missed 500]
               [--fill 57:2000:100,1000:15000:12,10000:40000:8 --load LOAD] [--json FILE]

For each number of validators a network of its own, on lines without faults, first without transactions and then with the demo
community's 57 readings a step, its orders and bids. With `--fill`, a network of four validators and a full node for each
READINGS:STEP_MS:STEPS, whose blocks the program LOAD fills (cargo build --release -p commonwatt-load); the full node then loses its
database and fetches them. Figures of other machines differ; docs/localnet.md has those of one. Needs what run.py needs. Python's
standard library only.
"""

import argparse
import json
import re
import shutil
import signal
import statistics
import subprocess
import sys
import threading
from datetime import datetime
from time import time

from cluster import PATIENCE_S, Cluster, Skipped, require_tools, wait_for_height, wait_for_same_chain, wait_until

# Blocks that pass before anything is measured: connections are made, caches filled.
FIRST_STEPS = 5
# Steps that the program fills at least, and its meters.
STEPS_MIN = 4
METERS_MAX = 256
# For so long nothing is submitted once a block is there, a tenth of a step at most: its agreement and the next readings are told
# apart.
REST_MS_MAX = 1_000
# How often nodes are asked for a block that is to be final.
LOOK_S = 0.1
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


def settles_at_ms(cluster, height):
    timing = cluster.timing
    return timing["genesisMs"] + height * timing["stepMs"] + timing["settleDelayMs"]


def extra_rounds(cluster):
    return max(node.metric("commonwatt_agreement_extra_rounds_total") for node in cluster.validators)


def body_of(node, height):
    """How many transactions a block has, its inherent not counted, and the bytes of all of them."""
    block = node.rpc.ask("chain_getBlock", node.rpc.ask("chain_getBlockHash", height))["block"]
    sizes = [len(extrinsic) // 2 - 1 for extrinsic in block["extrinsics"]]
    return len(sizes) - 1, sum(sizes)


def tell_blocks(cluster, first, last):
    """The figures of some blocks that all have."""
    validators = cluster.validators
    per_node = [decisions(node) for node in validators]
    heights = range(first, last + 1)
    took = [max(decided[height] for decided in per_node) - settles_at_ms(cluster, height) for height in heights]
    blocks = [validators[0].rpc.author(height) for height in heights]
    bodies = [body_of(validators[0], height) for height in heights]
    return {
        "blocks": len(heights),
        "transactions": {"median": round(statistics.median(count for count, _ in bodies)),
                         "min": min(count for count, _ in bodies)},
        "bodyBytes": round(statistics.mean(size for _, size in bodies)),
        "finalMs": {"median": round(statistics.median(took)), "p99": round(percentile(took, 0.99)), "max": round(max(took))},
        "late": sum(is_late for _, _, is_late in blocks),
        "notByTheWinner": sum(rank > 0 for _, rank, _ in blocks),
        "residentMb": {"mean": round(statistics.mean(node.memory_bytes("VmRSS") for node in validators) / 1e6),
                       "peak": round(max(node.memory_bytes() for node in validators) / 1e6)},
    }


def measure_blocks(cluster, steps):
    """Watches some steps; returns the figures."""
    validators = cluster.validators
    rounds = extra_rounds(cluster)
    first = cluster.wait_for_next_block(validators[0]) + 1
    sent = cluster.lines.sent()
    patience_s = PATIENCE_S + 2 * steps * cluster.step_ms / 1_000
    for node in validators:
        wait_for_height(node.rpc, first + steps - 1, patience_s)
    now = cluster.lines.sent()
    sent_bytes = [now[node.number] - sent[node.number] for node in validators]
    return {
        **tell_blocks(cluster, first, first + steps - 1),
        "extraRounds": round(extra_rounds(cluster) - rounds),
        "sentBytesPerBlockAndNode": round(sum(sent_bytes) / len(sent_bytes) / steps),
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
        return {"validators": validators, "stepMs": arguments.step_ms, "withoutReadings": empty, "withReadings": with_readings}
    finally:
        cluster.close()


def measure_filled(arguments, readings, step_ms, steps):
    """A network whose blocks have so many readings, and how fast a node that joins fetches them."""
    cluster = Cluster(arguments.binary, step_ms, meters=False)
    load = None
    try:
        cluster.start()
        validators = cluster.validators
        for node in cluster.nodes:
            wait_for_height(node.rpc, 1)
        urls = ",".join(node.rpc.url.replace("http", "ws") for node in validators)
        load = subprocess.Popen(
            [arguments.load, "--network", urls, "--per-step", str(readings), "--steps", str(steps),
             "--rest-ms", str(min(REST_MS_MAX, step_ms // 10)), "--meters", str(min(readings, METERS_MAX))],
            stdout=subprocess.PIPE, text=True, stdin=subprocess.DEVNULL)
        lines = [json.loads(load.stdout.readline() or "{}")]
        assert "step" in lines[0], f"{arguments.load} submitted nothing: {load.wait(PATIENCE_S)}"
        first, rounds = lines[0]["step"], extra_rounds(cluster)
        last = first + steps - 1
        agreeing, final = [], []
        for height in range(first, last + 1):
            threading.Event().wait(max(0, settles_at_ms(cluster, height) / 1_000 - time()))
            before = cluster.lines.sent()
            until = time() + PATIENCE_S
            while min(node.rpc.height() for node in validators) < height:
                assert time() < until, f"block {height} is not final"
                threading.Event().wait(LOOK_S)
            final.append(cluster.lines.sent())
            agreeing.append([final[-1][node.number] - before[node.number] for node in validators])
        lines += map(json.loads, load.stdout)
        assert load.wait(PATIENCE_S) == 0, f"{arguments.load} ended with {load.returncode}"
        figures = tell_blocks(cluster, first, last)
        assert figures["transactions"]["min"] >= readings, f"a block has less than all readings: {figures}"
        whole = [final[-1][node.number] - final[0][node.number] for node in validators]
        # For the newest block a node waits a while before it asks: it might be about to decide it.
        fetched = measure_fetching(cluster, first, last - 1)
        cluster.verify(1, has_all_energy=False)
        return {
            "validators": len(validators), "stepMs": step_ms, "readings": readings,
            **figures,
            "extraRounds": round(extra_rounds(cluster) - rounds),
            "submittedMs": round(statistics.median(line["tookMs"] for line in lines)),
            "sentBytesPerBlockAndNode": round(statistics.mean(whole) / (steps - 1)),
            "sentToAgreePerBlockAndNode": round(statistics.mean(map(statistics.mean, agreeing))),
            "sentToAgreeMax": max(map(max, agreeing)),
            **fetched,
        }
    finally:
        if load and load.poll() is None:
            load.kill()
            load.wait()
        cluster.close()


def measure_fetching(cluster, first, last):
    """Has the last node, which makes no blocks, join anew; returns how fast it fetched the blocks from `first` to `last`."""
    joins = cluster.nodes[-1]
    joins.stop()
    shutil.rmtree(joins.chain_folder / "db")
    joins.log.unlink()
    joins.start()
    wait_for_height(joins.rpc, last, LONG_PATIENCE_S)
    decided = wait_until(lambda: (found := decisions(joins)).get(last) and found, f"{joins.name} has decided block {last}")
    took_s = (decided[last] - decided[first - 1]) / 1_000
    transactions = sum(body_of(joins, height)[0] for height in range(first, last + 1))
    wait_for_same_chain([node.rpc for node in cluster.nodes], last)
    return {"fetchedBlocks": last - first + 1, "fetchedBlocksPerS": round((last - first + 1) / took_s, 1),
            "fetchedTransactionsPerS": round(transactions / took_s)}


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
        first = cluster.nodes[0]
        wait_for_height(first.rpc, 10, LONG_PATIENCE_S)
        begun, height = time(), first.rpc.height()
        wait_for_height(first.rpc, arguments.missed, LONG_PATIENCE_S)
        made_per_s = (first.rpc.height() - height) / (time() - begun)
        wait_for_height(cluster.nodes[-1].rpc, arguments.missed, LONG_PATIENCE_S)
        fetched = measure_fetching(cluster, 2, arguments.missed)
        cluster.verify(1, has_all_energy=False)
        return {"missed": arguments.missed, "madePerS": round(made_per_s, 1), **fetched}
    finally:
        cluster.close()


def fillings_of(text):
    """Reads READINGS:STEP_MS:STEPS, several with commas."""
    found = [tuple(map(int, one.split(":"))) for one in text.split(",") if one]
    if any(len(one) != 3 or one[2] < STEPS_MIN for one in found):
        raise argparse.ArgumentTypeError(f"{text!r} is not READINGS:STEP_MS:STEPS, with at least {STEPS_MIN} steps")
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("binary", help="the commonwatt program")
    parser.add_argument("--validators", default="4,7,10,16", help="how many, in networks of their own; '' for none")
    parser.add_argument("--step-ms", type=int, default=4_000)
    parser.add_argument("--steps", type=int, default=30, help="blocks that each figure is of")
    parser.add_argument("--missed", type=int, default=500, help="steps that are made up for, and fetched; 0 for none")
    parser.add_argument("--fill", type=fillings_of, default=[], help="READINGS:STEP_MS:STEPS, several with commas")
    parser.add_argument("--load", default="commonwatt-load", help="the commonwatt-load program, which fills blocks")
    parser.add_argument("--json", help="a file that the figures are written to")
    arguments = parser.parse_args()
    try:
        require_tools()
    except Skipped as reason:
        print(f"skipped: {reason}")
        return NOT_HERE
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    figures = []

    def tell(found):
        figures.append(found)
        print(json.dumps(found), flush=True)

    if arguments.missed:
        tell(measure_catching_up(arguments))
    for filling in arguments.fill:
        tell(measure_filled(arguments, *filling))
    for count in filter(None, arguments.validators.split(",")):
        tell(measure_network(arguments, int(count)))
    if arguments.json:
        with open(arguments.json, "w", encoding="utf-8") as file:
            json.dump(figures, file, indent=1)
    return 0


if __name__ == "__main__":
    sys.exit(main())
