#!/usr/bin/env python3
"""Recomputes every auction from what a chain tells, with nothing of the chain's own code.

    verify_auction.py FILE             a story: cargo run -p commonwatt-rpc --example auction_story -- 1000 > FILE
    verify_auction.py --rpc URL        a running node, for example http://127.0.0.1:9944
    verify_auction.py FILE --odds      also: do winners come as often as the rule says, and not as the other rule does?
    verify_auction.py FILE --self-test also: is each of several forgeries of that story found?

Recomputed for each height: who may be ranked and who is excluded, age and reputation of each, wealth, the draw, the order,
winner and author, pot, burned and returned bids; from a story also the beacon's chain, the bids' way into the auction and
every validator's tokens, with penalties, to the last one. Reputation is recomputed where the community chose
"blocks-created". The order is computed with 60 decimal digits, not with the chain's integers.
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


class Wrong(Exception):
    """What the chain says is not what comes out."""


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

    def __init__(self, window):
        self.window = window
        self.turns = deque()
        self.authored = defaultdict(int)
        self.missed = defaultdict(int)
        self.last = {}
        self.author_before = None

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

    def reputation(self, who):
        return max(0, self.authored[who] - self.missed[who])

    def age(self, who, height):
        return min(height - self.last[who], U16_MAX)


def verify_ranking(auction, history, validators, rules, owned):
    """Who is ranked, with which criteria, in which order; returns wealth and draw of each bidder."""
    height = auction["height"]
    said = auction["ranking"]
    bidders = auction["bidders"]
    offered = {one["account"]: int(one["offered"]) for one in said + auction["excluded"]}
    equivocators = {
        one["account"] for one in auction["excluded"] if one["reason"] == "equivocated"
    }
    left = {one["account"] for one in auction["excluded"] if one["reason"] == "leftTheSet"}
    ensure(not left & set(validators), height, "a validator is said to have left the set")
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
            if rules["reputation"]["measure"] == "blocks-created":
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
    return groups[0]


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
    """How often the wealthiest bidder won, against what each rule gives it.

    Heights are independent given what was bid, so the sum of `won − p` has the variance `Σ p·(1 − p)`.
    """

    def __init__(self):
        self.count = 0
        self.deviation = {"proportional": 0.0, "ratio": 0.0}
        self.variance = {"proportional": 0.0, "ratio": 0.0}

    def add(self, bidders):
        if len(bidders) < 2:
            return
        wealthiest = max(range(len(bidders)), key=lambda index: bidders[index][1])
        parts = [float(part) for _, part in bidders]
        own = parts.pop(wealthiest)
        chances = {
            "proportional": own / (own + sum(parts)),
            "ratio": ratio_chance(own, parts),
        }
        won = 1.0 if wealthiest == 0 else 0.0
        self.count += 1
        for rule, chance in chances.items():
            self.deviation[rule] += won - chance
            self.variance[rule] += chance * (1 - chance)

    def p_value(self, rule):
        z = self.deviation[rule] / math.sqrt(self.variance[rule])
        return z, math.erfc(abs(z) / math.sqrt(2))

    def verify(self, rule):
        other = {"proportional": "ratio", "ratio": "proportional"}.get(rule)
        if other is None:
            raise Wrong(f"{rule} does not draw by wealth: there are no odds to compare")
        if not self.count:
            raise Wrong("there is no height with several bidders")
        (z, p), (other_z, other_p) = self.p_value(rule), self.p_value(other)
        print(f"{self.count} heights with several bidders; the wealthiest won as often as")
        print(f"  {rule:<13} says: z = {z:+.2f}, p = {p:.3g}")
        print(f"  {other:<13} says: z = {other_z:+.2f}, p = {other_p:.3g}")
        if p < 0.01:
            raise Wrong(f"winners do not come as {rule} says")
        if other_p >= 0.01:
            raise Wrong(f"too few heights to tell {rule} from {other}")


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


def verify_story(lines, odds):
    beginning, *blocks = lines
    rules = beginning["rules"]
    validators = [one["account"] for one in beginning["validators"]]
    members = {one["account"] for one in beginning["validators"] if one["isMember"]}
    free = {one["account"]: int(one["tokens"]) for one in beginning["validators"]}
    history = History(rules["reputation"]["reputationWindow"])
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
        bidders = verify_ranking(auction, history, validators, rules, owned)
        odds.add(bidders)
        ensure(header["winner"] == auction["ranking"][0]["account"], height, "the winner")
        ensure(header["author"] == outcome["author"], height, "the author")
        ensure(header["isLate"] == outcome["isLate"], height, "whether the block is late")
        gains, burned, missed = verify_outcome(auction, outcome)
        history.add(height, outcome["author"], missed)

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
        return [json.loads(line) for line in file]


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
    for name in ("seed", "vrf", "escrow", "burned", "issuance"):
        yield name, lambda name=name: put(several, name, changed(several[name]))
    yield "balance", lambda: put(several["free"], someone, changed(several["free"][someone]))
    yield "a bid lost", lambda: several["bids"].pop()
    yield "seed before", lambda: put(
        several["auction"], "before", changed(several["auction"]["before"])
    )


def self_test(lines):
    """Forges the story in many ways; each must be found."""
    text = json.dumps(lines)
    count = len(list(forgeries(lines[1:])))
    for index in range(count):
        forged = json.loads(text)
        name, forge = list(forgeries(forged[1:]))[index]
        forge()
        try:
            verify_story(forged, Odds())
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


def verify_node(url, odds):
    node = Node(url)
    at = node.ask("chain_getFinalizedHead")
    best = int(node.ask("chain_getHeader", at)["number"], 16)
    rules = node.ask("auction_rules", at)
    if node.ask("auction_auction", 1, at) is None:
        raise Wrong("the first auctions are no longer kept; ask a younger chain")
    history = History(rules["reputation"]["reputationWindow"])
    epoch = rules["epochLength"]
    validators = []
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
        odds.add(verify_ranking(auction, history, validators, rules, None))
        _, _, missed = verify_outcome(auction, auction["outcome"])
        history.add(height, auction["outcome"]["author"], missed)
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
    odds = Odds()
    try:
        if arguments.file:
            lines = read_story(arguments.file)
            heights, rules = verify_story(lines, odds)
        else:
            heights, rules = verify_node(arguments.rpc, odds)
        rule = rules["mining"]["rule"]
        print(f"{heights} heights by the rule {rule!r}: everything comes out as the chain says")
        if arguments.odds:
            odds.verify(rule)
        if arguments.self_test:
            self_test(lines)
    except Wrong as wrong:
        sys.exit(f"wrong: {wrong}")
    except OSError as error:
        sys.exit(f"{arguments.file or arguments.rpc} cannot be read: {error}")


if __name__ == "__main__":
    main()
