#!/usr/bin/env python3
"""Draw what year_trading.py collected as an SVG.

usage: plot_trading.py OUT FILE.svg

Above: what of the community's consumption is covered by the members' own share of its generation in the same step, by the key
alone and after trading. Below: the energy traded in each thirty days, or each day of a short run, for the key with most trade.
Python 3 standard library only.
"""

import csv
import gzip
import json
import sys
from pathlib import Path
from xml.sax.saxutils import escape

WIDTH, LEFT, RIGHT = 860, 250, 90
BAR, GAP = 18, 8
STEPS_PER_DAY, DAYS_OF_LONG_RUN = 96, 60
HEIGHT_BELOW = 220
COLOURS = {"alone": "#9aa5b1", "key": "#2f6f9f", "market": "#e39a2d", "grid": "#e9edf1"}
LINES = ("#2f6f9f", "#e39a2d", "#4b8f4b", "#a4508b", "#b33a3a", "#6b6b6b", "#1f9e9e")


class Svg:
    """Shapes and words, one after the other."""

    def __init__(self):
        self.parts = []

    def rect(self, x, y, width, height, fill):
        self.parts.append(f'<rect x="{x:.1f}" y="{y:.1f}" width="{max(width, 0):.1f}" height="{height:.1f}" fill="{fill}"/>')

    def text(self, x, y, words, anchor="start", size=12, weight="normal"):
        self.parts.append(f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}" font-weight="{weight}">'
                          f"{escape(words)}</text>")

    def line(self, points, stroke, width=1.0):
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        self.parts.append(f'<polyline points="{path}" fill="none" stroke="{stroke}" stroke-width="{width}"/>')

    def document(self, height):
        head = (f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height:.0f}" '
                f'viewBox="0 0 {WIDTH} {height:.0f}" font-family="sans-serif" fill="#1f2933">')
        return "\n".join([head, f'<rect width="{WIDTH}" height="{height:.0f}" fill="#ffffff"/>', *self.parts, "</svg>", ""])


def bars(told):
    """Returns (name, covered alone or None, covered by the key, added by the market), in parts of the consumption."""
    rows, shown = [], set()
    for one in told:
        share = {which: ppm / 1_000_000 for which, ppm in one["market"]["selfSufficiencyPpm"].items()}
        if not rows:
            rows.append(("everybody alone", share["alone"], 0, 0))
        if one["key"] not in shown:
            shown.add(one["key"])
            rows.append((f"{one['key']} key, no market", None, share["key"], 0))
        market = one["market"]
        rows.append((f"{one['key']}: {market['mechanism']}, {market['policy']}", None, share["key"], share["market"] - share["key"]))
    return rows


def part_of(told):
    """Returns the steps that are summed up for the lower figure, and what they are called."""
    is_long = max(one["steps"] for one in told) > DAYS_OF_LONG_RUN * STEPS_PER_DAY
    return (30 * STEPS_PER_DAY, "thirty days") if is_long else (STEPS_PER_DAY, "day")


def volumes(path, steps_per_part):
    """Returns the units traded in each part."""
    parts = []
    with gzip.open(path, "rt") as file:
        lines = (line for line in file if not line.startswith("#"))
        for number, row in enumerate(csv.DictReader(lines)):
            if number % steps_per_part == 0:
                parts.append(0)
            parts[-1] += int(row["volume"])
    return parts


def draw_bars(svg, rows, top):
    span = WIDTH - LEFT - RIGHT
    svg.text(16, top, "What of the consumption the community's generation covers", size=15, weight="bold")
    x = 16
    for which, words in (("alone", "by one's own plant"), ("key", "by the key"), ("market", "by trading"), ("grid", "by the outer grid")):
        svg.rect(x, top + 12, 12, 12, COLOURS[which])
        svg.text(x + 18, top + 22, words)
        x += 40 + 7 * len(words)
    y = top + 42
    for name, alone, key, market in rows:
        svg.text(LEFT - 10, y + BAR - 5, name, anchor="end")
        svg.rect(LEFT, y, span, BAR, COLOURS["grid"])
        at = LEFT
        for part, which in ((alone or 0, "alone"), (key, "key"), (market, "market")):
            svg.rect(at, y, part * span, BAR, COLOURS[which])
            at += part * span
        svg.text(WIDTH - RIGHT + 10, y + BAR - 5, f"{100 * ((alone or 0) + key + market):.1f} %")
        y += BAR + GAP
    return y


def draw_volumes(svg, series, unit_wh, part, top):
    span, bottom = WIDTH - 120 - 220, top + HEIGHT_BELOW
    svg.text(16, top, f"Energy traded in each {part}, kWh", size=15, weight="bold")
    most = max((units for _, parts in series for units in parts), default=0) * unit_wh / 1000
    scale = (HEIGHT_BELOW - 40) / most if most else 0
    for quarter in range(5):
        value = most * quarter / 4
        y = bottom - value * scale
        svg.line([(60, y), (60 + span, y)], "#d5dbe1")
        svg.text(54, y + 4, f"{value:.0f}", anchor="end")
    for number, (name, parts) in enumerate(series):
        colour = LINES[number % len(LINES)]
        step = span / max(1, len(parts) - 1)
        points = [(60 + at * step, bottom - units * unit_wh / 1000 * scale) for at, units in enumerate(parts)]
        svg.line(points, colour, 2)
        for x, y in points:
            svg.rect(x - 2, y - 2, 4, 4, colour)
        svg.rect(60 + span + 24, top + 24 + 18 * number, 12, 4, colour)
        svg.text(60 + span + 44, top + 30 + 18 * number, name)
    count = len(series[0][1]) if series else 0
    for at in range(0, count, 1 if count <= 15 else 5):
        x = 60 + at * span / max(1, count - 1)
        svg.text(x, bottom + 18, str(at + 1), anchor="middle")
    svg.text(60 + span / 2, bottom + 38, f"number of the {part} since the data's first step; the last may be shorter", anchor="middle")
    return bottom + 50


def draw(folder, told):
    """Returns the SVG of some runs, whose trades lie in a folder."""
    svg = Svg()
    y = draw_bars(svg, bars(told), 28)
    by_key = {}
    for one in told:
        by_key[one["key"]] = by_key.get(one["key"], 0) + one["market"]["volumeWh"]
    key = max(by_key, key=by_key.get)
    steps_per_part, part = part_of(told)
    # Runs that trade the same share a line.
    lines = []
    for one in told:
        if one["key"] != key:
            continue
        market = one["market"]
        parts = volumes(Path(folder) / one["tradesFile"], steps_per_part)
        same = next((line for line in lines if line[1] == parts and line[2] == market["policy"]), None)
        if same is None:
            lines.append(([market["mechanism"].split(":")[0]], parts, market["policy"]))
        else:
            same[0].append(market["mechanism"].split(":")[0])
    series = [(f"{policy}: {', '.join(mechanisms)}", parts) for mechanisms, parts, policy in lines]
    unit_wh = told[0]["market"]["unitWh"]
    return svg.document(draw_volumes(svg, series, unit_wh, part, y + 40))


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    folder = Path(sys.argv[1])
    told = [json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))]
    if not told:
        sys.exit(f"{folder} holds no runs: year_trading.py makes them")
    Path(sys.argv[2]).write_text(draw(folder, told))


if __name__ == "__main__":
    main()
