#!/usr/bin/env python3
"""Recomputes every auction from what a chain tells, with nothing of the chain's own code.

    verify_auction.py FILE             a story: cargo run -p commonwatt-rpc --example auction_story -- 1000 > FILE
    verify_auction.py --rpc URL        a running node, for example http://127.0.0.1:9944
    verify_auction.py FILE --odds      also: do winners come as often as the rule says, and not as the other rule does?
    verify_auction.py FILE --self-test also: is each of several forgeries of that story found?

Recomputed for each height: who may be ranked and who is excluded, age and reputation of each, wealth, the draw, the order,
winner and author, pot, burned and returned bids; from a story also the beacon's chain, the bids' way into the auction,
delivery scores from declarations and readings, and every validator's tokens, with penalties, to the last one. Of a node
reputation is recomputed where the community chose "blocks-created". The order is computed with 60 decimal digits, not with
the chain's integers.

Not checked: the proofs behind the beacon's outputs, and whether a bid kept to its bounds. Of a node also who bid what, and
the evidence against who is excluded for contradicting itself; that is said where it occurs.

Odds are compared for each height's own candidates, after exclusion: those who bid, and those who did not and are drawn
after them as a fallback. For each place in the order of wealth, wins are compared with the sum of that place's exact
probabilities; all places of both draws together give one chi-squared, of which p is the tail.
"""

import argparse
import json
import math
import sys
import urllib.request
from collections import defaultdict, deque
from decimal import Decimal, getcontext
from fractions import Fraction
from hashlib import blake2b

getcontext().prec = 60
BASE58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
# From so many validators up nobody makes two blocks in a row.
TOLERANT = 4
U16_MAX = 65_535
WHOLE = 2**256
# A delivery score of one.
MILLION = 1_000_000
# p below which a rule is rejected.
SIGNIFICANCE = 0.01


class Wrong(Exception):
    """What the chain says is not what comes out."""


class TooFew(Exception):
    """Nothing is wrong, but nothing is shown either."""


def ensure(condition, height, text):
    if not condition:
        raise Wrong(f"height {height}: {text}")


def account_bytes(address):
    """The 32 bytes of an SS58 address of this chain, whose prefix is one byte."""
    number = 0
    for character in address:
        number = number * 58 + BASE58.index(character)
    raw = number.to_bytes(35, "big")
    check = blake2b(b"SS58PRE" + raw[:33]).digest()[:2]
    if raw[33:] != check:
        raise Wrong(f"{address} is no address")
    return raw[1:33]


def unhex(text):
    return bytes.fromhex(text.removeprefix("0x"))


def hash_of(*parts):
    return blake2b(b"".join(parts), digest_size=32).digest()


def wealth_of(candidates, weights):
    """Exact fractions; a criterion whose sum is zero counts 1/n."""
    count = len(candidates)
    sums = [sum(criteria[index] for criteria in candidates) for index in range(3)]

    def share(criteria, index):
        return Fraction(criteria[index], sums[index]) if sums[index] else Fraction(1, count)

    return [
        sum(weight * share(criteria, index) for index, weight in enumerate(weights))
        for criteria in candidates
    ]


def denominator_of(candidates):
    """What the chain's numerators have in common."""
    count = len(candidates)
    product = 1
    for index in range(3):
        product *= sum(criteria[index] for criteria in candidates) or count
    return product


def sort_key(rule, wealth, draw, reputation, account):
    chance = Decimal(draw + 1) / Decimal(WHOLE)
    exact = Decimal(wealth.numerator) / Decimal(wealth.denominator)
    if rule == "ratio":
        return (-exact / chance, account)
    if rule == "proportional":
        if wealth == 0:
            return (1, Decimal(0), account)
        return (0, -chance.ln() / exact, account)
    return (-reputation, draw, account)


class History:
    """What the blocks so far say about ages and reputations."""

    def __init__(self, rules):
        self.rules = rules["reputation"]
        self.window = self.rules["reputationWindow"]
        self.turns = deque()
        self.authored = defaultdict(int)
        self.missed = defaultdict(int)
        self.last = {}
        self.author_before = None
        self.height = 0
        self.declarations = {}
        self.deliveries = {}
        self.scores = defaultdict(int)

    def add(self, height, author, missed):
        self.turns.append((height, author, missed))
        self.authored[author] += 1
        for who in missed:
            self.missed[who] += 1
        while self.turns[0][0] + self.window <= height:
            _, former, missers = self.turns.popleft()
            self.authored[former] -= 1
            for who in missers:
                self.missed[who] -= 1
        self.last[author] = height
        self.author_before = author
        self.height = height

    def deliver(self, declared, delivered):
        """Takes what a block tells of its step; where a period ends with it, its declarations are evaluated."""
        length = self.rules["period"]
        for one in declared:
            self.declarations[one["period"], one["account"]] = one["steps"]
        for who, amounts in delivered.items():
            self.deliveries[self.height, who] = amounts
        if self.height % length:
            return
        over = self.height // length - 1
        for period, who in [key for key in self.declarations if key[0] == over]:
            said = self.declarations.pop((period, who))
            promised = missed = 0
            for step, (used, offered) in enumerate(said, period * length + 1):
                real_used, real_offered = self.deliveries.get((step, who), (0, 0))
                promised += used + offered
                missed += abs(used - real_used) + abs(offered - real_offered)
            # Rounded up, against the member; who promised nothing keeps its score.
            deviation = -(-missed * MILLION // promised) if promised else MILLION
            grown = max(0, self.scores[who] + MILLION - deviation)
            self.scores[who] = min(grown, self.ceiling(who))
        for key in [key for key in self.deliveries if key[0] <= self.height]:
            del self.deliveries[key]

    def ceiling(self, who):
        """What no delivery score exceeds: τ and the age of the last block; those who never validate have none."""
        age = self.height - self.last[who] if who in self.last else 0
        return (self.rules["tau"] + age) * MILLION

    def reputation(self, who):
        if self.rules["measure"] == "blocks-created":
            return max(0, self.authored[who] - self.missed[who])
        return min(self.scores[who], self.ceiling(who)) * 100 // MILLION

    def age(self, who, height):
        return min(height - self.last[who], U16_MAX)


def verify_ranking(auction, history, validators, rules, owned, convicted=None):
    """Who is ranked, with which criteria, in which order; returns bidders and others, each with its wealth, in order.

    Without `owned` it is not known what everybody has, nor what was declared; without `convicted` who was convicted of
    contradicting itself and who left the set is taken from the auction.
    """
    height = auction["height"]
    said = auction["ranking"]
    bidders = auction["bidders"]
    offered = {one["account"]: int(one["offered"]) for one in said + auction["excluded"]}
    equivocators = {
        one["account"] for one in auction["excluded"] if one["reason"] == "equivocated"
    }
    left = {one["account"] for one in auction["excluded"] if one["reason"] == "leftTheSet"}
    ensure(not left & set(validators), height, "a validator is said to have left the set")
    if convicted is not None:
        ensure(equivocators == convicted, height, "who is excluded for contradicting itself")
        ensure(not left, height, "nobody has left the set")
    eligible = set(validators) - equivocators or set(validators)
    before = history.author_before
    excluded = set()
    if len(validators) >= TOLERANT and len(eligible) > 1 and before in eligible:
        eligible.remove(before)
        excluded = {before}
    said_excluded = {
        one["account"] for one in auction["excluded"] if one["reason"] == "authoredBefore"
    }
    ensure(said_excluded == excluded, height, "who is excluded as the last author")
    ensure({one["account"] for one in said} == eligible, height, "who is ranked")
    ensure(len(said) == len(eligible), height, "somebody is ranked twice")
    ensure(
        sorted(one["account"] for one in said[:bidders])
        == sorted(who for who in eligible if offered[who] > 0),
        height,
        "who counts as a bidder",
    )

    before_hash = unhex(auction["before"])
    groups = []
    for is_bidding, group in ((True, said[:bidders]), (False, said[bidders:])):
        for one in group:
            who = one["account"]
            stake = offered[who] if is_bidding else 0
            if is_bidding and rules["mining"]["basis"] == "owned" and owned is not None:
                stake = owned[who]
            if rules["mining"]["basis"] == "offered" or owned is not None:
                ensure(int(one["stake"]) == stake, height, f"the stake of {who}")
            ensure(one["age"] == history.age(who, height), height, f"the age of {who}")
            if rules["reputation"]["measure"] == "blocks-created" or owned is not None:
                expected = history.reputation(who)
                ensure(one["reputation"] == expected, height, f"the reputation of {who}")
            draw = hash_of(
                b"commonwatt/draw/1", before_hash, height.to_bytes(4, "little"), account_bytes(who)
            )
            ensure(unhex(one["draw"]) == draw, height, f"the draw of {who}")
        terms = auction["weights"]
        weights = (terms["alpha"] if is_bidding else 0, terms["beta"], terms["gamma"])
        criteria = [(int(one["stake"]), one["age"], one["reputation"]) for one in group]
        wealth = wealth_of(criteria, weights)
        common = denominator_of(criteria)
        for one, part in zip(group, wealth):
            ensure(int(one["wealth"]) == part * common, height, f"the wealth of {one['account']}")
        keys = [
            sort_key(
                auction["rule"],
                part,
                int.from_bytes(unhex(one["draw"]), "big"),
                one["reputation"],
                account_bytes(one["account"]),
            )
            for one, part in zip(group, wealth)
        ]
        ensure(keys == sorted(keys), height, "the order of the ranking")
        total = int(auction["biddersWealth" if is_bidding else "othersWealth"])
        ensure(total == sum(wealth) * common, height, "the sum of wealth")
        groups.append(list(zip([one["account"] for one in group], wealth)))
    return groups


def verify_outcome(auction, outcome):
    """Pot, burned and returned; returns what each validator gets, and whose turns passed."""
    height = auction["height"]
    ranking = auction["ranking"]
    rank = outcome["authorRank"]
    author = outcome["author"]
    ensure(rank < len(ranking) and ranking[rank]["account"] == author, height, "the author's rank")
    pot = burned = returned = 0
    gains = defaultdict(int)
    for place, one in enumerate(ranking):
        amount = int(one["offered"])
        if rank < auction["bidders"]:
            pot += amount
        elif place < rank and not outcome["isLate"]:
            burned += amount
        else:
            returned += amount
            gains[one["account"]] += amount
    for one in auction["excluded"]:
        returned += int(one["offered"])
        gains[one["account"]] += int(one["offered"])
    gains[author] += pot
    said = [int(outcome[name]) for name in ("pot", "burned", "returned")]
    ensure(said == [pot, burned, returned], height, f"pot, burned, returned: {said}")
    is_silent = auction["isVoid"] or outcome["isLate"]
    missed = [] if is_silent else [one["account"] for one in ranking[:rank]]
    return gains, burned, missed


class Odds:
    """How often the candidate at each place of wealth won, against what a rule gives it.

    Heights are independent given their candidates: the wins less their probabilities have the covariance
    `Σ (diag(p) − p·pᵀ)`, so the squared distance is chi-squared, with one degree less than there are places.
    """

    def __init__(self):
        self.count = 0
        self.wins = []
        self.expected = []
        self.covariance = []

    def add(self, winner, chances):
        self.count += 1
        while len(self.wins) < len(chances):
            self.wins.append(0)
            self.expected.append(0.0)
            for row in self.covariance:
                row.append(0.0)
            self.covariance.append([0.0] * len(self.wins))
        self.wins[winner] += 1
        for place, chance in enumerate(chances):
            self.expected[place] += chance
            for other, others in enumerate(chances):
                self.covariance[place][other] -= chance * others
            self.covariance[place][place] += chance

    def p_value(self):
        """Of all places but the last, which follows from the others."""
        size = len(self.wins) - 1
        rows = [self.covariance[place][:size] for place in range(size)]
        distance = [self.wins[place] - self.expected[place] for place in range(size)]
        squared = sum(a * b for a, b in zip(distance, solve(rows, distance)))
        return squared, size, chi_squared_tail(squared, size)


def solve(rows, right):
    """Gauss: the matrix is a covariance, positive definite."""
    rows = [row + [value] for row, value in zip(rows, right)]
    size = len(rows)
    for column in range(size):
        pivot = max(range(column, size), key=lambda index: abs(rows[index][column]))
        rows[column], rows[pivot] = rows[pivot], rows[column]
        for index in range(size):
            if index != column:
                factor = rows[index][column] / rows[column][column]
                rows[index] = [a - factor * b for a, b in zip(rows[index], rows[column])]
    return [row[size] / row[index] for index, row in enumerate(rows)]


def chi_squared_tail(squared, degrees):
    """P(chi-squared of so many degrees > squared), by the recursion over degrees."""
    half = squared / 2
    tail = math.erfc(math.sqrt(half)) if degrees % 2 else math.exp(-half)
    for step in range(2 - degrees % 2, degrees, 2):
        tail += math.exp(step / 2 * math.log(half) - half - math.lgamma(step / 2 + 1)) if half else 0.0
    return min(1.0, tail)


class Draws:
    """Bidders' and fallback draws, each against both rules."""

    RULES = ("proportional", "ratio")
    GROUPS = ("bidders", "fallback")

    def __init__(self):
        self.odds = {(group, rule): Odds() for group in self.GROUPS for rule in self.RULES}

    def add(self, groups):
        for name, group in zip(self.GROUPS, groups):
            if len(group) < 2:
                continue
            # By wealth, equals by account, lest the order among equals tells who won: the first of the group.
            winner = group[0]
            by_wealth = sorted(group, key=lambda one: (-one[1], one[0]))
            parts = [float(part) for _, part in by_wealth]
            chances = {
                "proportional": [part / sum(parts) for part in parts],
                "ratio": [
                    ratio_chance(part, parts[:place] + parts[place + 1 :])
                    for place, part in enumerate(parts)
                ],
            }
            for rule in self.RULES:
                self.odds[name, rule].add(by_wealth.index(winner), chances[rule])

    def verify(self, rule):
        if rule not in self.RULES:
            raise Wrong(f"{rule} does not draw by wealth: there are no odds to compare")
        together = {other: [0.0, 0] for other in self.RULES}
        for group in self.GROUPS:
            counted = self.odds[group, rule]
            if not counted.count:
                raise Wrong(f"there is no height with several {group} candidates")
            print(f"{group}: {counted.count} draws; wins by wealth, the wealthiest first: {counted.wins}")
            for other in self.RULES:
                odds = self.odds[group, other]
                squared, degrees, p = odds.p_value()
                together[other][0] += squared
                together[other][1] += degrees
                expected = ", ".join(f"{value:.1f}" for value in odds.expected)
                print(f"  {other:<13} expects [{expected}]: chi² = {squared:.1f} of {degrees}, p = {p:.3g}")
        for other, (squared, degrees) in together.items():
            p = chi_squared_tail(squared, degrees)
            print(f"both: {other:<13} chi² = {squared:.1f} of {degrees}, p = {p:.3g}")
            if other == rule and p < SIGNIFICANCE:
                raise Wrong(f"winners do not come as {rule} says")
            if other != rule and p >= SIGNIFICANCE:
                raise TooFew(f"these are too few heights to tell {rule} from {other}: try 1000 or more")


def ratio_chance(own, others):
    """P(own/U is the greatest) = ∫ Π max(0, 1 − u·W_j/W) du; U and U_j uniform on ]0,1]."""
    slopes = [part / own for part in others]
    end = min([1.0] + [1 / slope for slope in slopes if slope > 0])
    polynomial = [1.0]
    for slope in slopes:
        raised = [0.0] + [-slope * factor for factor in polynomial]
        polynomial = [
            (polynomial[power] if power < len(polynomial) else 0.0) + raised[power]
            for power in range(len(raised))
        ]
    return sum(factor * end ** (power + 1) / (power + 1) for power, factor in enumerate(polynomial))


def verify_story(lines, draws):
    blocks = iter(lines)
    beginning = next(blocks)
    rules = beginning["rules"]
    validators = [one["account"] for one in beginning["validators"]]
    members = {one["account"] for one in beginning["validators"] if one["isMember"]}
    free = {one["account"]: int(one["tokens"]) for one in beginning["validators"]}
    history = History(rules)
    history.last = dict.fromkeys(validators, 0)
    lead = rules["mining"]["bidLead"]
    penalty = rules["mining"]["noBidPenalty"]
    issuance = sum(free.values())
    burned_in_all = 0
    books = {}
    seed = unhex(beginning["seed"])
    height = 0
    for told in blocks:
        height += 1
        auction, header = told["auction"], told["header"]
        outcome = auction["outcome"]
        ensure(auction["height"] == height, height, "one line a height")
        ensure(unhex(auction["before"]) == seed, height, "the seed before")
        book = books.pop(height, None)
        is_void = book is None or book["isLate"]
        ensure(auction["isVoid"] == is_void, height, "whether the auction is void")
        offers = book["bids"] if book else {}
        said = {
            one["account"]: int(one["offered"])
            for one in auction["ranking"] + auction["excluded"]
            if int(one["offered"])
        }
        ensure(said == offers, height, "the bids of the auction are those its block took")
        # The ranking was made at the end of the block before, with what everybody had then.
        owned = {
            who: tokens
            + offers.get(who, 0)
            + sum(other["bids"].get(who, 0) for other in books.values())
            for who, tokens in free.items()
        }
        # No block of a story holds evidence, and its set stays.
        draws.add(verify_ranking(auction, history, validators, rules, owned, convicted=set()))
        ensure(header["winner"] == auction["ranking"][0]["account"], height, "the winner")
        ensure(header["author"] == outcome["author"], height, "the author")
        ensure(header["isLate"] == outcome["isLate"], height, "whether the block is late")
        gains, burned, missed = verify_outcome(auction, outcome)
        history.add(height, outcome["author"], missed)
        history.deliver(told["declared"], told["delivered"])
        for who, score in told["scores"].items():
            ensure(score == history.scores[who], height, f"the delivery score of {who}")

        seed = hash_of(b"commonwatt/beacon/1", seed, unhex(told["vrf"]))
        ensure(unhex(told["seed"]) == seed, height, "the seed after")

        bids = {one["account"]: int(one["amount"]) for one in told["bids"]}
        ensure(not (header["isLate"] and bids), height, "a late block takes no bids")
        books[height + lead] = {"bids": bids, "isLate": header["isLate"]}
        for who, amount in bids.items():
            free[who] -= amount
        for who, amount in told["issued"].items():
            free[who] += int(amount)
            issuance += int(amount)
        for who, amount in gains.items():
            free[who] += amount
        if not bids and not header["isLate"]:
            for who in members:
                lost = min(free[who], penalty)
                free[who] -= lost
                burned += lost
        burned_in_all += burned
        issuance -= burned
        ensure(
            {who: int(amount) for who, amount in told["free"].items()} == free,
            height,
            "everybody's tokens",
        )
        escrow = sum(sum(book["bids"].values()) for book in books.values())
        ensure(int(told["escrow"]) == escrow, height, "what is in escrow")
        ensure(int(told["burned"]) == burned_in_all, height, "what was burned in all")
        ensure(int(told["issuance"]) == issuance, height, "all tokens there are")
        ensure(issuance == sum(free.values()) + escrow, height, "tokens are somewhere")
    return height, rules


def read_story(path):
    with open(path, encoding="utf-8") as file:
        number = 0
        for number, line in enumerate(file, 1):
            try:
                yield json.loads(line)
            except json.JSONDecodeError as error:
                raise Wrong(f"line {number} of {path} is no JSON, so the story is cut or no story: {error}") from None
        if not number:
            raise Wrong(f"{path} is empty")


def changed(text):
    """Another hash or another amount."""
    if text.startswith("0x"):
        return text[:-1] + ("0" if text[-1] != "0" else "1")
    return str(int(text) + 1)


def forgeries(blocks):
    """Changes a careless or lying chain could make, each with its name, in the first block that allows it."""

    def first(is_fit):
        return next(block for block in blocks if is_fit(block["auction"]))

    def put(block, name, value):
        block[name] = value

    several = first(lambda auction: auction["bidders"] > 1)
    fallback = first(lambda auction: auction["outcome"]["authorRank"] > 0)
    unbid = first(lambda auction: auction["bidders"] < len(auction["ranking"]) - 1)
    excluding = first(lambda auction: auction["excluded"])
    ranked = several["auction"]["ranking"]
    others = unbid["auction"]["ranking"]
    outcome = several["auction"]["outcome"]
    someone = next(iter(several["free"]))
    yield "two bidders exchanged", lambda: ranked.insert(0, ranked.pop(1))
    yield "two others exchanged", lambda: others.append(others.pop(-2))
    for name in ("offered", "stake", "wealth", "draw"):
        yield name, lambda name=name: put(ranked[0], name, changed(ranked[0][name]))
    for name in ("age", "reputation"):
        yield name, lambda name=name: put(ranked[0], name, ranked[0][name] + 1)
    for name in ("pot", "burned", "returned"):
        yield name, lambda name=name: put(outcome, name, changed(outcome[name]))
    yield "rank", lambda: put(fallback["auction"]["outcome"], "authorRank", 0)
    yield "exclusion", lambda: excluding["auction"]["excluded"].clear()
    yield "an innocent convicted", lambda: convict(unbid["auction"])
    for name in ("seed", "vrf", "escrow", "burned", "issuance"):
        yield name, lambda name=name: put(several, name, changed(several[name]))
    yield "delivery score", lambda: put(several["scores"], someone, several["scores"][someone] + 1)
    yield "balance", lambda: put(several["free"], someone, changed(several["free"][someone]))
    yield "a bid lost", lambda: several["bids"].pop()
    yield "seed before", lambda: put(
        several["auction"], "before", changed(several["auction"]["before"])
    )


def convict(auction):
    """Has the last of those who did not bid excluded as if it had contradicted itself."""
    one = auction["ranking"].pop()
    excluded = {"account": one["account"], "offered": one["offered"], "reason": "equivocated"}
    auction["excluded"].append(excluded)
    auction["othersWealth"] = str(sum(int(other["wealth"]) for other in auction["ranking"][auction["bidders"] :]))


def self_test(lines):
    """Forges the story in many ways; each must be found."""
    text = json.dumps(lines)
    count = len(list(forgeries(lines[1:])))
    for index in range(count):
        forged = json.loads(text)
        name, forge = list(forgeries(forged[1:]))[index]
        forge()
        try:
            verify_story(forged, Draws())
        except Wrong:
            continue
        raise Wrong(f"the forgery {name!r} was not found")
    print(f"all {count} forgeries are found")


class Node:
    """A node asked over JSON-RPC."""

    def __init__(self, url):
        self.url = url

    def ask(self, method, *parameters):
        body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": parameters}
        request = urllib.request.Request(
            self.url, json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=30) as response:
            answer = json.load(response)
        if "error" in answer:
            raise Wrong(f"{method}{parameters}: {answer['error']}")
        return answer["result"]


def verify_node(url, draws):
    node = Node(url)
    at = node.ask("chain_getFinalizedHead")
    best = int(node.ask("chain_getHeader", at)["number"], 16)
    rules = node.ask("auction_rules", at)
    if node.ask("auction_auction", 1, at) is None:
        raise Wrong("the first auctions are no longer kept; ask a younger chain")
    history = History(rules)
    epoch = rules["epochLength"]
    validators = []
    believed = 0
    for height in range(1, best + 1):
        auction = node.ask("auction_auction", height, at)
        if height == 1 or height % epoch == 0:
            there = node.ask("chain_getBlockHash", height)
            validators_now = node.ask("auction_validators", height, there)
            accounts = [one["account"] for one in validators_now]
            for who in accounts:
                if who not in validators:
                    history.last[who] = height - 1
            validators = accounts
        before = node.ask("auction_beacon", height - 1, at)
        ensure(auction["before"] == before, height, "the seed before")
        draws.add(verify_ranking(auction, history, validators, rules, None))
        believed += any(one["reason"] == "equivocated" for one in auction["excluded"])
        _, _, missed = verify_outcome(auction, auction["outcome"])
        history.add(height, auction["outcome"]["author"], missed)
    if believed:
        print(f"at {believed} heights somebody is excluded for contradicting itself, which is taken on the chain's word")
    return best, rules


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", nargs="?", help="a story, as JSON Lines")
    parser.add_argument("--rpc", metavar="URL", help="a running node")
    parser.add_argument("--odds", action="store_true", help="also compare winners with the rule's odds")
    parser.add_argument("--self-test", action="store_true", help="also forge the story, which must be found")
    arguments = parser.parse_args()
    if bool(arguments.file) == bool(arguments.rpc):
        parser.error("name a file, or a node with --rpc")
    if arguments.self_test and not arguments.file:
        parser.error("only a story can be forged")
    draws = Draws()
    try:
        if arguments.file:
            heights, rules = verify_story(read_story(arguments.file), draws)
        else:
            heights, rules = verify_node(arguments.rpc, draws)
        rule = rules["mining"]["rule"]
        measure = rules["reputation"]["measure"]
        print(f"{heights} heights, rule {rule!r}, reputation {measure!r}: everything comes out as the chain says")
        if arguments.odds:
            draws.verify(rule)
        if arguments.self_test:
            self_test(list(read_story(arguments.file)))
    except Wrong as wrong:
        sys.exit(f"wrong: {wrong}")
    except TooFew as few:
        sys.exit(str(few))
    except OSError as error:
        sys.exit(f"{arguments.file or arguments.rpc} cannot be read: {error}")


if __name__ == "__main__":
    main()
