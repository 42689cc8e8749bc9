"""What is done to a loaded daemon. Each scenario returns what came of it; `make faults` and the tests in CI run the same ones."""

from __future__ import annotations

import os
import random
import re
import shutil
import signal
import struct
import tempfile
import threading
from collections import Counter
from collections.abc import Callable
from collections.abc import Set as AbstractSet
from pathlib import Path
from time import monotonic

import grpc

from taskmeter.failpoints import IN_SHIM
from tests.faults.preload import build_library
from tests.faults.result import Result
from tests.faults.rig import Rig
from tests.faults.validate import Evidence, gather, judge
from tests.waiting import wait_until

KILL_AFTER_SECONDS = (0.05, 1.5)
"""How long a daemon serves before it is killed: drawn evenly from this range."""
FAULT_SECONDS = 20.0
EVENTS_PER_FAULT = 40


def conclude(
    rig: Rig, name: str, count: int, fault_count: int, *, losses_allowed: bool = False, hurt: AbstractSet[str] = frozenset()
) -> Result:
    """Settle, gather, judge."""
    rig.settle()
    found: Evidence = gather(rig)
    found.hurt |= hurt
    found.children_hurt = name == "failpoint:shim.before_exec"
    found.supervisors_hurt = name in {"victims", "failpoint:shim.after_exit_write"}
    violations = {each: wrong for each, wrong in judge(found, losses_allowed=losses_allowed).items() if wrong}
    rig.keep = bool(violations) and bool(os.environ.get("KEEP"))
    outcomes = Counter(int(task.outcome) for task in found.tasks.values())
    sizes = (fault_count, len(found.tasks.keys() | found.deleted.keys()), len(found.events))
    return Result(name, rig.seed, count, rig.options, *sizes, outcomes, violations)


def kills(seed: int, count: int, *options: str) -> Result:
    """Kill -9 of the daemon, `count` times, at any moment."""
    chance = random.Random(seed)
    pause = threading.Event()
    with Rig(seed, *options) as rig:
        rig.load()
        for _ in range(count):
            pause.wait(chance.uniform(*KILL_AFTER_SECONDS))
            rig.restart()
        return conclude(rig, "kills", count, count)


RETENTION = """
[retention]
interval_seconds = 0.1
max_count = 1
events_max_count = 1000
"""
"""What failed is deleted at once, what succeeded holds its key; and a subscriber that keeps up misses no event."""
ACTIONS_OF_DAEMON = ("crash", "sleep(40)", "error")
ACTIONS_OF_SHIM = ("crash", "sleep", "error")
ACTIONS = {"submit.before_commit": ("crash", "execute-then-error", "error")}
"""Other actions than the usual ones."""


def failpoint(seed: int, count: int, point: str, *options: str) -> Result:
    """Arm one failpoint under load, `count` times in a row, with another action each time."""
    chance = random.Random(f"{seed}/{point}")
    in_shim = point in IN_SHIM
    in_stop = point.startswith("stop.")
    actions = ACTIONS.get(point, ACTIONS_OF_SHIM if in_shim else ACTIONS_OF_DAEMON)
    config = RETENTION if point.startswith("retention.") or point == "events.at_compaction" else ""
    with Rig(seed, *options, failpoints=_entry(chance, point, actions[0]), config=config) as rig:
        rig.load(clients=2, watchers=1, mix="stops" if in_stop else "short")
        for number in range(count):
            if number:
                before = rig.hits(point)
                rig.restart(_entry(chance, point, actions[number % len(actions)]))
            else:
                before = 0
            assert _wait(lambda before=before: rig.hits(point) > before), f"{point} was not reached"  # type: ignore[misc]
            if rig.alive and (actions[number % len(actions)] != "crash" or in_shim):
                _go_on(rig)
        acted = rig.hits(point)
        rig.restart()
        # A launch that fails is said to have failed; that it then never ran, G5 sees to.
        return conclude(rig, f"failpoint:{point}", count, acted, losses_allowed=in_shim or point.startswith("launch."))


def _go_on(rig: Rig) -> None:
    """Wait until the daemon, if it still lives, has done more work."""
    try:
        head = rig.daemon.calls.GetServerInfo().head_seq
        _wait(lambda: rig.daemon.calls.GetServerInfo().head_seq > head + EVENTS_PER_FAULT)
    except grpc.RpcError:
        assert not rig.alive


def _entry(chance: random.Random, point: str, action: str) -> str:
    if point in IN_SHIM and point.startswith("stop."):
        return f"{point}={action}"  # whichever of them is stopped
    return f"{point}={action}*{1 if action == 'crash' else chance.randint(1, 3)}+{chance.randint(0, 8)}"


def _wait(condition: Callable[[], bool]) -> bool:
    deadline = monotonic() + FAULT_SECONDS
    pause = threading.Event()
    while monotonic() < deadline:
        if condition():
            return True
        pause.wait(0.01)
    return False


def victims(seed: int, count: int, *options: str) -> Result:
    """Kill -9 of random supervisors, main processes and other members of tasks."""
    chance = random.Random(seed)
    pause = threading.Event()
    hurt: set[str] = set()
    with Rig(seed, *options) as rig:
        rig.load(clients=2, watchers=1)
        done = 0
        while done < count:
            pid = chance.choice(wait_until(rig.task_pids, "tasks run", 30))
            token = _token_of(pid)
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
            hurt.add(token)
            done += 1
            pause.wait(chance.uniform(0.0, 0.1))
        return conclude(rig, "victims", count, done, losses_allowed=True, hurt=hurt)


def _token_of(pid: int) -> str:
    """Find whose process it is, by its arguments (a supervisor's) or its environment."""
    for name in ("cmdline", "environ"):
        try:
            match = re.search(rb"/(tk_[0-9A-Za-z]{22})/", Path(f"/proc/{pid}/{name}").read_bytes())
        except OSError:
            continue
        if match:
            return match[1].decode()
    return ""


def stopped(seed: int, seconds: float, *options: str) -> Result:
    """SIGSTOP of the daemon for a while: clients wait, tasks do not notice, and then all goes on."""
    pause = threading.Event()
    with Rig(seed, *options) as rig:
        rig.load(clients=2, watchers=1)
        calls = rig.daemon.calls
        wait_until(lambda: calls.GetServerInfo().head_seq > EVENTS_PER_FAULT, "load", 30)
        rig.pause()
        pause.wait(seconds)
        rig.resume()
        head = wait_until(lambda: calls.GetServerInfo().head_seq, "it answers again", 10)
        wait_until(lambda: calls.GetServerInfo().head_seq > head + EVENTS_PER_FAULT, "it goes on", 30)
        return conclude(rig, "stopped", int(seconds), 1)


JUMPS_SECONDS = (-86400, -3600, -1, 1, 3600, 86400, 10 * 365 * 86400)


def clock_jumps(seed: int, count: int, *options: str) -> Result:
    """Jumps of the daemon's wall clock by a second to ten years, there and back, with a kill -9 after each third."""
    chance = random.Random(seed)
    pause = threading.Event()
    directory = Path(tempfile.mkdtemp(prefix="tm-clock-", dir="/tmp"))
    try:
        library, file = build_library("clock", directory), directory / "offset"
        file.write_bytes(struct.pack("<q", 0))
        with Rig(seed, *options, env={"LD_PRELOAD": str(library), "TEST_CLOCK_FILE": str(file)}) as rig:
            rig.load(clients=2, watchers=1)
            for number in range(count):
                pause.wait(chance.uniform(0.1, 0.6))
                with file.open("r+b", buffering=0) as out:
                    out.write(struct.pack("<q", chance.choice((0, *JUMPS_SECONDS))))
                if number % 3 == 2:
                    rig.restart()
            return conclude(rig, "clock_jumps", count, count)
    finally:
        shutil.rmtree(directory, ignore_errors=True)
