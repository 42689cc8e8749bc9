"""ListTasks: newest first, keyset pages, bounded answers, the seq from which to stream on without a gap."""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import json

from taskmeter.core.ports import Filter
from taskmeter.core.service import Service
from taskmeter.model.state import Outcome, State
from taskmeter.rpc.convert.checks import Checks
from taskmeter.rpc.convert.frame import frame, varint
from taskmeter.v1 import task_service_pb2 as pb

DEFAULT_PAGE_SIZE = 50
MAX_PAGE_SIZE = 1000
MAX_PAGE_BYTES = 2_000_000
CHUNK_COUNT = 100
"""Rows read at once; other calls get their turn in between."""

_TASKS, _NEXT_PAGE_TOKEN = b"\x0a", b"\x12"
_SEQ, _TOTAL_COUNT = b"\x18", b"\x20"


async def list_tasks(service: Service, request: pb.ListTasksRequest, tenant: str) -> bytes:
    """Answer one page. The page token is bound to the filter it was made for."""
    checks = Checks()
    if not 0 <= request.page_size <= MAX_PAGE_SIZE:
        checks.add("page_size", f"must be from 0 (= {DEFAULT_PAGE_SIZE}) to {MAX_PAGE_SIZE}")
    states, outcomes = {int(state) for state in State}, {int(outcome) for outcome in Outcome}
    checks.found += [(f"states[{i}]", "is not a state") for i, state in enumerate(request.states) if state not in states]
    checks.found += [(f"outcomes[{i}]", "is not an outcome") for i, value in enumerate(request.outcomes) if value not in outcomes]
    digest = _digest(request)
    after = None
    if request.page_token:
        after = _parse_page_token(request.page_token, digest)
        if after is None:
            checks.add("page_token", "is not one that this filter's pages gave")
    checks.done()
    wanted = Filter(
        tenant=tenant,
        states=frozenset(State(state) for state in request.states),
        outcomes=frozenset(Outcome(outcome) for outcome in request.outcomes),
        tags=dict(request.tags),
        project_id=request.project_id,
        name_prefix=request.name_prefix,
        created_after_time=request.created_after_time,
        created_before_time=request.created_before_time,
        queue=request.queue,
    )
    seq = service.hub.head_seq
    left = request.page_size or DEFAULT_PAGE_SIZE
    parts: list[bytes] = []
    size_bytes = 0
    more = True
    while left and more and size_bytes < MAX_PAGE_BYTES:
        chunk = service.store.select(wanted, after, min(left, CHUNK_COUNT) + 1)
        more = len(chunk) > min(left, CHUNK_COUNT)
        for task in chunk[: min(left, CHUNK_COUNT)]:
            part = frame(_TASKS, service.brief_status(task))
            if parts and size_bytes + len(part) > MAX_PAGE_BYTES:
                more, size_bytes = True, MAX_PAGE_BYTES
                break
            parts.append(part)
            size_bytes += len(part)
            left -= 1
            after = (task.create_time, task.token)
        await asyncio.sleep(0)
    if more and after is not None:
        parts.append(frame(_NEXT_PAGE_TOKEN, _page_token(after, digest).encode()))
    parts.append(_SEQ + varint(seq))
    parts.append(_TOTAL_COUNT + varint(service.store.count(wanted)))
    return b"".join(parts)


def _digest(request: pb.ListTasksRequest) -> str:
    filters = pb.ListTasksRequest()
    filters.CopyFrom(request)
    filters.ClearField("page_token")
    filters.ClearField("page_size")
    return hashlib.sha256(filters.SerializeToString(deterministic=True)).hexdigest()[:16]


def _page_token(after: tuple[float, str], digest: str) -> str:
    return base64.urlsafe_b64encode(json.dumps([digest, *after]).encode()).decode()


def _parse_page_token(text: str, digest: str) -> tuple[float, str] | None:
    try:
        made_for, create_time, token = json.loads(base64.urlsafe_b64decode(text.encode()))
    except (ValueError, binascii.Error, TypeError):
        return None
    if made_for != digest or not isinstance(create_time, float) or not isinstance(token, str):
        return None
    return create_time, token
