"""Programs in Go, made from the .proto files: a client (go/main.go), and one that reports itself (examples/reporter.go)."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from taskmeter.model.state import Outcome, State
from tests.daemon import Daemon
from tests.integration.helpers import end_of, events, read

HERE = Path(__file__).parent
PROTOS = HERE.parent.parent / "protos"
EXAMPLES = HERE.parent.parent / "examples"
BUILD_SECONDS = 600

pytestmark = [
    pytest.mark.interop,
    pytest.mark.timeout(BUILD_SECONDS + 60),
    pytest.mark.skipif(shutil.which("go") is None, reason="needs Go"),
]


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Go module with the client, the example, and what protoc makes of the contract; `bin/` has both programs."""
    work = tmp_path_factory.mktemp("go")
    for source in (HERE / "go").iterdir():
        shutil.copy(source, work)
    (work / "reporter").mkdir()
    shutil.copy(EXAMPLES / "reporter.go", work / "reporter" / "main.go")
    env = {**os.environ, "GOBIN": str(work / "bin"), "GOFLAGS": "-mod=readonly", "PATH": f"{work}/bin:{os.environ['PATH']}"}

    def run(*command: str) -> None:
        done = subprocess.run(command, cwd=work, env=env, capture_output=True, text=True, timeout=BUILD_SECONDS, check=False)
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"

    run("go", "install", "tool")  # protoc-gen-go and protoc-gen-go-grpc, as pinned in go.mod
    files = sorted(str(path) for path in PROTOS.glob("taskmeter/v1/*.proto"))
    plugins = ["--go_out=.", "--go_opt=module=taskmeter", "--go-grpc_out=.", "--go-grpc_opt=module=taskmeter"]
    run(sys.executable, "-m", "grpc_tools.protoc", f"-I{PROTOS}", *plugins, *files)
    run("go", "vet", "./...")
    run("go", "build", "-o", "bin/client", ".")
    run("go", "build", "-o", "bin/reporter", "./reporter")
    return work


@pytest.fixture(scope="module")
def program(workshop: Path) -> Path:
    """The compiled client."""
    return workshop / "bin" / "client"


@pytest.fixture(scope="module")
def seen(program: Path) -> Any:
    """What the client saw, on a daemon that has no other tasks."""
    with Daemon() as daemon:
        command = [str(program), daemon.target, str(daemon.state_dir / "admin.key")]
        done = subprocess.run(command, capture_output=True, text=True, timeout=90, check=False)
        assert done.returncode == 0, f"{done.stderr}\n{daemon.log()}"
        return json.loads(done.stdout)


def test_a_go_client_starts_a_task_reads_its_output_and_terminates_it(seen: Any) -> None:
    assert seen["output"] == "hello from Go\n"
    assert seen["states"] == [State.STOPPING, State.CANCELLED]
    assert seen["outcome"] == Outcome.CANCELLED


def test_it_resumes_on_another_connection_without_gap_or_duplicate(seen: Any) -> None:
    first = seen["snapshot_seq"] + 1
    assert seen["seqs"] == list(range(first, first + len(seen["seqs"])))
    assert len(seen["seqs"]) == 8  # six updates, stopping, ended


def test_it_finds_code_and_reason_of_a_refusal_in_the_standard_details(seen: Any) -> None:
    assert seen["refused"] == ["taskmeter/TASK_ENDED"]


def test_a_go_program_reports_itself_with_the_key_in_its_environment(workshop: Path, shared_daemon: Daemon) -> None:
    argv = [str(workshop / "bin" / "reporter"), "20"]
    token = shared_daemon.calls.StartTask(spec={"command": {"argv": argv}, "announces_ready": True}).token
    ended = end_of(shared_daemon.calls, token, 60)
    assert ended.exit_code == 0, read(shared_daemon.calls, token, "stderr")
    assert read(shared_daemon.calls, token) == b"reports kept: 21\n"
    assert (ended.total_count, ended.completed_count, ended.status, ended.current_object) == (20, 20, "squaring", "20")
    found = events(shared_daemon.calls, token, kinds=[2, 4])
    assert [event.item_changed.item_id.text for event in found if event.HasField("item_changed")] == [
        str(n) for n in range(1, 21)
    ]
    assert [event.message.text for event in found if event.HasField("message")] == ["the sum is 2870"]
