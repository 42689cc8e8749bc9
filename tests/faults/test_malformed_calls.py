"""Calls that no client of ours makes: metadata without measure; messages too large, too deep, too many, wrong in their bytes.

None of them is answered with INTERNAL or UNKNOWN by what stands in their bytes, and the daemon answers afterwards.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import grpc
import pytest

from tests.contract import METHODS
from tests.daemon import Daemon
from tests.faults import wire
from tests.integration.helpers import Failure, end_of, start

DEADLINE_SECONDS = 3.0
STREAM_SECONDS = 0.2
IN_FLIGHT = 64
TOO_LARGE_BYTES = 10 * 1024 * 1024
ALLOWED = {
    "OK",
    "INVALID_ARGUMENT",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "FAILED_PRECONDITION",
    "OUT_OF_RANGE",
    "RESOURCE_EXHAUSTED",
    "PERMISSION_DENIED",
    "UNAUTHENTICATED",
    "UNIMPLEMENTED",
    "DEADLINE_EXCEEDED",
}
BY_THE_LIBRARY = {"UNIMPLEMENTED", "DEADLINE_EXCEEDED", "OK"}


@pytest.fixture(scope="module")
def key(shared_daemon: Daemon) -> str:
    """Of a tenant of its own: it can do everything but drain."""
    return str(shared_daemon.calls.CreateKey(tenant="wire", scopes=["submit", "read", "control", "files", "admin"]).secret)


@pytest.fixture(autouse=True)
def alive(shared_daemon: Daemon) -> Iterator[None]:
    """The daemon is the same and well after each test."""
    pid = shared_daemon.pid
    yield
    assert shared_daemon.calls.GetServerInfo(timeout=30).pid == pid
    assert "Traceback" not in shared_daemon.log() and "internal error" not in shared_daemon.log()
    assert end_of(shared_daemon.calls, start(shared_daemon.calls, "true")).exit_code == 0


class Caller:
    """Calls methods with bytes and counts the codes; `kind` is how many messages go out and come in."""

    def __init__(self, daemon: Daemon, *metadata: tuple[str, str | bytes], detailed: bool = True) -> None:
        self._channel = daemon.channel
        self._metadata = metadata
        self._detailed = detailed
        self._open: list[tuple[str, bytes, Any]] = []
        self.codes: Counter[str] = Counter()

    def send(self, path: str, *messages: bytes, streams: bool = False, seconds: float = 0.0) -> None:
        """Send messages to a method; with `streams` as a stream whatever the method takes."""
        method = METHODS[path]
        many = streams or method.client_streaming
        kind = f"{'stream' if many else 'unary'}_{'stream' if method.server_streaming else 'unary'}"
        call: Any = getattr(self._channel, kind)(path)
        if not seconds:
            seconds = STREAM_SECONDS if method.server_streaming or path.endswith("/WaitTask") else DEADLINE_SECONDS
        send = call if method.server_streaming else call.future
        request = iter(messages) if many else messages[0]
        self._open.append((path, b"".join(messages)[:200], send(request, metadata=self._metadata, timeout=seconds)))
        if len(self._open) >= IN_FLIGHT:
            self.drain()

    def drain(self) -> Counter[str]:
        """Wait for all answers; return the codes."""
        waiting, self._open = self._open, []
        for path, data, answer in waiting:
            code, said = "OK", ""
            try:
                list(answer) if METHODS[path].server_streaming else answer.result()
            except grpc.RpcError as error:
                code, said = error.code().name, str(error.details())
                if self._detailed and code not in BY_THE_LIBRARY:
                    Failure(error)  # fails unless it says why in one ErrorInfo of ours
            assert code in ALLOWED, f"{path} answered {code} {said} to {data.hex()}"
            self.codes[code] += 1
        return self.codes


def test_wrong_wire_types_and_texts_that_are_not_utf8_are_invalid_and_nothing_worse(shared_daemon: Daemon, key: str) -> None:
    caller = Caller(shared_daemon, ("authorization", f"Bearer {key}"))
    for path, method in METHODS.items():
        for data in (*wire.wrong_types(method.input_type), *wire.not_utf8(method.input_type)):
            caller.send(path, data)
    codes = caller.drain()
    print(dict(codes))
    assert codes["INVALID_ARGUMENT"] > codes.total() / 2


def test_what_is_nested_beyond_100_is_invalid(shared_daemon: Daemon, key: str) -> None:
    caller = Caller(shared_daemon, ("authorization", f"Bearer {key}"))
    for path, method in METHODS.items():
        for depth in (99, 101, 5_000):
            for data in wire.nested(method.input_type, depth):
                caller.send(path, data)
    assert caller.drain()["INVALID_ARGUMENT"]


def test_a_message_of_10_megabytes_is_refused_before_it_is_read(shared_daemon: Daemon, key: str) -> None:
    caller = Caller(shared_daemon, ("authorization", f"Bearer {key}"), detailed=False)
    for path in ("TaskService/StartTask", "TaskService/StreamEvents", "TaskService/SendItems", "AdminService/Drain"):
        caller.send(f"/taskmeter.v1.{path}", wire.field(1, b"x" * TOO_LARGE_BYTES), seconds=30.0)
        caller.drain()
    assert set(caller.codes) <= {"RESOURCE_EXHAUSTED", "UNIMPLEMENTED"}


@pytest.mark.parametrize(
    "metadata",
    [
        [("x-bytes-bin", bytes(range(256)))],
        [("authorization-bin", b"Bearer \xff\x00")],
        [("grpc-status-details-bin", b"\xff" * 100)],
        [(f"x-{index}", "y") for index in range(150)],
        [("authorization", "Bearer one"), ("authorization", "Bearer two")],
        [("x-long", "y" * 8_300)],
        [("x-long", "y" * 70_000)],
        [("x-long-bin", b"\xff" * 20_000)],
        [("user-agent", "%s%n")],
    ],
    ids=lambda pairs: f"{len(pairs)} {pairs[0][0]} {len(pairs[0][1])}",
)
def test_metadata_without_measure_is_ignored_or_refused(
    shared_daemon: Daemon, key: str, metadata: list[tuple[str, str | bytes]]
) -> None:
    for first in ([("authorization", f"Bearer {key}")], []):
        caller = Caller(shared_daemon, *first, *metadata, detailed=False)
        for path in METHODS:
            caller.send(path, b"")
        caller.drain()


@pytest.mark.parametrize("count", [2, 50])
def test_a_stream_of_several_messages_where_one_is_meant(shared_daemon: Daemon, key: str, count: int) -> None:
    caller = Caller(shared_daemon, ("authorization", f"Bearer {key}"), detailed=False)
    for path in METHODS:
        caller.send(path, *([b"\x0a\x01x"] * count), streams=True)
    print(dict(caller.drain()))
