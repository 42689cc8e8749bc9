"""Resources: from the wire, checked, and back."""

from __future__ import annotations

import math

from taskmeter.model.resources import Resources
from taskmeter.model.task import NOTHING_ASKED
from taskmeter.rpc.convert.checks import Checks
from taskmeter.v1 import task_pb2

MAX_CORES = 65536.0
MAX_PROCESSES = 2**22
"""PID_MAX_LIMIT of 64-bit Linux."""


def check_resources(checks: Checks, message: task_pb2.Resources) -> None:
    """Note what is wrong."""
    if not math.isfinite(message.cpu_cores) or not 0 <= message.cpu_cores <= MAX_CORES:
        checks.add("spec.resources.cpu_cores", f"must be from 0 to {MAX_CORES:g}")
    for name in ("memory_bytes", "gpus", "gpu_memory_bytes"):
        checks.count(f"spec.resources.{name}", getattr(message, name))
    checks.count("spec.resources.max_processes", message.max_processes, most=MAX_PROCESSES)
    if message.gpu_memory_bytes and not message.gpus:
        checks.add("spec.resources.gpu_memory_bytes", "needs spec.resources.gpus")


def resources_from_message(message: task_pb2.TaskSpec) -> Resources:
    """Return what a spec asks for."""
    if not message.HasField("resources"):
        return NOTHING_ASKED
    asked = message.resources
    return Resources(
        cpu_cores=asked.cpu_cores,
        memory_bytes=asked.memory_bytes,
        gpus=asked.gpus,
        gpu_memory_bytes=asked.gpu_memory_bytes,
        max_processes=asked.max_processes,
        enforce=asked.enforce,
    )


def fill_resources(message: task_pb2.TaskSpec, resources: Resources) -> None:
    """Set what a spec asks for; nothing if it asks for nothing."""
    if resources == NOTHING_ASKED:
        return
    message.resources.cpu_cores = resources.cpu_cores
    message.resources.memory_bytes = resources.memory_bytes
    message.resources.gpus = resources.gpus
    message.resources.gpu_memory_bytes = resources.gpu_memory_bytes
    message.resources.max_processes = resources.max_processes
    message.resources.enforce = resources.enforce
