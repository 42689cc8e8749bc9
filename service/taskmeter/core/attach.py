"""Choose the process that a task is to watch: identified when the task is accepted, and no other task's already."""

from __future__ import annotations

from msgspec.structs import replace

from taskmeter.core.service import Service
from taskmeter.errors import PreconditionError
from taskmeter.model.task import Attach, Target, TaskSpec


def choose_target(service: Service, spec: TaskSpec, attach: Attach) -> tuple[TaskSpec, Target]:
    """Return the spec, with the process's name where it has none, and who is meant.

    Raises what `Executor.identify` raises, and `PreconditionError` UNSUPPORTED_HERE for a process that a live task watches.
    """
    found = service.executor.identify(attach)
    for other, theirs in _watched(service):
        if other.boot_id != found.target.boot_id:
            continue
        if other == found.target:
            raise _taken("the process is attached already")
        if theirs.include_descendants and other.pid in found.ancestors:
            raise _taken("the process is attached already, with one that it descends from")
        if attach.include_descendants and found.target.pid in service.executor.ancestors_of(other.pid):
            raise _taken("a process that descends from it is attached already")
    return (spec if spec.name else replace(spec, name=found.name)), found.target


def _watched(service: Service) -> list[tuple[Target, Attach]]:
    """What live tasks watch, and tasks that are being accepted."""
    tasks = (entry.task for entry in service.live.values())
    watched = [(task.target, task.spec.attach) for task in tasks if task.target is not None and task.spec.attach is not None]
    return [*watched, *service.attaching.items()]


def _taken(message: str) -> PreconditionError:
    # Whose task it is does not matter here, and may be none of the caller's business.
    return PreconditionError(message, reason="UNSUPPORTED_HERE", hint="`taskmeter ls` lists the tasks this key can see")
