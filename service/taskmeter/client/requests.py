"""Build requests from plain arguments; no I/O."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from taskmeter.errors import InvalidArgumentError
from taskmeter.model.event import EventKind
from taskmeter.model.retry import RetryPolicy
from taskmeter.model.state import Outcome, State
from taskmeter.v1 import admin_service_pb2 as admin
from taskmeter.v1 import task_pb2
from taskmeter.v1 import task_service_pb2 as tasks

PAGE_SIZE = 500

STATUS_WORDS: dict[str, tuple[frozenset[State], frozenset[Outcome]]] = {
    "waiting": (frozenset({State.NONE}), frozenset()),
    "queued": (frozenset({State.NONE}), frozenset()),
    "pending": (frozenset({State.NONE}), frozenset()),
    "starting": (frozenset({State.STARTING, State.INITIALIZING}), frozenset()),
    "running": (frozenset({State.STARTING, State.INITIALIZING, State.RUNNING, State.STOPPING}), frozenset()),
    "stopping": (frozenset({State.STOPPING}), frozenset()),
    "live": (frozenset(State) - {State.COMPLETED, State.CANCELLED}, frozenset()),
    "ended": (frozenset({State.COMPLETED, State.CANCELLED}), frozenset()),
    "completed": (frozenset({State.COMPLETED}), frozenset()),
    "success": (frozenset(), frozenset({Outcome.SUCCEEDED})),
    "succeeded": (frozenset(), frozenset({Outcome.SUCCEEDED})),
    "failed": (
        frozenset(),
        frozenset(
            {Outcome.FAILED, Outcome.SIGNALED, Outcome.OOM_KILLED, Outcome.FAILED_TO_START, Outcome.TIMED_OUT, Outcome.LOST}
        ),
    ),
    "cancelled": (frozenset(), frozenset({Outcome.CANCELLED, Outcome.IDLE_EXPIRED})),
    "rejected": (frozenset(), frozenset({Outcome.DEPENDENCY_FAILED})),
    "stopped": (frozenset(), frozenset({Outcome.CANCELLED})),
    "timeout": (frozenset(), frozenset({Outcome.TIMED_OUT})),
    "timed_out": (frozenset(), frozenset({Outcome.TIMED_OUT})),
    "interrupted": (frozenset(), frozenset({Outcome.INTERRUPTED})),
    "oom": (frozenset(), frozenset({Outcome.OOM_KILLED})),
    "signaled": (frozenset(), frozenset({Outcome.SIGNALED})),
    "lost": (frozenset(), frozenset({Outcome.LOST})),
}
"""Words for ListTasks filters: a set of states or a set of outcomes."""


def command_spec(
    argv: Sequence[str],
    *,
    name: str = "",
    project_id: str = "",
    source: str = "",
    env: Mapping[str, str] | None = None,
    working_directory: str = "",
    stdin_data: bytes = b"",
    tags: Mapping[str, str] | None = None,
    metadata: Mapping[str, str] | None = None,
    timeout_seconds: float = 0.0,
    grace_period_seconds: float | None = None,
    total_count: int = 0,
    tariff: str = "",
    total_size: int = 0,
    announces_ready: bool = False,
    umask: int | None = None,
    merge_stderr: bool = False,
    retry: RetryPolicy | None = None,
    requeue_on_interrupt: bool = False,
    idle_ttl_seconds: float = 0.0,
    resources: task_pb2.Resources | None = None,
    rlimits: Mapping[str, int] | None = None,
    nice: int | None = None,
    user: str = "",
    queue: str = "",
    priority: int = 0,
    start_after_time: float = 0.0,
    after: Iterable[str] = (),
) -> task_pb2.TaskSpec:
    """Build the spec of a task that runs a command; `argv` is never read by a shell. An absent grace means 10 s.

    `resources` is what the scheduler sets aside for it, and with `enforce` all it may use.
    """
    if isinstance(argv, str):
        raise InvalidArgumentError(
            "argv is one string, not a list of arguments",
            fields=[("spec.command.argv", "must be a list")],
            hint='write ["python", "job.py"], or ["sh", "-c", "…"] for a shell',
        )
    spec = task_pb2.TaskSpec(
        name=name,
        project_id=project_id,
        source=source,
        env=env,
        working_directory=working_directory,
        stdin_data=stdin_data,
        tags=tags,
        metadata=metadata,
        timeout_seconds=timeout_seconds,
        total_count=total_count,
        tariff=tariff,
        total_size=total_size,
        announces_ready=announces_ready,
        merge_stderr=merge_stderr,
        requeue_on_interrupt=requeue_on_interrupt,
        idle_ttl_seconds=idle_ttl_seconds,
        resources=resources,
        rlimits=rlimits,
        nice=nice,
        user=user,
        queue=queue,
        priority=priority,
        start_after_time=start_after_time,
        after=after,
    )
    spec.command.argv.extend(argv)
    if retry is not None:
        spec.retry.CopyFrom(retry_message(retry))
    if grace_period_seconds is not None:
        spec.grace_period_seconds = grace_period_seconds
    if umask is not None:
        spec.umask = umask
    return spec


def retry_message(policy: RetryPolicy) -> task_pb2.RetryPolicy:
    """Build the message of a retry policy."""
    return task_pb2.RetryPolicy(
        max_retries=policy.max_retries,
        delay_seconds=policy.delay_seconds,
        backoff=policy.backoff,
        max_delay_seconds=policy.max_delay_seconds,
        retry_on=[int(outcome) for outcome in policy.retry_on],  # type: ignore[misc]  # protobuf takes the numbers of its enums
        retry_on_exit_codes=policy.retry_on_exit_codes,
    )


def attach_spec(
    pid: int,
    *,
    include_descendants: bool = True,
    name: str = "",
    project_id: str = "",
    source: str = "",
    tags: Mapping[str, str] | None = None,
    metadata: Mapping[str, str] | None = None,
    grace_period_seconds: float | None = None,
    total_count: int = 0,
    tariff: str = "",
    total_size: int = 0,
) -> task_pb2.TaskSpec:
    """Build the spec of a task that meters the running process `pid`. An empty name means the process's own."""
    spec = task_pb2.TaskSpec(
        name=name,
        project_id=project_id,
        source=source,
        tags=tags,
        metadata=metadata,
        total_count=total_count,
        tariff=tariff,
        total_size=total_size,
    )
    spec.attach.pid = pid
    spec.attach.include_descendants = include_descendants
    if grace_period_seconds is not None:
        spec.grace_period_seconds = grace_period_seconds
    return spec


def list_tasks(
    *,
    status: str | Iterable[str] = (),
    states: Iterable[State | int] = (),
    outcomes: Iterable[Outcome | int] = (),
    tags: Mapping[str, str] | None = None,
    project_id: str = "",
    name_prefix: str = "",
    created_after_time: float = 0.0,
    created_before_time: float = 0.0,
    queue: str = "",
    page_size: int = 0,
    page_token: str = "",
) -> tasks.ListTasksRequest:
    """Build a ListTasks request; `status` takes words of `STATUS_WORDS`, several are alternatives of one sort."""
    wanted_states = {int(state) for state in states}
    wanted_outcomes = {int(outcome) for outcome in outcomes}
    for word in [status] if isinstance(status, str) and status else status:
        try:
            word_states, word_outcomes = STATUS_WORDS[word.lower().replace("-", "_")]
        except KeyError:
            raise InvalidArgumentError(
                f"no status is called {word!r}",
                fields=[("states", f"unknown word {word!r}")],
                hint="one of: " + " ".join(sorted(STATUS_WORDS)),
            ) from None
        wanted_states |= word_states
        wanted_outcomes |= word_outcomes
    if wanted_states and wanted_outcomes and not isinstance(status, str):
        raise InvalidArgumentError(
            "filters are ANDed: words for states and words for outcomes do not go together",
            fields=[("outcomes", "conflicts with states")],
            hint="ask twice, or use only words of one sort",
        )
    return tasks.ListTasksRequest(
        page_size=page_size,
        page_token=page_token,
        states=sorted(wanted_states),  # type: ignore[arg-type]  # protobuf takes the numbers of its enums
        outcomes=sorted(wanted_outcomes),  # type: ignore[arg-type]
        tags=tags,
        project_id=project_id,
        name_prefix=name_prefix,
        created_after_time=created_after_time,
        created_before_time=created_before_time,
        queue=queue,
    )


def terminate(
    token: str,
    grace_period_seconds: float | None = None,
    immediate: bool = False,
    reason: str = "",
    include_dependents: bool = False,
) -> tasks.TerminateRequest:
    """Build a Terminate request; an absent grace is the spec's."""
    return tasks.TerminateRequest(
        token=token,
        grace_period_seconds=grace_period_seconds,
        immediate=immediate,
        reason=reason,
        include_dependents=include_dependents,
    )


def terminate_tasks(
    *,
    tags: Mapping[str, str] | None = None,
    project_id: str = "",
    queue: str = "",
    name_prefix: str = "",
    everything: bool = False,
    grace_period_seconds: float | None = None,
    immediate: bool = False,
    reason: str = "",
    include_dependents: bool = False,
) -> tasks.TerminateTasksRequest:
    """Build a TerminateTasks request; filters narrow each other, and `everything` stands in for them."""
    return tasks.TerminateTasksRequest(
        tags=tags,
        project_id=project_id,
        queue=queue,
        name_prefix=name_prefix,
        all=everything,
        grace_period_seconds=grace_period_seconds,
        immediate=immediate,
        reason=reason,
        include_dependents=include_dependents,
    )


def retry_tasks(
    *,
    status: str | Iterable[str] = (),
    outcomes: Iterable[Outcome | int] = (),
    tags: Mapping[str, str] | None = None,
    project_id: str = "",
    queue: str = "",
    name_prefix: str = "",
    created_after_time: float = 0.0,
    created_before_time: float = 0.0,
    everything: bool = False,
    as_new: bool = False,
    dry_run: bool = False,
    page_size: int = 0,
    page_token: str = "",
) -> tasks.RetryTasksRequest:
    """Build a RetryTasks request; filters narrow each other, and `everything` stands in for them.

    `status` are words for outcomes ("failed", "timeout", …). Without them and `outcomes` all are meant that may be run again.
    """
    wanted = {int(outcome) for outcome in outcomes}
    for word in (status,) if isinstance(status, str) else status:
        states, found = STATUS_WORDS.get(word.lower().replace("-", "_"), (frozenset(), frozenset()))
        if states or not found:
            raise InvalidArgumentError(
                f"{word!r} is no way in which a task ends",
                fields=[("outcomes", f"unknown word {word!r}")],
                hint="one of: " + " ".join(sorted(word for word, (_, ends) in STATUS_WORDS.items() if ends)),
            )
        wanted |= found
    return tasks.RetryTasksRequest(
        outcomes=sorted(wanted),  # type: ignore[arg-type]  # protobuf takes the numbers of its enums
        tags=tags,
        project_id=project_id,
        queue=queue,
        name_prefix=name_prefix,
        created_after_time=created_after_time,
        created_before_time=created_before_time,
        all=everything,
        as_new=as_new,
        dry_run=dry_run,
        page_size=page_size,
        page_token=page_token,
    )


def update_task(
    token: str,
    *,
    set_metadata: Mapping[str, str] | None = None,
    delete_metadata: Iterable[str] = (),
    set_tags: Mapping[str, str] | None = None,
    delete_tags: Iterable[str] = (),
    priority: int | None = None,
    replace_metadata: bool = False,
) -> tasks.UpdateTaskRequest:
    """Build an UpdateTask request: merge by default, `replace_metadata` drops what is not in `set_metadata`."""
    return tasks.UpdateTaskRequest(
        token=token,
        set_metadata=set_metadata,
        delete_metadata=list(delete_metadata),
        set_tags=set_tags,
        delete_tags=list(delete_tags),
        priority=priority,
        replace_metadata=replace_metadata,
    )


def stream_events(
    tokens: Iterable[str] = (),
    *,
    kinds: Iterable[EventKind | int | str] = (),
    tags: Mapping[str, str] | None = None,
    from_seq: int | None = None,
    resume_token: str = "",
    snapshot_first: bool = False,
    include_status: bool = False,
    status_interval_seconds: float = 0.0,
    bookmark_interval_seconds: float = 0.0,
    until_terminal: bool = False,
) -> tasks.StreamEventsRequest:
    """Build a StreamEvents request; at most one of `from_seq`, `resume_token`, `snapshot_first`, none = from now on."""
    if (from_seq is not None) + bool(resume_token) + snapshot_first > 1:
        raise InvalidArgumentError(
            "from_seq, resume_token and snapshot_first exclude each other", fields=[("start", "more than one is set")]
        )
    request = tasks.StreamEventsRequest(
        tokens=list(tokens),
        kinds=[event_kind(kind) for kind in kinds],  # type: ignore[misc]  # protobuf takes the numbers of its enums
        tags=tags,
        include_status=include_status,
        status_interval_seconds=status_interval_seconds,
        bookmark_interval_seconds=bookmark_interval_seconds,
        until_terminal=until_terminal,
    )
    if from_seq is not None:
        request.from_seq = from_seq
    elif resume_token:
        request.resume_token = resume_token
    elif snapshot_first:
        request.snapshot_first = True
    return request


def create_key(
    scopes: Iterable[str],
    *,
    name: str = "",
    tenant: str = "",
    lifetime_seconds: float = 0.0,
    running_count: int | None = None,
    queued_count: int | None = None,
    stream_count: int | None = None,
    disk_bytes: int | None = None,
    calls_per_second: float | None = None,
    burst_count: int = 0,
) -> admin.CreateKeyRequest:
    """Build a CreateKey request; `lifetime_seconds` 0 = for ever, a quota that is None = no limit of the key's own.

    `calls_per_second` None = as the daemon's settings say; `burst_count` 0 = the calls of one second.
    """
    limits = {
        "running_count": running_count,
        "queued_count": queued_count,
        "stream_count": stream_count,
        "disk_bytes": disk_bytes,
    }
    given = {quota: limit for quota, limit in limits.items() if limit is not None}
    return admin.CreateKeyRequest(
        name=name,
        tenant=tenant,
        scopes=[str(scope) for scope in scopes],
        lifetime_seconds=lifetime_seconds,
        quotas=admin.KeyQuotas(**given) if given else None,
        rate=admin.KeyRate(calls_per_second=calls_per_second, burst_count=burst_count) if calls_per_second is not None else None,
    )


def event_kind(kind: EventKind | int | str) -> int:
    """Return the number of an event kind given as number or word."""
    if not isinstance(kind, str):
        return int(kind)
    try:
        return int(EventKind[kind.upper()])
    except KeyError:
        raise InvalidArgumentError(
            f"no kind of event is called {kind!r}",
            fields=[("kinds", f"unknown word {kind!r}")],
            hint="one of: " + " ".join(known.name.lower() for known in EventKind),
        ) from None
