#!/usr/bin/env python3
"""`commonwatt localnet` as a newcomer uses it: four validators on one machine, for a while; one is killed; all are stopped and
go on.

    e2e_localnet.py BINARY [--minutes 1.5] [--step-ms 2000] [--validators 4] [--full-nodes 1] [--base-path FOLDER]

30 minutes (`--minutes 30`) are what is measured for docs/localnet.md. Python's standard library only. Prints what it checks
and the plain closing line.
"""

import argparse
import collections
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

from network_checks import (
    PATIENCE_S, Rpc, closed_step, count_whole_steps, is_alive, kill_quietly, run_scenarios, verify_market, verify_rankings,
    wait_for_energy, wait_for_height, wait_for_same_chain, wait_until)

# Steps at a chain's beginning that may have gone by before all nodes and meters were there.
FIRST_STEPS = 3
# One of so many blocks may come late: machines that test do other things, too.
LATE_ONE_OF = 20
# Blocks that pass while a killed node is watched.
BLOCKS_AFTER_KILL = 5
# Events that are kept.
EVENTS_MAX = 100_000
# Lines of each node's log that are shown when something failed.
LOG_LINES = 15


def free_ports(count):
    """Returns the first of `count` ports in a row that are free, for JSON-RPC, peers and metrics each."""
    found = []
    begin = 20_000 + os.getpid() % 20_000
    while len(found) < 3:
        sockets = []
        try:
            for port in range(begin, begin + count):
                one = socket.socket()
                sockets.append(one)
                one.bind(("127.0.0.1", port))
            found.append(begin)
        except OSError:
            pass
        finally:
            for one in sockets:
                one.close()
        begin += count
        assert begin < 65_000, "no ports in a row are free"
    return found


class Localnet:
    """A local network, read as a program reads it."""

    def __init__(self, command):
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.events = collections.deque(maxlen=EVENTS_MAX)
        self.status = None
        self.said = threading.Condition()
        self.errors = []
        self.readers = [threading.Thread(target=self._read, daemon=True),
                        threading.Thread(target=lambda: self.errors.extend(self.process.stderr), daemon=True)]
        for reader in self.readers:
            reader.start()
        self.started = self.event("started")
        self.nodes = self.started["nodes"]
        self.rpcs = [Rpc(node["rpc"]) for node in self.nodes]

    def _read(self):
        for line in self.process.stdout:
            event = json.loads(line)
            with self.said:
                if event["event"] == "status":
                    self.status = event
                else:
                    self.events.append(event)
                self.said.notify_all()
        with self.said:
            self.said.notify_all()

    def event(self, kind, patience_s=PATIENCE_S):
        """Returns the first event of a kind, once it is there."""
        def is_there():
            return any(event["event"] == kind for event in self.events) or self.process.poll() is not None

        with self.said:
            self.said.wait_for(is_there, patience_s)
            found = [event for event in self.events if event["event"] == kind]
        assert found, f"no {kind!r}: {list(self.events)} {''.join(self.errors)}"
        return found[0]

    def wait_for_status(self, is_fit, what, patience_s=PATIENCE_S):
        """Returns the first status line that fits."""
        with self.said:
            fits = self.said.wait_for(lambda: self.status and is_fit(self.status), patience_s)
            assert fits, f"{what}: not within {patience_s} s; {self.status}; {''.join(self.errors)}"
            return self.status

    def pids(self):
        """The nodes' processes, once all answer."""
        def all_run(status):
            return all(node["condition"] == "running" and node["pid"] for node in status["nodes"])

        return [node["pid"] for node in self.wait_for_status(all_run, "all nodes run")["nodes"]]

    def stop(self):
        """Ends the network as Ctrl-C does; returns its exit status."""
        self.process.send_signal(signal.SIGINT)
        self.process.wait(PATIENCE_S)
        for reader in self.readers:
            reader.join(PATIENCE_S)
        return self.process.returncode

    def show_logs(self):
        """What is needed when something failed."""
        print(json.dumps(self.status), "".join(self.errors))
        for event in self.events:
            print(json.dumps(event))
        for node in self.nodes:
            with open(node["log"], encoding="utf-8", errors="replace") as log:
                print(f"--- {node['log']}\n{''.join(collections.deque(log, LOG_LINES))}")

    def kill(self):
        """Makes sure that nothing is left running."""
        pids = [node["pid"] for node in (self.status or {"nodes": []})["nodes"] if node["pid"]]
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
            for pid in pids:
                kill_quietly(pid, signal.SIGKILL)


class Story:
    """The scenarios, each of which begins where the last one ended."""

    def __init__(self, arguments, base):
        self.arguments = arguments
        self.base = base
        count = arguments.validators + arguments.full_nodes
        rpc, peers, metrics = free_ports(count)
        self.ports = ["--rpc-port", str(rpc), "--port", str(peers), "--prometheus-port", str(metrics)]
        self.network = None
        # An auditor's small machine, which the nodes let in.
        self.light_key = base + "-light-key"
        verb = "inspect-node-key" if os.path.exists(self.light_key) else "generate-node-key"
        key = subprocess.run([os.path.abspath(arguments.binary), "key", verb, "--file", self.light_key],
                             stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=True)
        self.light_peer = key.stdout.strip()

    def command(self, base, *more):
        return [os.path.abspath(self.arguments.binary), "localnet", "--base-path", base, "--json", *self.ports, *more]

    def start(self):
        arguments = self.arguments
        self.network = Localnet(self.command(
            self.base, "--validators", str(arguments.validators), "--full-nodes", str(arguments.full_nodes),
            "--step-ms", str(arguments.step_ms), "--reserved-nodes", self.light_peer))

    def closes_one_step_after_another(self):
        """Runs for the minutes asked for; every node ends with the same block for every step."""
        self.start()
        network = self.network
        steps = max(FIRST_STEPS + 5, round(self.arguments.minutes * 60_000 / self.arguments.step_ms))
        patience_s = PATIENCE_S + 2 * self.arguments.minutes * 60
        network.wait_for_status(
            lambda status: min((node["last"] or {"height": 0})["height"] for node in status["nodes"]) >= steps,
            f"{steps} blocks on every node", patience_s)
        rpc = network.rpcs[0]
        # One block a step: whoever has as many blocks as steps have closed has one for each.
        wait_until(lambda: rpc.height() >= closed_step(rpc) - 1, "a block for every step that has closed", 30)
        wait_for_same_chain(network.rpcs, steps)
        status = network.status
        assert status["contradiction"] is None, status["contradiction"]
        facts = [rpc.author(height) for height in range(FIRST_STEPS + 1, steps + 1)]
        late = sum(is_late for _, _, is_late in facts)
        assert late <= steps // LATE_ONE_OF, f"{late} of {steps} blocks came late"
        ranks = collections.Counter(rank for _, rank, _ in facts)
        authors = {author for author, _, _ in facts}
        assert len(authors) >= min(self.arguments.validators, 3), f"only {len(authors)} made blocks in {steps} steps"
        return f"{steps} steps, {len(authors)} authors, ranks {dict(sorted(ranks.items()))}, {late} late"

    def every_block_shows_energy(self):
        rpc = self.network.rpcs[-1]
        height = rpc.height()
        wait_for_energy(rpc, FIRST_STEPS + 1, height - 1)
        whole = count_whole_steps(rpc, FIRST_STEPS + 1, height - 1)
        steps = height - 1 - FIRST_STEPS
        assert steps - whole <= steps // LATE_ONE_OF, f"{steps - whole} of {steps} steps got readings only after their block"
        return f"{whole} of {steps} steps with every watt-hour of the data in their own block"

    def rankings_are_what_another_program_computes(self):
        return "; ".join(verify_rankings(rpc) for rpc in self.network.rpcs[:1])

    def members_trade(self):
        """What is shown as traded stands in every node's meters, bought and sold alike, and nothing of it is lost."""
        market = self.network.wait_for_status(
            lambda status: status["market"] and status["market"]["volumeWh"] > 0, "a market with a trade")["market"]
        step = market["step"]
        traders = verify_market(self.network.rpcs, step, market["volumeWh"])
        return f"step {step}: {market['volumeWh']} Wh at {market['price']} among {traders} members"

    def a_killed_node_catches_up(self):
        network, victim = self.network, 1
        pid = network.pids()[victim]
        before = network.rpcs[0].height()
        os.kill(pid, signal.SIGKILL)
        died = network.event("died")
        assert network.nodes[victim]["node"] in died["text"] and "9" in died["text"], died
        wait_for_height(network.rpcs[0], before + BLOCKS_AFTER_KILL)
        network.wait_for_status(
            lambda status: status["nodes"][victim]["restarts"] >= 1
            and status["nodes"][victim]["condition"] == "running", "the node runs again")
        best = network.rpcs[0].height()
        wait_for_same_chain(network.rpcs, best)
        # What its meters measured meanwhile is not lost, though it may have come late.
        wait_for_energy(network.rpcs[0], before, best)
        late = sum(network.rpcs[0].author(height)[2] for height in range(before, best + 1))
        assert late <= 1, f"{late} blocks came late while one of {self.arguments.validators} was gone"
        return f"killed at block {before}, has block {best}, {late} of them late; {count_whole_steps(network.rpcs[0], before, best)} of " \
               f"{best - before + 1} steps were whole in their own block"

    def a_light_node_verifies_it(self):
        """Headers and certificates alone, of two nodes, from the genesis on."""
        rpcs = self.network.rpcs[:2]
        best = rpcs[0].height()
        command = [os.path.abspath(self.arguments.binary), "light", "--chain", os.path.join(self.base, "chain-spec.json"),
                   "--base-path", self.base + "-light", "--node-key-file", self.light_key, "--until", str(best), "--json",
                   "--bootnodes", *[rpc.ask("system_localListenAddresses")[0] for rpc in rpcs]]
        began = time.monotonic()
        run = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=PATIENCE_S)
        assert run.returncode == 0, run.stderr
        blocks = [json.loads(line) for line in run.stdout.splitlines()]
        assert [block["number"] for block in blocks] == list(range(1, best + 1)), run.stdout[-500:]
        assert [block["hash"] for block in blocks] == rpcs[0].hashes(1, best), "a light node has verified another chain"
        count = self.arguments.validators
        for block in blocks:
            assert block["validators"] == count and count * 2 // 3 < block["signed"] <= count, block
            author, rank, is_late = rpcs[1].author(block["number"])
            assert (block["author"], block["rank"], block["late"]) == (author, rank, is_late), block
        assert "answer is wrong" not in run.stderr, run.stderr
        return f"{best} blocks, each signed by at least {min(block['signed'] for block in blocks)} of {count}, in " \
               f"{time.monotonic() - began:.1f} s"

    def one_network_at_a_time(self):
        for base, expected in [(self.base, "another process runs the network"),
                               (tempfile.mkdtemp(dir=os.path.dirname(self.base)), "these ports cannot be had")]:
            run = subprocess.run(self.command(base), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                                 timeout=PATIENCE_S)
            assert run.returncode == 1 and expected in run.stderr, (run.returncode, run.stderr)

    def ctrl_c_stops_all(self):
        pids = self.network.pids()
        self.kept = self.network.rpcs[0].hashes(0, self.network.rpcs[0].height())
        status = self.network.stop()
        assert status == 0, (status, self.network.errors)
        alive = [pid for pid in pids if is_alive(pid)]
        assert not alive, f"these nodes still run: {alive}"
        for node in self.network.nodes:
            with open(node["log"], encoding="utf-8") as log:
                assert "everything is on disk" in log.read(), f"{node['node']} did not end in order"

    def it_goes_on(self):
        self.network = Localnet(self.command(self.base))
        network = self.network
        assert not network.started["new"], network.started
        assert len(network.nodes) == self.arguments.validators + self.arguments.full_nodes, network.started
        height = len(self.kept) + 2
        wait_for_same_chain(network.rpcs, height)
        assert network.rpcs[0].hashes(0, len(self.kept) - 1) == self.kept, "the chain is another one"
        wait_until(lambda: network.rpcs[0].height() >= closed_step(network.rpcs[0]) - 1, "the missed steps are made up for")
        assert self.network.stop() == 0, self.network.errors


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("binary", help="the commonwatt program")
    parser.add_argument("--minutes", type=float, default=1.5, help="how long the network runs undisturbed")
    parser.add_argument("--step-ms", type=int, default=2_000)
    parser.add_argument("--validators", type=int, default=4)
    parser.add_argument("--full-nodes", type=int, default=1)
    parser.add_argument("--base-path", help="where the network is kept, and left to look at")
    arguments = parser.parse_args()
    if arguments.base_path:
        os.makedirs(arguments.base_path, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        story = Story(arguments, os.path.join(arguments.base_path or folder, "network"))
        try:
            status = run_scenarios([
                ("one step after another closes, with the same block on every node", story.closes_one_step_after_another),
                ("every block shows energy, as the meters' data has it", story.every_block_shows_energy),
                ("members trade, and nothing of it is lost", story.members_trade),
                ("rankings are what another program computes", story.rankings_are_what_another_program_computes),
                ("a node that is killed is started again and catches up", story.a_killed_node_catches_up),
                ("a light node verifies all of it", story.a_light_node_verifies_it),
                ("a second network on the same folder or ports is refused", story.one_network_at_a_time),
                ("Ctrl-C stops all nodes in order", story.ctrl_c_stops_all),
                ("the network goes on where it was", story.it_goes_on),
            ])
            if status and story.network:
                story.network.show_logs()
        finally:
            if story.network:
                story.network.kill()
            if arguments.base_path:
                print(f"logs: {arguments.base_path}/network/node*/log")
    sys.exit(status)


if __name__ == "__main__":
    main()
