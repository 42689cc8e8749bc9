"""Who answers: each server in a process of its own, pinned to one core, on a unix socket, plain TCP and TLS at once."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import grpc

from bench import baseline, harness
from bench.status import SPEC
from bench.unary import compile as cpp
from bench.unary.load import Address, framed
from taskmeter.v1 import task_service_pb2
from tests.certificates import Pair
from tests.daemon import Daemon
from tests.waiting import wait_until

UNIX, TCP, TLS = "unix socket", "TCP", "TCP with TLS"
TRANSPORTS = {"unix": UNIX, "tcp": TCP, "tls": TLS}
OURS = "the daemon"
BUILT, READY = "grpc.aio, asyncio, built per call", "grpc.aio, asyncio, ready bytes"
BUILT_UVLOOP, READY_UVLOOP = "grpc.aio, uvloop, built per call", "grpc.aio, uvloop, ready bytes"
WEB, CPP, FLOOR = "FastAPI on uvicorn, JSON", "gRPC in C++, built per call", "nghttpd, a file (floor)"
KEY = "tm_admin_0123456789012345678901234567890123456789012"
NOTES = {
    OURS: "`taskmeter serve` with a running, metered task whose status has every field of the others'",
    BUILT: "a servicer that fills the message from an object's values; the daemon's own Authenticator",
    READY: "bytes made once, no message is parsed; the daemon's own Authenticator",
    WEB: "a pydantic model per call, uvloop, httptools; the daemon's own Authenticator; HTTP/1.1, a connection for each call",
    CPP: "Debian's libgrpc++, callback API; the key is compared with the known one",
    FLOOR: "nghttp2's server with a file of the message's size: HTTP/2 without gRPC, nobody asks who calls",
}


class UnavailableError(Exception):
    """A server cannot run here; the text says how to get it."""


@dataclass(frozen=True, slots=True)
class Server:
    """One that runs."""

    name: str
    pid: int
    address: Address


@dataclass(frozen=True, slots=True)
class Place:
    """Where servers are started: for all of one transport."""

    transport: str
    work: Path
    pair: Pair
    authority: Path
    """Whose certificate clients believe."""

    def grpc(self, socket: str, port: int, key: str, token: str) -> Address:
        """Return how a gRPC server is asked, having asked it once: the answer must be OK."""
        request = task_service_pb2.GetTaskStatusRequest(token=token).SerializeToString()
        target = f"unix:{socket}" if self.transport == UNIX else f"127.0.0.1:{port}"
        size = len(_answer(self, target, key, request))
        headers = ("content-type: application/grpc", "te: trailers", f"authorization: Bearer {key}")
        socket = socket if self.transport == UNIX else ""
        return Address(self.uri(port) + baseline.PATH, socket, headers, framed(request), answer_bytes=size + 5)

    def uri(self, port: int) -> str:
        """Return the scheme and the host."""
        return f"{'https' if self.transport == TLS else 'http'}://localhost" + (f":{port}" if self.transport != UNIX else "")


def _answer(place: Place, target: str, key: str, request: bytes) -> bytes:
    if place.transport == TLS:
        roots = grpc.ssl_channel_credentials(place.authority.read_bytes())
        channel = grpc.secure_channel(target, roots, (("grpc.ssl_target_name_override", "localhost"),))
    else:
        channel = grpc.insecure_channel(target)
    with channel:
        method: Any = channel.unary_unary(baseline.PATH)
        answer: bytes = method(request, metadata=(("authorization", f"Bearer {key}"),), timeout=10)
        return answer


@contextmanager
def _process(command: list[str]) -> Iterator[tuple[int, list[str]]]:
    """Run one that prints "ready …"; yield its pid and the rest of that line."""
    process = harness.piped(command)
    try:
        assert process.stdout is not None
        said = process.stdout.readline().split()
        if said[:1] != ["ready"]:
            raise RuntimeError(f"{command} did not start")
        yield process.pid, said[1:]
    finally:
        process.kill()
        process.communicate()


@contextmanager
def ours(place: Place) -> Iterator[Server]:
    options = ["--listen", "127.0.0.1:0"]
    if place.transport == TLS:
        options += ["--tls-cert", str(place.pair.cert), "--tls-key", str(place.pair.key)]
    with Daemon(*options) as daemon:
        token = daemon.calls.StartTask(spec=SPEC).token
        wait_until(lambda: daemon.calls.GetTaskStatus(token=token).status.failed_count, "its report is there")
        port = int(next(target for target in daemon.info["grpc"] if not target.startswith("unix:")).rpartition(":")[2])
        yield Server(OURS, daemon.pid, place.grpc(daemon.target.removeprefix("unix:"), port, daemon.key, token))


def aio(name: str, loop: str, kind: str) -> Callable[[Place], object]:
    """A grpc.aio server."""

    @contextmanager
    def run(place: Place) -> Iterator[Server]:
        command = [sys.executable, "-m", "bench.unary.aio", loop, kind, KEY]
        with _grpc(name, [*command, *_files(place, f"{loop}-{kind}")], place) as server:
            yield server

    return run


@contextmanager
def in_cpp(place: Place) -> Iterator[Server]:
    if lacks := cpp.missing():
        raise UnavailableError(f"{lacks} is not installed (`make bench-tools`)")
    with _grpc(CPP, [str(cpp.server()), KEY, *_files(place, "cpp")], place) as server:
        yield server


@contextmanager
def _grpc(name: str, command: list[str], place: Place) -> Iterator[Server]:
    socket = command[-3]
    with _process(command) as (pid, [plain, tls]):
        yield Server(name, pid, place.grpc(socket, int(tls if place.transport == TLS else plain), KEY, baseline.TOKEN))


@contextmanager
def web(place: Place) -> Iterator[Server]:
    if not all(map(find_spec, ("fastapi", "uvicorn", "httptools"))):
        raise UnavailableError("not installed (`pip install taskmeter[bench]`)")
    with _process([sys.executable, "-m", "bench.unary.web", KEY, *_files(place, "web")]) as (pid, [plain, tls]):
        from bench.unary.web import Status, model

        size = len(Status.model_dump_json(model(baseline.Task())))
        socket = str(place.work / "web.sock") if place.transport == UNIX else ""
        uri = place.uri(int(tls if place.transport == TLS else plain)) + f"/tasks/{baseline.TOKEN}"
        yield Server(WEB, pid, Address(uri, socket, (f"authorization: Bearer {KEY}",), http1=True, answer_bytes=size))


@contextmanager
def floor(place: Place) -> Iterator[Server]:
    program = shutil.which("nghttpd", path=os.environ.get("PATH", "") + ":/usr/sbin")
    if not program:
        raise UnavailableError("nghttp2-server is not installed (`make bench-tools`)")
    if place.transport == UNIX:
        raise UnavailableError("has no unix sockets")
    answer = baseline.message(baseline.Task()).SerializeToString()
    (place.work / "status").write_bytes(answer)
    port = harness.free_port()
    command = [program, "-a", "127.0.0.1", "-d", str(place.work), str(port)]
    command += [str(place.pair.key), str(place.pair.cert)] if place.transport == TLS else ["--no-tls"]
    process = harness.piped(command)
    try:
        wait_until(lambda: harness.listens(port), "nghttpd listens")
        yield Server(FLOOR, process.pid, Address(place.uri(port) + "/status", body=b"as many bytes", answer_bytes=len(answer)))
    finally:
        process.kill()
        process.communicate()


def _files(place: Place, name: str) -> list[str]:
    return [str(place.work / f"{name}.sock"), str(place.pair.cert), str(place.pair.key)]


SERVERS: dict[str, Callable[[Place], object]] = {
    OURS: ours,
    BUILT: aio(BUILT, "asyncio", "built"),
    READY: aio(READY, "asyncio", "ready"),
    BUILT_UVLOOP: aio(BUILT_UVLOOP, "uvloop", "built"),
    READY_UVLOOP: aio(READY_UVLOOP, "uvloop", "ready"),
    WEB: web,
    CPP: in_cpp,
    FLOOR: floor,
}


@contextmanager
def all_servers(place: Place) -> Iterator[tuple[list[Server], dict[str, str]]]:
    """Start all that can run; yield them, and why others do not."""
    with ExitStack() as stack:
        running: list[Server] = []
        missing: dict[str, str] = {}
        for name, start in SERVERS.items():
            try:
                running.append(stack.enter_context(start(place)))  # type: ignore[arg-type]
            except UnavailableError as error:
                missing[name] = f"{place.transport}: {error}"
        for server in running:
            harness.pin(server.pid, harness.SERVER_CPU)
        yield running, missing
