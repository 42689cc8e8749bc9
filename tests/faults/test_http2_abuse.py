"""G10: a client that abuses HTTP/2 costs the daemon a bounded amount of memory, and nobody else their answers."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from statistics import median
from time import monotonic

import pytest
from hyperframe.frame import HeadersFrame

from taskmeter.rpc.server import STREAMS_PER_CONNECTION
from tests.daemon import Daemon, clean_environment
from tests.faults.abuse import ABUSES, BATCH, HOARDS, NEED_KEY, READ, hoarded_calls, oversized_headers, oversized_messages
from tests.faults.result import ROOT
from tests.faults.size import wanted_count
from tests.faults.test_stalled_subscribers import anonymous_bytes
from tests.http2 import FRAME_BYTES, Raw, encode, headers_of, opening
from tests.integration.helpers import end_of, start
from tests.waiting import wait_until

SECONDS = wanted_count(1) * 0.2
"""How long each is done."""
TASK_COUNT = 60
UNARY_SECONDS = 0.1
SLACK_SECONDS = 1.0
KEY_HOLDER_SLACK_SECONDS = 3.0
"""Whoever has a key may begin thousands of calls at once, and those of others come after them."""
REFUSED_PER_CALL = 2
"""A call that is refused costs others no more than half of a call that is answered: so long may thousands at once take."""
CALM_COUNT = 200
CALL_SECONDS = 10.0
REFUSED_SECONDS = 5.0
MOST_BYTES = 64 << 20
MORE_BYTES = {
    "hoarded_calls": 160 << 20,
    "unfinished_checks": 96 << 20,
    "oversized_headers": 192 << 20,
    "endless_headers": 1 << 30,
}
"""15 kB for each call that a key holder has begun; what gRPC 1.85 takes in before it hears of a refusal, and holds of a refused
header block. README.md says more."""
PENDING_BYTES = STREAMS_PER_CONNECTION * (FRAME_BYTES + 8192)
"""What one connection can have waiting for us: calls with a first frame of their messages."""


@pytest.fixture(scope="module", params=["unix", "tcp"])
def target(request: pytest.FixtureRequest) -> Iterator[tuple[Daemon, str]]:
    """A daemon that has something to tell, and one of its listeners."""
    with Daemon("--listen", "127.0.0.1:0") as daemon:
        tags = {str(number): "x" * 250 for number in range(4)}
        for token in [start(daemon.calls, "true", tags=tags) for _ in range(TASK_COUNT)]:
            end_of(daemon.calls, token)
        yield daemon, next(each for each in daemon.info["grpc"] if each.startswith("unix:") is (request.param == "unix"))


@pytest.mark.guarantee("G10")
def test_g10_a_stranger_is_refused_before_his_request_has_come(shared_daemon: Daemon) -> None:
    with Raw(shared_daemon.target) as raw:
        raw.send(opening(1, encode(headers_of(READ))))
        assert any(isinstance(frame, HeadersFrame) and "END_STREAM" in frame.flags for frame in raw.frames(REFUSED_SECONDS))


@pytest.mark.guarantee("G10")
@pytest.mark.parametrize("name", ABUSES)
def test_g10_calls_are_answered_while_a_client_abuses_the_protocol(
    target: tuple[Daemon, str], name: str, record_property: Callable[[str, object], None]
) -> None:
    daemon, address = target
    calm_seconds = median(seconds_of_call(daemon) for _ in range(CALM_COUNT))
    before = most = anonymous_bytes(daemon.pid)
    key = daemon.key if name in NEED_KEY else ""
    command = [sys.executable, "-m", "tests.faults.abuse", name, address, key, str(SECONDS)]
    times = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT, env=clean_environment()) as abuser:
        while abuser.poll() is None:
            times.append(seconds_of_call(daemon))
            most = max(most, anonymous_bytes(daemon.pid))
        assert abuser.stdout is not None
        count, hung_up_count = map(int, abuser.stdout.read().split())
    p99 = sorted(times)[int(0.99 * len(times))]
    grown = most - before
    print(
        f"{name} at {address.partition(':')[0]}: {count} times, hung up {hung_up_count} times, {grown / 2**20:.1f} MB, "
        f"p99 of {len(times)} calls {p99 * 1e3:.1f} ms, longest {max(times) * 1e3:.1f} ms, before {calm_seconds * 1e3:.2f} ms"
    )
    record_property("faults", count)
    assert abuser.returncode == 0
    assert count
    slack_seconds = SLACK_SECONDS if not key else KEY_HOLDER_SLACK_SECONDS
    pending_count = most_pending(name, 1 + hung_up_count)
    assert p99 <= UNARY_SECONDS + max(slack_seconds, pending_count * calm_seconds / REFUSED_PER_CALL)
    assert grown <= most_bytes(name, 1 + hung_up_count)
    end_of(daemon.calls, start(daemon.calls, "true"))
    wait_until(lambda: seconds_of_call(daemon) <= UNARY_SECONDS, "it answers as before")
    assert daemon.calls.GetServerInfo(timeout=CALL_SECONDS).pid == daemon.pid


def most_pending(name: str, connection_count: int) -> int:
    """How many calls at once may come before those of others, and take their time."""
    if name == hoarded_calls.__name__:
        return HOARDS * BATCH
    return connection_count * STREAMS_PER_CONNECTION if name == oversized_messages.__name__ else 0


def most_bytes(name: str, connection_count: int) -> int:
    """How much the daemon may hold of what it is sent."""
    most = MORE_BYTES.get(name, MOST_BYTES)
    if name == oversized_messages.__name__:
        return max(most, connection_count * PENDING_BYTES)
    if name == oversized_headers.__name__:  # a megabyte for each of a connection's calls, in the end
        return min(most * wanted_count(1), STREAMS_PER_CONNECTION << 20)
    return most


def seconds_of_call(daemon: Daemon) -> float:
    """Ask for something small, and return how long the answer took."""
    begin = monotonic()
    daemon.calls.GetServerInfo(timeout=CALL_SECONDS)
    return monotonic() - begin
