"""kill -9 of the daemon again and again while tasks fail and are tried again: every attempt runs once, and has one end.

Guarantees named here: G1 a wait is durable, G3 at most one start per attempt, G8 events without a gap, G9 legal histories with
one ending event per attempt.
"""

from __future__ import annotations

import os
import random
import sys
from collections import Counter, defaultdict
from pathlib import Path
from threading import Event as Pause

import pytest

from taskmeter.model.state import LEGAL, State
from taskmeter.v1 import task_pb2
from tests.daemon import Daemon
from tests.integration.helpers import end_of

KILLS = 25
TASKS = 40

JOB = """
import os, sys, time
attempt, fails, ran = int(os.environ["TASKMETER_ATTEMPT"]), int(sys.argv[1]), sys.argv[2]
os.close(os.open(f"{ran}/{os.environ['TASKMETER_TOKEN']}.{attempt}", os.O_CREAT | os.O_EXCL))
time.sleep(float(sys.argv[3]))
os._exit(7 if attempt < fails else 0)
"""


@pytest.mark.timeout(300)
def test_g1_g3_g9_every_attempt_runs_once_and_ends_once_over_kills(daemon: Daemon, tmp_path: Path) -> None:
    seed = int(os.environ.get("TASKMETER_TEST_SEED", random.SystemRandom().randrange(2**32)))
    print(f"seed {seed}, {KILLS} kills, {TASKS} tasks")  # shown when it fails
    chance = random.Random(seed)
    fails: dict[str, int] = {}
    for _ in range(TASKS):
        count = chance.randrange(6)
        argv = [sys.executable, "-S", "-c", JOB, str(count), str(tmp_path), f"{chance.uniform(0, 0.8):.3f}"]
        retry = {"max_retries": 9, "delay_seconds": chance.choice((0.0, 0.05, 0.5)), "backoff": 1.5}
        token = daemon.calls.StartTask(spec={"command": {"argv": argv}, "retry": retry}).token
        fails[token] = count
    pause = Pause()
    for _ in range(KILLS):
        pause.wait(chance.uniform(0, 0.4))  # the moment of the kill is what is tried
        daemon.restart()
    for token, count in fails.items():
        ended = end_of(daemon.calls, token, seconds=60)
        assert (ended.outcome, ended.attempt, ended.retries_used) == (task_pb2.TASK_OUTCOME_SUCCEEDED, count, count)
    ran = Counter(path.name.split(".")[0] for path in tmp_path.iterdir())
    assert ran == {token: count + 1 for token, count in fails.items()}, "O_EXCL: no attempt ran twice, and none is missing"
    endings: dict[str, list[int]] = defaultdict(list)
    at: dict[str, int] = {}
    seqs = []
    stream = daemon.calls.StreamEvents(tokens=list(fails), from_seq=1, until_terminal=True, timeout=60)
    for event in (event for message in stream for event in message.events):
        seqs.append(event.seq)
        changed = event.state_changed
        if changed.reason != "accepted":
            assert at[event.token] == changed.from_state, event
            assert State(changed.to_state) in LEGAL[State(changed.from_state)], event
        at[event.token] = changed.to_state
        if changed.outcome:
            endings[event.token].append(event.attempt)
    assert endings == {token: list(range(count + 1)) for token, count in fails.items()}
    assert seqs == list(range(1, len(seqs) + 1))
