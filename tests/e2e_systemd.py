#!/usr/bin/env python3
"""The node as a service, as packaging/systemd/commonwatt.service says: a small Debian system boots with systemd as its first
process, the commands in the unit's head install a validator there, and it makes blocks in its sandbox; it is restarted,
killed and stopped, and the system is switched off and on.

    e2e_systemd.py BINARY

The commands and settings are read from the unit's head, so they are what an operator has. Needs root on Debian, and a kernel
with cgroup v2; exits with 77 elsewhere. The system lives in a temporary folder, in namespaces of its own. Python's standard
library only. Prints what it checks and the plain closing line.
"""

import argparse
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from time import monotonic, time

from debian import make_system, require_programs, run, succeeds
from network_checks import (
    PATIENCE_S, PROJECT, Rpc, Skipped, closed_step, run_scenarios, wait_for_height, wait_until)

UNIT = PROJECT / "packaging" / "systemd" / "commonwatt.service"
SERVICE = "commonwatt"
# Where the project lies in the system, and the operator works.
SOURCES = "/srv/commonwatt"
CHAIN, PASSWORD = "village", "a long secret"
STEP_MS = 2_000
# So many steps after the set-up the chain's first one begins.
STEPS_UNTIL = 3
# How often systemd starts what ends at once.
ATTEMPTS = 5
# How long the node may take to end: half of what it gives itself.
STOP_S = 5
# `systemd-analyze security` rates from 0, seen as safe, to 100.
EXPOSURE_MAX = 15
# The exit status that says that nothing can run here.
NOT_HERE = 77
# Starts a system whose root is $1, in a cgroup $2 of its own; all else it needs is mounted for it.
BOOT = """
    echo $$ > "$2/cgroup.procs"
    exec env -i container=other PATH=/usr/sbin:/usr/bin:/sbin:/bin \\
        unshare --pid --fork --kill-child=SIGKILL --mount --cgroup --uts --ipc sh -euc '
            hostname village
            mount --bind "$1" "$1"
            cd "$1"
            mount -t proc proc proc
            mount -t sysfs sysfs sys
            mount -t cgroup2 cgroup2 sys/fs/cgroup
            mount -t tmpfs -o mode=755 tmpfs run
            mount -t tmpfs -o mode=755 tmpfs dev
            mkdir dev/pts dev/shm
            mount -t devpts -o newinstance,ptmxmode=666 devpts dev/pts
            mount -t tmpfs -o mode=1777 tmpfs dev/shm
            for device in null:1:3 zero:1:5 full:1:7 random:1:8 urandom:1:9 tty:5:0 loop-control:10:237; do
                name=${device%%:*} numbers=${device#*:}
                mknod -m 666 "dev/$name" c "${numbers%:*}" "${numbers#*:}"
            done
            ln -s pts/ptmx dev/ptmx
            ln -s /proc/self/fd dev/fd
            mkdir -p former
            pivot_root . former
            umount -l /former
            mount --make-rshared /
            exec /usr/lib/systemd/systemd --log-target=journal --show-status=no
        ' sh "$1"
"""


class Head:
    """What the head of the unit tells an operator."""

    def __init__(self):
        lines = [line[4:] for line in UNIT.read_text(encoding="utf-8").splitlines() if line.startswith("#   ")]
        self.commands = [line for line in lines if line.split()[0] in ("install", "useradd", "systemctl", "sudo", "journalctl")]
        self.lines = lines

    def command(self, *beginnings):
        """The commands that begin with these words, in their sequence."""
        found = [line for line in self.commands if line.startswith(beginnings)]
        assert len(found) >= len(beginnings), f"the unit's head has not all of {beginnings}: {self.commands}"
        return found

    def line(self, beginning):
        found = [line for line in self.lines if line.startswith(beginning)]
        assert len(found) == 1, f"the unit's head has {len(found)} lines like {beginning!r}"
        return found[0]


class Machine:
    """The system, on or off."""

    def __init__(self, root):
        self.root = Path(root)
        self.process = None
        self.cgroups = self.root.parent / "cgroups"
        self.cgroups.mkdir()
        if not succeeds("mount", "-t", "cgroup2", "cgroup2", self.cgroups):
            raise Skipped("the kernel has no cgroup v2")
        self.boots = 0

    def switch_on(self):
        began = monotonic()
        self.boots += 1
        cgroup = self.cgroups / f"commonwatt-e2e-{os.getpid()}-{self.boots}"
        cgroup.mkdir()
        self.process = subprocess.Popen(["sh", "-euc", BOOT, "sh", self.root, cgroup], stdin=subprocess.DEVNULL,
                                        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        wait_until(self.is_up, "the system boots")
        return monotonic() - began

    def is_up(self):
        if self.process.poll() is not None:
            raise Skipped(f"systemd does not run here: {self.process.stdout.read()[-1_000:]}")
        # "degraded" is a system of which a unit failed: this one has no modules to load into the kernel.
        return self.first_process() and self.ask("systemctl is-system-running || true").strip() in ("running", "degraded")

    def first_process(self):
        """The system's process 1, once that is systemd: before, it is not yet in the system's folder."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text(encoding="utf-8").split()
        is_systemd = children and Path(f"/proc/{children[0]}/comm").read_text(encoding="utf-8") == "systemd\n"
        return children[0] if is_systemd else None

    def inside(self, command):
        first = self.first_process()
        assert first, "the system is off"
        return ["nsenter", "--target", first, "--mount", "--uts", "--ipc", "--pid", "--cgroup", "env", "-i",
                "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TERM=dumb",
                "sh", "-ec", f"cd {SOURCES}; {command}"]

    def ask(self, command, patience_s=PATIENCE_S):
        """Runs a command as the operator, in the project's folder; returns what it prints."""
        return run(*self.inside(command), patience_s=patience_s)

    def refuses(self, command):
        """Runs a command that must fail; returns what it prints."""
        done = subprocess.run(self.inside(command), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                              timeout=PATIENCE_S, stdin=subprocess.DEVNULL)
        assert done.returncode != 0, f"`{command}` did not fail: {done.stdout}"
        return done.stdout

    def write(self, path, text, mode=0o644):
        file = self.root / path.lstrip("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
        file.chmod(mode)

    def switch_off(self):
        """As the operator switches a machine off: systemd ends everything in order."""
        self.ask("systemctl poweroff")
        self.process.wait(PATIENCE_S)

    def pull_the_plug(self):
        if self.process and self.process.poll() is None:
            self.process.kill()
            self.process.wait(PATIENCE_S)

    def remove(self):
        self.pull_the_plug()
        for cgroup in self.cgroups.glob(f"commonwatt-e2e-{os.getpid()}-*"):
            events = cgroup / "cgroup.events"
            wait_until(lambda: "populated 0" in events.read_text(encoding="utf-8"), "all its processes are gone")
            for folder, _, _ in os.walk(cgroup, topdown=False):
                os.rmdir(folder)


class Story:
    """The scenarios, each of which begins where the last one ended."""

    def __init__(self, binary, root):
        self.binary = binary
        self.machine = Machine(root)
        self.head = Head()
        self.rpc = Rpc("http://127.0.0.1:9944")
        self.hashes = []
        self.booted_in = 0

    def show(self, name):
        """A property of the service."""
        return self.machine.ask(f"systemctl show --property={name} --value {SERVICE}").strip()

    def journal(self):
        return self.machine.ask(f"journalctl --no-pager --output=cat --unit={SERVICE}")

    def goes_on(self):
        """Waits until the node has a block for every step that has closed, and one more, on the chain that was there."""
        wait_until(lambda: self.rpc.height() >= max(closed_step(self.rpc) - 1, len(self.hashes) + 1),
                   "a block for every step that has closed")
        height = self.rpc.height()
        hashes = self.rpc.hashes(0, height)
        assert hashes[:len(self.hashes)] == self.hashes, "the chain is another one"
        self.hashes = hashes
        return f"block {height}"

    def switch_on(self):
        """Lays the project into the system, and boots that."""
        for file, source, mode in [("target/release/commonwatt", self.binary, 0o755),
                                   ("packaging/systemd/commonwatt.service", UNIT, 0o644)]:
            target = self.machine.root / SOURCES.lstrip("/") / file
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, target)
            target.chmod(mode)
        self.booted_in = self.machine.switch_on()

    # ------------------------------------------------------------------ scenarios

    def the_head_installs_it(self):
        machine, head = self.machine, self.head
        for command in head.command("install -m", "useradd", "systemctl daemon-reload"):
            machine.ask(command)
        machine.ask(head.command("install -d")[0])
        said = machine.ask("systemd-analyze verify /etc/systemd/system/commonwatt.service 2>&1")
        assert SERVICE not in said, said
        return f"{machine.ask('systemctl --version').splitlines()[0]}, booted in {self.booted_in:.0f} s"

    def its_user_sets_the_chain_up(self):
        """Keys first, in a keystore with a password, then the chain spec that names them."""
        machine = self.machine
        init = self.head.command("sudo -u commonwatt commonwatt init")[0]
        assert f"--chain {CHAIN}.json" in init, init
        first = init.replace(f"{CHAIN}.json", CHAIN) + " --password-interactive"
        # A terminal, since that is where a password is asked for.
        said = machine.ask(f"printf '{PASSWORD}\\n{PASSWORD}\\n' | script -qec {shlex.quote(first)} /dev/null")
        keys = json.loads(re.search(r'"keys": (\{.*?\})', said)[1])
        assert said.count("encrypted") == 2 and "not encrypted" not in said, said
        spec = json.loads((PROJECT / "chain-specs" / "example-community.json").read_text(encoding="utf-8"))
        spec["id"] = CHAIN
        genesis = spec["genesis"]
        genesis["timing"].update(genesisMs=(int(time() * 1_000) // STEP_MS + STEPS_UNTIL) * STEP_MS, stepMs=STEP_MS,
                                 gateOpenMs=200, gateCloseMs=200, settleDelayMs=200)
        genesis["validators"][0]["keys"] = keys
        machine.write(f"{SOURCES}/{CHAIN}.json", json.dumps(spec))
        said = machine.ask(init)
        assert "was there, encrypted" in said, said

    def what_cannot_start_is_left_alone(self):
        """Without the password it ends with a reason, again and again, until systemd gives up."""
        machine = self.machine
        machine.write("/etc/default/commonwatt", self.head.line("COMMONWATT_OPTIONS=") + "\n")
        machine.ask(self.head.command("systemctl enable")[0])
        wait_until(lambda: self.show("ActiveState") == "failed", "systemd gives up")
        journal = self.journal()
        attempts = journal.count("are encrypted")
        assert attempts == ATTEMPTS and "Start request repeated too quickly" in journal, f"{attempts} attempts: {journal}"

    def with_its_password_it_runs(self):
        """The password is root's alone; systemd hands it to the service."""
        machine, head = self.machine, self.head
        credential = head.line("LoadCredential=")
        machine.write(credential.split(":")[1], PASSWORD + "\n", 0o600)
        machine.write(f"/etc/systemd/system/{SERVICE}.service.d/override.conf", f"[Service]\n{credential}\n")
        options = f"{head.line('COMMONWATT_OPTIONS=')} {head.line('--password-file')}"
        machine.write("/etc/default/commonwatt", options + "\n")
        machine.ask(f"systemctl daemon-reload; systemctl reset-failed {SERVICE}; systemctl start {SERVICE}")
        wait_for_height(self.rpc, 5)
        said = self.goes_on()
        journal = self.journal()
        assert "made block=" in journal and " WARN " not in journal and PASSWORD not in journal, journal
        return said

    def its_sandbox_holds(self):
        machine, pid = self.machine, self.show("MainPID")
        status = dict(line.split(":\t", 1) for line in machine.ask(f"cat /proc/{pid}/status").splitlines() if ":\t" in line)
        assert "0" not in status["Uid"].split(), status["Uid"]
        assert int(status["CapEff"], 16) == int(status["CapBnd"], 16) == 0, status
        assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2"), status
        # Root itself cannot write there, in what the service sees.
        folders = "/etc /usr /usr/local/bin /boot /home /root /srv /var/lib /run /sys/fs/cgroup /var/lib/commonwatt"
        script = f"for folder in {folders}; do if (: > $folder/try); then rm $folder/try; echo $folder; fi; done"
        written = machine.ask(f"nsenter --target {pid} --mount sh -c {shlex.quote(script)}").split()
        assert written == ["/var/lib/commonwatt"], f"written: {written}"
        devices = machine.ask(f"nsenter --target {pid} --mount ls /dev").split()
        assert "null" in devices and "loop-control" not in devices, devices
        mode = machine.ask("stat -c '%a %U' /var/lib/commonwatt").strip()
        assert mode == f"700 {SERVICE}", mode
        rated = machine.ask(f"systemd-analyze security --no-pager --threshold={EXPOSURE_MAX} {SERVICE}")
        return re.search(r"Overall exposure level.*?: ([\d.]+)", rated)[0]

    def a_reload_is_refused(self):
        pid = self.show("MainPID")
        said = self.machine.refuses(f"systemctl reload {SERVICE}")
        assert "not applicable" in said, said
        assert self.show("MainPID") == pid, "the node is another process"
        return self.goes_on()

    def restarted_it_goes_on(self):
        pid, ended = self.show("MainPID"), self.journal().count("everything is on disk")
        self.machine.ask(f"systemctl restart {SERVICE}")
        assert self.show("MainPID") != pid
        assert self.journal().count("everything is on disk") == ended + 1, self.journal()[-2_000:]
        return self.goes_on()

    def killed_it_is_started_again(self):
        pid, restarts = self.show("MainPID"), int(self.show("NRestarts"))
        began = monotonic()
        self.machine.ask(f"kill -9 {pid}")
        wait_until(lambda: int(self.show("NRestarts")) == restarts + 1 and self.show("ActiveState") == "active",
                   "systemd starts it again")
        took = monotonic() - began
        return f"after {took:.0f} s, {self.goes_on()}"

    def stopped_it_ends_in_order(self):
        machine, ended = self.machine, self.journal().count("everything is on disk")
        began = monotonic()
        machine.ask(f"systemctl stop {SERVICE}")
        took = monotonic() - began
        assert took < STOP_S, f"it took {took:.1f} s"
        said = [self.show(name) for name in ("ActiveState", "Result", "ExecMainStatus")]
        assert said == ["inactive", "success", "0"], said
        assert self.journal().count("everything is on disk") == ended + 1, self.journal()[-2_000:]
        info = machine.ask("sudo -u commonwatt commonwatt chain-info --base-path /var/lib/commonwatt")
        height = int(re.search(r"best block\s+(\d+)", info)[1])
        assert height >= len(self.hashes) - 1, info
        machine.ask(f"systemctl start {SERVICE}")
        return f"in {took:.1f} s with block {height}; {self.goes_on()} since"

    def it_ends_and_starts_with_the_system(self):
        ended = self.journal().count("everything is on disk")
        self.machine.switch_off()
        self.machine.switch_on()
        said = self.goes_on()
        assert self.journal().count("everything is on disk") == ended + 1, self.journal()[-2_000:]
        return said

    def it_survives_a_loss_of_power(self):
        self.machine.pull_the_plug()
        self.machine.switch_on()
        return self.goes_on()

    def show_logs(self):
        try:
            print(self.machine.ask(f"systemctl --no-pager status {SERVICE} || true; journalctl --no-pager --lines=40"))
        except (AssertionError, OSError, TypeError, subprocess.SubprocessError) as error:
            print(error)


def play(binary, root):
    """Inside the namespaces: plays the scenarios; returns the exit status."""
    run("ip", "link", "set", "lo", "up")
    story = Story(binary, root)
    try:
        story.switch_on()
        status = run_scenarios([
            ("the unit's head installs it", story.the_head_installs_it),
            ("its user sets the chain up", story.its_user_sets_the_chain_up),
            ("what cannot start says why, and is left alone", story.what_cannot_start_is_left_alone),
            ("with its password it runs", story.with_its_password_it_runs),
            ("its sandbox holds", story.its_sandbox_holds),
            ("a reload is refused, and it goes on", story.a_reload_is_refused),
            ("restarted, it goes on", story.restarted_it_goes_on),
            ("killed, it is started again", story.killed_it_is_started_again),
            ("stopped, it ends in order", story.stopped_it_ends_in_order),
            ("it ends and starts with the system", story.it_ends_and_starts_with_the_system),
            ("it survives a loss of power", story.it_survives_a_loss_of_power),
        ])
        if status:
            story.show_logs()
    finally:
        story.machine.remove()
    return status


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("binary", help="the commonwatt program")
    parser.add_argument("--system", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    binary = os.path.abspath(arguments.binary)
    began = time()
    try:
        if arguments.system:
            return play(binary, arguments.system)
        if os.geteuid() != 0:
            raise Skipped("only root may boot a system")
        require_programs({"mmdebstrap": "mmdebstrap", "unshare": "util-linux", "ip": "iproute2"})
        with tempfile.TemporaryDirectory(prefix="commonwatt-systemd-") as folder:
            root = Path(folder) / "system"
            make_system(root, "systemd-sysv", "sudo")
            (root / "etc/hostname").write_text("village\n", encoding="utf-8")
            (root / "etc/hosts").write_text("127.0.0.1 localhost village\n", encoding="utf-8")
            # Mounts and network end with the process; the packages had to come from outside.
            done = subprocess.run(["unshare", "--net", "--mount", "--propagation", "private", sys.executable, __file__, binary,
                                   "--system", root], stdin=subprocess.DEVNULL)
            print(f"{time() - began:.0f} s in all")
            return done.returncode
    except Skipped as reason:
        print(f"skipped: {reason}\n0 passed, 0 failed, 1 skipped")
        return NOT_HERE


if __name__ == "__main__":
    sys.exit(main())
