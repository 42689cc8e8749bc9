"""Histories made up for drawing."""

from __future__ import annotations

from taskmeter.client.history import MetricsHistory
from taskmeter.v1 import task_service_pb2, usage_pb2

BEGIN = 1_700_000_000.0


def history(*cores: float | None, step: float = 1.0, **more: float) -> MetricsHistory:
    """Return one with a point per value; None leaves the step out. `more` are fields of every point."""
    answer = task_service_pb2.GetMetricsHistoryResponse(resolution_seconds=step)
    for n, value in enumerate(cores):
        if value is not None:
            fields = {"memory_bytes": 100 << 20, "memory_bytes_max": 100 << 20, **more}
            answer.points.append(
                usage_pb2.MetricsPoint(time=BEGIN + n * step, cpu_cores=value, cpu_cores_max=value, **fields)  # type: ignore[arg-type]
            )
    return MetricsHistory.of(answer)
