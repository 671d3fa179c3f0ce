#!/usr/bin/env python3
"""Peers that break the rules, over real lines, against a validator that really runs.

    hostile.py BINARY ROGUE [ATTACK…] [--step-ms 4000] [--seconds 12] [--keep]

BINARY is the commonwatt program, ROGUE the example of that name: cargo build --release -p commonwatt-network --example rogue.
Three of four validators run; the fourth's place, with its well-known vote key, is the rogue's. After each attack the validator
that was attacked and the two others have the same chain with a block for every step, none of them late. Prints what was counted
against the rogue, and the attacked node's peak memory. Needs what run.py needs. Python's standard library only.
"""

import argparse
import json
import re
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from time import monotonic

from cluster import (
    HERE, PATIENCE_S, Cluster, Skipped, closed_step, require_tools, run_stories, wait_for_height, wait_for_same_chain,
    wait_until)

# The validator that is attacked, and whose place the rogue takes.
TARGET, ROGUE, ROGUE_KEY = 1, 4, "//Dave"
FIRST_STEPS = 3
# Connections that say nothing, all at once.
MUTES = 64
# How much the attacked node's memory may grow through all attacks: answers that are on their way have 128 MiB.
GROWTH_BYTES_MAX = 256 * 1024 * 1024
# How soon a node has its peers that comes back, its start included.
COMES_BACK_S = 20
# The figure of a node's peers.
PEERS = "substrate_sub_libp2p_peers_count"
NOT_HERE = 77


class Attacks:
    """Each begins where the last one ended."""

    def __init__(self, arguments):
        self.arguments = arguments
        self.cluster = None
        self.before = 0
        self.not_let_in = []

    def begin(self):
        self.cluster = Cluster(self.arguments.binary, self.arguments.step_ms, full_nodes=0)
        for node in self.cluster.nodes:
            node.more_flags = ["--log", "warn,commonwatt=info,commonwatt_network=debug"]
        gone = self.cluster.nodes[ROGUE - 1]
        gone.start = lambda environment=None: None
        self.cluster.start()
        self.honest = [node for node in self.cluster.nodes if node is not gone]
        self.target = self.cluster.nodes[TARGET - 1]
        for node in self.honest:
            wait_for_height(node.rpc, FIRST_STEPS + 2)
        self.genesis = self.target.rpc.ask("chain_getBlockHash", 0)
        flags = (self.honest[1].folder / "flags").read_text(encoding="utf-8")
        address = self.cluster.address(TARGET).replace(".", r"\.")
        self.address = re.search(rf"--bootnodes=(/ip4/{address}/\S+)", flags)[1]
        self.before = self.target.memory_bytes()
        return f"three of four validators; peak memory {self.before / 1e6:.0f} MB"

    def spawn(self, attack, is_validator, seconds=None):
        words = [self.arguments.rogue, attack, "--at", self.address, "--genesis", self.genesis, "--seconds",
                 str(seconds or self.arguments.seconds), *(["--validator", ROGUE_KEY] if is_validator else [])]
        namespace = self.cluster.nodes[ROGUE - 1].namespace
        return subprocess.Popen(["ip", "netns", "exec", namespace, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                text=True, stdin=subprocess.DEVNULL)

    def attack(self, attack, is_validator=True, count=1):
        """Lets rogues attack; returns what they say of it, and what the target counted against them."""
        begin, height = self.target.log.stat().st_size, self.target.rpc.height()
        rogues = [self.spawn(attack, is_validator) for _ in range(count)]
        told = []
        for rogue in rogues:
            out, err = rogue.communicate(timeout=PATIENCE_S)
            assert rogue.returncode == 0, err[-1_000:]
            told.append([json.loads(line) for line in out.splitlines()])
        with open(self.target.log, encoding="utf-8", errors="replace") as log:
            log.seek(begin)
            lines = log.read().splitlines()
        counted = Counter(kind for line in lines if "counted against a peer" in line
                          for kind in re.findall(r"refusal=(\w+)", line))
        bans = sum("a peer is banned" in line for line in lines)
        self.not_let_in = [line for line in lines if "a peer was not let in" in line]
        # The others' steps go on.
        for node in self.honest:
            wait_for_height(node.rpc, height + 2)
            wait_until(lambda: node.rpc.height() >= closed_step(node.rpc) - 1, "a block for every step that has closed")
        best = min(node.rpc.height() for node in self.honest)
        wait_for_same_chain([node.rpc for node in self.honest], best)
        late = [at for at in range(height + 1, best + 1) if self.target.rpc.author(at)[2]]
        assert not late, f"blocks {late} came late"
        return told, counted, bans, f"blocks {height + 1} to {best} in time"

    def is_refused(self, attack, expected, is_validator=True):
        def story():
            told, counted, bans, went_on = self.attack(attack, is_validator)
            # It may be gone before it has read why.
            reasons = [line.split("reason=")[1] for line in self.not_let_in]
            assert reasons and expected in reasons[0], f"{reasons}, {told}"
            assert told[0][-1]["thrownOut"] and not any(event["event"] == "letIn" for event in told[0]), f"{told}"
            return f"refused: {reasons[0]!r}; {dict(counted)}, {bans} bans; {went_on}"
        return story

    def is_banned(self, attack, *expected):
        def story():
            told, counted, bans, went_on = self.attack(attack)
            done = told[0][-1]
            assert done["thrownOut"] and bans, f"{done}, {dict(counted)}, {bans} bans"
            assert any(counted[kind] for kind in expected), f"{dict(counted)}"
            return f"banned after {done['afterMs'] / 1_000:.1f} s and {done['sent']} messages, {done['sentBytes'] / 1e6:.1f} MB; " \
                   f"{dict(counted)}; {went_on}"
        return story

    def does_no_harm(self, attack):
        def story():
            told, counted, bans, went_on = self.attack(attack)
            done = told[0][-1]
            assert any(event["event"] == "letIn" for event in told[0]), f"{told}"
            return f"{done['sent']} messages, {done['sentBytes'] / 1e6:.1f} MB, {'thrown out' if done['thrownOut'] else 'borne'}; " \
                   f"{dict(counted)}, {bans} bans; {went_on}"
        return story

    def mutes(self):
        told, counted, bans, went_on = self.attack("mute", count=MUTES)
        let_in = sum(any(event["event"] == "connected" for event in events) for events in told)
        thrown = sum(events[-1]["thrownOut"] for events in told)
        assert thrown == MUTES, f"{MUTES - thrown} of {MUTES} silent connections stay"
        return f"{let_in} of {MUTES} connected, all thrown out; {went_on}"

    def crowd(self):
        """Without any key somebody fills the places of those that have not yet said who they are, while a node comes back."""
        comes_back = self.honest[-1]
        height = self.target.rpc.height()
        port = re.search(r"/tcp/(\d+)/", self.address)[1]
        addresses = [f"{self.cluster.address(node.number)}:{port}" for node in self.honest]
        namespace = self.cluster.nodes[ROGUE - 1].namespace
        crowd = subprocess.Popen(["ip", "netns", "exec", namespace, sys.executable, HERE / "crowd.py", *addresses],
                                 stdout=subprocess.PIPE, text=True, stdin=subprocess.DEVNULL)
        try:
            assert json.loads(crowd.stdout.readline() or "{}").get("held"), "no crowd comes together"
            comes_back.kill()
            # Three of four are needed, so that the others wait for it.
            comes_back.start()
            began = monotonic()
            wait_until(lambda: comes_back.metric(PEERS) >= len(self.honest) - 1, f"{comes_back.name} has its peers",
                       COMES_BACK_S)
            took = monotonic() - began
            for node in self.honest:
                wait_for_height(node.rpc, height + 2)
            assert crowd.poll() is None, "the crowd has gone by itself"
        finally:
            crowd.kill()
            crowd.communicate()
        for node in self.honest:
            wait_until(lambda: node.rpc.height() >= closed_step(node.rpc) - 1, "a block for every step that has closed")
        said = [line for node in self.honest for line in node.lines("connections come faster than they show who they are")]
        assert said, "nobody says why connections were given up"
        return f"killed with a crowd at every door, {comes_back.name} has all its peers {took:.1f} s after its start"

    def memory_is_bounded(self):
        peak = self.target.memory_bytes()
        assert peak - self.before <= GROWTH_BYTES_MAX, f"{self.before} bytes before, {peak} after"
        return f"peak memory {peak / 1e6:.0f} MB, {self.before / 1e6:.0f} before the attacks"

    def nobody_contradicted_itself(self):
        for node in self.honest:
            offence = node.rpc.ask("auction_bids", node.account)["offence"]
            assert offence is None, f"{node.name}: {offence}"

    def after_failure(self):
        self.cluster.show_logs()
        return all(node.is_running() for node in self.honest)

    def end(self):
        if self.cluster:
            self.cluster.close(self.arguments.keep)


def stories_of(told):
    return [
        ("stranger", "a stranger is not let in", told.is_refused("stranger", "--reserved-nodes", is_validator=False)),
        ("wrong-chain", "a peer of another chain is not let in", told.is_refused("wrong-chain", "another chain")),
        ("forged-hello", "a hello with another's signature is not let in", told.is_refused("forged-hello", "vote key")),
        ("mute", "connections that say nothing, more than there is room for, are closed", told.mutes),
        ("crowd", "a node comes back while others' silent connections fill the doorstep", told.crowd),
        ("garbage-requests", "garbage instead of requests", told.is_banned("garbage-requests", "Garbage")),
        ("garbage-gossip", "garbage instead of gossip", told.is_banned("garbage-gossip", "Garbage", "InvalidMessage")),
        ("oversized", "requests and messages that are too long", told.is_banned("oversized", "Oversized")),
        ("flood", "a flood of statuses", told.is_banned("flood", "Flood")),
        ("transactions", "a flood of transactions that nobody signed",
         told.is_banned("transactions", "InvalidMessage", "Flood")),
        ("forged-transactions", "transactions with wrong signatures, fewer than its rate",
         told.is_banned("forged-transactions", "InvalidMessage")),
        ("replay", "what others said, again and again", told.does_no_harm("replay")),
        ("stale", "what others said long ago", told.does_no_harm("stale")),
        ("wrong-certificates", "other blocks than were asked for, with their certificates",
         told.is_banned("wrong-certificates", "WrongAnswer")),
        ("slow-reader", "a peer that asks and does not read", told.does_no_harm("slow-reader")),
    ]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("binary", help="the commonwatt program")
    parser.add_argument("rogue", help="the example `rogue` of commonwatt-network")
    parser.add_argument("attack", nargs="*", help="attacks to try [default: all]")
    parser.add_argument("--step-ms", type=int, default=4_000)
    parser.add_argument("--seconds", type=int, default=12, help="how long each attack lasts at most")
    parser.add_argument("--keep", action="store_true", help="leave folders and logs there")
    arguments = parser.parse_args()
    arguments.rogue = Path(arguments.rogue).resolve()
    told = Attacks(arguments)
    attacks = stories_of(told)
    unknown = set(arguments.attack) - {name for name, *_ in attacks}
    if unknown:
        parser.error(f"no such attack: {', '.join(sorted(unknown))}")
    chosen = [(what, story) for name, what, story in attacks if not arguments.attack or name in arguments.attack]
    try:
        require_tools()
    except Skipped as reason:
        print(f"skipped: {reason}\n0 passed, 0 failed, {len(chosen)} skipped")
        return NOT_HERE
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        return run_stories([
            ("three validators close one step after another", told.begin),
            *chosen,
            ("memory is bounded", told.memory_is_bounded),
            ("nobody contradicted itself", told.nobody_contradicted_itself),
        ], told.after_failure)
    finally:
        told.end()


if __name__ == "__main__":
    sys.exit(main())
