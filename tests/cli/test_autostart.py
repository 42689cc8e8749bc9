from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from contextlib import closing

import pytest

from taskmeter.cli import autostart
from taskmeter.errors import UnavailableError
from tests.native.users import as_nobody
from tests.waiting import wait_until


def test_run_needs_nothing_but_itself(home):
    result = home.cli("run", "-q", "--", "echo", "hi")
    assert (result.returncode, result.stdout) == (0, "hi\n")
    assert home.state_dir.stat().st_mode & 0o777 == 0o700
    assert (home.state_dir / "admin.key").stat().st_mode & 0o777 == 0o600


def test_five_at_once_start_one_daemon(home):
    command = [sys.executable, "-m", "taskmeter", "run", "-q", "--", "echo"]
    runs = [
        subprocess.Popen([*command, str(number)], env=home.env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
        for number in range(5)
    ]
    assert sorted(run.communicate(timeout=60)[0] for run in runs) == [f"{number}\n" for number in range(5)]
    assert [run.returncode for run in runs] == [0] * 5
    assert home.daemons() == [home.daemon_pid]


def test_other_verbs_start_one_only_where_there_is_a_state_directory(home):
    result = home.cli("ls")
    assert result.returncode == 4
    assert "taskmeter run" in result.stderr
    assert not home.state_dir.exists()
    home.cli("submit", "--", "true")
    home.kill9()
    wait_until(lambda: not home.daemons(), "its end")
    result = home.cli("ls")
    assert (result.returncode, "true" in result.stdout) == (0, True)


def test_doctor_starts_nothing(home):
    assert home.cli("doctor").returncode == 0
    assert not home.state_dir.exists()


def test_the_daemon_is_detached_from_whoever_started_it(home):
    home.cli("submit", "--", "true")
    pid = home.daemon_pid
    assert os.getsid(pid) == pid
    for descriptor in (0, 1):
        assert os.readlink(f"/proc/{pid}/fd/{descriptor}") == "/dev/null"
    assert os.readlink(f"/proc/{pid}/cwd") == "/"


def test_tasks_outlive_their_daemon_and_the_next_one_knows_them(home):
    token = home.cli("submit", "--", "sh", "-c", "sleep 1; exit 9").stdout.strip()
    home.kill9()
    wait_until(lambda: not home.daemons(), "its end")
    assert home.cli("wait", token).returncode == 9


def test_an_older_daemon_is_replaced_and_its_tasks_run_on(home):
    script = "while [ ! -e go ]; do sleep 0.05; done; exit 6"
    token = home.cli("submit", "--", "sh", "-c", script, cwd=home.state_dir.parent).stdout.strip()
    before = home.daemon_pid
    path = home.state_dir / "daemon.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "version": "0.0.9"}))
    assert home.cli("ls").returncode == 0
    assert home.daemon_pid != before
    assert home.daemons() == [home.daemon_pid]
    (home.state_dir.parent / "go").touch()
    assert home.cli("wait", token).returncode == 6


def test_an_older_daemon_that_someone_runs_by_hand_is_left_alone(daemon):
    path = daemon.state_dir / "daemon.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "version": "0.0.9"}))
    assert daemon.cli("ls").returncode == 0
    assert daemon.info["pid"] == daemon.pid
    assert daemon.process.poll() is None


def test_a_daemon_that_cannot_start_is_an_error_that_says_why(home):
    home.state_dir.mkdir(parents=True)
    with closing(sqlite3.connect(home.state_dir / "taskmeter.db")) as database:  # as if a newer program had written it
        database.execute("PRAGMA user_version = 9999")
        database.execute("CREATE TABLE newer (x)")
    result = home.cli("ls")
    assert result.returncode == 4
    assert "could not be started" in result.stderr
    assert "daemon.log" in result.stderr


def test_a_state_directory_that_cannot_be_made_is_an_error_that_says_why(home, tmp_path):
    (tmp_path / "file").write_text("")
    result = home.cli("run", "--state-dir", str(tmp_path / "file" / "state"), "--", "true")
    assert result.returncode == 125
    assert "cannot use the state directory" in result.stderr


@pytest.mark.parametrize("name", ["with space", "ünï", "100%", "x" * 120])
def test_state_directories_of_any_name_work(home, name):
    directory = home.state_dir / name
    result = home.cli("run", "-q", "--state-dir", str(directory), "--", "echo", "hi")
    try:
        assert (result.returncode, result.stdout) == (0, "hi\n")
    finally:
        home.end_daemons_of(directory)


def test_a_state_directory_of_another_user_is_an_error_that_says_so(tmp_path):
    directory = tmp_path / "state"
    directory.mkdir(mode=0)

    def check() -> None:
        assert not autostart.serves(directory)
        with pytest.raises(UnavailableError, match="Permission denied"):
            autostart.ensure(directory)

    if os.getuid():
        check()
    else:
        as_nobody(check)


def test_modules_beside_the_user_do_not_get_into_the_daemon(home, tmp_path):
    for name in ("logging", "apsw", "uvloop"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('imported by mistake')")
    env = {**home.env, "PYTHONSAFEPATH": "1"}
    command = [sys.executable, "-m", "taskmeter", "submit", "--", "true"]
    result = subprocess.run(command, env=env, cwd=tmp_path, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
