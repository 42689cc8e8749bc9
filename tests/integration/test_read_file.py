"""ReadFile: from any offset, the last lines, or live; never anything but the task's own output."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import grpc
import pytest

from tests.daemon import Daemon
from tests.integration.helpers import end_of, failure_of, read, start, start_python, wait_for_output

NUMBERS = "print('\\n'.join(map(str, range(200_000))))"


def test_offsets_bounds_and_last_lines(shared_daemon: Daemon) -> None:
    calls = shared_daemon.calls
    token = start_python(calls, NUMBERS)
    end_of(calls, token)
    whole = read(calls, token)
    assert whole == "".join(f"{number}\n" for number in range(200_000)).encode()
    assert read(calls, token, offset=1_000_000) == whole[1_000_000:]
    assert read(calls, token, offset=5, max_bytes=300_000) == whole[5:300_005]
    assert read(calls, token, last_lines=3) == b"199997\n199998\n199999\n"
    assert read(calls, token, last_lines=0) == b""
    assert read(calls, token, last_lines=10**6) == whole
    assert read(calls, token, offset=len(whole) + 7) == b""
    parts = list(calls.ReadFile(token=token, path="stdout"))
    assert parts[-1].end and parts[-1].size == len(whole)
    assert [part.offset for part in parts] == [sum(len(p.data) for p in parts[:index]) for index in range(len(parts))]


def test_a_last_line_without_a_newline_counts(shared_daemon: Daemon) -> None:
    calls = shared_daemon.calls
    token = start(calls, "printf", "a\\nb\\nc")
    end_of(calls, token)
    assert (read(calls, token, last_lines=1), read(calls, token, last_lines=2)) == (b"c", b"b\nc")


def test_following_sees_every_byte_and_ends_with_the_task(shared_daemon: Daemon) -> None:
    calls = shared_daemon.calls
    token = start(calls, "sh", "-c", "for i in 1 2 3 4 5; do echo line $i; sleep 0.1; done; printf end")
    assert read(calls, token, follow=True) == b"".join(b"line %d\n" % i for i in range(1, 6)) + b"end"


def test_following_a_waiting_task_waits_for_its_output(make_daemon: object) -> None:
    daemon: Daemon = make_daemon("--max-running", "1").start()  # type: ignore[operator]
    calls = daemon.calls
    first = start(calls, "sleep", "60")
    second = start(calls, "echo", "late")
    got: list[bytes] = []
    reader = threading.Thread(target=lambda: got.append(read(calls, second, follow=True)))
    reader.start()
    calls.Terminate(token=first, immediate=True)
    reader.join(20)
    assert got == [b"late\n"]


def test_output_of_a_python_child_is_seen_while_it_runs(shared_daemon: Daemon) -> None:
    calls = shared_daemon.calls
    token = start_python(calls, "print('at once'); import signal; signal.pause()")
    wait_for_output(calls, token, b"at once")
    calls.Terminate(token=token, immediate=True)
    end_of(calls, token)


@pytest.mark.parametrize("path", ["", "../spec", "/etc/passwd", "work/../../spec", "stdout\0", "task/stdout"])
def test_no_other_path_can_be_read(shared_daemon: Daemon, path: str) -> None:
    calls = shared_daemon.calls
    token = start(calls, "true")
    end_of(calls, token)
    failure = failure_of(calls.ReadFile, token=token, path=path)
    assert (failure.code, failure.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "PATH_INVALID")


@pytest.mark.parametrize("trick", ["ln -sf /etc/passwd", "mkfifo"])
def test_a_task_cannot_make_us_read_something_else_in_place_of_its_output(shared_daemon: Daemon, trick: str) -> None:
    calls = shared_daemon.calls
    token = start(calls, "sh", "-c", f"rm $TASKMETER_TASK_DIR/stdout; {trick} $TASKMETER_TASK_DIR/stdout")
    end_of(calls, token)
    failure = failure_of(calls.ReadFile, token=token, path="stdout")
    assert (failure.code, failure.reason) == (grpc.StatusCode.NOT_FOUND, "FILE_NOT_FOUND")


def test_a_truncated_file_does_not_end_the_reader_badly(shared_daemon: Daemon) -> None:
    calls = shared_daemon.calls
    token = start(calls, "sh", "-c", "echo long enough; : > $TASKMETER_TASK_DIR/stdout; echo x")
    end_of(calls, token)
    assert read(calls, token) == b"x\n" and read(calls, token, offset=5) == b""


def test_bad_bounds_are_named(shared_daemon: Daemon) -> None:
    calls = shared_daemon.calls
    token = start(calls, "true")
    end_of(calls, token)
    failure = failure_of(calls.ReadFile, token=token, path="stdout", offset=-1, attempt=4, max_bytes=-1, last_lines=-1)
    assert set(failure.fields) >= {"offset", "attempt", "max_bytes", "last_lines"}


def test_binary_output_is_exact(shared_daemon: Daemon, tmp_path: Path) -> None:
    data = os.urandom(100_000)
    (tmp_path / "data").write_bytes(data)
    calls = shared_daemon.calls
    token = start(calls, "cat", str(tmp_path / "data"))
    end_of(calls, token)
    assert read(calls, token) == data
