"""py-substrate-interface while no block comes for more than five minutes: the chain has long steps.

    python substrate_interface_idle.py ws://127.0.0.1:PORT
"""

import threading
import time

from substrateinterface import SubstrateInterface

from checks import Checks, node_url

IDLE_S = 300
# More than the step, which the driver chose to be some seconds longer than the idle time.
PATIENCE_S = 420

url = node_url()
checks = Checks()
block_came = threading.Event()
asleep = SubstrateInterface(url=url)
asleep_socket = asleep.websocket


def listens():
    client = SubstrateInterface(url=url)
    socket, began = client.websocket, time.monotonic()

    def handle(head, number, _):
        return head["header"]["number"] if number == 1 else None

    number = client.subscribe_block_headers(handle, finalized_only=True)
    waited = time.monotonic() - began
    block_came.set()
    assert waited >= IDLE_S, f"a block came after {waited} s already"
    assert client.websocket is socket and socket.connected, "it had to connect again"
    assert client.get_block_number(None) == number


def asks_after_a_long_time():
    """This client neither reads nor answers pings in between, as every script that works once a step."""
    assert block_came.is_set()
    assert asleep.get_block_number(None) >= 1
    assert asleep.websocket is asleep_socket, "it had to connect again"
    assert asleep.query("System", "Number").value >= 1


checks.run("py-substrate-interface, idle for five minutes, stays connected and is told of the block", listens, PATIENCE_S)
checks.run("a script that did nothing meanwhile asks and is answered", asks_after_a_long_time)
checks.finish()
