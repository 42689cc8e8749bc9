"""A full disk costs the work nothing but the events for which there is no room, and these are counted and told."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from metercore.itemlog import ItemLog
from tests.native.items import take
from tests.waiting import wait_until


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A file system of 4 MiB."""
    if os.geteuid():
        pytest.skip("needs root, to mount")
    place = tmp_path / "small"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4m", "none", place], capture_output=True, text=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"cannot mount here: {mounted.stderr.strip()}")
    yield place
    subprocess.run(["umount", "-l", place], check=True)


def fill(path: Path, leave_bytes: int) -> None:
    free = os.statvfs(path.parent)
    path.write_bytes(bytes(free.f_bavail * free.f_bsize - leave_bytes))


@pytest.mark.root
def test_a_full_disk_drops_counts_and_tells(small: Path) -> None:
    items = small / "items"
    log = ItemLog(items)
    log.item(0, 3)
    fill(small / "full", 0)
    error, n = "e" * 2000, 0
    while log.dropped_count < 5:
        n += 1
        log.item(n, 3, error=error)
    kept = n - 5
    assert not log.shared
    taken = take(items)
    assert taken.numbers() == list(range(kept + 1))
    (small / "full").unlink()

    def again() -> bool:
        nonlocal n
        n += 1
        log.item(n, 3)
        return log.shared

    wait_until(again, "it goes on")
    taken = take(items)
    assert (taken.numbers(), taken.dropped_count, taken.bad_count) == ([n], log.dropped_count, 0)


@pytest.mark.root
def test_where_there_is_little_room_segments_are_small(small: Path) -> None:
    items = small / "items"
    fill(small / "full", 300_000)
    log = ItemLog(items)
    n = 0
    while not log.dropped_count:
        log.item(n, 3, error="e" * 500)
        n += 1
    sizes = [path.stat().st_size for path in items.iterdir()]
    assert 2 <= len(sizes) <= 4
    assert set(sizes) == {1 << 16}
    assert take(items).numbers() == list(range(n - 1))


@pytest.mark.root
def test_a_disk_that_is_full_from_the_start_does_not_stop_the_work(small: Path) -> None:
    fill(small / "full", 0)
    log = ItemLog(small / "items")
    for n in range(10_000):
        log.item(n, 3)
    assert (log.shared, log.dropped_count) == (False, 10_000)
    assert list((small / "items").iterdir()) == [] if (small / "items").exists() else True


@pytest.mark.parametrize("limit", [0, 1000, 100_000])
def test_a_limit_of_file_sizes_does_not_end_the_work(tmp_path: Path, limit: int) -> None:
    code = """
import resource, sys
from metercore.itemlog import ItemLog
limit = int(sys.argv[2])
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))  # SIGXFSZ is not ignored: it must not come
log = ItemLog(sys.argv[1])
for n in range(2000):
    log.item(n, 3)
print(log.shared, log.dropped_count)
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "items"), str(limit)], check=True, capture_output=True, text=True
    )
    if limit < 1 << 16:
        assert done.stdout.split() == ["False", "2000"]
    else:
        assert done.stdout.split() == ["True", "0"]
        assert take(tmp_path / "items").numbers() == list(range(2000))


def test_a_directory_that_is_removed_is_made_anew(tmp_path: Path) -> None:
    items = tmp_path / "items"
    log = ItemLog(items)
    log.item(0, 3)
    log.close()
    for path in items.iterdir():
        path.unlink()
    items.rmdir()
    log.item(1, 3)
    assert take(items).numbers() == [1]
