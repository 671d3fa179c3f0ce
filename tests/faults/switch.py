#!/usr/bin/env python3
"""A switch between network namespaces, as one process: what goes from one node to another is passed on, held back, lost or cut.

    switch.py NAME=NUMBER…      a TUN device for each; the last byte of its address is NUMBER

The kernel's own way, `tc netem`, is a module that many machines lack; a TUN device is there wherever a VPN is. Commands come as
lines of JSON on the standard input, and each gets a line of JSON back:

    {"links": [[from, to, {"cut": true, "loss": 0.1, "delay_ms": 200, "jitter_ms": 50}], …], "seed": 7}
    {"sent": true}              bytes that each device has sent to others, but for the first one, which is the observer's

What is not named passes at once. A rule holds for what is sent from then on: what is under way when a link is cut arrives.
Python's standard library only.
"""

import fcntl
import heapq
import json
import os
import random
import select
import struct
import sys
from time import monotonic

TUNSETIFF, IFF_TUN, IFF_NO_PI = 0x400454CA, 0x0001, 0x1000
PACKET_BYTES_MAX = 65_536
# Packets that are held back; beyond that they are lost, as in any switch.
HELD_MAX = 50_000
# Packets of one device that are taken before the others have their turn.
BURST = 64


def open_tun(name):
    device = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(device, TUNSETIFF, struct.pack("16sH", name.encode(), IFF_TUN | IFF_NO_PI))
    return device


class Switch:
    def __init__(self, names):
        pairs = [name.split("=") for name in names]
        self.devices = {int(number): open_tun(name) for name, number in pairs}
        self.numbers = {device: number for number, device in self.devices.items()}
        self.observer = int(pairs[0][1])
        self.sent = dict.fromkeys(self.devices, 0)
        self.links = {}
        self.random = random.Random(0)
        self.held = []
        self.count = 0
        # When the last packet of a link is passed on: packets keep their order.
        self.last = {}

    def pass_on(self, to, packet):
        try:
            os.write(self.devices[to], packet)
        except OSError:
            pass  # its queue is full or its node is gone: lost, as on any line

    def take(self, packet, came_from):
        to = packet[19] if len(packet) >= 20 and packet[0] >> 4 == 4 else None
        if to not in self.devices:
            return
        if to != self.observer:
            self.sent[came_from] += len(packet)
        rule = self.links.get((came_from, to))
        if rule is None:
            self.pass_on(to, packet)
            return
        if rule.get("cut") or self.random.random() < rule.get("loss", 0) or len(self.held) >= HELD_MAX:
            return
        delay_ms = rule.get("delay_ms", 0) + self.random.uniform(-1, 1) * rule.get("jitter_ms", 0)
        due = max(monotonic() + max(0, delay_ms) / 1_000, self.last.get((came_from, to), 0))
        self.last[came_from, to] = due
        self.count += 1
        heapq.heappush(self.held, (due, self.count, to, packet))

    def obey(self, line):
        command = json.loads(line)
        if "links" in command:
            self.links = {(one, other): rule for one, other, rule in command["links"]}
            self.random = random.Random(command.get("seed", 0))
        return {"sent": self.sent} if command.get("sent") else {}

    def run(self):
        poll = select.poll()
        for device in self.numbers:
            poll.register(device, select.POLLIN)
        poll.register(0, select.POLLIN)
        lines = b""
        while True:
            wait_ms = max(0, (self.held[0][0] - monotonic()) * 1_000) if self.held else None
            for device, _ in poll.poll(wait_ms):
                if device == 0:
                    read = os.read(0, PACKET_BYTES_MAX)
                    if not read:
                        return
                    *whole, lines = (lines + read).split(b"\n")
                    for line in whole:
                        print(json.dumps(self.obey(line)), flush=True)
                    continue
                for _ in range(BURST):
                    try:
                        packet = os.read(device, PACKET_BYTES_MAX)
                    except OSError:
                        break
                    self.take(packet, self.numbers[device])
            while self.held and self.held[0][0] <= monotonic():
                _, _, to, packet = heapq.heappop(self.held)
                self.pass_on(to, packet)


if __name__ == "__main__":
    switch = Switch(sys.argv[1:])
    print(json.dumps({"ready": True}), flush=True)
    switch.run()
