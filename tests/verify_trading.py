#!/usr/bin/env python3
"""Recompute the market of every step of a replay from the CSV of the data alone and compare it with what the chain says.

usage: verify_trading.py DATA_DIR TRADES.csv[.gz] --key static|capped|prorata [--steps N]
       verify_trading.py --self-test

Shares no code with the node. Python 3 standard library only; every number is a whole one. Allocations: verify_replay.py.

Per step, from PROTOCOL section 9 and docs/trading.md; A_i what the key allocates member i, C_i what it consumes, u the unit:

  limits   margin = 1 + place mod ceil((buy - feedIn) / 2); ask = feedIn + margin, bid = buy - margin;
           policy perfect: ask = feedIn, bid = buy. `place` is the member's row in community.csv, from 0
  offered  for sale floor(max(0, A - C) / u), needed floor(max(0, C - A) / u), whole units. Standing orders (reserve, perfect)
           count from the chain's step 2 on and never bind beside that. persistence, from step 97 on: at most what was
           left over or lacking 96 steps before; under continuous a purchase is not cut to the need
  k        the largest index with b_k >= s_k; range [max(s_k, b_k+1), min(b_k, s_k+1)]
  volume   k; McAfee's k - 1 where (b_k+1 + s_k+1) / 2 is not between s_k and b_k, or a neighbour is missing
  price    average (b_k + s_k) / 2; uniform:K low + (high - low) K / 10000; mcafee (b_k+1 + s_k+1) / 2, else buyers b_k and
           sellers s_k; loyal low + (high - low) l_s / (l_b + l_s) for each pair; all rounded down
  loyalty  recomputed from the trades by the rules of the default genesis
  worth    welfare = sum of bid - ask over traded units; covered = sum of min(VGM, C), VGM = A + bought - sold;
           owed to the outer grid: buy / u for each Wh of C - VGM, or -feedIn / u where it is negative, rounded to the
           nearest for each member

Who of several members with the same limit trades depends on the chain's randomness, and so does the sequence in which orders of
`continuous` meet: both are taken from the trades in the file, which must keep to the rules (nobody beyond its limit or its
offer, better limits first, equal ones by loyalty where it counts, prices as above; `continuous` at one of the two limits, no
sale beyond what is there). The totals of the other mechanisms do not depend on it and are recomputed.

TRADES, written by the node from the state of the chain:

  # order:, # meters:       as in verify_replay.py
  # policy:, # mechanism:, # unit: WH, # grid: BUY,FEED_IN
  step,k,low,high,volume,welfare,turnover,surplus,orders,covered_alone_wh,covered_key_wh,covered_wh,owed_alone,owed_key,owed,trades
  trades: BUYER<SELLER:UNITS@PAYS/GETS, separated by blanks
"""

import argparse
import csv
import itertools
import sys
import zlib
from collections import defaultdict, deque
from pathlib import Path

import verify_replay
from verify_replay import Refused, Result, open_text, whole

HEADER = ("step,k,low,high,volume,welfare,turnover,surplus,orders,covered_alone_wh,covered_key_wh,covered_wh,"
          "owed_alone,owed_key,owed,trades").split(",")
POLICIES = ("reserve", "perfect", "persistence")
DAY = 96
# The default genesis' contract about loyalty, in millionths and Wh.
BOOST, SLIGHT, CUT, SCALE_WH, DECAY, FLOOR, CEILING = 50_000, 10_000, 30_000, 1_000, 1_000, 100_000, 10_000_000
START = 1_000_000
FIXED_ONE = 10**18


# ---------------------------------------------------------------- orders


def limits(policy, place, buy, feed_in):
    """Returns what a member asks for a unit, and what it bids."""
    if policy == "perfect":
        return feed_in, max(1, buy)
    margin = 1 + place % max(1, -(-(buy - feed_in) // 2))
    return feed_in + margin, max(1, buy - margin)


def offer(policy, mechanism, unit, chain_step, left_over_wh, day_before_wh):
    """Returns what takes part in the market as (side, units), or None; what is for sale is positive."""
    wanted = abs(left_over_wh) // unit
    if policy != "persistence":
        return ("sell" if left_over_wh > 0 else "buy", wanted) if chain_step >= 2 and wanted else None
    if day_before_wh is None or abs(day_before_wh) // unit == 0:
        return None
    side, units = "sell" if day_before_wh > 0 else "buy", abs(day_before_wh) // unit
    if mechanism != "continuous":
        is_there = (left_over_wh > 0) == (side == "sell")
        units = min(units, wanted) if is_there else 0
    return (side, units) if units else None


# ---------------------------------------------------------------- clearing


class Breakeven:
    """Where demand and supply meet. `bids` and `asks` are (limit, units) of whole orders."""

    def __init__(self, bids, asks):
        bids, asks = sorted(bids, reverse=True), sorted(asks)
        self.k, self.bid, self.ask = 0, None, None
        buy = sell = 0
        left_buy = bids[0][1] if bids else 0
        left_sell = asks[0][1] if asks else 0
        while buy < len(bids) and sell < len(asks) and bids[buy][0] >= asks[sell][0]:
            units = min(left_buy, left_sell)
            self.k += units
            self.bid, self.ask = bids[buy][0], asks[sell][0]
            left_buy, left_sell = left_buy - units, left_sell - units
            if not left_buy:
                buy += 1
                left_buy = bids[buy][1] if buy < len(bids) else 0
            if not left_sell:
                sell += 1
                left_sell = asks[sell][1] if sell < len(asks) else 0
        self.next_bid = bids[buy][0] if buy < len(bids) else None
        self.next_ask = asks[sell][0] if sell < len(asks) else None
        self.low = max((price for price in (self.ask, self.next_bid) if price is not None), default=None)
        self.high = min((price for price in (self.bid, self.next_ask) if price is not None), default=None)

    def quote(self, mechanism):
        """Returns (units that trade, what buyers pay, what sellers get); prices are None where each pair has its own."""
        if self.k == 0:
            return 0, None, None
        if mechanism == "average":
            price = (self.bid + self.ask) // 2
        elif mechanism.startswith("uniform:"):
            price = self.low + (self.high - self.low) * int(mechanism[8:]) // 10_000
        elif mechanism == "mcafee":
            if None in (self.next_bid, self.next_ask):
                return self.k - 1, self.bid, self.ask
            if not 2 * self.ask <= self.next_bid + self.next_ask <= 2 * self.bid:
                return self.k - 1, self.bid, self.ask
            price = (self.next_bid + self.next_ask) // 2
        else:
            return self.k, None, None
        return self.k, price, price


def by_limit(orders, units, is_better):
    """Returns how many units of each limit trade, the better ones first."""
    filled, left = {}, units
    for limit in sorted({limit for limit, _ in orders}, reverse=is_better == "higher"):
        there = sum(amount for other, amount in orders if other == limit)
        filled[limit] = min(left, there)
        left -= filled[limit]
    return {limit: amount for limit, amount in filled.items() if amount}


# ---------------------------------------------------------------- loyalty


def fade(score, steps):
    """A score comes closer to 1.0 by a thousandth of the distance in each step; in fixed point, by squaring."""
    base, power = (START - DECAY) * (FIXED_ONE // START), FIXED_ONE
    while steps:
        if steps & 1:
            power = power * base // FIXED_ONE
        base = base * base // FIXED_ONE
        steps >>= 1
    left = abs(score - START) * power // FIXED_ONE
    return START + left if score >= START else START - left


class Loyalties:
    """Everybody's loyalty, from what became of its orders."""

    def __init__(self):
        self.records = {}

    def of(self, member, step):
        if member not in self.records:
            return START
        score, since = self.records[member]
        return fade(score, step - since)

    def update(self, member, step, traded_wh, unserved_wh, cut_off_wh):
        if not (traded_wh or unserved_wh or cut_off_wh):
            return
        score = self.of(member, step)
        change = traded_wh * BOOST + unserved_wh * SLIGHT - cut_off_wh * CUT
        scale = max(traded_wh + unserved_wh + cut_off_wh, SCALE_WH)
        # Towards no change.
        change = change // scale if change >= 0 else -(-change // scale)
        updated = min(max(score + change, FLOOR), CEILING)
        if updated == START:
            self.records.pop(member, None)
        elif updated != score or member in self.records:
            self.records[member] = (updated, step)


# ---------------------------------------------------------------- a step


def owed(market_face_wh, buy, feed_in, unit):
    """What the outer grid is owed for what it covers, or owes for what it takes: to the nearest, halves up."""
    if market_face_wh >= 0:
        return (market_face_wh * buy + unit // 2) // unit
    return -((-market_face_wh * feed_in + unit // 2) // unit)


class Step:
    """The market of one step, recomputed; what differs from the file is told to `differ`."""

    def __init__(self, terms, chain_step, offers, prices, for_sale, loyalties, trades, differ):
        self.terms, self.chain_step, self.offers, self.prices = terms, chain_step, offers, prices
        self.for_sale, self.loyalties, self.trades, self.differ = for_sale, loyalties, trades, differ
        orders = {"buy": [], "sell": []}
        for member, (side, units) in offers.items():
            orders[side].append((prices[member][side == "buy"], units))
        self.orders = orders
        self.breakeven = Breakeven(orders["buy"], orders["sell"])
        self.bought, self.sold = defaultdict(int), defaultdict(int)
        for buyer, seller, units, _, _ in trades:
            self.bought[buyer] += units
            self.sold[seller] += units

    def figures(self):
        """Returns k, low, high, volume, welfare, turnover, surplus, orders."""
        trades, mechanism = self.trades, self.terms.mechanism
        volume, pays, gets = self.breakeven.quote(mechanism)
        if mechanism == "continuous":
            volume = sum(units for _, _, units, _, _ in trades)
            self.verify_book()
        else:
            self.verify_call(volume)
        bid, ask = (lambda member: self.prices[member][1]), (lambda member: self.prices[member][0])
        if mechanism == "continuous":
            welfare = sum(units * (bid(buyer) - ask(seller)) for buyer, seller, units, _, _ in trades)
        else:
            buys = by_limit(self.orders["buy"], volume, "higher")
            sells = by_limit(self.orders["sell"], volume, "lower")
            welfare = sum(limit * units for limit, units in buys.items()) - sum(limit * units for limit, units in sells.items())
        if pays is None:
            turnover, surplus = sum(units * paid for _, _, units, paid, _ in trades), 0
        else:
            turnover, surplus = volume * pays, volume * (pays - gets)
        self.verify_trades(volume, pays, gets)
        breakeven = self.breakeven
        return breakeven.k, breakeven.low, breakeven.high, volume, welfare, turnover, surplus, len(self.offers)

    def verify_trades(self, volume, pays, gets):
        """Nobody beyond its limit or its offer, none with itself, the mechanism's prices."""
        mechanism = self.terms.mechanism
        if sum(self.bought.values()) != volume:
            self.differ("units in the trades", volume, sum(self.bought.values()))
        for side, done in (("buy", self.bought), ("sell", self.sold)):
            for member, units in done.items():
                offered = self.offers.get(member)
                if offered is None or offered[0] != side or units > offered[1]:
                    self.differ(f"units that {member} trades", offered, (side, units))
        for buyer, seller, units, paid, got in self.trades:
            (_, bid), (ask, _) = self.prices[buyer], self.prices[seller]
            name = f"{buyer}<{seller}:{units}@{paid}/{got}"
            if buyer == seller or not ask <= got <= paid <= bid or not units:
                self.differ("limits", f"{ask} to {bid}", name)
            if pays is not None:
                expected = (pays, gets)
            elif mechanism == "continuous":
                expected = (paid, paid) if paid in (ask, bid) else (bid, bid)
            else:
                low, high = self.breakeven.low, self.breakeven.high
                l_b, l_s = (self.loyalties.of(member, self.chain_step) for member in (buyer, seller))
                expected = (low + (high - low) * l_s // (l_b + l_s),) * 2
            if (paid, got) != expected:
                self.differ("price", f"{expected[0]}/{expected[1]}", name)

    def verify_call(self, volume):
        """Better limits before worse ones, then loyalty where it counts, pairs in that order."""
        for side, done, better in (("buy", self.bought, "higher"), ("sell", self.sold, "lower")):
            traded = defaultdict(int)
            limit = {member: self.prices[member][side == "buy"] for member in done}
            for member, units in done.items():
                traded[limit[member]] += units
            expected = by_limit(self.orders[side], volume, better)
            if dict(traded) != expected:
                self.differ(f"units by limit ({side})", expected, dict(traded))
            if self.terms.mechanism == "loyal":
                self.verify_loyalty(side, done)
        for at, better in ((0, 1), (1, -1)):
            in_order = [better * self.prices[trade[at]][1 - at] for trade in self.trades]
            if in_order != sorted(in_order, reverse=True):
                self.differ("sequence of the pairs", sorted(in_order, reverse=True), in_order)

    def verify_loyalty(self, side, done):
        """Of two members with the same limit the more loyal one trades in full before the other does at all."""
        ranks = defaultdict(list)
        for member, (own_side, offered) in self.offers.items():
            if own_side == side:
                rank = (self.loyalties.of(member, self.chain_step), member, offered, done.get(member, 0))
                ranks[self.prices[member][side == "buy"]].append(rank)
        for same in ranks.values():
            same.sort(reverse=True)
            for (l_one, one, offered, units), (l_other, other, _, other_units) in itertools.combinations(same, 2):
                if l_one > l_other and units < offered and other_units:
                    self.differ(f"loyalty of {one} before {other}", offered, units)

    def verify_book(self):
        """Nobody sells what is not there."""
        for member, units in self.sold.items():
            if units > self.for_sale[member]:
                self.differ(f"units that {member} has for sale", self.for_sale[member], units)

    def update_loyalties(self, volume):
        """What became of each order, for the loyalty of the next steps."""
        is_two_sided = bool(self.orders["buy"] and self.orders["sell"])
        unit = self.terms.unit
        for member, (side, offered) in self.offers.items():
            traded = (self.bought if side == "buy" else self.sold).get(member, 0)
            left, unserved, cut_off = offered - traded, 0, 0
            if left and is_two_sided:
                ask, bid = self.prices[member]
                is_well = volume and (bid >= self.breakeven.low if side == "buy" else ask <= self.breakeven.high)
                unserved, cut_off = (left, 0) if is_well else (0, left)
            self.loyalties.update(member, self.chain_step, traded * unit, unserved * unit, cut_off * unit)


# ---------------------------------------------------------------- the files


class Terms:
    """What the comment lines of the file say."""

    def __init__(self, file, path):
        told = {}
        for name in ("order", "meters", "policy", "mechanism", "unit", "grid"):
            label, colon, value = file.readline().strip().partition(":")
            if label != f"# {name}" or not colon:
                raise Refused(f"{path}: the comment line '# {name}: ...' is missing")
            told[name] = value.strip()
        self.order = [one for one in told["order"].split(",") if one]
        self.meters = [one for one in told["meters"].split(",") if one]
        self.policy, self.mechanism = told["policy"], told["mechanism"]
        self.unit = whole(told["unit"], f"{path}, # unit")
        self.buy, self.feed_in = (whole(text, f"{path}, # grid") for text in told["grid"].split(","))
        if self.policy not in POLICIES or self.unit == 0:
            raise Refused(f"{path}: the policy {self.policy!r}, or a unit of {self.unit} Wh, is not known")


def parse_trades(text, where):
    trades = []
    for word in text.split():
        try:
            pair, _, deal = word.partition(":")
            buyer, _, seller = pair.partition("<")
            units, _, prices = deal.partition("@")
            pays, _, gets = prices.partition("/")
            trades.append((buyer, seller, int(units), int(pays), int(gets)))
        except ValueError:
            raise Refused(f"{where}: {word!r} is not BUYER<SELLER:UNITS@PAYS/GETS") from None
    return trades


class Sums:
    """What the whole replay comes to, for people."""

    def __init__(self):
        self.volume = self.welfare = self.generated = self.consumed = 0
        self.covered, self.owed = [0, 0, 0], [0, 0, 0]


def verify(folder, trades_path, key, steps_max=None):
    """Compares all steps of the data, or its first `steps_max`; returns the result and the sums."""
    annual_load_wh = verify_replay.read_community(folder)
    members = list(annual_load_wh)
    loads, pvs = (verify_replay.read_steps(verify_replay.reading_path(folder, name)) for name in ("load_wh.csv", "pv_wh.csv"))
    owners = next(pvs)
    if next(loads) != members:
        raise Refused("load_wh.csv, line 1: the ids are not those of community.csv in order")
    result, sums, loyalties, days = Result(), Sums(), Loyalties(), deque(maxlen=DAY)
    with open_text(trades_path) as file:
        terms = Terms(file, trades_path)
        if sorted(terms.order) != sorted(members) or sorted(terms.meters) != sorted(owners):
            raise Refused(f"{trades_path}: '# order' or '# meters' does not name everybody once")
        rows = csv.reader(file)
        if next(rows, []) != HEADER:
            raise Refused(f"{trades_path}: the columns are not {','.join(HEADER)}")
        k = verify_replay.coefficients(annual_load_wh, terms.order)
        prices = {member: limits(terms.policy, place, terms.buy, terms.feed_in) for place, member in enumerate(members)}
        steps = 0
        for load_row, pv_row in itertools.islice(itertools.zip_longest(loads, pvs), steps_max):
            if load_row is None or pv_row is None or load_row[:2] != pv_row[:2]:
                raise Refused(f"load_wh.csv and pv_wh.csv differ in their steps: {load_row} beside {pv_row}")
            steps += 1
            index, _, values = load_row
            load = dict(zip(members, values))
            pv = dict(zip(owners, pv_row[2]))
            row = next(rows, None)
            if row is None or len(row) != len(HEADER) or row[0] != str(index):
                raise Refused(f"{trades_path}: {row and row[0]!r} where step {index} belongs")
            found = dict(zip(HEADER, row))

            def differ(what, expected, got, index=index):
                result.differ(f"step {index}, {what}: expected {expected}, got {got}")

            allocated = verify_replay.allocate(key, pv, load, k, terms.order, terms.meters)
            left_over = {member: allocated[member] - load[member] for member in members}
            day_before = days[0] if len(days) == DAY else {}
            days.append(left_over)
            chain_step = steps
            offers = {}
            for member in members:
                one = offer(terms.policy, terms.mechanism, terms.unit, chain_step, left_over[member], day_before.get(member))
                if one:
                    offers[member] = one
            trades = parse_trades(found["trades"], f"{trades_path}, step {index}")
            strangers = {name for trade in trades for name in trade[:2]} - set(members)
            if strangers:
                raise Refused(f"{trades_path}, step {index}: {strangers} are not members")
            for_sale = {member: max(0, left_over[member]) // terms.unit for member in members}
            step = Step(terms, chain_step, offers, prices, for_sale, loyalties, trades, differ)
            computed = step.figures()
            if terms.mechanism == "loyal":
                step.update_loyalties(computed[3])

            meter = {
                "alone": {member: pv.get(member, 0) for member in members},
                "key": allocated,
                "market": {member: allocated[member] + terms.unit * (step.bought[member] - step.sold[member]) for member in members},
            }
            covered = [sum(min(max(0, held[member]), load[member]) for member in members) for held in meter.values()]
            debts = [sum(owed(load[member] - held[member], terms.buy, terms.feed_in, terms.unit) for member in members)
                     for held in meter.values()]
            for name, expected in zip(HEADER[1:-1], (*computed, *covered, *debts)):
                result.compared += 1
                text = "" if expected is None else str(expected)
                if found[name] != text:
                    differ(name, text, found[name])
            sums.volume += computed[3] * terms.unit
            sums.welfare += computed[4]
            sums.generated += sum(pv.values())
            sums.consumed += sum(values)
            sums.covered = [sum(pair) for pair in zip(sums.covered, covered)]
            sums.owed = [sum(pair) for pair in zip(sums.owed, debts)]
        surplus = next(rows, None)
        if surplus is not None:
            raise Refused(f"{trades_path}: goes on with step {surplus[0]} after the last step of the data")
    if steps == 0 or steps_max is not None and steps != steps_max:
        raise Refused(f"{folder} has {steps} steps")
    return result, sums, terms


# ---------------------------------------------------------------- the self-test


def cases():
    """Yields (name, found, expected by hand)."""
    yield "limits of the first five", [limits("reserve", place, 9, 2) for place in range(5)], \
        [(3, 8), (4, 7), (5, 6), (6, 5), (3, 8)]
    yield "limits of the benchmark", limits("perfect", 3, 9, 2), (2, 9)
    yield "nothing to do at the genesis", offer("reserve", "average", 10, 1, 100, None), None
    yield "a sale", offer("reserve", "average", 10, 2, 129, None), ("sell", 12)
    yield "a purchase", offer("perfect", "average", 10, 2, -129, None), ("buy", 12)
    yield "less than a unit", offer("reserve", "average", 10, 2, -9, None), None
    yield "nothing known", offer("persistence", "average", 10, 50, 100, None), None
    yield "as the day before, cut to what is there", offer("persistence", "average", 10, 97, 50, 100), ("sell", 5)
    yield "as the day before", offer("persistence", "average", 10, 97, -500, -100), ("buy", 10)
    yield "the other way round", offer("persistence", "average", 10, 97, -50, 100), None
    yield "a promise", offer("persistence", "continuous", 10, 97, -50, 100), ("sell", 10)

    # b: 8 8 8 6 6, s: 3 3 5 7: k = 3 (8 >= 5), b_4 = 6, s_4 = 7.
    book = Breakeven([(8, 3), (6, 2)], [(3, 2), (5, 1), (7, 1)])
    yield "k and its neighbours", (book.k, book.bid, book.ask, book.next_bid, book.next_ask), (3, 8, 5, 6, 7)
    yield "range", (book.low, book.high), (6, 7)
    yield "average", book.quote("average"), (3, 6, 6)
    yield "uniform", book.quote("uniform:5000"), (3, 6, 6)
    yield "uniform, for sellers", book.quote("uniform:10000"), (3, 7, 7)
    yield "mcafee", book.quote("mcafee"), (3, 6, 6)
    yield "mcafee without a neighbour", Breakeven([(8, 3)], [(3, 3)]).quote("mcafee"), (2, 8, 3)
    # (2 + 9) / 2 = 5.5 is above b_2 = 5.
    yield "mcafee, reduced", Breakeven([(5, 2), (2, 1)], [(3, 2), (9, 1)]).quote("mcafee"), (1, 5, 3)
    yield "no trade", Breakeven([(3, 1)], [(4, 1)]).quote("average"), (0, None, None)
    yield "one side", (Breakeven([], [(4, 1)]).low, Breakeven([], [(4, 1)]).high), (None, 4)
    yield "better limits first", by_limit([(8, 3), (6, 2), (8, 1)], 5, "higher"), {8: 4, 6: 1}

    yield "a Wh is charged", owed(250, 9, 2, 10), 225
    yield "a Wh is credited", owed(-250, 9, 2, 10), -50
    yield "money is rounded", (owed(5, 9, 2, 10), owed(4, 9, 2, 10)), (5, 4)

    loyalties = Loyalties()
    yield "everybody begins at 1.0", loyalties.of("a", 7), START
    # 500 Wh of 1000: half a boost.
    loyalties.update("a", 7, 500, 0, 0)
    yield "who trades gains", loyalties.of("a", 7), 1_025_000
    yield "and loses it", loyalties.of("a", 8), 1_024_975
    # 2000 Wh: 1000 traded and 1000 cut off: (50 000 - 30 000) / 2.
    loyalties.update("b", 7, 1_000, 0, 1_000)
    yield "who is cut off loses", loyalties.of("b", 7), 1_010_000

    prices = {"a": (3, 8), "b": (4, 7), "c": (3, 8)}

    def told(mechanism, trades, offers=None):
        lines = []
        step = Step(argparse.Namespace(mechanism=mechanism, unit=10), 7, offers or {"a": ("sell", 5), "b": ("buy", 3), "c": ("buy", 4)},
                    prices, {"a": 5, "b": 0, "c": 0}, Loyalties(), trades, lambda what, expected, got: lines.append(what))
        return step.figures(), lines

    # b: 8 8 8 8 7 | 7 7; s: 3 x 5: k = 5, range [7, 7], price (7 + 3) / 2 = 5.
    good = [("c", "a", 4, 5, 5), ("b", "a", 1, 5, 5)]
    yield "a step", told("average", good), ((5, 7, 7, 5, 4 * 5 + 4, 25, 0, 3), [])
    yield "a wrong price is found", told("average", [("c", "a", 4, 5, 5), ("b", "a", 1, 4, 4)])[1], ["price"]
    yield "a worse limit before a better one is found", bool(told("average", [("c", "a", 3, 5, 5), ("b", "a", 2, 5, 5)])[1]), True
    yield "a unit too few is found", bool(told("average", good[:1])[1]), True
    yield "more than was offered is found", bool(told("average", [("c", "a", 5, 5, 5)])[1]), True
    # McAfee: no sixth ask, so four units: buyers pay 7, sellers get 3.
    yield "a reduced step", told("mcafee", [("c", "a", 4, 7, 3)]), ((5, 7, 7, 4, 20, 28, 16, 3), [])
    yield "a book", told("continuous", [("c", "a", 2, 8, 8), ("b", "a", 3, 3, 3)])[1], []
    yield "a book's price is one of the two limits", told("continuous", [("c", "a", 2, 5, 5)])[1], ["price"]


def self_test():
    return verify_replay.check_cases(cases())


# ---------------------------------------------------------------- the command


def main():
    parser = argparse.ArgumentParser(
        description="Recompute the market of every step of a replay from the CSV alone and compare.",
        epilog="The formulas and the form of the files stand at the top of this script.",
    )
    parser.add_argument("data", nargs="?", type=Path, metavar="DATA_DIR")
    parser.add_argument("trades", nargs="?", type=Path, metavar="TRADES.csv[.gz]")
    parser.add_argument("--key", choices=verify_replay.KEYS)
    parser.add_argument("--steps", type=int, metavar="N", help="the replay's first N steps only")
    parser.add_argument("--self-test", action="store_true", help="check this script on cases done by hand")
    arguments = parser.parse_args()
    if arguments.self_test:
        return self_test()
    if arguments.data is None or arguments.trades is None or arguments.key is None:
        parser.error("give DATA_DIR, TRADES.csv and --key, or --self-test")
    if arguments.steps is not None and arguments.steps < 1:
        parser.error("--steps must be at least 1")
    try:
        result, sums, terms = verify(arguments.data, arguments.trades, arguments.key, arguments.steps)
    except (Refused, OSError, EOFError, UnicodeDecodeError, zlib.error, csv.Error, KeyError) as error:
        print(f"cannot compare: {error!r}" if isinstance(error, KeyError) else f"cannot compare: {error}")
        print("0 passed, 1 failed")
        return False
    for line in result.lines:
        print(line)
    print(f"{terms.mechanism}, policy {terms.policy}: {sums.volume} Wh traded, welfare {sums.welfare}; of {sums.generated} Wh generated "
          f"and {sums.consumed} Wh consumed {sums.covered[0]} covered alone, {sums.covered[1]} by the key, {sums.covered[2]} after "
          f"trading; owed to the outer grid {sums.owed[0]}, {sums.owed[1]}, {sums.owed[2]}")
    print(f"{result.compared} figures compared, {result.differing} differ")
    is_equal = result.differing == 0
    print("1 passed, 0 failed" if is_equal else "0 passed, 1 failed")
    return is_equal


if __name__ == "__main__":
    sys.exit(0 if main() else 1)
