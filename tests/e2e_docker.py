#!/usr/bin/env python3
"""`docker compose up` as a user types it, with a real Docker Engine: four validators, a full node, the meters and Prometheus;
a container is killed, one paused, the network of one cut and healed.

    e2e_docker.py --build-image            builds the image with docker/Dockerfile, toolchain, dependencies and all
    e2e_docker.py --binary FILE            ships this release binary with the last stage of docker/Dockerfile
    options: --step-ms 2000, --quick (without Prometheus and the pause, as in .ci/run),
             --keep (leave engine and network running, and say how to reach them)

Needs an engine, or root on Debian: then one is installed, runs in a temporary folder, and is ended. Base images that no
registry gives are made of Debian's packages under the official names; there is none of Grafana then, and its service is
counted as skipped. Without an engine everything is. Python's standard library only. Prints image size and times, and the
plain closing line; exits with 77 where nothing can run.
"""

import argparse
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from time import monotonic, time

from debian import make_system, require_programs, run, succeeds
from network_checks import (
    PATIENCE_S, PROJECT, Rpc, Skipped, closed_step, run_scenarios, verify_market, verify_rankings, wait_for_energy,
    wait_for_height, wait_for_same_chain, wait_for_trade, wait_until)

DOCKER = PROJECT / "docker"
VALIDATORS, NODES = 4, 5
# A project of its own: a network that somebody runs stays as it is.
NAME = "commonwatt-e2e"
IMAGE, CHANGED_IMAGE = "commonwatt:e2e", "commonwatt:e2e-changed"
# What a change of code changes: words of the program's help.
WORDS, CHANGED_WORDS = "Keep accounts, trade", "Keep accounts, change code, trade"
# Steps at the chain's beginning that may have gone by before all nodes and meters were there.
FIRST_STEPS = 3
# Blocks that the others make while one node is gone.
BLOCKS_WITHOUT_ONE = 4
# Where the kernel says whether it forwards packets, and what decides which; an engine changes both.
FORWARDS = Path("/proc/sys/net/ipv4/ip_forward")
PACKET_FILTERS = ["iptables", "ip6tables"]
EMPTY_TABLES = {
    "filter": "*filter\n:INPUT ACCEPT\n:FORWARD ACCEPT\n:OUTPUT ACCEPT\nCOMMIT\n",
    "nat": "*nat\n:PREROUTING ACCEPT\n:INPUT ACCEPT\n:OUTPUT ACCEPT\n:POSTROUTING ACCEPT\nCOMMIT\n",
}
# The exit status that says that there is no engine.
NOT_HERE = 77
# How long an image may take.
BUILD_PATIENCE_S = 3_600


def free_ports(count):
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()


class Engine:
    """Docker's engine: the one that runs here, or one of our own for as long as this lives."""

    def __init__(self, folder):
        self.folder = Path(folder)
        self.daemon = None
        self.rootfs = None
        try:
            if not succeeds("docker", "info"):
                self.start()
            self.compose = self.find_compose()
        except BaseException:
            self.stop()
            raise

    def start(self):
        if os.geteuid() != 0:
            raise Skipped("no engine runs, and only root may start one")
        require_programs({"dockerd": "docker.io", "iptables": "iptables", "mmdebstrap": "mmdebstrap"})
        # A package of its own in newer releases.
        require_programs({"docker": "docker-cli"})
        if succeeds("docker", "info"):
            # Its package has started it as a service of the machine.
            return
        # The client that belongs to the engine, should there be another one.
        os.environ["PATH"] = f"{Path(shutil.which('dockerd')).parent.parent / 'bin'}:{os.environ['PATH']}"
        os.environ["DOCKER_HOST"] = f"unix://{self.folder}/docker.sock"
        os.environ["DOCKER_CONFIG"] = str(self.folder / "config")
        # What the engine changes for the whole machine.
        self.has_bridge = Path("/sys/class/net/docker0").exists()
        self.forwards = FORWARDS.read_text(encoding="utf-8")
        for program in PACKET_FILTERS:
            rules = run(f"{program}-save")
            # A table that nobody has used yet is not in there.
            rules += "".join(empty for table, empty in EMPTY_TABLES.items() if f"*{table}\n" not in rules)
            (self.folder / program).write_text(rules, encoding="utf-8")
        self.log = open(self.folder / "dockerd.log", "w+", encoding="utf-8")
        self.daemon = subprocess.Popen(
            ["dockerd", "--data-root", self.folder / "data", "--exec-root", self.folder / "exec", "--pidfile",
             self.folder / "dockerd.pid", "--host", os.environ["DOCKER_HOST"]],
            stdout=self.log, stderr=self.log, stdin=subprocess.DEVNULL, start_new_session=True)

        def is_ready():
            assert self.daemon.poll() is None, "the engine ended"
            return succeeds("docker", "info")

        try:
            wait_until(is_ready, "the engine answers")
        except AssertionError as error:
            self.log.seek(0)
            last = self.log.read()[-1_000:]
            raise Skipped(f"the engine does not run here: {error}: {last}") from error

    def find_compose(self):
        if succeeds("docker", "compose", "version"):
            return ["docker", "compose"]
        if self.daemon:
            # Debian's newer release has the one of today; it is a program of its own.
            try:
                rootfs = self.debian()
                run("chroot", rootfs, "sh", "-c", "cd /tmp && apt-get -qq download docker-compose", patience_s=600)
            except AssertionError as error:
                raise Skipped(f"Docker Compose cannot be had: {error}") from error
            package = next((rootfs / "tmp").glob("docker-compose_*.deb"))
            run("dpkg-deb", "-x", package, self.folder / "compose")
            package.unlink()
            plugins = self.folder / "config" / "cli-plugins"
            plugins.mkdir(parents=True)
            shutil.copy(self.folder / "compose/usr/libexec/docker/cli-plugins/docker-compose", plugins)
            if succeeds("docker", "compose", "version"):
                return ["docker", "compose"]
        if succeeds("docker-compose", "version"):
            return ["docker-compose"]
        raise Skipped("there is no Docker Compose")

    def debian(self):
        """Returns a folder with Debian's smallest system."""
        if self.rootfs is None:
            require_programs({"mmdebstrap": "mmdebstrap"})
            rootfs = self.folder / "rootfs"
            make_system(rootfs)
            self.rootfs = rootfs
        return self.rootfs

    def has_image(self, name):
        """Whether an image is here, or can be had from a registry."""
        return succeeds("docker", "image", "inspect", name) or succeeds("docker", "pull", "-q", name, patience_s=600)

    def build(self, dockerfile, tag, context, *more):
        """Builds an image of our own making; returns how long that took, in seconds."""
        began = monotonic()
        file = self.folder / "Dockerfile"
        file.write_text(dockerfile, encoding="utf-8")
        run("docker", "build", "-q", "--network", "host", "-f", file, "-t", tag, *more, context,
            patience_s=BUILD_PATIENCE_S)
        return monotonic() - began

    def make_debian(self, name):
        """Has a base image of Debian under its official name; like that, without documentation and lists of packages."""
        if self.has_image(name):
            return
        left_out = ["usr/share/doc/*", "usr/share/man/*", "usr/share/locale/*", "var/cache/apt/*", "var/lib/apt/lists/*"]
        words = [f"--exclude=./{path}" for path in left_out]
        run("sh", "-ec", 'from=$1; name=$2; shift 2; tar -C "$from" "$@" -c . | docker import - "$name"', "sh",
            self.debian(), name, *words, patience_s=600)

    def make_rust(self, name, debian):
        """Has a base image of the toolchain under its official name: what that has, at the same places, and the crates."""
        if self.has_image(name):
            return
        self.make_debian(debian)
        version = name.split(":")[1].split("-")[0]
        own = run("rustc", "--version", cwd=PROJECT).strip()
        assert f" {version} " in own, f"no registry gives {name}, and the toolchain here is another one: {own}"
        context = self.folder / "rust"
        context.mkdir()
        toolchain = Path(run("rustc", "--print", "sysroot", cwd=PROJECT).strip())
        cargo_home = Path(os.environ.get("CARGO_HOME", Path.home() / ".cargo"))
        # Everything that the lock file names is in the registry's folder now, and the build needs no network.
        run("cargo", "fetch", "--locked", cwd=PROJECT, patience_s=1_800)
        copies = [(toolchain, "rustup/toolchains/own", ["share", "lib/rustlib/src"]),
                  (cargo_home / "registry", "cargo/registry", ["src"])]
        for source, target, leave_out in copies:
            (context / target).mkdir(parents=True)
            words = [f"--exclude=./{path}" for path in leave_out]
            run("sh", "-ec", 'from=$1; to=$2; shift 2; tar -C "$from" "$@" -c . | tar -C "$to" -x', "sh", source,
                context / target, *words, patience_s=600)
        # No more than the official image has: what the build needs besides, it must say itself.
        self.build(f"""
            FROM {debian}
            RUN apt-get update -qq && apt-get install -y -qq --no-install-recommends ca-certificates gcc libc6-dev
            COPY rustup /usr/local/rustup
            COPY cargo /usr/local/cargo
            RUN mkdir /usr/local/cargo/bin && ln -s ../../rustup/toolchains/own/bin/cargo \\
                ../../rustup/toolchains/own/bin/rustc ../../rustup/toolchains/own/bin/rustdoc /usr/local/cargo/bin/
            ENV RUSTUP_HOME=/usr/local/rustup CARGO_HOME=/usr/local/cargo PATH=/usr/local/cargo/bin:$PATH
            ENV RUST_VERSION={version} CARGO_NET_OFFLINE=true
            """, name, context)
        shutil.rmtree(context)

    def make_prometheus(self, name, debian):
        """Has an image of Prometheus under its official name."""
        if self.has_image(name):
            return
        self.make_debian(debian)
        context = self.folder / "prometheus"
        context.mkdir()
        self.build(f"""
            FROM {debian}
            RUN apt-get update -qq && apt-get install -y -qq --no-install-recommends prometheus \\
                && mkdir /prometheus && chown nobody /prometheus
            USER nobody
            ENTRYPOINT ["prometheus"]
            """, name, context)

    def stop(self):
        """Ends an engine of our own, and removes what it leaves behind."""
        if self.daemon is None:
            return
        self.daemon.send_signal(signal.SIGTERM)
        self.daemon.wait(PATIENCE_S)
        self.daemon = None
        self.log.close()
        if not self.has_bridge:
            succeeds("ip", "link", "delete", "docker0")
        for program in PACKET_FILTERS:
            succeeds(f"{program}-restore", self.folder / program)
        FORWARDS.write_text(self.forwards, encoding="utf-8")
        # Namespaces of containers that are gone.
        for mount in Path("/proc/mounts").read_text(encoding="utf-8").splitlines():
            target = mount.split()[1]
            if target.startswith(f"{self.folder}/"):
                succeeds("umount", "-l", target)


def settings():
    """What docker/.env says."""
    lines = (DOCKER / ".env").read_text(encoding="utf-8").splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def stages(dockerfile):
    """The stages of a Dockerfile, with what stands before each left out."""
    found = []
    for line in dockerfile.splitlines():
        if line.startswith("FROM "):
            found.append([])
        if found:
            found[-1].append(line)
    return found


class Story:
    """The scenarios, each of which begins where the last one ended."""

    def __init__(self, arguments, engine):
        self.arguments = arguments
        self.engine = engine
        self.settings = settings()
        # Services that are not started.
        self.absent = set()
        *node_ports, self.prometheus_port, grafana_port = free_ports(NODES + 2)
        self.rpcs = [Rpc(f"http://127.0.0.1:{port}") for port in node_ports]
        self.environment = {
            **os.environ,
            "COMPOSE_PROJECT_NAME": NAME,
            "COMMONWATT_IMAGE": IMAGE,
            "STEP_MS": str(arguments.step_ms),
            "PROMETHEUS_PORT": str(self.prometheus_port),
            "GRAFANA_PORT": str(grafana_port),
            **{f"NODE{number}_PORT": str(port) for number, port in enumerate(node_ports, 1)},
        }

    # ------------------------------------------------------------------ images

    def the_image_is_built(self):
        """Returns its size, and how long it took."""
        text = (DOCKER / "Dockerfile").read_text(encoding="utf-8")
        bases = {line.split()[1] for line in text.splitlines() if line.startswith("FROM ") and ":" in line.split()[1]}
        debian = next(base for base in bases if base.startswith("debian:"))
        began = monotonic()
        if self.arguments.build_image:
            rust = next(base for base in bases if base.startswith("rust:"))
            self.engine.make_debian(debian)
            self.engine.make_rust(rust, debian)
            based = monotonic() - began
            began = monotonic()
            run("docker", "build", "-q", "-f", DOCKER / "Dockerfile", "-t", IMAGE, PROJECT, patience_s=BUILD_PATIENCE_S)
            how = "with docker/Dockerfile"
        else:
            self.engine.make_debian(debian)
            based = monotonic() - began
            last = stages(text)[-1]
            shipped = [line.replace("--from=build /source/target/release/", "") for line in last]
            assert shipped != last, "the last stage takes the binary from another place: this script must too"
            with tempfile.TemporaryDirectory() as context:
                binary = Path(context) / "commonwatt"
                shutil.copy(self.arguments.binary, binary)
                run("strip", binary)
                for file in ["LICENSE", "chain-specs/demo-community/LICENCE"]:
                    (Path(context) / file).parent.mkdir(parents=True, exist_ok=True)
                    shutil.copy(PROJECT / file, Path(context) / file)
                began = monotonic()
                self.engine.build("\n".join(shipped) + "\n", IMAGE, context)
            how = "of a binary that was there"
        took = monotonic() - began
        size, base_size = (int(run("docker", "image", "inspect", "-f", "{{.Size}}", image)) for image in (IMAGE, debian))
        user = run("docker", "image", "inspect", "-f", "{{.Config.User}}", IMAGE).strip()
        assert user not in ("", "root", "0"), f"it runs as {user!r}"
        return f"{size / 1e6:.0f} MB, {(size - base_size) / 1e6:.0f} of them on top of the base image, {how} in " \
               f"{took:.0f} s (base images {based:.0f} s)"

    def a_change_of_code_builds_no_dependency(self):
        """Builds the image of changed sources; the layer of the dependencies must be the one that is there."""
        def dependencies(sources):
            return run("docker", "build", "-q", "-f", sources / "docker/Dockerfile", "--target", "dependencies", sources,
                       patience_s=BUILD_PATIENCE_S).strip()

        before = dependencies(PROJECT)
        with tempfile.TemporaryDirectory() as folder:
            sources = Path(folder) / "sources"
            not_sources = {str(PROJECT / name) for name in (".git", "target", "data")}
            shutil.copytree(PROJECT, sources, ignore=lambda at, names: [
                name for name in names if str(Path(at) / name) in not_sources])
            code = sources / "node/src/cli.rs"
            text = code.read_text(encoding="utf-8")
            assert WORDS in text, f"a change is made to {WORDS!r}, which is no longer in {code.name}"
            code.write_text(text.replace(WORDS, CHANGED_WORDS), encoding="utf-8")
            began = monotonic()
            # A builder tells what it does in one stream or the other.
            said = run("sh", "-ec", 'docker build -f "$1/docker/Dockerfile" -t "$2" "$1" 2>&1', "sh", sources, CHANGED_IMAGE,
                       patience_s=BUILD_PATIENCE_S, env={**os.environ, "BUILDKIT_PROGRESS": "plain"})
            took = monotonic() - began
            assert dependencies(sources) == before, "the layer of the dependencies was built again"
        compiled = [line for line in said.splitlines() if " Compiling " in line]
        others = [line for line in compiled if "(/source" not in line]
        assert compiled and not others, f"{len(others)} dependencies were compiled again: {others[:10]}"
        assert CHANGED_WORDS in run("docker", "run", "--rm", CHANGED_IMAGE, "--help"), "the change is not in the image"
        run("docker", "image", "rm", CHANGED_IMAGE)
        return f"{len(compiled)} crates compiled again in {took:.0f} s"

    # ------------------------------------------------------------------ the network

    def up(self):
        """What a user types; when services are absent, all others are named."""
        services = self.compose("config", "--services").split()
        others = [service for service in services if service not in self.absent] if self.absent else []
        self.compose("up", "-d", "--no-build", *others, patience_s=600)

    def compose(self, *words, patience_s=PATIENCE_S):
        # The project's folder, as a newcomer would; the old program does not know what stands there.
        folder = PROJECT if self.engine.compose[0] == "docker" else DOCKER
        return run(*self.engine.compose, *words, cwd=folder, env=self.environment, patience_s=patience_s)

    def container(self, service):
        return self.compose("ps", "-q", service).strip()

    def inspect(self, service, form):
        return run("docker", "inspect", "-f", form, self.container(service)).strip()

    def pid(self, service):
        return int(self.inspect(service, "{{.State.Pid}}"))

    def compose_up_starts_all(self):
        if self.arguments.quick:
            self.absent = {"prometheus", "grafana"}
        else:
            self.engine.make_prometheus(self.settings["PROMETHEUS_IMAGE"], self.debian_name())
            self.absent = set() if self.engine.has_image(self.settings["GRAFANA_IMAGE"]) else {"grafana"}
        began = monotonic()
        self.up()
        started = monotonic() - began
        for number in range(1, NODES + 1):
            wait_until(lambda: self.inspect(f"node{number}", "{{.State.Health.Status}}") == "healthy",
                       f"node{number} is healthy", 2 * PATIENCE_S)
        return f"up in {started:.0f} s, all healthy after {monotonic() - began:.0f} s"

    def debian_name(self):
        text = (DOCKER / "Dockerfile").read_text(encoding="utf-8")
        return next(line.split()[1] for line in text.splitlines() if line.startswith("FROM debian:"))

    def nodes_agree(self):
        for rpc in self.rpcs:
            wait_for_height(rpc, FIRST_STEPS + 10, 2 * PATIENCE_S)
        height = self.rpcs[0].height()
        wait_for_same_chain(self.rpcs, height)
        wait_until(lambda: self.rpcs[0].height() >= closed_step(self.rpcs[0]) - 1, "a block for every step that has closed")
        peers = [rpc.ask("system_health")["peers"] for rpc in self.rpcs]
        assert all(count >= VALIDATORS - 1 for count in peers), peers
        return f"{height} blocks, peers {peers}"

    def every_block_has_energy(self):
        height = self.rpcs[-1].height() - 1
        wait_for_energy(self.rpcs[-1], FIRST_STEPS + 1, height)
        return f"steps {FIRST_STEPS + 1} to {height}, as the meters' data has them"

    def validators_bid(self):
        """Every validator bids, and who makes a block has won the auction for it, whose pot it gets."""
        rpc = self.rpcs[0]
        lead = rpc.ask("auction_rules")["mining"]["bidLead"]
        first, last = FIRST_STEPS + lead + 1, rpc.height()
        there = rpc.ask("chain_getBlockHash", last)
        auctions = [rpc.ask("auction_auction", height, there) for height in range(first, last + 1)]
        bidders = {one["account"] for auction in auctions for one in auction["ranking"] + auction["excluded"]
                   if int(one["offered"])}
        assert len(bidders) == VALIDATORS, f"{len(bidders)} of {VALIDATORS} validators have bid"
        won = [auction for auction in auctions if auction["bidders"] and auction["outcome"]["authorRank"] == 0]
        assert 2 * len(won) > len(auctions), f"{len(won)} of {len(auctions)} blocks were made by an auction's winner"
        pots = [int(auction["outcome"]["pot"]) for auction in won]
        assert min(pots) > 0, pots
        return f"{len(won)} of {len(auctions)} blocks by who won the auction, pots of {min(pots)} to {max(pots)} tokens"

    def members_trade(self):
        step, traded_wh = wait_for_trade(self.rpcs[0])
        traders = verify_market(self.rpcs, step, traded_wh)
        return f"step {step}: {traded_wh} Wh among {traders} members"

    def prometheus_sees_all(self):
        prometheus = f"http://127.0.0.1:{self.prometheus_port}/api/v1/query?query="

        def ask(query):
            import urllib.request
            with urllib.request.urlopen(prometheus + query, timeout=10) as answer:
                return json.load(answer)["data"]["result"]

        def all_up():
            return sum(one["value"][1] == "1" for one in ask("up")) == NODES

        wait_until(all_up, "Prometheus sees every node")
        heights = [int(one["value"][1]) for one in ask("substrate_block_height%7Bstatus%3D%22finalized%22%7D")]
        assert len(heights) == NODES and min(heights) > 0, heights

    def grafana_shows_the_dashboard(self):
        if "grafana" in self.absent:
            raise Skipped("no image of Grafana can be had")
        import urllib.request

        def is_there():
            address = f"http://127.0.0.1:{self.environment['GRAFANA_PORT']}/api/dashboards/uid/commonwatt"
            with urllib.request.urlopen(address, timeout=10) as answer:
                return json.load(answer)["dashboard"]["title"] == "Commonwatt"

        wait_until(is_there, "Grafana has the dashboard")

    def others_go_on(self, gone):
        """Waits until all other nodes have made some more blocks; returns the last height."""
        others = [rpc for number, rpc in enumerate(self.rpcs, 1) if number != gone]
        height = others[0].height() + BLOCKS_WITHOUT_ONE
        wait_for_same_chain(others, height)
        return height

    def all_agree_again(self, since):
        height = max(since, self.rpcs[0].height()) + 1
        wait_for_same_chain(self.rpcs, height, 2 * PATIENCE_S)
        wait_for_energy(self.rpcs[0], FIRST_STEPS + 1, height - 1, 2 * PATIENCE_S)
        return f"the same {height} blocks everywhere, nothing lost"

    def a_killed_container_is_restarted(self):
        before, restarts = self.pid("node2"), int(self.inspect("node2", "{{.RestartCount}}"))
        # Not `docker kill`, which Docker takes for a wish to have it stopped.
        if os.geteuid() == 0 and Path(f"/proc/{before}").exists():
            os.kill(before, signal.SIGKILL)
        else:
            raise Skipped("only root on the engine's machine can kill a container's process")
        height = self.others_go_on(2)
        wait_until(lambda: int(self.inspect("node2", "{{.RestartCount}}")) > restarts, "Docker starts it again")
        return self.all_agree_again(height)

    def a_paused_container_catches_up(self):
        container = self.container("node3")
        # On a busy machine the kernel may need more tries to freeze all threads than Docker makes.
        wait_until(lambda: succeeds("docker", "pause", container), "Docker pauses node3")
        try:
            height = self.others_go_on(3)
        finally:
            run("docker", "unpause", container)
        return self.all_agree_again(height)

    def a_cut_network_heals(self):
        container, network = self.container("node4"), f"{NAME}_community"
        run("docker", "network", "disconnect", network, container)
        try:
            height = self.others_go_on(4)
        finally:
            run("docker", "network", "connect", "--alias", "node4", network, container)
        return self.all_agree_again(height)

    def rankings_are_what_another_program_computes(self):
        return verify_rankings(self.rpcs[0])

    def it_stops_and_goes_on(self):
        kept = self.rpcs[0].hashes(0, self.rpcs[0].height())
        began = monotonic()
        self.compose("stop", patience_s=3 * PATIENCE_S)
        took = monotonic() - began
        for number in range(1, NODES + 1):
            log = self.compose("logs", "--no-color", "--tail", "20", f"node{number}")
            assert "everything is on disk" in log, f"node{number} did not end in order: {log}"
        self.up()
        wait_for_same_chain(self.rpcs, len(kept) + 2, 2 * PATIENCE_S)
        assert self.rpcs[0].hashes(0, len(kept) - 1) == kept, "the chain is another one"
        return f"stopped in {took:.0f} s"

    def nothing_is_left(self):
        self.down()
        left = run("docker", "ps", "-aq", "--filter", f"label=com.docker.compose.project={NAME}")
        left += run("docker", "volume", "ls", "-q", "--filter", f"label=com.docker.compose.project={NAME}")
        assert not left.strip(), left

    def down(self):
        self.compose("down", "-v", "--remove-orphans", patience_s=3 * PATIENCE_S)

    def show_logs(self):
        """What is needed when something failed."""
        try:
            print(self.compose("ps", "-a") + self.compose("logs", "--no-color", "--tail", "25"))
        except (AssertionError, subprocess.SubprocessError) as error:
            print(error)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--build-image", action="store_true", help="build the image with docker/Dockerfile")
    what.add_argument("--binary", help="a release binary to ship instead")
    parser.add_argument("--step-ms", type=int, default=2_000)
    parser.add_argument("--quick", action="store_true", help="without Prometheus and the pause")
    parser.add_argument("--keep", action="store_true", help="leave everything running")
    arguments = parser.parse_args()
    began = time()
    # Told to end, it still ends what it has started.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    folder = tempfile.mkdtemp(prefix="commonwatt-docker-")
    try:
        engine = Engine(folder)
    except Skipped as reason:
        print(f"skipped: {reason}\n0 passed, 0 failed, 1 skipped")
        shutil.rmtree(folder, ignore_errors=True)
        return NOT_HERE
    story = Story(arguments, engine)
    status = 1
    try:
        print(run("docker", "version", "-f", "Docker Engine {{.Server.Version}}").strip() + ", "
              + run(*engine.compose, "version").splitlines()[0], flush=True)
        status = run_scenarios([
            ("the image is small and not root's", story.the_image_is_built),
            *([("a change of code builds no dependency", story.a_change_of_code_builds_no_dependency)]
              if arguments.build_image else []),
            ("docker compose up starts all", story.compose_up_starts_all),
            ("nodes agree, one block a step", story.nodes_agree),
            ("every block has energy", story.every_block_has_energy),
            ("validators bid, and winners make the blocks", story.validators_bid),
            ("members trade, and nothing of it is lost", story.members_trade),
            *([] if arguments.quick else [
                ("Prometheus sees every node", story.prometheus_sees_all),
                ("Grafana shows the dashboard", story.grafana_shows_the_dashboard),
            ]),
            ("a container that is killed is restarted and catches up", story.a_killed_container_is_restarted),
            *([] if arguments.quick else [("a container that is paused catches up", story.a_paused_container_catches_up)]),
            ("a network that is cut heals", story.a_cut_network_heals),
            ("rankings are what another program computes", story.rankings_are_what_another_program_computes),
            ("stopped and started, it goes on", story.it_stops_and_goes_on),
            *([] if arguments.keep else [("nothing is left behind", story.nothing_is_left)]),
        ])
        if status:
            story.show_logs()
    finally:
        if arguments.keep:
            print(f"left running: export DOCKER_HOST={os.environ.get('DOCKER_HOST', '')}; in {folder}")
        else:
            try:
                story.down()
            except (AssertionError, subprocess.SubprocessError) as error:
                print(error)
            engine.stop()
            shutil.rmtree(folder, ignore_errors=True)
        print(f"{time() - began:.0f} s in all")
    return status


if __name__ == "__main__":
    sys.exit(main())
