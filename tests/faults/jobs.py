"""What the harness runs: small shell programs that write down each start, and end in a way that is known beforehand."""

from __future__ import annotations

import random
from dataclasses import asdict, dataclass
from typing import Any, Self

from taskmeter.v1 import task_pb2

SUCCEEDED, FAILED, SIGNALED, CANCELLED = (
    int(task_pb2.TASK_OUTCOME_SUCCEEDED),
    int(task_pb2.TASK_OUTCOME_FAILED),
    int(task_pb2.TASK_OUTCOME_SIGNALED),
    int(task_pb2.TASK_OUTCOME_CANCELLED),
)
GRACE_SECONDS = 0.3
CANARY_PREFIX = "canary-"
"""The secret that every task has in its environment, and that must be seen nowhere (G13)."""

_NOTE = 'printf "%s %s\\n" "$TASKMETER_TOKEN.$TASKMETER_ATTEMPT" "$NAME" >> "$STARTS"; '
_TREE = "(setsid sh -c 'sleep 600 & sleep 600' &) ; sleep 600 & "
_DEAF = 'trap "" TERM; '


@dataclass(frozen=True, slots=True)
class Job:
    """A job's name, which is its idempotency key, and what must come of it."""

    name: str
    kind: str
    """exit, kill, tree (exits and leaves processes behind), stop (runs until it is told to end), deaf (ignores TERM, too)."""
    code: int
    seconds: float

    @property
    def is_stopped(self) -> bool:
        return self.kind in {"stop", "deaf"}

    @property
    def holds_key(self) -> bool:
        """Its outcome keeps its key reserved, so it may be asked for again whenever an answer was lost (G2)."""
        return self.is_stopped or (self.kind != "kill" and self.code == 0)

    @property
    def outcome(self) -> int:
        if self.is_stopped:
            return CANCELLED
        return SIGNALED if self.kind == "kill" else FAILED if self.code else SUCCEEDED

    def request(self, starts: str, canary: str) -> dict[str, Any]:
        """Fields of its StartTaskRequest."""
        pause = f"sleep {self.seconds:.3f}; " if self.seconds else ""
        body = {
            "exit": f"{pause}exit {self.code}",
            "kill": f"{pause}kill -{self.code} $$; sleep 600",
            "tree": f"{_TREE}{pause}exit {self.code}",
            "stop": f"{_TREE}sleep 600",
            "deaf": f"{_DEAF}{_TREE}while :; do sleep 600; done",
        }[self.kind]
        env = {"STARTS": starts, "NAME": self.name, "SECRET": canary}
        spec = {
            "command": {"argv": ["/bin/sh", "-c", _NOTE + body]},
            "env": env,
            "name": self.name,
            "grace_period_seconds": GRACE_SECONDS,
        }
        return {"spec": spec, "idempotency_key": self.name}

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Self:
        return cls(**data)


KINDS = ("exit", "kill", "tree", "stop", "deaf")
MIXES = {"short": (80, 6, 6, 6, 2), "stops": (10, 5, 25, 35, 25)}


def choose(chance: random.Random, name: str, mix: str) -> Job:
    """Draw a job: mostly short ones, or mostly such as have to be stopped, and a few of everything that may go wrong."""
    kind = chance.choices(KINDS, MIXES[mix])[0]
    code = chance.choice((9, 11, 15)) if kind == "kill" else chance.choice((0, 0, 0, 1, 7, 77))
    seconds = chance.choice((0.0, 0.0, 0.0, 0.05, 0.3, 1.0))
    return Job(name, kind, 0 if kind in {"stop", "deaf"} else code, seconds)
