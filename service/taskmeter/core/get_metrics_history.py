"""Tell how a task's use went over time: of its current attempt, live or ended."""

from __future__ import annotations

from taskmeter.core.service import Service
from taskmeter.model.usage import MetricsHistory


def get_metrics_history(
    service: Service, token: str, tenant: str, *, from_time: float, to_time: float, resolution_seconds: float
) -> MetricsHistory:
    """Return its points, oldest first; none before it starts, and none when its directory is lost."""
    task = service.find(token, tenant)
    directory = service.executor.directory_of(token, task.attempt)
    return service.meter.history(token, directory, from_time, to_time, resolution_seconds)
