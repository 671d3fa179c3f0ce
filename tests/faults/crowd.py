#!/usr/bin/env python3
"""Holds connections that say nothing, and opens another at once for each that is closed, until it is ended.

    crowd.py HOST:PORT…

Prints a line of JSON when so many were opened to each address. Python's standard library only.
"""

import json
import selectors
import socket
import sys

# Connections to each address: more than it has places for those of one host.
HELD = 200


def main():
    addresses = [(host, int(port)) for host, port in (word.rsplit(":", 1) for word in sys.argv[1:])]
    selector = selectors.DefaultSelector()

    def begin(address):
        connection = socket.socket()
        connection.setblocking(False)
        connection.connect_ex(address)
        # Readable when it was refused or closed: nobody says anything to who says nothing.
        selector.register(connection, selectors.EVENT_READ, address)

    for address in addresses * HELD:
        begin(address)
    print(json.dumps({"held": HELD, "addresses": len(addresses)}), flush=True)
    while True:
        for key, _ in selector.select():
            selector.unregister(key.fileobj)
            key.fileobj.close()
            begin(key.data)


if __name__ == "__main__":
    main()
