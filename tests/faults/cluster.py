"""A network of real nodes, each in a network namespace of its own, with lines between them that can be cut, slow or lossy.

The nodes' lines run through `switch.py`; each node's JSON-RPC is reached over a device of the observer's, which no fault touches.
Needs root on Linux, `ip` and /dev/net/tun. Python's standard library only.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import urllib.request
from collections import Counter, deque
from pathlib import Path
from time import monotonic

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from network_checks import (  # noqa: E402
    PATIENCE_S, Rpc, Skipped, closed_step, kill_quietly, wait_for_energy, wait_for_height, wait_for_same_chain, wait_until)

RPC_PORT, METRICS_PORT = 9944, 9615
# The last byte of the observer's address.
OBSERVER = 254
# Lines of each node's log that are shown when something failed.
LOG_LINES = 25
# What a node's log says when a validator contradicted itself, or could.
CONTRADICTIONS = ["contradicted itself", "somebody else signs", "a proposed block is invalid", "panicked"]
# A block may be on its way when the heights are looked at.
BLOCKS_UNDER_WAY = 1


def run(*command, **more):
    """Runs a command; returns what it prints, which an error shows."""
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=PATIENCE_S,
                          stdin=subprocess.DEVNULL, **more)
    assert done.returncode == 0, f"{' '.join(map(str, command))}: {done.stdout[-2_000:]}"
    return done.stdout


def require_tools():
    """Says why nothing can run here, if so."""
    if os.geteuid() != 0:
        raise Skipped("only root may make network namespaces")
    if not shutil.which("ip"):
        raise Skipped("there is no `ip`: install iproute2")
    if not Path("/dev/net/tun").exists():
        raise Skipped("the kernel has no TUN devices")


class Node:
    """One node, running or not."""

    def __init__(self, cluster, number, is_validator):
        self.cluster, self.number, self.is_validator = cluster, number, is_validator
        self.name = f"node{number}"
        self.namespace = f"{cluster.tag}n{number}"
        self.folder = cluster.base / self.name
        self.chain_folder = self.folder / "chains" / "localnet"
        self.log = cluster.folder / f"{self.name}.log"
        self.rpc = Rpc(f"http://{cluster.address(number)}:{RPC_PORT}")
        self.process = None
        self.account = None
        self.more_flags = []

    def start(self, environment=None):
        assert not self.is_running(), f"{self.name} runs"
        command = ["ip", "netns", "exec", self.namespace, self.cluster.binary, f"@{self.folder / 'flags'}", *self.more_flags]
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL,
                                            env={**os.environ, **(environment or {})})

    def is_running(self):
        return self.process is not None and self.process.poll() is None

    def kill(self):
        """Ends it as the loss of power does."""
        self.process.kill()
        self.process.wait(PATIENCE_S)

    def stop(self):
        """Ends it in order."""
        self.process.send_signal(signal.SIGTERM)
        self.wait_for_end()
        assert self.process.returncode == 0, f"{self.name} ended with {self.process.returncode}: {self.last_lines()}"

    def wait_for_end(self):
        try:
            return self.process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired as error:
            raise AssertionError(f"{self.name} does not end: {self.last_lines()}") from error

    def pause(self):
        self.process.send_signal(signal.SIGSTOP)

    def resume(self):
        self.process.send_signal(signal.SIGCONT)

    def last_lines(self, count=LOG_LINES):
        with open(self.log, encoding="utf-8", errors="replace") as log:
            return "".join(deque(log, count))

    def lines(self, text):
        """The lines of its log that hold a text."""
        with open(self.log, encoding="utf-8", errors="replace") as log:
            return [line.rstrip() for line in log if text in line]

    def metric(self, name):
        """The sum of a figure over its labels; 0 when there is none."""
        address = f"http://{self.cluster.address(self.number)}:{METRICS_PORT}/metrics"
        with urllib.request.urlopen(address, timeout=10) as answer:
            text = answer.read().decode()
        return sum(float(value) for value in re.findall(rf"^{name}(?:{{[^}}]*}})? (\S+)$", text, re.MULTILINE))

    def memory_bytes(self, field="VmHWM"):
        """Its peak memory, or with "VmRSS" what it takes now."""
        status = Path(f"/proc/{self.process.pid}/status").read_text(encoding="utf-8")
        return int(re.search(rf"^{field}:\s+(\d+) kB", status, re.MULTILINE)[1]) * 1024


class Lines:
    """The lines between the nodes."""

    def __init__(self, devices):
        words = [f"{name}={number}" for name, number in devices]
        self.process = subprocess.Popen([sys.executable, HERE / "switch.py", *words], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, text=True)
        assert json.loads(self.process.stdout.readline() or "{}").get("ready"), "the switch does not start"
        self.lock = threading.Lock()

    def tell(self, command):
        with self.lock:
            self.process.stdin.write(json.dumps(command) + "\n")
            self.process.stdin.flush()
            return json.loads(self.process.stdout.readline())

    def sent(self):
        """Bytes that each node has sent to others, by number."""
        return {int(number): count for number, count in self.tell({"sent": True})["sent"].items()}

    def close(self):
        self.process.stdin.close()
        self.process.wait(PATIENCE_S)


class Cluster:
    """A network of nodes."""

    def __init__(self, binary, step_ms, validators=4, full_nodes=1, begin_in_s=6, meters=True, bid="share=5%"):
        self.binary = os.path.abspath(binary)
        self.folder = Path(tempfile.mkdtemp(prefix="commonwatt-faults-"))
        self.base = self.folder / "network"
        # Of several runs on one machine each has a network of its own.
        self.tag = f"cw{os.getpid() % 10_000}x{Cluster.count}"
        self.net = f"10.{200 + Cluster.count % 50}.{os.getpid() % 250}"
        Cluster.count += 1
        self.step_ms = step_ms
        self.lines, self.meters, self.mounts = None, None, []
        self.observed = [(self.tag, OBSERVER)]
        run(self.binary, "localnet", "--setup-only", "--base-path", self.base, "--host-pattern", f"{self.net}.{{}}",
            "--validators", str(validators), "--full-nodes", str(full_nodes), "--step-ms", str(step_ms), "--begin-in",
            str(begin_in_s), "--bid", bid)
        numbers = range(1, validators + full_nodes + 1)
        self.nodes = [Node(self, number, number <= validators) for number in numbers]
        genesis = json.loads((self.base / "chain-spec.json").read_text(encoding="utf-8"))["genesis"]
        self.timing = genesis["timing"]
        for node, validator in zip(self.nodes, genesis["validators"]):
            node.account = validator["account"]
        self.wants_meters = meters

    count = 0

    def address(self, number):
        return f"{self.net}.{number}"

    def start(self):
        devices = [(self.tag, OBSERVER), *((f"{self.tag}v{node.number}", node.number) for node in self.nodes)]
        self.lines = Lines(devices)
        for (device, number), node in zip(devices, [None, *self.nodes]):
            inside = []
            if node is not None:
                run("ip", "netns", "add", node.namespace)
                run("ip", "link", "set", device, "netns", node.namespace)
                inside = ["-n", node.namespace]
                run("ip", *inside, "link", "set", "lo", "up")
            run("ip", *inside, "address", "add", f"{self.address(number)}/24", "dev", device)
            run("ip", *inside, "link", "set", device, "txqueuelen", "5000", "up")
        for node in self.nodes:
            node.start()
        if self.wants_meters:
            self.start_meters()

    def start_meters(self):
        urls = ",".join(node.rpc.url.replace("http", "ws") for node in self.nodes)
        with open(self.folder / "meters.log", "ab") as log:
            self.meters = subprocess.Popen([self.binary, "meters", "--rpc", urls], stdout=log, stderr=log,
                                           stdin=subprocess.DEVNULL)

    def stop_meters(self):
        self.meters.send_signal(signal.SIGTERM)
        self.meters.wait(PATIENCE_S)

    @property
    def validators(self):
        return [node for node in self.nodes if node.is_validator]

    def node_of(self, account):
        return next(node for node in self.nodes if node.account == account)

    # ------------------------------------------------------------------ faults of lines

    def set_links(self, rule, is_hit=lambda one, other: True, seed=0):
        """Has a rule hold for the lines between two nodes for which `is_hit` says so, in each direction for itself."""
        numbers = [node.number for node in self.nodes]
        links = [[one, other, rule] for one in numbers for other in numbers if one != other and is_hit(one, other)]
        self.lines.tell({"links": links, "seed": seed})

    def part(self, *groups):
        """Cuts every line between nodes of different groups; who is in none belongs to the first."""
        place = {number: index for index, group in enumerate(groups) for number in group}
        self.set_links({"cut": True}, lambda one, other: place.get(one, 0) != place.get(other, 0))

    def heal(self):
        self.lines.tell({"links": []})

    # ------------------------------------------------------------------ what is expected

    def height(self):
        """The greatest height of a node that answers."""
        found = []
        for node in self.nodes:
            try:
                found.append(node.rpc.height())
            except OSError:
                continue
        assert found, "no node answers"
        return max(found)

    def wait_for_next_block(self, node):
        before = node.rpc.height()
        wait_for_height(node.rpc, before + 1)
        return before + 1

    def verify(self, since, patience_s=PATIENCE_S, has_all_energy=True):
        """What every story ends with: all nodes have the same chain with a block for each step that has closed, no reading is
        lost, and nobody has contradicted itself. Returns the facts of the blocks from `since` on."""
        rpcs = [node.rpc for node in self.nodes]
        dead = [node.name for node in self.nodes if not node.is_running()]
        assert not dead, f"ended: {dead}"
        for node in self.nodes:
            def is_current():
                assert node.is_running(), f"{node.name} ended: {node.last_lines()}"
                return node.rpc.height() >= closed_step(node.rpc) - BLOCKS_UNDER_WAY
            wait_until(is_current, f"a block for every step that has closed, at {node.name}", patience_s)
        best = min(rpc.height() for rpc in rpcs)
        wait_for_same_chain(rpcs, best)
        if has_all_energy:
            wait_for_energy(rpcs[0], since, best, patience_s)
        for node in self.validators:
            offence = rpcs[0].ask("auction_bids", node.account)["offence"]
            assert offence is None, f"{node.name} contradicted itself: {offence}"
        for node in self.nodes:
            for text in CONTRADICTIONS:
                said = node.lines(text)
                assert not said, f"{node.name}: {said[-1]}"
            assert node.metric("commonwatt_agreement_evidence_total") == 0, node.name
        return Facts(rpcs[0], since, best)

    def penalties(self, height):
        """What validators have lost up to a height: the turns each missed, and all tokens that were burned."""
        there = self.nodes[0].rpc.ask("chain_getBlockHash", height)
        missed = [self.nodes[0].rpc.ask("auction_reputation", node.account, there)["missed"] for node in self.validators]
        return missed, self.nodes[0].rpc.ask("auction_rules", there)["burned"]

    # ------------------------------------------------------------------ the end

    def mend(self):
        """Has everything run again, after a story that failed."""
        self.heal()
        for node in self.nodes:
            if node.is_running():
                node.resume()
            else:
                node.start()

    def show_logs(self):
        for node in self.nodes:
            if node.log.exists():
                print(f"--- {node.name}\n{node.last_lines()}")
        meters = self.folder / "meters.log"
        if meters.exists():
            print(f"--- meters\n{''.join(deque(open(meters, encoding='utf-8', errors='replace'), LOG_LINES))}", flush=True)

    def close(self, keep=False):
        for node in self.nodes:
            if node.is_running():
                node.resume()
                node.kill()
        if self.meters and self.meters.poll() is None:
            self.meters.kill()
            self.meters.wait()
        if self.lines:
            try:
                self.lines.close()
            except (OSError, subprocess.SubprocessError):
                kill_quietly(self.lines.process.pid, signal.SIGKILL)
        for node in self.nodes:
            subprocess.run(["ip", "netns", "delete", node.namespace], stderr=subprocess.DEVNULL, check=False)
        for mount in self.mounts:
            subprocess.run(["umount", "-l", mount], check=False)
        if keep:
            print(f"kept: {self.folder}")
        else:
            shutil.rmtree(self.folder, ignore_errors=True)


class Facts:
    """What blocks say about how they came about."""

    def __init__(self, rpc, first, last):
        self.first, self.last = first, last
        self.blocks = [rpc.author(height) for height in range(first, last + 1)]
        self.late = [height for height, (_, _, is_late) in enumerate(self.blocks, first) if is_late]
        self.ranks = Counter(rank for _, rank, _ in self.blocks)

    def __str__(self):
        ranks = ", ".join(f"{count} by rank {rank}" for rank, count in sorted(self.ranks.items()))
        late = f"{self.late[0]} to {self.late[-1]}" if len(self.late) > 1 else f"{self.late[0]}" if self.late else ""
        return f"blocks {self.first} to {self.last}, {ranks}, {len(self.late)} late" + (f" ({late})" if late else "")


def run_stories(stories, after_failure):
    """Runs (name, function) one after the other; after one that failed `after_failure` mends what it left.

    A story returns what it measured, or raises `Skipped`. Prints the closing line; returns the exit status.
    """
    counts = Counter()
    for place, (name, story) in enumerate(stories):
        began = monotonic()
        try:
            said = story()
            counts["passed"] += 1
            print(f"ok      {name} ({monotonic() - began:.0f} s)" + (f": {said}" if said else ""), flush=True)
        except Skipped as reason:
            counts["skipped"] += 1
            print(f"skipped {name}: {reason}", flush=True)
        except (AssertionError, OSError, KeyError, TypeError, ValueError, subprocess.SubprocessError) as error:
            counts["failed"] += 1
            print(f"FAILED  {name} ({monotonic() - began:.0f} s): {error!r}", flush=True)
            if not after_failure():
                counts["skipped"] += len(stories) - place - 1
                break
    print(f"{counts['passed']} passed, {counts['failed']} failed, {counts['skipped']} skipped")
    return 1 if counts["failed"] else 0
