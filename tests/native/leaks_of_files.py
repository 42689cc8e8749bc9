"""Cases of what reads and writes the files of attempts, for tests/native/test_leaks.py."""

from __future__ import annotations

import os
from pathlib import Path

from metercore.attempt import on_read, open_owner, read_records, tell
from metercore.encode import encode_hot
from metercore.hole import punch_hole
from metercore.itemlog import ItemLog, ItemLogReader
from metercore.launch import Launcher
from metercore.leftovers import kill_leftovers
from metercore.meterpage import read_meter
from metercore.paths import open_beneath
from metercore.report import ReportBlock, dropped_event_count, parse_report, revise_report
from metercore.settle import settle_files
from metercore.tariff import Tariff
from tests.native.leak_cases import case, failing
from tests.waiting import wait_until

# ------------------------------------------------------------------------------------------- records and reports


@case("report.ReportBlock", "report.parse_report", "report.revise_report", "report.dropped_event_count")
def reports(directory: Path) -> None:
    block = ReportBlock(directory / "report")
    block.expect(2, 20)
    block.progress(5, 50).status("x").object("y" * 1000)
    block.add()
    block.fail(1, 2)
    block.count("rows", 3)
    block.ready()
    block.read()
    parse_report((directory / "report").read_bytes())
    parse_report(b"")
    block.drop()
    dropped_event_count((directory / "report").read_bytes())
    dropped_event_count(b"")
    page = revise_report(b"", total_count=3, completed_count=2, status="x", current_object="y", ready=True, custom={"rows": 1})
    revise_report(page, failed_count=1, custom={"rows": 1})
    for wrong in ({"completed_count": 2**62 - 1}, {"failed_size": -1}, {"custom": {"": 1}}):
        failing(revise_report, page, **wrong)
    ReportBlock()
    ReportBlock(directory / "none" / "report")
    failing(block.count, "")
    failing(block.progress, "x")


@case("meterpage.read_meter", "settle.settle_files")
def accounts(directory: Path) -> None:
    settle_files(str(directory), start_time=1.0, end_time=2.0, reaped_cpu_ns=5, max_rss_bytes=7)
    read_meter(str(directory / "meter"))
    failing(read_meter, str(directory / "none"))
    failing(settle_files, str(directory), reaped_cpu_ns=-1)
    settle_files(str(directory / "none"))


@case("attempt.read_records", "attempt.open_owner", "attempt.on_read", "attempt.tell")
def records(directory: Path) -> None:
    for name in ("claim", "exit", "pid", "gone", "lock"):
        (directory / name).write_bytes(b"x" * 4096)
    on_read(lambda name: None)
    read_records(os.fsencode(directory))
    read_records(os.fsencode(directory / "none"))
    open_owner(os.fsencode(directory))
    open_owner(os.fsencode(directory / "none"))
    failing(read_records, os.fsencode(directory / "lock"))
    failing(tell, -1)


@case("leftovers.kill_leftovers")
def kills(directory: Path) -> None:
    marks = (b"TASKMETER_TOKEN=tk_nobodyNobodyNobody", b"TASKMETER_ATTEMPT=1")
    kill_leftovers((), b"", marks, b"")
    kill_leftovers((os.fsencode(directory / "cgroup.procs"),), b"tk_nobodyNobodyNobody.1", marks, b"")
    failing(kill_leftovers, (), b"", (b"", ""), b"")


@case("paths.open_beneath")
def beneath(directory: Path) -> None:
    (directory / "file").touch()
    os.close(open_beneath(directory, "file"))
    for path in ("../x", "none", "", "/etc/passwd"):
        failing(open_beneath, directory, path)
    failing(open_beneath, directory.parent, directory.name)
    failing(open_beneath, directory / "none", "x")


@case("encode.encode_hot")
def encodes(directory: Path) -> None:
    tariff = Tariff("gold", 2, custom={"pages": 0.5})
    gpus = ((0, "GPU-1", "a card", 5, None), (1, "GPU-2", "a card", None, 7.0))
    values = {"source": 1, "cpu_ns": 2**62, "memory_byte_ns2": 2**100}
    encode_hot(values, tariff, status="x", current_object="y", gpus=gpus, earlier={"memory_byte_ns2": 2**100})
    failing(encode_hot, {"source": 1, "memory_byte_ns2": 2**200}, tariff)
    failing(encode_hot, {"source": 1}, tariff, earlier={"memory_byte_ns2": 2**200})
    failing(encode_hot, {"source": "x"}, tariff)
    failing(encode_hot, {}, tariff, status="x" * 501)
    failing(encode_hot, {}, tariff, gpus=((0, "x" * 5000, "y", 1, 1.0),))
    failing(encode_hot, {}, None)


@case("itemlog.ItemLog", "itemread.ItemLogReader", "itembatch.Batch")
def item_logs(directory: Path) -> None:
    items = directory / "items"
    items.mkdir(exist_ok=True)
    os.mkfifo(items / "1-2-3")
    (items / "1-2-4").write_bytes(b"x" * 500)
    log = ItemLog(items)
    for n in range(20):
        log.item(f"item {n % 3} ü", 4, "stage", 1, "error \udcff", "worker", 5, {"key": "ü", "other": "x" * 5000})
        log.step(n, "step", 2, duration_seconds=1.5)
        log.item(b"[1]", 3)
        log.message(3, "text" * 2000)
    for name in ("x" * 2000, 2**70, b"", 1.5):
        failing(log.item, name, 3)
    failing(log.item, "a", 3, metadata={"a": Unspeakable()})
    failing(log.step, "a", 5, 1)
    failing(log.message, 9, "x")
    reader = ItemLogReader(items, {"1-2-5": 700, "no name": 5})
    reader.read()
    while batch := reader.read(20_000):
        batch.frames(1, "token", 2, {"tag": "value"})
        failing(batch.frames, 1, "token", 2, {"tag": "\udcff"})
        assert batch.items()
        assert batch.messages()
        reader.commit()
    log.close()
    log.item("again", 3)
    kept = reader.read()  # … and is not committed
    assert kept is not None and kept.count == 1
    failing(ItemLogReader, "a\0b")
    failing(ItemLogReader, "a", {"1-2-3": "x"})
    ItemLog(directory / "none" / "none").item("dropped", 3)
    del log
    while reader.read(ended=True):
        reader.commit()
    reader.commit()
    reader.close()
    failing(reader.read)
    assert [path.name for path in items.iterdir()] == []


class Unspeakable:
    """Has no text."""

    def __str__(self) -> str:
        raise ValueError("none")


@case("hole.punch_hole")
def holes(directory: Path) -> None:
    path = directory / "file"
    path.write_bytes(b"x" * 8192)
    descriptor = os.open(path, os.O_WRONLY)
    try:
        punch_hole(descriptor, 0, 4096)
        failing(punch_hole, descriptor, 0, 0)
    finally:
        os.close(descriptor)


@case("launch.Launcher")
def launchers(directory: Path) -> None:
    launcher = Launcher(b"/bin/true")
    attempt = os.fsencode(directory / "attempt")
    launcher.prepare(1, attempt, b"spec", False)
    launcher.launch(2, attempt, b"\0" * 1000, b"", (b"/proc/none/cgroup",), b"stdin", False, None)
    launcher.launch(3, os.fsencode(directory / "none"), b"\0" * 1000, b"", (), None, True, (0, 0))
    launcher.remove_cgroups(4, b"/proc/none", (b"/proc/none",))
    failing(launcher.launch, 5, attempt, b"short", b"", (), None, False, None)
    found: list[tuple[int, int, int, int, int, int]] = []

    def answered() -> bool:
        found.extend(launcher.results())
        return len(found) == 4

    wait_until(answered, "all are answered")
    for *_, pid, pidfd in found:
        if pid:
            os.waitpid(pid, 0)
        if pidfd >= 0:
            os.close(pidfd)
    launcher.prepare(6, attempt, b"spec", False)
    launcher.close()  # with a result that nobody took
    failing(launcher.prepare, 7, attempt, b"spec", False)
    Launcher(b"/bin/true").prepare(8, attempt, b"spec", False)  # and is collected
