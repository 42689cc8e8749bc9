"""G6 no orphans, G7 bounded stop: trees that do everything to survive a stop leave nobody behind, with cgroups and without.

make faults ARGS='hostile_trees --seed 7 --count 1000'
"""

from __future__ import annotations

import os
import random
import sys
from collections import Counter
from time import monotonic, time
from typing import Any

import grpc
import pytest

from taskmeter.v1 import task_pb2
from tests import processes
from tests.calls import Calls
from tests.daemon import Daemon
from tests.faults.size import new_seed, wanted_count
from tests.integration.helpers import end_of, read, start_python
from tests.native.shim.hostile import LARGE, SCRIPTS, script
from tests.waiting import wait_until

COUNT = wanted_count(200)
"""Over all modes together."""
SEED = new_seed()
MODES = ("auto", "v1", "off")
BATCH = 8
GRACES = (0.0, 0.1, 0.4)
BOUND_SECONDS = 1.0
SLACK_SECONDS = 5.0
RARE = {"wide", *LARGE}
"""Hundreds of processes each: one of each per mode, whatever the count."""


def kinds(count: int, dice: random.Random) -> list[str]:
    """Return `count` kinds in random order, every kind among them."""
    common = sorted(SCRIPTS.keys() - RARE)
    chosen = [*sorted(RARE), *common, *dice.choices(common, k=max(0, count - len(common) - len(RARE)))][:count]
    dice.shuffle(chosen)
    return chosen


def members(daemon: Daemon) -> dict[int, str]:
    """All processes of this daemon's tasks but the shims."""
    found = processes.of_state_dir(daemon.state_dir)
    return {pid: command for pid, command in found.items() if not command.startswith("taskmeter-shim ")}


def stop(calls: Calls, token: str, grace: float) -> float:
    """Order it; return when, or 0 if it has ended by itself by now."""
    now = time()
    try:
        calls.Terminate(token=token, grace_period_seconds=grace, immediate=grace == 0)
    except grpc.RpcError as error:
        if error.code() is not grpc.StatusCode.FAILED_PRECONDITION:
            raise
        return 0.0
    return now


@pytest.mark.timeout(120 + COUNT)
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.guarantee("G6", "G7")
def test_no_process_of_a_hostile_tree_survives_a_stop(make_daemon: Any, record_property: Any, mode: str) -> None:
    dice = random.Random(f"{SEED} {mode}")
    daemon: Daemon = make_daemon("--cgroup", mode).start()
    calls = daemon.calls
    wanted = kinds((COUNT + MODES.index(mode)) // len(MODES), dice)
    survivors: Counter[str] = Counter()
    times: list[float] = []
    begin = monotonic()
    for first in range(0, len(wanted), BATCH):
        batch = wanted[first : first + BATCH]
        tokens = [start_python(calls, script(kind), grace_period_seconds=0.4) for kind in batch]
        for token, kind in zip(tokens, batch, strict=True):
            wait_until(lambda token=token: b"armed" in read(calls, token), f"{kind} stands", 60)  # type: ignore[misc]
        graces = [dice.choice(GRACES) for _ in tokens]
        orders = [stop(calls, token, grace) for token, grace in zip(tokens, graces, strict=True)]
        for token, kind, grace, ordered in zip(tokens, batch, graces, orders, strict=True):
            ended = end_of(calls, token, 60)
            if ordered:
                assert ended.outcome == task_pb2.TASK_OUTCOME_CANCELLED, (kind, ended)
                stopped = ended.create_time + ended.timings.total_seconds - ordered - grace
                times.append(stopped)
                assert stopped < BOUND_SECONDS + SLACK_SECONDS, f"{kind}: {stopped:.1f} s after its grace (seed {SEED})"
        left = members(daemon)
        survivors.update(left.values())
        assert not left, f"survivors of {batch} (seed {SEED}): {left}"
    record_property("faults", len(wanted))
    late = sum(each > BOUND_SECONDS for each in times)
    print(
        f"\nhostile trees, cgroup {mode}: N={len(wanted)} seed={SEED} survivors={survivors.total()} "
        f"slowest={max(times):.2f} s after its grace, over 1 s: {late}, in {monotonic() - begin:.0f} s",
        file=sys.stderr,
    )


@pytest.mark.parametrize("mode", MODES)
def test_nothing_of_a_tree_survives_the_kill_of_its_shim(make_daemon: Any, mode: str) -> None:
    daemon: Daemon = make_daemon("--cgroup", mode).start()
    calls = daemon.calls
    wanted = sorted(SCRIPTS.keys() - {"main_ends_first"})
    tokens = {kind: start_python(calls, script(kind)) for kind in wanted}
    for kind, token in tokens.items():
        wait_until(lambda token=token: b"armed" in read(calls, token), f"{kind} stands", 60)  # type: ignore[misc]
    shims = {pid for pid, command in processes.of_state_dir(daemon.state_dir).items() if command.startswith("taskmeter-shim ")}
    assert len(shims) == len(wanted)
    for pid in shims:
        os.kill(pid, 9)
    for kind, token in tokens.items():
        assert end_of(calls, token, 60).outcome == task_pb2.TASK_OUTCOME_LOST, kind
    wait_until(lambda: not members(daemon), "nobody of them is left")
    print(f"\nkilled shims, cgroup {mode}: N={len(wanted)} survivors=0", file=sys.stderr)
