"""The core's meter on the native sampler: one slot per running attempt, one settlement per ended one."""

from __future__ import annotations

from math import inf
from time import monotonic, time
from typing import Any, Literal

from metercore.gpu import GpuMonitor
from metercore.historyfile import read_history
from metercore.reading import Reading
from metercore.sampler import DEFAULT_HZ, Sampler, SamplerStats
from metercore.settle import settle_files
from metercore.tariff import Tariff as NativeTariff
from taskmeter.core.ports import Ended, Gone, MeterSource
from taskmeter.metering.activity import Activity, Signs, output_bytes, report_checksum
from taskmeter.metering.reported import REPORT_BYTES, keep_report, read_progress, take_report
from taskmeter.model.report import Report
from taskmeter.model.resources import Gpu
from taskmeter.model.usage import (
    GpuUse,
    Integrals,
    MemorySource,
    Metrics,
    MetricsHistory,
    MetricsPoint,
    MetricsSource,
    Progress,
    Tariff,
    Usage,
)

GPU_RETRY_SECONDS = 300.0
"""How long after a try that found no driver a new task makes the next one."""


class LocalMeter:
    """Sample attempts of this host; implements `taskmeter.core.ports.Meter`. Used from one thread.

    `backend` forces how processes without a cgroup are read; "auto" chooses. `gpu="off"` leaves GPUs alone; where there are none,
    "auto" costs a look for the driver's library at the start, and a rare one later.
    """

    def __init__(
        self,
        *,
        hz: float = DEFAULT_HZ,
        backend: str = "auto",
        measure_uss: bool = False,
        gpu: Literal["auto", "off"] = "auto",
    ) -> None:
        self._sampler = Sampler(hz, backend=backend, measure_uss=measure_uss)
        self._handles: dict[str, int] = {}
        self._activity = Activity()
        self._gpus: GpuMonitor | None = None
        self._next_gpu_try = 0.0 if gpu == "auto" else inf
        self._watch_gpus()

    def open(self, token: str, source: MeterSource, tariff: Tariff, total_count: int, total_size: int) -> None:
        """Start sampling, or go on from the attempt's meter page. A first sample is taken at once."""
        self._watch_gpus()
        if token not in self._handles:
            self._handles[token] = self._sampler.open(
                source.shim_pid,
                source.main_pid,
                source.directory,
                cgroup_v2=source.cgroup_v2,
                cgroup_v1_memory=source.cgroup_v1_memory,
                cgroup_v1_cpuacct=source.cgroup_v1_cpuacct,
                total_count=total_count,
                total_size=total_size,
                tariff=_native(tariff),
                attached=source.attached,
                include_descendants=source.include_descendants,
                main_start_ticks=source.main_start_ticks,
                external=source.external,
            )

    def is_open(self, token: str) -> bool:
        """Tell whether the token's attempt is being sampled."""
        return token in self._handles

    def hot(self, token: str) -> bytes:
        """The changing fields of TaskStatus, encoded; b"" if not open."""
        handle = self._handles.get(token)
        return b"" if handle is None else self._sampler.hot(handle)

    def version(self, token: str) -> int:
        """Grows when `hot` shows something new; 0 if not open."""
        handle = self._handles.get(token)
        return 0 if handle is None else self._sampler.version(handle)

    def is_ready(self, token: str) -> bool:
        """The work announced that it is ready, as of the last tick."""
        handle = self._handles.get(token)
        return handle is not None and self._sampler.is_ready(handle)

    def idle_seconds(self, token: str, directory: str, reported: int = 0) -> float:
        """For how long the attempt has given no sign of work, as of its newest sample; 0 if it is not being sampled."""
        handle = self._handles.get(token)
        if handle is None:
            return 0.0
        reading = self._sampler.read(handle)
        signs = Signs(
            reading.cpu_ns,
            (reading.io_read_bytes or 0) + (reading.io_write_bytes or 0),
            output_bytes(directory),
            report_checksum(directory, REPORT_BYTES, reported),
        )
        return self._activity.idle_seconds(directory, signs, max(0.0, time() - reading.sample_time))

    def take_report(self, directory: str, report: Report) -> bytes:
        """Return the attempt's reports with one more among them; the room they need on disk is there then."""
        return take_report(directory, report)

    def keep_report(self, token: str, directory: str, reports: bytes) -> None:
        """Keep what `take_report` returned, in place of the reports before, and have the sampler read it."""
        keep_report(directory, reports)
        handle = self._handles.get(token)
        if handle is not None:
            self._sampler.note_report(handle)

    def set_earlier(self, token: str, earlier: Integrals) -> None:
        """Integrals of earlier attempts, added to the tokens that `hot` shows. Nothing if not open."""
        handle = self._handles.get(token)
        if handle is not None:
            self._sampler.set_earlier(
                handle,
                earlier.cpu_ns,
                earlier.memory_byte_ns2,
                gpu_memory_byte_ns2=earlier.gpu_memory_byte_ns2,
                gpu_ns=earlier.gpu_ns,
                custom=earlier.custom,
            )

    def settle(self, token: str, directory: str, ended: Ended | None, gone: Gone | None) -> Usage:
        """Take the last sample, close the slot, and return the attempt's final usage. Works for attempts never opened.

        CPU is the highest of what was sampled, the cgroup's total, and, without a cgroup, the rusage of everything reaped. An
        attempt that was never sampled has memory from its largest process's maximum resident size (metercore/settle.pyx). One
        that failed to start used nothing.
        """
        handle = self._handles.pop(token, None)
        self._activity.forget(directory)
        if handle is None and ended is not None and ended.failed_to_start:
            return Usage(Metrics(), Integrals(), Progress())
        start_time = ended.start_time if ended is not None else 0.0
        end_time = gone.time if gone is not None else ended.end_time if ended is not None else 0.0
        facts = gone or _NOTHING
        ending: dict[str, Any] = {
            "start_time": start_time,
            "end_time": end_time,
            "reaped_cpu_ns": facts.reaped_cpu_ns,
            "cgroup_cpu_ns": facts.cgroup_cpu_ns,
            "max_rss_bytes": facts.max_rss_bytes,
            "read_bytes": facts.read_bytes,
            "write_bytes": facts.write_bytes,
            "kernel_peak_memory_bytes": facts.kernel_peak_memory_bytes,
            "minor_fault_count": facts.minor_fault_count,
            "major_fault_count": facts.major_fault_count,
            "voluntary_switch_count": facts.voluntary_switch_count,
            "involuntary_switch_count": facts.involuntary_switch_count,
        }
        reading = settle_files(directory, **ending) if handle is None else self._sampler.finish(handle, **ending)
        progress = read_progress(directory)
        integrals = Integrals(
            reading.cpu_ns, reading.memory_byte_ns2, reading.gpu_memory_byte_ns2, reading.gpu_ns, dict(progress.custom)
        )
        return Usage(_metrics(reading, self._gpu_uses(reading)), integrals, progress)

    def history(self, token: str, directory: str, from_time: float, to_time: float, resolution_seconds: float) -> MetricsHistory:
        """Use over time of the attempt in `directory`, up to this moment if it is open; empty if there is nothing of it.

        One read of at most 128 kB, most likely from memory: it is done in place.
        """
        handle = self._handles.get(token)
        if handle is None:
            seconds, points = read_history(directory, from_time, to_time, resolution_seconds)
        else:
            seconds, points = self._sampler.history(handle, from_time, to_time, resolution_seconds)
        return MetricsHistory(seconds, tuple(map(MetricsPoint._make, points)))

    @property
    def backend(self) -> str:
        """How processes without a cgroup are read now."""
        return self._sampler.backend

    def stats(self) -> SamplerStats:
        """What the sampler itself did and cost so far."""
        return self._sampler.stats()

    def close(self) -> None:
        """Stop sampling; meter pages keep what was billed."""
        self._sampler.close()
        if self._gpus is not None:
            self._gpus.close()
        self._handles.clear()

    def gpus(self) -> tuple[Gpu, ...]:
        """Return the GPUs that can be given to tasks; empty while the driver does not answer."""
        self._watch_gpus()
        found = self._gpus.gpus if self._gpus is not None else ()
        return tuple(Gpu(gpu.uuid or str(gpu.index), gpu.memory_bytes) for gpu in found if not gpu.lost)

    def wait_for_gpus(self, seconds: float) -> None:
        """Return when the driver has answered or failed, at once where there is none; after `seconds` at most."""
        deadline = monotonic() + seconds
        while self._gpus is not None and self._gpus.state == "starting" and (left := deadline - monotonic()) > 0:
            self._gpus.wait(left)

    def _watch_gpus(self) -> None:
        """Begin to watch GPUs if there is a driver, and nobody has just looked for one."""
        if self._gpus is not None or monotonic() < self._next_gpu_try:
            return
        self._next_gpu_try = monotonic() + GPU_RETRY_SECONDS
        try:
            monitor = GpuMonitor()
        except (OSError, ValueError):  # no thread left, or a name that cannot be one: tasks run all the same
            return
        if monitor.state == "absent":
            monitor.close()
        else:
            self._gpus = monitor
            self._sampler.watch_gpus(monitor)

    def _gpu_uses(self, reading: Reading) -> tuple[GpuUse, ...]:
        return tuple(
            GpuUse(index, *self._sampler.gpu_name(index), memory_bytes, percent) for index, memory_bytes, percent in reading.gpus
        )


_NOTHING = Gone(0.0, 0, 0, 0, 0, None, None, 0)


def _metrics(reading: Reading, gpus: tuple[GpuUse, ...]) -> Metrics:
    return Metrics(
        cpu_percent=reading.cpu_percent,
        peak_cpu_percent=reading.peak_cpu_percent,
        avg_cpu_percent=reading.avg_cpu_percent,
        cpu_cores=reading.cpu_cores,
        cpu_time_ns=reading.cpu_ns,
        memory_bytes=reading.memory_bytes,
        peak_memory_bytes=reading.peak_memory_bytes,
        avg_memory_bytes=reading.avg_memory_bytes,
        io_read_bytes=reading.io_read_bytes,
        io_write_bytes=reading.io_write_bytes,
        process_count=reading.process_count,
        thread_count=reading.thread_count,
        source=MetricsSource(reading.source),
        memory_source=MemorySource(reading.memory_source),
        sample_time=reading.sample_time,
        interval_seconds=reading.interval_seconds,
        gap=reading.gap,
        pss_bytes=reading.pss_bytes,
        kernel_peak_memory_bytes=reading.kernel_peak_memory_bytes,
        uss_bytes=reading.uss_bytes,
        recent_peak_cpu_percent=reading.recent_peak_cpu_percent,
        recent_peak_memory_bytes=reading.recent_peak_memory_bytes,
        open_file_count=reading.open_file_count,
        voluntary_switch_count=reading.voluntary_switch_count,
        involuntary_switch_count=reading.involuntary_switch_count,
        minor_fault_count=reading.minor_fault_count,
        major_fault_count=reading.major_fault_count,
        cpu_pressure_percent=reading.cpu_pressure_percent,
        memory_pressure_percent=reading.memory_pressure_percent,
        io_pressure_percent=reading.io_pressure_percent,
        gpu_memory_bytes=reading.gpu_memory_bytes,
        peak_gpu_memory_bytes=reading.peak_gpu_memory_bytes,
        avg_gpu_memory_bytes=reading.avg_gpu_memory_bytes,
        gpu_utilization_percent=reading.gpu_utilization_percent,
        peak_gpu_utilization_percent=reading.peak_gpu_utilization_percent,
        gpus=gpus,
    )


def _native(tariff: Tariff) -> NativeTariff:
    return NativeTariff(
        tariff.name,
        tariff.version,
        per_core_hour=tariff.per_core_hour,
        per_gib_hour=tariff.per_gib_hour,
        per_gpu_gib_hour=tariff.per_gpu_gib_hour,
        per_gpu_second=tariff.per_gpu_second,
        custom=tariff.custom,
    )
