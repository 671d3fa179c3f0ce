#!/usr/bin/env python3
"""What no decent client says to a node, and whether the node minds.

    hostile_rpc.py BINARY [--attack NAME]...

Every request must get an error of its kind, the node's memory must stay within a bound, and every block must come before its
successor's step has closed. Python's standard library only. Ends with `N passed, N failed`, which counts attacks.
"""

import argparse
import json
import os
import random
import resource
import socket
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections import Counter

from node_process import Node
from wire import Closed, TEXT, WebSocket, address_of, http, pieces

STEP_MS = 2_000
# The most memory the node may ever have used, whatever was done to it.
PEAK_MIB_MAX = 1_024
# The node's own bounds, as far as a client sees them.
REQUEST_BYTES_MAX = 8 * 1024 * 1024
BATCH_MAX = 256
SUBSCRIPTIONS_MAX = 1_024
CONNECTIONS_MAX = 100
CALL_BYTES_MAX = 1024 * 1024
KEYS_MAX = 4_096
# How long a client with good manners may have to wait until it is let in again.
LET_IN_S = 60
SEED = 20_26
# Connections that ask side by side.
CALLERS = 4
# How long to wait for news that must come; a bound on how far an attack may delay them.
PATIENCE_S = 60

HUGE_BYTES = 100 * 1024 * 1024
PARSE, INVALID_REQUEST, NO_METHOD, WRONG_PARAMS, INTERNAL = -32700, -32600, -32601, -32602, -32603
# Subscriptions that the node keeps in all.
SUBSCRIPTIONS_OF_NODE_MAX = 8_192
TOO_MANY_SUBSCRIPTIONS, TOO_BIG, BATCH_TOO_LARGE, BUSY = -32006, -32007, -32010, -32000
TOO_MANY, STATE = 4002, 4003
INVALID_TRANSACTION, UNKNOWN_TRANSACTION, BANNED = 1010, 1011, 1012


def request(method, params=(), number=1):
    return json.dumps({"jsonrpc": "2.0", "id": number, "method": method, "params": params}).encode()


def hexadecimal(data):
    return "0x" + data.hex()


def code_of(answer):
    assert isinstance(answer, dict) and "error" in answer, f"no error but {str(answer)[:200]}"
    return answer["error"]["code"]


def expect(answer, *codes):
    code = code_of(answer)
    assert code in codes, f"{code} instead of {codes}: {str(answer)[:300]}"


class Watch:
    """A process of its own that follows the heads and notes when they came."""

    def __init__(self, url):
        self.process = subprocess.Popen([sys.executable, __file__, "--watch", url], stdin=subprocess.DEVNULL,
                                        stdout=subprocess.PIPE, text=True)
        self.blocks = []
        self.came = threading.Condition()
        self.timing = json.loads(self.process.stdout.readline())
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        for line in self.process.stdout:
            with self.came:
                self.blocks.append(json.loads(line))
                self.came.notify_all()
        with self.came:
            self.blocks.append(None)
            self.came.notify_all()

    def next_blocks(self, since, more=1):
        """Returns the blocks from index `since` on, once `more` were begun and made from now on."""
        with self.came:
            count = len(self.blocks)
            came = self.came.wait_for(lambda: None in self.blocks or len(self.blocks) > count + more, PATIENCE_S)
            blocks = self.blocks[since:]
        assert None not in blocks, "a client that only follows heads lost its subscription"
        assert came, f"no block was heard of for {PATIENCE_S} s"
        return blocks

    def due_ms(self, step):
        """When the block of a step is to be made."""
        return self.timing["genesisMs"] + step * self.timing["stepMs"] + self.timing["settleDelayMs"]


def watch(url):
    """The process of a `Watch`."""
    with WebSocket(url) as heads:
        timing = heads.request("energy_timing")["result"]
        print(json.dumps(timing), flush=True)
        heads.request("chain_subscribeNewHeads")
        while True:
            message = json.loads(heads.receive(PATIENCE_S))
            if message.get("method") == "chain_newHead":
                number = int(message["params"]["result"]["number"], 16)
                print(json.dumps({"number": number, "at": int(time.time() * 1_000)}), flush=True)


# ---------------------------------------------------------------- attacks


class Attacks:
    """Each method is an attack on a running node."""

    def __init__(self, node, heads):
        self.node = node
        self.heads = heads
        self.url = node.url
        self.random = random.Random(SEED)
        self.genesis = self.ask("chain_getBlockHash", [0])["result"]

    def ask(self, method, params=()):
        with WebSocket(self.url) as client:
            return client.request(method, params)

    # ------------------------------------------------ what is no request

    def malformed_requests(self):
        """invalid JSON, and JSON that is no request"""
        nested = b"[" * 100_000 + b"]" * 100_000
        bodies = [
            (b"{", PARSE), (b"nonsense", PARSE), (b"", PARSE), (b"null", PARSE), (b"42", PARSE), (b'"text"', PARSE), (b"\0" * 10, PARSE),
            (b"\xff\xfe", PARSE), (request("system_name") + b" x", PARSE), (b"[", PARSE), (b"[{]", PARSE),
            (b"[" * 1_000_000, PARSE), (b'{"a":' * 200_000, PARSE), (b"[]", INVALID_REQUEST), (b"{}", INVALID_REQUEST),
            (b'{"jsonrpc":"1.0","id":1,"method":"system_name"}', INVALID_REQUEST), (b'{"jsonrpc":"2.0","id":1}', INVALID_REQUEST),
            (b'{"id":1,"method":"system_name"}', INVALID_REQUEST), (b'{"jsonrpc":"2.0","id":1,"method":7}', INVALID_REQUEST),
            (b'{"jsonrpc":"2.0","id":1,"method":"\xff\xfe"}', INVALID_REQUEST),
            (b'{"jsonrpc":"2.0","id":1,"method":"state_getStorage","params":' + nested + b"}", WRONG_PARAMS),
            (b'{"jsonrpc":"2.0","id":1,"method":"chain_getBlockHash","params":[1e400]}', WRONG_PARAMS),
            (request("no_such_method"), NO_METHOD), (request("a" * 1_000_000), NO_METHOD), (request(""), NO_METHOD),
        ]
        with WebSocket(self.url) as client:
            for body, code in bodies:
                # What is JSON but no request at all may also be called unparseable.
                codes = (code, PARSE) if code == INVALID_REQUEST else (code,)
                status, answer = http(self.url, body)
                assert status in (200, 400), f"status {status} for {body[:80]}"
                expect(json.loads(answer), *codes)
                client.send(body)
                expect(json.loads(client.receive()), *codes)
            assert "result" in client.request("system_name"), "the connection lives on"

    def impossible_ids(self):
        """requests whose id is none"""
        for number in (b"{}", b"[1]", b"true", b"[" * 100_000 + b"]" * 100_000, b'1,"id":2'):
            body = b'{"jsonrpc":"2.0","method":"system_name","id":' + number + b"}"
            _, answer = http(self.url, body)
            expect(json.loads(answer), INVALID_REQUEST, PARSE)

    def wrong_types(self):
        """arguments of every wrong kind to every method"""
        methods = self.ask("rpc_methods")["result"]["methods"]
        assert len(methods) > 60, methods
        odd = [
            None, True, -1, 1.5, 1 << 64, 1e300, "", "0x", "0xzz", "0x" + "ff" * 33, "\0", "é" * 1_000, {}, [], [[]], [None], [[[[]]]],
            {"a": {"a": {}}}, "x" * 100_000, [0] * 5_000,
        ]
        calls = [[], {}, None, 7, "text"] + [[value] for value in odd] + [[value, value] for value in odd] + [[value] * 5 for value in odd]
        written = [json.dumps(params) for params in calls]
        codes = []

        def call(method):
            with WebSocket(self.url) as client:
                for number, params in enumerate(calls):
                    client.send(f'{{"jsonrpc":"2.0","id":{number},"method":"{method}","params":{written[number]}}}')
                    answer = client.answer(number)
                    assert ("error" in answer) != ("result" in answer), answer
                    if "error" in answer:
                        code = answer["error"]["code"]
                        codes.append(code)
                        assert code != INTERNAL, f"{method}({str(params)[:80]}): {answer}"
                        assert answer["error"]["message"], answer

        run_together(lambda index: [call(method) for method in methods[index::CALLERS]], CALLERS)
        return f"{len(methods) * len(calls)} calls, errors {dict(sorted(Counter(codes).items()))}"

    def long_batches(self):
        """batches that are too long, or answered at too great length"""
        one = request("system_name")

        def batch(requests):
            status, answer = http(self.url, b"[" + b",".join(requests) + b"]")
            assert status == 200, status
            return json.loads(answer)

        assert len(batch([one] * BATCH_MAX)) == BATCH_MAX
        expect(batch([one] * (BATCH_MAX + 1)), BATCH_TOO_LARGE)
        expect(batch([one] * 100_000), BATCH_TOO_LARGE)
        expect(batch([b"1"] * 100_000), BATCH_TOO_LARGE)
        metadata = batch([request("state_getMetadata")] * BATCH_MAX)
        expect(metadata, -32011)
        with WebSocket(self.url) as client:
            client.send(b"[" + b",".join([one] * (BATCH_MAX + 1)) + b"]")
            expect(json.loads(client.receive()), BATCH_TOO_LARGE)

    # ------------------------------------------------ too much

    def huge_bodies_over_http(self):
        """100 MB over HTTP, announced and not"""
        body = request("system_name", ["a" * HUGE_BYTES])
        status, answer = http(self.url, body)
        assert status == 413, status
        expect(json.loads(answer), TOO_BIG)

        def chunks():
            for piece in pieces(body):
                yield b"%x\r\n" % len(piece) + piece + b"\r\n"
            yield b"0\r\n\r\n"

        status, answer = http(self.url, b"", {"Transfer-Encoding": "chunked"}, stream=chunks())
        assert status == 413, f"status {status}: {answer[:200]}"

    def huge_messages_over_websocket(self):
        """100 MB over WebSocket, in one frame, in many, and as a lie"""
        body = request("system_name", ["a" * HUGE_BYTES])
        with WebSocket(self.url) as client:
            client.send(body)
            expect(json.loads(client.receive()), TOO_BIG)
            assert "result" in client.request("system_name"), "the connection lives on"

        def is_closed(attack):
            with WebSocket(self.url) as client:
                try:
                    attack(client)
                    client.receive()
                except Closed:
                    return True
                return False

        def fragments(client):
            for index, piece in enumerate(pieces(body)):
                client.send_frame(piece, TEXT if index == 0 else 0, final=False)

        assert is_closed(fragments)
        assert is_closed(lambda client: client.send_frame(b"x", length=1 << 62))

    def too_much_asked_for(self):
        """more keys, blocks, bytes than one call gives"""
        key = "0x" + "00" * 100
        for method, params in [
            ("state_getKeysPaged", ["0x", (1 << 32) - 1]), ("state_queryStorageAt", [[key] * (KEYS_MAX + 1)]),
            ("state_getReadProof", [[key] * (KEYS_MAX + 1)]), ("state_subscribeStorage", [[key] * (KEYS_MAX + 1)]),
            ("chain_getBlockHash", [list(range(KEYS_MAX + 1))]),
        ]:
            expect(self.ask(method, params), TOO_MANY)
        for method in ("state_getStorage", "state_getKeysPaged", "state_getReadProof", "state_getStorageSize"):
            long_key = "0x" + "ab" * (REQUEST_BYTES_MAX // 2 - 200)
            params = [[long_key]] if method == "state_getReadProof" else [long_key, 10] if "Paged" in method else [long_key]
            answer = self.ask(method, params)
            assert "result" in answer or code_of(answer) != INTERNAL, str(answer)[:200]
        # Base58 takes time with the square of the length: hours, if the node read it all.
        endless = "x" * (REQUEST_BYTES_MAX - 1_000)
        for method in ("account_nextIndex", "energy_member", "market_orders", "loyalty_get", "auction_bids", "grid_statement"):
            answer = self.ask(method, [endless])
            expect(answer, WRONG_PARAMS)
            assert len(answer["error"]["message"]) < 1_000, "what was wrong is not said back at length"

    def ten_thousand_subscriptions(self):
        """10 000 subscriptions: of one connection, and of ten"""
        with WebSocket(self.url) as client:
            for number in range(10_000):
                client.send(request("chain_subscribeNewHeads", number=number))
            outcomes = {}
            answered = 0
            while answered < 10_000:
                message = json.loads(client.receive())
                if "id" in message:
                    answered += 1
                    outcome = message.get("error", {}).get("code", "accepted")
                    outcomes[outcome] = outcomes.get(outcome, 0) + 1
            assert outcomes == {"accepted": SUBSCRIPTIONS_MAX, TOO_MANY_SUBSCRIPTIONS: 10_000 - SUBSCRIPTIONS_MAX}, outcomes
        clients = [WebSocket(self.url) for _ in range(10)]
        try:
            told, taken = [0] * len(clients), [0] * len(clients)

            def follow(index):
                client, heads = clients[index], {}

                def hear():
                    message = json.loads(client.receive())
                    if message.get("method") == "chain_finalizedHead":
                        subscription = message["params"]["subscription"]
                        heads[subscription] = heads.get(subscription, 0) + 1
                    return message

                for number in range(1_000):
                    client.send(request("chain_subscribeFinalizedHeads", number=number))
                    while "id" not in (message := hear()):
                        pass
                    if "error" in message:
                        assert message["error"]["code"] == TOO_MANY_SUBSCRIPTIONS, message
                    else:
                        taken[index] += 1
                # Until each has heard of three blocks after the one it began with.
                while len(heads) < taken[index] or min(heads.values(), default=4) < 4:
                    hear()
                told[index] = sum(heads.values())

            run_together(follow, len(clients))
            # Those of the client that follows the heads meanwhile count, too.
            assert SUBSCRIPTIONS_OF_NODE_MAX - 10 <= sum(taken) <= SUBSCRIPTIONS_OF_NODE_MAX, taken
            assert sum(told) >= 4 * sum(taken), told
            return f"{sum(taken)} taken, {sum(told)} notifications"
        finally:
            for client in clients:
                client.close()

    # ------------------------------------------------ too many

    def thousand_connections(self):
        """1 000 connections that are held open"""
        clients, refused = [], 0
        try:
            for _ in range(1_000):
                client = WebSocket(self.url)
                if client.status == 101:
                    clients.append(client)
                else:
                    assert client.status == 429, client.status
                    refused += 1
            assert 0 < len(clients) <= CONNECTIONS_MAX, len(clients)
            assert http(self.url, request("system_name"))[0] == 429
            assert all("result" in client.request("system_name") for client in clients), "who is in is served"
        finally:
            for client in clients:
                client.close()
        self.is_let_in()
        return f"{len(clients)} let in, {refused} refused"

    def is_let_in(self):
        """Waits until a client with good manners is served; returns how long that took."""
        began = time.monotonic()
        while time.monotonic() - began < LET_IN_S:
            try:
                if http(self.url, request("system_name"), timeout_s=5)[0] == 200:
                    return time.monotonic() - began
            except (Closed, OSError):
                pass
            # A refusal comes at once; there is nothing to wait for but the next try.
            time.sleep(0.2)
        raise AssertionError(f"nobody else was let in for {LET_IN_S} s")

    def silent_connections(self):
        """1 000 connections that say nothing"""
        return self.hold_connections(b"", None)

    def half_a_handshake(self):
        """1 000 connections that stop in the middle of a handshake"""
        return self.hold_connections(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\nUpgrade: web", None)

    def slow_loris(self):
        """1 000 connections that send a header a second, and never the last"""
        return self.hold_connections(b"POST / HTTP/1.1\r\nHost: 127.0.0.1\r\n", b"X-Later: 1\r\n")

    def slow_bodies(self):
        """1 000 connections that send a byte of the body a second"""
        head = b"POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: 1000000\r\n\r\n{"
        return self.hold_connections(head, b" ")

    def hold_connections(self, first, then):
        """Holds connections open and asks, meanwhile, as a client with good manners."""
        wires = []
        held = threading.Event()

        def trickle():
            while not held.wait(1):
                for wire in wires:
                    try:
                        wire.send(then)
                    except OSError:
                        pass

        try:
            for _ in range(1_000):
                wire = socket.create_connection(address_of(self.url), timeout=30)
                wires.append(wire)
                try:
                    wire.sendall(first)
                except OSError:
                    pass  # refused already
            if then:
                threading.Thread(target=trickle, daemon=True).start()
            took = self.is_let_in()
            return f"another client was let in after {took:.1f} s"
        finally:
            held.set()
            for wire in wires:
                wire.close()

    # ------------------------------------------------ too slow

    def news_nobody_reads(self):
        """60 connections with up to 500 subscriptions each that then read nothing"""
        # Heads, and the events of every block, which are long.
        events = "0x26aa394eea5630e07c48ae0c9558cef780d41e5e16056765bc8461851072c9d7"
        kinds = [("chain_subscribeNewHeads", []), ("state_subscribeStorage", [[events]])]

        until = time.monotonic() + 20
        made = []

        def subscribe(client):
            # In small lots, so that the node is not too busy; the news of the first ones come in between.
            for first in range(0, 500, 10):
                lot = range(first, first + 10)
                for number in lot:
                    client.send(request(*kinds[number % 2], number))
                asked = set(lot)
                while asked and time.monotonic() < until:
                    message = client.receive()
                    if message.startswith(b'{"jsonrpc":"2.0","id":'):
                        asked.remove(json.loads(message)["id"])
                if asked:
                    break
                made.append(len(lot))

        self.never_read(subscribe)
        return f"{sum(made)} subscriptions"

    def answers_nobody_reads(self):
        """60 connections that ask for the metadata 500 times and read nothing"""
        return self.never_read(lambda client: ask_blindly(client, [request("state_getMetadata", number=number) for number in range(500)]))

    def pairs_nobody_reads(self):
        """60 connections that ask for all pairs 100 times and read nothing"""
        return self.never_read(lambda client: ask_blindly(client, [request("state_getPairs", ["0x"], number) for number in range(100)]))

    def never_read(self, begin):
        """Holds connections for several blocks, and reads nothing from them."""
        clients = []
        try:
            for _ in range(60):
                client = WebSocket(self.url)
                assert client.status == 101, client.status
                clients.append(client)
            run_together(lambda index: begin(clients[index]), len(clients))
            self.heads.next_blocks(0, more=10)
        finally:
            for client in clients:
                client.close()

    def expensive_questions(self):
        """50 connections that ask for all pairs and long proofs, again and again"""
        keys = self.ask("state_getKeysPaged", ["0x", 1_000])["result"]
        questions = [
            request("state_getPairs", ["0x"]), request("state_getReadProof", [keys]), request("state_queryStorageAt", [keys]),
            request("state_getStorageSize", ["0x"]), request("state_call", ["Metadata_metadata", "0x"]),
        ]
        until = time.monotonic() + 20
        counts = {}

        def attack(index):
            with WebSocket(self.url) as client:
                number = index
                while time.monotonic() < until:
                    number += 1
                    client.send(questions[number % len(questions)])
                    answer = client.receive()
                    start = answer[:200]
                    outcome = "answered" if b'"result"' in start else code_of(json.loads(answer))
                    counts[outcome] = counts.get(outcome, 0) + 1

        run_together(attack, 50)
        assert counts.get("answered", 0) > 0 and set(counts) <= {"answered", BUSY, TOO_MANY}, counts
        return str(counts)

    # ------------------------------------------------ SCALE

    def nested_calls(self, depth, head=b"\x04"):
        """An extrinsic whose call holds a call, so many times: `utility.batch([…])`."""
        call = b"\x2a\x00\x04" * depth + b"\x00\x00\x00"
        return framed(head + call)

    def bombs(self):
        """Extrinsics that promise or nest more than they should."""
        signed = b"\x84\x00" + bytes(32) + b"\x00" + bytes(64) + b"\x00\x00\x00"
        length = b"\xfe\xff\xff\xff"  # 2^30 − 1, compact
        longest = b"\x13" + b"\xff" * 8  # 2^64 − 1, compact
        yield from (self.nested_calls(depth, head) for depth in (5, 50, 500, 5_000, 100_000) for head in (b"\x04", signed))
        for claim in (length, longest):
            yield framed(b"\x04\x2a\x00" + claim + b"\x00\x00\x00")
            yield framed(b"\x04\x00\x00" + claim)
            yield framed(signed + b"\x15\x01" + claim)
            yield claim + b"\x04\x00\x00\x00"
        # Proxies of proxies, and a multisig of many.
        yield framed(signed + (b"\x2c\x00\x00" + bytes(32) + b"\x00") * 2_000 + b"\x00\x00\x00")
        yield framed(signed + b"\x2b\x01\x02\x00" + b"\x02\x40" + bytes(32 * 4_096))

    def garbage_extrinsics(self):
        """garbage, bombs and giants as extrinsics"""
        tried = 0
        with WebSocket(self.url) as client:
            for extrinsic in [b"", bytes(3 << 20), *self.bombs(), *(self.random.randbytes(self.random.randrange(400)) for _ in range(1_000))]:
                for method in ("author_submitExtrinsic", "author_submitAndWatchExtrinsic"):
                    expect(client.request(method, [hexadecimal(extrinsic)]), INVALID_TRANSACTION, UNKNOWN_TRANSACTION, BANNED)
                    tried += 1
            for extrinsic in self.bombs():
                for method in ("payment_queryInfo", "payment_queryFeeDetails", "system_dryRun"):
                    answer = client.request(method, [hexadecimal(extrinsic)])
                    assert "result" in answer or code_of(answer) in (WRONG_PARAMS, STATE), str(answer)[:300]
                    tried += 1
        return f"{tried} tried"

    def huge_runtime_calls(self):
        """huge, deep and nonsensical arguments of runtime calls"""
        functions = [
            "Core_version", "Core_execute_block", "Core_initialize_block", "Metadata_metadata_at_version", "BlockBuilder_apply_extrinsic",
            "BlockBuilder_check_inherents", "BlockBuilder_inherent_extrinsics", "TaggedTransactionQueue_validate_transaction",
            "AccountNonceApi_account_nonce", "TransactionPaymentApi_query_info", "EnergyApi_trace", "EnergyApi_allocations", "No_such",
        ]
        refused = answered = 0
        with WebSocket(self.url) as client:
            expect(client.request("state_call", ["Core_version", hexadecimal(bytes(CALL_BYTES_MAX + 1))]), WRONG_PARAMS)
            expect(client.request("state_call", ["x" * 1_000_000, "0x"]), STATE, WRONG_PARAMS)
            header = bytes(32) + b"\x04" + bytes(64) + b"\x00"
            arguments = [
                b"", b"\xff" * 100, bytes(CALL_BYTES_MAX), b"\xff" * CALL_BYTES_MAX, header + b"\xfe\xff\xff\xff",
                header + b"\x02\x00\x10\x00" + b"\x10\x04\x00\x00\x00" * 200_000,
                *(b"\x02" + bomb + bytes(32) for bomb in self.bombs()), *(bomb + b"\0\0\0\0" for bomb in self.bombs()),
                *(self.random.randbytes(self.random.randrange(1_000)) for _ in range(50)),
            ]
            for function in functions:
                for argument in arguments:
                    answer = client.request("state_call", [function, hexadecimal(argument[:CALL_BYTES_MAX])])
                    if "result" in answer:
                        answered += 1
                    else:
                        expect(answer, STATE, WRONG_PARAMS)
                        refused += 1
        return f"{refused} refused, {answered} answered"

    # ------------------------------------------------ beneath JSON

    def protocol_abuse(self):
        """broken HTTP and WebSocket"""
        body = request("system_name")
        for status, options in [
            (405, {"method": "GET"}), (405, {"method": "PUT"}), (405, {"method": "DELETE"}), (400, {"method": "\0\1"}),
            (415, {"headers": {"Content-Type": "text/plain"}}), (403, {"headers": {"Host": "evil.example"}}),
            (403, {"headers": {"Origin": "https://evil.example"}}), (431, {"headers": {"X": "a" * 1_000_000}}),
            (431, {"headers": {f"X-{index}": "a" for index in range(1_000)}}), (400, {"headers": {"Content-Length": "-1"}}),
            (400, {"headers": {"Content-Length": "99999999999999999999999"}}),
        ]:
            said, _ = http(self.url, body, **options)
            assert said == status, f"{said} instead of {status} for {str(options)[:80]}"
        for frame in [{"reserved": 0x40}, {"opcode": 3}, {"opcode": 0}, {"opcode": 11}, {"opcode": 8}, {"opcode": 9, "final": False}]:
            with WebSocket(self.url) as client:
                try:
                    client.send_frame(body, **frame)
                    answer = client.receive(5)
                    raise AssertionError(f"{frame} was answered: {answer[:100]}")
                except Closed:
                    pass
        with WebSocket(self.url) as client:
            for _ in range(10_000):
                client.send_frame(b"x" * 125, 9)
            assert "result" in client.request("system_name"), "10 000 pings later"
        for _ in range(200):
            with socket.create_connection(address_of(self.url), timeout=30) as wire:
                try:
                    wire.sendall(self.random.randbytes(2_000))
                    wire.recv(1_000)
                except OSError:
                    pass


def ask_blindly(client, requests):
    """Sends as many requests as the node takes from us without reading an answer."""
    client.wire.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
    client.wire.setblocking(False)
    try:
        for text in requests:
            client.send_frame(text)
    except BlockingIOError:
        pass  # it reads no faster than it answers


def run_together(task, count):
    """Runs `task(0)`, `task(1)`, … side by side; fails when one fails."""
    errors = []

    def attempt(index):
        try:
            task(index)
        except Exception as error:  # told to the caller below
            errors.append(error)

    threads = [threading.Thread(target=attempt, args=(index,)) for index in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


def framed(body):
    """Bytes with their compact length before them."""
    size = len(body)
    if size < 1 << 6:
        return bytes([size << 2]) + body
    if size < 1 << 14:
        return (size << 2 | 1).to_bytes(2, "little") + body
    return (size << 2 | 2).to_bytes(4, "little") + body


ATTACKS = [
    "malformed_requests", "impossible_ids", "wrong_types", "long_batches", "huge_bodies_over_http", "huge_messages_over_websocket",
    "too_much_asked_for", "garbage_extrinsics", "huge_runtime_calls", "protocol_abuse", "ten_thousand_subscriptions", "expensive_questions",
    "thousand_connections", "silent_connections", "half_a_handshake", "slow_loris", "slow_bodies", "news_nobody_reads",
    "answers_nobody_reads", "pairs_nobody_reads",
]


def judge(node, heads, since):
    """Says how the node fared meanwhile; fails when it was not well."""
    blocks = heads.next_blocks(since)
    numbers = [block["number"] for block in blocks]
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers))), f"blocks are missing: {numbers}"
    node.wait_until_made(numbers[-1])
    late = [number for number in numbers if number not in node.made_at]
    # The earlier of two signs: this process may be slow to read the node's line, an attacked node slow to tell the client.
    signs = [min(block["at"], node.made_at.get(block["number"], block["at"])) - heads.due_ms(block["number"]) for block in blocks]
    made = max(signs)
    told = max(block["at"] - heads.due_ms(block["number"]) for block in blocks)
    # All but the timestamp and the validator's bid.
    readings = [node.transactions[number] - 2 for number in numbers if number in node.transactions]
    peak = node.memory_kib("VmHWM") // 1024
    figures = (f"{len(blocks)} blocks, made {made} ms and told {told} ms after their time at most; "
               f"{min(readings, default=0)} readings at least; peak {peak} MiB")
    room = STEP_MS - heads.timing["settleDelayMs"]
    assert not late and made < room, f"blocks came later than the {room} ms until the next step closed, {late} marked late; {figures}"
    assert peak <= PEAK_MIB_MAX, f"more than {PEAK_MIB_MAX} MiB of memory; {figures}"
    return figures


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("binary", metavar="BINARY", nargs="?", help="the node")
    parser.add_argument("--attack", action="append", choices=ATTACKS, help="only this one; may be given several times")
    parser.add_argument("--watch", metavar="URL", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.watch:
        try:
            watch(options.watch)
        except Closed:
            pass  # the node was stopped
        return
    if not options.binary:
        parser.error("give the node's binary")
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    passed = failed = 0
    with tempfile.TemporaryDirectory(prefix="commonwatt-hostile-") as base:
        node = Node(os.path.abspath(options.binary), base, STEP_MS, "--trade", "off")
        heads = Watch(node.url)
        try:
            heads.next_blocks(0)
            before = node.memory_kib("VmRSS") // 1024
            attacks = Attacks(node, heads)
            for name in options.attack or ATTACKS:
                attack = getattr(attacks, name)
                since, began = len(heads.blocks), time.monotonic()
                try:
                    outcome = attack()
                    figures = judge(node, heads, since)
                    passed += 1
                    print(f"ok      {attack.__doc__}: {f'{outcome}; ' if outcome else ''}{figures}; {time.monotonic() - began:.0f} s", flush=True)
                except Exception:  # whatever one attack achieves, the others go on
                    failed += 1
                    print(f"FAILED  {attack.__doc__}: {traceback.format_exc()}", flush=True)
                    if node.process.poll() is not None:
                        print("the node ended:", *list(node.lines)[-20:], sep="\n")
                        break
            if node.process.poll() is None:
                peak, after = node.memory_kib("VmHWM") // 1024, node.memory_kib("VmRSS") // 1024
                print(f"memory: {before} MiB before, {peak} MiB at most, {after} MiB after; bound {PEAK_MIB_MAX} MiB")
            status = node.stop()
            if status == 0:
                passed += 1
                print("ok      it stops as asked after all that")
            else:
                failed += 1
                print(f"FAILED  it ended with status {status}")
        finally:
            heads.process.kill()
            node.kill()
    print(f"{passed} passed, {failed} failed")
    sys.exit(0 if passed and not failed else 1)


if __name__ == "__main__":
    main()
