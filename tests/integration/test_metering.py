"""What a task used, against the kernel's own count; what it did not use is not billed."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from metercore import bpf
from taskmeter.v1 import task_pb2, usage_pb2
from tests.daemon import Daemon
from tests.integration.helpers import end_of, read, start_python, status_of, wait_for_output
from tests.waiting import wait_until

MIB = 2**20

CHILDREN = """
import json, os, resource, sys, time
count, seconds = int(sys.argv[1]), float(sys.argv[2])
for _ in range(count):
    pid = os.fork()
    if pid == 0:
        begin = time.process_time()
        while time.process_time() - begin < seconds:
            pass
        os._exit(0)
    os.waitpid(pid, 0)
total = 0
for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN):
    usage = resource.getrusage(who)
    total += usage.ru_utime + usage.ru_stime
print(json.dumps(total), flush=True)
"""

SHARED = """
import os, signal, sys, time
block = bytearray(os.urandom(1)) * (200 * 2**20)
children = []
for _ in range(4):
    pid = os.fork()
    if pid == 0:
        sum(block[::4096])
        signal.pause()
    children.append(pid)
print("up", flush=True)
sys.stdin.read()
signal.pause()
"""

WRITER = """
import os, signal
with open("big", "wb") as file:
    for _ in range(500):
        file.write(os.urandom(2**20))
print("up", flush=True)
signal.pause()
"""


METERS = {
    "cgroup": ("--cgroup", "auto"),
    "cgroup-v1": ("--cgroup", "v1"),
    "clock": ("--cgroup", "off", "--meter-backend", "clock"),
    "procfs": ("--cgroup", "off", "--meter-backend", "procfs"),
}
if bpf.probe() is None:
    METERS["bpf"] = ("--cgroup", "off", "--meter-backend", "bpf")


@pytest.fixture(params=METERS)
def metered(request: pytest.FixtureRequest, make_daemon: Callable[..., Daemon]) -> Daemon:
    """A daemon with cgroups of either version where there are any, and such as must do without."""
    return make_daemon(*METERS[request.param]).start()


def test_the_daemon_says_what_it_meters_with(metered: Daemon) -> None:
    token = start_python(metered.calls, "import time\nwhile True: time.sleep(0.01)")
    info = metered.calls.GetServerInfo()
    source = usage_pb2.MetricsSource.Value(f"METRICS_SOURCE_{info.cpu_source.upper()}")
    wait_until(lambda: status_of(metered.calls, token).metrics.source == source, f"it is metered by {info.cpu_source}")
    if "--meter-backend" in metered.options:
        assert info.meter_backend == info.cpu_source == metered.options[-1]


@pytest.mark.parametrize(("count", "seconds"), [(1000, 0.002), (8, 0.25)])
def test_cpu_of_children_that_exit_agrees_with_getrusage(metered: Daemon, count: int, seconds: float) -> None:
    calls = metered.calls
    answer = calls.StartTask(spec={"command": {"argv": [sys.executable, "-S", "-c", CHILDREN, str(count), str(seconds)]}})
    ended = end_of(calls, answer.token, 60)
    assert ended.exit_code == 0
    truth = json.loads(read(calls, answer.token))
    assert ended.metrics.cpu_time_ns / 1e9 == pytest.approx(truth, rel=0.02)
    assert ended.tokens.cpu_ns == ended.metrics.cpu_time_ns
    assert ended.tokens.cpu_utilization == pytest.approx(ended.tokens.cpu_ns / 3.6e12 * 1020)


def test_forks_that_share_memory_are_not_billed_for_each(metered: Daemon) -> None:
    calls = metered.calls
    token = start_python(calls, SHARED)
    wait_for_output(calls, token, b"up")
    metrics = wait_until(
        lambda: (found := status_of(calls, token).metrics).process_count >= 5 and found.memory_bytes > 150 * MIB and found,
        "five processes are metered",
    )
    seen = wait_until(lambda: abs(status_of(calls, token).metrics.memory_bytes / MIB - 215) < 35, "about 200 MiB, once")
    assert seen
    assert metrics.memory_source in (usage_pb2.MEMORY_SOURCE_CGROUP, usage_pb2.MEMORY_SOURCE_PSS)
    calls.Terminate(token=token, immediate=True)
    ended = end_of(calls, token)
    assert ended.metrics.peak_memory_bytes < 500 * MIB, "and not 1,000"
    assert ended.metrics.peak_memory_bytes >= 190 * MIB


def test_a_written_file_is_not_billed_as_memory(metered: Daemon) -> None:
    calls = metered.calls
    token = start_python(calls, WRITER)
    wait_for_output(calls, token, b"up")
    wait_until(lambda: status_of(calls, token).metrics.sample_time > 0, "it is metered")
    calls.Terminate(token=token, immediate=True)
    ended = end_of(calls, token)
    assert ended.metrics.peak_memory_bytes < 60 * MIB
    assert ended.metrics.io_write_bytes >= 0


def test_the_bill_survives_kill_9_of_the_daemon(daemon: Daemon) -> None:
    burn = "import sys, time\nwhile time.process_time() < 2.0: pass\nprint('up', flush=True)\nimport signal; signal.pause()"
    token = start_python(daemon.calls, burn)
    wait_for_output(daemon.calls, token, b"up")
    before = wait_until(lambda: (t := status_of(daemon.calls, token).tokens).cpu_ns > 1.9e9 and t, "two seconds are billed")
    daemon.kill9()
    daemon.start()
    after = status_of(daemon.calls, token)
    assert after.state == task_pb2.TASK_STATE_RUNNING
    assert after.tokens.cpu_ns >= before.cpu_ns
    daemon.calls.Terminate(token=token, immediate=True)
    ended = end_of(daemon.calls, token)
    assert ended.tokens.cpu_ns >= after.tokens.cpu_ns and ended.tokens.cpu_ns < 4e9
    assert ended.tokens.memory_byte_seconds >= before.memory_byte_seconds
    assert ended.metrics.gap


def test_a_task_of_an_instant_has_numbers(metered: Daemon) -> None:
    ended = end_of(metered.calls, start_python(metered.calls, "pass"))
    assert ended.metrics.cpu_time_ns > 1e6 and ended.metrics.peak_memory_bytes > MIB
    assert ended.metrics.peak_cpu_percent >= ended.metrics.avg_cpu_percent > 0
    assert ended.metrics.source != usage_pb2.METRICS_SOURCE_UNSPECIFIED


def test_progress_counters_and_text_show_while_it_runs_and_after(metered: Daemon) -> None:
    code = """
import os, signal, sys
from taskmeter.work import current
task = current()
task.progress(total=10, total_size=1000)
task.add(4, 100); task.fail(1); task.status("reading"); task.object("page ü")
print("up", flush=True)
signal.pause()
"""
    import os

    calls = metered.calls
    token = start_python(calls, code, env={"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)})
    wait_for_output(calls, token, b"up")
    status = wait_until(lambda: (s := status_of(calls, token)).completed_count == 4 and s, "progress is seen")
    assert (status.total_count, status.failed_count, status.total_size, status.completed_size) == (10, 1, 1000, 100)
    assert (status.status, status.current_object) == ("reading", "page ü")
    calls.Terminate(token=token, immediate=True)
    ended = end_of(calls, token)
    assert (ended.total_count, ended.completed_count, ended.status) == (10, 4, "reading")


def test_an_unwritable_report_or_meter_page_harms_no_one(metered: Daemon, tmp_path: Path) -> None:
    calls = metered.calls
    code = "import os; path = os.environ['TASKMETER_TASK_DIR'] + '/report'; os.truncate(path, 0); print('up', flush=True)"
    token = start_python(calls, code + "\nimport signal; signal.pause()")
    wait_for_output(calls, token, b"up")
    wait_until(lambda: status_of(calls, token).metrics.sample_time > 0, "it is metered all the same")
    assert calls.GetServerInfo().pid == metered.pid, "a truncated page under our mapping must not be a SIGBUS"
    calls.Terminate(token=token, immediate=True)
    assert end_of(calls, token).outcome == task_pb2.TASK_OUTCOME_CANCELLED
