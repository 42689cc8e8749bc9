"""What GetTaskStatus is compared with: grpc.aio on asyncio, a handler that builds the message per call, the same authentication.

`baseline.py SOCKET KEY`; prints "ready". It is what one writes first: a servicer that fills a TaskStatus from an object's values.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import grpc

from taskmeter.core.keyring import Keyring
from taskmeter.model.key import Key
from taskmeter.rpc.auth import Authenticator
from taskmeter.v1 import task_pb2, task_service_pb2, usage_pb2

PATH = "/taskmeter.v1.TaskService/GetTaskStatus"
TOKEN = "tk_0123456789abcdefghijkl"


@dataclass(slots=True)
class Task:
    """A running task, as a service would hold it."""

    token: str = TOKEN
    name: str = "night run"
    project_id: str = "simulations"
    source: str = "cases/wing.yaml"
    state: int = 3
    times: tuple[float, float] = (1.7e9, 1.7e9 + 0.01)
    counts: tuple[int, int, int] = (1000, 250, 3)
    sizes: tuple[int, int, int] = (10**9, 25 * 10**7, 3 * 10**6)
    rates: tuple[float, float] = (12.5, 1.25e7)
    eta: tuple[float, float, float] = (60.0, 50.0, 75.0)
    status: str = "reading"
    current_object: str = "cases/wing-0251.dat"
    metrics: dict[str, Any] = field(
        default_factory=lambda: {
            "cpu_percent": 48.5,
            "cpu_memory_mb": 512.25,
            "peak_cpu_percent": 99.5,
            "peak_cpu_memory_mb": 1024.5,
            "avg_cpu_percent": 51.5,
            "avg_cpu_memory_mb": 600.5,
            "cpu_cores": 0.97,
            "cpu_time_ns": 123_456_789_012,
            "memory_bytes": 537_133_056,
            "peak_memory_bytes": 1_074_266_112,
            "io_read_bytes": 10**9,
            "io_write_bytes": 10**8,
            "process_count": 4,
            "thread_count": 9,
            "source": 1,
            "sample_time": 1.7e9,
            "interval_seconds": 0.1,
            "memory_source": 1,
        }
    )
    tokens: dict[str, Any] = field(
        default_factory=lambda: {
            "cpu_utilization": 34.98,
            "cpu_memory": 12.5,
            "total": 47.48,
            "tariff": "default-1",
            "cpu_ns": 123_456_789_012,
            "memory_byte_seconds": 4.8e11,
        }
    )
    tags: dict[str, str] = field(default_factory=lambda: {"team": "aero", "kind": "nightly"})
    metadata: dict[str, str] = field(default_factory=lambda: {"case": "wing"})


def message(task: Task) -> task_pb2.TaskStatus:
    """Build the message with every field that a running task has."""
    return task_pb2.TaskStatus(
        token=task.token,
        name=task.name,
        project_id=task.project_id,
        source=task.source,
        state=task.state,  # type: ignore[arg-type]
        create_time=task.times[0],
        start_time=task.times[1],
        total_count=task.counts[0],
        completed_count=task.counts[1],
        failed_count=task.counts[2],
        total_size=task.sizes[0],
        completed_size=task.sizes[1],
        failed_size=task.sizes[2],
        rate_count=round(task.rates[0]),
        rate_size=round(task.rates[1]),
        rate_count_per_second=task.rates[0],
        rate_size_per_second=task.rates[1],
        eta_seconds=task.eta[0],
        eta_low_seconds=task.eta[1],
        eta_high_seconds=task.eta[2],
        status=task.status,
        current_object=task.current_object,
        metrics=usage_pb2.TaskMetrics(**task.metrics),
        tokens=usage_pb2.TaskTokens(**task.tokens),
        tags=task.tags,
        metadata=task.metadata,
        node="local",
        pid=4711,
        timings=task_pb2.TaskTimings(queue_seconds=0.001, start_seconds=0.009, run_seconds=20.0),
        seq=1234,
        work_summary="python solve.py --case wing",
    )


class OneKey:
    """A key store with the admin key alone."""

    def __init__(self, key: str) -> None:
        self._key = key

    def load(self) -> tuple[str, Sequence[Key]]:
        return self._key, ()

    def save(self, keys: Sequence[Key]) -> None:
        raise AssertionError("nobody makes keys here")


async def main(socket: str, key: str) -> None:
    authenticator = Authenticator(Keyring(OneKey(key)))
    tasks = {TOKEN: Task()}

    async def get_task_status(
        request: task_service_pb2.GetTaskStatusRequest, context: Any
    ) -> task_service_pb2.GetTaskStatusResponse:
        authenticator.permit(PATH, authenticator.holder(context.invocation_metadata()))
        return task_service_pb2.GetTaskStatusResponse(status=message(tasks[request.token]))

    server = grpc.aio.server()
    handler = grpc.unary_unary_rpc_method_handler(
        get_task_status,
        request_deserializer=task_service_pb2.GetTaskStatusRequest.FromString,
        response_serializer=task_service_pb2.GetTaskStatusResponse.SerializeToString,
    )
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler("taskmeter.v1.TaskService", {"GetTaskStatus": handler}),)
    )
    server.add_insecure_port(f"unix:{socket}")
    await server.start()
    print("ready", flush=True)
    await server.wait_for_termination()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
