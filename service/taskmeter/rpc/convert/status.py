"""TaskStatus from a Task. While a task is metered its changing fields come encoded from the meter and are left out here."""

from __future__ import annotations

import time

from taskmeter.model.state import State
from taskmeter.model.task import NOTHING_SAID, Task
from taskmeter.model.usage import Integrals, Metrics, Tariff
from taskmeter.rpc.convert.waiting import explain_wait
from taskmeter.v1 import task_pb2, usage_pb2

MIB = 1024.0 * 1024.0
_MEASURABLE = (
    "io_read_bytes",
    "io_write_bytes",
    "pss_bytes",
    "uss_bytes",
    "kernel_peak_memory_bytes",
    "gpu_utilization_percent",
    "peak_gpu_utilization_percent",
    "open_file_count",
    "voluntary_switch_count",
    "involuntary_switch_count",
    "minor_fault_count",
    "major_fault_count",
    "cpu_pressure_percent",
    "memory_pressure_percent",
    "io_pressure_percent",
)
"""Metrics that are absent where they could not be measured."""


def status_message(
    task: Task, *, metered: bool, queue_position: int | None = None, waiting_reason: str = ""
) -> task_pb2.TaskStatus:
    """Build the message; `metered` leaves fields 11–23, 28, 29, 33 and 34 to the meter's encoder."""
    spec = task.spec
    message = task_pb2.TaskStatus(
        token=task.token,
        name=spec.name,
        project_id=spec.project_id,
        source=spec.source,
        state=int(task.state),  # type: ignore[arg-type]  # same numbers, checked by a test
        completed=task.ended,
        outcome=int(task.outcome),  # type: ignore[arg-type]
        create_time=task.create_time,
        start_time=task.start_time,
        end_time=task.end_time,
        exit_code=task.exit_code,
        exit_message=task.exit_message if not task.unkillable_pids else _unkillable(task),
        exit_signal=task.exit_signal,
        attempt=task.attempt,
        retries_used=task.retries_used,
        max_retries=spec.retry.max_retries if spec.retry else 0,
        node=task.node,
        pid=task.pid,
        seq=task.seq,
        queue=spec.queue,
        idempotency_key=task.idempotency_key,
        input_submit_time=task.create_time,
    )
    # Assigned only where there is something: each assignment of an empty map or list costs as much as five fields.
    if task.tags:
        message.tags.update(task.tags)
    if task.metadata:
        message.metadata.update(task.metadata)
    if task.unkillable_pids:
        message.unkillable_pids.extend(task.unkillable_pids)
    said = task.said
    if said is not NOTHING_SAID:
        message.errors.extend(said.errors)
        message.warnings.extend(said.warnings)
        message.error_count = said.error_count
        message.warning_count = said.warning_count
    _timings(message.timings, task)
    if task.state is State.NONE:
        message.waiting_reason = explain_wait(task, time.clock_gettime(time.CLOCK_BOOTTIME), waiting_reason or "waits its turn")
        if queue_position is not None:
            message.queue_position = queue_position
    if not metered:
        _unmetered(message, task)
    return message


def _unkillable(task: Task) -> str:
    """Say what a task waits for that has been killed and is not dead."""
    count = len(task.unkillable_pids)
    pids = ", ".join(map(str, task.unkillable_pids[:8])) + (", …" if count > 8 else "")
    begin = f"{task.exit_message}; " if task.exit_message else ""
    return f"{begin}{count} of its processes {'outlives' if count == 1 else 'outlive'} SIGKILL: {pids}"


def _timings(timings: task_pb2.TaskTimings, task: Task) -> None:
    if task.launch_time:
        timings.queue_seconds = max(0.0, task.launch_time - task.queued_time)
    if task.start_time and task.launch_time:
        timings.start_seconds = max(0.0, task.start_time - task.launch_time)
    if task.end_time:
        timings.total_seconds = max(0.0, (task.gone_time or task.end_time) - task.create_time)
        if task.start_time:
            timings.run_seconds = max(0.0, task.end_time - task.start_time)
        if task.gone_time:
            begin = min(task.stop.time, task.end_time) if task.stop else task.end_time
            timings.stop_seconds = max(0.0, task.gone_time - begin)


def _unmetered(message: task_pb2.TaskStatus, task: Task) -> None:
    """Fill what the meter would have filled: from the final usage, or from the spec before anything ran."""
    integrals = task.earlier
    message.total_count = task.spec.total_count
    message.total_size = task.spec.total_size
    if task.usage is not None:
        integrals = integrals + task.usage.integrals
        progress = task.usage.progress
        message.total_count = progress.total_count or task.spec.total_count
        message.total_size = progress.total_size or task.spec.total_size
        message.completed_count = progress.completed_count
        message.failed_count = progress.failed_count
        message.completed_size = progress.completed_size
        message.failed_size = progress.failed_size
        message.status = progress.status
        message.current_object = progress.current_object
        fill_metrics(message.metrics, task.usage.metrics)
    if integrals != Integrals() or task.usage is not None:
        fill_tokens(message.tokens, integrals, task.tariff)


def fill_metrics(message: usage_pb2.TaskMetrics, metrics: Metrics) -> None:
    """Set every field that was measured; what was not stays absent."""
    message.SetInParent()
    message.cpu_percent = metrics.cpu_percent
    message.cpu_memory_mb = metrics.memory_bytes / MIB
    message.peak_cpu_percent = metrics.peak_cpu_percent
    message.peak_cpu_memory_mb = metrics.peak_memory_bytes / MIB
    message.avg_cpu_percent = metrics.avg_cpu_percent
    message.avg_cpu_memory_mb = metrics.avg_memory_bytes / MIB
    message.cpu_cores = metrics.cpu_cores
    message.cpu_time_ns = metrics.cpu_time_ns
    message.memory_bytes = metrics.memory_bytes
    message.peak_memory_bytes = metrics.peak_memory_bytes
    message.recent_peak_cpu_percent = metrics.recent_peak_cpu_percent
    message.recent_peak_memory_bytes = metrics.recent_peak_memory_bytes
    for name in _MEASURABLE:
        value = getattr(metrics, name)
        if value is not None:
            setattr(message, name, value)
    message.process_count = metrics.process_count
    message.thread_count = metrics.thread_count
    message.source = int(metrics.source)  # type: ignore[assignment]
    message.memory_source = int(metrics.memory_source)  # type: ignore[assignment]
    message.sample_time = metrics.sample_time
    message.interval_seconds = metrics.interval_seconds
    message.gap = metrics.gap
    for name in ("gpu_memory", "peak_gpu_memory", "avg_gpu_memory"):
        held = getattr(metrics, f"{name}_bytes")
        if held is not None:
            setattr(message, f"{name}_mb", held / MIB)
    for gpu in metrics.gpus:
        message.gpus.add(
            index=gpu.index,
            uuid=gpu.uuid,
            name=gpu.name,
            memory_bytes=gpu.memory_bytes,
            utilization_percent=gpu.utilization_percent,
        )


def fill_tokens(message: usage_pb2.TaskTokens, integrals: Integrals, tariff: Tariff) -> None:
    """Price the integrals."""
    message.cpu_utilization = tariff.cpu_tokens(integrals)
    message.cpu_memory = tariff.memory_tokens(integrals)
    message.gpu_memory = tariff.gpu_memory_tokens(integrals)
    message.gpu_utilization = tariff.gpu_time_tokens(integrals)
    message.total = tariff.total_tokens(integrals)
    if tariff.custom:
        message.custom.update(tariff.custom_tokens(integrals))
    message.tariff = tariff.label
    message.cpu_ns = integrals.cpu_ns
    message.memory_byte_seconds = integrals.memory_byte_seconds
    message.gpu_memory_byte_seconds = integrals.gpu_memory_byte_seconds
    message.gpu_ns = integrals.gpu_ns
