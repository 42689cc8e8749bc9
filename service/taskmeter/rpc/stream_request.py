"""StreamEvents requests, checked: what a subscriber wants, and where it starts."""

from __future__ import annotations

import math

from msgspec import Struct

from taskmeter.core.service import Service
from taskmeter.errors import OutOfRangeError, PreconditionError
from taskmeter.model.event import EventKind
from taskmeter.model.task import Task
from taskmeter.rpc.convert.checks import Checks, checked_token
from taskmeter.v1 import task_service_pb2 as pb

DEFAULT_KINDS = frozenset(EventKind) - {EventKind.LOG, EventKind.STEP}
DEFAULT_STATUS_SECONDS = 1.0
DEFAULT_BOOKMARK_SECONDS = 5.0
INTERVAL_SECONDS = (0.1, 60.0)
MAX_TOKENS = 1000


class Subscription(Struct, frozen=True):
    """A checked request."""

    tenant: str
    tokens: frozenset[str]
    kinds: frozenset[int]
    tags: dict[str, str]
    from_seq: int
    snapshot_first: bool
    from_now: bool
    include_status: bool
    status_seconds: float
    bookmark_seconds: float
    until_terminal: bool

    def wants_task(self, task: Task) -> bool:
        if task.tenant != self.tenant or (self.tokens and task.token not in self.tokens):
            return False
        return all(task.tags.get(key) == value for key, value in self.tags.items())

    @property
    def only_token(self) -> str:
        """The token, if there is just one: its events are found without reading the others'."""
        return next(iter(self.tokens)) if len(self.tokens) == 1 else ""


def resume_token(store_id: str, seq: int) -> str:
    """Opaque to clients: names the store, so that a position in another one is noticed."""
    return f"{store_id}.{seq}"


def subscription(service: Service, request: pb.StreamEventsRequest, tenant: str) -> Subscription:
    """Check the request and find its start.

    Raises `NotFoundError` for an unknown token, `InvalidArgumentError`, `PreconditionError` STORE_CHANGED, `OutOfRangeError`
    EVENTS_COMPACTED or SEQ_IN_FUTURE.
    """
    checks = Checks()
    if len(request.tokens) > MAX_TOKENS:
        checks.add("tokens", f"at most {MAX_TOKENS} in one stream")
        checks.done()
    for token in request.tokens:
        service.find(checked_token(token), tenant)
    if request.until_terminal and not request.tokens:
        checks.add("until_terminal", "needs tokens")
    known = {int(kind) for kind in EventKind}
    for index, kind in enumerate(request.kinds):
        if kind not in known:
            checks.add(f"kinds[{index}]", "is not an event kind")
    if int(EventKind.LOG) in request.kinds and not request.tokens:
        checks.add("kinds", "LOG needs tokens")
    status_seconds = _interval(checks, "status_interval_seconds", request.status_interval_seconds, DEFAULT_STATUS_SECONDS)
    bookmark_seconds = _interval(checks, "bookmark_interval_seconds", request.bookmark_interval_seconds, DEFAULT_BOOKMARK_SECONDS)
    start = request.WhichOneof("start")
    from_seq = service.hub.head_seq + 1
    if start == "from_seq":
        from_seq = request.from_seq
        if from_seq < 1:
            checks.add("from_seq", "must be at least 1")
    elif start == "resume_token":
        store_id, _, seq = request.resume_token.rpartition(".")
        if not store_id or not (seq.isascii() and seq.isdigit()) or len(seq) > 18:
            checks.add("resume_token", "is not one that a stream gave")
        elif store_id != service.store.store_id:
            raise PreconditionError(
                "the resume token is of another store; its events are not here",
                reason="STORE_CHANGED",
                hint="start again with snapshot_first",
            )
        else:
            from_seq = int(seq) + 1
    checks.done()
    _check_kept(service, from_seq)
    return Subscription(
        tenant=tenant,
        tokens=frozenset(request.tokens),
        kinds=frozenset(request.kinds) or frozenset(int(kind) for kind in DEFAULT_KINDS),
        tags=dict(request.tags),
        from_seq=from_seq,
        snapshot_first=start == "snapshot_first" and request.snapshot_first,
        from_now=start is None or (start == "snapshot_first" and not request.snapshot_first),
        include_status=request.include_status,
        status_seconds=status_seconds,
        bookmark_seconds=bookmark_seconds,
        until_terminal=request.until_terminal,
    )


def _check_kept(service: Service, from_seq: int) -> None:
    head, first = service.hub.head_seq, service.store.first_seq
    if from_seq > head + 1:
        raise OutOfRangeError(
            f"seq {from_seq} lies in the future: the newest is {head}", reason="SEQ_IN_FUTURE", metadata={"head_seq": str(head)}
        )
    if from_seq < first:
        raise OutOfRangeError(
            f"events before seq {first} are no longer kept",
            metadata={"first_available_seq": str(first)},
            hint="start again with snapshot_first",
        )


def _interval(checks: Checks, field: str, value: float, default: float) -> float:
    if not value:
        return default
    low, high = INTERVAL_SECONDS
    if not math.isfinite(value) or not low <= value <= high:
        checks.add(field, f"must be from {low:g} to {high:g} seconds")
    return value
