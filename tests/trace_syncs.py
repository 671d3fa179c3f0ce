#!/usr/bin/env python3
"""Traces the system calls of a node: at least one successful data sync before each acknowledged block.

    trace_syncs.py BINARY

Runs `BINARY dev` for some blocks on each back end under strace (Linux) and looks, between the lines in which it announces
one block and the next, for an fsync or fdatasync that returned 0. Prints a line for each back end and the plain closing line.
"""

import re
import subprocess
import sys
import tempfile

BLOCKS = 12
SYNC = re.compile(r"^(\[pid +\d+\] |\d+ +)?(?:f(?:data)?sync\(\d+\)|<\.\.\. f(?:data)?sync resumed>\)) *= (-?\d+)")
BLOCK = re.compile(r'write\(1, "[^"]*step +(\d+) ')


def trace(binary, database):
    """Returns how many successful syncs came before each announced block."""
    with tempfile.TemporaryDirectory() as base, tempfile.NamedTemporaryFile("r") as log:
        command = ["strace", "-f", "-s", "64", "-e", "trace=fsync,fdatasync,write", "-o", log.name,
                   binary, "dev", "--base-path", base, "--database", database, "--step-ms", "1000",
                   "--rpc-port", "0", "--blocks", str(BLOCKS)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, timeout=300)
        syncs, before_block = 0, []
        for line in log:
            sync = SYNC.match(line)
            if sync and sync.group(2) == "0":
                syncs += 1
            if BLOCK.search(line):
                before_block.append(syncs)
                syncs = 0
        return before_block


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    failed = 0
    for database in ("sled", "redb"):
        before_block = trace(sys.argv[1], database)
        # Late blocks are made but not announced one by one, so a slow machine shows fewer.
        good = len(before_block) >= BLOCKS // 2 and min(before_block) >= 1
        failed += not good
        print(f"{database}: {len(before_block)} blocks, data syncs before each: {before_block}"
              f" {'ok' if good else 'MISSING'}")
    print(f"{2 - failed} passed, {failed} failed")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
