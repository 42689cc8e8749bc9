"""How many GetTaskStatus calls does one core of the daemon answer, compared with a handler that builds the message per call?

Both servers run all the time, pinned to one core; they are asked in turns by a generator pinned to another one. Target: at least
1.35 times the baseline (see baseline.py). Processor time per call is the figure that does not depend on the generator.
"""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

from bench import baseline, harness
from taskmeter.v1 import task_service_pb2
from tests.daemon import Daemon
from tests.waiting import wait_until

ROUNDS = harness.full(9, quick=1)
CALLS = harness.full(6000, quick=500)
IN_FLIGHT = 50
LONE_CALLS = harness.full(1000, quick=100)
WORK = """
import signal
from taskmeter.work import current
work = current().progress(total=1000, total_size=10**9).status("reading").object("cases/wing-0251.dat")
work.add(250, size=25 * 10**7)
work.fail(3, size=3 * 10**6)
signal.pause()
"""
"""Fills the fields that the baseline has too, then stands still."""

SPEC = {
    "name": "night run",
    "project_id": "simulations",
    "source": "cases/wing.yaml",
    "command": {"argv": [sys.executable, "-c", WORK]},
    "tags": {"team": "aero", "kind": "nightly"},
    "metadata": {"case": "wing"},
    "total_count": 1000,
    "total_size": 10**9,
}


class Side:
    """One server with its generator."""

    def __init__(self, pid: int, target: str, key: str, token: str) -> None:
        harness.pin(pid, harness.SERVER_CPU)
        self.pid = pid
        request = task_service_pb2.GetTaskStatusRequest(token=token).SerializeToString().hex()
        command = [sys.executable, "-m", "bench.load", target, key, baseline.PATH, request]
        self.generator = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.per_second: list[float] = []
        self.cpu_us: list[float] = []
        self.lone_us: list[float] = []

    def ask(self, calls: int, in_flight: int) -> dict[str, Any]:
        assert self.generator.stdin is not None
        assert self.generator.stdout is not None
        print(calls, in_flight, file=self.generator.stdin, flush=True)
        found: dict[str, Any] = json.loads(self.generator.stdout.readline())
        return found

    def round(self) -> None:
        before = harness.cpu_seconds(self.pid)
        found = self.ask(CALLS, IN_FLIGHT)
        self.cpu_us.append((harness.cpu_seconds(self.pid) - before) / CALLS * 1e6)
        self.per_second.append(CALLS / found["seconds"])
        self.lone_us.append(self.ask(LONE_CALLS, 1)["p50_us"])

    def close(self) -> None:
        assert self.generator.stdin is not None
        self.generator.stdin.close()
        self.generator.wait(10)


def main() -> None:
    with Daemon() as daemon:
        token = daemon.calls.StartTask(spec=SPEC).token
        wait_until(lambda: daemon.calls.GetTaskStatus(token=token).status.failed_count, "its report is there")
        size = daemon.calls.GetTaskStatus(token=token).status.ByteSize()
        socket = f"{daemon.home}/baseline.sock"
        other = subprocess.Popen([sys.executable, "-m", "bench.baseline", socket, daemon.key], stdout=subprocess.PIPE, text=True)
        try:
            assert other.stdout is not None
            assert other.stdout.readline() == "ready\n"
            ours = Side(daemon.pid, daemon.target, daemon.key, token)
            theirs = Side(other.pid, f"unix:{socket}", daemon.key, baseline.TOKEN)
            for side in (ours, theirs):
                side.ask(2000, IN_FLIGHT)  # warm
            for number in range(ROUNDS):
                for side in (ours, theirs) if number % 2 else (theirs, ours):
                    side.round()
            for side in (ours, theirs):
                side.close()
        finally:
            other.kill()
            other.communicate()
    harness.heading("How many GetTaskStatus calls does one core answer?")
    print(
        f"{ROUNDS} rounds in turns of {CALLS} calls, {IN_FLIGHT} in flight, then {LONE_CALLS} one by one. Status of {size} bytes "
        f"(baseline {baseline.message(baseline.Task()).ByteSize()}). Median (range).\n"
    )
    harness.table(
        ["", "calls per second", "server CPU per call, µs", "p50 one in flight, µs"],
        [
            (
                name,
                harness.spread(side.per_second, ".0f"),
                harness.spread(side.cpu_us, ".1f"),
                harness.spread(side.lone_us, ".0f"),
            )
            for name, side in (("the daemon", ours), ("asyncio, message per call", theirs))
        ],
    )
    ratios = [mine / base for mine, base in zip(ours.per_second, theirs.per_second, strict=True)]
    cpu = [base / mine for mine, base in zip(ours.cpu_us, theirs.cpu_us, strict=True)]
    print(f"Ratio of rates: **{harness.spread(ratios)}**; of processor time per call: **{harness.spread(cpu)}**.")
    print("Target: at least 1.35.")


if __name__ == "__main__":
    main()
