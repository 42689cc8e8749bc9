"""What does it cost to do nothing: an idle daemon, and a thousand idle running tasks?

Processor time over windows of several seconds: without tasks; with 1,000 running tasks sampled at 10 Hz; the same with one
subscriber to all their statuses at 1 Hz. Memory of the daemon and of the shims. Targets: ≤ 0.5 % of a core and ≤ 60 MB idle,
≤ 5 % with tasks and subscriber, shim ≤ 0.2 MB (RssAnon + page tables).
"""

from __future__ import annotations

import threading
import time
from statistics import fmean

import grpc

from bench import harness
from tests import processes
from tests.calls import Calls
from tests.daemon import Daemon
from tests.waiting import wait_until

TASKS = harness.full(1000, quick=20)
WINDOWS = harness.full(4, quick=1)
WINDOW_SECONDS = harness.full(8.0, quick=0.5)
SETTLE_SECONDS = harness.full(3.0, quick=0.5)


def busy_percent(daemon: Daemon, windows: int = WINDOWS, seconds: float = WINDOW_SECONDS) -> list[float]:
    """Return the daemon's share of one core in each window, in percent."""
    time.sleep(SETTLE_SECONDS)
    shares = []
    for _ in range(windows):
        before, begin = harness.cpu_seconds(daemon.pid), time.perf_counter()
        time.sleep(seconds)
        shares.append((harness.cpu_seconds(daemon.pid) - before) / (time.perf_counter() - begin) * 100)
    return shares


class Subscriber:
    """Reads a stream of statuses and counts them."""

    def __init__(self, daemon: Daemon) -> None:
        self._channel = grpc.insecure_channel(daemon.target)
        self._call = Calls(self._channel, daemon.key).StreamEvents(
            snapshot_first=True, include_status=True, status_interval_seconds=1.0
        )
        self.status_count = 0
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    def _read(self) -> None:
        try:
            for message in self._call:
                self.status_count += len(message.statuses)
        except grpc.RpcError:
            pass  # cancelled

    def close(self) -> None:
        self._call.cancel()
        self._thread.join()
        self._channel.close()


def main() -> None:
    rows: list[tuple[str, str, str]] = []
    with Daemon("--max-running", str(2 * TASKS)) as daemon:
        idle = busy_percent(daemon)
        memory = harness.status_kib(daemon.pid, "VmRSS") / 1024, harness.pss_kib(daemon.pid) / 1024
        rows += [
            ("daemon, no tasks: share of a core", harness.spread(idle, ".3f") + " %", "≤ 0.5 %"),
            ("daemon, no tasks: RSS / PSS", f"{memory[0]:.1f} / {memory[1]:.1f} MiB", "≤ 60 MB"),
        ]
        calls = daemon.calls
        spec = {"command": {"argv": ["sleep", "3600"]}}
        tokens = [calls.StartTask(spec=spec).token for _ in range(TASKS)]
        wait_until(lambda: calls.ListTasks(states=[3], page_size=1).total_count == TASKS, "all tasks run", 60)
        info = calls.GetServerInfo()
        alone = busy_percent(daemon)
        subscriber = Subscriber(daemon)
        before = subscriber.status_count
        watched = busy_percent(daemon)
        seconds = SETTLE_SECONDS + WINDOWS * WINDOW_SECONDS
        pushed = (subscriber.status_count - before) / seconds
        subscriber.close()
        grown = harness.pss_kib(daemon.pid) - memory[1] * 1024
        shims = [pid for pid, command in processes.of_state_dir(daemon.state_dir).items() if "taskmeter-shim" in command]
        shim_kib = [harness.status_kib(pid, "RssAnon", "VmPTE") for pid in shims]
        shim_pss = [harness.pss_kib(pid) for pid in shims[:50]]
        rows += [
            (f"{TASKS} idle tasks at {info.sample_rate_hz:g} Hz: share of a core", harness.spread(alone, ".2f") + " %", ""),
            ("the same with one subscriber to all at 1 Hz", harness.spread(watched, ".2f") + " %", "≤ 5 %"),
            ("statuses pushed to it per second", f"{pushed:.1f}", "what does not change is not sent"),
            ("daemon: PSS more per running task", f"{grown / TASKS:.1f} KiB", "≤ 8 kB"),
            (
                f"shim: RssAnon + VmPTE, {len(shims)} shims",
                f"{fmean(shim_kib):.0f} KiB (max {max(shim_kib)})",
                "≤ 200 kB",
            ),
            ("shim: PSS", f"{fmean(shim_pss):.0f} KiB", ""),
        ]
        assert len(tokens) == len(shims) == TASKS
    harness.heading("What does it cost to do nothing?")
    print(f"Windows of {WINDOW_SECONDS:g} s; CPU metered by {info.cpu_source}, memory by {info.memory_source}. Median (range).\n")
    harness.table(["", "measured", "target"], rows)


if __name__ == "__main__":
    main()
