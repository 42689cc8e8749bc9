"""A queue as an object."""

from __future__ import annotations

from taskmeter.client.status import View
from taskmeter.v1 import queue_service_pb2

QUEUE_PAGE_SIZE = 500


class QueueStatus(View):
    """A queue's bounds, and what waits and runs in it. A bound of 0 is none but the daemon's."""

    __slots__ = ()
    _descriptor = queue_service_pb2.Queue.DESCRIPTOR

    name: str
    max_running_count: int
    max_size: int
    paused: bool
    running_count: int
    waiting_count: int
    create_time: float
