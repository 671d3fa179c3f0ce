#!/usr/bin/env python3
"""Derive the demo community, one summer week, from a year of community data.

usage: make.py DATA_DIR [--check]
  DATA_DIR  holds community.csv, load_wh.csv.gz and pv_wh.csv.gz of the year 2016
  --check   write nothing; exit 1 when the files beside this script differ from what it derives

Deterministic: no clock, no random numbers. community.csv is copied unchanged, so its annual columns
speak of the whole year; the readings are the chosen week's, renumbered from step 0.

The week: of the weeks from Monday 00:00 to Sunday 24:00 local time that lie within June and July, the
one with the most generation among those in which every day generates at 08:00. (The source has some days
in July whose generation is cut off until 09:00; a newcomer would look at zeros in the morning.)
Python 3 standard library only.
"""

import csv
import gzip
import io
import sys
from datetime import datetime, timedelta
from pathlib import Path

HERE = Path(__file__).resolve().parent
STEPS_PER_DAY = 96
STEPS_PER_WEEK = 7 * STEPS_PER_DAY
STEP_AT_8 = 8 * 4
# German summer time, which holds in the whole of June and July.
LOCAL_AHEAD_OF_UTC = timedelta(hours=2)


def read(path):
    """Returns the header and the rows of a gzipped reading file."""
    with gzip.open(path, "rt", encoding="ascii", newline="") as file:
        rows = csv.reader(file)
        return next(rows), list(rows)


def local_time(row):
    return datetime.strptime(row[1], "%Y-%m-%dT%H:%MZ") + LOCAL_AHEAD_OF_UTC


def choose_week(pv_rows):
    """Returns the position of the chosen week's first row."""
    totals = [sum(map(int, row[2:])) for row in pv_rows]
    best = None
    for first in range(len(pv_rows) - STEPS_PER_WEEK + 1):
        begin = local_time(pv_rows[first])
        last_day = begin + timedelta(days=6)
        is_monday_midnight = begin.weekday() == 0 and begin.hour == 0 and begin.minute == 0
        if not is_monday_midnight or begin.month not in (6, 7) or last_day.month not in (6, 7):
            continue
        week = totals[first : first + STEPS_PER_WEEK]
        if any(week[day * STEPS_PER_DAY + STEP_AT_8] == 0 for day in range(7)):
            continue
        # Ties to the earlier week.
        if best is None or sum(week) > best[0]:
            best = (sum(week), first)
    if best is None:
        sys.exit("no whole week in June or July generates at 08:00 on every day; is this the year 2016?")
    return best[1]


def week_csv(header, rows):
    """Returns the bytes of a reading file whose steps count from 0."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    for step, row in enumerate(rows):
        writer.writerow([step, *row[1:]])
    return text.getvalue().encode("ascii")


def main(arguments):
    names = [argument for argument in arguments if argument != "--check"]
    if len(names) != 1:
        sys.exit(__doc__)
    data = Path(names[0])
    load_header, load_rows = read(data / "load_wh.csv.gz")
    pv_header, pv_rows = read(data / "pv_wh.csv.gz")
    first = choose_week(pv_rows)
    end = first + STEPS_PER_WEEK
    contents = {
        "community.csv": (data / "community.csv").read_bytes(),
        "load_wh.csv.gz": week_csv(load_header, load_rows[first:end]),
        "pv_wh.csv.gz": week_csv(pv_header, pv_rows[first:end]),
    }
    print(f"week of {local_time(pv_rows[first]):%Y-%m-%d}, steps {first} to {end - 1} of the year")
    if "--check" in arguments:
        # Contents, not compressed bytes: compressors differ between versions of zlib.
        for name, content in contents.items():
            shipped = (HERE / name).read_bytes()
            if (gzip.decompress(shipped) if name.endswith(".gz") else shipped) != content:
                sys.exit(f"{HERE / name} differs from what {data} gives; run make.py without --check")
        print("the shipped files are what the data gives")
        return
    for name, content in contents.items():
        with open(HERE / name, "wb") as raw:
            if name.endswith(".gz"):
                # No file name and no time in the gzip header: the same data gives the same bytes.
                with gzip.GzipFile("", "wb", 9, raw, mtime=0) as packed:
                    packed.write(content)
            else:
                raw.write(content)
        print(f"wrote {HERE / name}")


if __name__ == "__main__":
    main(sys.argv[1:])
