"""kill -9 of the daemon in the middle of a hundred running tasks, again and again: nothing that a user can see changes.

Guarantees named here: G1 accepted = durable, G2 idempotent submit, G3 at most one start per attempt, G4 the daemon's death never
touches running tasks, G5 exact exit truth, G6 no orphans, G8 events without a gap, G9 legal histories.
"""

from __future__ import annotations

import os
import random
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from taskmeter.model.state import LEGAL, State
from taskmeter.v1 import task_pb2
from tests import processes
from tests.daemon import Daemon
from tests.integration.helpers import read
from tests.waiting import wait_until

ROUNDS = 10
RUNNING_COUNT = 100
HOWS = (0, 0, 0, 1, 3, 255, -9, -15, -6)
"""Exit codes, and negative signals, to choose from."""

JOB = """
import os, signal, sys, time
name, lines, seconds, how, ran = sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), sys.argv[4], sys.argv[5]
os.close(os.open(ran + "/" + name, os.O_CREAT | os.O_EXCL))
for line in range(lines):
    sys.stdout.write(f"{name} {line}\\n")
    sys.stdout.flush()
    time.sleep(seconds / lines)
sys.stderr.write(name)
sys.stderr.flush()
if how.startswith("-"):
    os.kill(os.getpid(), -int(how))
os._exit(int(how))
"""


@dataclass(frozen=True)
class Job:
    """What a job is to do, and so what must be seen of it."""

    name: str
    lines: int
    seconds: float
    how: int

    @property
    def stdout(self) -> bytes:
        return b"".join(b"%s %d\n" % (self.name.encode(), line) for line in range(self.lines))

    @property
    def outcome(self) -> int:
        if self.how < 0:
            return int(task_pb2.TASK_OUTCOME_SIGNALED)
        return int(task_pb2.TASK_OUTCOME_FAILED if self.how else task_pb2.TASK_OUTCOME_SUCCEEDED)

    def request(self, ran: Path) -> dict[str, Any]:
        """Fields of its StartTaskRequest; its name is its idempotency key."""
        arguments = [self.name, str(self.lines), f"{self.seconds:.3f}", str(self.how), str(ran)]
        spec = {"command": {"argv": [sys.executable, "-S", "-c", JOB, *arguments]}, "name": self.name}
        return {"spec": spec, "idempotency_key": self.name}


@pytest.mark.timeout(900)
@pytest.mark.parametrize("cgroup", ["auto", "off"])
def test_g1_to_g9_hold_over_kills_with_a_hundred_running_tasks(
    make_daemon: Callable[..., Daemon], tmp_path: Path, cgroup: str
) -> None:
    seed = int(os.environ.get("TASKMETER_TEST_SEED", random.SystemRandom().randrange(2**32)))
    print(f"seed {seed}, {ROUNDS} kills, {RUNNING_COUNT} running")  # shown when it fails
    chance = random.Random(seed)
    daemon = make_daemon("--cgroup", cgroup).start()
    jobs: dict[str, Job] = {}
    tokens: dict[str, str] = {}

    def new_job(how: int) -> Job:
        job = Job(f"j{len(jobs)}", chance.randint(1, 20), chance.uniform(0.5, 6.0), how)
        return jobs.setdefault(job.name, job)

    for _ in range(ROUNDS):
        missing = RUNNING_COUNT - daemon.calls.GetServerInfo().running_count
        for job in [new_job(chance.choice(HOWS)) for _ in range(max(5, missing))]:
            tokens[job.name] = daemon.calls.StartTask(**job.request(tmp_path)).token
        for _ in range(5):  # in flight while the daemon dies: accepted or not, but never twice. A success holds its key.
            request = daemon.calls._requests["StartTask"](**new_job(0).request(tmp_path))
            daemon.calls._methods["StartTask"].future(request, metadata=[("authorization", f"Bearer {daemon.key}")])
        daemon.kill9()
        daemon.start()
    for name, job in jobs.items():
        if name not in tokens:
            tokens[name] = daemon.calls.StartTask(**job.request(tmp_path)).token
    wait_until(lambda: daemon.calls.GetServerInfo().running_count == 0, "all jobs have ended", 60)

    check_endings(daemon, jobs, tokens, tmp_path)
    check_events(daemon, set(tokens.values()))
    wait_until(lambda: not processes.of_state_dir(daemon.state_dir), "no shim and no process of a task is left behind")


def check_endings(daemon: Daemon, jobs: dict[str, Job], tokens: dict[str, str], ran: Path) -> None:
    assert set(tokens) == set(jobs) and len(set(tokens.values())) == len(jobs)
    assert {path.name for path in ran.iterdir()} == set(jobs), "each ran, and O_EXCL says: once"
    for name, token in tokens.items():
        job = jobs[name]
        status = daemon.calls.GetTaskStatus(token=token).status
        seen = (status.outcome, status.exit_code, status.exit_signal)
        assert seen == (job.outcome, job.how, -min(0, job.how)), (name, status)
        assert read(daemon.calls, token) == job.stdout and read(daemon.calls, token, "stderr") == name.encode()
        assert status.metrics.cpu_time_ns > 0 and status.tokens.cpu_ns == status.metrics.cpu_time_ns
    stray = [task.name for task in all_tasks(daemon) if task.token not in set(tokens.values())]
    assert not stray, f"accepted twice: {stray}"


def all_tasks(daemon: Daemon) -> list[task_pb2.TaskStatus]:
    found: list[task_pb2.TaskStatus] = []
    page_token = ""
    while True:
        page = daemon.calls.ListTasks(page_size=1000, page_token=page_token)
        found += page.tasks
        page_token = page.next_page_token
        if not page_token:
            return found


def check_events(daemon: Daemon, tokens: set[str]) -> None:
    """Every seq once and in order; every history legal; exactly one ending per attempt."""
    head = daemon.calls.GetServerInfo().head_seq
    stream = daemon.calls.StreamEvents(from_seq=1, timeout=120)
    state: dict[str, int] = {}
    endings: Counter[str] = Counter()
    expected = 1
    for message in stream:
        for event in message.events:
            assert event.seq == expected
            expected += 1
            change = event.state_changed
            if change.reason == "accepted" and event.token not in state:
                state[event.token] = 0
                continue
            assert change.from_state == state[event.token]
            assert State(change.to_state) in LEGAL[State(change.from_state)]
            state[event.token] = change.to_state
            endings[event.token] += change.to_state in (5, 6)
        if message.seq >= head:
            stream.cancel()
            break
    assert expected == head + 1
    assert set(state) == tokens and all(endings[token] == 1 for token in tokens)
