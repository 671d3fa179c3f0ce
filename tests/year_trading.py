#!/usr/bin/env python3
"""Replay a community's data with trading, for each key, policy and mechanism, and tell what it came to.

usage: year_trading.py BINARY DATA_DIR OUT [--steps N] [--keys static,prorata] [--runs reserve:average,...] [--table FILE]
                       [--plot FILE.svg] [--database redb|sled]

Runs `commonwatt replay DATA_DIR --key K --trade P --mechanism M` one after the other, has each recomputed from the data alone by
verify_trading.py, and prints a table in Markdown; with --plot also draws it (plot_trading.py). What each run said stays in OUT, as
KEY-POLICY-MECHANISM.json and .csv.gz: a run that is there already, of as many steps, is not repeated.

Python 3 standard library only. Prints the plain closing line: a run counts as passed when the chain's own checks and the
independent ones found everything equal.
"""

import argparse
import gzip
import json
import shutil
import subprocess
import sys
from pathlib import Path
from time import monotonic

import plot_trading

HERE = Path(__file__).resolve().parent
RUNS = ("reserve:average", "reserve:loyal", "reserve:uniform", "reserve:mcafee", "persistence:average", "persistence:continuous",
        "perfect:average")
KEYS = ("static", "prorata")


def run(arguments, key, policy, mechanism):
    """Replays once, unless that was done; returns what the replay said, with the verdict of the independent check."""
    name = f"{key}-{policy}-{mechanism.replace(':', '_')}"
    report, trades = arguments.out / f"{name}.json", arguments.out / f"{name}.csv.gz"
    if report.exists():
        told = json.loads(report.read_text())
        if arguments.steps in (None, told["steps"]):
            print(f"there    {name}", flush=True)
            return told
    plain = arguments.out / f"{name}.csv"
    began = monotonic()
    command = [arguments.binary, "replay", arguments.data, "--key", key, "--trade", policy, "--mechanism", mechanism, "--trades", plain,
               "--json", "--database", arguments.database]
    steps = [] if arguments.steps is None else ["--steps", str(arguments.steps)]
    replayed = subprocess.run([*command, *steps], stdout=subprocess.PIPE, text=True)
    if replayed.returncode != 0:
        raise RuntimeError(f"{name}: the replay failed")
    told = json.loads(replayed.stdout)
    check = [sys.executable, HERE / "verify_trading.py", arguments.data, plain, "--key", key, *steps]
    checked = subprocess.run(check, stdout=subprocess.PIPE, text=True)
    told["tradesFile"] = trades.name
    told["recomputed"] = {"equal": checked.returncode == 0, "said": checked.stdout.splitlines()[-3:]}
    with open(plain, "rb") as source, gzip.open(trades, "wb") as target:
        shutil.copyfileobj(source, target)
    plain.unlink()
    report.write_text(json.dumps(told, indent=1))
    verdict = "equal  " if is_equal(told) else "DIFFERS"
    print(f"{verdict}  {name} ({monotonic() - began:.0f} s): {'; '.join(told['recomputed']['said'][-3:-1])}", flush=True)
    return told


def is_equal(told):
    return told["equal"] and told["recomputed"]["equal"]


def kwh(wh):
    return f"{wh / 1000:,.0f}".replace(",", " ")


def grouped(number):
    return f"{number:,}".replace(",", " ")


def percent(ppm):
    return f"{ppm / 10_000:.1f} %"


def table(told):
    """Returns the runs as a table in Markdown."""
    heading = ("key", "policy", "mechanism", "traded", "trades", "steps with trade", "mean price", "welfare", "to the treasury",
               "self-consumption", "self-sufficiency", "owed to the outer grid", "saved by trading")
    lines = ["| " + " | ".join(heading) + " |", "|" + "---|" * len(heading)]
    shown = set()
    for one in told:
        market = one["market"]
        share, enough, owed = market["selfConsumptionPpm"], market["selfSufficiencyPpm"], market["owedToGrid"]
        for name, which in (("everybody alone", "alone"), (f"{one['key']}", "key")):
            if name not in shown:
                shown.add(name)
                lines.append(f"| {name} | no market | | | | | | | | {percent(share[which])} | {percent(enough[which])} | "
                             f"{grouped(owed[which])} | |")
        units = market["volumeWh"] // market["unitWh"]
        price = f"{market['turnover'] / units:.2f}" if units else "none"
        saved = grouped(market["savedByMarket"])
        if owed["alone"] > 0:
            saved += f" ({100 * market['savedByMarket'] / owed['alone']:.1f} % of what is owed alone)"
        lines.append(
            f"| {one['key']} | {market['policy']} | {market['mechanism']} | {kwh(market['volumeWh'])} kWh | {grouped(market['trades'])} | "
            f"{grouped(market['stepsTraded'])} | {price} | {grouped(market['welfare'])} | {grouped(market['surplus'])} | "
            f"{percent(share['market'])} | {percent(enough['market'])} | {grouped(owed['market'])} | {saved} |")
    return "\n".join(lines) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], epilog="More stands at the top of this script.")
    parser.add_argument("binary")
    parser.add_argument("data", type=Path, metavar="DATA_DIR")
    parser.add_argument("out", type=Path, metavar="OUT")
    parser.add_argument("--steps", type=int, metavar="N", help="the first N steps only")
    parser.add_argument("--keys", default=",".join(KEYS))
    parser.add_argument("--runs", default=",".join(RUNS), help="POLICY:MECHANISM, with commas for several")
    parser.add_argument("--table", type=Path, metavar="FILE", help="write the table there, too")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw an SVG")
    parser.add_argument("--database", default="redb")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    told, failed = [], 0
    for key in arguments.keys.split(","):
        for one in arguments.runs.split(","):
            policy, _, mechanism = one.partition(":")
            try:
                told.append(run(arguments, key, policy, mechanism))
                failed += not is_equal(told[-1])
            except (RuntimeError, OSError, ValueError) as error:
                failed += 1
                print(f"FAILED   {key} {one}: {error}", flush=True)
    text = table(told)
    print("\n" + text)
    if arguments.table:
        arguments.table.write_text(text)
    if arguments.plot and told:
        arguments.plot.write_text(plot_trading.draw(arguments.out, told))
    print(f"{len(told) - sum(not is_equal(one) for one in told)} passed, {failed} failed")
    return failed == 0


if __name__ == "__main__":
    sys.exit(0 if main() else 1)
