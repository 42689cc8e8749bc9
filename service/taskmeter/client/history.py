"""A task's use over time as objects, in the form of the status view."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from taskmeter.client.status import View
from taskmeter.v1 import task_service_pb2, usage_pb2


class MetricsPoint(View):
    """Use over one step: means, and the highest where it matters; None is what was not measured."""

    __slots__ = ()
    _descriptor = usage_pb2.MetricsPoint.DESCRIPTOR

    time: float
    cpu_cores: float
    cpu_cores_max: float
    memory_bytes: int
    memory_bytes_max: int
    gpu_memory_bytes: int | None
    gpu_utilization_percent: float | None
    rate_count_per_second: float
    rate_size_per_second: float
    gap: bool


class MetricsHistory(View):
    """The points of one attempt, oldest first, and the length of their steps. Steps that nobody sampled are left out."""

    __slots__ = ()
    _descriptor = task_service_pb2.GetMetricsHistoryResponse.DESCRIPTOR
    _wrap: ClassVar[Mapping[str, Any]] = {"points": lambda points: [MetricsPoint(point) for point in points]}

    points: list[MetricsPoint]
    resolution_seconds: float
