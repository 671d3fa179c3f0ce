#!/usr/bin/env python3
"""What happens to a network of real nodes when something breaks.

    run.py BINARY [STORY…] [--quick] [--step-ms 4000] [--list] [--keep]

Four validators and a full node, each a process in a network namespace of its own, with the demo community's meters spread over
them. Each story breaks something, mends it, and ends with the same chain on all nodes, exactly one block a step, every watt-hour
that the meters measured, and no validator that contradicted itself. Needs root on Linux; where that cannot be had everything is
skipped, and the exit status is 77. `--quick` runs those of about three minutes. Python's standard library only.
"""

import argparse
import shutil
import signal
import sys
import threading
from time import time

from cluster import (
    HERE, PATIENCE_S, Cluster, Facts, Skipped, closed_step, require_tools, run, run_stories, wait_for_height, wait_until)
from development_keys import REGISTER_VALIDATOR, REMOVE_VALIDATOR, Key, address_of, submit

# Steps at a chain's beginning that may have gone by before all nodes and meters were there.
FIRST_STEPS = 3
# Steps during which something is broken.
BROKEN_STEPS = 3
# Steps for which a network on bad lines is watched.
WATCHED_STEPS = 8
# Bytes that a validator has sent when its proposal is on all its lines. Votes and what gossip says beside have far fewer.
PROPOSAL_BYTES = 20_000
# The step of the second network, whose epochs of 96 steps are waited for, and the steps of a day.
FAST_STEP_MS, DAY_STEPS, EPOCH_STEPS = 1_000, 96, 96
# A participant of the demo community that begins without a validator.
MEMBER = "p01"
# How long a day is made up for, and an epoch may take.
LONG_PATIENCE_S = 600
# The exit status that says that nothing can run here.
NOT_HERE = 77


class Stories:
    """Each begins where the last one ended."""

    def __init__(self, arguments):
        self.arguments = arguments
        self.cluster = None

    # ------------------------------------------------------------------ helpers

    def begin(self, step_ms=None, **more):
        self.end()
        self.cluster = Cluster(self.arguments.binary, step_ms or self.arguments.step_ms, **more)
        self.cluster.start()

    def usual(self):
        """The network of most stories, once it closes steps."""
        if self.cluster is None or self.cluster.step_ms != self.arguments.step_ms:
            self.begin()
            for node in self.cluster.nodes:
                wait_for_height(node.rpc, FIRST_STEPS + 2)
        return self.cluster

    def end(self):
        if self.cluster:
            self.cluster.close(self.arguments.keep)
            self.cluster = None

    def after_failure(self):
        """Whether the next story can begin."""
        self.cluster.show_logs()
        self.end()
        return True

    def next_winner(self, observer):
        """The height after the one that was just closed, and the node that is to make its block."""
        height = self.cluster.wait_for_next_block(observer) + 1
        ranking = observer.rpc.ask("auction_ranking", height)
        return height, self.cluster.node_of(ranking[0])

    def others_go_on(self, gone, blocks=BROKEN_STEPS):
        """Waits until all but some nodes have made some more blocks; returns the last height."""
        others = [node for node in self.cluster.nodes if node not in gone]
        height = others[0].rpc.height() + blocks
        for node in others:
            wait_for_height(node.rpc, height)
        return height

    def nobody_goes_on(self, observers):
        """Waits until some steps have closed, none of which has a block; returns the last height."""
        def heights():
            return [node.rpc.height() for node in observers]

        # What was being decided when it broke may still be.
        before = max(heights())
        wait_until(lambda: closed_step(observers[0].rpc) >= before + BROKEN_STEPS + 1, "some steps close")
        height = max(heights())
        assert height <= before + 1, f"block {height} was made without a majority, {before} was there before"
        wait_until(lambda: closed_step(observers[0].rpc) >= height + BROKEN_STEPS, "some steps close")
        assert max(heights()) == height, f"{heights()}: made without a majority"
        return height

    def time_to_catch_up(self):
        """Waits until every node has a block for every step that has closed; returns how long that took."""
        began = time()
        for node in self.cluster.nodes:
            wait_until(lambda: node.rpc.height() >= closed_step(node.rpc) - 1, f"{node.name} has caught up")
        return f"{time() - began:.0f} s"

    def nobody_is_penalised(self, facts):
        late = facts.late
        assert late == list(range(late[0], late[-1] + 1)), f"of the missed steps some are not marked late: {late}"
        before, after = (self.cluster.penalties(height) for height in (late[0] - 1, late[-1]))
        assert before == after, f"turns missed and tokens burned were {before}, and are {after} after an outage"

    def watch(self, steps=WATCHED_STEPS):
        """Waits for some steps; returns what the blocks say, and how many rounds they took more than one."""
        cluster = self.cluster
        begun = [node.metric("commonwatt_agreement_extra_rounds_total") for node in cluster.validators]
        since = cluster.height()
        wait_for_height(cluster.nodes[0].rpc, since + steps, PATIENCE_S + 3 * steps * cluster.step_ms / 1_000)
        ended = [node.metric("commonwatt_agreement_extra_rounds_total") for node in cluster.validators]
        rounds = max(end - begin for begin, end in zip(begun, ended))
        return Facts(cluster.nodes[0].rpc, since + 1, since + steps), f"{rounds:.0f} extra rounds"

    # ------------------------------------------------------------------ processes

    def nothing_breaks(self):
        cluster = self.usual()
        peers = [len(node.rpc.ask("system_peers")) for node in cluster.validators]
        assert min(peers) >= len(cluster.validators) - 1, f"peers: {peers}"
        facts = cluster.verify(FIRST_STEPS + 1)
        assert not facts.late, f"{facts.late} came late"
        return facts

    def winner_killed_before(self):
        cluster = self.usual()
        observer = cluster.nodes[-1]
        height, winner = self.next_winner(observer)
        winner.kill()
        assert observer.rpc.height() < height, "the block was there before the winner was killed"
        self.others_go_on([winner])
        author, rank, _ = observer.rpc.author(height)
        assert author != winner.account and rank > 0, f"block {height} was made by {author}, rank {rank}"
        winner.start()
        facts = cluster.verify(height - 1)
        assert len(facts.late) <= 1, f"{facts.late} came late while one of four was gone"
        return f"the winner of {height}, {winner.name}, was killed: rank {rank} made its block; {facts}"

    def winner_killed_after(self):
        cluster = self.usual()
        observer = cluster.nodes[-1]
        # Slow lines: when all of the proposal is under way, nobody has seen it.
        cluster.set_links({"delay_ms": 300})
        height, winner = self.next_winner(observer)
        timing = cluster.timing
        due_s = (timing["genesisMs"] + height * timing["stepMs"] + timing["settleDelayMs"]) / 1_000
        # Until then, and no longer: the lines are looked at from the moment on when it may propose.
        threading.Event().wait(max(0, due_s - time()))
        sent = cluster.lines.sent()[winner.number]
        # Looked at often: the votes are under way for a third of a second.
        until = due_s + timing["stepMs"] / 1_000
        while (now := cluster.lines.sent()[winner.number]) < sent + PROPOSAL_BYTES:
            assert time() < until, f"{winner.name} proposed nothing: {now - sent} bytes"
        cluster.set_links({"cut": True}, lambda one, other: winner.number in (one, other))
        winner.kill()
        assert observer.rpc.height() < height, f"block {height} was decided before its author was killed"
        self.others_go_on([winner])
        author, rank, _ = observer.rpc.author(height)
        cluster.heal()
        winner.start()
        facts = cluster.verify(height - 1)
        outcome = "its block was decided without it" if author == winner.account else f"rank {rank} made the block"
        return f"the winner of {height}, {winner.name}, was killed with its proposal under way: {outcome}; {facts}"

    def bystander_killed(self):
        cluster = self.usual()
        observer = cluster.nodes[-1]
        height, winner = self.next_winner(observer)
        victim = next(node for node in cluster.validators if node is not winner)
        victim.kill()
        self.others_go_on([victim])
        author, _, is_late = observer.rpc.author(height)
        assert author == winner.account and not is_late, f"block {height} is {author}'s, late: {is_late}"
        victim.start()
        return f"{victim.name} was killed, the winner {winner.name} made block {height}; {cluster.verify(height - 1)}"

    def two_killed(self):
        cluster = self.usual()
        observer = cluster.nodes[-1]
        victims = cluster.validators[1:3]
        since = cluster.wait_for_next_block(observer)
        for victim in victims:
            victim.kill()
        height = self.nobody_goes_on([node for node in cluster.nodes if node not in victims])
        for victim in victims:
            victim.start()
        caught_up = self.time_to_catch_up()
        facts = cluster.verify(since)
        assert len(facts.late) >= BROKEN_STEPS - 1, f"{facts.late} are marked late"
        self.nobody_is_penalised(facts)
        return f"waited at block {height}, caught up {caught_up} after both were started; {facts}, nobody penalised"

    def paused(self):
        cluster = self.usual()
        observer = cluster.nodes[-1]
        since, winner = self.next_winner(observer)
        winner.pause()
        self.others_go_on([winner])
        winner.resume()
        return f"{winner.name}, the winner of {since}, stood still; {cluster.verify(since - 1)}"

    def all_killed(self):
        cluster = self.usual()
        since = cluster.wait_for_next_block(cluster.nodes[-1])
        for node in cluster.nodes:
            node.kill()
        for node in cluster.nodes:
            node.start()
        for node in cluster.nodes:
            wait_for_height(node.rpc, since + BROKEN_STEPS)
        return cluster.verify(since)

    def all_restarted(self):
        cluster = self.usual()
        since = cluster.wait_for_next_block(cluster.nodes[-1])
        for node in cluster.nodes:
            node.process.send_signal(signal.SIGTERM)
        for node in cluster.nodes:
            assert node.wait_for_end() == 0, node.last_lines()
            assert node.lines("everything is on disk"), f"{node.name} did not end in order"
        for node in cluster.nodes:
            node.start()
        for node in cluster.nodes:
            wait_for_height(node.rpc, since + BROKEN_STEPS)
        return cluster.verify(since)

    # ------------------------------------------------------------------ lines

    def parted_in_halves(self):
        cluster = self.usual()
        since = cluster.wait_for_next_block(cluster.nodes[-1])
        cluster.part([1, 2], [3, 4])
        height = self.nobody_goes_on(cluster.nodes)
        cluster.heal()
        caught_up = self.time_to_catch_up()
        facts = cluster.verify(since)
        self.nobody_is_penalised(facts)
        return f"waited at block {height}, caught up {caught_up} after it healed; {facts}, nobody penalised"

    def one_parted(self):
        cluster = self.usual()
        alone = cluster.validators[3]
        since = cluster.wait_for_next_block(cluster.nodes[-1])
        cluster.part([1, 2, 3], [4])
        before = alone.rpc.height()
        height = self.others_go_on([alone])
        assert alone.rpc.height() <= before + 1, f"{alone.name} went on alone"
        cluster.heal()
        caught_up = self.time_to_catch_up()
        return f"{alone.name} caught up {caught_up} after it healed: it had block {before} when the others had {height}; {cluster.verify(since)}"

    def lossy(self):
        cluster = self.usual()
        cluster.set_links({"loss": 0.15}, seed=5)
        facts, rounds = self.watch()
        cluster.heal()
        cluster.verify(facts.first)
        return f"every seventh packet lost; {facts}, {rounds}"

    def slow(self):
        cluster = self.usual()
        cluster.set_links({"delay_ms": 200, "jitter_ms": 50}, seed=6)
        facts, rounds = self.watch()
        cluster.heal()
        cluster.verify(facts.first)
        return f"200 ms each way, 50 more or less; {facts}, {rounds}"

    # ------------------------------------------------------------------ machines

    def clock_off(self):
        cluster = self.usual()
        if not shutil.which("cc"):
            raise Skipped("no C compiler, which makes a clock that is wrong")
        library = cluster.folder / "clock_offset.so"
        run("cc", "-shared", "-fPIC", "-O1", "-o", library, HERE / "clock_offset.c", "-ldl")
        victim = cluster.validators[1]
        told = []
        for offset_ms in (self.arguments.step_ms // 2, -(self.arguments.step_ms // 2)):
            victim.stop()
            victim.start({"LD_PRELOAD": str(library), "CLOCK_OFFSET_MS": str(offset_ms)})
            wait_until(lambda: victim.rpc.height() >= cluster.height() - 1, f"{victim.name} is there again")
            facts, rounds = self.watch()
            told.append(f"{offset_ms:+} ms: {facts}, {rounds}")
            cluster.verify(facts.first)
        victim.stop()
        victim.start()
        cluster.verify(facts.first)
        return f"{victim.name} by {'; by '.join(told)}"

    def full_disk(self):
        cluster = self.usual()
        victim = cluster.validators[2]
        since = cluster.wait_for_next_block(cluster.nodes[-1])
        victim.stop()
        kept = cluster.folder / "kept"
        shutil.move(victim.folder, kept)
        victim.folder.mkdir()
        size_kib = int(run("du", "-sk", kept).split()[0]) + 8 * 1024
        try:
            run("mount", "-t", "tmpfs", "-o", f"size={size_kib}k", "tmpfs", victim.folder)
        except AssertionError as error:
            victim.folder.rmdir()
            shutil.move(kept, victim.folder)
            victim.start()
            raise Skipped(f"no small file system can be made: {error}") from error
        cluster.mounts.append(victim.folder)
        run("cp", "-a", f"{kept}/.", victim.folder)
        victim.start()
        wait_until(lambda: victim.rpc.height() >= cluster.height() - 1, f"{victim.name} is there again")
        filler = victim.folder / "filler"
        with open(filler, "wb", buffering=0) as file:
            try:
                while file.write(b"\1" * 4096):
                    pass
            except OSError:
                pass  # it is full
        status = victim.wait_for_end()
        assert status != 0, f"{victim.name} ended with 0 on a full disk"
        said = victim.last_lines(3)
        self.others_go_on([victim])
        filler.unlink()
        victim.start()
        cluster.verify(since)
        # It would soon be full again.
        victim.stop()
        shutil.rmtree(kept)
        shutil.copytree(victim.folder, kept)
        run("umount", victim.folder)
        cluster.mounts.remove(victim.folder)
        victim.folder.rmdir()
        shutil.move(kept, victim.folder)
        victim.start()
        facts = cluster.verify(since)
        reason = said.strip().splitlines()[-1][:160]
        return f"{victim.name} ended with status {status}, saying {reason!r}, and went on with room; {facts}"

    def wiped(self):
        cluster = self.usual()
        victim = cluster.validators[3]
        since = cluster.wait_for_next_block(cluster.nodes[-1])
        victim.kill()
        shutil.rmtree(victim.chain_folder / "db")
        (victim.chain_folder / "agreement.log").unlink()
        best = self.others_go_on([victim], 1)
        began = time()
        victim.start()
        wait_for_height(victim.rpc, best)
        took = time() - began
        cluster.verify(since)
        # That it votes again is seen when nobody else may be missing.
        other = cluster.validators[0]
        other.kill()
        self.others_go_on([other])
        other.start()
        return f"{victim.name} had {best} blocks after {took:.1f} s, start included, and votes: the chain goes on without " \
               f"{other.name}; {cluster.verify(since)}"

    # ------------------------------------------------------------------ epochs

    def a_day_missed(self):
        self.begin(FAST_STEP_MS)
        cluster = self.cluster
        wait_for_height(cluster.nodes[-1].rpc, FIRST_STEPS + 8)
        since = cluster.verify(FIRST_STEPS + 1).last
        rpc = cluster.nodes[-1].rpc
        cluster.stop_meters()
        for node in cluster.nodes:
            node.stop()
        back_ms = cluster.timing["genesisMs"] + (since + DAY_STEPS) * FAST_STEP_MS
        wait_until(lambda: time() * 1_000 >= back_ms, "a day goes by", LONG_PATIENCE_S)
        began = time()
        for node in cluster.nodes:
            node.start()
        wait_until(lambda: rpc.height() >= since + DAY_STEPS, "the day is made up for", LONG_PATIENCE_S)
        took = time() - began
        facts = cluster.verify(since + 1, LONG_PATIENCE_S, has_all_energy=False)
        assert len(facts.late) >= DAY_STEPS - 4, f"{facts.late} are marked late"
        self.nobody_is_penalised(facts)
        cluster.start_meters()
        wait_for_height(rpc, facts.last + 4)
        return f"{DAY_STEPS} steps made up for in {took:.0f} s, the start of the nodes included, " \
               f"{DAY_STEPS / took:.1f} steps/s; {facts}, nobody penalised"

    def new_keys(self, node):
        """Makes session keys in a node's keystore, whether it runs or not; returns vote and beacon key."""
        words = ["--chain", "localnet", "--base-path", node.folder]

        def listed():
            lines = run(self.cluster.binary, "key", "list", *words).splitlines()
            return {tuple(line.split()[0::2][:2]) for line in lines if "0x" in line}

        before = listed() if (node.chain_folder / "keystore").is_dir() else set()
        run(self.cluster.binary, "key", "rotate", *words)
        new = dict(listed() - before)
        return bytes.fromhex(new["vote"][2:]) + bytes.fromhex(new["beacon"][2:])

    def validators_change(self):
        if self.cluster is None or self.cluster.step_ms != FAST_STEP_MS:
            self.begin(FAST_STEP_MS)
            for node in self.cluster.nodes:
                wait_for_height(node.rpc, FIRST_STEPS + 2)
        cluster = self.cluster
        rotating, leaver, newcomer = cluster.nodes[1], cluster.nodes[3], cluster.nodes[4]
        since = cluster.wait_for_next_block(newcomer)
        rpc, dso, member = cluster.nodes[0].rpc, Key("Dso"), Key("member", MEMBER)
        account = address_of(member.public)
        rotated = self.new_keys(rotating)
        submit(rpc, dso, REGISTER_VALIDATOR + member.public + self.new_keys(newcomer))
        submit(rpc, dso, REGISTER_VALIDATOR + Key("Bob").public + rotated)
        submit(rpc, dso, REMOVE_VALIDATOR + Key("Dave").public)
        newcomer.stop()
        # Its keys have never voted, on this folder or another: it says so, as the operator guide has it.
        newcomer.more_flags = ["--validator", f"--votes-from={rpc.height() + 3}"]
        newcomer.start()

        def is_changed():
            for node in cluster.nodes:
                assert node.is_running(), f"{node.name} ended: {node.last_lines()}"
            acting = {one["account"]: one["keys"]["vote"] for one in rpc.ask("auction_validators", rpc.height() + 1) or []}
            is_rotated = acting.get(rotating.account) in (address_of(rotated[:32]), "0x" + rotated[:32].hex())
            return account in acting and leaver.account not in acting and is_rotated

        wait_until(is_changed, "the epoch of the new set begins", LONG_PATIENCE_S)
        changed = rpc.height() + 1
        newcomer.account, newcomer.is_validator, leaver.is_validator = account, True, False

        def first_block_of(author):
            return next((at for at in range(changed, rpc.height() + 1) if rpc.author(at)[0] == author), None)

        # It may bid as soon as it validates: who does not bid waits for a turn that others miss. From where on it votes is in its
        # log, so it is not said again.
        assert (newcomer.chain_folder / "agreement.log").exists(), f"{newcomer.name} has not begun a log"
        secret = newcomer.folder / "account"
        secret.write_text(f"//member//{MEMBER}", encoding="utf-8")
        secret.chmod(0o600)
        newcomer.stop()
        newcomer.more_flags = ["--validator", "--bid=share=5%", f"--bid-account-suri-file={secret}"]
        newcomer.start()
        made = [wait_until(lambda: first_block_of(node.account), f"{node.name} makes a block", LONG_PATIENCE_S)
                for node in (newcomer, rotating)]
        facts = cluster.verify(since, LONG_PATIENCE_S)
        assert leaver.account not in {author for author, _, _ in facts.blocks[changed + 1 - facts.first:]}, "who left made a block"
        return f"the set changed by block {changed}, {newcomer.name} made block {made[0]}, {rotating.name} with its new keys and " \
               f"without a restart block {made[1]}, {leaver.name} follows; {facts}"


def stories_of(told):
    """All stories: (short name, whether it is a quick one, what it is, function)."""
    return [
        ("start", True, "five nodes close one step after another", told.nothing_breaks),
        ("winner-before", True, "the winner is killed before it proposes", told.winner_killed_before),
        ("winner-after", False, "the winner is killed after it proposed", told.winner_killed_after),
        ("bystander", False, "a validator is killed that is not the author", told.bystander_killed),
        ("two", True, "two of four are killed: the chain waits, and catches up", told.two_killed),
        ("pause", False, "the winner stands still, and goes on", told.paused),
        ("power", True, "all are killed at once", told.all_killed),
        ("restart", False, "all are stopped and started", told.all_restarted),
        ("halves", True, "the network is parted in halves, and heals", told.parted_in_halves),
        ("alone", False, "one is parted from three, and heals", told.one_parted),
        ("loss", False, "lines lose packets", told.lossy),
        ("delay", False, "lines are slow", told.slow),
        ("clock", False, "a clock is off by half a step, either way", told.clock_off),
        ("disk", False, "a disk is full, and has room again", told.full_disk),
        ("wiped", False, "a wiped validator joins anew", told.wiped),
        ("day", False, "all are down for a day's steps", told.a_day_missed),
        ("validators", False, "a validator is added, one removed, and one has new keys", told.validators_change),
    ]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("binary", help="the commonwatt program")
    parser.add_argument("story", nargs="*", help="stories to run, by their short names [default: all]")
    parser.add_argument("--quick", action="store_true", help="the stories of about three minutes")
    parser.add_argument("--step-ms", type=int, default=4_000)
    parser.add_argument("--list", action="store_true", help="name the stories")
    parser.add_argument("--keep", action="store_true", help="leave folders and logs there")
    arguments = parser.parse_args()
    told = Stories(arguments)
    stories = stories_of(told)
    if arguments.list:
        for name, is_quick, what, _ in stories:
            print(f"{name:14} {'quick' if is_quick else '     '} {what}")
        return 0
    unknown = set(arguments.story) - {name for name, *_ in stories}
    if unknown:
        parser.error(f"no such story: {', '.join(sorted(unknown))}; --list names them")
    if arguments.story:
        stories = [story for story in stories if story[0] in arguments.story]
    elif arguments.quick:
        stories = [story for story in stories if story[1]]
    try:
        require_tools()
    except Skipped as reason:
        print(f"skipped: {reason}\n0 passed, 0 failed, {len(stories)} skipped")
        return NOT_HERE
    # What is left is removed when somebody ends this, too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        return run_stories([(what, function) for _, _, what, function in stories], told.after_failure)
    finally:
        told.end()


if __name__ == "__main__":
    sys.exit(main())
