"""Between a history of the core and its message."""

from __future__ import annotations

from taskmeter.model.usage import MetricsHistory
from taskmeter.v1 import task_service_pb2 as pb
from taskmeter.v1 import usage_pb2


def history_to_message(history: MetricsHistory) -> pb.GetMetricsHistoryResponse:
    """Return the response; at most 1,500 points of 90 bytes, so it needs no pages."""
    points = [
        usage_pb2.MetricsPoint(
            time=point.time,
            cpu_cores=point.cpu_cores,
            cpu_cores_max=point.cpu_cores_max,
            memory_bytes=point.memory_bytes,
            memory_bytes_max=point.memory_bytes_max,
            gpu_memory_bytes=point.gpu_memory_bytes,
            gpu_utilization_percent=point.gpu_utilization_percent,
            rate_count_per_second=point.rate_count_per_second,
            rate_size_per_second=point.rate_size_per_second,
            gap=point.gap,
        )
        for point in history.points
    ]
    return pb.GetMetricsHistoryResponse(points=points, resolution_seconds=history.resolution_seconds)
