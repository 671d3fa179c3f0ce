"""A development node of its own for a suite: started, watched, and ended."""

import collections
import re
import signal
import subprocess
import threading
import time

# How long starting and stopping may take.
PATIENCE_S = 60
# Lines of its output that are kept.
LINES_MAX = 10_000
# What it says of every block in time; it says nothing of late ones.
STEP = re.compile(r"^step +(\d+) ")
BLOCK = re.compile(r"^ +block 0x[0-9a-f]{64}, (\d+) transactions")


class Node:
    """`commonwatt dev` on a free port, in a process group of its own."""

    def __init__(self, binary, base_path, step_ms, *more):
        self.url = None
        self.lines = collections.deque(maxlen=LINES_MAX)
        # When it said that it made the block of a step, in milliseconds since 1970.
        self.made_at = {}
        # How many transactions it put into the block of a step.
        self.transactions = {}
        self.said = threading.Condition()
        command = [binary, "dev", "--base-path", base_path, "--rpc-port", "0", "--step-ms", str(step_ms), *more]
        self.process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            errors="replace", start_new_session=True)
        threading.Thread(target=self._read, daemon=True).start()
        try:
            self.wait_for("stop with Ctrl-C")
            self.url = re.search(r"ws://[^ ]+", self.wait_for("JSON-RPC  ws://")).group()
        except BaseException:
            self.kill()
            raise

    def _read(self):
        for line in self.process.stdout:
            at = int(time.time() * 1_000)
            with self.said:
                self.lines.append(line.rstrip("\n"))
                if step := STEP.match(line):
                    last = int(step.group(1))
                    self.made_at[last] = at
                elif (block := BLOCK.match(line)) and self.made_at:
                    self.transactions[last] = int(block.group(1))
                self.said.notify_all()
        with self.said:
            self.said.notify_all()

    def wait_for(self, text, patience_s=PATIENCE_S):
        """Returns the first line with `text`, once it is there."""
        found = []

        def is_said():
            found[:] = [line for line in self.lines if text in line][:1]
            return found or self.process.poll() is not None

        with self.said:
            self.said.wait_for(is_said, patience_s)
        if not found:
            raise AssertionError(f"the node did not say {text!r}: " + "\n".join(list(self.lines)[-20:]))
        return found[0]

    def wait_until_made(self, step):
        """Waits until it has said of a block at or after `step` that it made it; not of a late one, which it keeps to itself."""
        with self.said:
            self.said.wait_for(lambda: self.made_at and max(self.made_at) > step, PATIENCE_S)

    @property
    def http_url(self):
        return self.url.replace("ws://", "http://")

    def memory_kib(self, field):
        """A figure of /proc/PID/status: VmRSS is the memory in use, VmHWM the most that ever was."""
        with open(f"/proc/{self.process.pid}/status") as status:
            return next(int(line.split()[1]) for line in status if line.startswith(field + ":"))

    def stop(self):
        """Ends it as a supervisor does; returns its exit status."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(PATIENCE_S)
        finally:
            self.kill()

    def kill(self):
        """Makes sure that nothing is left running."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
