"""What the end-to-end tests take from Debian: programs for this machine, and small systems of their own.

Python's standard library only.
"""

import os
import shutil
import subprocess

from network_checks import PATIENCE_S, Skipped

# Debian's release that the tests' own systems are of.
SUITE, MIRROR = "trixie", "http://deb.debian.org/debian"
# How long packages may take to come.
PACKAGES_PATIENCE_S = 1_800


def run(*command, patience_s=PATIENCE_S, **more):
    """Runs a command; returns what it prints, which an error shows."""
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=patience_s,
                          stdin=subprocess.DEVNULL, **more)
    assert done.returncode == 0, f"{' '.join(map(str, command))}: {done.stdout[-2_000:]}{done.stderr[-4_000:]}"
    return done.stdout


def succeeds(*command, patience_s=PATIENCE_S):
    try:
        return subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL,
                              timeout=patience_s).returncode == 0
    except (FileNotFoundError, subprocess.TimeoutExpired):
        return False


def require_programs(packages):
    """Has every program here, a key of `packages`; installs the package of one that is missing. As root, on Debian."""
    missing = sorted({package for program, package in packages.items() if not shutil.which(program)})
    if not missing:
        return
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        raise Skipped(f"{', '.join(missing)} cannot be installed")
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    try:
        run("apt-get", "update", "-qq", patience_s=PACKAGES_PATIENCE_S)
        run("apt-get", "install", "-y", "-qq", "--no-install-recommends", *missing, patience_s=PACKAGES_PATIENCE_S,
            env=environment)
    except AssertionError as error:
        raise Skipped(f"{', '.join(missing)} cannot be installed: {error}") from error


def make_system(folder, *packages):
    """Makes Debian's smallest system in a folder, with some packages more and the lists of all others."""
    more = [f"--include={','.join(packages)}"] if packages else []
    run("mmdebstrap", "--quiet", "--variant=minbase", "--skip=cleanup/apt", *more, SUITE, folder, MIRROR,
        patience_s=PACKAGES_PATIENCE_S)
