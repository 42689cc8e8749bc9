from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from taskmeter.executors.hints import Hints, hints_path
from taskmeter.executors.taskdir import HINT


@pytest.fixture
def sender() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as made:
        yield made


def test_hints_for_one_attempt_are_one(tmp_path: Path, sender: socket.socket) -> None:
    hints = Hints(str(tmp_path / "hints.sock"))
    for kind, attempt, token in [(1, 1, b"tk_a"), (2, 1, b"tk_a"), (3, 2, b"tk_a"), (3, 1, b"tk_b")]:
        sender.sendto(HINT.pack(kind, attempt, token), hints.path)
    assert hints.take() == {("tk_a", 1), ("tk_a", 2), ("tk_b", 1)}
    assert hints.take() == set()
    hints.close()


@pytest.mark.parametrize("noise", [b"", b"x", b"x" * 39, b"x" * 41, b"x" * 1000])
def test_noise_is_no_hint(tmp_path: Path, sender: socket.socket, noise: bytes) -> None:
    hints = Hints(str(tmp_path / "hints.sock"))
    sender.sendto(noise, hints.path)
    sender.sendto(HINT.pack(1, 1, b"\xff" * 32), hints.path)
    assert len(hints.take()) == 1
    hints.close()


def test_a_restarted_daemon_is_reached_at_the_same_path(tmp_path: Path, sender: socket.socket) -> None:
    path = hints_path(tmp_path)
    Hints(path).close()
    again = Hints(path)
    sender.sendto(HINT.pack(1, 7, b"tk"), path)
    assert again.take() == {("tk", 7)}
    assert os.stat(path).st_mode & 0o777 == 0o600
    again.close()


def test_a_path_too_long_for_a_socket_has_a_short_one_that_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/run/user/1")
    short, long = tmp_path / "s", tmp_path / ("x" * 120)
    assert hints_path(short) == str(short / "hints.sock")
    path = hints_path(long)
    assert path.startswith("/run/user/1/taskmeter-")
    assert len(path) <= 107
    assert hints_path(long) == path
    assert hints_path(tmp_path / ("y" * 120)) != path
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/" + "z" * 200)
    assert len(hints_path(long)) <= 107
