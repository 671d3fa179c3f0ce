#!/usr/bin/env python3
"""The README's main command as a newcomer uses it: start, read the blocks, ask over JSON-RPC, stop, start again, see a market;
and a disk that fills up.

    e2e_dev.py BINARY

Python's standard library only. Prints what it checks and the plain closing line.
"""

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request

PATIENCE_S = 120
STEP = re.compile(r"^step +(\d+)  (\w+ \d\d:\d\d)  generated +([\d ]+) Wh  consumed +([\d ]+) Wh  -> (.*)$")
BLOCK = re.compile(r"^ +block (0x[0-9a-f]{64}), (\d+) transactions, \d+ ms$")
TRADED = re.compile(r"^ +traded ([\d ]+) Wh at (\d+) for 10 Wh, in ([\d ]+) trades: (\w+) sold .* bought ")
# Coins each of the demo community's members begins with, and how many members there are.
COINS, MEMBERS = 100_000_000, 36


class Node:
    """A development node and its announcements."""

    def __init__(self, command):
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        # Nothing waits for ever: a node that says nothing is ended, which ends the reading too.
        signal.alarm(PATIENCE_S)
        self.greeting, self.url = [], None
        for line in self.process.stdout:
            self.greeting.append(line)
            if "JSON-RPC" in line:
                self.url = line.split()[1].replace("ws://", "http://")
            if "stop with Ctrl-C" in line:
                break

    def blocks(self, count):
        """Returns the next `count` blocks as (step, generated, consumed, to whom, hash, transactions)."""
        signal.alarm(PATIENCE_S)
        found, step = [], None
        for line in self.process.stdout:
            if match := STEP.match(line):
                step = match
            elif (match := BLOCK.match(line)) and step:
                wh = [int(step.group(part).replace(" ", "")) for part in (3, 4)]
                found.append((int(step.group(1)), *wh, step.group(5), match.group(1), int(match.group(2))))
                if len(found) == count:
                    return found
        raise AssertionError(f"the node ended after {len(found)} of {count} blocks: {self.process.stderr.read()}")

    def market(self):
        """Returns (step, Wh, price) of the first market that its announcements show a trade of."""
        signal.alarm(PATIENCE_S)
        step = None
        for line in self.process.stdout:
            if match := STEP.match(line):
                step = int(match.group(1))
            elif (match := TRADED.match(line)) and step:
                return step, int(match.group(1).replace(" ", "")), int(match.group(2))
        raise AssertionError(f"the node ended and nobody traded: {self.process.stderr.read()}")

    def call(self, method, *params):
        """Returns the whole JSON-RPC answer."""
        body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).encode()
        request = urllib.request.Request(self.url, body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:
            return json.load(answer)

    def ask(self, method, *params):
        """Returns the result of a JSON-RPC call."""
        answer = self.call(method, *params)
        assert "result" in answer, answer
        return answer["result"]

    def stop(self, how=signal.SIGTERM):
        """Ends the node as a supervisor does; returns its exit status and its last words."""
        self.process.send_signal(how)
        out, err = self.process.communicate(timeout=PATIENCE_S)
        return self.process.returncode, out + err

    def kill(self):
        """Makes sure that nothing is left running."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()


def dev(binary, base, *more):
    return [binary, "dev", "--base-path", base, "--rpc-port", "0", *more]


def shows_energy_in_every_block(binary, base):
    node = Node(dev(binary, base, "--step-ms", "2000", "--trade", "off"))
    try:
        for step, generated, consumed, to_whom, block, transactions in node.blocks(3)[1:]:
            # All 57 meters, the timestamp, and the validator's bid if it came between the gates; a first step may have
            # begun before the meters were there.
            assert transactions in (58, 59), transactions
            assert generated > 0 and consumed > 0, (generated, consumed)
            assert "Wh" in to_whom and "more" in to_whom, to_whom
            summary = node.ask("energy_stepSummary", step)
            assert summary["generated"] == generated, summary
            allocations = node.ask("energy_allocations", step)
            given = sum(entry["shared"] + entry["rest"] for entry in allocations)
            assert given == generated, (given, generated)
            most = max(allocations, key=lambda entry: entry["shared"])
            trace = node.ask("energy_trace", step, most["account"])
            assert sum(lot["energy"] for lot in trace["from"]) == trace["allocated"] == most["shared"]
            assert node.ask("chain_getBlockHash", step) == block
        assert node.ask("system_chain") == "Commonwatt Development"
        assert node.call("energy_trace", 1, "nobody")["error"], "nonsense is refused"
        status, said = node.stop()
        assert status == 0 and "start again to go on" in said, (status, said)
    finally:
        node.kill()


def a_newcomer_sees_a_market(binary, base):
    """What is announced as traded stands in the meters, in accounts and in the clearing, and nothing of it is lost."""
    node = Node(dev(binary, base, "--step-ms", "2000"))
    try:
        assert any("market_clearing" in line for line in node.greeting), node.greeting
        step, traded, price = node.market()
        there = node.ask("chain_getBlockHash", step)
        entries = node.ask("energy_allocations", step, there)
        bought, sold = (sum(entry[side] for entry in entries) for side in ("bought", "sold"))
        assert bought == sold == traded > 0, (bought, sold, traded)
        generated = node.ask("energy_stepSummary", step, there)["generated"]
        held = sum(entry["shared"] + entry["rest"] + entry["bought"] - entry["sold"] for entry in entries)
        assert held == generated, (held, generated)
        for entry in entries:
            # Only what was left over was sold, and only what was lacking was bought.
            left_over = entry["shared"] + entry["rest"] - (entry["consumption"] or 0)
            assert entry["sold"] <= max(0, left_over) and entry["bought"] <= max(0, -left_over), entry
        clearing = node.ask("market_clearing", step, None, None, there)
        assert clearing["state"] == "cleared" and clearing["energyWh"] == traded, clearing
        assert int(clearing["price"]) == price and int(clearing["turnover"]) == price * traded // clearing["unit"], clearing
        coins = [int(node.ask("energy_member", entry["account"], None, 0, there)["coins"]) for entry in entries]
        held = [int(node.ask("market_orders", entry["account"], 0, there)["held"]) for entry in entries]
        assert len(entries) == MEMBERS and sum(coins) + sum(held) == MEMBERS * COINS, (len(entries), sum(coins), sum(held))
        assert any(one != COINS for one in map(sum, zip(coins, held))), "nobody paid"
        status, said = node.stop()
        assert status == 0, (status, said)
    finally:
        node.kill()


def goes_on(binary, base):
    node = Node(dev(binary, base))
    try:
        assert "the chain goes on after step" in node.greeting[0], node.greeting
        step, *_ = node.blocks(1)[0]
        assert all(node.ask("chain_getBlockHash", number) for number in range(1, step + 1))
        status, said = node.stop(signal.SIGINT)
        assert status == 0, (status, said)
    finally:
        node.kill()


def survives_a_full_disk(binary, base):
    """Fills a small disk under a running node: it must say so and stop, and go on once there is room."""
    ballast = os.path.join(base, "ballast")
    node = Node(dev(binary, base, "--step-ms", "1000"))
    try:
        last = node.blocks(2)[-1]
        with open(ballast, "wb") as file:
            try:
                while True:
                    file.write(bytes(65536))
                    file.flush()
            except OSError:
                pass
        signal.alarm(PATIENCE_S)
        out, err = node.process.communicate()
        assert node.process.returncode != 0, out
        assert "panicked" not in err, err
        assert "space" in err, err
    finally:
        node.kill()
    announced = [last[0], *(int(match.group(1)) for line in out.splitlines() if (match := STEP.match(line)))]
    os.remove(ballast)
    node = Node(dev(binary, base))
    try:
        assert all(node.ask("chain_getBlockHash", step) for step in announced), announced
        assert node.ask("chain_getBlockHash", last[0]) == last[4]
        node.blocks(1)
    finally:
        node.kill()


def main():
    if len(sys.argv) == 4 and sys.argv[1] == "--full-disk":
        survives_a_full_disk(*sys.argv[2:])
        return
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    binary = os.path.abspath(sys.argv[1])
    failed = 0
    with tempfile.TemporaryDirectory() as base, tempfile.TemporaryDirectory() as market, tempfile.TemporaryDirectory() as disk:
        # A disk of its own, in a namespace that ends with the scenario.
        small_disk = ["unshare", "--mount", *([] if os.geteuid() == 0 else ["--map-root-user"]), "sh", "-ec",
                      'mount -t tmpfs -o size=24m tmpfs "$1"; exec "$2" "$3" --full-disk "$4" "$1"',
                      "sh", disk, sys.executable, os.path.abspath(__file__), binary]
        scenarios = [
            ("every block shows energy, and every watt-hour its meter", lambda: shows_energy_in_every_block(binary, base)),
            ("it goes on after a stop", lambda: goes_on(binary, base)),
            ("a newcomer sees a market, in which nothing is lost", lambda: a_newcomer_sees_a_market(binary, market)),
            ("it survives a full disk", lambda: subprocess.run(small_disk, check=True)),
        ]
        for name, scenario in scenarios:
            try:
                scenario()
                print(f"ok      {name}", flush=True)
            except (AssertionError, OSError, subprocess.SubprocessError) as error:
                failed += 1
                print(f"FAILED  {name}: {error}", flush=True)
    print(f"{len(scenarios) - failed} passed, {failed} failed")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
