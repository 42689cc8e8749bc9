"""What a daemon can be told: flags over environment over file over defaults, and each mistake by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from taskmeter.errors import InvalidArgumentError
from taskmeter.settings import PLAIN_TEXT, default_state_dir, load


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TASKMETER_STATE_DIR", "XDG_STATE_HOME", "TASKMETER_MAX_RUNNING", "TASKMETER_CGROUP", "TASKMETER_GPU"):
        monkeypatch.delenv(name, raising=False)


def test_flags_win_over_the_environment_and_that_over_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "c.toml"
    file.write_text('max_running = 3\nmax_waiting = 30\nsample_rate_hz = 5\nstate_dir = "/in/file"\n')
    monkeypatch.setenv("TASKMETER_MAX_WAITING", "40")
    monkeypatch.setenv("TASKMETER_MAX_RUNNING", "4")
    settings = load({"config": str(file), "max_running": 5, "listen": None})
    assert (settings.max_running, settings.max_waiting, settings.sample_rate_hz) == (5, 40, 5.0)
    assert settings.state_dir == Path("/in/file")


def test_the_state_directory_is_found_as_other_tools_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    assert default_state_dir() == Path("/home/me/.local/state/taskmeter")
    monkeypatch.setenv("XDG_STATE_HOME", "/xdg")
    assert default_state_dir() == Path("/xdg/taskmeter")
    monkeypatch.setenv("TASKMETER_STATE_DIR", "/given")
    assert default_state_dir() == Path("/given")


@pytest.mark.parametrize(
    ("flags", "field"),
    [
        ({"max_running": 0}, "max_running"),
        ({"max_waiting": -1}, "max_waiting"),
        ({"slow_consumer_seconds": 0.5}, "slow_consumer_seconds"),
        ({"slow_consumer_seconds": float("nan")}, "slow_consumer_seconds"),
        ({"sample_rate_hz": 50.0}, "sample_rate_hz"),
        ({"sample_rate_hz": float("nan")}, "sample_rate_hz"),
        ({"cgroup": "maybe"}, "cgroup"),
        ({"gpu": "maybe"}, "gpu"),
        ({"drain_on_stop": "sometimes"}, "drain_on_stop"),
        ({"listen": "0.0.0.0:80"}, "listen"),
        ({"listen": "localhost"}, "listen"),
        ({"listen": "0.0.0.0:80", PLAIN_TEXT: False}, "listen"),
        ({"calls_per_second": -1.0}, "calls_per_second"),
        ({"calls_per_second": float("nan")}, "calls_per_second"),
        ({"calls_burst": 5}, "calls_burst"),
        ({"listen": "127.0.0.1:70000"}, "listen"),
        ({"auto_exit_seconds": 0}, "auto_exit_seconds"),
        ({"log_level": "loud"}, "log_level"),
        ({"log_format": "xml"}, "log_format"),
        ({"colour": "red"}, "colour"),
        ({"max_running": "many"}, "max_running"),
        ({"max_running": True}, "max_running"),
        ({"config": "/no/such/file"}, "config"),
    ],
)
def test_a_bad_setting_is_named(flags: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidArgumentError) as refused:
        load(flags)
    assert [name for name, _ in refused.value.fields] == [field]


def test_a_file_that_is_no_toml_is_refused(tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text("max_running = = 3")
    with pytest.raises(InvalidArgumentError, match="cannot read"):
        load({"config": str(tmp_path / "c.toml")})


def test_plain_text_on_the_network_has_to_be_asked_for_by_its_long_name(monkeypatch: pytest.MonkeyPatch) -> None:
    assert load({"listen": "0.0.0.0:80", PLAIN_TEXT: True}).listen == "0.0.0.0:80"
    monkeypatch.setenv(f"TASKMETER_{PLAIN_TEXT.upper()}", "true")
    assert load({"listen": "192.0.2.1:80"}).listen == "192.0.2.1:80"
