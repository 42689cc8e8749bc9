"""What a spec says about limits that are its own: rlimits, niceness, idle time; checked."""

from __future__ import annotations

import resource

from taskmeter.rpc.convert.checks import Checks
from taskmeter.v1 import task_pb2

MIN_IDLE_TTL_SECONDS = 1.0
_RLIMITS = frozenset(name.removeprefix("RLIMIT_").lower() for name in dir(resource) if name.startswith("RLIMIT_"))


def check_limits(checks: Checks, message: task_pb2.TaskSpec) -> None:
    """Note every limit that no task could have."""
    checks.seconds("spec.idle_ttl_seconds", message.idle_ttl_seconds)
    if 0 < message.idle_ttl_seconds < MIN_IDLE_TTL_SECONDS:
        checks.add("spec.idle_ttl_seconds", f"must be 0 or at least {MIN_IDLE_TTL_SECONDS:g}")
    for name, value in message.rlimits.items():
        if name not in _RLIMITS:
            checks.add(f"spec.rlimits[{name[:40]!r}]", f"is not a limit; known are {', '.join(sorted(_RLIMITS))}")
        if value < -1:
            checks.add(f"spec.rlimits[{name[:40]!r}]", "must be at least 0, or -1 for none")
    if message.HasField("nice") and not -20 <= message.nice <= 19:
        checks.add("spec.nice", "must be from -20 to 19")
