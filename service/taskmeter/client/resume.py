"""What a stream has delivered and how it goes on after its connection broke. No I/O: transports ask and report.

Laws: every durable event is delivered once, in order. What the daemon repeats after a resume is dropped; what cannot be
delivered any more is an error (OUT_OF_RANGE from the daemon, `InternalError` here), never silence.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from taskmeter.client.status import Event, TaskStatus
from taskmeter.errors import InternalError, OutOfRangeError
from taskmeter.v1 import event_pb2
from taskmeter.v1 import task_service_pb2 as tasks

DEFAULT_BOOKMARK_SECONDS = 5.0
"""The contract's default; also what this client asks for when nothing else is wanted."""
MISSED_BOOKMARKS = 3
"""A connection that stays silent for so many bookmark intervals is dead: the daemon sends one per interval whatever happens."""
SLACK_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Delivery:
    """What one message of the stream brought that was new."""

    events: tuple[Event, ...]
    statuses: tuple[TaskStatus, ...]
    seq: int
    """Every matching event up to here has been delivered with this."""
    resume_token: str
    bookmark: bool
    conflated: int


class StreamState:
    """One logical stream over any number of connections."""

    def __init__(self, request: tasks.StreamEventsRequest) -> None:
        self._request = request
        self._floor = 0
        self._log_offsets: dict[tuple[str, int, int], int] = {}
        self.seq = 0
        """The newest seq this stream has passed; 0 before the first message."""
        self.resume_token = ""
        self.anchored = False
        """There is a position to resume from; before that, connecting again starts over."""

    @property
    def ends_with_ok(self) -> bool:
        """Whether the daemon's OK is the end; a stream without an end gets it from a daemon that shuts down."""
        return self._request.until_terminal

    @property
    def silence_seconds(self) -> float:
        """How long a live connection can be silent at most."""
        return (self._request.bookmark_interval_seconds or DEFAULT_BOOKMARK_SECONDS) * MISSED_BOOKMARKS + SLACK_SECONDS

    def next_request(self) -> tasks.StreamEventsRequest:
        """Return the request for the next connection: the original one, then one that resumes."""
        self._floor = self.seq
        if not self.anchored:
            return self._request
        request = tasks.StreamEventsRequest()
        request.CopyFrom(self._request)
        if self.resume_token:
            request.resume_token = self.resume_token
        elif self.seq:
            request.from_seq = self.seq + 1
        return request

    def accept(self, response: tasks.StreamEventsResponse) -> Delivery:
        """Take one message in and return what of it is new. Raises `InternalError` when the daemon breaks the order."""
        events = [Event.of(event) for event in self._fresh(response.events)]
        if response.seq or response.resume_token:  # the position before the first event is 0
            self.seq = max(self.seq, response.seq)
            self.anchored = True
            self.resume_token = response.resume_token if response.seq == self.seq else ""
        elif events and self.seq:
            self.anchored = True
            self.resume_token = ""
        return Delivery(
            events=tuple(events),
            statuses=tuple(TaskStatus.of(status) for status in response.statuses),
            seq=self.seq,
            resume_token=self.resume_token,
            bookmark=response.bookmark,
            conflated=response.conflated,
        )

    def _fresh(self, events: Iterable[event_pb2.Event]) -> Iterable[event_pb2.Event]:
        for event in events:
            if event.seq == 0:
                if event.WhichOneof("payload") != "log" or self._fresh_log(event):
                    yield event
            elif event.seq > self.seq:
                self.seq = event.seq
                yield event
            elif event.seq > self._floor:
                raise InternalError(f"event {event.seq} came again or late, after {self.seq}")

    def _fresh_log(self, event: event_pb2.Event) -> bool:
        """Cut off what was delivered before the connection broke; False if nothing is left."""
        place = (event.token, event.attempt, int(event.log.stream))
        expected = self._log_offsets.get(place)
        end = event.log.offset + len(event.log.data)
        if expected is not None and event.log.offset > expected:
            raise OutOfRangeError(
                f"output of {event.token} between bytes {expected} and {event.log.offset} is missing",
                metadata={"token": event.token, "offset": str(expected)},
                hint="read it with ReadFile from that offset",
            )
        if expected is not None and event.log.offset < expected:
            event.log.data = event.log.data[expected - event.log.offset :]
            event.log.offset = expected
        self._log_offsets[place] = max(end, expected or 0)
        return bool(event.log.data)
