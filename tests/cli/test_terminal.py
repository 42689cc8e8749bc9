from __future__ import annotations

import json
import re
import sys

import pytest

from taskmeter.cli.selection import LAST
from tests.cli.terminal import Terminal
from tests.waiting import wait_until

UP = "echo up; while :; do sleep 0.1; done"


def status(daemon, token):
    return json.loads(daemon.cli("status", token, "--json").stdout)


def test_run_shows_output_meter_and_summary_and_exits_with_the_code(shared_daemon):
    with Terminal(["run", "--", "sh", "-c", "echo hello; sleep 1.5; exit 3"], shared_daemon.client_env()) as terminal:
        for text in ("hello", "running", "CPU", "RAM", "tokens"):
            terminal.expect(text)
        assert terminal.code() == 3
        for text in ("failed (code 3)", "timeline", "memory", "cost"):
            assert text in terminal.text


def test_a_known_total_gives_a_bar_a_rate_and_an_end(shared_daemon):
    code = (
        "import time; from taskmeter.work import current; work = current(); work.progress(total=100)\n"
        "for _ in range(60): work.add(1); time.sleep(0.05)"
    )
    with Terminal(["run", "--", sys.executable, "-c", code], shared_daemon.client_env()) as terminal:
        terminal.expect("of 100")
        terminal.expect("/s")
        terminal.expect("ETA")
        assert terminal.code() == 0
        assert "60 of 100" in terminal.text


def test_items_by_stage_and_the_newest_messages_stand_below_the_meter(shared_daemon):
    code = (
        "import sys, taskmeter\n"
        "for number in range(7):\n"
        "    with taskmeter.item(number, stage='render'): pass\n"
        "taskmeter.current().items.queued('last', stage='print')\n"
        "for text in ('first', 'second', 'third', 'fourth'): taskmeter.note(text)\n"
        "taskmeter.warn('ink is low')\n"
        "print('up', flush=True); sys.stdin.readline() or __import__('signal').pause()\n"
    )
    with Terminal(["run", "--", sys.executable, "-c", code], shared_daemon.client_env()) as terminal:
        for text in ("up", "render", "7 done", "print", "1 waiting", "fourth", "ink is low"):
            terminal.expect(text)
        terminal.type("\x03")
        terminal.expect("continue?")
        terminal.type("s")
        assert terminal.code() == 130


def test_an_interrupt_asks_and_s_stops_the_task(shared_daemon):
    with Terminal(["run", "--", "sh", "-c", UP], shared_daemon.client_env()) as terminal:
        terminal.expect("running")
        terminal.type("\x03")
        terminal.expect("stop the task, detach and let it run, or continue?")
        terminal.type("s")
        assert terminal.code() == 130
        assert "stopped" in terminal.text


def test_a_second_interrupt_stops_the_task(shared_daemon):
    with Terminal(["run", "--", "sh", "-c", UP], shared_daemon.client_env()) as terminal:
        terminal.expect("running")
        terminal.type("\x03")
        terminal.expect("continue?")
        terminal.type("\x03")
        assert terminal.code() == 130
    assert status(shared_daemon, LAST)["completed"]


def test_d_detaches_and_the_task_runs_on(shared_daemon):
    with Terminal(["run", "--", "sh", "-c", UP], shared_daemon.client_env()) as terminal:
        terminal.expect("running")
        terminal.type("\x03")
        terminal.expect("continue?")
        terminal.type("d")
        assert terminal.code() == 130
        assert "runs on: taskmeter watch tk_" in terminal.text
    found = status(shared_daemon, LAST)
    assert found["state"] == 3
    shared_daemon.cli("stop", "--now", found["token"])


def test_c_goes_on(shared_daemon):
    with Terminal(["run", "--", "sh", "-c", "echo up; sleep 2; echo finished"], shared_daemon.client_env()) as terminal:
        terminal.expect("running")
        terminal.type("\x03")
        terminal.expect("continue?")
        terminal.type("c")
        terminal.expect("finished")
        terminal.expect("succeeded")
        terminal.code()


def test_a_task_that_ignores_the_stop_is_killed_by_the_next_interrupt(shared_daemon):
    script = f"trap '' TERM; {UP}"
    with Terminal(["run", "--grace", "1h", "--", "sh", "-c", script], shared_daemon.client_env()) as terminal:
        terminal.expect("running")
        terminal.type("\x03")
        terminal.expect("continue?")
        terminal.type("s")
        terminal.expect("stopping")
        terminal.type("\x03")
        assert terminal.code() == 130
    assert status(shared_daemon, LAST)["exitSignal"] == 9


def test_what_a_task_writes_cannot_command_the_terminal(shared_daemon):
    script = r"printf '\033]0;title\007\033[2J\302\233 31m \342\200\256evil\n'; sleep 0.5"
    with Terminal(["run", "--name", "na\x1b[31mme\u202e", "--", "sh", "-c", script], shared_daemon.client_env()) as terminal:
        assert terminal.code() == 0
        assert r"\x1b]0;title\x07\x1b[2J\x9b 31m \u202eevil" in terminal.text
        assert r"na\x1b[31mme\u202e" in terminal.text
        assert "\u202e" not in terminal.raw
        assert "\x1b]0;" not in terminal.raw
    with Terminal(["logs", LAST], shared_daemon.client_env()) as terminal:
        assert terminal.code() == 0
        assert r"\x1b]0;title" in terminal.text
        assert "\x1b]0;" not in terminal.raw
    with Terminal(["ls", "-n", "1"], shared_daemon.client_env()) as terminal:
        assert terminal.code() == 0
        assert r"na\x1b" in terminal.text


def test_a_progress_bar_made_of_carriage_returns_is_shown_as_it_stands(shared_daemon):
    script = r"printf '10%%\r'; sleep 0.7; printf '20%%\r'; sleep 0.7; printf '100%%\n'"
    with Terminal(["run", "--", "sh", "-c", script], shared_daemon.client_env()) as terminal:
        terminal.expect("10%")
        terminal.expect("20%")
        assert terminal.code() == 0
        assert "100%" in terminal.text


@pytest.mark.parametrize("arguments", [["ls"], ["doctor"], ["run", "--", "true"]], ids=lambda it: it[0])
def test_no_color_is_honoured(shared_daemon, arguments):
    colour = re.compile(r"\x1b\[[0-9;]*3[0-9]")
    with Terminal(arguments, shared_daemon.client_env()) as terminal:
        assert terminal.code() == 0
        assert colour.search(terminal.raw)
    with Terminal(arguments, shared_daemon.client_env(NO_COLOR="1")) as terminal:
        assert terminal.code() == 0
        assert not colour.search(terminal.raw)


def test_tables_have_headings_on_a_terminal_and_fit_narrow_ones(shared_daemon):
    shared_daemon.cli("run", "--name", "a name that is much too long for a narrow terminal", "--tag", "a=b", "--", "true")
    for columns in (120, 50):
        with Terminal(["ls", "-n", "5"], shared_daemon.client_env(), columns=columns) as terminal:
            assert terminal.code() == 0
            assert "TOKEN" in terminal.text
            assert max(map(len, terminal.text.splitlines())) <= columns


def test_top_shows_running_tasks_and_q_leaves(shared_daemon):
    token = shared_daemon.cli("submit", "--name", "seen-in-top", "--", "sleep", "60").stdout.strip()
    with Terminal(["top"], shared_daemon.client_env()) as terminal:
        terminal.expect("seen-in-top")
        terminal.expect("CPU▾")
        terminal.type("m")
        terminal.expect("RAM▾")
        terminal.type("q")
        assert terminal.code() == 0
    assert shared_daemon.cli("stop", "--now", token).returncode == 0


def test_watch_shows_earlier_output_and_an_interrupt_leaves_the_task_alone(shared_daemon):
    token = shared_daemon.cli("submit", "--", "sh", "-c", "echo before; sleep 60").stdout.strip()
    wait_until(lambda: "before" in shared_daemon.cli("logs", token).stdout, "output")
    with Terminal(["watch", token], shared_daemon.client_env()) as terminal:
        terminal.expect("before")
        terminal.expect("running")
        terminal.type("\x03")
        assert terminal.code() == 130
    assert status(shared_daemon, token)["state"] == 3
    shared_daemon.cli("stop", "--now", token)


def test_the_terminal_is_put_back_after_a_view(shared_daemon):
    with Terminal(["run", "--", "sleep", "0.5"], shared_daemon.client_env()) as terminal:
        terminal.expect("running")
        assert terminal.code() == 0
        assert terminal.raw.rfind("\x1b[?25h") > terminal.raw.rfind("\x1b[?25l")


def test_a_view_goes_on_over_kill_9_of_the_daemon(home):
    script = "echo up; while [ ! -e go ]; do sleep 0.05; done; exit 5"
    with Terminal(["run", "--cwd", str(home.state_dir.parent), "--", "sh", "-c", script], home.env) as terminal:
        terminal.expect("running")
        home.kill9()
        terminal.expect("connection lost")
        (home.state_dir.parent / "go").touch()
        assert terminal.code() == 5


def test_top_shows_the_newest_messages_and_whose_they_are(shared_daemon):
    code = "import sys, taskmeter, time\nsys.stdin.read()\nwhile True: taskmeter.warn('ink is low'); time.sleep(0.2)"
    token = shared_daemon.calls.StartTask(spec={"name": "press", "command": {"argv": [sys.executable, "-c", code]}}).token
    with Terminal(["top"], shared_daemon.client_env()) as terminal:
        terminal.expect("press ink is low")
        terminal.type("q")
        assert terminal.code() == 0
    shared_daemon.calls.Terminate(token=token, immediate=True)
