from __future__ import annotations

import json

import pytest

from taskmeter.client import SyncClient
from tests.cli.terminal import Terminal
from tests.waiting import wait_until


@pytest.fixture(scope="module")
def token(shared_daemon):
    """A task of two seconds that has ended."""
    found = shared_daemon.cli("submit", "--name", "drawn", "--", "sleep", "2.2").stdout.strip()
    shared_daemon.cli("wait", "-q", found)
    return found


def test_plot_draws_below_the_summary(shared_daemon, token):
    result = shared_daemon.cli("status", token, "--plot")
    assert (result.returncode, result.stderr) == (0, "")
    for part in ("drawn", "timeline", "CPU", "RAM", "steps of 1 s", "⣀", "└"):
        assert part in result.stdout
    assert "\x1b" not in result.stdout, "no colours where nobody looks"
    assert max(map(len, result.stdout.splitlines())) <= 110


def test_plot_is_ascii_where_nothing_else_can_be_shown(shared_daemon, token):
    result = shared_daemon.cli("status", token, "--plot", env={"PYTHONIOENCODING": "ascii:replace"})
    assert result.returncode == 0, result.stderr
    plot = result.stdout[result.stdout.index("CPU  mean") :]
    assert "|" in plot and "+--" in plot and "?" not in plot


@pytest.mark.parametrize("columns", [60, 100, 180])
def test_plot_fits_the_terminal_and_has_colours_there(shared_daemon, token, columns):
    with Terminal(["status", token, "--plot"], shared_daemon.client_env(), columns=columns) as terminal:
        assert terminal.code() == 0
        assert "\x1b[" in terminal.raw
        drawing = terminal.text[terminal.text.index("CPU  mean") :].splitlines()
        assert max(map(len, drawing)) <= columns
        assert max(map(len, drawing)) >= columns - 14


def test_no_color_is_obeyed(shared_daemon, token):
    with Terminal(["status", token, "--plot"], {**shared_daemon.client_env(), "NO_COLOR": "1"}) as terminal:
        assert terminal.code() == 0
        assert "\x1b[36m" not in terminal.raw


def test_json_has_the_points_when_asked(shared_daemon, token):
    assert "history" not in json.loads(shared_daemon.cli("status", token, "--json").stdout)
    found = json.loads(shared_daemon.cli("status", token, "--json", "--plot").stdout)
    assert found["token"] == token
    assert found["history"]["resolutionSeconds"] == 1.0
    assert [set(point) >= {"time", "cpuCores", "memoryBytesMax", "gap"} for point in found["history"]["points"]]


def test_png_writes_a_picture(shared_daemon, token, tmp_path):
    path = tmp_path / "ü.png"
    result = shared_daemon.cli("status", token, "--png", str(path))
    assert (result.returncode, result.stderr) == (0, "")
    assert path.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    failed = shared_daemon.cli("status", token, "--png", str(tmp_path / "none" / "x.png"))
    assert failed.returncode == 1
    assert "No such file or directory" in failed.stderr


def test_a_task_without_a_history_says_so(shared_daemon):
    short = shared_daemon.cli("submit", "--", "true").stdout.strip()
    shared_daemon.cli("wait", "-q", short)
    assert "no history" in shared_daemon.cli("status", short, "--plot").stdout


def test_watch_begins_with_the_past(shared_daemon):
    found = shared_daemon.cli("submit", "--", "sleep", "60").stdout.strip()
    with SyncClient(shared_daemon.target, key=shared_daemon.key) as client:
        wait_until(lambda: len(client.metrics_history(found).points) > 6, "it has a past", 30.0)
    with Terminal(["watch", found], shared_daemon.client_env(), columns=140) as terminal:
        terminal.expect("RAM")
        terminal.expect("peak")
        line = next(line for line in terminal.text.splitlines() if "RAM" in line)
        assert sum(line.count(bar) for bar in "▁▂▃▄▅▆▇█") >= 6
    shared_daemon.cli("stop", "--now", found)
