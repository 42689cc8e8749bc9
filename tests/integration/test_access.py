"""Keys, scopes, methods that are not built, malformed requests, and what the daemon leaves on disk."""

from __future__ import annotations

import json
import os
import stat
import subprocess
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from taskmeter.rpc.scopes import METHOD_SCOPES
from tests.calls import SERVICES
from tests.daemon import Daemon, run_cli
from tests.integration.helpers import Failure, failure_of, start, status_of

METHODS = [f"/{service.full_name}/{method.name}" for service in SERVICES for method in service.methods]


def raw(daemon: Daemon, path: str, data: bytes, key: str | None = None) -> Failure:
    """Send any bytes to any method and return how it failed."""
    metadata = (("authorization", f"Bearer {daemon.key if key is None else key}"),)
    call: Any = daemon.channel.unary_unary(path)
    try:
        call(data, metadata=metadata, timeout=10)
    except grpc.RpcError as error:
        return Failure(error)
    raise AssertionError("it did not fail")


def test_every_method_of_the_contract_has_its_scope() -> None:
    assert set(METHOD_SCOPES) == set(METHODS)


@pytest.mark.parametrize("path", METHODS)
def test_no_method_answers_without_a_good_key(shared_daemon: Daemon, path: str) -> None:
    method = path.rpartition("/")[2]
    if method in ("ReportProgress", "SendItems"):
        failure = failure_of(shared_daemon.calls._methods[method], iter(()), metadata=[], timeout=10)
        assert (failure.code, failure.reason) == (grpc.StatusCode.UNAUTHENTICATED, "KEY_MISSING")
        return
    call = getattr(shared_daemon.calls, method)
    missing = failure_of(call, key="")
    wrong = failure_of(call, key="tm_admin_" + "x" * 43)
    assert (missing.code, missing.reason) == (grpc.StatusCode.UNAUTHENTICATED, "KEY_MISSING")
    assert (wrong.code, wrong.reason) == (grpc.StatusCode.UNAUTHENTICATED, "KEY_INVALID")
    assert missing.metadata["hint"]


@pytest.mark.parametrize("method", ["ReportProgress", "SendItems"])
def test_what_is_not_built_says_so(shared_daemon: Daemon, method: str) -> None:
    call = shared_daemon.calls._methods[method]
    metadata = [("authorization", f"Bearer {shared_daemon.key}")]
    request = shared_daemon.calls._requests[method]()
    failure = failure_of(call, iter([request]), metadata=metadata, timeout=10)
    assert (failure.code, failure.reason) == (grpc.StatusCode.UNIMPLEMENTED, "NOT_BUILT")


def test_a_method_of_a_later_version_says_not_built(shared_daemon: Daemon) -> None:
    failure = raw(shared_daemon, "/taskmeter.v1.ItemService/WatchItem", b"")
    assert (failure.code, failure.reason) == (grpc.StatusCode.UNIMPLEMENTED, "NOT_BUILT")


@pytest.mark.parametrize("data", [b"\xff", b"\x0a\xff", b"\x0a\x05ab", os.urandom(200) + b"\xff"])
def test_bytes_that_are_no_request_are_refused_and_harm_nothing(shared_daemon: Daemon, data: bytes) -> None:
    failure = raw(shared_daemon, "/taskmeter.v1.TaskService/StartTask", data)
    assert (failure.code, failure.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "FIELD_INVALID")


def test_the_key_and_the_socket_are_the_owner_s_alone(shared_daemon: Daemon) -> None:
    state_dir = shared_daemon.state_dir
    assert stat.S_IMODE(state_dir.stat().st_mode) == 0o700
    assert stat.S_IMODE((state_dir / "admin.key").stat().st_mode) == 0o600
    assert stat.S_IMODE(Path(shared_daemon.target.removeprefix("unix:")).stat().st_mode) == 0o600
    assert shared_daemon.key not in shared_daemon.log()


def test_daemon_json_says_how_to_reach_it(shared_daemon: Daemon) -> None:
    info = json.loads((shared_daemon.state_dir / "daemon.json").read_text())
    assert set(info) == {"pid", "version", "grpc", "http", "start_time"}
    assert info["pid"] == shared_daemon.pid and info["grpc"][0].startswith("unix:")
    server = shared_daemon.calls.GetServerInfo()
    assert (server.pid, list(server.grpc_targets), server.version) == (info["pid"], info["grpc"], info["version"])
    assert server.state_directory == str(shared_daemon.state_dir) and server.store_id and not server.draining


def test_health_and_reflection_need_no_key(shared_daemon: Daemon) -> None:
    health = health_pb2_grpc.HealthStub(shared_daemon.channel)
    assert health.Check(health_pb2.HealthCheckRequest(service="taskmeter.v1.TaskService")).status == 1
    stub = reflection_pb2_grpc.ServerReflectionStub(shared_daemon.channel)
    answer = next(stub.ServerReflectionInfo(iter([reflection_pb2.ServerReflectionRequest(list_services="")])))
    names = {service.name for service in answer.list_services_response.service}
    assert {"taskmeter.v1.TaskService", "taskmeter.v1.FileService", "taskmeter.v1.AdminService"} <= names


def test_a_second_daemon_is_refused_and_told_who_holds_the_directory(daemon: Daemon) -> None:
    second = run_cli(["serve", "--state-dir", str(daemon.state_dir)], daemon.client_env())
    assert second.returncode == 4 and str(daemon.pid) in second.stderr
    assert daemon.calls.GetServerInfo().pid == daemon.pid


def test_tcp_is_for_loopback_only(daemon: Daemon, make_daemon: Any) -> None:
    refused = run_cli(["serve", "--state-dir", str(daemon.home / "other"), "--listen", "0.0.0.0:0"], daemon.client_env())
    assert refused.returncode != 0 and "loopback" in refused.stderr
    other = make_daemon("--listen", "127.0.0.1:0").start()
    target = next(target for target in other.info["grpc"] if not target.startswith("unix:"))
    with grpc.insecure_channel(target) as channel:
        from tests.calls import Calls

        assert Calls(channel, other.key).GetServerInfo().pid == other.pid
        assert failure_of(Calls(channel, "").GetServerInfo).reason == "KEY_MISSING"


def test_a_state_directory_with_a_very_long_path_works(make_daemon: Any, tmp_path: Path) -> None:
    deep = tmp_path / ("x" * 100) / ("y" * 100)
    with Daemon(state_dir=deep) as daemon:
        assert len(daemon.target) < 120
        from tests.integration.helpers import end_of

        assert end_of(daemon.calls, start(daemon.calls, "true")).exit_code == 0
        assert "x" * 100 in str(subprocess.run(["ls", str(deep)], capture_output=True, check=True).args)


def test_drain_interrupts_what_runs_and_refuses_new_work(daemon: Daemon) -> None:
    from taskmeter.v1 import task_pb2
    from tests.integration.helpers import end_of

    tokens = [start(daemon.calls, "sleep", "60") for _ in range(3)]
    assert daemon.calls.Drain(grace_period_seconds=5, reason="host goes down").stopping_count == 3
    for token in tokens:
        ended = end_of(daemon.calls, token)
        assert (ended.state, ended.outcome) == (task_pb2.TASK_STATE_CANCELLED, task_pb2.TASK_OUTCOME_INTERRUPTED)
        assert "host goes down" in ended.exit_message
    failure = failure_of(daemon.calls.StartTask, spec={"command": {"argv": ["true"]}})
    assert (failure.code, failure.reason) == (grpc.StatusCode.UNAVAILABLE, "DRAINING")
    assert status_of(daemon.calls, tokens[0]).completed


def test_a_caller_that_hangs_up_loses_nothing_that_was_accepted(daemon: Daemon) -> None:
    for _ in range(50):
        future = daemon.calls._methods["StartTask"].future(
            daemon.calls._requests["StartTask"](spec={"command": {"argv": ["true"]}}),
            metadata=[("authorization", f"Bearer {daemon.key}")],
        )
        future.cancel()
    from tests.waiting import wait_until

    def all_settled() -> bool:
        info = daemon.calls.GetServerInfo()
        return (info.running_count, info.waiting_count) == (0, 0)

    wait_until(all_settled, "whatever was accepted has run")
    for task in daemon.calls.ListTasks(page_size=1000).tasks:
        assert task.completed and task.exit_code == 0
