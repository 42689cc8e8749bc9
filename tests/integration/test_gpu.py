"""A task on a GPU, from the driver to the bill: a real daemon on a driver that is played by a library compiled from C."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from taskmeter.v1 import task_pb2
from tests.daemon import Daemon
from tests.integration.helpers import end_of, start, status_of
from tests.native.gpus import FakeNvml, build
from tests.waiting import wait_until

MIB = 2**20
GPUS = ("count 2", "uuid 1 GPU-one", "name 1 Fake One")


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("nvml"))


@pytest.fixture
def nvml(built: Path, tmp_path: Path) -> FakeNvml:
    made = FakeNvml(tmp_path / "nvml", built)
    made.play(*GPUS)
    return made


@pytest.fixture(params=["auto", "off"], ids=["cgroup", "procfs"])
def daemon(request: pytest.FixtureRequest, make_daemon: Callable[..., Daemon], nvml: FakeNvml) -> Daemon:
    return make_daemon("--cgroup", request.param, env=nvml.environment).start()


def busy_task(daemon: Daemon, nvml: FakeNvml) -> str:
    """Start a task whose process the driver says computes on GPU 1; return its token."""
    token = start(daemon.calls, "sleep", "600")
    pid = wait_until(lambda: status_of(daemon.calls, token).pid, "it runs")
    nvml.play(*GPUS, f"compute 1 {pid} {300 * MIB}", f"busy 1 {pid} 60")
    return token


def status_when(daemon: Daemon, token: str, condition: Callable[[task_pb2.TaskStatus], object], what: str) -> task_pb2.TaskStatus:
    def look() -> task_pb2.TaskStatus | None:
        status = status_of(daemon.calls, token)
        return status if condition(status) else None

    return wait_until(look, what, 30)


def test_a_task_on_a_gpu_is_shown_billed_and_kept_through_kill9_and_its_end(daemon: Daemon, nvml: FakeNvml) -> None:
    token = busy_task(daemon, nvml)
    status = status_when(daemon, token, lambda now: now.tokens.gpu_memory > 0 and now.tokens.gpu_ns > 0, "the GPU is billed")
    metrics = status.metrics
    assert (metrics.gpu_memory_mb, metrics.gpu_utilization_percent) == (300.0, 60.0)
    assert (metrics.peak_gpu_memory_mb, metrics.peak_gpu_utilization_percent) == (300.0, 60.0)
    assert 0 < metrics.avg_gpu_memory_mb <= 300
    (gpu,) = metrics.gpus
    assert (gpu.index, gpu.uuid, gpu.name) == (1, "GPU-one", "Fake One")
    assert (gpu.memory_bytes, gpu.utilization_percent) == (300 * MIB, 60.0)

    daemon.restart()
    again = status_of(daemon.calls, token)
    # The meter page is at most a second old.
    assert again.tokens.gpu_memory_byte_seconds >= status.tokens.gpu_memory_byte_seconds - 2 * 300 * MIB
    more = status_when(
        daemon,
        token,
        lambda now: now.tokens.gpu_memory > status.tokens.gpu_memory and now.tokens.gpu_ns > status.tokens.gpu_ns,
        "the bill goes on",
    )
    daemon.calls.Terminate(token=token)
    final = end_of(daemon.calls, token)
    assert final.tokens.gpu_memory_byte_seconds >= more.tokens.gpu_memory_byte_seconds
    assert final.tokens.gpu_ns >= more.tokens.gpu_ns
    assert final.metrics.peak_gpu_memory_mb == 300.0
    assert final.metrics.peak_gpu_utilization_percent == 60.0
    assert final.tokens.total == pytest.approx(final.tokens.cpu_utilization + final.tokens.cpu_memory + final.tokens.gpu_memory)
    daemon.restart()
    kept = status_of(daemon.calls, token)
    assert (kept.metrics, kept.tokens) == (final.metrics, final.tokens)


def test_the_command_line_shows_gpus_while_they_are_used(make_daemon: Callable[..., Daemon], nvml: FakeNvml) -> None:
    daemon = make_daemon(env=nvml.environment).start()
    token = busy_task(daemon, nvml)
    status_when(daemon, token, lambda now: now.metrics.gpus and now.tokens.gpu_ns > 0, "it is measured")
    shown = daemon.cli("status", token).stdout
    assert "GPU 1 60" in shown
    assert "peak 300" in shown
    assert "busy at most 60" in shown
    view = json.loads(daemon.cli("status", token, "--json").stdout)
    assert view["metrics"]["gpu_memory_mb"] == 300.0
    assert [gpu["name"] for gpu in view["metrics"]["gpus"]] == ["Fake One"]
    assert json.loads(daemon.cli("bill", "--json").stdout)["total"]["gpu_gib_hours"] > 0
    doctor = daemon.cli("doctor", env=nvml.environment).stdout
    assert "2: Fake GPU, Fake One" in doctor
    assert "switched off" in daemon.cli("doctor", env={"TASKMETER_GPU": "off"}).stdout


def test_a_driver_that_hangs_stops_neither_the_daemon_nor_its_other_figures(
    make_daemon: Callable[..., Daemon], nvml: FakeNvml
) -> None:
    daemon = make_daemon(env=nvml.environment).start()
    token = busy_task(daemon, nvml)
    status_when(daemon, token, lambda now: now.metrics.gpus, "it is measured")
    nvml.play(*GPUS, "hang DeviceGetCount")
    hung = status_when(daemon, token, lambda now: not now.metrics.HasField("gpu_memory_mb"), "it is absent")
    assert not hung.metrics.gpus
    assert hung.metrics.peak_gpu_memory_mb == 300.0
    assert hung.metrics.process_count == 1
    daemon.calls.Terminate(token=token)
    assert end_of(daemon.calls, token).tokens.gpu_memory > 0
    assert daemon.stop() == 0, "it does not wait for the driver"


def test_gpus_are_left_alone_when_told_so_and_where_there_is_no_driver(
    make_daemon: Callable[..., Daemon], nvml: FakeNvml
) -> None:
    for env in ({**nvml.environment, "TASKMETER_GPU": "off"}, {"TASKMETER_NVML_LIBRARY": "/no/such/library.so"}):
        daemon = make_daemon(env=env).start()
        token = start(daemon.calls, "sleep", "600")
        status = status_when(daemon, token, lambda now: now.metrics.process_count == 1, "it is measured")
        assert not status.metrics.HasField("gpu_memory_mb")
        names = {(task / "comm").read_text().strip() for task in Path(f"/proc/{daemon.pid}/task").iterdir()}
        assert "tm-gpu" not in names
        assert "tm-sampler" in names
