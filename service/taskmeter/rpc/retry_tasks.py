"""RetryTasks: which tasks are meant, and where a page begins and ends."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import math
import time
from typing import NamedTuple

from taskmeter.core.ports import Filter
from taskmeter.core.retry_tasks import Place, Refusal, retry_tasks
from taskmeter.core.service import Service
from taskmeter.model.state import RETRYABLE, Outcome
from taskmeter.rpc.auth import Caller
from taskmeter.rpc.convert.checks import Checks
from taskmeter.v1 import task_service_pb2 as pb

DEFAULT_PAGE_SIZE = 100
MAX_PAGE_SIZE = 1000


class _Page(NamedTuple):
    """Where a page begins. Copies that earlier pages have made are not older than `before_time`, so they are not found."""

    after: Place | None
    before_time: float


async def answer_retry_tasks(service: Service, request: pb.RetryTasksRequest, caller: Caller) -> pb.RetryTasksResponse:
    """Retry a page of tasks. The page token is bound to the filter it was made for."""
    page = _checked(request)
    done = await retry_tasks(
        service,
        Filter(
            tenant=caller.tenant,
            outcomes=frozenset(Outcome(outcome) for outcome in request.outcomes),
            tags=dict(request.tags),
            project_id=request.project_id,
            queue=request.queue,
            name_prefix=request.name_prefix,
            created_after_time=request.created_after_time,
            created_before_time=min(request.created_before_time or math.inf, page.before_time),
        ),
        page.after,
        request.page_size or DEFAULT_PAGE_SIZE,
        as_new=request.as_new,
        dry_run=request.dry_run,
        quotas=caller.quotas,
    )
    stopped = done.stopped
    return pb.RetryTasksResponse(
        tokens=() if request.dry_run else done.tokens,
        candidate_tokens=done.tokens if request.dry_run else (),
        retried_count=len(done.tokens),
        refusals=[_message(refusal) for refusal in done.refusals],
        copied_before_count=done.copied_before_count,
        next_page_token=_page_token(request, done.after, page.before_time) if done.after is not None else "",
        stopped=_message(stopped) if stopped is not None else None,
        retry_after_seconds=(stopped.error.retry_after_seconds or 0.0) if stopped is not None else 0.0,
    )


def _checked(request: pb.RetryTasksRequest) -> _Page:
    """Return where the page begins. Raises `InvalidArgumentError`."""
    checks = Checks()
    if not 0 <= request.page_size <= MAX_PAGE_SIZE:
        checks.add("page_size", f"must be from 0 (= {DEFAULT_PAGE_SIZE}) to {MAX_PAGE_SIZE}")
    known = {int(outcome) for outcome in Outcome} - {int(Outcome.UNSPECIFIED)}
    for index, outcome in enumerate(map(int, request.outcomes)):
        if outcome not in known:
            checks.add(f"outcomes[{index}]", "is not an outcome")
        elif outcome not in RETRYABLE and not request.as_new:
            checks.add(f"outcomes[{index}]", "is not run again but as a new task (as_new)")
    checks.instant("created_after_time", request.created_after_time)
    checks.instant("created_before_time", request.created_before_time)
    times = request.created_after_time or request.created_before_time
    names = request.tags or request.project_id or request.queue or request.name_prefix
    if bool(request.outcomes or names or times) == request.all:
        checks.add("all", "must not be set together with a filter" if request.all else "must be set when no filter is")
    page: _Page | None = _Page(None, time.time())
    if request.page_token:
        page = _parse_page_token(request)
        if page is None:
            checks.add("page_token", "is not one that this filter's pages gave")
    checks.done()
    assert page is not None
    return page


def _digest(request: pb.RetryTasksRequest) -> str:
    filters = pb.RetryTasksRequest()
    filters.CopyFrom(request)
    filters.ClearField("page_token")
    filters.ClearField("page_size")
    return hashlib.sha256(filters.SerializeToString(deterministic=True)).hexdigest()[:16]


def _page_token(request: pb.RetryTasksRequest, after: Place, before_time: float) -> str:
    return base64.urlsafe_b64encode(json.dumps([_digest(request), *after, before_time]).encode()).decode()


def _parse_page_token(request: pb.RetryTasksRequest) -> _Page | None:
    try:
        made_for, create_time, token, before_time = json.loads(base64.urlsafe_b64decode(request.page_token.encode()))
    except (ValueError, binascii.Error, TypeError):
        return None
    if made_for != _digest(request) or not isinstance(token, str):
        return None
    if not isinstance(create_time, float) or not isinstance(before_time, float):
        return None
    return _Page((create_time, token), before_time)


def _message(refusal: Refusal) -> pb.RetryRefusal:
    return pb.RetryRefusal(token=refusal.token, reason=refusal.error.reason, message=refusal.error.message)
