"""How soon does a client hear of what a task does? `python -m bench.end_to_end [--quick] [--seed N]`.

The end: from the last thing that a program does (farewell.c says when that was), and from the time at which its shim says that
the kernel told of it, to the arrival of the event. One task after the other, then many at a steady rate. A report: from the call
of `taskmeter.work` in the task to the arrival of a status that has it. Leaves bench/results/end_to_end.json.
"""

from __future__ import annotations

import asyncio
import random
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import uvloop

from bench import harness, profile, report
from bench.result import Cell, Column, Result
from taskmeter.v1 import event_pb2
from taskmeter.v1 import task_service_pb2 as pb
from tests.daemon import Daemon

ROUNDS, TASKS, LOADED_TASKS, REPORTS = 3, 150, 400, 100
RATE = 100
"""Tasks started per second under load."""
LONGEST_MS = 40
"""A task lives a chance part of it, so that its end meets every phase of the daemon's clocks."""
REPORT_SECONDS = 0.15
P50_MS, P99_MS = 5.0, 20.0
ONE, MANY = "one task at a time", f"{RATE} tasks/s"
LAST_ACT, RECORDED = "the program's last act → event", "the end as the shim records it → event"
STATUS, ASKED = "a report → status in a stream", "a report → answer of GetTaskStatus, asked all the time"
ABOUT = (
    "{rounds} rounds: {tasks} tasks one after the other, {loaded} at {rate} a second, {count} reports. The client is Python "
    "on the same machine, and shares the cores with daemon, shims and tasks."
)
WORK = """
import random, sys, time
from taskmeter.work import current
work, chance = current(), random.Random(int(sys.argv[1]))
for _ in range(int(sys.argv[2])):
    work.add()
    work.status(str(time.time_ns()))
    time.sleep(float(sys.argv[3]) * (0.5 + chance.random()))
"""


class Connection:
    """Calls to a daemon on one loop."""

    def __init__(self, channel: grpc.aio.Channel, key: str) -> None:
        self._channel = channel
        self._metadata = (("authorization", f"Bearer {key}"),)

    async def call(self, name: str, request: Any, answer: Any) -> Any:
        method: Any = self._channel.unary_unary(
            f"/taskmeter.v1.TaskService/{name}", type(request).SerializeToString, answer.FromString
        )
        return await method(request, metadata=self._metadata)

    def stream(self, request: pb.StreamEventsRequest) -> Any:
        method: Any = self._channel.unary_stream(
            "/taskmeter.v1.TaskService/StreamEvents", pb.StreamEventsRequest.SerializeToString, pb.StreamEventsResponse.FromString
        )
        return method(request, metadata=self._metadata)

    async def start(self, *argv: str) -> str:
        answer = await self.call("StartTask", pb.StartTaskRequest(spec={"command": {"argv": argv}}), pb.StartTaskResponse)
        token: str = answer.token
        return token


@asynccontextmanager
async def connected(daemon: Daemon) -> AsyncIterator[Connection]:
    async with grpc.aio.insecure_channel(daemon.target) as channel:
        yield Connection(channel, daemon.key)


class Ends:
    """Receives the ends of tasks."""

    def __init__(self, connection: Connection) -> None:
        self.seen: dict[str, tuple[float, float]] = {}
        """By token: when the event came, and when the shim says that it was."""
        self._changed = asyncio.Event()
        self._stream = connection.stream(pb.StreamEventsRequest(kinds=[event_pb2.EVENT_KIND_STATE]))

    async def follow(self) -> None:
        while True:
            message = await self._stream.read()
            now = time.time()
            for event in message.events:
                if event.state_changed.outcome:
                    self.seen[event.token] = now, event.state_changed.status.end_time
            self._changed.set()

    async def wait(self, tokens: list[str]) -> None:
        while not all(token in self.seen for token in tokens):
            self._changed.clear()
            await asyncio.wait_for(self._changed.wait(), 30)


async def ends(daemon: Daemon, program: str, count: int, rate: float, chance: random.Random) -> list[tuple[str, float, float]]:
    """Return the token of each task, when its event came, and when its shim recorded the end; one by one if the rate is 0."""
    async with connected(daemon) as connection:
        heard = Ends(connection)
        following = asyncio.ensure_future(heard.follow())
        tokens: list[str] = []
        begin = time.monotonic()

        async def begin_one() -> None:
            tokens.append(await connection.start(program, str(chance.randrange(LONGEST_MS))))

        starts = set()
        for number in range(count):
            if rate:
                await asyncio.sleep(max(0.0, begin + number / rate - time.monotonic()))
                starts.add(asyncio.ensure_future(begin_one()))
            else:
                await begin_one()
                await heard.wait(tokens)
        await asyncio.gather(*starts)
        await heard.wait(tokens)
        following.cancel()
        return [(token, *heard.seen[token]) for token in tokens]


def late_ends(daemon: Daemon, found: list[tuple[str, float, float]]) -> dict[str, list[float]]:
    """Return both latenesses in ms."""
    late: dict[str, list[float]] = {LAST_ACT: [], RECORDED: []}
    for token, came, recorded in found:
        said = b"".join(piece.data for piece in daemon.calls.ReadFile(token=token, path="stdout"))
        late[LAST_ACT].append((came - int(said) / 1e9) * 1e3)
        late[RECORDED].append((came - recorded) * 1e3)
    return late


async def reports(daemon: Daemon, count: int, seed: int) -> dict[str, list[float]]:
    """Return how late the reports of a task were, in ms."""
    late: dict[str, list[float]] = {STATUS: [], ASKED: []}
    known = dict.fromkeys(late, "")

    def heard(side: str, text: str) -> None:
        if text and text != known[side]:
            known[side] = text
            late[side].append((time.time() - int(text) / 1e9) * 1e3)

    async with connected(daemon) as connection:
        token = await connection.start(sys.executable, "-c", WORK, str(seed), str(count), str(REPORT_SECONDS))
        stream = connection.stream(
            pb.StreamEventsRequest(tokens=[token], include_status=True, status_interval_seconds=0.1, until_terminal=True)
        )

        async def ask() -> None:
            while True:
                answer = await connection.call("GetTaskStatus", pb.GetTaskStatusRequest(token=token), pb.GetTaskStatusResponse)
                heard(ASKED, answer.status.status)
                await asyncio.sleep(0.001)

        asking = asyncio.ensure_future(ask())
        while (message := await stream.read()) is not grpc.aio.EOF:
            for status in message.statuses:
                heard(STATUS, status.status)
        asking.cancel()
    return late


def note(result: Result, load: str, late: dict[str, list[float]]) -> None:
    """Add a round."""
    for side, values in late.items():
        cell: Cell | None = next((each for each in result.cells if (each["load"], each["side"]) == (load, side)), None)
        if cell is None:
            cell = {"load": load, "side": side}
            result.cells.append(cell)
        for percent in (50, 90, 99, 100):
            cell.setdefault(f"p{percent}_ms", []).append(harness.percentile(values, percent))
        cell.setdefault("count", []).append(len(values))


def measure(result: Result, program: str, *, rounds: int, tasks: int, loaded: int, count: int, seed: int) -> None:
    """Fill the cells."""
    chance = random.Random(seed)
    with harness.fresh_directory() as home, Daemon("--max-running", "200", state_dir=home / "state") as daemon:
        uvloop.run(ends(daemon, program, tasks // 5, 0, chance))  # warm
        for _ in range(rounds):
            note(result, ONE, late_ends(daemon, uvloop.run(ends(daemon, program, tasks, 0, chance))))
            note(result, MANY, late_ends(daemon, uvloop.run(ends(daemon, program, loaded, RATE, chance))))
        judge(result, daemon, program, chance)
    for hertz in (10, 20):
        with Daemon("--sample-rate", str(hertz)) as daemon:
            for number in range(rounds):
                note(result, f"samples at {hertz} Hz", uvloop.run(reports(daemon, count, seed + number)))


def judge(result: Result, daemon: Daemon, program: str, chance: random.Random) -> None:
    """Hold the ends against their targets, and look where the time goes if one is missed."""
    for load in (ONE, MANY):
        for key, what, most in (("p50_ms", "p50", P50_MS), ("p99_ms", "p99", P99_MS)):
            figures = result.figures(key, load=load, side=RECORDED)
            result.judge(f"end of a process → event, {load}: {what} at most {most:g} ms", figures, most=most)
    missed = [verdict for verdict in result.verdicts if verdict.met is False]
    if missed:
        title = f"the daemon at {MANY}"
        count = round(RATE * (profile.SECONDS + 1))
        result.profiles[title] = profile.of(daemon.pid, lambda: uvloop.run(ends(daemon, program, count, RATE, chance)))
        for verdict in missed:
            verdict.why = profile.shown(result.profiles[title], title)


def main(arguments: list[str]) -> None:
    options = harness.options(arguments)
    sizes = {"rounds": 1, "tasks": 30, "loaded": 50, "count": 10} if options.quick else {}
    sizes = {"rounds": ROUNDS, "tasks": TASKS, "loaded": LOADED_TASKS, "count": REPORTS, **sizes}
    result = Result(
        "end_to_end",
        "How soon does a client hear of what a task does?",
        [ABOUT.format(rate=RATE, **sizes)],
        ["load"],
        [
            *(
                Column(f"p{percent}_ms", f"p{percent}, ms" if percent < 100 else "latest, ms", ".2f")
                for percent in (50, 90, 99, 100)
            ),
            Column("count", "n"),
        ],
        seed=options.seed,
        quick=options.quick,
    )
    with harness.fresh_directory() as place:
        program = Path(place) / "farewell"
        subprocess.run(["gcc", "-O2", "-o", str(program), str(Path(__file__).with_name("farewell.c"))], check=True)
        measure(result, str(program), **sizes, seed=options.seed)
    result.save()
    print(report.markdown_of(result))


if __name__ == "__main__":
    main(sys.argv[1:])
