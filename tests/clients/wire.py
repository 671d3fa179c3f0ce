"""HTTP and WebSocket down to the byte, for saying what no decent client says. Python's standard library only."""

import base64
import json
import os
import socket
import struct
import time

TIMEOUT_S = 30
CHUNK_BYTES = 1 << 20
TEXT, CLOSE, PING, PONG = 1, 8, 9, 10


class Closed(Exception):
    """The node closed the connection."""


def address_of(url):
    host, port = url.split("://")[1].rstrip("/").split(":")
    return host, int(port)


def connect(url, timeout_s=TIMEOUT_S):
    wire = socket.create_connection(address_of(url), timeout=timeout_s)
    # Small frames go out at once instead of waiting for the answer to the last.
    wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return wire


def http(url, body, headers=None, method="POST", path="/", timeout_s=TIMEOUT_S, stream=None):
    """Sends one request; returns its status and body. `stream` yields what follows the headers instead of `body`."""
    fields = {"Host": ":".join(map(str, address_of(url))), "Content-Type": "application/json", "Connection": "close"}
    if stream is None:
        fields["Content-Length"] = str(len(body))
    fields.update(headers or {})
    head = f"{method} {path} HTTP/1.1\r\n" + "".join(f"{name}: {value}\r\n" for name, value in fields.items() if value)
    with connect(url, timeout_s) as wire:
        try:
            wire.sendall(head.encode() + b"\r\n")
            for part in stream if stream is not None else pieces(body):
                wire.sendall(part)
        except (BrokenPipeError, ConnectionResetError):
            pass  # it has heard enough, and may have said why
        return read_answer(wire)


def pieces(body):
    return (body[start:start + CHUNK_BYTES] for start in range(0, len(body), CHUNK_BYTES))


def read_answer(wire):
    answer = b""
    try:
        while part := wire.recv(CHUNK_BYTES):
            answer += part
    except ConnectionResetError:
        pass
    if not answer:
        raise Closed("no answer")
    head, _, body = answer.partition(b"\r\n\r\n")
    if b"transfer-encoding: chunked" in head.lower():
        whole = b""
        while body:
            size, _, body = body.partition(b"\r\n")
            whole, body = whole + body[:int(size, 16)], body[int(size, 16) + 2:]
        body = whole
    return int(head.split()[1]), body


class WebSocket:
    """One connection."""

    def __init__(self, url, timeout_s=TIMEOUT_S, headers=""):
        self.wire = connect(url, timeout_s)
        self.buffer, self.start = b"", 0
        self.next_id = 0
        host = ":".join(map(str, address_of(url)))
        key = base64.b64encode(os.urandom(16)).decode()
        self.wire.sendall(
            f"GET / HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
            f"Sec-WebSocket-Key: {key}\r\n{headers}\r\n".encode())
        while b"\r\n\r\n" not in self.buffer:
            self._fill()
        head, self.buffer = self.buffer.split(b"\r\n\r\n", 1)
        self.status = int(head.split()[1])
        if self.status != 101:
            self.wire.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.wire.close()

    def _fill(self):
        try:
            part = self.wire.recv(CHUNK_BYTES)
        except (ConnectionResetError, BrokenPipeError) as error:
            raise Closed(str(error)) from error
        if not part:
            raise Closed("the end")
        # What was taken goes only here, so that many small messages are not moved again and again.
        self.buffer, self.start = self.buffer[self.start:] + part, 0

    def _take(self, count):
        while len(self.buffer) - self.start < count:
            self._fill()
        taken = self.buffer[self.start:self.start + count]
        self.start += count
        return taken

    def send_frame(self, payload, opcode=TEXT, final=True, masked=True, length=None, reserved=0):
        """Sends one frame; `length` lies about how long it is."""
        length = len(payload) if length is None else length
        mask_bit = 0x80 if masked else 0
        head = bytes([(0x80 if final else 0) | reserved | opcode])
        if length < 126:
            head += bytes([mask_bit | length])
        elif length < 1 << 16:
            head += struct.pack("!BH", mask_bit | 126, length)
        else:
            head += struct.pack("!BQ", mask_bit | 127, length)
        if masked:
            head += bytes(4)  # a mask of zeros leaves the payload as it is
        try:
            self.wire.sendall(head + payload[:CHUNK_BYTES])
            for part in pieces(payload[CHUNK_BYTES:]):
                self.wire.sendall(part)
        except (BrokenPipeError, ConnectionResetError) as error:
            raise Closed(str(error)) from error

    def send(self, text):
        self.send_frame(text if isinstance(text, bytes) else text.encode())

    def receive(self, timeout_s=TIMEOUT_S):
        """Returns the next message; answers pings."""
        message = b""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            first, second = self._take(2)
            length = second & 0x7F
            if length == 126:
                (length,) = struct.unpack("!H", self._take(2))
            elif length == 127:
                (length,) = struct.unpack("!Q", self._take(8))
            payload = self._take(length)
            opcode = first & 0x0F
            if opcode == CLOSE:
                raise Closed(payload[2:].decode(errors="replace"))
            if opcode == PING:
                self.send_frame(payload, PONG)
            elif opcode != PONG:
                message += payload
                if first & 0x80:
                    return message
        raise TimeoutError("no message, only pings")

    def request(self, method, params=()):
        """Returns the whole answer to a request; notifications that come first are skipped."""
        self.next_id += 1
        self.send(json.dumps({"jsonrpc": "2.0", "id": self.next_id, "method": method, "params": params}))
        return self.answer(self.next_id)

    def answer(self, wanted):
        deadline = time.monotonic() + TIMEOUT_S
        while time.monotonic() < deadline:
            answer = json.loads(self.receive())
            if isinstance(answer, list) or answer.get("id", "none") == wanted:
                return answer
        raise AssertionError("no answer among all the notifications")
