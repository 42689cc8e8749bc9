"""Opening files of a task: nothing outside its directory, nothing but regular files, no matter what lies there."""

from __future__ import annotations

import errno
import os
import socket
import threading
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from metercore.paths import open_beneath


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """A task's directory with a secret beside it."""
    (tmp_path / "secret").write_text("secret")
    task = tmp_path / "task"
    (task / "work").mkdir(parents=True)
    (task / "work" / "file").write_text("inside")
    return task


def content(base: Path, path: str) -> bytes:
    descriptor = open_beneath(base, path)
    try:
        assert not os.get_inheritable(descriptor)
        return os.read(descriptor, 100)
    finally:
        os.close(descriptor)


@pytest.mark.parametrize("path", ["work/file", "./work/file", "work/../work/file", "work//file"])
def test_a_path_that_stays_inside_is_opened(base: Path, path: str) -> None:
    assert content(base, path) == b"inside"


@pytest.mark.parametrize("path", ["../secret", "/etc/passwd", "work/../../secret", "..", "work/../../task/work/file"])
def test_a_path_that_leaves_is_refused_wherever_it_ends(base: Path, path: str) -> None:
    with pytest.raises(OSError, match="cross-device") as refusal:
        open_beneath(base, path)
    assert refusal.value.errno == errno.EXDEV


def test_a_symbolic_link_is_refused_even_one_that_stays_inside(base: Path) -> None:
    (base / "link").symlink_to("work/file")
    (base / "dir").symlink_to("work")
    (base / "out").symlink_to("../secret")
    (base / "work" / "proc").symlink_to(f"/proc/{os.getpid()}/fd/0")
    for path in ("link", "dir/file", "out", "work/proc"):
        with pytest.raises(OSError, match="symbolic") as refusal:
            open_beneath(base, path)
        assert refusal.value.errno == errno.ELOOP


def test_only_regular_files_are_opened_and_a_pipe_is_not_waited_for(base: Path) -> None:
    os.mkfifo(base / "pipe")
    with pytest.raises(OSError, match="Invalid"):
        open_beneath(base, "pipe")
    with pytest.raises(IsADirectoryError):
        open_beneath(base, "work")
    with socket.socket(socket.AF_UNIX) as server:
        directory = os.open(base, os.O_RDONLY)
        try:
            server.bind(f"/proc/self/fd/{directory}/socket")
        finally:
            os.close(directory)
        with pytest.raises(OSError, match=r"No such device|Invalid"):
            open_beneath(base, "socket")


def test_what_is_missing_is_file_not_found(base: Path) -> None:
    with pytest.raises(FileNotFoundError):
        open_beneath(base, "work/none")
    with pytest.raises(FileNotFoundError):
        open_beneath(base / "none", "work/file")
    with pytest.raises(NotADirectoryError):
        open_beneath(base, "work/file/x")


@pytest.mark.parametrize("path", ["", "work/\0file"])
def test_an_empty_path_or_a_nul_byte_is_no_path(base: Path, path: str) -> None:
    with pytest.raises(ValueError, match="NUL"):
        open_beneath(base, path)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200)
@given(
    parts=st.lists(st.sampled_from(["..", ".", "work", "file", "task", "secret", "", "link", "up", "/"]), min_size=1, max_size=8)
)
def test_no_path_reaches_the_secret(base: Path, parts: list[str]) -> None:
    for name, target in (("link", "work"), ("up", "..")):
        if not (base / name).is_symlink():
            (base / name).symlink_to(target)
    try:
        assert content(base, "/".join(parts)) == b"inside"
    except (OSError, ValueError):
        pass


def test_a_directory_that_turns_into_a_link_meanwhile_leads_nowhere(base: Path) -> None:
    (base / "swing").mkdir()
    (base / "swing" / "secret").write_text("inside")
    (base / "away").symlink_to("..")
    stop = threading.Event()

    def swap() -> None:
        while not stop.is_set():
            os.rename(base / "swing", base / "other")
            os.rename(base / "away", base / "swing")
            os.rename(base / "swing", base / "away")
            os.rename(base / "other", base / "swing")

    thread = threading.Thread(target=swap)
    thread.start()
    try:
        seen = set()
        for _ in range(3000):
            try:
                seen.add(content(base, "swing/secret"))
            except OSError:
                continue
        assert seen <= {b"inside"}
    finally:
        stop.set()
        thread.join()


def test_no_descriptor_leaks_whatever_is_refused(base: Path) -> None:
    os.mkfifo(base / "pipe")
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(50):
        for path in ("pipe", "work", "../secret", "none", "work/file"):
            try:
                os.close(open_beneath(base, path))
            except OSError:
                continue
    assert len(os.listdir("/proc/self/fd")) == before
