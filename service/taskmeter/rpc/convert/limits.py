"""What a spec says about limits: resources, rlimits, niceness, idle time; checked, and to and from the wire."""

from __future__ import annotations

import math
import resource

from taskmeter.model.resources import Resources
from taskmeter.model.task import TaskSpec
from taskmeter.rpc.convert.checks import Checks
from taskmeter.v1 import task_pb2

MIN_IDLE_TTL_SECONDS = 1.0
MAX_CORES = 65536.0
MAX_PROCESSES = 2**22
"""PID_MAX_LIMIT of 64-bit Linux."""
_RLIMITS = frozenset(name.removeprefix("RLIMIT_").lower() for name in dir(resource) if name.startswith("RLIMIT_"))


def check_limits(checks: Checks, message: task_pb2.TaskSpec) -> None:
    """Note every limit that no task could have."""
    checks.seconds("spec.idle_ttl_seconds", message.idle_ttl_seconds)
    if 0 < message.idle_ttl_seconds < MIN_IDLE_TTL_SECONDS:
        checks.add("spec.idle_ttl_seconds", f"must be 0 or at least {MIN_IDLE_TTL_SECONDS:g}")
    wanted = message.resources
    if not math.isfinite(wanted.cpu_cores) or not 0 <= wanted.cpu_cores <= MAX_CORES:
        checks.add("spec.resources.cpu_cores", f"must be from 0 to {MAX_CORES:g}")
    checks.count("spec.resources.memory_bytes", wanted.memory_bytes)
    checks.count("spec.resources.gpu_memory_bytes", wanted.gpu_memory_bytes)
    checks.count("spec.resources.gpus", wanted.gpus)
    checks.count("spec.resources.max_processes", wanted.max_processes, most=MAX_PROCESSES)
    for name, value in message.rlimits.items():
        if name not in _RLIMITS:
            checks.add(f"spec.rlimits[{name[:40]!r}]", f"is not a limit; known are {', '.join(sorted(_RLIMITS))}")
        if value < -1:
            checks.add(f"spec.rlimits[{name[:40]!r}]", "must be at least 0, or -1 for none")
    if message.HasField("nice") and not -20 <= message.nice <= 19:
        checks.add("spec.nice", "must be from -20 to 19")


def resources_of(message: task_pb2.TaskSpec) -> Resources | None:
    """Read the spec's resources; None when it has none."""
    if not message.HasField("resources"):
        return None
    wanted = message.resources
    return Resources(
        cpu_cores=wanted.cpu_cores,
        memory_bytes=wanted.memory_bytes,
        gpus=wanted.gpus,
        gpu_memory_bytes=wanted.gpu_memory_bytes,
        max_processes=wanted.max_processes,
        enforce=wanted.enforce,
    )


def resources_message(spec: TaskSpec) -> task_pb2.Resources | None:
    """Encode the spec's resources."""
    wanted = spec.resources
    if wanted is None:
        return None
    return task_pb2.Resources(
        cpu_cores=wanted.cpu_cores,
        memory_bytes=wanted.memory_bytes,
        gpus=wanted.gpus,
        gpu_memory_bytes=wanted.gpu_memory_bytes,
        max_processes=wanted.max_processes,
        enforce=wanted.enforce,
    )
