#!/usr/bin/env python3
"""Check the licence and the origin of every crate the workspace builds with, by the lists in deny.toml.

usage: check_licences.py [--offline]
       check_licences.py --self-test

A crate passes when its SPDX expression can be satisfied with allowed licences alone, it comes from an
allowed registry (or is a member of the workspace), and deny.toml does not ban its name. Prints what is
wrong with the others, how many crates are there in several versions, and `N passed, N failed`.

Python 3.11 or later, standard library only.
"""

import argparse
import json
import re
import subprocess
import sys
import tomllib
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
WORD = re.compile(r"[A-Za-z0-9.+:-]+|[()/]")


class Malformed(Exception):
    """Something is not a licence expression; says what."""


# ---------------------------------------------------------------- SPDX expressions


def is_satisfied(expression, allowed):
    """Returns whether `expression` can be satisfied with licences in `allowed`.

    `AND` binds more tightly than `OR`. A `/` is the older way to write `OR`.
    """
    if not isinstance(expression, str) or WORD.sub("", expression).strip():
        raise Malformed(f"{expression!r} is not a licence expression")
    words = WORD.findall(expression)
    answer, rest = parse_or(words, allowed)
    if rest:
        raise Malformed(f"{expression!r} goes on with {rest[0]!r} where it should end")
    return answer


def parse_or(words, allowed):
    answer, rest = parse_and(words, allowed)
    while rest and rest[0] in ("OR", "/"):
        other, rest = parse_and(rest[1:], allowed)
        answer = answer or other
    return answer, rest


def parse_and(words, allowed):
    answer, rest = parse_one(words, allowed)
    while rest and rest[0] == "AND":
        other, rest = parse_one(rest[1:], allowed)
        answer = answer and other
    return answer, rest


def parse_one(words, allowed):
    if not words or words[0] in ("AND", "OR", "WITH", "/", ")"):
        raise Malformed("a licence is missing in an expression")
    if words[0] == "(":
        answer, rest = parse_or(words[1:], allowed)
        if not rest or rest[0] != ")":
            raise Malformed("a parenthesis is not closed")
        return answer, rest[1:]
    licence, rest = words[0], words[1:]
    if rest and rest[0] == "WITH":
        if len(rest) < 2:
            raise Malformed("an exception is missing after WITH")
        return f"{licence} WITH {rest[1]}" in allowed, rest[2:]
    return licence in allowed, rest


# ---------------------------------------------------------------- the workspace


class Rules:
    """What deny.toml allows."""

    def __init__(self, deny):
        self.licences = set(deny["licenses"]["allow"])
        self.registries = {f"registry+{url}" for url in deny["sources"]["allow-registry"]}
        self.banned = {ban["crate"] for ban in deny["bans"]["deny"]}
        self.targets = deny["graph"]["targets"]

    def find_fault(self, crate):
        """Returns why a crate must not be there; `None` when it may."""
        if crate["name"] in self.banned:
            return "banned by deny.toml"
        if crate["source"] is not None and crate["source"] not in self.registries:
            return f"comes from {crate['source']}"
        if crate["license"] is None:
            return "names no licence"
        try:
            if not is_satisfied(crate["license"], self.licences):
                return f"licence {crate['license']}"
        except Malformed as error:
            return str(error)
        return None


def read_crates(targets, offline):
    """Returns what is built for any of the targets: id → package."""
    crates = {}
    for target in targets:
        command = ["cargo", "metadata", "--format-version", "1", "--locked", "--filter-platform", target]
        if offline:
            command.append("--offline")
        output = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE).stdout
        metadata = json.loads(output)
        used = {node["id"] for node in metadata["resolve"]["nodes"]}
        crates.update((crate["id"], crate) for crate in metadata["packages"] if crate["id"] in used)
    return crates.values()


def check(offline):
    rules = Rules(tomllib.loads((ROOT / "deny.toml").read_text()))
    crates = sorted(read_crates(rules.targets, offline), key=lambda crate: (crate["name"], crate["version"]))
    passed = failed = 0
    for crate in crates:
        fault = rules.find_fault(crate)
        if fault is None:
            passed += 1
        else:
            failed += 1
            print(f"{crate['name']} {crate['version']}: {fault}")
    several = [name for name, count in Counter(crate["name"] for crate in crates).items() if count > 1]
    print(f"{len(several)} crates in several versions: {', '.join(several)}")
    print(f"{passed} passed, {failed} failed")
    return failed == 0 and passed > 0


# ---------------------------------------------------------------- self-test


def self_test():
    allowed = {"MIT", "Apache-2.0", "Unicode-3.0", "Apache-2.0 WITH LLVM-exception"}
    cases = [
        ("MIT", True),
        ("GPL-3.0", False),
        ("GPL-3.0 OR Apache-2.0", True),
        ("Apache-2.0/GPL-3.0", True),
        ("Apache-2.0 / MIT", True),
        ("GPL-3.0-or-later WITH Classpath-exception-2.0", False),
        ("Apache-2.0 WITH LLVM-exception", True),
        ("MIT AND GPL-3.0", False),
        ("(MIT OR GPL-3.0) AND Unicode-3.0", True),
        ("GPL-3.0 OR MIT AND OpenSSL", False),
        ("(GPL-3.0 OR MIT", None),
        ("MIT OR", None),
        ("MIT Apache-2.0", None),
        ("MIT, Apache-2.0", None),
        ("", None),
        (None, None),
    ]
    failed = 0
    for expression, expected in cases:
        try:
            found = is_satisfied(expression, allowed)
        except Malformed:
            found = None
        if found is not expected:
            failed += 1
            print(f"{expression!r}: expected {expected}, got {found}")
    print(f"{len(cases) - failed} passed, {failed} failed")
    return failed == 0


def main():
    parser = argparse.ArgumentParser(description="Check licences and origins of all crates by deny.toml.")
    parser.add_argument("--offline", action="store_true", help="use only what cargo has already downloaded")
    parser.add_argument("--self-test", action="store_true", help="check this script on cases done by hand")
    arguments = parser.parse_args()
    if arguments.self_test:
        return self_test()
    try:
        return check(arguments.offline)
    except (OSError, KeyError, subprocess.CalledProcessError, tomllib.TOMLDecodeError) as error:
        print(f"cannot check: {error!r}")
        print("0 passed, 1 failed")
        return False


if __name__ == "__main__":
    sys.exit(0 if main() else 1)
