"""How soon does a started task run, and how many tasks per second go through the whole path?

Latency: tasks one after the other; from before the call of StartTask to what the kernel says about the start of the process
(`start_time`, stamped by the shim after exec), and to the time that the program itself prints. Target: p50 ≤ 10 ms.
Throughput: /bin/true, a bounded number of calls in flight, one subscriber; from the first call until the event of the last end
has been received, so that each task is accepted, durable, run, its exit recorded, its events streamed. Target: ≥ 500 per second.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter

import grpc
import uvloop

from bench import harness
from taskmeter.v1 import task_service_pb2 as pb
from tests.daemon import Daemon

LATENCY_COUNT = harness.full(300, quick=10)
ROUNDS = harness.full(5, quick=1)
TASKS_PER_ROUND = harness.full(2000, quick=100)
IN_FLIGHT = 64
SERVICE = "/taskmeter.v1.TaskService"
SUCCEEDED = 1


def latency(daemon: Daemon) -> tuple[list[float], list[float]]:
    """Return the two latencies of each task in ms."""
    calls = daemon.calls
    to_start, to_print = [], []
    for _ in range(LATENCY_COUNT):
        begin = time.time()
        token = calls.StartTask(spec={"command": {"argv": ["date", "+%s.%N"]}}).token
        status = calls.WaitTask(token=token).status
        assert status.outcome == SUCCEEDED, status
        printed = b"".join(piece.data for piece in calls.ReadFile(token=token, path="stdout"))
        to_start.append((status.start_time - begin) * 1e3)
        to_print.append((float(printed) - begin) * 1e3)
    return to_start, to_print


async def throughput(target: str, key: str, number: int) -> tuple[float, Counter[int]]:
    """Return the seconds of one round, and how its tasks ended."""
    metadata = (("authorization", f"Bearer {key}"),)
    tag = f"round-{number}"
    async with grpc.aio.insecure_channel(target) as channel:
        start_task = channel.unary_unary(
            f"{SERVICE}/StartTask", pb.StartTaskRequest.SerializeToString, pb.StartTaskResponse.FromString
        )
        stream_events = channel.unary_stream(
            f"{SERVICE}/StreamEvents", pb.StreamEventsRequest.SerializeToString, pb.StreamEventsResponse.FromString
        )
        stream = stream_events(pb.StreamEventsRequest(tags={"bench": tag}), metadata=metadata)
        await stream.read()  # the bookmark: it listens
        outcomes: Counter[int] = Counter()
        left = TASKS_PER_ROUND

        async def follow() -> None:
            while outcomes.total() < TASKS_PER_ROUND:
                message = await stream.read()
                assert isinstance(message, pb.StreamEventsResponse), "the stream ended"
                outcomes.update(event.state_changed.outcome for event in message.events if event.state_changed.to_state in (5, 6))

        async def submit() -> None:
            nonlocal left
            while left > 0:
                left -= 1
                await start_task(
                    pb.StartTaskRequest(spec={"command": {"argv": ["/bin/true"]}, "tags": {"bench": tag}}), metadata=metadata
                )

        begin = time.perf_counter()
        async with asyncio.TaskGroup() as group:
            group.create_task(follow())
            for _ in range(IN_FLIGHT):
                group.create_task(submit())
        seconds = time.perf_counter() - begin
        stream.cancel()
    return seconds, outcomes


def main() -> None:
    with harness.fresh_directory() as home, Daemon("--max-running", "100", state_dir=home / "state") as daemon:
        latency_ms, printed_ms = latency(daemon)
        uvloop.run(throughput(daemon.target, daemon.key, -1))  # warm
        rates, cpu_us = [], []
        outcomes: Counter[int] = Counter()
        for number in range(ROUNDS):
            before = harness.cpu_seconds(daemon.pid)
            seconds, found = uvloop.run(throughput(daemon.target, daemon.key, number))
            cpu_us.append((harness.cpu_seconds(daemon.pid) - before) / TASKS_PER_ROUND * 1e6)
            rates.append(TASKS_PER_ROUND / seconds)
            outcomes += found
        sources = daemon.calls.GetServerInfo()
    harness.heading("How soon does a task run, and how many go through per second?")
    print(f"Metering by {sources.cpu_source}, memory by {sources.memory_source}.\n")
    harness.table(
        [f"StartTask to …, ms, {LATENCY_COUNT} tasks one by one", "p50", "p90", "p99", "max"],
        [
            (name, *(f"{harness.percentile(values, percent):.2f}" for percent in (50, 90, 99, 100)))
            for name, values in (("process runs (exec done)", latency_ms), ("program printed", printed_ms))
        ],
    )
    print("Target: p50 ≤ 10 ms.\n")
    harness.table(
        [
            f"/bin/true through the whole path, {ROUNDS} rounds of {TASKS_PER_ROUND}, {IN_FLIGHT} calls in flight",
            "median (range)",
        ],
        [
            ("tasks per second", harness.spread(rates, ".0f")),
            ("processor time of the daemon per task, µs", harness.spread(cpu_us, ".0f")),
            ("ended with success", f"{outcomes[SUCCEEDED]} of {outcomes.total()}"),
        ],
    )
    print("Target: ≥ 500 per second. Generator, subscriber, daemon, shims and tasks share all cores.")


if __name__ == "__main__":
    main()
