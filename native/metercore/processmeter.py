"""One process and what descends from it, metered in the program that asks: no daemon, no shim, no files."""

from __future__ import annotations

import errno
import os
import select
import threading
from time import monotonic
from typing import TYPE_CHECKING, Self

from metercore import procfs
from metercore.sampler import Sampler

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

    from metercore.gpu import GpuMonitor
    from metercore.reading import Reading

LONGEST_SECONDS = 86400.0


def _find(pid: int) -> procfs.ProcStat:
    """Read who has this pid now. Raises ProcessLookupError, PermissionError, ValueError."""
    if pid <= 0:
        raise ValueError("a pid is greater than 0")
    try:
        found = procfs.read_stat(pid)
    except FileNotFoundError:
        os.kill(pid, 0)  # raises, unless it is there and procfs hides it
        raise PermissionError(errno.EACCES, "procfs hides this process", str(pid)) from None
    if found.state in "ZX":
        raise ProcessLookupError(errno.ESRCH, "this process has ended", str(pid))
    return found


class ProcessMeter:
    """Meter a process, with its descendants unless they are left out; also a context manager.

    CPU, IO, averages and peaks count from the moment the meter was made; memory and counts are as of each look. Descendants are
    found by their parents: one that was orphaned before anybody looked (a daemon that forks twice) is not among them. What a
    process used between the last look and its end counts if a process of the tree waited for it, or if nobody has yet.

    Without `hz` each `sample` looks anew, in the calling thread, and peaks are the highest of these looks. With it, a native
    thread looks so often (0.1 to 20 times a second), and `sample` costs a copy. `backend` is as for `Sampler`; `measure_uss`
    reads unique set sizes too, and `gpus` says whose GPU use to add. Any thread may ask.

    Raises ProcessLookupError when there is no such process or it has ended, PermissionError when procfs hides it, ValueError,
    and OSError for a back end that does not work here. What only its owner or root may read is None for others: IO, and
    shares of memory, without which pages that several processes share count in each of them.

    >>> with ProcessMeter(os.getpid()) as meter:
    ...     reading = meter.sample()
    >>> reading.process_count >= 1, reading.memory_bytes > 0, reading.cpu_ns >= 0
    (True, True, True)
    """

    def __init__(
        self,
        pid: int,
        *,
        include_descendants: bool = True,
        backend: str = "auto",
        hz: float | None = None,
        measure_uss: bool = False,
        gpus: GpuMonitor | None = None,
    ) -> None:
        self._pid = pid
        self._start_ticks = _find(pid).start_ticks
        self._hz = hz
        self._lock = threading.Lock()
        self._final: Reading | None = None
        sampler = Sampler(**({} if hz is None else {"hz": hz}), start=False, backend=backend, measure_uss=measure_uss)
        if gpus is not None:
            sampler.watch_gpus(gpus)
        self._handle = sampler.open(
            0, pid, attached=True, include_descendants=include_descendants, main_start_ticks=self._start_ticks
        )
        sampler.look()  # who is found now counts from now
        if hz is not None:
            sampler.start()
        self._sampler: Sampler | None = sampler

    @property
    def pid(self) -> int:
        """Of the process that was asked for."""
        return self._pid

    @property
    def backend(self) -> str:
        """What the newest look was made with: "bpf", "clock" or "procfs". Raises ValueError after `close`."""
        return self._open().backend

    def is_running(self) -> bool:
        """Tell whether the process itself runs: the same one, whoever has its pid by now; a zombie does not."""
        try:
            return _find(self._pid).start_ticks == self._start_ticks
        except (ProcessLookupError, PermissionError):
            return False

    def sample(self) -> Reading:
        """Look at the tree, and return what is known.

        The CPU use of a moment is that since the look before, over at least 100 ms. Raises ProcessLookupError when nobody of the
        tree is left: `close` says what it used; ValueError after that.
        """
        reading, ended = self._look()
        if ended:
            raise ProcessLookupError(errno.ESRCH, "all of this process tree has ended", str(self._pid))
        return reading

    def watch(self, interval_seconds: float = 1.0) -> Iterator[Reading]:
        """Yield a reading now, after each interval, and one more as soon as the process itself ends.

        Raises ValueError unless the interval is 0.001 to 86400 s, ProcessLookupError when the process has ended already.
        """
        if not 0.001 <= interval_seconds <= LONGEST_SECONDS:
            raise ValueError(f"an interval is 0.001 to {LONGEST_SECONDS:g} s")
        return self._watch(interval_seconds)

    def close(self) -> Reading:
        """Stop metering after a last look; return what is known in the end, each time."""
        with self._lock:
            if self._final is None:
                sampler = self._open()
                sampler.close()
                sampler.look()
                self._final = sampler.finish(self._handle)
                self._sampler = None
            return self._final

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def _open(self) -> Sampler:
        if self._sampler is None:
            raise ValueError("the meter is closed")
        return self._sampler

    def _look(self) -> tuple[Reading, bool]:
        """What is known, and whether everybody has ended."""
        with self._lock:
            sampler = self._open()
            if self._hz is None:
                sampler.look()
            return sampler.read(self._handle), sampler.is_empty(self._handle)

    def _watch(self, interval_seconds: float) -> Iterator[Reading]:
        descriptor = os.pidfd_open(self._pid)
        try:
            if not self.is_running():
                raise ProcessLookupError(errno.ESRCH, "this process has ended", str(self._pid))
            end = select.poll()
            end.register(descriptor, select.POLLIN)
            due = monotonic()
            while True:
                yield self._look()[0]
                due = max(due + interval_seconds, monotonic())
                if end.poll(max(1000.0 * (due - monotonic()), 0.0)):
                    break
        finally:
            os.close(descriptor)
        yield self._look()[0]
