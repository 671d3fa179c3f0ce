#!/usr/bin/env python3
"""Recompute every allocation of a replay from the CSV alone and compare it with what the chain holds.

usage: verify_replay.py DATA_DIR ALLOCATIONS.csv[.gz] --key static|capped|prorata [--steps N]
       verify_replay.py --self-test

Shares no code with the node. Python 3 standard library only; every number is a whole one.

Source: docs, PROTOCOL section 4, "Allocation keys". Per step, in whole Wh:

  P_p  generation of plant p (pv_wh.csv; no losses)       P = sum of P_p
  C_i  load of member i (load_wh.csv)                      C = sum of C_i
  k_i  coefficient of member i in parts per million:
       k = LR(1 000 000, annual_load_wh of community.csv)

  static    A = LR(P, k)
  capped    A_i = min(LR(P, k)_i, C_i)
  prorata   A = LR(min(P, C), C_i)                         (A = 0 when C = 0)

  rest = P - sum of A, by LR in proportion to P_p to the plants' beneficiaries: here each plant's owner.
  A member's allocation is A_i plus its plant's part of the rest, so a row sums to P to the last Wh.

LR(T, w), largest remainder: part_i = floor(T * w_i / W), W = sum of w. The T - sum of parts units left
over go, one each, to the largest remainders T * w_i mod W, ties to the earlier position. The position of
a member is its rank by account id, the position of a plant its rank by meter id.

ALLOCATIONS, written by the node from the state of the chain:

  # order: p07,p01,...      all members by ascending account id      (used for ties alone)
  # meters: p03,p01,...     owners of the plants by ascending meter id (used for ties alone)
  step,p01,...,p36          members in the order of community.csv
  0,12,...                  one row per step, numbered as in the data, without gap; allocated Wh
"""

import argparse
import csv
import gzip
import itertools
import sys
import tempfile
import zlib
from pathlib import Path

PPM = 1_000_000
KEYS = ("static", "capped", "prorata")
DIFFERENCES_SHOWN_MAX = 10


class Refused(Exception):
    """A file is not of the form it must have; says where and why."""


# ---------------------------------------------------------------- the formulas


def largest_remainder(total, weights):
    """Splits `total` in proportion to `weights`, ties to the earlier position."""
    whole = sum(weights)
    if whole == 0:
        if total != 0:
            raise Refused(f"{total} units to split, but all weights are zero")
        return [0] * len(weights)
    parts, remainders = [], []
    for weight in weights:
        part, remainder = divmod(total * weight, whole)
        parts.append(part)
        remainders.append(remainder)
    left = total - sum(parts)
    if left:
        # sorted() is stable, so equal remainders stay in the order of their positions.
        by_remainder = sorted(range(len(weights)), key=lambda position: -remainders[position])
        for position in by_remainder[:left]:
            parts[position] += 1
    return parts


def coefficients(annual_load_wh, order):
    """Returns each member's coefficient in parts per million."""
    return dict(zip(order, largest_remainder(PPM, [annual_load_wh[member] for member in order])))


def allocate(key, pv_wh, load_wh, k, order, meters):
    """Returns what each member is allocated in a step, its part of the rest included."""
    generated = sum(pv_wh.values())
    loads = [load_wh[member] for member in order]
    if key == "prorata":
        shared = largest_remainder(min(generated, sum(loads)), loads)
    else:
        shared = largest_remainder(generated, [k[member] for member in order])
        if key == "capped":
            shared = [min(part, load) for part, load in zip(shared, loads)]
    allocated = dict(zip(order, shared))
    rest = generated - sum(shared)
    if rest:
        parts = largest_remainder(rest, [pv_wh[owner] for owner in meters])
        for owner, part in zip(meters, parts):
            allocated[owner] += part
    return allocated


# ---------------------------------------------------------------- the files


def open_text(path):
    opener = gzip.open if path.suffix == ".gz" else open
    return opener(path, "rt", encoding="utf-8-sig", newline="")


def reading_path(folder, name):
    """Returns `name` or `name.gz` of the folder, whichever is there."""
    packed = folder / (name + ".gz")
    return packed if packed.exists() else folder / name


def whole(text, where):
    """Parses a whole number that is not negative, in digits alone."""
    if not (text.isascii() and text.isdigit()):
        raise Refused(f"{where}: {text!r} is not a whole number of digits")
    return int(text)


def read_community(folder):
    """Returns each member's annual load, in the order of the file, and who has a plant."""
    with open_text(folder / "community.csv") as file:
        rows = list(csv.DictReader(file))
    loads = {row["id"]: whole(row["annual_load_wh"], f"community.csv, {row['id']}") for row in rows}
    if len(loads) != len(rows) or not rows:
        raise Refused("community.csv: no rows, or an id twice")
    return loads


def read_steps(path):
    """Yields the header's ids, then (step, values) for each row."""
    with open_text(path) as file:
        rows = csv.reader(file)
        header = next(rows, [])
        if header[:2] != ["step", "utc_start"]:
            raise Refused(f"{path}, line 1: must begin with step,utc_start")
        yield header[2:]
        for row in rows:
            where = f"{path}, line {rows.line_num}"
            if len(row) != len(header):
                raise Refused(f"{where}: {len(row)} fields, the header has {len(header)}")
            yield whole(row[0], where), row[1], [whole(text, where) for text in row[2:]]


def read_allocations(path):
    """Yields (order, meters, ids) once, then (step, values) for each row."""
    with open_text(path) as file:
        comments = {}
        for name in ("order", "meters"):
            label, colon, ids = file.readline().strip().partition(":")
            if label != f"# {name}" or not colon:
                raise Refused(f"{path}: the comment line '# {name}: id,id,...' is missing")
            comments[name] = [one for one in ids.strip().split(",") if one]
        rows = csv.reader(file)
        header = next(rows, [])
        if header[:1] != ["step"]:
            raise Refused(f"{path}, line 3: must begin with step")
        yield comments["order"], comments["meters"], header[1:]
        for row in rows:
            where = f"{path}, line {rows.line_num + 2}"
            if len(row) != len(header):
                raise Refused(f"{where}: {len(row)} fields, the header has {len(header)}")
            yield whole(row[0], where), [whole(text, where) for text in row[1:]]


# ---------------------------------------------------------------- the comparison


class Result:
    """What was compared, and what was found to differ."""

    def __init__(self):
        self.compared = 0
        self.differing = 0
        self.lines = []

    def differ(self, line):
        self.differing += 1
        if len(self.lines) < DIFFERENCES_SHOWN_MAX:
            self.lines.append(line)


def verify(folder, allocations_path, key, steps_max=None):
    """Compares all steps of the data, or its first `steps_max`, with the export."""
    annual_load_wh = read_community(folder)
    members = list(annual_load_wh)
    loads, pvs = (read_steps(reading_path(folder, name)) for name in ("load_wh.csv", "pv_wh.csv"))
    owners = next(pvs)
    if next(loads) != members:
        raise Refused("load_wh.csv, line 1: the ids are not those of community.csv in order")
    allocations = read_allocations(allocations_path)
    order, meters, columns = next(allocations)
    if sorted(order) != sorted(members):
        raise Refused(f"{allocations_path}: '# order' does not name every member once")
    if sorted(meters) != sorted(owners) or not set(owners) <= set(members):
        raise Refused(f"{allocations_path}: '# meters' does not name every plant's owner once")
    if columns != members:
        raise Refused(f"{allocations_path}: the columns are not the members of community.csv in order")

    k = coefficients(annual_load_wh, order)
    result = Result()
    data = itertools.islice(itertools.zip_longest(loads, pvs), steps_max)
    for load_row, pv_row in data:
        if load_row is None or pv_row is None or load_row[:2] != pv_row[:2]:
            raise Refused(f"load_wh.csv and pv_wh.csv differ in their steps: {load_row} beside {pv_row}")
        step, _, load_values = load_row
        pv_wh = dict(zip(owners, pv_row[2]))
        expected = allocate(key, pv_wh, dict(zip(members, load_values)), k, order, meters)
        got_step, got = next(allocations, (None, None))
        if got_step != step:
            found = "the end of the file" if got_step is None else f"step {got_step}"
            raise Refused(f"{allocations_path}: {found} where step {step} belongs")
        for member, got_wh in zip(members, got):
            result.compared += 1
            if got_wh != expected[member]:
                result.differ(f"step {step}, {member}: expected {expected[member]}, got {got_wh}")
        # Follows from the comparison, but stands on its own: no Wh appears or vanishes.
        if sum(got) != sum(pv_wh.values()):
            result.lines.append(f"step {step}: allocated {sum(got)} Wh of {sum(pv_wh.values())} Wh generated")
            result.differing = max(result.differing, 1)
    surplus = next(allocations, None)
    if surplus is not None:
        raise Refused(f"{allocations_path}: goes on with step {surplus[0]} after the last step of the data")
    if steps_max is not None and result.compared != steps_max * len(members):
        raise Refused(f"{folder} has fewer than {steps_max} steps")
    if result.compared == 0:
        raise Refused(f"{folder} has no steps")
    return result


# ---------------------------------------------------------------- the self-test


def formula_cases():
    """Yields (name, found, expected by hand)."""
    # [D] Table 1: 25 kWh, 8 to X and 17 to Y.
    yield "the contract of the papers", largest_remainder(25_000, [8, 17]), [8_000, 17_000]
    # 10/7 = 1 r 3, 20/7 = 2 r 6, 40/7 = 5 r 5: two units left, to r 6 and r 5.
    yield "largest remainders first", largest_remainder(10, [1, 2, 4]), [1, 3, 6]
    yield "ties to the earlier position", largest_remainder(2, [1, 1, 1]), [1, 1, 0]
    yield "weight zero gets nothing", largest_remainder(1, [0, 5, 5]), [0, 1, 0]
    yield "nothing to nobody", largest_remainder(0, [0, 0]), [0, 0]

    order, meters = ["c", "a", "b"], ["b", "a"]
    # 333 333 each and 1 left, all remainders equal: to c, the first by account id.
    k = coefficients({"a": 7, "b": 7, "c": 7}, order)
    yield "coefficients", k, {"c": 333_334, "a": 333_333, "b": 333_333}

    def case(key, pv_a, pv_b, load_a, load_b, load_c):
        loads = {"a": load_a, "b": load_b, "c": load_c}
        return allocate(key, {"a": pv_a, "b": pv_b}, loads, k, order, meters)

    # 10 * 0.333334 = 3 r 333 340 for c, 3 r 333 330 for a and b: the unit left to c.
    yield "static", case("static", 5, 5, 0, 0, 0), {"a": 3, "b": 3, "c": 4}
    # min(3,1), min(3,10), min(4,2) = 1, 3, 2; rest 4, halves to both plants: 2 and 2.
    yield "capped", case("capped", 5, 5, 1, 10, 2), {"a": 3, "b": 5, "c": 2}
    # 1, 2, 2; rest 5 = 2 r 5 each: the unit left to b, the first by meter id.
    yield "capped, rest with a tie", case("capped", 5, 5, 1, 2, 2), {"a": 3, "b": 5, "c": 2}
    # k: 12 * 0.333334 = 4 r 8, 3 r 999 996 twice: the two units left to a and b, 4 each.
    # Capped at 0, 0, 1; rest 11 over 9 and 3: 99/12 = 8 r 3, 33/12 = 2 r 9: the unit left to b.
    yield "capped, rest by generation", case("capped", 9, 3, 0, 0, 1), {"a": 8, "b": 3, "c": 1}
    # P = 10 > C = 6: everybody its load; rest 4, halves.
    yield "prorata, surplus", case("prorata", 5, 5, 1, 2, 3), {"a": 3, "b": 4, "c": 3}
    # P = 4 < C = 9: 4 * 3 / 9 = 1 r 3 each, the unit left to c.
    yield "prorata, scarce", case("prorata", 1, 3, 3, 3, 3), {"a": 1, "b": 1, "c": 2}
    # Nobody needs anything: all of it is rest.
    yield "prorata, no load", case("prorata", 1, 3, 0, 0, 0), {"a": 1, "b": 3, "c": 0}
    for key in KEYS:
        yield f"{key}, night", case(key, 0, 0, 1, 2, 3), {"a": 0, "b": 0, "c": 0}


COMMUNITY = "id,kind,annual_load_wh\na,prosumer,7\nb,prosumer,7\nc,consumer,7\n"
LOAD = "step,utc_start,a,b,c\n0,2016-01-01T00:00Z,1,10,2\n1,2016-01-01T00:15Z,1,2,2\n"
PV = "step,utc_start,a,b\n0,2016-01-01T00:00Z,5,5\n1,2016-01-01T00:15Z,5,5\n"
EXPORT = "# order: c,a,b\n# meters: b,a\nstep,a,b,c\n0,3,5,2\n1,3,5,2\n"


def file_cases():
    """Yields (name, found, expected by hand): (compared, differing), or the refusal's last words."""
    def run(export, steps_max=None, packed=False):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            (folder / "community.csv").write_text(COMMUNITY)
            (folder / "load_wh.csv").write_text(LOAD)
            with gzip.open(folder / "pv_wh.csv.gz", "wt") as file:
                file.write(PV)
            path = folder / ("export.csv.gz" if packed else "export.csv")
            with (gzip.open if packed else open)(path, "wt") as file:
                file.write(export)
            try:
                result = verify(folder, path, "capped", steps_max)
                return result.compared, result.differing, result.lines
            except Refused as refused:
                return str(refused).rpartition(": ")[2]

    one_row = EXPORT[: EXPORT.index("1,3,5,2")]
    yield "equal", run(EXPORT), (6, 0, [])
    yield "equal, gzip", run(EXPORT, packed=True), (6, 0, [])
    yield "equal, first step only", run(one_row, 1), (3, 0, [])
    yield (
        "a Wh moved from b to c is found",
        run(EXPORT.replace("1,3,5,2", "1,3,4,3")),
        (6, 2, ["step 1, b: expected 5, got 4", "step 1, c: expected 2, got 3"]),
    )
    yield (
        "a Wh too much is found",
        run(EXPORT.replace("0,3,5,2", "0,4,5,2")),
        (6, 1, ["step 0, a: expected 3, got 4", "step 0: allocated 11 Wh of 10 Wh generated"]),
    )
    yield "a missing step", run(one_row), "the end of the file where step 1 belongs"
    yield "a step too many", run(EXPORT, 1), "goes on with step 1 after the last step of the data"
    yield "a negative number", run(EXPORT.replace("0,3", "0,-3")), "'-3' is not a whole number of digits"
    yield "an order without c", run(EXPORT.replace("c,a,b", "a,b", 1)), "'# order' does not name every member once"
    yield "a wrong header", run(EXPORT.replace("step,a,b,c", "step,a,c,b")), "the columns are not the members of community.csv in order"
    yield "no comment lines", run("step,a,b,c\n"), "id,id,...' is missing"


def check_cases(cases):
    """Compare (name, found, expected) of each case, print the plain closing line, and say whether all are equal."""
    failed = passed = 0
    for name, found, expected in cases:
        if found == expected:
            passed += 1
        else:
            failed += 1
            print(f"{name}: expected {expected}, got {found}")
    print(f"{passed} passed, {failed} failed")
    return failed == 0


def self_test():
    return check_cases(itertools.chain(formula_cases(), file_cases()))


# ---------------------------------------------------------------- the command


def main():
    parser = argparse.ArgumentParser(
        description="Recompute every allocation of a replay from the CSV alone and compare.",
        epilog="The formulas and the form of the files stand at the top of this script.",
    )
    parser.add_argument("data", nargs="?", type=Path, metavar="DATA_DIR")
    parser.add_argument("allocations", nargs="?", type=Path, metavar="ALLOCATIONS.csv[.gz]")
    parser.add_argument("--key", choices=KEYS)
    parser.add_argument("--steps", type=int, metavar="N", help="the replay's first N steps only")
    parser.add_argument("--self-test", action="store_true", help="check this script on cases done by hand")
    arguments = parser.parse_args()
    if arguments.self_test:
        return self_test()
    if arguments.data is None or arguments.allocations is None or arguments.key is None:
        parser.error("give DATA_DIR, ALLOCATIONS.csv and --key, or --self-test")
    if arguments.steps is not None and arguments.steps < 1:
        parser.error("--steps must be at least 1")
    try:
        result = verify(arguments.data, arguments.allocations, arguments.key, arguments.steps)
    except (Refused, OSError, EOFError, UnicodeDecodeError, zlib.error, csv.Error, KeyError) as error:
        print(f"cannot compare: {error!r}" if isinstance(error, KeyError) else f"cannot compare: {error}")
        print("0 passed, 1 failed")
        return False
    for line in result.lines:
        print(line)
    print(f"{result.compared} allocations compared, {result.differing} differ")
    is_equal = result.differing == 0
    print("1 passed, 0 failed" if is_equal else "0 passed, 1 failed")
    return is_equal


if __name__ == "__main__":
    sys.exit(0 if main() else 1)
