"""One server with its subscribers, each in a process of its own, pinned."""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
import tempfile
from bisect import bisect_left
from pathlib import Path
from typing import Any, NamedTuple

from bench import harness

PATH = "/taskmeter.v1.TaskService/StreamEvents"
KEY = "tm_admin_0123456789012345678901234567890123456789012"
_RECORD = struct.Struct("=QQII")
_SOURCE = Path(__file__).with_name("reader.c")


class Found(NamedTuple):
    """What one run came to."""

    events_per_second: float
    delivered_per_second: float
    cpu_us: float
    """Server CPU per delivery."""
    busy: float
    """Share of a core that the server used."""
    reader_busy: float
    p50_ms: float
    p99_ms: float
    events_per_message: float


def compile_reader(directory: Path) -> Path:
    """Build the load generator."""
    program = directory / "reader"
    subprocess.run(["gcc", "-O2", "-o", str(program), str(_SOURCE)], check=True)
    return program


class Side:
    """A server process; `open` gives it subscribers."""

    def __init__(self, module: str, *switches: str) -> None:
        self.home = tempfile.TemporaryDirectory(prefix="tm-fanout-")
        self.directory = Path(self.home.name)
        self.program = compile_reader(self.directory)
        command = [sys.executable, "-m", module, str(self.directory), KEY, *switches]
        self.server = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self.server.stdout is not None
        said = self.server.stdout.readline().split()
        assert said[:1] == ["ready"], said
        self.token = said[1] if len(said) > 1 else ""
        harness.pin(self.server.pid, harness.SERVER_CPU)
        self.opened_count = 0

    def subscribers(self, count: int, *, connections: int = 0, stalled: int = 0, request: bytes = b"") -> Subscribers:
        """Open so many streams, by default ten on a connection."""
        each = connections or max(1, max(count, stalled) // 10)
        return Subscribers(self, count, each, stalled, request)

    def produce(self, rate: float, seconds: float, block: int) -> dict[str, Any]:
        """Have the server make events; see producer.py."""
        assert self.server.stdin is not None
        assert self.server.stdout is not None
        print("produce", rate, seconds, block, file=self.server.stdin, flush=True)
        found: dict[str, Any] = json.loads(self.server.stdout.readline())
        return found

    def close(self) -> None:
        assert self.server.stdin is not None
        self.server.stdin.close()
        self.server.wait(30)
        self.home.cleanup()


class Subscribers:
    """Streams that are open, in one process of C."""

    def __init__(self, side: Side, count: int, connections: int, stalled: int, request: bytes) -> None:
        self.side = side
        self.count = count
        side.opened_count += 1
        self.path = side.directory / f"records-{side.opened_count}"
        socket = str(side.directory / "bench.sock")
        numbers = [str(connections), str(count), str(stalled)]
        command = [str(side.program), socket, KEY, PATH, request.hex(), *numbers, str(self.path)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        cpus = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(self.process.pid, {cpus[harness.CLIENT_CPU % len(cpus)]})
        assert self.process.stdout is not None
        said = self.process.stdout.readline().split()
        assert said[:1] == ["open"], said
        self.open_ms = float(said[1])

    def run(self, rate: float, seconds: float, block: int) -> Found:
        """Have events made, and say how they arrived. Ends the streams."""
        reader_cpu = harness.cpu_seconds(self.process.pid)
        made = self.side.produce(rate, seconds, block)
        reader_cpu = harness.cpu_seconds(self.process.pid) - reader_cpu
        self.close(keep_records=True)
        data = self.path.read_bytes()
        self.path.unlink()
        return _summary(made, reader_cpu, data, self.count)

    def close(self, *, keep_records: bool = False) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        assert self.process.wait(30) == 0
        if not keep_records:
            self.path.unlink()


def _summary(made: dict[str, Any], reader_cpu: float, data: bytes, count: int) -> Found:
    """Every stamp that a message reaches was delivered by it: its lateness is from the commit to the message's arrival."""
    stamps: list[tuple[int, int]] = [(seq, at) for seq, at in made["stamps"]]
    seqs = [seq for seq, _ in stamps]
    reached = [0] * count
    delivered = messages = 0
    late_ms: list[float] = []
    for at, seq, stream, events in _RECORD.iter_unpack(data):
        if not events or stream >= count:
            continue
        delivered += events
        messages += 1
        index = bisect_left(seqs, seq + 1)
        late_ms += [(at - stamps[each][1]) / 1e6 for each in range(reached[stream], index)]
        reached[stream] = index
    seconds = made["seconds"]
    return Found(
        made["events"] / seconds,
        delivered / seconds,
        made["cpu_seconds"] / max(1, delivered) * 1e6,
        made["cpu_seconds"] / seconds,
        reader_cpu / seconds,
        harness.percentile(late_ms or [0.0], 50),
        harness.percentile(late_ms or [0.0], 99),
        delivered / max(1, messages),
    )
