"""GPUs through NVML, played by a library compiled from C: who uses what, and what happens when the driver does not play along."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from time import monotonic

import psutil
import pytest

from metercore import gpu
from metercore.gpu import Gpu, GpuMonitor, GpuProcess
from metercore.procfs import read_stat
from tests.native.conftest import Fake
from tests.native.gpus import FakeNvml, now_us
from tests.waiting import wait_until

MIB = 2**20
ME = os.getpid()
NOBODY_HERE = 2**22 + 17
"""A pid that Linux never gives away (pid_max is at most 2^22)."""

SLOW_HZ = 2.0
"""So slow that no look is missed by who waits for what only one look shows."""


@pytest.fixture
def other() -> Iterator[int]:
    """The pid of another process."""
    with subprocess.Popen([sys.executable, "-S", "-c", "input()"], stdin=subprocess.PIPE) as child:
        yield child.pid
        child.communicate()


def active(monitor: GpuMonitor) -> GpuMonitor:
    wait_until(lambda: monitor.state == "active" and monitor.gpus, "GPUs are measured")
    return monitor


def uses(monitor: GpuMonitor) -> dict[tuple[int, int], tuple[int | None, float | None]]:
    """Who uses what, as (pid, GPU): (bytes, percent)."""
    return {(each.pid, each.gpu_index): (each.memory_bytes, each.utilization_percent) for each in monitor.processes()}


def percent(monitor: GpuMonitor, pid: int = ME) -> float | None:
    """What a process uses of the first GPU in percent; None when it does not appear."""
    return uses(monitor).get((pid, 0), (None, None))[1]


def shows(monitor: GpuMonitor, expected: dict[tuple[int, int], tuple[int | None, float | None]]) -> None:
    """Wait until a look shows exactly this."""
    try:
        wait_until(lambda: uses(monitor) == expected, "expected")
    except AssertionError:
        assert uses(monitor) == expected, monitor.reason


# ------------------------------------------------------------------------------------------------------- what is measured


def test_several_gpus_are_described_with_what_each_process_holds_of_each(nvml: FakeNvml, other: int) -> None:
    nvml.play(
        "count 3",
        "name 0 NVIDIA H100 80GB HBM3",
        "uuid 0 GPU-8f6d1b2c-0000-0000-0000-000000000000",
        f"total 0 {80 * 2**30}",
        f"compute 0 {ME} {100 * MIB}",
        f"compute 2 {ME} {7 * MIB}",
        f"compute 2 {other} {5 * MIB}",
    )
    with nvml.watch() as monitor:
        shows(monitor, {(ME, 0): (100 * MIB, 0.0), (ME, 2): (7 * MIB, 0.0), (other, 2): (5 * MIB, 0.0)})
        assert monitor.gpus[0] == Gpu(
            index=0,
            uuid="GPU-8f6d1b2c-0000-0000-0000-000000000000",
            name="NVIDIA H100 80GB HBM3",
            memory_bytes=80 * 2**30,
            mig=False,
            lost=False,
            memory_measured=True,
            utilization_measured=True,
        )
        assert [each.index for each in monitor.gpus] == [0, 1, 2]
        assert {each.start_ticks for each in monitor.processes() if each.pid == ME} == {read_stat(ME).start_ticks}
        assert monitor.reason is None
        sequence = monitor.sequence
        nvml.play("count 3", f"compute 1 {ME} {MIB}")
        shows(monitor, {(ME, 1): (MIB, 0.0)})
        assert monitor.sequence > sequence
        age = monitor.age_seconds
        assert age is not None and age < 5


def test_who_computes_and_draws_is_counted_once_with_the_larger_figure(nvml: FakeNvml) -> None:
    nvml.play("count 1", f"compute 0 {ME} {100 * MIB}", f"graphics 0 {ME} {120 * MIB}", f"graphics 0 {NOBODY_HERE} {MIB}")
    with nvml.watch() as monitor:
        shows(monitor, {(ME, 0): (120 * MIB, 0.0), (NOBODY_HERE, 0): (MIB, 0.0)})
        assert [each.start_ticks for each in monitor.processes() if each.pid == NOBODY_HERE] == [0]


def test_memory_that_the_driver_does_not_tell_is_absent_not_zero(nvml: FakeNvml) -> None:
    nvml.play("count 1", f"compute 0 {ME} na", f"graphics 0 {NOBODY_HERE} na", f"compute 0 {NOBODY_HERE} {MIB}")
    with nvml.watch() as monitor:
        shows(monitor, {(ME, 0): (None, 0.0), (NOBODY_HERE, 0): (MIB, 0.0)})


def test_more_processes_than_there_was_room_for_are_all_listed(nvml: FakeNvml) -> None:
    pids = range(NOBODY_HERE, NOBODY_HERE + 1000)
    nvml.play("count 1", *(f"compute 0 {pid} {pid}" for pid in pids), *(f"sample 0 {pid} {now_us()} 7" for pid in pids))
    with nvml.watch() as monitor:
        active(monitor)
        assert {(each.pid, each.memory_bytes) for each in monitor.processes()} == {(pid, pid) for pid in pids}


def test_utilisation_is_the_mean_of_the_samples_since_the_look_before(nvml: FakeNvml, other: int) -> None:
    lines = ["count 1", f"compute 0 {ME} {MIB}", f"compute 0 {other} {MIB}"]
    nvml.play(*lines)
    with nvml.watch(SLOW_HZ) as monitor:
        shows(monitor, {(ME, 0): (MIB, 0.0), (other, 0): (MIB, 0.0)})
        begin = now_us()
        lines += [f"sample 0 {ME} {begin + n} {value}" for n, value in enumerate((20, 40, 60))]
        nvml.play(*lines, f"sample 0 {other} {begin + 1} 30")
        wait_until(lambda: percent(monitor) == 40.0 and percent(monitor, other) == 30.0, "the mean")
        wait_until(lambda: percent(monitor) == 0.0, "samples count once: with no new ones it is idle")
        nvml.play(*lines, f"sample 0 {ME} {begin + 1000} 90")
        wait_until(lambda: percent(monitor) in {40.0, 90.0}, "the newer sample")
        assert percent(monitor) in {90.0, 0.0}, "it alone"


def test_samples_of_long_ago_say_nothing_about_now(nvml: FakeNvml) -> None:
    nvml.play("count 1", f"compute 0 {ME} {MIB}", f"sample 0 {ME} {now_us() - 60_000_000} 100")
    with nvml.watch() as monitor:
        active(monitor)
        assert uses(monitor) == {(ME, 0): (MIB, 0.0)}


def test_percentages_over_100_are_100_and_garbage_is_no_sample(nvml: FakeNvml) -> None:
    lines = ["count 1", f"compute 0 {ME} {MIB}"]
    nvml.play(*lines)
    with nvml.watch(SLOW_HZ) as monitor:
        active(monitor)
        nvml.play(*lines, f"sample 0 {ME} {now_us()} 4000000000", f"sample 0 {ME} {2**62} 50", f"sample 0 {ME} {now_us()} 104")
        wait_until(lambda: percent(monitor) == 100.0, "the only sample that makes sense, clamped")
        nvml.play(*lines, f"sample 0 {ME} {now_us()} 50")
        wait_until(lambda: percent(monitor) == 50.0, "the timestamp of garbage did not hide later samples")


@pytest.mark.parametrize("lacks", ["NO_UTILIZATION", "code"])
def test_utilisation_that_is_not_supported_is_absent_while_memory_is_measured(fake: Fake, lacks: str) -> None:
    nvml = fake() if lacks == "code" else fake(lacks)
    nvml.play("count 1", f"compute 0 {ME} {MIB}", f"sample 0 {ME} {now_us()} 50", "code DeviceGetProcessUtilization 3")
    with nvml.watch() as monitor:
        shows(monitor, {(ME, 0): (MIB, None)})
        assert not monitor.gpus[0].utilization_measured
        assert monitor.reason is None


def test_processes_that_may_not_be_listed_leave_memory_absent(nvml: FakeNvml) -> None:
    nvml.play("count 1", "code DeviceGetComputeRunningProcesses 4", f"compute 0 {ME} {MIB}", f"sample 0 {ME} {now_us()} 50")
    with nvml.watch(SLOW_HZ) as monitor:
        wait_until(lambda: (ME, 0) in uses(monitor), "it is known by its utilisation")
        assert uses(monitor)[ME, 0] == (None, 50.0)
        assert not monitor.gpus[0].memory_measured


def test_memory_of_mig_devices_is_summed_on_their_gpu_and_utilisation_is_absent(nvml: FakeNvml, other: int) -> None:
    nvml.play(
        "count 2",
        "mig 1 7",
        "instance 1 0",
        "instance 1 4",
        f"compute 1 {ME} {10 * MIB} 0",
        f"graphics 1 {ME} {11 * MIB} 0",
        f"compute 1 {ME} {20 * MIB} 4",
        f"compute 1 {other} na 4",
        f"compute 0 {ME} {MIB}",
        f"sample 1 {ME} {now_us()} 50",
    )
    with nvml.watch() as monitor:
        shows(monitor, {(ME, 0): (MIB, 0.0), (ME, 1): (31 * MIB, None), (other, 1): (None, None)})
        assert [each.mig for each in monitor.gpus] == [False, True]
        nvml.play("count 2", "mig 1 7", "instance 1 2", f"compute 1 {ME} {3 * MIB} 2")
        shows(monitor, {(ME, 1): (3 * MIB, None)})
        nvml.play("count 2", "mig 1 7")
        shows(monitor, {})
        assert monitor.gpus[1].memory_measured, "nobody can hold any"


@pytest.mark.parametrize("lacks", [("NO_V3",), ("NO_V3", "NO_V2"), ("OLD", "NO_MIG", "NO_GRAPHICS", "NO_UTILIZATION")])
def test_older_drivers_are_read_through_the_functions_they_have(fake: Fake, lacks: tuple[str, ...]) -> None:
    nvml = fake(*lacks)
    nvml.play("count 1", f"compute 0 {ME} {3 * MIB}", f"compute 0 {NOBODY_HERE} {5 * MIB}")
    utilization = None if "NO_UTILIZATION" in lacks else 0.0
    with nvml.watch() as monitor:
        shows(monitor, {(ME, 0): (3 * MIB, utilization), (NOBODY_HERE, 0): (5 * MIB, utilization)})


def test_the_driver_that_changed_the_record_without_a_new_name_is_read_right(nvml: FakeNvml) -> None:
    nvml.play("count 1", "driver 535.54.03", *(f"compute 0 {NOBODY_HERE + n} {n * MIB}" for n in range(5)))
    with nvml.watch() as monitor:
        shows(monitor, {(NOBODY_HERE + n, 0): (n * MIB, 0.0) for n in range(5)})


# ------------------------------------------------------------------------------------------------ who a reported pid is


def plant(proc: Path, pid: int, nspid: str, opened: str = "") -> None:
    """Make the /proc entry of a process that started at tick 1000 + pid."""
    (proc / str(pid) / "fd").mkdir(parents=True)
    (proc / str(pid) / "stat").write_text(f"{pid} (x) S 1" + " 0" * 17 + f" {1000 + pid}" + " 0" * 5 + "\n")
    (proc / str(pid) / "status").write_text(f"Name:\tx\nNSpid:\t{nspid}\nThreads:\t1\n")
    (proc / str(pid) / "fd" / "0").symlink_to("/dev/null")
    if opened:
        (proc / str(pid) / "fd" / "7").symlink_to(opened)


def test_in_a_pid_namespace_a_pid_is_believed_only_of_who_has_the_driver_open(nvml: FakeNvml, tmp_path: Path) -> None:
    proc = tmp_path / "proc"
    plant(proc, 10, "10", "/dev/nvidia0")
    plant(proc, 11, "11")
    plant(proc, 12, "12\t4000\t7", "/dev/nvidia-caps/nvidia-cap1")
    plant(proc, 13, "13\t5000")
    nvml.play("count 1", *(f"compute 0 {pid} {pid}" for pid in (10, 11, 4000, 5000)))
    with nvml.watch(proc=proc) as monitor:
        active(monitor)
        found = sorted(monitor.processes())
    assert [each for each in found if each.pid] == [GpuProcess(10, 0, 1010, 10, 0.0), GpuProcess(12, 0, 1012, 4000, 0.0)]
    assert sorted(each.memory_bytes or 0 for each in found if not each.pid) == [11, 5000], "of somebody, but nobody here"


def test_in_a_pid_namespace_a_reused_pid_is_somebody_else(nvml: FakeNvml, tmp_path: Path) -> None:
    proc = tmp_path / "proc"
    plant(proc, 12, "12\t4000", "/dev/nvidia0")
    nvml.play("count 1", f"compute 0 4000 {MIB}")
    with nvml.watch(proc=proc) as monitor:
        shows(monitor, {(12, 0): (MIB, 0.0)})
        (proc / "12").rename(proc / "gone")
        plant(proc / "new", 12, "12")
        (proc / "new" / "12").rename(proc / "12")
        (proc / "12" / "stat").write_text((proc / "12" / "stat").read_text().replace("1012", "2012"))
        shows(monitor, {(0, 0): (MIB, 0.0)})
        plant(proc, 14, "14\t4001", "/dev/nvidiactl")
        nvml.play("count 1", f"compute 0 4001 {MIB}")
        shows(monitor, {(14, 0): (MIB, 0.0)})


# ----------------------------------------------------------------------------------------------- when it does not play along


def threads() -> list[str]:
    """The names of this process's native threads."""
    names = []
    for task in Path("/proc/self/task").iterdir():
        try:
            names.append((task / "comm").read_text().strip())
        except OSError:  # it ended while we looked
            continue
    return names


def test_without_the_library_there_is_a_reason_and_no_thread(tmp_path: Path) -> None:
    monitor = GpuMonitor(tmp_path / "none.so")
    assert (monitor.state, monitor.gpus, monitor.processes(), monitor.age_seconds) == ("absent", [], [], None)
    assert "none.so" in str(monitor.reason)
    assert not monitor.wait(10), "there is nothing to wait for"
    assert "tm-gpu" not in threads()
    assert "none.so" in str(gpu.probe(tmp_path / "none.so"))
    monitor.close()
    assert (monitor.state, monitor.reason) == ("closed", "closed")


def test_a_library_without_what_is_needed_is_refused_by_name(fake: Fake) -> None:
    assert "no function nvmlShutdown" in str(GpuMonitor(fake("NO_SHUTDOWN").library).reason)


def test_probe_says_why_not_or_nothing(nvml: FakeNvml) -> None:
    assert gpu.probe(nvml.library) is None
    nvml.play("count 0")
    assert gpu.probe(nvml.library) == "the driver knows of no GPU"
    nvml.play("code Init 9")
    assert gpu.probe(nvml.library) == "nvmlInit: Driver Not Loaded"
    nvml.play("hang Init")
    assert gpu.probe(nvml.library, 0.1) == "the driver does not answer within 0.1 s"
    nvml.play("count 1")


@pytest.mark.parametrize("hz", [0.0, 21.0, float("nan")])
def test_a_rate_out_of_range_is_refused(hz: float) -> None:
    with pytest.raises(ValueError, match="times a second"):
        GpuMonitor("x", hz)


def test_a_path_that_cannot_be_one_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="too long"):
        GpuMonitor("x" * 600)
    with pytest.raises(ValueError, match="too long"):
        GpuMonitor("x", proc="y" * 200)


def test_a_driver_that_comes_later_is_found(nvml: FakeNvml) -> None:
    nvml.play("code Init 9")
    with nvml.watch() as monitor:
        wait_until(lambda: monitor.state == "failed", "it fails")
        assert monitor.reason == "nvmlInit: Driver Not Loaded"
        nvml.play("count 1", f"compute 0 {ME} {MIB}")
        shows(monitor, {(ME, 0): (MIB, 0.0)})


@pytest.mark.parametrize("code", [1, 9, 18, 999], ids=["uninitialized", "not loaded", "version mismatch", "unknown"])
@pytest.mark.parametrize("function", ["DeviceGetCount", "DeviceGetComputeRunningProcesses"])
def test_a_driver_that_goes_is_absent_until_it_is_back(nvml: FakeNvml, code: int, function: str) -> None:
    scenario = ("count 1", f"compute 0 {ME} {MIB}")
    nvml.play(*scenario)
    with nvml.watch() as monitor:
        shows(monitor, {(ME, 0): (MIB, 0.0)})
        nvml.play(*scenario, f"code {function} {code}")
        wait_until(lambda: monitor.state == "failed", "it fails")
        assert (monitor.gpus, monitor.processes()) == ([], [])
        assert str(monitor.reason).startswith(f"nvml{function}: ")
        nvml.play(*scenario)
        shows(monitor, {(ME, 0): (MIB, 0.0)})
        assert (monitor.state, monitor.reason) == ("active", None)


def test_a_library_that_is_replaced_is_loaded_anew(nvml: FakeNvml) -> None:
    nvml.play("count 1")
    with nvml.watch() as monitor:
        active(monitor)
        nvml.library.unlink()
        nvml.play("code DeviceGetCount 18")
        wait_until(lambda: "cannot open shared object" in str(monitor.reason), "there is no library now")
        nvml.install()
        nvml.play("count 1", f"compute 0 {ME} {MIB}")
        shows(monitor, {(ME, 0): (MIB, 0.0)})
        assert not [line for line in Path("/proc/self/maps").read_text().splitlines() if "libnvidia-ml.so.1 (deleted)" in line]


def test_a_lost_gpu_leaves_the_others_measured_and_is_found_again(nvml: FakeNvml) -> None:
    scenario = ("count 2", f"compute 0 {ME} {MIB}", f"compute 1 {ME} {2 * MIB}")
    nvml.play(*scenario)
    with nvml.watch() as monitor:
        shows(monitor, {(ME, 0): (MIB, 0.0), (ME, 1): (2 * MIB, 0.0)})
        nvml.play(*scenario, "code DeviceGetComputeRunningProcesses 15 1", "code DeviceGetHandleByIndex 15 1")
        shows(monitor, {(ME, 0): (MIB, 0.0)})
        assert [each.lost for each in monitor.gpus] == [False, True]
        nvml.play(*scenario)
        shows(monitor, {(ME, 0): (MIB, 0.0), (ME, 1): (2 * MIB, 0.0)})
        assert [each.lost for each in monitor.gpus] == [False, False]


def test_the_only_gpu_being_lost_is_a_failure_with_its_reason(nvml: FakeNvml) -> None:
    nvml.play("count 1", "code DeviceGetComputeRunningProcesses 15")
    with nvml.watch() as monitor:
        wait_until(lambda: monitor.state == "failed", "it fails")
        assert monitor.reason == "nvmlDeviceGetComputeRunningProcesses: GPU is lost"
        nvml.play("count 1")
        active(monitor)


def test_a_gpu_that_may_not_be_opened_leaves_the_others_measured(nvml: FakeNvml) -> None:
    nvml.play("count 2", "code DeviceGetHandleByIndex 4 0", f"compute 1 {ME} {MIB}")
    with nvml.watch() as monitor:
        shows(monitor, {(ME, 1): (MIB, 0.0)})
        assert [(each.lost, each.memory_measured) for each in monitor.gpus] == [(False, False), (False, True)]


def test_gpus_that_come_and_go_are_noticed(nvml: FakeNvml) -> None:
    with nvml.watch() as monitor:
        active(monitor)
        nvml.play("count 3")
        wait_until(lambda: len(monitor.gpus) == 3, "more GPUs")
        nvml.play("count 0")
        wait_until(lambda: monitor.reason == "the driver knows of no GPU", "none left")


@pytest.mark.parametrize("function", ["Init", "DeviceGetCount", "DeviceGetProcessUtilization"])
def test_a_driver_that_hangs_makes_everything_absent_until_it_answers(nvml: FakeNvml, function: str) -> None:
    scenario = ("count 1", f"compute 0 {ME} {MIB}")
    nvml.play(*scenario)
    with nvml.watch() as monitor:
        shows(monitor, {(ME, 0): (MIB, 0.0)})
        nvml.play(*scenario, f"hang {function}", *(["code DeviceGetCount 1"] if function == "Init" else []))
        wait_until(lambda: monitor.state == "hung", "it hangs")
        assert "does not answer" in str(monitor.reason)
        assert (monitor.gpus, monitor.processes()) == ([], [])
        monitor.wait(0)  # whatever ended before it hung
        assert not monitor.wait(0)
        nvml.play(*scenario)
        shows(monitor, {(ME, 0): (MIB, 0.0)})


def test_closing_does_not_wait_for_a_driver_that_hangs(nvml: FakeNvml) -> None:
    nvml.play("count 1", "hang DeviceGetCount")
    monitor = nvml.watch()
    wait_until(lambda: monitor.state == "hung", "it hangs")
    begin = monotonic()
    monitor.close()
    assert monotonic() - begin < 60, "it does return"
    assert monitor.state == "closed"
    assert "tm-gpu" in threads(), "its thread is left alone with what it uses"
    nvml.play("count 1")
    wait_until(lambda: "tm-gpu" not in threads(), "it ends when the driver answers")


def test_garbage_stays_within_its_room(nvml: FakeNvml) -> None:
    nvml.play(
        "count 4000000000",
        "unterminated",
        "mig 2 4000000000",
        "mig 3 4000000000",
        *(f"instance 3 {n}" for n in range(64)),
        f"compute 0 {ME} {MIB}",
        "compute 0 0 5",
        "compute 0 -7 5",
        f"sample 0 {ME} {now_us()} 50",
        "claim DeviceGetComputeRunningProcesses 4000000000",
        "claim DeviceGetGraphicsRunningProcesses 4000000000",
        "claim DeviceGetProcessUtilization 4000000000",
    )
    with nvml.watch() as monitor:
        active(monitor)
        assert len(monitor.gpus) == 64
        assert {(each.uuid, each.name) for each in monitor.gpus} == {("x" * 95, "x" * 95)}
        assert set(uses(monitor)) == {(ME, 0)}
        assert uses(monitor)[ME, 0][0] == MIB


def test_a_demand_for_more_room_than_anybody_has_is_not_met(nvml: FakeNvml) -> None:
    nvml.play("count 1", "code DeviceGetComputeRunningProcesses 7", "claim DeviceGetComputeRunningProcesses 4000000000")
    with nvml.watch() as monitor:
        active(monitor)
        assert not monitor.gpus[0].memory_measured


def test_monitors_leak_neither_threads_nor_descriptors_nor_memory(nvml: FakeNvml) -> None:
    nvml.play("count 8", *(f"compute {n} {ME} {n}" for n in range(8)), f"sample 0 {ME} {now_us()} 9")
    process = psutil.Process()

    def cycle() -> None:
        monitor = nvml.watch()
        assert monitor.wait(10)
        assert monitor.gpus and monitor.processes() and monitor.busy_ns
        if monitor.sequence % 2:
            monitor.close()

    for _ in range(10):
        cycle()
    gc.collect()
    files, uss = process.num_fds(), process.memory_full_info().uss
    for _ in range(60):
        cycle()
    gc.collect()
    assert process.num_fds() == files
    assert process.memory_full_info().uss <= uss + 400_000
    wait_until(lambda: "tm-gpu" not in threads(), "all threads are gone")
