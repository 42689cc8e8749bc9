from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys

import pytest

from tests.daemon import clean_environment
from tests.waiting import wait_until


def start(daemon, *arguments, **options):
    """Start the command line without waiting for it."""
    settings = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "env": daemon.client_env()}
    return subprocess.Popen([sys.executable, "-m", "taskmeter", *arguments], **{**settings, **options})


def newest(daemon):
    return json.loads(daemon.cli("status", "@last", "--json").stdout)


def test_bytes_of_both_outputs_go_through_untouched_and_the_summary_goes_to_stderr(shared_daemon):
    script = r"printf 'a\000\377\033[31mb'; printf 'err\001' >&2"
    result = shared_daemon.cli("run", "--", "sh", "-c", script, text=False)
    assert result.stdout == b"a\x00\xff\x1b[31mb"
    assert result.stderr.startswith(b"err\x01")
    assert b"succeeded" in result.stderr
    assert b"cost" in result.stderr


def test_a_large_output_comes_whole(shared_daemon):
    result = shared_daemon.cli("run", "-q", "--", "seq", "300000")
    assert result.stdout == "".join(f"{number}\n" for number in range(1, 300_001))
    assert result.stderr == ""


def test_the_command_runs_where_and_as_the_caller_would(shared_daemon, tmp_path):
    code = "import os; print(os.getcwd(), oct(os.umask(0)), os.environ.get('MINE'), os.environ.get('TASKMETER_KEY'))"
    env = shared_daemon.client_env(MINE="yes", TASKMETER_KEY=shared_daemon.key)
    result = subprocess.run(
        [sys.executable, "-m", "taskmeter", "run", "-q", "--", sys.executable, "-c", code],
        env=env, cwd=tmp_path, umask=0o027, capture_output=True, text=True, check=True, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert result.stdout == f"{tmp_path} 0o27 yes None\n"


def test_env_and_cwd_can_be_given_and_the_environment_left_behind(shared_daemon, tmp_path):
    options = ["--clean-env", "--env", "A=1=2", "--cwd", str(tmp_path)]
    result = shared_daemon.cli("run", "-q", *options, "--", "sh", "-c", 'echo "$A|$MINE|$PWD"', env={"MINE": "yes"})
    assert result.stdout == f"1=2||{tmp_path}\n"


def test_piped_input_reaches_the_command(shared_daemon):
    assert shared_daemon.cli("run", "-q", "--", "tr", "a-z", "A-Z", input="hello").stdout == "HELLO"
    assert shared_daemon.cli("run", "-q", "--", "wc", "-c", input="x" * (1 << 20)).stdout.strip() == str(1 << 20)


def test_a_file_can_be_the_input(shared_daemon, tmp_path):
    (tmp_path / "input").write_text("from a file")
    assert shared_daemon.cli("run", "-q", "--stdin", str(tmp_path / "input"), "--", "cat").stdout == "from a file"
    assert shared_daemon.cli("run", "-q", "--stdin", "/nonexistent", "--", "cat").returncode == 125
    with (tmp_path / "large $input").open("wb") as large:
        large.truncate(3_000_000)
    result = shared_daemon.cli("run", "-q", "--stdin", str(large.name), "--", "sh", "-c", 'wc -c; echo "$0" "$1"', "a b", "c")
    assert result.stdout == "3000000\na b c\n"
    assert newest(shared_daemon)["name"] == "sh"


def test_too_much_input_is_refused_with_advice(shared_daemon):
    result = shared_daemon.cli("submit", "--", "cat", input="x" * ((1 << 20) + 1))
    assert result.returncode == 2
    assert "1 MiB" in result.stderr
    assert "hint: " in result.stderr


def test_detach_prints_the_token_alone(shared_daemon):
    result = shared_daemon.cli("run", "--detach", "--", "true")
    assert re.fullmatch(r"tk_[0-9A-Za-z]{22}\n", result.stdout)
    assert result.stderr == ""
    assert shared_daemon.cli("wait", result.stdout.strip()).returncode == 0


def test_json_gives_the_final_status_and_nothing_else(shared_daemon):
    result = shared_daemon.cli(
        "run", "--json", "--name", "job", "--total", "5", "--tag", "a=b", "--", "sh", "-c", "echo x; exit 4"
    )
    status = json.loads(result.stdout)
    assert (status["name"], status["totalCount"], status["tags"], status["exitCode"]) == ("job", 5, {"a": "b"}, 4)
    assert (result.returncode, result.stderr) == (4, "")


def test_the_name_is_that_of_the_script_an_interpreter_runs(shared_daemon, tmp_path):
    (tmp_path / "work.py").write_text("")
    assert shared_daemon.cli("submit", "--", sys.executable, str(tmp_path / "work.py")).returncode == 0
    assert newest(shared_daemon)["name"] == "work.py"


def test_options_after_the_command_belong_to_the_command(shared_daemon):
    assert shared_daemon.cli("run", "-q", "echo", "--name", "x", "-h").stdout == "--name x -h\n"


def test_the_first_interrupt_stops_the_task_and_the_code_is_130(shared_daemon):
    process = start(shared_daemon, "run", "--", "sh", "-c", "echo up; exec sleep 60")
    assert process.stdout.readline() == b"up\n"
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=30)
    assert process.returncode == 130
    assert b"stopping it" in said
    assert b"stopped" in said


def test_the_second_interrupt_kills_a_task_that_ignores_the_first(shared_daemon):
    process = start(shared_daemon, "run", "--grace", "1h", "--", "sh", "-c", "trap '' TERM; echo up; while :; do sleep 1; done")
    assert process.stdout.readline() == b"up\n"
    process.send_signal(signal.SIGINT)
    token = newest(shared_daemon)["token"]
    wait_until(lambda: json.loads(shared_daemon.cli("status", token, "--json").stdout)["state"] == 4, "stopping")
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)
    assert process.returncode == 130
    assert json.loads(shared_daemon.cli("status", token, "--json").stdout)["exitSignal"] == 9


def test_sigterm_stops_the_task_and_gives_143(shared_daemon):
    process = start(shared_daemon, "run", "--", "sh", "-c", "echo up; exec sleep 60")
    assert process.stdout.readline() == b"up\n"
    process.terminate()
    process.communicate(timeout=30)
    assert process.returncode == 143
    assert newest(shared_daemon)["completed"]


def test_a_reader_that_goes_away_stops_the_task_quietly(shared_daemon):
    process = start(shared_daemon, "run", "--", "yes")
    assert process.stdout.readline() == b"y\n"
    process.stdout.close()
    said = process.stderr.read()
    process.stderr.close()
    assert process.wait(30) == 141
    assert said == b""
    token = newest(shared_daemon)["token"]
    assert shared_daemon.cli("wait", "-q", token).returncode in {141, 143}  # by its own SIGPIPE never: it writes to a file


@pytest.mark.parametrize("arguments", [["ls"], ["bill"], ["events", "--from", "1"], ["doctor"]], ids=lambda it: it[0])
def test_a_reader_that_goes_away_ends_other_verbs_quietly(shared_daemon, arguments):
    shared_daemon.cli("run", "--", "true")
    reader, writer = os.pipe()
    os.close(reader)
    process = start(shared_daemon, *arguments, stdout=writer)
    os.close(writer)
    _, said = process.communicate(timeout=30)
    assert (process.returncode, said) == (141, b"")


def test_a_view_survives_kill_9_of_its_daemon_and_says_so_once(daemon):
    env = clean_environment(TASKMETER_TARGET=daemon.target, TASKMETER_KEY=daemon.key)
    script = "echo up; while [ ! -e go ]; do sleep 0.05; done; echo done; exit 7"
    process = start(daemon, "run", "--", "sh", "-c", script, cwd=daemon.home, env=env)
    assert process.stdout.readline() == b"up\n"
    daemon.kill9()
    assert b"connection lost" in process.stderr.readline()
    daemon.start()
    (daemon.home / "go").touch()
    output, said = process.communicate(timeout=60)
    assert (process.returncode, output) == (7, b"done\n")
    assert b"connection lost" not in said
