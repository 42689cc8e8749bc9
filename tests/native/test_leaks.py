"""Nothing public leaks: each function and class of metercore has a case here, which is repeated while the process is watched.

Watched are the C heap (mallinfo2(3)), blocks of Python, mappings, descriptors, threads. A case is one round of calls: good ones,
and such as fail.
"""

from __future__ import annotations

import ast
import ctypes
import os
from array import array
from pathlib import Path
from typing import Any

import pytest

from metercore import bpf, btf, cgroup, clock, descriptors, limit, procfs
from metercore.backend import examine, name_of, source_of
from metercore.counter import Counter
from metercore.crc import crc32, crc32c
from metercore.details import count_open_files, read_pressure, read_switches
from metercore.epochs import WindowPeak
from metercore.eta import Eta
from metercore.gpu import GpuMonitor, probe
from metercore.history import History
from metercore.historyfile import check_range, read_history
from metercore.peak import Peak
from metercore.processmeter import ProcessMeter
from metercore.rate import Rate
from metercore.report import ReportBlock
from metercore.ring import EventRing
from metercore.sampler import Sampler
from metercore.systemmeter import SystemMeter
from metercore.tariff import Tariff
from metercore.tokens import Tokens
from metercore.tree import ProcessTree
from metercore.uss import read_uss
from metercore.window import RateWindow
from tests.fuzz.targets import CORPUS
from tests.native import leaks_of_files  # noqa: F401  its cases enter themselves
from tests.native.backends import BACKENDS
from tests.native.gpus import FakeNvml, build
from tests.native.growth import ROUNDS, Case, leaks
from tests.native.leak_cases import CASES, NOBODY_HAS_THIS_PID, case, failing
from tests.waiting import wait_until

STUBS = Path(__file__).resolve().parents[2] / "native" / "metercore"

MADE_BY_OTHERS = {
    "sampler.SamplerStats": "a tuple, made by Sampler.stats",
    "systemmeter.SystemReading": "a tuple, made by SystemMeter.sample",
    "gpu.Gpu": "a tuple, made by GpuMonitor.gpus",
    "gpu.GpuProcess": "a tuple, made by GpuMonitor.processes",
    "backend.Backend": "a tuple, made by examine",
    "bpf.BpfRow": "a tuple, made by BpfTable.rows",
    "tariff.Price": "a tuple, made by Tariff.price",
    "report.Report": "a tuple, made by parse_report",
    "historyfile.HistoryPoint": "a tuple, made by read_history",
    "procfs.ProcStat": "a tuple, made by parse_stat",
    "procfs.ProcMemory": "a tuple, made by parse_status",
    "procfs.ProcIo": "a tuple, made by parse_io",
}


def public() -> set[str]:
    """Every public class and function, from the stubs, and from what is not compiled."""
    found = set()
    for stub in [*STUBS.glob("*.pyi"), *STUBS.glob("[!_]*.py")]:
        for node in ast.parse(stub.read_text()).body:
            if isinstance(node, ast.ClassDef | ast.FunctionDef) and not node.name.startswith("_"):
                found.add(f"{stub.stem}.{node.name}")
    return found


# ------------------------------------------------------------------------------------------------------- parsers


@case("ring.EventRing")
def keep_events(directory: Path) -> None:
    ring = EventRing(1024)
    for seq in range(1, 40):
        ring.append(seq, b"\x01", b"\n\x62" + b"x" * 98, "tenant", "token", {"colour": "red"})
    ring.join(ring.first_seq, 500, 2, "tenant", frozenset({"token"}), {"colour": "red"})
    failing(ring.append, 1, b"\x01", b"\n\x01x", "tenant", "token", {})
    failing(ring.append, 50, b"\x01", b"\n\x02x", "tenant", "token", {})
    ring.append(50, b"\x01", b"\n\xd0\x0f" + b"x" * 2000, "tenant", "token", {})
    failing(EventRing, 0)


@case("procfs.parse_stat", "procfs.parse_statm", "procfs.parse_status", "procfs.parse_rollup", "procfs.parse_io")
def parse_proc(directory: Path) -> None:
    # Not looked up by names made here: the interpreter's cache of attributes would keep those, a new one every round.
    parsers = {
        "stat": procfs.parse_stat,
        "statm": procfs.parse_statm,
        "status": procfs.parse_status,
        "rollup": procfs.parse_rollup,
        "io": procfs.parse_io,
    }
    for name, parse in parsers.items():
        parse((CORPUS / name / "sleep").read_bytes())
        failing(parse, b"x")
        failing(parse, None)


@case("procfs.read_stat", "procfs.read_memory", "procfs.read_rollup", "procfs.read_io")
def read_proc(directory: Path) -> None:
    for read in (procfs.read_stat, procfs.read_memory, procfs.read_rollup, procfs.read_io):
        read(os.getpid())
        failing(read, NOBODY_HAS_THIS_PID)
        failing(read, 2**40)


@case("cgroup.parse_cpu_stat", "cgroup.parse_memory_stat", "cgroup.parse_cpu_max", "cgroup.parse_io_stat")
def parse_cgroup(directory: Path) -> None:
    cgroup.parse_cpu_stat(b"usage_usec 5\n")
    cgroup.parse_memory_stat(b"anon 5\nshmem 6\n", 2)
    cgroup.parse_memory_stat(b"total_rss 5\n", 1)
    cgroup.parse_cpu_max(b"max 100000\n")
    cgroup.parse_cpu_max(b"150000 100000\n")
    cgroup.parse_io_stat(b"8:0 rbytes=1 wbytes=2\n")
    failing(cgroup.parse_cpu_stat, b"x")
    failing(cgroup.parse_memory_stat, b"x", 2)


@case("cgroup.read_ids", "limit.quota_cores", "limit.allowed_cores", "limit.percent", "limit.CpuLimit")
def read_cgroup(directory: Path) -> None:
    (directory / "ids").write_text("1\n2\n3000\n")
    cgroup.read_ids(str(directory / "ids"))
    failing(cgroup.read_ids, str(directory / "none"))
    limit.quota_cores()
    limit.allowed_cores()
    cores = limit.CpuLimit(os.getpid())
    cores.percent(cores.refresh())
    failing(cores.percent, -1.0)
    failing(limit.CpuLimit, NOBODY_HAS_THIS_PID)
    failing(limit.CpuLimit, proc="/none")
    limit.percent(1.0, 2.0)
    failing(limit.percent, 1.0, 0.0)


@case("crc.crc32", "crc.crc32c", "clock.monotonic_ns", "clock.boottime_ns", "clock.realtime_ns", "clock.thread_cpu_ns")
def clocks(directory: Path) -> None:
    crc32(b"x" * 5000)
    crc32(memoryview(b"x" * 5000))
    failing(crc32, "x")
    crc32c(b"x" * 5000)
    failing(crc32c, "x")
    for read in (clock.monotonic_ns, clock.boottime_ns, clock.realtime_ns, clock.thread_cpu_ns):
        read()


# ------------------------------------------------------------------------------------------------------ numerics


@case("rate.Rate", "peak.Peak", "eta.Eta", "counter.Counter", "window.RateWindow", "epochs.WindowPeak")
def numerics(directory: Path) -> None:
    rate, peak, eta, counter, window, epochs = Rate(), Peak(), Eta(), Counter(), RateWindow(), WindowPeak()
    for n in range(1, 50):
        rate.update(n * 10**9, n)
        peak.update(n * 10**9, n)
        eta.update(n * 10**9, n)
        counter.update(n)
        window.update(n * 10**9, n)
        epochs.update(n * 10**9, n)
    assert rate.per_second
    assert counter.total
    assert window.per_second(50 * 10**9)
    assert epochs.highest(50 * 10**9)
    assert eta.remaining(50 * 10**9, 100)
    eta.is_stalled(50 * 10**9)
    failing(Rate, "x")
    failing(rate.update, "x", 1)
    failing(RateWindow, 0.0)
    failing(WindowPeak, 0.0)
    failing(epochs.update, 1, float("nan"))


@case("tokens.Tokens", "tariff.Tariff")
def prices(directory: Path) -> None:
    tokens = Tokens(cpu_ns=5, counts={"pages": 3})
    for n in range(1, 50):
        tokens.update_memory(n * 10**9, n)
        tokens.update_gpu_memory(n * 10**9, n)
        tokens.add(f"counter{n % 10}", n)
    tokens.add_cpu_ns(5)
    tokens.add_gpu_ns(5)
    tokens.hold(51 * 10**9)
    tokens.replay_memory(array("Q", [1, 2, 3]), array("Q", [5, 6, 7]))
    assert tokens.memory_byte_ns2
    assert tokens.gpu_memory_byte_ns2
    assert tokens.counts
    tariff = Tariff("gold", 2, custom={"pages": 0.5, "x" * 23: 1.0})
    assert tokens.price(tariff) == tariff.price(tokens)
    assert tariff.custom
    assert hash(tariff) == hash(Tariff("gold", 2, custom={"pages": 0.5, "x" * 23: 1.0}))
    failing(Tariff, "", 1)
    failing(Tariff, "gold", 2, custom={"x" * 24: 1.0})
    failing(Tariff, "gold", 2, custom={f"c{n}": 1.0 for n in range(17)})
    failing(Tariff, "gold", 2, custom={"good": 1.0, "bad": -1.0})
    failing(Tokens, counts={"x": -1})
    failing(tokens.add, "", 1)
    failing(tokens.replay_memory, array("Q", [1, 2]), array("Q", [5]))


# --------------------------------------------------------------------------------------------------- BPF and BTF


@case("btf.parse", "btf.load", "btf.Btf")
def types(directory: Path) -> None:
    small = (CORPUS / "btf" / "small").read_bytes()
    (directory / "btf").write_bytes(small)
    for made in (btf.parse(small), btf.load(str(directory / "btf"))):
        made.field("outer", "nested.b")
        made.offset("outer", "list[2].b")
        made.enumerator("BIG")
        failing(made.field, "outer", "none")
        failing(made.field, "outer", "[[")
        failing(made.field, "circle", "member")
        failing(made.enumerator, "none")
        failing(made.id, "outer", "none")
    btf.Btf()
    failing(btf.parse, small[:-1])
    failing(btf.load, str(directory / "none"))
    failing(btf.load, str(directory))


@case("bpf.BpfTable", "bpf.probe")
def tables(directory: Path) -> None:
    reason = bpf.probe()
    if reason is not None:  # not here; the way to that answer is the case
        failing(bpf.BpfTable)
        return
    table = bpf.BpfTable()
    table.sweep()
    table.rows()
    table.row(os.getpid())
    table.row(NOBODY_HAS_THIS_PID)
    table.close()
    failing(table.sweep)
    bpf.BpfTable().sweep()  # and is collected while it is open


# ------------------------------------------------------------------------------------ trees, samplers, launchers


@case("tree.ProcessTree")
def trees(directory: Path) -> None:
    tree = ProcessTree()
    tree.add_root(os.getppid(), 7)
    tree.sweep()
    tree.forget(os.getpid())
    tree.remove_root(os.getppid(), 7)
    tree.sweep()
    failing(tree.add_root, 0, 7)


@case("descriptors.kept_count", "descriptors.set_limit")
def limits(directory: Path) -> None:
    descriptors.kept_count()
    descriptors.set_limit(5)
    descriptors.set_limit(-1)


@case("history.History", "historyfile.read_history", "historyfile.check_range")
def histories(directory: Path) -> None:
    history = History(directory)
    for n in range(1, 30):
        history.add(n * 10**9, n * 10**9, n * 10**9, n, gpu_memory_bytes=n, gap=n == 20)
    history.note(1.0, 5)
    history.flush()
    history.read()
    History(directory / "none").add(0, 0, 0, 0)
    failing(history.read, -1.0)
    failing(history.add, 2**70, 0, 0, 0)
    read_history(directory)
    read_history(directory / "none")
    failing(read_history, directory, 2.0, 1.0)
    (directory / "history").write_bytes((directory / "history").read_bytes()[:200])
    read_history(directory)
    check_range(0.0, 1.0, 1.0)
    failing(check_range, 0.0, 1.0, float("nan"))
    (directory / "history").unlink()


@case("sampler.Sampler")
def samplers(directory: Path) -> None:
    (directory / "task").mkdir(exist_ok=True)
    ReportBlock(directory / "task" / "report").status("x")
    for backend in BACKENDS:
        sampler = backend.make(start=False)
        kept = sampler.open(os.getppid(), os.getpid(), str(directory))
        tariff = Tariff("gold", 2, custom={"pages": 0.5})
        handle = sampler.open(os.getppid(), os.getpid(), str(directory), cgroup_v2="/none", tariff=tariff)
        sampler.tick(skip_seconds=0.3)
        sampler.set_earlier(handle, 5, 2**70, gpu_memory_byte_ns2=2**70, gpu_ns=5, custom={"pages": 7})
        sampler.note_report(handle)
        sampler.note_report(handle)
        sampler.finish(sampler.open(0, 0, str(directory), external=True))
        sampler.hot(handle)
        sampler.read(handle)
        sampler.history(handle)
        failing(sampler.history, handle, -1.0)
        sampler.version(handle)
        sampler.is_ready(handle)
        sampler.finish(handle)
        failing(sampler.read, handle)
        failing(sampler.open, 1, 1, 5)
        sampler.look()
        sampler.is_empty(kept)
        bare = sampler.open(0, os.getpid(), attached=True)
        sampler.look()
        failing(sampler.history, bare)
        failing(sampler.finish, kept, reaped_cpu_ns=-1)
        failing(sampler.set_earlier, kept, 5, 2**200)
        failing(sampler.set_earlier, kept, 5, 5, custom={"pages": -7})
        sampler.stats()
        sampler.close()  # with a slot open
    threaded = Sampler(20.0)
    threaded.open(os.getppid(), os.getpid(), str(directory))
    wait_until(lambda: threaded.stats().tick_count > 0, "a tick")
    if threaded.stats().tick_count % 2:
        threaded.close()  # else it is collected with its thread running
    failing(Sampler, 0.0)


@case("gpu.GpuMonitor", "gpu.probe")
def monitors(directory: Path) -> None:
    (directory / "task").mkdir(exist_ok=True)
    nvml = FakeNvml(directory / "nvml", build(directory))
    nvml.play("count 2", f"compute 0 {os.getpid()} 5", f"busy 0 {os.getpid()} 50")
    sampler = Sampler(start=False)
    with nvml.watch(20.0) as monitor:
        sampler.watch_gpus(monitor)
        handle = sampler.open(os.getppid(), os.getpid(), str(directory))
        wait_until(lambda: monitor.gpus and monitor.processes(), "a look")
        sampler.tick()
        sampler.hot(handle)
        sampler.gpu_name(0)
        nvml.play("code Init 9", "code DeviceGetCount 9")
        wait_until(lambda: monitor.state == "failed" and monitor.reason, "it fails")
        sampler.tick()
        sampler.finish(handle)
    nvml.watch()  # and is collected with its thread running
    probe(nvml.library)
    probe(directory / "none.so")
    failing(GpuMonitor, "x", 0.0)


@case("reading.Reading")
def rare(directory: Path) -> None:
    """What most tasks never have: texts, GPUs, priced counters, those of earlier attempts, cgroups of two kinds."""
    (directory / "task").mkdir(exist_ok=True)
    block = ReportBlock(directory / "task" / "report").status("x" * 500).object("y")
    block.count("pages", 3)
    for name in ("cpu.stat", "memory.stat", "cpuacct.usage", "cgroup.procs"):
        (directory / name).write_text("")
    places: tuple[dict[str, Any], ...] = (
        {"cgroup_v2": str(directory)},
        {"cgroup_v1_cpuacct": str(directory), "cgroup_v1_memory": str(directory)},
        {},
    )
    nvml = FakeNvml(directory / "nvml", build(directory))
    nvml.play("count 2", f"compute 0 {os.getpid()} 5", f"busy 0 {os.getpid()} 50")
    sampler = Sampler(start=False)
    with nvml.watch(20.0) as monitor:
        sampler.watch_gpus(monitor)
        tariff = Tariff("gold", 2, custom={"pages": 0.5})
        handles = [sampler.open(os.getppid(), os.getpid(), str(directory), tariff=tariff, **place) for place in places]
        wait_until(lambda: monitor.gpus and monitor.processes(), "a look")
        sampler.tick(skip_seconds=1.0)
        for handle in handles:
            sampler.set_earlier(handle, 5, 5, custom={"pages": 7})
            failing(sampler.set_earlier, handle, 5, 5, custom={"pages": -7})
        reading = sampler.read(handles[-1])
        assert (reading.status, reading.current_object, [gpu[1] for gpu in reading.gpus]) == ("x" * 500, "y", [5])
        block.status("z")
        sampler.tick(skip_seconds=1.0)
        assert reading.status == "x" * 500
        for handle in handles[1:]:
            sampler.hot(handle)
            assert sampler.finish(handle).status == "z"
        again = sampler.open(os.getppid(), os.getpid(), str(directory), tariff=tariff)  # in the place of a finished one
        assert again not in handles
        assert sampler.read(again).completed_count == 0
    # … and is collected with one open


@case("processmeter.ProcessMeter")
def process_meters(directory: Path) -> None:
    with ProcessMeter(os.getpid(), measure_uss=True) as meter:
        meter.sample()
        next(iter(meter.watch()))
        assert meter.is_running()
        failing(meter.watch, 0.0)
    failing(meter.sample)
    meter.close()
    ProcessMeter(os.getpid(), include_descendants=False, hz=20.0).sample()  # and is collected with its thread running
    failing(ProcessMeter, NOBODY_HAS_THIS_PID)
    failing(ProcessMeter, os.getpid(), backend="magic")
    failing(ProcessMeter, os.getpid(), hz=0.0)


@case("systemmeter.SystemMeter")
def system_meters(directory: Path) -> None:
    meter = SystemMeter()
    meter.sample()
    assert meter.sample().memory_total_bytes
    (directory / "stat").write_text("cpu  1 2 3 4\ncpu900 1 2 3 4\n")
    SystemMeter(proc=str(directory)).sample()
    (directory / "stat").unlink()
    failing(SystemMeter, proc="/none")


@case("backend.examine", "backend.source_of", "backend.name_of")
def backends(directory: Path) -> None:
    for found in examine():
        name_of(source_of(found.name))
    next(iter(examine()))  # and no further
    failing(source_of, "magic")
    failing(name_of, 99)


@case("details.count_open_files", "details.read_pressure", "details.read_switches", "uss.read_uss")
def details_of_processes(directory: Path) -> None:
    for read in (count_open_files, read_switches, read_uss):
        read(os.getpid())
        failing(read, 2**22 + 1)
    pressure = directory / "cpu.pressure"
    pressure.write_text("some avg10=1.50 avg60=0.00 avg300=0.00 total=1\n")
    assert read_pressure(str(pressure)) == 1.5
    assert read_pressure("/no/such/file") is None


def test_everything_public_has_a_leak_case() -> None:
    missing = sorted(public() - CASES.keys() - MADE_BY_OTHERS.keys())
    assert not missing, (
        f"no leak case for {', '.join(missing)}: add a function with @case({missing[0]!r}) to {Path(__file__).name} that "
        "calls it once with success and once for each way in which it fails, or say in MADE_BY_OTHERS which case makes it"
    )
    gone = sorted((CASES.keys() | MADE_BY_OTHERS.keys()) - public())
    assert not gone, f"not public any more: {', '.join(gone)}"


@pytest.mark.parametrize("function", dict.fromkeys(CASES.values()), ids=lambda function: function.__name__)
def test_it_leaks_nothing(function: Case, tmp_path: Path) -> None:
    assert leaks(function, tmp_path) == []


def test_the_test_sees_a_leak_of_one_small_block_per_round(tmp_path: Path) -> None:
    malloc = ctypes.CDLL(None).malloc
    malloc.restype = ctypes.c_void_p
    blocks: list[int] = [0] * (ROUNDS * 8)
    ends = iter(range(len(blocks)))

    def leak(directory: Path) -> None:
        blocks[next(ends)] = malloc(16)

    def keep_open(directory: Path) -> None:
        blocks[next(ends)] = os.open("/dev/null", os.O_RDONLY)

    found = leaks(leak, tmp_path)
    assert any("heap_bytes" in line for line in found), found
    free = ctypes.CDLL(None).free
    free.argtypes = [ctypes.c_void_p]
    for block in blocks:
        free(block or None)
    ends = iter(range(len(blocks)))
    blocks[:] = [-1] * len(blocks)
    found = leaks(keep_open, tmp_path)
    for descriptor in blocks:
        if descriptor >= 0:
            os.close(descriptor)
    assert any("descriptors" in line for line in found), found
