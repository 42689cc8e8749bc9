"""The report block: the work writes through it, anyone reads, nobody waits, and nothing a task writes can hurt."""

from __future__ import annotations

import os
import signal
import struct
import subprocess
import sys
import threading
import zlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metercore.report import ReportBlock, parse_report
from tests.waiting import wait_until

TEXT_LOCK, TEXT_SERIAL, CUSTOM, TEXT, TEXT_BYTES = 896, 900, 1024, 1536, 1008


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "report"


def read(path: Path) -> tuple[int, int, int]:
    report = parse_report(path.read_bytes())
    assert report is not None
    return report.completed_count, report.failed_count, report.completed_size


def doctor(path: Path, offset: int, data: bytes) -> bytes:
    page = bytearray(path.read_bytes())
    page[offset : offset + len(data)] = data
    return bytes(page)


def test_everything_written_is_read(path: Path) -> None:
    block = ReportBlock(path)
    assert block.shared
    assert block.progress(total=10, total_size=1000) is block
    block.add()
    block.add(3, size=70)
    block.add(n=1)
    block.fail(2, 5)
    block.status("sorting").object("data.csv").ready()
    block.count("retries")
    block.count("retries", 4)
    report = parse_report(path.read_bytes())
    assert report == (10, 5, 2, 1000, 70, 5, True, "sorting", "data.csv", {"retries": 5})
    assert block.read() == report
    assert path.stat().st_size == 4096


def test_what_there_is_to_do_may_grow_and_shrink(path: Path) -> None:
    block = ReportBlock(path)
    block.progress(total=10)
    block.expect(5, 50)
    block.expect()
    block.expect(-2)
    assert block.read()[:6] == (14, 0, 0, 50, 0, 0)


def test_a_second_writer_goes_on_where_the_first_was(path: Path) -> None:
    ReportBlock(path).add(5)
    ReportBlock(path).add(6)
    assert read(path)[0] == 11


def test_status_and_object_are_replaced_one_at_a_time(path: Path) -> None:
    block = ReportBlock(path)
    block.status("a")
    block.object("b")
    block.status("c")
    assert (block.read().status, block.read().current_object) == ("c", "b")
    block.status("")
    assert (block.read().status, block.read().current_object) == ("", "b")


@pytest.mark.parametrize(
    ("text", "bytes_"), [("x" * 600, 500), ("é" * 300, 500), ("a" + "é" * 300, 499), ("a" + "😀" * 200, 497)]
)
def test_a_long_text_is_cut_at_a_character(path: Path, text: str, bytes_: int) -> None:
    status = ReportBlock(path).status(text).read().status
    assert len(status.encode()) == bytes_
    assert text.startswith(status)


def test_what_is_no_text_at_all_is_still_reported(path: Path) -> None:
    assert ReportBlock(path).status("bad \udcff").read().status == "bad ?"


def test_more_names_than_there_is_room_for_are_left_out(path: Path) -> None:
    block = ReportBlock(path)
    for n in range(20):
        block.count(f"counter {n}")
    assert list(block.read().custom) == [f"counter {n}" for n in range(16)]
    block.count("ü" * 30)
    with pytest.raises(ValueError, match="name"):
        block.count("")


def test_without_a_file_the_same_calls_lead_nowhere(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("target")
    for where in (None, tmp_path / "none" / "report", tmp_path, tmp_path / "pipe", tmp_path / "link"):
        block = ReportBlock(where)
        assert not block.shared
        block.add()
        block.status("x").progress(total=3).ready()
        assert block.read().completed_count == 1
    assert not (tmp_path / "target").exists()


def test_a_full_disk_does_not_stop_the_work(tmp_path: Path) -> None:
    code = """
import resource, signal, sys
from metercore.report import ReportBlock
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
block = ReportBlock(sys.argv[1])
block.add(7)
assert not block.shared and block.read().completed_count == 7
"""
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "report")], check=True)


def test_threads_and_forks_lose_no_addition(path: Path) -> None:
    block = ReportBlock(path)
    code = (
        "import sys; from metercore.report import ReportBlock; b = ReportBlock(sys.argv[1]); [b.add(1, 2) for _ in range(20000)]"
    )
    others = [subprocess.Popen([sys.executable, "-c", code, str(path)]) for _ in range(2)]
    forking = (
        "import os, sys; from metercore.report import ReportBlock; b = ReportBlock(sys.argv[1]); os.fork(); os.fork(); b.add(100)"
    )
    others.append(subprocess.Popen([sys.executable, "-c", forking, str(path)]))

    def add() -> None:
        for _ in range(10000):
            block.add(1, 2)

    threads = [threading.Thread(target=add) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for other in others:
        assert other.wait() == 0
    # The three forked grandchildren are not ours to wait for.
    wait_until(lambda: read(path)[0] >= 70400, "all have added")
    assert read(path) == (70400, 0, 140000)


def test_the_text_lock_of_a_writer_that_was_killed_is_taken_over(path: Path) -> None:
    code = """
import sys
from metercore.report import ReportBlock
block = ReportBlock(sys.argv[1])
block.status("before")
assert block._take_lock()
print("locked", flush=True)
sys.stdin.read()
"""
    with subprocess.Popen([sys.executable, "-c", code, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == b"locked\n"
        assert struct.unpack_from("<I", path.read_bytes(), TEXT_LOCK)[0] == writer.pid
        block = ReportBlock(path)
        block.status("refused")  # its owner lives: not waited for beyond some milliseconds, the work goes on
        assert block.read().status == "before"
        writer.send_signal(signal.SIGKILL)
        writer.wait()
        assert block.status("after").read().status == "after"
    assert struct.unpack_from("<I", path.read_bytes(), TEXT_LOCK)[0] == 0


@pytest.mark.parametrize("owner", [2**32 - 1, 2**31, 4194303])
def test_a_lock_with_an_owner_that_cannot_be_is_taken_over(path: Path, owner: int) -> None:
    ReportBlock(path).status("x")
    path.write_bytes(doctor(path, TEXT_LOCK, struct.pack("<I", owner)))
    assert ReportBlock(path).status("y").read().status == "y"


def test_a_writer_killed_in_the_middle_of_a_text_leaves_the_one_before(path: Path) -> None:
    block = ReportBlock(path)
    block.status("one")
    block.status("two")
    serial = struct.unpack_from("<I", path.read_bytes(), TEXT_SERIAL)[0]
    other = TEXT + TEXT_BYTES * ((serial + 1) & 1)
    report = parse_report(doctor(path, other, os.urandom(600)))
    assert report is not None
    assert report.status == "two"
    current = TEXT + TEXT_BYTES * (serial & 1)
    report = parse_report(doctor(path, current + 50, b"torn"))
    assert report is not None
    assert report.status == ""  # nothing rather than a mixture


@pytest.mark.parametrize("page", [b"", b"x", bytes(4096), b"TMREPORT" + bytes(10), os.urandom(4096)])
def test_what_is_no_block_is_none(page: bytes) -> None:
    assert parse_report(page) is None


def test_negative_counters_are_zero(path: Path) -> None:
    block = ReportBlock(path)
    block.add(-5, size=-7)
    assert read(path) == (0, 0, 0)


@given(status=st.binary(max_size=500), object_=st.binary(max_size=500), lie=st.integers(0, 65535))
def test_no_bytes_in_a_text_make_it_invalid(status: bytes, object_: bytes, lie: int) -> None:
    for lengths in ((len(status), len(object_)), (lie, len(object_))):
        body = struct.pack("<HH", *lengths) + status.ljust(500, b"\0") + object_.ljust(500, b"\0")
        slot = struct.pack("<I", zlib.crc32(body)) + body
        page = struct.pack("<QII", 0x54524F5045524D54, 1, 4096).ljust(TEXT_SERIAL, b"\0") + struct.pack("<I", 1)
        report = parse_report((page.ljust(TEXT + TEXT_BYTES, b"\0") + slot).ljust(4096, b"\0"))
        assert report is not None
        assert len(report.status.encode()) <= 500
        if lengths[0] == len(status):
            try:
                assert report.status == status.decode()
            except UnicodeDecodeError:
                assert "?" in report.status
                assert "�" not in report.status or b"\xef\xbf\xbd" in status
