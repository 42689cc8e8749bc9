"""G8 and G10 when all subscribers lose their connections at once and come back at once."""

from __future__ import annotations

import select
import subprocess
import sys
from collections.abc import Callable
from time import monotonic

import pytest

from tests.daemon import Daemon, clean_environment
from tests.faults.result import ROOT
from tests.faults.size import wanted_count
from tests.integration.helpers import start
from tests.proxy import Proxy

STREAM_COUNT = wanted_count(200)
STORM_COUNT = 3
BACK_SECONDS = 60.0
UNARY_SECONDS = 0.1
SLACK_SECONDS = 1.0


@pytest.mark.guarantee("G8", "G10")
@pytest.mark.timeout(300)
def test_g8_g10_calls_are_answered_while_all_streams_come_back(
    daemon: Daemon, record_property: Callable[[str, object], None]
) -> None:
    calls = daemon.calls
    token = start(calls, "sleep", "600")
    with Proxy(daemon.home / "proxy", daemon.target) as proxy:
        command = [sys.executable, "-m", "tests.faults.crowd", proxy.target, daemon.key, token, str(STREAM_COUNT)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT, env=clean_environment()) as crowd:
            try:
                times: list[float] = []
                backs = []
                for number in range(STORM_COUNT + 1):
                    if number:
                        proxy.cut()
                    begin = monotonic()
                    calls.UpdateTask(token=token, set_metadata={"n": str(number)})
                    during = until_all(crowd, number, calls.GetServerInfo)
                    if number:
                        times += during
                        backs.append(monotonic() - begin)
            finally:
                crowd.kill()
    p99 = sorted(times)[int(0.99 * len(times))]
    print(
        f"{STREAM_COUNT} streams were back after {', '.join(f'{each:.2f}' for each in backs)} s; "
        f"p99 of {len(times)} calls meanwhile {p99 * 1e3:.1f} ms"
    )
    record_property("faults", STREAM_COUNT * STORM_COUNT)
    assert p99 <= UNARY_SECONDS + SLACK_SECONDS


def until_all(crowd: subprocess.Popen[str], number: int, call: Callable[[], object]) -> list[float]:
    """Call again and again until every stream has seen a number; return how long each call took."""
    assert crowd.stdout is not None
    deadline = monotonic() + BACK_SECONDS
    times = []
    while True:
        begin = monotonic()
        assert begin < deadline, "somebody was lost"
        call()
        times.append(monotonic() - begin)
        if select.select([crowd.stdout], [], [], 0.002)[0]:
            line = crowd.stdout.readline()
            assert line == f"all {number}\n"
            return times
