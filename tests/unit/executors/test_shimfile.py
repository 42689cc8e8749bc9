from __future__ import annotations

from pathlib import Path

import pytest

from taskmeter.executors.shimfile import PACKAGED, install_shim


def test_the_copy_is_named_by_its_content_and_made_once(tmp_path: Path) -> None:
    first = install_shim(tmp_path)
    stamp = first.stat().st_mtime_ns
    assert first.parent == tmp_path / "bin"
    assert first.read_bytes() == PACKAGED.read_bytes()
    assert install_shim(tmp_path) == first
    assert first.stat().st_mtime_ns == stamp


def test_another_version_replaces_the_copy(tmp_path: Path) -> None:
    first = install_shim(tmp_path)
    other = tmp_path / "other"
    other.write_bytes(PACKAGED.read_bytes() + b"\0")
    other.chmod(0o755)
    second = install_shim(tmp_path, other)
    assert second != first
    assert list((tmp_path / "bin").iterdir()) == [second]


def test_a_damaged_copy_is_made_anew(tmp_path: Path) -> None:
    first = install_shim(tmp_path)
    first.write_bytes(b"damaged")
    assert install_shim(tmp_path).read_bytes() == PACKAGED.read_bytes()


def test_a_package_without_a_shim_is_said_to_have_none(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        install_shim(tmp_path, tmp_path / "missing")


def test_something_that_is_no_shim_is_not_run(tmp_path: Path) -> None:
    wrong = tmp_path / "wrong"
    wrong.write_text("#!/bin/sh\nexit 0\n")
    wrong.chmod(0o755)
    with pytest.raises(OSError, match="the shim cannot be run"):
        install_shim(tmp_path, wrong)
