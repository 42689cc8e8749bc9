"""The answer of RetryTasks."""

from __future__ import annotations

from dataclasses import dataclass

from taskmeter.v1 import task_service_pb2 as tasks


@dataclass(frozen=True, slots=True)
class RetryRefusal:
    """A task that was not retried."""

    token: str
    reason: str
    """What `TaskmeterError.reason` would have been."""
    message: str


@dataclass(frozen=True, slots=True)
class RetriedTasks:
    """What came of one page."""

    tokens: tuple[str, ...]
    """The tasks that run again: the same, or with `as_new` the new ones. With `dry_run` those that would be retried."""
    refusals: tuple[RetryRefusal, ...]
    """Those that were not, and never will be as they are."""
    copied_before_count: int
    """Those that are left alone because such a call has copied them before."""
    next_page_token: str
    """Goes on; empty = all were looked at."""
    stopped: RetryRefusal | None
    """The task that found no room, and why; the next page begins with it. None = there was room for all."""
    retry_after_seconds: float
    """When to go on if it was stopped, from now; 0 = nothing is known."""

    @classmethod
    def of(cls, message: tasks.RetryTasksResponse) -> RetriedTasks:
        return cls(
            tokens=tuple(message.tokens or message.candidate_tokens),
            refusals=tuple(_refusal(each) for each in message.refusals),
            copied_before_count=message.copied_before_count,
            next_page_token=message.next_page_token,
            stopped=_refusal(message.stopped) if message.HasField("stopped") else None,
            retry_after_seconds=message.retry_after_seconds,
        )


def _refusal(message: tasks.RetryRefusal) -> RetryRefusal:
    return RetryRefusal(message.token, message.reason, message.message)
