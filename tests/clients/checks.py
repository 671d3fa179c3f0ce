"""Counts checks as the other suites do: a line for each, and `N passed, N failed` at the end."""

import sys
import threading
import traceback

# How long one check may take. A dev chain's step lasts 2 s, so this is room for many of them.
PATIENCE_S = 60


class Checks:
    """Runs checks one after the other."""

    def __init__(self):
        self.passed = 0
        self.failed = 0

    def run(self, name, check, patience_s=PATIENCE_S):
        """Runs one check, says how it went, and returns what it returned. One that takes too long has failed."""
        outcome = {}

        def attempt():
            try:
                outcome["result"] = check()
            except Exception:  # whatever a client raises is a failure of the check
                outcome["error"] = traceback.format_exc()

        # A daemon, so that a check that hangs does not keep the process from ending.
        thread = threading.Thread(target=attempt, daemon=True)
        thread.start()
        thread.join(patience_s)
        error = outcome.get("error")
        if thread.is_alive():
            error = f"nothing came within {patience_s} s"
        if error is None:
            self.passed += 1
            print(f"ok      {name}", flush=True)
        else:
            self.failed += 1
            print(f"FAILED  {name}: {error}", flush=True)
        return outcome.get("result")

    def finish(self):
        """Says how it went in all, and ends the process."""
        print(f"{self.passed} passed, {self.failed} failed", flush=True)
        sys.exit(1 if self.failed else 0)


def node_url():
    """The address of the node, which the driver gives as the only argument."""
    if len(sys.argv) != 2 or not sys.argv[1].startswith("ws://"):
        sys.exit("give the address of a node, like ws://127.0.0.1:9944")
    return sys.argv[1]
