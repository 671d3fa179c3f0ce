"""What the end-to-end tests of networks ask nodes, and expect of them. Python's standard library only."""

import csv
import gzip
import json
import os
import subprocess
import sys
import threading
import urllib.request
from pathlib import Path
from time import monotonic

PROJECT = Path(__file__).resolve().parent.parent
DEMO = PROJECT / "chain-specs" / "demo-community"
# The demo week: its quarters of an hour, and the one that step 1 plays.
DEMO_STEPS, DEMO_START_STEP = 672, 32
# How long anything may take unless it says otherwise. Machines that test are busy.
PATIENCE_S = 120
# How often what is waited for is looked at.
LOOK_S = 0.2
# Hashes that one question may be about.
HASHES_MAX = 4_096


def wait_until(condition, what, patience_s=PATIENCE_S):
    """Returns what `condition` returns as soon as that is true; fails when it takes too long.

    A node that does not answer yet is one more thing to wait for.
    """
    never, until, last = threading.Event(), monotonic() + patience_s, None
    while monotonic() < until:
        try:
            if found := condition():
                return found
            last = None
        except OSError as error:
            last = error
        never.wait(LOOK_S)
    raise AssertionError(f"{what}: not within {patience_s} s" + (f" ({last})" if last else ""))


class Rpc:
    """A node's JSON-RPC."""

    def __init__(self, url):
        self.url = url.replace("ws://", "http://")

    def ask(self, method, *params, timeout_s=30):
        body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).encode()
        request = urllib.request.Request(self.url, body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=timeout_s) as answer:
            answer = json.load(answer)
        assert "result" in answer, f"{method}{params}: {answer}"
        return answer["result"]

    def height(self):
        return int(self.ask("chain_getHeader", timeout_s=5)["number"], 16)

    def hashes(self, first, last):
        """The hash of each height from `first` to `last`."""
        found = []
        for begin in range(first, last + 1, HASHES_MAX):
            found += self.ask("chain_getBlockHash", list(range(begin, min(begin + HASHES_MAX, last + 1))))
        return found

    def author(self, height):
        """Who made a block, its rank, and whether it came late."""
        there = self.ask("chain_getBlockHash", height)
        outcome = self.ask("auction_auction", height, there)["outcome"]
        return outcome["author"], outcome["authorRank"], outcome["isLate"]


def demo_sums():
    """For each quarter of the demo week, what was generated and consumed, in Wh, as the data has it."""
    def sums(name):
        with gzip.open(DEMO / name, "rt", newline="") as file:
            rows = csv.reader(file)
            next(rows)
            return [sum(map(int, row[2:])) for row in rows]

    sums = list(zip(sums("pv_wh.csv.gz"), sums("load_wh.csv.gz")))
    assert len(sums) == DEMO_STEPS, len(sums)
    return sums


def expected_energy(sums, step):
    """What was generated and consumed in a step, as the data has it."""
    return sums[(DEMO_START_STEP + step - 1) % DEMO_STEPS]


def told_energy(rpc, step):
    """The same as the chain has it."""
    summary = rpc.ask("energy_stepSummary", step)
    return (summary["generated"], summary["consumption"]) if summary else None


def wait_for_height(rpc, height, patience_s=PATIENCE_S):
    wait_until(lambda: rpc.height() >= height, f"block {height} at {rpc.url}", patience_s)


def wait_for_same_chain(rpcs, height, patience_s=PATIENCE_S):
    """Waits until all nodes have `height`, and compares every block up to there."""
    for rpc in rpcs:
        wait_for_height(rpc, height, patience_s)
    first, *others = [rpc.hashes(0, height) for rpc in rpcs]
    assert None not in first, f"a block is missing at {rpcs[0].url}"
    assert len(set(first)) == len(first) == height + 1, "a block stands at two heights"
    for rpc, hashes in zip(rpcs[1:], others):
        for number, (one, other) in enumerate(zip(first, hashes)):
            assert one == other, f"block {number} is {one} at {rpcs[0].url}, and {other} at {rpc.url}"


def wait_for_energy(rpc, first, last, patience_s=PATIENCE_S):
    """Waits until every step from `first` to `last` has all its energy; a reading that came late is a correction."""
    sums = demo_sums()
    for step in range(first, last + 1):
        expected = expected_energy(sums, step)
        wait_until(
            lambda: told_energy(rpc, step) == expected,
            f"step {step} generated and consumed {expected} Wh at {rpc.url}", patience_s)


def count_whole_steps(rpc, first, last):
    """How many steps had all their energy in their own block."""
    sums = demo_sums()
    whole = 0
    for step in range(first, last + 1):
        summary = rpc.ask("energy_stepSummary", step)
        told = (summary["generated"], summary["consumption"])
        whole += summary["version"] == 1 and told == expected_energy(sums, step)
    return whole


def wait_for_trade(rpc):
    """Waits until a step has a market in which energy was traded; returns the step, and how much, in Wh."""
    def last_trade():
        return next((market for market in rpc.ask("market_history") if market["volumeUnits"]), None)

    market = wait_until(last_trade, f"a market with a trade at {rpc.url}")
    return market["step"], market["volumeUnits"] * rpc.ask("market_rules")["unit"]


def verify_market(rpcs, step, traded_wh):
    """What was traded for a step stands in every node's meters, bought and sold alike, and nothing of it is lost.

    Returns how many meters bought or sold.
    """
    there = rpcs[0].ask("chain_getBlockHash", step)
    for rpc in rpcs:
        wait_for_height(rpc, step)
        entries = rpc.ask("energy_allocations", step, there)
        bought, sold = (sum(entry[side] for entry in entries) for side in ("bought", "sold"))
        assert bought == sold == traded_wh, (bought, sold, traded_wh, rpc.url)
        held = sum(entry["shared"] + entry["rest"] + entry["bought"] - entry["sold"] for entry in entries)
        assert held == rpc.ask("energy_stepSummary", step, there)["generated"], (held, step, rpc.url)
    return sum(bool(entry["bought"] or entry["sold"]) for entry in entries)


def closed_step(rpc):
    """The last step whose block could be there, by this machine's clock."""
    from time import time

    timing = rpc.ask("energy_timing")
    settled_ms = time() * 1_000 - timing["genesisMs"] - timing["settleDelayMs"]
    return max(0, int(settled_ms // timing["stepMs"]))


def verify_rankings(rpc):
    """Has every ranking recomputed by another program; returns what it says."""
    script = [sys.executable, str(PROJECT / "tests" / "verify_auction.py"), "--rpc", rpc.url]
    run = subprocess.run(script, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=600)
    assert run.returncode == 0, run.stdout
    return run.stdout.strip()


def is_alive(pid):
    """Whether a process is there. One that ended and was not waited for is not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rsplit(")", 1)[1].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


def run_scenarios(scenarios):
    """Runs (name, function) one after the other; a failed one ends the run, since each begins where the last ended.

    A scenario returns what it measured, or raises `Skipped`. Prints the closing line; returns the exit status.
    """
    passed = failed = skipped = 0
    for name, scenario in scenarios:
        began = monotonic()
        try:
            said = scenario()
            passed += 1
            print(f"ok      {name} ({monotonic() - began:.0f} s)" + (f": {said}" if said else ""), flush=True)
        except Skipped as reason:
            skipped += 1
            print(f"skipped {name}: {reason}", flush=True)
        except (AssertionError, OSError, KeyError, TypeError, subprocess.SubprocessError) as error:
            failed += 1
            print(f"FAILED  {name} ({monotonic() - began:.0f} s): {error!r}", flush=True)
            break
    left = len(scenarios) - passed - failed - skipped
    print(f"{passed} passed, {failed} failed" + (f", {skipped + left} skipped" if skipped + left else ""))
    return 1 if failed else 0


class Skipped(Exception):
    """A scenario cannot run here."""


def kill_quietly(pid, signal):
    try:
        os.kill(pid, signal)
    except ProcessLookupError:
        pass
