"""Tasks are billed by the tariff they name, as it was when they were accepted; SIGHUP reads the file again for those to come."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import grpc
import pytest

from tests.daemon import Daemon
from tests.integration.helpers import end_of, failure_of, start_python, status_of, wait_for_output
from tests.waiting import wait_until

CONFIG = """
tariff = "silver"
[tariffs.silver]
per_core_hour = 3600
per_gib_hour = 0
[tariffs.gold]
version = {version}
per_core_hour = {price}
[tariffs.gold.custom]
pages = 2
"""

COUNTS = """
import signal
from metercore.report import ReportBlock
import os
block = ReportBlock(os.environ["TASKMETER_TASK_DIR"] + "/report")
block.count("pages", 21)
block.count("free", 5)
print("up", flush=True)
signal.sigwait([signal.SIGUSR1])
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "config.toml"
    path.write_text(CONFIG.format(version=1, price=7200))
    return path


@pytest.fixture
def daemon(make_daemon: Callable[..., Daemon], config: Path) -> Daemon:
    return make_daemon("--config", str(config)).start()


def reload(daemon: Daemon, said: str) -> None:
    assert daemon.process is not None
    before = daemon.log().count(said)
    os.kill(daemon.process.pid, signal.SIGHUP)
    wait_until(lambda: daemon.log().count(said) > before, f"the log says {said!r}")


def test_each_task_is_billed_by_the_tariff_it_names(daemon: Daemon) -> None:
    plain, gold = (start_python(daemon.calls, "sum(range(10**7))", tariff=name) for name in ("", "gold"))
    for token, label, per_second in ((plain, "silver-1", 1.0), (gold, "gold-1", 2.0)):
        tokens = end_of(daemon.calls, token).tokens
        assert tokens.tariff == label
        assert tokens.cpu_utilization == pytest.approx(tokens.cpu_ns / 1e9 * per_second)


def test_a_tariff_that_is_not_there_is_refused_by_name(daemon: Daemon) -> None:
    failure = failure_of(daemon.calls.StartTask, spec={"command": {"argv": ["true"]}, "tariff": "lead"})
    assert (failure.code, failure.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "FIELD_INVALID")
    assert list(failure.fields) == ["spec.tariff"]
    assert "gold" in failure.fields["spec.tariff"]


def test_counters_with_a_price_are_tokens_while_it_runs_and_after(daemon: Daemon) -> None:
    token = start_python(daemon.calls, COUNTS, tariff="gold")
    wait_for_output(daemon.calls, token, b"up")
    status = wait_until(
        lambda: found if (found := status_of(daemon.calls, token)).tokens.custom["pages"] else None, "pages are priced"
    )
    assert dict(status.tokens.custom) == {"pages": 42.0}
    parts = status.tokens
    assert parts.total == pytest.approx(parts.cpu_utilization + parts.cpu_memory + 42.0)
    os.kill(status.pid, signal.SIGUSR1)
    ended = end_of(daemon.calls, token)
    assert dict(ended.tokens.custom) == {"pages": 42.0}


def test_reading_the_file_again_changes_what_comes_and_not_what_was(daemon: Daemon, config: Path) -> None:
    old = start_python(daemon.calls, "import signal; signal.pause()", tariff="gold")
    config.write_text(CONFIG.format(version=1, price=1))
    reload(daemon, "tariffs stay as they are")
    config.write_text(CONFIG.format(version=2, price=1))
    reload(daemon, "gold-2")
    assert daemon.calls.GetServerInfo().tariffs == ["default-1", "gold-2", "silver-1"]
    new = start_python(daemon.calls, "pass", tariff="gold")
    assert end_of(daemon.calls, new).tokens.tariff == "gold-2"
    assert status_of(daemon.calls, old).tokens.tariff == "gold-1"
    daemon.restart()
    wait_until(lambda: status_of(daemon.calls, old).tokens.tariff == "gold-1", "it keeps its prices over a restart")
    daemon.calls.Terminate(token=old, immediate=True)
    ended = end_of(daemon.calls, old)
    assert ended.tokens.cpu_utilization == pytest.approx(ended.tokens.cpu_ns / 1e9 * 2.0)


def test_a_broken_file_is_refused_at_the_start_and_named(config: Path, make_daemon: Callable[..., Daemon]) -> None:
    config.write_text("[tariffs.gold]\nper_core_hour = -1\n")
    with pytest.raises(AssertionError, match=r"tariffs\.gold\.per_core_hour"):
        make_daemon("--config", str(config)).start()
