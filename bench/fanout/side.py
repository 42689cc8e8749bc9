"""One server with its subscribers, each in a process of its own, pinned."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from array import array
from bisect import bisect_left
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from bench import harness
from bench.fanout.producer import Marks

KEY = "tm_admin_0123456789012345678901234567890123456789012"
_SOURCES = Path(__file__).with_name("reader")
_END_SECONDS = 30


class Found(NamedTuple):
    """What one run came to."""

    events_per_second: float
    delivered_per_second: float
    cpu_us: float
    """Server CPU per delivery."""
    busy: float
    """Share of a core that the server used."""
    others_busy: float
    """Share of the server's core that others used."""
    client_busy: float
    """Share of the other core that the reader used, and the producer where it is not the server."""
    p50_ms: float
    """From handing an event over to its arrival."""
    p99_ms: float
    stored_p50_ms: float | None
    """From the time at which it was on disk, where that is known."""
    stored_p99_ms: float | None
    events_per_read: float
    """Events of one block that a subscriber got at once."""
    server_kib: int
    """Memory of the server at the end, with its subscribers: RssAnon."""


def compile_reader(directory: Path) -> Path:
    """Build the reader."""
    program = directory / "reader"
    sources = [str(path) for path in sorted(_SOURCES.glob("*.c"))]
    subprocess.run(["gcc", "-O2", "-Wall", "-D_GNU_SOURCE", "-o", str(program), *sources], check=True)
    return program


class Side:
    """A server, by the command of the process that makes its events; `subscribers` gives it some."""

    def __init__(self, name: str, module: str, *arguments: str) -> None:
        self.name = name
        self.home = tempfile.TemporaryDirectory(prefix="tm-fanout-")
        self.directory = Path(self.home.name)
        self.program = compile_reader(self.directory)
        command = [sys.executable, "-m", module, *arguments, str(self.directory), KEY]
        self.producer = harness.piped(command)
        try:
            assert self.producer.stdout is not None
            line = self.producer.stdout.readline()
            if not line:
                raise RuntimeError(f"{module} did not start")
            said: dict[str, Any] = json.loads(line)
        except BaseException:
            self.close()
            raise
        self.pid: int = said["server"]
        self.protocol: str = said["protocol"]
        self.address: str = said["address"]
        self.token: str = said["token"]
        self.opened_count = 0
        harness.pin(self.pid, harness.SERVER_CPU)

    def subscribers(self, count: int, *, connections: int = 0, stalled: int = 0, request: bytes = b"") -> Subscribers:
        """Open so many streams; with gRPC by default ten on a connection."""
        each = connections or max(1, max(count, stalled) // 10)
        return Subscribers(self, count, each, stalled, request)

    def produce(self, rate: float, seconds: float, block: int) -> dict[str, Any]:
        """Have events made; see producer.py."""
        assert self.producer.stdin is not None
        assert self.producer.stdout is not None
        print("produce", rate, seconds, block, file=self.producer.stdin, flush=True)
        line = self.producer.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.name} has ended")
        found: dict[str, Any] = json.loads(line)
        return found

    def close(self) -> None:
        assert self.producer.stdin is not None
        self.producer.stdin.close()
        try:
            self.producer.wait(_END_SECONDS)
        finally:
            if self.producer.poll() is None:
                self.producer.kill()
                self.producer.wait()
            assert self.producer.stdout is not None
            self.producer.stdout.close()
            self.home.cleanup()


class Subscribers:
    """Streams that are open, in one process of C."""

    def __init__(self, side: Side, count: int, connections: int, stalled: int, request: bytes) -> None:
        self.side = side
        self.count = count
        side.opened_count += 1
        self.path = side.directory / f"records-{side.opened_count}"
        numbers = [str(connections), str(count), str(stalled)]
        command = [str(side.program), side.protocol, side.address, *numbers, str(self.path)]
        if side.protocol == "grpc":
            command += [KEY, request.hex()]
        self.process = harness.piped(command)
        try:
            harness.pin(self.process.pid, harness.CLIENT_CPU)
            assert self.process.stdout is not None
            said = self.process.stdout.readline().split()
            if said[:1] != ["open"]:
                raise RuntimeError(f"{side.name} did not serve {count} subscribers")
        except BaseException:
            self.process.kill()
            self.process.wait()
            raise
        self.open_ms = float(said[1])

    def run(self, rate: float, seconds: float, block: int) -> Found:
        """Have events made, and say how they arrived. Ends the streams."""
        try:
            before, core = harness.cpu_seconds(self.process.pid), harness.server_core_seconds()
            made = self.side.produce(rate, seconds, block)
            spent = harness.cpu_seconds(self.process.pid) - before
            others = harness.server_core_seconds() - core - made["cpu_seconds"]
            server_kib = harness.status_kib(self.side.pid, "RssAnon")
        finally:
            self.close()
        found = _summary(made, spent + made["producer_seconds"], self.path.read_bytes(), self.count)
        return found._replace(server_kib=server_kib, others_busy=max(0.0, others / made["seconds"]))

    def close(self) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        try:
            assert self.process.wait(_END_SECONDS) == 0, f"the reader of {self.side.name} failed"
        finally:
            if self.process.poll() is None:
                self.process.kill()
                self.process.wait()
            self.process.stdout.close()


class _Records:
    """What the reader wrote: when which stream got how many events, up to which mark."""

    def __init__(self, data: bytes) -> None:
        words, halves = array("Q", data), array("I", data)
        self.times, self.marks = words[0::3], words[1::3]
        self.streams, self.events = halves[4::6], halves[5::6]


def _summary(made: dict[str, Any], client_seconds: float, data: bytes, count: int) -> Found:
    records = _Records(data)
    live = [index for index, stream in enumerate(records.streams) if stream < count]
    delivered = sum(records.events[index] for index in live)
    seconds = made["seconds"]
    if made["marks"]:
        late_ms = _reached(records, live, made["marks"], count)
    else:  # an event's mark is the time itself
        late_ms = [(records.times[index] - records.marks[index]) / 1e6 for index in live]
    stored_ms = _reached(records, live, made["committed"], count)
    return Found(
        made["events"] / seconds,
        delivered / seconds,
        made["cpu_seconds"] / max(1, delivered) * 1e6,
        made["cpu_seconds"] / seconds,
        0.0,
        client_seconds / seconds,
        harness.percentile(late_ms or [0.0], 50),
        harness.percentile(late_ms or [0.0], 99),
        harness.percentile(stored_ms, 50) if stored_ms else None,
        harness.percentile(stored_ms, 99) if stored_ms else None,
        delivered / max(1, len(live)),
        server_kib=0,
    )


def _reached(records: _Records, live: Sequence[int], marks: Marks, count: int) -> list[float]:
    """Every mark that a message reaches was delivered by it: return how late, in ms, for each block and stream."""
    seqs = [seq for seq, _ in marks]
    reached = [0] * count
    late_ms: list[float] = []
    for index in live:
        stream, at = records.streams[index], records.times[index]
        upto = bisect_left(seqs, records.marks[index] + 1)
        late_ms += [(at - marks[each][1]) / 1e6 for each in range(reached[stream], upto)]
        reached[stream] = upto
    return late_ms
