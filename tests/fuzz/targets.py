"""What is fuzzed: each target takes any bytes, compares with its oracle, and fails by an AssertionError, or by dying."""

from __future__ import annotations

import atexit
import errno
import math
import os
import random
import tempfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from metercore import cgroup, procfs
from metercore.attempt import open_owner, read_records
from metercore.btf import parse as parse_btf
from metercore.encode import encode_hot
from metercore.history import History
from metercore.historyfile import TIERS, read_history
from metercore.meterpage import read_meter
from metercore.report import ReportBlock, parse_report
from metercore.sampler import Sampler
from metercore.settle import settle_files
from metercore.tariff import Tariff
from taskmeter.executors import taskdir
from taskmeter.v1.task_pb2 import TaskStatus
from tests.fuzz import itemlog, oracles

CORPUS = Path(__file__).parent / "corpus"
PAGE = 4096


@dataclass(frozen=True, slots=True)
class Target:
    """One reader: `run` on any bytes; `tokens` for the mutator; `seal` puts checksums right, or a mutant never gets past them."""

    name: str
    run: Callable[[bytes], None]
    tokens: tuple[bytes, ...] = ()
    seal: Callable[[bytes], bytes] = bytes
    most_bytes: int = 2048

    def seeds(self) -> list[bytes]:
        """What the kernel, or the writer, wrote."""
        return [path.read_bytes() for path in sorted((CORPUS / self.name).iterdir())]


def refused_or(parse: Callable[[bytes], object], text: bytes) -> object:
    """What the parser gives; None when it raises ValueError."""
    try:
        return parse(text)
    except ValueError:
        return None


def agrees(parse: Callable[[bytes], object], oracle: Callable[[bytes], object]) -> Callable[[bytes], None]:
    """A run that compares the two: both refuse, or both give the same."""

    def run(text: bytes) -> None:
        ours, expected = refused_or(parse, text), oracle(text)
        assert ours == expected, f"{ours} is not {expected}"

    return run


def cpu_max(text: bytes) -> None:
    ours, expected = cgroup.parse_cpu_max(text), oracles.cpu_max(text)
    assert ours == expected or (ours and expected and math.isclose(ours, expected)), f"{ours} is not {expected}"


def io_stat(text: bytes) -> None:
    expected = tuple(total % oracles.UINT64 for total in oracles.io_stat(text))
    assert cgroup.parse_io_stat(text) == expected, f"not {expected}"


class Scratch:
    """Files of this process for targets that read by path."""

    def __init__(self) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="fuzz-", dir="/dev/shm" if os.path.isdir("/dev/shm") else None))
        (self.directory / "task").mkdir()

    def put(self, name: str, data: bytes) -> str:
        path = self.directory / name
        path.write_bytes(data)
        return str(path)

    def close(self) -> None:
        for path in (*self.directory.glob("task/*"), self.directory / "task", *self.directory.iterdir()):
            if path.is_dir():
                path.rmdir()
            elif path.exists():
                path.unlink()
        self.directory.rmdir()


SCRATCH = Scratch()
atexit.register(SCRATCH.close)


def ids(text: bytes) -> None:
    expected = oracles.ids(text)
    assert cgroup.read_ids(SCRATCH.put("cgroup.procs", text)) == expected


def meter(page: bytes) -> None:
    expected = oracles.meter(page[:PAGE])
    path = SCRATCH.put("meter", page)
    if expected is None:
        with pytest.raises(OSError, match=os.strerror(errno.ENODATA)):
            read_meter(path)
        return
    ours = read_meter(path)
    for name in ours.keys() & expected.keys() - {"boot_id", "had_gap", "peak_cpu_cores", "peak_gpu_percent"}:
        value = ours[name]  # type: ignore[literal-required]
        assert (oracles.UINT64 - 1 if value is None else value) == expected[name], name
    before = ours["cpu_ns"]
    after = settle_files(str(SCRATCH.directory), start_time=1.0, end_time=2.0, reaped_cpu_ns=5, max_rss_bytes=7)
    assert after.cpu_ns == max(before, 5), "what is billed never shrinks"
    assert after.peak_memory_bytes >= ours["peak_memory_bytes"]


def history(file: bytes) -> None:
    """Any file as a history: the seconds as the oracle has them, and nothing impossible in the coarser rings or after."""
    SCRATCH.put("history", file)
    seconds = read_history(SCRATCH.directory, resolution_seconds=1.0)[1]
    assert [(point.time, point.cpu_cores, point.gap) for point in seconds] == oracles.history(file)
    for resolution, _ in TIERS[1:]:
        points = read_history(SCRATCH.directory, resolution_seconds=resolution)[1]
        assert [point.time for point in points] == sorted({point.time for point in points})
        assert all(point.cpu_cores >= 0.0 and point.memory_bytes >= 0 for point in points)
    recorder = History(SCRATCH.directory)
    for n in range(3):
        recorder.add((2_000_000_000 + n) * 10**9, n * 10**9, n, n)
    recorder.flush()
    recorder.read()


def report(page: bytes) -> None:
    ours, expected = parse_report(page), oracles.report(page)
    assert (None if ours is None else ours[:6]) == expected
    if ours is not None:
        assert max(len(ours.status.encode()), len(ours.current_object.encode())) <= 500
        assert all(count >= 0 for count in ours.custom.values())
    block = ReportBlock(SCRATCH.put("task/report", page))
    block.status("x").object("y" * 600)
    block.count("n", 1)
    block.add(1, 2)
    if expected is not None:
        block.read()


def records(data: bytes) -> None:
    """One page per record: claim, exit, pid, gone."""
    pages = [data[at : at + PAGE] for at in range(0, 4 * PAGE, PAGE)]
    for name, page in zip(("claim", "exit", "pid", "gone"), pages, strict=True):
        SCRATCH.put(name, page)
    directory = os.fsencode(SCRATCH.directory)
    found = read_records(directory)
    assert found is not None
    claim, owner, exited, started, gone = found
    assert (owner, open_owner(directory)) == (0, (0, -1))
    for ours, page in zip((claim, exited, started, gone), pages, strict=True):
        assert ours is not None and page.startswith(ours)
    read = (taskdir.unpack_claim(claim), taskdir.unpack_exit(exited), taskdir.unpack_pid(started), taskdir.unpack_gone(gone))
    whole = (
        taskdir.unpack_claim(pages[0]),
        taskdir.unpack_exit(pages[1]),
        taskdir.unpack_pid(pages[2]),
        taskdir.unpack_gone(pages[3]),
    )
    assert read == whole, "as much is read as a record needs"


def account(data: bytes) -> None:
    """A sampler on an attempt whose every file is hostile: report, meter, gone, pid, one page each."""
    for name, at in (("task/report", 0), ("meter", 1), ("gone", 2), ("pid", 3)):
        SCRATCH.put(name, data[at * PAGE : at * PAGE + PAGE])
    sampler = Sampler(start=False)
    handle = sampler.open(0, 0, str(SCRATCH.directory))
    last = 0
    for _ in range(3):
        sampler.tick(skip_seconds=0.3)
        now = sampler.read(handle)
        assert now.cpu_ns >= last, "a published total never falls"
        last = now.cpu_ns
        assert min(now.completed_count, now.failed_count, now.rate_count_per_second, now.memory_bytes) >= 0
        assert len(sampler.hot(handle)) < 2 * PAGE
    assert sampler.finish(handle, start_time=1.0, end_time=2.0, reaped_cpu_ns=7).cpu_ns >= last


BTF_PATHS = ("first", "small", "nested.b", "list[2].b", "self", "flag", "member", "a", "x[1][1]", "")


def btf(data: bytes) -> None:
    """Any BTF gives types, or an error that is told; whatever is asked of it then."""
    try:
        types = parse_btf(data)
    except ValueError:
        return
    assert types.type_count >= 1
    for structure in ("outer", "bits", "circle", "itself", "dangling", "inner"):
        for path in BTF_PATHS:
            try:
                offset, _ = types.field(structure, path)
            except (KeyError, ValueError):
                continue
            assert types.offset(structure, path) == offset
    for look_up in (lambda: types.id("outer", "struct"), lambda: types.enumerator("MINUS"), lambda: types.enumerator("BIG")):
        try:
            look_up()
        except (KeyError, ValueError):
            continue


def sealed(data: bytes, *spans: tuple[int, int]) -> bytes:
    """Put a CRC behind each span, where there are bytes for it."""
    changed = bytearray(data)
    for begin, end in spans:
        if len(changed) >= end + 4:
            changed[end : end + 4] = zlib.crc32(changed[begin:end]).to_bytes(4, "little")
    return bytes(changed)


METER_BYTES = oracles.METER.size
GONE_BYTES = taskdir.GONE.size


def seal_meter(data: bytes) -> bytes:
    return sealed(data, (0, METER_BYTES), (2048, 2048 + METER_BYTES))


def seal_history(data: bytes) -> bytes:
    """The CRC of the head stands in it, at 12, over what comes from 16 on."""
    changed = bytearray(sealed(data, *((at, at + 44) for at in range(64, len(data) - 47, 48))))
    if len(changed) >= 64:
        changed[12:16] = zlib.crc32(changed[16:64]).to_bytes(4, "little")
    return bytes(changed)


def seal_report(data: bytes) -> bytes:
    """The CRC of a text stands before it: offset 1536, and 1004 + 4 bytes further."""
    changed = bytearray(data)
    for at in (1536, 1536 + 1008):
        if len(changed) >= at + 1008:
            changed[at : at + 4] = zlib.crc32(changed[at + 4 : at + 1008]).to_bytes(4, "little")
    return bytes(changed)


def seal_records(data: bytes) -> bytes:
    sizes = (taskdir.CLAIM.size, taskdir.EXIT.size, taskdir.PID.size, GONE_BYTES)
    spans = [(at * PAGE, at * PAGE + size) for at, size in enumerate(sizes)]
    return sealed(data, *spans, (3 * PAGE + 2048, 3 * PAGE + 2048 + GONE_BYTES))


def seal_account(data: bytes) -> bytes:
    data = seal_report(data)
    meter_at, gone_at, pid_at = PAGE, 2 * PAGE, 3 * PAGE
    spans = [(meter_at + at, meter_at + at + METER_BYTES) for at in (0, 2048)]
    spans += [(gone_at + at, gone_at + at + GONE_BYTES) for at in (0, 2048)]
    return sealed(data, *spans, (pid_at, pid_at + taskdir.PID.size))


def items(segment: bytes) -> None:
    itemlog.compare(SCRATCH.directory / "items", segment)


def hot(data: bytes) -> None:
    """The encoder on any numbers."""
    chance = random.Random(data)
    names = ("total_count", "completed_count", "cpu_ns", "memory_bytes", "io_read_bytes", "process_count", "source")
    values: dict[str, float] = {name: chance.choice([0, 1, 2**31 - 1]) for name in names}
    values |= {name: chance.choice([0.0, 1e30, math.inf, math.nan]) for name in ("rate_count_per_second", "cpu_percent")}
    text = data.decode("utf-8", "replace").replace("\0", "0").encode()[:500].decode("utf-8", "ignore")
    prices = {text.encode()[at : at + 23].decode("utf-8", "ignore") or "x": 0.5 for at in range(0, 200, 23)}
    tariff = Tariff(text.encode()[:100].decode("utf-8", "ignore") or "x", 2, custom=prices)
    card = text.encode()[:90].decode("utf-8", "ignore")
    gpus = tuple((n, card, card, chance.choice([None, 2**63]), chance.choice([None, 1e30])) for n in range(chance.randrange(4)))
    try:
        encoded = encode_hot(values, tariff, status=text, current_object=text, gpus=gpus)
    except ValueError:  # too long, or too many
        return
    TaskStatus.FromString(encoded)


KB = (b" kB\n", b":\t", b"18446744073709551615", b"18446744073709551616", b"-1", b"18014398509481984", b"\n")
LINES = (b"RssAnon:", b"RssFile:", b"RssShmem:", b"VmSwap:", b"Name:\t", *KB)
NUMBERS = (b"4294967296", b"2147483648", b"-2147483649", b"18446744073709551616", b" ", b"\n", b"max")

TARGETS = {
    target.name: target
    for target in (
        Target("stat", agrees(procfs.parse_stat, oracles.stat), (b")", b" (", b") R ", *NUMBERS)),
        Target("statm", agrees(procfs.parse_statm, oracles.statm), NUMBERS),
        Target("status", agrees(procfs.parse_status, oracles.status), LINES),
        Target("rollup", agrees(procfs.parse_rollup, oracles.rollup), (b"Pss_Anon:", b"Pss_Shmem:", b"SwapPss:", *KB)),
        Target("io", agrees(procfs.parse_io, oracles.io), (b"read_bytes:", b"write_bytes:", *NUMBERS)),
        Target("cpu_stat", agrees(cgroup.parse_cpu_stat, oracles.cpu_stat), (b"usage_usec ", b"18446744073709552", *NUMBERS)),
        Target(
            "memory_stat_v1",
            agrees(lambda text: cgroup.parse_memory_stat(text, 1), oracles.memory_stat_v1),
            (b"total_rss ", b"total_shmem ", b"total_swap ", *NUMBERS),
        ),
        Target(
            "memory_stat_v2",
            agrees(lambda text: cgroup.parse_memory_stat(text, 2), oracles.memory_stat_v2),
            (b"anon ", b"shmem ", *NUMBERS),
        ),
        Target("cpu_max", cpu_max, NUMBERS, most_bytes=64),
        Target("io_stat", io_stat, (b" rbytes=", b" wbytes=", b"8:0", *NUMBERS)),
        Target("ids", ids, NUMBERS, most_bytes=9000),
        Target("meter", meter, seal=seal_meter, most_bytes=PAGE),
        Target("history", history, seal=seal_history, most_bytes=4 * PAGE),
        Target("report", report, seal=seal_report, most_bytes=PAGE),
        Target("records", records, seal=seal_records, most_bytes=4 * PAGE),
        Target("account", account, seal=seal_account, most_bytes=4 * PAGE),
        Target("btf", btf, (b"outer\0", b"list\0", b"\x9f\xeb\x01\0")),
        Target("items", items, (b"\xf0\x9f\x98\x80", b"\xff", b"\x01\0\x01\0kv"), seal=itemlog.seal, most_bytes=PAGE),
        Target("hot", hot, (b"\xf0\x9f\x98\x80", b"\xed\xa0\x80", b"\xff"), most_bytes=600),
    )
}
