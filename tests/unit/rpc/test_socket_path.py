from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest

from taskmeter.errors import UnavailableError
from taskmeter.rpc.socket_path import UNIX_PATH_BYTES, socket_path

LONG = Path("/" + "x" * 120)


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path / f"taskmeter-{os.getuid()}"


def test_the_socket_lies_in_the_state_directory_where_its_path_fits():
    assert socket_path(Path("/run/state")) == Path("/run/state/daemon.sock")


def test_the_socket_of_a_long_path_lies_in_a_directory_of_one_s_own(elsewhere):
    path = socket_path(LONG)
    assert path.parent == elsewhere
    assert elsewhere.stat().st_mode & 0o777 == 0o700
    assert socket_path(LONG) == path != socket_path(LONG / "other")


def test_the_runtime_directory_of_the_user_is_preferred(elsewhere, monkeypatch):
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/run/user/1")
    path = socket_path(LONG)
    assert path.parent == Path("/run/user/1")
    assert len(os.fsencode(path)) <= UNIX_PATH_BYTES


@pytest.mark.parametrize("trap", ["open", "link"])
def test_a_directory_that_others_can_write_to_is_refused(elsewhere, tmp_path, trap):
    if trap == "open":
        elsewhere.mkdir()
        elsewhere.chmod(0o777)
    else:
        (tmp_path / "theirs").mkdir(mode=0o700)
        elsewhere.symlink_to(tmp_path / "theirs")
    with pytest.raises(UnavailableError):
        socket_path(LONG)
