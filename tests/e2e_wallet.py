#!/usr/bin/env python3
"""The wallet as a member uses it, against a development node: accounts, coins, orders, what becomes of them, and what is refused.

    e2e_wallet.py BINARY

Python's standard library only. Prints what it checks and the plain closing line.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile

PATIENCE_S = 180
STEP_MS = "3000"
# A household that has more than 250 Wh left in each of the chain's first 39 steps, which are a summer's day.
SELLER = "//member//p30"


class Node:
    """A development node whose members do not trade by themselves."""

    def __init__(self, binary, base):
        command = [binary, "dev", "--base-path", base, "--rpc-port", "0", "--step-ms", STEP_MS, "--trade", "off"]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        # Nothing waits for ever: a node that says nothing is ended, which ends the reading too.
        signal.alarm(PATIENCE_S)
        self.url = None
        for line in self.process.stdout:
            if "JSON-RPC" in line:
                self.url = line.split()[1]
            if "stop with Ctrl-C" in line:
                break
        signal.alarm(0)
        assert self.url, "the node did not start: " + self.process.stderr.read()

    def stop(self):
        """Ends the node as a supervisor does."""
        self.process.send_signal(signal.SIGTERM)
        _, said = self.process.communicate(timeout=PATIENCE_S)
        assert self.process.returncode == 0 and "panicked" not in said, said

    def kill(self):
        """Makes sure that nothing is left running."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()


class Wallet:
    """The wallet's commands, with one folder and one node."""

    def __init__(self, binary, base, url):
        self.binary, self.base, self.url = binary, base, url
        self.folder = os.path.join(base, "wallet")
        self.password = self.secret("password", "a long password\n")

    def secret(self, name, text):
        """Returns a file that only its owner can read."""
        path = os.path.join(self.base, name)
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            file.write(text)
        return path

    def run(self, *words):
        """Runs a command; returns its exit status, its answer and its notes."""
        done = subprocess.run([self.binary, "wallet", *words], capture_output=True, text=True, timeout=PATIENCE_S,
                              stdin=subprocess.DEVNULL)
        assert "panicked" not in done.stderr, done.stderr
        return done.returncode, done.stdout, done.stderr

    def ok(self, *words):
        status, out, notes = self.run(*words)
        assert status == 0, (words, notes)
        return out

    def json(self, *words):
        return json.loads(self.ok(*words, "--json"))

    def refused(self, *words):
        """Returns what a command says that does not do what was asked."""
        status, out, notes = self.run(*words)
        assert status != 0 and "\nerror: " in "\n" + notes.lower(), (words, status, out, notes)
        return notes

    def keep(self):
        return ["--wallet", self.folder]

    def node(self):
        return ["--url", self.url]

    def member(self, suri):
        """Whom a command is for: a public development key."""
        return [*self.node(), "--suri", suri]

    def account(self, name):
        """Whom a command is for: an account of the wallet, with its password."""
        return [*self.node(), *self.keep(), "--account", name, "--password-file", self.password]

    def coins(self, who):
        return int(self.json("balance", *who, "--steps", "0")["member"]["coins"])


def contains(text, *parts):
    for part in parts:
        assert part in text, f"{part!r} is missing: {text}"


def accounts_are_kept(wallet):
    made = wallet.json("create", "anna", *wallet.keep(), "--password-file", wallet.password)
    assert len(made["secretPhrase"].split()) == 12 and made["scheme"] == "ed25519", made
    phrase = os.path.join(wallet.base, "phrase")
    out = wallet.ok("create", "ben", *wallet.keep(), "--password-file", wallet.password, "--scheme", "sr25519",
                    "--phrase-file", phrase)
    with open(phrase) as file:
        words = file.read()
    assert len(words.split()) == 12 and words not in out
    charlie = wallet.secret("charlie", "//Charlie\n")
    wallet.ok("import", "charlie", charlie, *wallet.keep(), "--password-file", wallet.password)
    names = {account["name"]: account for account in wallet.json("list", *wallet.keep())}
    assert sorted(names) == ["anna", "ben", "charlie"], names
    assert names["anna"]["address"] == made["address"] and names["ben"]["scheme"] == "sr25519"
    assert all(os.stat(account["file"]).st_mode & 0o077 == 0 for account in names.values())
    contains(wallet.ok("list", *wallet.keep()), "anna", made["address"])

    exported = os.path.join(wallet.base, "ben.json")
    other = wallet.secret("other password", "another one")
    wallet.ok("export", *wallet.keep(), "--account", "ben", "--password-file", wallet.password, "--new-password-file", other,
              "--output", exported)
    with open(exported) as file:
        held = json.load(file)
    assert held["encoding"] == {"content": ["pkcs8", "sr25519"], "type": ["scrypt", "xsalsa20-poly1305"], "version": "3"}
    second = ["--wallet", os.path.join(wallet.base, "second")]
    back = wallet.json("import", "ben-again", exported, *second, "--password-file", other)
    assert back["address"] == names["ben"]["address"] == held["address"]

    contains(wallet.refused("export", *second, "--password-file", wallet.password), "does not open")
    contains(wallet.refused("create", "anna", *wallet.keep(), "--password-file", wallet.password), "exists already")
    contains(wallet.refused("create", "../x", *wallet.keep()), "a name has")
    contains(wallet.refused("create", "dora", *wallet.keep()), "--password-file")
    contains(wallet.refused("balance", *wallet.node(), *wallet.keep()), "several accounts", "--account")
    shown = wallet.json("chain", *wallet.node(), *wallet.keep())
    assert shown["account"] is None and shown["tariff"]["buy"] == "9" and shown["timing"]["stepMs"] == int(STEP_MS), shown
    os.mkfifo(os.path.join(wallet.folder, "pipe.json"), 0o600)
    status, out, notes = wallet.run("list", *wallet.keep())
    assert status == 0 and "anna" in out, notes
    contains(notes, "Warning", "pipe.json is not a file")
    contains(wallet.ok("balance", *wallet.node(), *wallet.keep(), "--account", "anna", "--steps", "0"), made["address"])
    os.remove(os.path.join(wallet.folder, "pipe.json"))
    full = os.open("/dev/full", os.O_WRONLY)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for output in (full, nowhere):
        words = [wallet.binary, "wallet", "create", "dora", *wallet.keep(), "--password-file", wallet.password]
        done = subprocess.run(words, stdout=output, stderr=subprocess.PIPE, text=True, timeout=PATIENCE_S)
        os.close(output)
        assert done.returncode != 0, done
        contains(done.stderr, "no account was kept")
    assert not os.path.exists(os.path.join(wallet.folder, "dora.json"))


def coins_arrive_to_the_smallest(wallet):
    charlie = wallet.account("charlie")
    anna = [*wallet.node(), *wallet.keep(), "--account", "anna"]
    before = wallet.coins(charlie[:6])
    assert wallet.coins(anna) == 0
    contains(wallet.refused("transfer", "anna", "7.25", *charlie), "not registered", "--unregistered")
    assert wallet.coins(anna) == 0
    contains(wallet.ok("transfer", "anna", "7.25", "--unregistered", *charlie), "7.25 CWC went to")
    wallet.ok("transfer", "anna", "3uCWC", "--unregistered", *charlie)
    assert wallet.coins(anna) == 7_250_003
    # Within the quota a transaction costs nothing.
    assert wallet.coins(charlie[:6]) == before - 7_250_003
    contains(wallet.ok("balance", *anna), "7.250003 CWC free", "not registered", "voting tokens  0")
    contains(wallet.refused("transfer", "anna", "0.0000005", *charlie), "0 CWC and 1 uCWC")
    contains(wallet.refused("transfer", "anna", "99999999", *charlie), "can send", "were to be sent", "nothing was sent")
    contains(wallet.refused("transfer", "anna", "7,25", *charlie), "comma")
    contains(wallet.refused("transfer", "nobody", "1", *charlie), "wallet list")
    dave = wallet.json("chain", *wallet.member("//Dave"))["account"]
    mistyped = dave[:-1] + ("y" if dave.endswith("x") else "x")
    contains(wallet.refused("transfer", mistyped, "1", *charlie), mistyped, "checksum")
    contains(wallet.ok("transfer", dave, "1uCWC", *charlie), "1 uCWC went to " + dave)
    wallet.ok("transfer", "charlie", "1uCWC", *wallet.keep(), *wallet.member("//Dave"))
    contains(wallet.ok("balance", *wallet.member(SELLER)), "role           member", "allocated", "outer grid")


def an_order_is_placed_watched_and_filled(wallet):
    buyer, seller = wallet.account("charlie"), wallet.member(SELLER)
    step = wallet.json("chain", *wallet.node(), *wallet.keep(), "--account", "charlie")["nextStep"] + 6
    watching = subprocess.Popen([wallet.binary, "wallet", "watch", *buyer[:6], "--json", "--steps", "40"],
                                stdout=subprocess.PIPE, text=True)
    try:
        # The last step is told of at once, so from here on nothing is missed.
        signal.alarm(PATIENCE_S)
        assert watching.stdout.readline(), "nothing was told"
        before = wallet.coins(buyer[:6])
        bid = wallet.json("bid", "200Wh", "--limit", "0.0009/kWh", "--step", str(step), *buyer)
        assert bid["order"].startswith(f"{step}-"), bid
        ask = wallet.json("ask", "100Wh", "--limit", "3uCWC", "--step", str(step), *seller)
        mine = wallet.json("orders", *buyer[:6])
        assert mine["held"] == str(20 * 9) and mine["open"][0]["id"] == bid["order"], mine
        assert wallet.coins(buyer[:6]) == before - 180
        contains(wallet.ok("orders", *buyer[:6]), bid["order"], "200Wh", "9 uCWC", "180 uCWC on hold")
        replaced = wallet.json("replace", ask["order"], "--limit", "5uCWC", *seller)
        assert replaced["order"] != ask["order"], replaced
        told = {}
        for line in watching.stdout:
            news = json.loads(line)
            if news.get("closed") == step:
                break
            told.update({kind: what for kind, what in news.items() if kind != "closed" and what["step"] == step})
        signal.alarm(0)
        # A step closes after all that it brought.
        assert sorted(told) == ["clearing", "fill"], told
        fill = told["fill"]
        # What the seller had, at the middle of 9 and 5.
        assert fill and fill["orders"][0]["id"] == bid["order"] and fill["bought"] == 10, fill
        assert int(fill["paid"]) == 70 and wallet.coins(buyer[:6]) == before - 70, fill
        past = wallet.json("orders", *buyer[:6], "--past", "96")
        assert past["held"] == "0" and past["past"][0]["traded"] == 10, past
        history = [entry for entry in wallet.json("history", *wallet.node()) if entry["step"] == step]
        assert history and history[0]["volumeUnits"] == 10 and history[0]["price"] == "7", history
        contains(wallet.ok("history", *wallet.node()), "100 Wh", "7 uCWC")
        trades_are_told_to_both_sides(wallet, step, bid["order"], replaced["order"])
        contains(wallet.ok("balance", *buyer[:6], "--steps", "96"), "100 Wh", "loyalty")
    finally:
        signal.alarm(0)
        watching.terminate()
        watching.wait()


def trades_are_told_to_both_sides(wallet, step, bid, ask):
    """Checks what the two members of a trade of 10 units at 7 see of it, and which generators made it."""
    buyer, seller = wallet.account("charlie")[:6], wallet.member(SELLER)
    period = ["--trades", "--newest", str(step), "--steps", "1"]
    [bought] = wallet.json("history", *buyer, *period)
    [sold] = wallet.json("history", *seller, *period)
    assert bought["trades"] == sold["trades"] and len(bought["trades"]) == 1, (bought, sold)
    trade = bought["trades"][0]
    assert (trade["buyOrder"], trade["sellOrder"], trade["units"], trade["price"]) == (bid, ask, 10, "7"), trade
    assert (bought["step"], bought["bought"], bought["paid"], bought["sold"]) == (step, 10, "70", 0), bought
    assert (sold["sold"], sold["received"], sold["paid"]) == (10, "70", "0"), sold
    made = sum(origin["energy"] for origin in bought["trace"]["boughtFrom"])
    assert made == 100 and bought["trace"]["boughtFromOuterGrid"] == 0, bought
    told = wallet.ok("history", *buyer, *period)
    contains(told, "bought 100 Wh for 70 uCWC, sold 0 Wh", trade["seller"], bid, "7 uCWC", "made by")
    contains(wallet.ok("history", *seller, *period), "sold 100 Wh for 70 uCWC", trade["buyer"], ask)
    contains(wallet.ok("history", *buyer, "--trades", "--newest", "1", "--steps", "1"), "no trades of " + trade["buyer"])
    contains(wallet.refused("history", *seller), "--trades")


def orders_are_taken_back(wallet):
    buyer = wallet.account("charlie")
    before = wallet.coins(buyer[:6])
    bid = wallet.json("bid", "5units", "--limit", "2uCWC/unit", "--step", "+20", *buyer)
    contains(wallet.ok("cancel", bid["order"], *buyer), f"order {bid['order']} is cancelled")
    standing = wallet.json("standing", "buy", "1kWh", "--limit", "1uCWC", "--until", "+90", "--need", *buyer)
    assert standing["order"].startswith("standing-"), standing
    contains(wallet.ok("orders", *buyer[:6]), standing["order"], "need")
    again = wallet.json("replace", standing["order"], "--energy", "2kWh", *buyer)
    wallet.ok("cancel", again["order"], *buyer)
    mine = wallet.json("orders", *buyer[:6])
    assert mine["standing"] == [], mine
    # What stands in the book of the running step stays until that has closed.
    wallet.ok("watch", *wallet.node(), *wallet.keep(), "--account", "charlie", "--steps", "3")
    assert wallet.json("orders", *buyer[:6])["held"] == "0" and wallet.coins(buyer[:6]) == before


def wrong_orders_are_refused_with_a_reason(wallet):
    buyer, dave = wallet.account("charlie"), wallet.member("//Dave")
    far = ["--step", "+30"]
    # 100 000 units at 99 999 coins.
    contains(wallet.refused("bid", "1MWh", "--limit", "99999", "--beyond-tariff", *far, *dave), "NotEnoughCoins", "too few free coins",
             "puts 9999900000 CWC on hold", "CWC are free", "0 CWC on hold")
    contains(wallet.refused("bid", "10Wh", "--limit", "7", *far, *dave), "7 CWC/10Wh", "9 uCWC/10Wh", "--beyond-tariff")
    contains(wallet.refused("ask", "10Wh", "--limit", "1uCWC", *far, *dave), "1 uCWC/10Wh", "2 uCWC/10Wh", "--beyond-tariff")
    contains(wallet.refused("bid", "1,5kWh", "--limit", "1uCWC", *far, *dave), "comma", "point")
    contains(wallet.refused("bid", "1kWh", "--limit", "1uCWC", *far, *wallet.account("anna")), "ask the DSO")
    contains(wallet.refused("bid", "1kWh", "--limit", "1uCWC", "--step", "1", *dave), "GateClosed", "later step")
    contains(wallet.refused("bid", "1kWh", "--limit", "1uCWC", "--step", "+200", *dave), "TooFarAhead")
    contains(wallet.refused("bid", "0kWh", "--limit", "1uCWC", *far, *dave), "nothing")
    contains(wallet.refused("bid", "1kWh", "--limit", "0", *far, *dave), "smallest coin")
    contains(wallet.refused("bid", "255Wh", "--limit", "1uCWC", *far, *dave), "250Wh and 260Wh")
    contains(wallet.refused("ask", "1kWh", "--limit", "0.00005/kWh", *far, *dave), "0 CWC/1kWh and 100 uCWC/1kWh")
    contains(wallet.refused("ask", "1kWh", "--limit", "99999999999999", *far, *dave), "too much")
    contains(wallet.refused("ask", "99999999999kWh", "--limit", "1", *far, *dave), "too much")
    contains(wallet.refused("standing", "sell", "1kWh", "--limit", "1", "--need", *dave), "--need is for purchases")

    chain = wallet.json("chain", *dave)
    step = str(chain["nextStep"] + 40)

    def offline(*words):
        return wallet.ok(*words, "--suri", "//Dave", "--offline", "--genesis", chain["genesis"], "--nonce", str(chain["nonce"]),
                         "--spec-version", str(chain["specVersion"]), "--transaction-version", str(chain["transactionVersion"]),
                         "--era", "64", "--era-block", str(chain["block"]), "--era-hash", chain["blockHash"]).strip()

    wrong_unit = offline("bid", "1kWh", "--limit", "1uCWC", "--step", step, "--unit", "20Wh")
    contains(wallet.refused("submit", wrong_unit, *wallet.node()), "WrongUnit")

    bid = wallet.json("bid", "1kWh", "--limit", "1uCWC", *far, *buyer)["order"]
    contains(wallet.refused("cancel", bid, *dave), "NotYourOrder")
    contains(wallet.refused("bid", "2kWh", "--limit", "1uCWC", "--step", bid.split("-")[0], *buyer), "DuplicateOrder")
    contains(wallet.refused("cancel", f"{step}-999", *buyer), "Order")
    wallet.ok("cancel", bid, *buyer)
    soon = wallet.json("bid", "1kWh", "--limit", "1uCWC", *buyer)["order"]
    wallet.ok("watch", *wallet.node(), *wallet.keep(), "--account", "charlie", "--steps", "3")
    contains(wallet.refused("cancel", soon, *buyer), "GateClosed", "can no longer be cancelled")

    signed = offline("bid", "1kWh", "--limit", "1uCWC", "--step", step)
    contains(wallet.ok("submit", signed, *wallet.node()), "is placed: buy up to 1kWh")
    contains(wallet.refused("submit", signed, *wallet.node()), "already")
    contains(wallet.refused("submit", "0x00", *wallet.node()), "no transaction")
    contains(wallet.refused("chain", *dave, "--genesis", "0x" + "11" * 32), "another chain")
    contains(wallet.refused("chain", "--url", "ws://127.0.0.1:1"), "commonwatt dev")


def it_trades_by_itself(wallet):
    seller = wallet.member(SELLER)
    lines = wallet.ok("auto", *seller, "--strategy", "truthful", "--steps", "2", "--json").splitlines()
    assert len(lines) == 2, lines
    orders = {order["id"]: order for order in wallet.json("orders", *seller)["open"] + wallet.json("orders", *seller)["past"]}
    for line in map(json.loads, lines):
        left = int(line["forecastWh"])
        assert (line["side"], line["limit"]) == (("sell", "2") if left > 0 else ("buy", "9")), line
        assert line["units"] == abs(left) // 10 > 0, line
        assert orders[line["placed"]["order"]]["step"] == line["step"], (line, orders)
    # A standing order comes into the book a block later than it is there.
    standing = wallet.json("standing", "sell", "1kWh", "--limit", "2uCWC", *seller)["order"]
    lines = wallet.ok("auto", *seller, "--strategy", "truthful", "--steps", "2", "--json").splitlines()
    for line in map(json.loads, lines):
        assert line["placed"] is None and line["told"] == f"nothing is ordered: order {standing} is there already", line
    wallet.ok("cancel", standing, *seller)
    dry = wallet.ok("auto", *seller, "--strategy", "shading=20", "--steps", "1", "--dry-run")
    contains(dry, "would ", "forecast", "uCWC/10Wh")
    contains(wallet.refused("auto", *seller, "--strategy", "greedy"), "write truthful")


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    binary = os.path.abspath(sys.argv[1])
    failed = 0
    with tempfile.TemporaryDirectory() as base, tempfile.TemporaryDirectory() as home:
        node = Node(binary, base)
        try:
            wallet = Wallet(binary, home, node.url)
            scenarios = [
                ("accounts are made, kept encrypted, exchanged and listed", accounts_are_kept),
                ("an order is placed, watched and filled", an_order_is_placed_watched_and_filled),
                ("it trades by itself", it_trades_by_itself),
                ("coins arrive to the smallest", coins_arrive_to_the_smallest),
                ("orders are replaced and taken back", orders_are_taken_back),
                ("wrong orders are refused with a reason", wrong_orders_are_refused_with_a_reason),
            ]
            for name, scenario in scenarios:
                try:
                    scenario(wallet)
                    print(f"ok      {name}", flush=True)
                except (AssertionError, OSError, ValueError, KeyError, subprocess.SubprocessError) as error:
                    failed += 1
                    print(f"FAILED  {name}: {error!r}", flush=True)
            node.stop()
        finally:
            node.kill()
    print(f"{len(scenarios) - failed} passed, {failed} failed")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
