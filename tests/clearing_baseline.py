#!/usr/bin/env python3
"""Time the clearing of the double auction beside a plain sort-and-sweep in Python, on the same random books.

usage: clearing_baseline.py [--target-dir DIR]

Builds and runs the example `clearing_rate` of commonwatt-clearing (release), draws the same books, clears them here too,
and prints for each size the time that a clearing keeps a processor busy (the mean, so that a busy machine does not count)
and takes at best, the ratio of the former, and its growth exponent: the power of the number of orders that it grew by
since the size before. Fails when the two do not agree on k, volume, turnover and the number of trades.

Python 3.9 or later, standard library only.
"""

import argparse
import json
import math
import os
import subprocess
import sys
import time
from collections import defaultdict
from pathlib import Path

REPEATS = 5
MASK = 2**64 - 1


def numbers(seed):
    """Draw as benches/books does: Knuth's linear congruential generator, its upper 31 bits."""
    while True:
        seed = (seed * 6364136223846793005 + 1442695040888963407) & MASK
        yield seed >> 33


def make_book(count, sides):
    """Return (is_buyer, limit, units, arrival, tie, member) for each order."""
    draw = numbers(count).__next__
    members = max(count // 10, 2)
    book = []
    for _ in range(count):
        member, coin = draw() % members, draw() % 2
        is_buyer = (member if sides == "one" else coin) % 2 == 0
        limit, units, arrival = draw() % 4000, draw() % 50 + 1, draw() % 96
        book.append((is_buyer, limit, units, arrival, draw() << 31 | draw(), member))
    return book


def clear(book):
    """Sort both sides, sweep to k, take out what members would trade with themselves, and pair at the mid price."""
    buys = sorted((-o[1], o[3], o[4], o[2], o[5]) for o in book if o[0])
    sells = sorted((o[1], o[3], o[4], o[2], o[5]) for o in book if not o[0])
    k = buy = sell = 0
    bought, sold = [0] * len(buys), [0] * len(sells)
    price = None
    while buy < len(buys) and sell < len(sells) and -buys[buy][0] >= sells[sell][0]:
        units = min(buys[buy][3] - bought[buy], sells[sell][3] - sold[sell])
        k += units
        bought[buy] += units
        sold[sell] += units
        price = (sells[sell][0] - buys[buy][0]) // 2
        buy += bought[buy] == buys[buy][3]
        sell += sold[sell] == sells[sell][3]
    netted = take_out_own(buys, sells, bought, sold)
    trades = []
    buy = sell = 0
    while buy < len(buys) and sell < len(sells):
        units = min(bought[buy], sold[sell])
        if units:
            trades.append((buy, sell, units, price))
            bought[buy] -= units
            sold[sell] -= units
        elif bought[buy] == 0:
            buy += 1
        else:
            sell += 1
    return k, k - netted, (k - netted) * (price or 0), len(trades)


def take_out_own(buys, sells, bought, sold):
    """Take what a member bought from itself out of both sides, its last in priority first."""
    sums = defaultdict(lambda: [0, 0])
    for side, orders, fills in ((0, buys, bought), (1, sells, sold)):
        for order, units in zip(orders, fills):
            if not units:
                break
            sums[order[4]][side] += units
    own = {member: min(both) for member, both in sums.items() if min(both)}
    for orders, fills in ((buys, bought), (sells, sold)):
        left = dict(own)
        for at in range(len(orders) - 1, -1, -1) if left else ():
            units = min(fills[at], left.get(orders[at][4], 0))
            if units:
                fills[at] -= units
                left[orders[at][4]] -= units
    return sum(own.values())


def measure(book):
    """Return the result and the mean processor time."""
    began = time.process_time()
    for _ in range(REPEATS):
        result = clear(book)
    return result, (time.process_time() - began) / REPEATS


def exponent(now, before):
    """Return the power of the size that the time grew by."""
    if before is None:
        return "-"
    return f"{math.log(now[1] / before[1]) / math.log(now[0] / before[0]):.2f}"


def run_example(target_dir):
    """Yield what the Rust side measured, a record for each book."""
    command = ["cargo", "run", "--release", "--quiet", "-p", "commonwatt-clearing", "--example", "clearing_rate"]
    environment = dict(os.environ)
    if target_dir:
        environment["CARGO_TARGET_DIR"] = target_dir
    output = subprocess.run(
        command, cwd=Path(__file__).parent.parent, env=environment, check=True, capture_output=True, text=True
    ).stdout
    return [json.loads(line) for line in output.splitlines()]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--target-dir", help="where cargo builds")
    rows = run_example(parser.parse_args().target_dir)
    heading = ("sides", "orders", "trades", "clearing", "at best", "Python", "ratio", "exponent", "Python's", "peak")
    print("{:>5} {:>7} {:>7} {:>11} {:>11} {:>11} {:>6} {:>8} {:>8} {:>8}".format(*heading))
    differing = 0
    before = {}
    for row in rows:
        sides, count = row["sides"], row["orders"]
        result, seconds = measure(make_book(count, sides))
        if result != (row["k"], row["volume"], row["turnover"], row["trades"]):
            differing += 1
            print(f"  differs: Python has k, volume, turnover, trades = {result}, the clearing {row}", file=sys.stderr)
        ours, theirs = before.get(sides, (None, None))
        busy = row["cpuSeconds"] or row["medianSeconds"]
        now = (count, busy), (count, seconds)
        print(
            f"{sides:>5} {count:>7} {row['trades']:>7} {busy * 1e3:>8.3f} ms {row['bestSeconds'] * 1e3:>8.3f} ms "
            f"{seconds * 1e3:>8.2f} ms {seconds / busy:>6.1f} {exponent(now[0], ours):>8} {exponent(now[1], theirs):>8} "
            f"{(row['peakKib'] or 0) / 1024:>4.0f} MiB"
        )
        before[sides] = now
    print(f"{len(rows) - differing} books agree, {differing} differ")
    return 1 if differing else 0


if __name__ == "__main__":
    sys.exit(main())
