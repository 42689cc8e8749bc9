"""ReportProgress: a stream of reports, each taken in whole or not at all, in order, and durable before the next one is read.

There is one answer, at the end: how many were taken in. A client that wants to know before closes the stream and opens another.
If a report is refused, or the daemon stops, the error says it in `accepted_count`. If the connection breaks nobody says it: a
beginning of what was sent since the last answer has been taken in, and nothing of it is ever taken back.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, NoReturn

from taskmeter.core.report_progress import begin_reports, report_progress
from taskmeter.core.service import Service
from taskmeter.errors import NotFoundError, UnavailableError
from taskmeter.rpc.auth import Caller
from taskmeter.rpc.convert.checks import checked_token
from taskmeter.rpc.convert.report import report_from_message
from taskmeter.rpc.status import translate
from taskmeter.v1 import task_service_pb2 as pb


class ReportStreams:
    """All streams of reports that are open."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._open: set[asyncio.Task[Any]] = set()
        self._closing = False

    def close(self) -> None:
        """End all streams: the daemon stops. What has been read of them is taken in."""
        self._closing = True
        for task in self._open:
            task.cancel()

    async def take(self, requests: AsyncIterator[pb.ReportProgressRequest], caller: Caller) -> pb.ReportProgressResponse:
        """Take in the reports of one stream."""
        task = asyncio.current_task()
        assert task is not None
        self._open.add(task)
        reports = _Reports(self._service, caller)
        try:
            async for request in requests:
                await reports.take(request)
        except asyncio.CancelledError:
            await reports.finish()
            if not self._closing:  # its caller has gone
                raise
            task.uncancel()
            stopping = UnavailableError("the daemon is stopping", reason="DRAINING", hint="go on when it is back")
            _refuse(stopping, reports.accepted_count)
        except Exception as error:  # noqa: BLE001  # translated
            _refuse(error, reports.accepted_count)
        finally:
            self._open.discard(task)
        return pb.ReportProgressResponse(accepted_count=reports.accepted_count)


class _Reports:
    """One stream, as far as it has been read."""

    def __init__(self, service: Service, caller: Caller) -> None:
        self._service = service
        self._caller = caller
        self._token = ""
        self._attempt = 0
        self._under_way: asyncio.Future[None] | None = None
        self.accepted_count = 0

    async def take(self, request: pb.ReportProgressRequest) -> None:
        if not self._token:
            self._token = await self._begin(checked_token(request.token))
        report = report_from_message(request)
        # A commit cannot be called back: who hangs up meanwhile has reported all the same.
        self._under_way = asyncio.ensure_future(
            report_progress(self._service, self._token, self._caller.tenant, self._attempt, report)
        )
        await asyncio.shield(self._under_way)
        self._under_way = None
        self.accepted_count += 1

    async def finish(self) -> None:
        """Let what is under way come to its end, and count it."""
        if self._under_way is not None:
            await asyncio.wait([self._under_way])
            if self._under_way.exception() is None:
                self.accepted_count += 1

    async def _begin(self, token: str) -> str:
        only = self._caller.reports_on
        if only is not None and only[0] != token:
            raise NotFoundError("there is no task with this token", hint="a report key is for its own task only")
        attempt = only[1] if only is not None else None
        self._attempt = await begin_reports(self._service, token, self._caller.tenant, attempt)
        return token


def _refuse(error: BaseException, accepted_count: int) -> NoReturn:
    shown = translate(error)
    shown.metadata["accepted_count"] = str(accepted_count)
    raise shown
