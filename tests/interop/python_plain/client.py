"""A client of someone who has nothing but the .proto files: plain grpcio, code generated into a directory of its own.

    client.py PROTO_DIRECTORY WORK_DIRECTORY TARGET KEY_FILE

Starts a job, follows all tasks of its own tag through a proxy that it cuts again and again, resumes by turns with the resume
token and with the next seq, and terminates the job. Prints what it saw as JSON. Never imports the installed package `taskmeter`.
"""

from __future__ import annotations

import importlib
import json
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
from grpc_tools import protoc

TAG = {"made-by": "plain-grpcio"}
EVENTS_BETWEEN_CUTS = 7
CUTS = 6
UPDATES = 60
DEADLINE_SECONDS = 60.0


class Proxy:
    """Forwards one unix socket to another until it is told to cut all connections."""

    def __init__(self, path: str, upstream: str) -> None:
        self._upstream = upstream
        self._lock = threading.Lock()
        self._open: list[socket.socket] = []
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(path)
        self._listener.listen()
        self.accepted_count = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        """Break every connection there is, in both directions, with whatever was on its way."""
        with self._lock:
            for each in self._open:
                try:
                    each.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass
                each.close()
            self._open.clear()

    def _accept(self) -> None:
        while True:
            client, _ = self._listener.accept()
            server = socket.socket(socket.AF_UNIX)
            server.connect(self._upstream)
            with self._lock:
                self._open += [client, server]
                self.accepted_count += 1
            threading.Thread(target=self._pump, args=(client, server), daemon=True).start()
            threading.Thread(target=self._pump, args=(server, client), daemon=True).start()

    @staticmethod
    def _pump(source: socket.socket, sink: socket.socket) -> None:
        try:
            while data := source.recv(4096):
                sink.sendall(data)
        except OSError:
            pass


def generate(protos: Path, out: Path) -> None:
    """Generate messages and stubs from the files alone."""
    (out / "taskmeter" / "v1").mkdir(parents=True)
    for package in (out / "taskmeter", out / "taskmeter" / "v1"):
        (package / "__init__.py").touch()
    files = sorted(map(str, protos.glob("taskmeter/v1/*.proto")))
    code = protoc.main(["protoc", f"-I{protos}", f"--python_out={out}", f"--grpc_python_out={out}", *files])
    if code:
        raise SystemExit(code)
    sys.path.insert(0, str(out))


class Follower:
    """Follows a stream through its cuts; keeps what it received, in order."""

    def __init__(self, stub: Any, messages: Any, metadata: list[tuple[str, str]]) -> None:
        self.stub, self.messages, self.metadata = stub, messages, metadata
        self.events: list[Any] = []
        self.snapshot: list[Any] = []
        self.snapshot_seq = 0
        self.seq = 0
        self.resume_token = ""
        self.resumed_by: list[str] = []

    def read(self, on_snapshot: Callable[[], None]) -> Iterator[Any]:
        """Yield events for ever, over as many streams as it takes; `on_snapshot` is called once that is there."""
        while True:
            call = self.stub.StreamEvents(self.request(), metadata=self.metadata, timeout=DEADLINE_SECONDS, wait_for_ready=True)
            try:
                for message in call:
                    self.seq, self.resume_token = message.seq, message.resume_token
                    if not self.snapshot_seq:
                        self.snapshot += message.statuses
                        self.snapshot_seq = message.seq
                        on_snapshot()
                    self.events += message.events
                    yield from message.events
            except grpc.RpcError as error:
                if error.code() != grpc.StatusCode.UNAVAILABLE:
                    raise

    def request(self) -> Any:
        """Ask for a snapshot at first, later for what comes after the last message."""
        if not self.snapshot_seq:
            return self.messages.StreamEventsRequest(tags=TAG, snapshot_first=True)
        by = ("resume_token", "from_seq")[len(self.resumed_by) % 2]
        self.resumed_by.append(by)
        start = {"resume_token": self.resume_token} if by == "resume_token" else {"from_seq": self.seq + 1}
        return self.messages.StreamEventsRequest(tags=TAG, **start)


def main(protos: str, work: str, target: str, key_file: str) -> None:
    generate(Path(protos), Path(work))
    import taskmeter
    from taskmeter.v1 import task_pb2, task_service_pb2

    stubs = importlib.import_module("taskmeter.v1.task_service_pb2_grpc")
    assert str(taskmeter.__file__).startswith(work), "this must be the generated package"
    metadata = [("authorization", f"Bearer {Path(key_file).read_text().strip()}")]
    proxy = Proxy(f"{work}/proxy", target.removeprefix("unix:"))
    direct = stubs.TaskServiceStub(grpc.insecure_channel(target))
    retry = [("grpc.initial_reconnect_backoff_ms", 100), ("grpc.min_reconnect_backoff_ms", 100)]
    cut = stubs.TaskServiceStub(grpc.insecure_channel(f"unix:{work}/proxy", options=retry))

    def call(name: str, request: Any) -> Any:
        return getattr(direct, name)(request, metadata=metadata, timeout=DEADLINE_SECONDS)

    spec = task_pb2.TaskSpec(name="plain", command=task_pb2.Command(argv=["sh", "-c", "echo hello; exec sleep 600"]), tags=TAG)
    token = call("StartTask", task_service_pb2.StartTaskRequest(spec=spec)).token
    waited = task_service_pb2.WaitTaskRequest(token=token, states=[task_pb2.TASK_STATE_RUNNING], timeout_seconds=DEADLINE_SECONDS)
    running = call("WaitTask", waited).status

    follower = Follower(cut, task_service_pb2, metadata)

    def change() -> None:
        """Make events while the other thread follows them."""
        for number in range(UPDATES):
            call("UpdateTask", task_service_pb2.UpdateTaskRequest(token=token, set_metadata={"n": str(number)}))
            if number % 20 == 0:
                short = task_pb2.TaskSpec(command=task_pb2.Command(argv=["true"]), tags=TAG)
                call("StartTask", task_service_pb2.StartTaskRequest(spec=short))
        call("Terminate", task_service_pb2.TerminateRequest(token=token, grace_period_seconds=5, reason="seen enough"))

    changer = threading.Thread(target=change)
    cuts = 0
    for event in follower.read(on_snapshot=changer.start):
        if len(follower.events) >= EVENTS_BETWEEN_CUTS * (cuts + 1) and cuts < CUTS:
            proxy.cut()
            cuts += 1
        if event.token == token and event.state_changed.status.completed:
            break
    changer.join()
    everything = task_service_pb2.StreamEventsRequest(tags=TAG, from_seq=1)
    call_all = direct.StreamEvents(everything, metadata=metadata, timeout=DEADLINE_SECONDS)
    reference: list[int] = []
    for message in call_all:
        reference += [event.seq for event in message.events]
        if message.seq >= follower.seq:
            break
    call_all.cancel()
    final = call("GetTaskStatus", task_service_pb2.GetTaskStatusRequest(token=token)).status
    print(
        json.dumps(
            {
                "token": token,
                "state_when_running": running.state,
                "snapshot": [status.token for status in follower.snapshot],
                "snapshot_seq": follower.snapshot_seq,
                "seqs": [event.seq for event in follower.events],
                "reference": reference,
                "cuts": cuts,
                "connections": proxy.accepted_count,
                "resumed_by": follower.resumed_by,
                "outcome": final.outcome,
                "states": [e.state_changed.to_state for e in follower.events if e.token == token and e.HasField("state_changed")],
            }
        )
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
