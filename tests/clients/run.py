#!/usr/bin/env python3
"""Runs Substrate clients that we did not write against development nodes.

    run.py BINARY [--suite NAME]... [--only idle|others]

The clients (package-lock.json, requirements.txt) are installed once into the user's cache, exactly as pinned. Each suite has
a node of its own. The idle suites take a little more than five minutes; the others run meanwhile, one after the
other. Needs Node.js 20 with npm, and Python 3.11 with venv. Ends with `N passed, N failed`, which counts checks.
"""

import argparse
import fcntl
import hashlib
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading

from node_process import Node

HERE = pathlib.Path(__file__).resolve().parent
CACHE = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache") / "commonwatt" / "clients"
NODE_JS_MIN = 20
INSTALL_PATIENCE_S = 600

SHORT_STEP_MS = 2_000
SHORT_PATIENCE_S = 300
# A dev chain settles a step a sixth of it after its end, so the first block comes 315 s after the start.
LONG_STEP_MS = 270_000
LONG_PATIENCE_S = 480

# What the members of a market suite's node do by themselves: nothing.
NO_TRADE = ("--trade", "off")

# Suites, their scripts and further flags of their nodes; those of a group run one after the other, the groups side by side.
GROUPS = [
    (SHORT_STEP_MS, SHORT_PATIENCE_S, [
        ("@polkadot/api", "polkadot_js.mjs", ()),
        ("polkadot-api", "papi.mjs", ()),
        ("py-substrate-interface", "substrate_interface.py", ()),
        ("market, @polkadot/api", "polkadot_js_market.mjs", NO_TRADE),
        ("market, py-substrate-interface", "substrate_interface_market.py", NO_TRADE),
    ]),
    (LONG_STEP_MS, LONG_PATIENCE_S, [("idle, JavaScript", "idle.mjs", ())]),
    (LONG_STEP_MS, LONG_PATIENCE_S, [("idle, Python", "substrate_interface_idle.py", ())]),
]
RESULT = re.compile(r"^(\d+) passed, (\d+) failed$", re.MULTILINE)


def run_or_say_why(command, **options):
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          timeout=INSTALL_PATIENCE_S, **options)
    if done.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))} failed:\n{done.stdout}")
    return done.stdout


def check_tools():
    for tool, package in (("node", "nodejs"), ("npm", "npm")):
        if shutil.which(tool) is None:
            sys.exit(f"{tool} is missing: install the package {package}, and run again")
    version = run_or_say_why(["node", "--version"]).strip()
    if int(version.lstrip("v").split(".")[0]) < NODE_JS_MIN:
        sys.exit(f"Node.js {version} is too old: install {NODE_JS_MIN} or newer")


def install():
    """Returns the folder of the installed clients; installs them when the pinned versions are not there yet."""
    pinned = [HERE / name for name in ("package.json", "package-lock.json", "requirements.txt")]
    digest = hashlib.sha256(b"".join(file.read_bytes() for file in pinned) + sys.version.encode()).hexdigest()[:16]
    folder = CACHE / digest
    CACHE.mkdir(parents=True, exist_ok=True)
    with open(CACHE / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = folder / "installed"
        if not done.exists():
            print(f"installing the clients into {folder}", flush=True)
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            for file in pinned:
                shutil.copy(file, folder)
            run_or_say_why(["npm", "ci", "--ignore-scripts", "--no-fund", "--no-audit"], cwd=folder)
            run_or_say_why([sys.executable, "-m", "venv", folder / "python"])
            run_or_say_why([folder / "python/bin/pip", "install", "--disable-pip-version-check", "--only-binary", ":all:",
                            "--require-hashes", "-r", folder / "requirements.txt"])
            done.touch()
    return folder


class Run:
    """Suites, what they said, and how they ended."""

    def __init__(self, binary, clients, work):
        self.binary = binary
        self.clients = clients
        self.work = work
        self.passed = 0
        self.failed = 0
        self.lock = threading.Lock()
        self.processes = set()
        self.stopping = False
        # Modules are looked for beside the script.
        self.scripts = work / "scripts"
        shutil.copytree(HERE, self.scripts, ignore=shutil.ignore_patterns("__pycache__"))
        (self.scripts / "node_modules").symlink_to(clients / "node_modules")

    def run_group(self, step_ms, patience_s, suites):
        for name, script, flags in suites:
            if self.stopping:
                return
            try:
                output, troubles = self.run_suite(script, step_ms, patience_s, flags)
            except Exception as error:  # whatever happens to one suite, the others go on
                output, troubles = "", [str(error)]
            counts = RESULT.findall(output)
            if not counts:
                troubles.append("the suite ended without a result")
            with self.lock:
                print(f"\n=== {name}\n{output.rstrip()}", *(f"FAILED  {trouble}" for trouble in troubles), sep="\n", flush=True)
                self.passed += sum(int(passed) for passed, _ in counts)
                self.failed += sum(int(failed) for _, failed in counts) + len(troubles)

    def run_suite(self, script, step_ms, patience_s, flags):
        """Returns what the suite said, and what went wrong around it."""
        base = self.work / script
        base.mkdir()
        node = Node(self.binary, str(base), step_ms, *flags)
        self.processes.add(node.process)
        try:
            runner = self.clients / "python/bin/python" if script.endswith(".py") else "node"
            suite = subprocess.Popen([runner, self.scripts / script, node.url], stdin=subprocess.DEVNULL,
                                     stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True)
            self.processes.add(suite)
            troubles = []
            try:
                output, _ = suite.communicate(timeout=patience_s)
            except subprocess.TimeoutExpired:
                suite.kill()
                output, _ = suite.communicate()
                troubles.append(f"it took longer than {patience_s} s")
            if node.process.poll() is not None:
                troubles.append("the node ended: " + "\n".join(list(node.lines)[-20:]))
            elif (status := node.stop()) != 0:
                troubles.append(f"the node stopped with status {status}")
            return output, troubles
        finally:
            node.kill()

    def stop(self):
        self.stopping = True
        for process in list(self.processes):
            if process.poll() is None:
                process.kill()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("binary", metavar="BINARY", help="the node")
    names = [name for _, _, suites in GROUPS for name, *_ in suites]
    parser.add_argument("--suite", action="append", choices=names, help="run only this one; may be given several times")
    parser.add_argument("--only", choices=("idle", "others"), help="those that stay idle, or all others")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    check_tools()
    clients = install()
    with tempfile.TemporaryDirectory(prefix="commonwatt-clients-") as work:
        run = Run(os.path.abspath(options.binary), clients, pathlib.Path(work))
        threads = []
        for step_ms, patience_s, suites in GROUPS:
            if options.only and (step_ms == LONG_STEP_MS) != (options.only == "idle"):
                continue
            chosen = [suite for suite in suites if not options.suite or suite[0] in options.suite]
            threads.append(threading.Thread(target=run.run_group, args=(step_ms, patience_s, chosen), daemon=True))
        try:
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        finally:
            run.stop()
    print(f"\n{run.passed} passed, {run.failed} failed")
    sys.exit(0 if run.passed and not run.failed else 1)


if __name__ == "__main__":
    main()
