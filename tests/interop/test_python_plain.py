"""A client written from the .proto files alone; see python_plain/client.py."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from taskmeter.model.state import Outcome, State
from tests.daemon import Daemon, clean_environment

HERE = Path(__file__).parent
PROTOS = HERE.parent.parent / "protos"


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What the client saw, on a daemon that has no other tasks."""
    with Daemon() as daemon:
        work = daemon.home / "client"
        work.mkdir()
        program = HERE / "python_plain" / "client.py"
        key_file = daemon.state_dir / "admin.key"
        command = [sys.executable, "-P", *map(str, (program, PROTOS, work, daemon.target, key_file))]
        done = subprocess.run(command, capture_output=True, text=True, env=clean_environment(), timeout=100, check=False)
        assert done.returncode == 0, f"{done.stdout}\n{done.stderr}\n{daemon.log()}"
        return json.loads(done.stdout)


def test_a_plain_client_starts_a_task_and_sees_it_in_the_snapshot(seen: Any) -> None:
    assert seen["state_when_running"] == State.RUNNING
    assert seen["snapshot"] == [seen["token"]]


def test_its_connections_were_really_cut_and_both_ways_of_resuming_used(seen: Any) -> None:
    assert seen["cuts"] == 6
    assert seen["connections"] >= 7
    assert set(seen["resumed_by"]) == {"resume_token", "from_seq"}


def test_it_gets_every_event_once_and_in_order_whatever_is_cut(seen: Any) -> None:
    seqs = seen["seqs"]
    assert seqs == list(range(seen["snapshot_seq"] + 1, seqs[-1] + 1))
    assert seqs == [seq for seq in seen["reference"] if seen["snapshot_seq"] < seq <= seqs[-1]]
    assert seen["reference"] == list(range(1, seen["reference"][-1] + 1))


def test_it_terminates_the_task_and_sees_it_end(seen: Any) -> None:
    assert seen["states"] == [State.STOPPING, State.CANCELLED]
    assert seen["outcome"] == Outcome.CANCELLED
