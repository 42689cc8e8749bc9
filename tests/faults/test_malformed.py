"""10,000 requests that nobody should send: no crash, no INTERNAL, no UNKNOWN, and the daemon answers afterwards."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import grpc
import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from tests.contract import METHODS
from tests.daemon import Daemon
from tests.faults.requests import messages, mutated
from tests.faults.size import new_seed, wanted_count
from tests.integration.helpers import Failure, end_of, start

REQUESTS = wanted_count(10_000)
SEED = new_seed()
MUTANTS = 9
"""Mutated copies of each request that hypothesis built."""
IN_FLIGHT = 64
DEADLINE_SECONDS = 2.0
STREAMS_END_AFTER_SECONDS = 0.2
BOUND_SECONDS = max(60.0, REQUESTS / 100)
"""About how long it takes; when the machine is too slow for all of them, what was sent is said."""
EXPECTED = {
    grpc.StatusCode.OK,
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.ALREADY_EXISTS,
    grpc.StatusCode.FAILED_PRECONDITION,
    grpc.StatusCode.OUT_OF_RANGE,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
    grpc.StatusCode.PERMISSION_DENIED,
    grpc.StatusCode.UNIMPLEMENTED,
    grpc.StatusCode.DEADLINE_EXCEEDED,  # of a wait or a stream that it did understand: the deadline is ours
}


class Sender:
    """Sends bytes to any method, many at a time, and counts how they were answered."""

    def __init__(self, daemon: Daemon, key: str) -> None:
        self._metadata = [("authorization", f"Bearer {key}")]
        self._calls: dict[str, Any] = {}
        for path, method in METHODS.items():
            kind = f"{'stream' if method.client_streaming else 'unary'}_{'stream' if method.server_streaming else 'unary'}"
            self._calls[path] = getattr(daemon.channel, kind)(path)
        self._open: list[tuple[str, bytes, Any]] = []
        self.codes: Counter[tuple[str, str]] = Counter()
        self.sent = 0

    def send(self, path: str, data: bytes) -> None:
        method, call = METHODS[path], self._calls[path]
        request: Any = iter([data]) if method.client_streaming else data
        streams = method.server_streaming
        timeout = STREAMS_END_AFTER_SECONDS if streams or path.endswith("/WaitTask") else DEADLINE_SECONDS
        send = call if streams else call.future
        self._open.append((path, data, send(request, metadata=self._metadata, timeout=timeout)))
        self.sent += 1
        if len(self._open) >= IN_FLIGHT:
            self.drain()

    def drain(self) -> None:
        """Wait for the answers of all that was sent."""
        waiting, self._open = self._open, []
        for path, data, answer in waiting:
            try:
                list(answer) if METHODS[path].server_streaming else answer.result()
                code = grpc.StatusCode.OK
            except grpc.RpcError as error:
                code = error.code()
                if code not in (grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.UNIMPLEMENTED):
                    Failure(error)  # fails unless it says why in one ErrorInfo of ours
            self.codes[path.rpartition("/")[2], code.name] += 1
            assert code in EXPECTED, f"{path} answered {code.name} to {data.hex()}; seed {SEED}"


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_malformed_requests_neither_crash_the_daemon_nor_find_a_bug(
    daemon: Daemon, record_property: Callable[[str, object], None]
) -> None:
    ended = start(daemon.calls, "true")
    end_of(daemon.calls, ended)
    own = daemon.calls.CreateKey(tenant="fuzz", scopes=["submit", "read", "control", "files", "admin"]).secret  # it cannot drain
    theirs = daemon.calls.StartTask(spec={"command": {"argv": ["echo", "x"]}}, key=own).token
    tokens = [ended, theirs, "0" * len(ended)]
    chance = random.Random(SEED)
    sender = Sender(daemon, own)
    requests = st.sampled_from(sorted(METHODS)).flatmap(
        lambda path: st.tuples(st.just(path), messages(METHODS[path].input_type, tokens))
    )
    stop_time = time.monotonic() + BOUND_SECONDS

    @seed(SEED)
    @settings(
        max_examples=max(1, REQUESTS // (1 + MUTANTS)),
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(requests)
    def send(request: tuple[str, Any]) -> None:
        path, message = request
        if time.monotonic() > stop_time:
            return
        data = message.SerializeToString()
        sender.send(path, data)
        if b"attach" not in str(message).encode():  # a mutated pid might be somebody's
            for _ in range(MUTANTS):
                sender.send(path, mutated(data, chance))

    send()
    while sender.sent < REQUESTS and time.monotonic() < stop_time:  # what hypothesis had twice, or left out
        sender.send(chance.choice(sorted(METHODS)), chance.randbytes(chance.randint(0, 200)))
    sender.drain()
    record_property("faults", sender.sent)
    by_code: Counter[str] = Counter()
    for (_, code), count in sender.codes.items():
        by_code[code] += count
    print(f"{sender.sent} requests, seed {SEED}: {dict(by_code.most_common())}")
    assert daemon.process is not None and daemon.process.poll() is None
    assert daemon.calls.GetServerInfo(timeout=30).pid == daemon.pid
    assert "Traceback" not in daemon.log() and "internal error" not in daemon.log()
    assert end_of(daemon.calls, start(daemon.calls, "true")).exit_code == 0
