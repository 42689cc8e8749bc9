"""Load by h2load (Debian: nghttp2-client), which is C and sees one core alone; what it says is checked, not believed."""

from __future__ import annotations

import os
import re
import struct
import subprocess
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from bench import harness

CONNECTIONS = 10
"""Over which more than one call in flight is spread; HTTP/1.1 has one connection for each."""
_DEADLINE_SECONDS = 120.0
_SIZE_SLACK = 0.25
"""A status loses rates and shares while its task stands still."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where a server is asked, and what."""

    uri: str
    """`http://…`, `https://…`; of a unix socket only its path and scheme count."""
    socket: str = ""
    headers: tuple[str, ...] = ()
    body: bytes = b""
    """A gRPC message; empty = a GET."""
    http1: bool = False
    answer_bytes: int = 0
    """What one answer should have, about: an error of gRPC is HTTP status 200, too, but has no message."""


class Found(NamedTuple):
    """What so many calls came to."""

    seconds: float
    p50_us: float
    p99_us: float
    busy: float
    """The generator's share of its core."""
    answer_bytes: float


def framed(message: bytes) -> bytes:
    """Return a message as gRPC frames it."""
    return struct.pack(">BI", 0, len(message)) + message


def call(address: Address, calls: int, in_flight: int, work: Path) -> Found:
    """Make so many calls, and fail if one of them was not answered as it must be."""
    connections = in_flight if address.http1 or in_flight < CONNECTIONS else CONNECTIONS
    each = 1 if address.http1 else in_flight // connections
    log, body = work / "h2load.log", work / "body"
    log.unlink(missing_ok=True)
    command = ["h2load", "-n", str(calls), "-c", str(connections), "-m", str(each), "--log-file", str(log)]
    for header in address.headers:
        command += ["-H", header]
    if address.body:
        body.write_bytes(address.body)
        command += ["-d", str(body)]
    if address.http1:
        command += ["--h1"]
    if address.socket:
        command += ["-B", f"unix:{address.socket}"]
    said, spent = _run([*command, address.uri])
    data = _number(r"\((\d+)\) data", said)
    answered = _number(r"(\d+) succeeded", said), _number(r"(\d+) 2xx", said)
    if answered != (calls, calls) or abs(data / calls - address.answer_bytes) > _SIZE_SLACK * address.answer_bytes:
        raise RuntimeError(f"not every call was answered with about {address.answer_bytes} bytes:\n{said}")
    spans = [int(line.split("\t")[2]) for line in log.read_text().splitlines()]
    seconds = _seconds(said)
    return Found(seconds, harness.percentile(spans, 50), harness.percentile(spans, 99), spent / seconds, data / calls)


def _run(command: list[str]) -> tuple[str, float]:
    """Return what it said and its processor seconds."""
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, process_group=0)
    watch = threading.Timer(_DEADLINE_SECONDS, process.kill)
    watch.start()
    try:
        harness.pin(process.pid, harness.CLIENT_CPU)
        assert process.stdout is not None
        said = process.stdout.read()
        _, _, usage = os.wait4(process.pid, 0)
        process.returncode = 0
    finally:
        watch.cancel()
        if process.returncode is None:
            process.kill()
            process.wait()
        assert process.stdout is not None
        process.stdout.close()
    return said, usage.ru_utime + usage.ru_stime


def _number(pattern: str, said: str) -> int:
    found = re.search(pattern, said)
    return int(found[1]) if found else -1


def _seconds(said: str) -> float:
    found = re.search(r"finished in ([\d.]+)(us|ms|s|m)\b", said)
    assert found is not None, said
    return float(found[1]) * {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0}[found[2]]
