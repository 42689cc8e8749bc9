from __future__ import annotations

import os
from pathlib import Path

import pytest

from taskmeter.executors.trash import Trash


@pytest.fixture
def trash(tmp_path: Path) -> Trash:
    return Trash(tmp_path)


def test_what_is_put_there_is_out_of_sight_and_then_deleted(trash: Trash, tmp_path: Path) -> None:
    task = tmp_path / "tk_a"
    (task / "1" / "task").mkdir(parents=True)
    trash.put(str(task))
    assert not task.exists()
    assert os.listdir(tmp_path / "trash") == ["tk_a"]
    trash.delete_named(trash.names())
    assert os.listdir(tmp_path / "trash") == []


def test_a_missing_task_is_no_error(trash: Trash, tmp_path: Path) -> None:
    trash.put(str(tmp_path / "missing"))
    trash.delete_named(trash.names())


def test_links_are_removed_not_followed(trash: Trash, tmp_path: Path) -> None:
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "file").touch()
    (tmp_path / "tk_a").mkdir()
    (tmp_path / "tk_a" / "link").symlink_to(tmp_path / "precious")
    trash.put(str(tmp_path / "tk_a"))
    trash.delete_named(trash.names())
    assert (tmp_path / "precious" / "file").exists()


def test_a_task_cannot_make_its_files_undeletable(trash: Trash, tmp_path: Path) -> None:
    locked = tmp_path / "tk_a" / "1" / "locked" / "inner"
    locked.mkdir(parents=True)
    (locked / "file").touch()
    locked.chmod(0o000)
    locked.parent.chmod(0o000)
    trash.put(str(tmp_path / "tk_a"))
    trash.delete_named(trash.names())
    assert os.listdir(tmp_path / "trash") == []


def test_the_same_name_twice_is_deleted_twice(trash: Trash, tmp_path: Path) -> None:
    for _ in range(2):
        (tmp_path / "tk_a" / "x").mkdir(parents=True)
        trash.put(str(tmp_path / "tk_a"))
    trash.delete_named(trash.names())
    assert os.listdir(tmp_path / "trash") == []


def test_what_was_put_there_can_be_taken_back_until_it_is_named_for_deletion(trash: Trash, tmp_path: Path) -> None:
    for name in ("tk_a", "tk_b"):
        (tmp_path / name / "0").mkdir(parents=True)
        trash.put(str(tmp_path / name))
    assert sorted(trash.names()) == ["tk_a", "tk_b"]
    trash.delete_named(["tk_b"])
    trash.take_back(str(tmp_path / "tk_a"))
    trash.take_back(str(tmp_path / "tk_b"))
    assert (tmp_path / "tk_a" / "0").is_dir()
    assert not (tmp_path / "tk_b").exists()
    assert trash.names() == []
