"""A key that calls too often is told for how long to wait; it can still stop what it started, and others notice nothing."""

from __future__ import annotations

import json
from collections.abc import Callable

import grpc

from taskmeter.client import SyncClient
from tests.calls import Calls
from tests.daemon import Daemon
from tests.integration.helpers import Failure, end_of, failure_of, start
from tests.waiting import wait_until

ALL = ["submit", "read", "control", "files", "admin"]


def refused(calls: Calls, key: str, most: int = 1000) -> tuple[int, Failure]:
    """Call until it is refused; return how often that went, and how it was refused."""
    for count in range(most):
        try:
            calls.ListQueues(key=key)
        except grpc.RpcError as error:
            return count, Failure(error)
    raise AssertionError("it is never refused")


def test_a_burst_goes_through_and_then_the_refusal_says_how_long_to_wait(shared_daemon: Daemon) -> None:
    calls = shared_daemon.calls
    made = calls.CreateKey(scopes=ALL, rate={"calls_per_second": 0.01, "burst_count": 20})
    assert (made.key.rate.calls_per_second, made.key.rate.burst_count) == (0.01, 20)
    count, failure = refused(calls, made.secret)
    assert count == 20
    assert (failure.code, failure.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "RATE_LIMITED")
    assert failure.retry_seconds is not None and 90 < failure.retry_seconds <= 100
    stream = failure_of(calls.StreamEvents, tokens=[], from_seq=1, key=made.secret)
    assert stream.reason == "RATE_LIMITED", "a stream is a call, too"
    calls.CreateKey(scopes=["read"])
    assert refused(calls, made.secret)[0] == 0, "another key made is no new burst"
    calls.ListQueues()


def test_what_was_started_can_still_be_stopped(shared_daemon: Daemon) -> None:
    calls = shared_daemon.calls
    key = calls.CreateKey(scopes=ALL, rate={"calls_per_second": 0.01, "burst_count": 3}).secret
    token = str(calls.StartTask(spec={"command": {"argv": ["sleep", "600"]}}, key=key).token)
    refused(calls, key)
    calls.Terminate(token=token, key=key)
    calls.TerminateTasks(tags={"no": "such"}, key=key)
    calls.Terminate(token=start(calls, "sleep", "600"), immediate=True, key=key)
    assert failure_of(calls.TerminateTasks, tags={"no": "such"}, key=key).reason == "RATE_LIMITED", "counted apart, not uncounted"
    end_of(calls, token)


def test_a_rate_outlives_the_daemon_and_is_shown(make_daemon: Callable[..., Daemon]) -> None:
    daemon = make_daemon().start()
    told = daemon.cli("key", "create", "--name", "slow", "--rate", "0.01", "--burst", "4", "--json")
    assert told.returncode == 0, told.stderr
    made = json.loads(told.stdout)
    daemon.kill9()
    daemon.restart()
    assert refused(daemon.calls, made["secret"])[0] == 4
    [shown] = daemon.calls.ListKeys().keys
    assert (shown.rate.calls_per_second, shown.rate.burst_count) == (0.01, 4)
    assert "calls=0.01/s,4" in daemon.cli("key", "ls").stdout
    assert daemon.cli("key", "create", "--burst", "4").returncode == 2
    with SyncClient(daemon.target, key=daemon.key) as client:
        made_rate = client.create_key(["read"], calls_per_second=2.5).key.rate
        assert made_rate is not None and made_rate.burst_count == 3
        assert client.create_key(["read"]).key.rate is None


def test_the_default_rate_is_for_all_keys_but_the_admin_key(make_daemon: Callable[..., Daemon]) -> None:
    daemon = make_daemon()
    daemon.env = {**daemon.env, "TASKMETER_CALLS_PER_SECOND": "0.01", "TASKMETER_CALLS_BURST": "5"}
    calls = daemon.start().calls
    assert refused(calls, calls.CreateKey(scopes=ALL).secret)[0] == 5
    own = calls.CreateKey(scopes=ALL, rate={"calls_per_second": 0.01, "burst_count": 7}).secret
    assert refused(calls, own)[0] == 7
    for _ in range(20):
        calls.ListQueues()


def test_a_rate_that_makes_no_sense_is_refused_by_name(shared_daemon: Daemon) -> None:
    for rate in ({}, {"calls_per_second": -1}, {"calls_per_second": float("nan")}, {"calls_per_second": 1e9}):
        failure = failure_of(shared_daemon.calls.CreateKey, scopes=ALL, rate=rate)
        assert set(failure.fields) == {"rate.calls_per_second"}
    failure = failure_of(shared_daemon.calls.CreateKey, scopes=ALL, rate={"calls_per_second": 1, "burst_count": -1})
    assert set(failure.fields) == {"rate.burst_count"}


def test_refusals_do_not_fill_the_audit_log(daemon: Daemon) -> None:
    made = daemon.calls.CreateKey(scopes=ALL, rate={"calls_per_second": 0.001, "burst_count": 1})
    for _ in range(50):
        refused(daemon.calls, made.secret)
    log = daemon.state_dir / "audit.jsonl"
    wait_until(lambda: "RATE_LIMITED" in log.read_text(), "the refusal is noted")
    assert log.read_text().count("RATE_LIMITED") < 50


def test_tcp_without_tls_beyond_this_host_needs_the_long_word(make_daemon: Callable[..., Daemon]) -> None:
    told = make_daemon().cli("serve", "--listen", "0.0.0.0:0")
    assert told.returncode == 2 and "keys must not travel in plain text" in told.stderr
    word = "--listen-in-plain-text-and-let-anybody-on-the-network-read-the-keys"
    daemon = make_daemon("--listen", "0.0.0.0:0", word).start()
    target = next(target for target in daemon.info["grpc"] if target.startswith("0.0.0.0:"))
    with SyncClient(target.replace("0.0.0.0", "127.0.0.1"), key=daemon.key) as client:
        assert client.server_info().version
    assert "without TLS: whoever reads the traffic has the keys" in daemon.log()
