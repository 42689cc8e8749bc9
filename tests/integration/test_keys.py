"""Keys over their life: made, shown once, limited, ended; and what becomes of what they had open."""

from __future__ import annotations

import json
import os
import signal
import stat
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import pytest

from taskmeter.client import Client, SyncClient
from taskmeter.errors import AuthenticationError
from tests import processes
from tests.daemon import Daemon
from tests.integration.helpers import Failure, end_of, failure_of, start
from tests.waiting import wait_until

ENDS_WITHIN_SECONDS = 1.0 + 5.0
"""The guarantee, and slack."""


def outcome_of(call: Any) -> tuple[list[Failure], threading.Thread]:
    """Read a stream to its end in a thread; the list gets how it failed."""
    found: list[Failure] = []

    def read() -> None:
        try:
            for _ in call:
                pass
        except grpc.RpcError as error:
            found.append(Failure(error))

    thread = threading.Thread(target=read)
    thread.start()
    return found, thread


def open_everything(daemon: Daemon, key: str, token: str) -> list[Callable[[], Failure]]:
    """Open an event stream, a followed file and a wait with this key; return what tells how each has failed."""
    events = daemon.calls.StreamEvents(tokens=[token], key=key)
    next(events)
    follow = daemon.calls.ReadFile(token=token, path="stdout", follow=True, key=key)
    next(follow)
    wait = daemon.calls._methods["WaitTask"].future(
        daemon.calls._requests["WaitTask"](token=token), metadata=[("authorization", f"Bearer {key}")]
    )
    ends: list[Callable[[], Failure]] = []
    for call in (events, follow):
        found, thread = outcome_of(call)

        def failed(found: list[Failure] = found, thread: threading.Thread = thread) -> Failure:
            thread.join(ENDS_WITHIN_SECONDS)
            assert not thread.is_alive() and found, "it is open still, or ended with OK"
            return found[0]

        ends.append(failed)
    ends.append(lambda: Failure(wait.exception(ENDS_WITHIN_SECONDS)))
    return ends


@pytest.fixture
def running(shared_daemon: Daemon) -> Any:
    token = start(shared_daemon.calls, "sh", "-c", "echo on; exec sleep 100")
    wait_until(lambda: next(shared_daemon.calls.ReadFile(token=token, path="stdout")).data, "its output")
    yield token
    shared_daemon.calls.Terminate(token=token, immediate=True)


def test_a_key_has_its_form_and_is_shown_once(shared_daemon: Daemon) -> None:
    made = shared_daemon.calls.CreateKey(name="ci", tenant="acme", scopes=["read", "submit", "read"])
    prefix, key_id, secret = made.secret.split("_", 2)
    assert (prefix, key_id, len(secret)) == ("tm", made.key.key_id, 43)
    assert (made.key.name, made.key.tenant, list(made.key.scopes)) == ("ci", "acme", ["submit", "read"])
    [listed] = [key for key in shared_daemon.calls.ListKeys(tenant="acme").keys if key.key_id == key_id]
    assert listed == made.key and secret not in str(listed)
    stored = json.loads((shared_daemon.state_dir / "keys.json").read_text())
    assert secret not in json.dumps(stored)
    assert stat.S_IMODE((shared_daemon.state_dir / "keys.json").stat().st_mode) == 0o600


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({}, "scopes"),
        ({"scopes": ["root"]}, "scopes[0]"),
        ({"scopes": ["read"], "tenant": "../x"}, "tenant"),
        ({"scopes": ["read"], "tenant": "x" * 65}, "tenant"),
        ({"scopes": ["read"], "lifetime_seconds": -1.0}, "lifetime_seconds"),
        ({"scopes": ["read"], "lifetime_seconds": float("nan")}, "lifetime_seconds"),
        ({"scopes": ["read"], "quotas": {"running_count": -1}}, "quotas.running_count"),
        ({"scopes": ["read"] * 17}, "scopes"),
        ({"scopes": ["read"], "name": "x" * 257}, "name"),
    ],
)
def test_what_cannot_be_a_key_is_refused_by_field(shared_daemon: Daemon, fields: dict[str, Any], named: str) -> None:
    failure = failure_of(shared_daemon.calls.CreateKey, **fields)
    assert (failure.code, failure.reason, list(failure.fields)) == (grpc.StatusCode.INVALID_ARGUMENT, "FIELD_INVALID", [named])


def test_revocation_ends_open_streams_within_a_second(shared_daemon: Daemon, running: str) -> None:
    made = shared_daemon.calls.CreateKey(scopes=["read", "files", "control"])
    ends = open_everything(shared_daemon, made.secret, running)
    other = shared_daemon.calls.StreamEvents(tokens=[running], bookmark_interval_seconds=0.1)
    next(other)
    assert shared_daemon.calls.RevokeKey(key_id=made.key.key_id).key.revoke_time
    for failed in ends:
        failure = failed()
        assert (failure.code, failure.reason) == (grpc.StatusCode.UNAUTHENTICATED, "KEY_INVALID")
        assert "revoked" in failure.message
    assert failure_of(shared_daemon.calls.Terminate, key=made.secret, token=running).reason == "KEY_INVALID"
    assert next(other).bookmark, "another key's stream goes on"
    other.cancel()
    again = shared_daemon.calls.RevokeKey(key_id=made.key.key_id).key
    assert again in shared_daemon.calls.ListKeys(include_ended=True).keys and again not in shared_daemon.calls.ListKeys().keys


def test_expiry_ends_open_streams_within_a_second(shared_daemon: Daemon, running: str) -> None:
    made = shared_daemon.calls.CreateKey(scopes=["read", "files"], lifetime_seconds=2.0)
    for failed in open_everything(shared_daemon, made.secret, running):
        failure = failed()
        assert (failure.code, failure.reason) == (grpc.StatusCode.UNAUTHENTICATED, "KEY_INVALID")
        assert "expired" in failure.message
    assert 0 <= time.time() - made.key.expire_time < ENDS_WITHIN_SECONDS
    assert failure_of(shared_daemon.calls.ListTasks, key=made.secret).reason == "KEY_INVALID"


def test_keys_survive_kill_9_and_stay_revoked(daemon: Daemon) -> None:
    kept, gone = (daemon.calls.CreateKey(scopes=["read"]) for _ in range(2))
    daemon.calls.RevokeKey(key_id=gone.key.key_id)
    daemon.restart()
    assert daemon.calls.ListTasks(key=kept.secret).total_count == 0
    assert failure_of(daemon.calls.ListTasks, key=gone.secret).reason == "KEY_INVALID"


def test_sighup_takes_up_changed_files_and_leaves_out_broken_ones(daemon: Daemon) -> None:
    first, second = (daemon.calls.CreateKey(scopes=["read"]) for _ in range(2))
    path = daemon.state_dir / "keys.json"
    document = json.loads(path.read_text())
    stream = daemon.calls.StreamEvents(key=first.secret)
    next(stream)
    found, thread = outcome_of(stream)

    def reload(text: str, sign: str) -> None:
        path.write_text(text)
        before = daemon.log().count(sign)
        os.kill(daemon.pid, signal.SIGHUP)
        wait_until(lambda: daemon.log().count(sign) > before, sign)

    reload("{", "keys stay as they are")
    assert daemon.calls.ListTasks(key=second.secret).total_count == 0
    document["keys"] = [entry for entry in document["keys"] if entry["key_id"] != first.key.key_id]
    reload(json.dumps(document), "1 keys besides the admin key")
    thread.join(ENDS_WITHIN_SECONDS)
    assert found[0].reason == "KEY_INVALID"
    old = daemon.key
    (daemon.state_dir / "admin.key").write_text("tm_admin_" + "n" * 43 + "\n")
    reload(json.dumps(document), "1 keys besides the admin key")
    assert failure_of(daemon.calls.ListTasks, key=old).reason == "KEY_INVALID"
    assert daemon.calls.ListTasks(key=daemon.key).total_count == 0


def test_a_daemon_with_broken_keys_does_not_start_and_says_why(daemon: Daemon) -> None:
    daemon.stop()
    (daemon.state_dir / "keys.json").write_text('{"version": 9, "keys": []}')
    done = daemon.cli("serve")
    assert done.returncode == 4
    assert "keys.json" in done.stderr and "hint" in done.stderr and "Traceback" not in done.stderr


def test_the_tenant_s_tasks_count_for_the_key_s_quotas(make_daemon: Any) -> None:
    daemon = make_daemon("--max-running", "1").start()
    scopes = ["submit", "read", "control"]

    def key(tenant: str, **quotas: int) -> str:
        return str(daemon.calls.CreateKey(tenant=tenant, scopes=scopes, quotas=quotas).secret)

    spec = {"command": {"argv": ["sleep", "100"]}}
    two = key("a", running_count=2)
    first = daemon.calls.StartTask(spec=spec, key=two, idempotency_key="1").token
    daemon.calls.StartTask(spec=spec, key=two)
    failure = failure_of(daemon.calls.StartTask, spec=spec, key=two)
    assert (failure.code, failure.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "QUOTA_EXCEEDED")
    assert (failure.metadata["quota"], failure.metadata["limit"], failure.metadata["used"]) == ("running_count", "2", "2")
    assert failure.retry_seconds
    assert daemon.calls.StartTask(spec=spec, key=two, idempotency_key="1").token == first, "what is there already is no more"

    waits = key("b", queued_count=1)
    daemon.calls.StartTask(spec=spec, key=waits)
    failure = failure_of(daemon.calls.StartTask, spec=spec, key=waits)
    assert (failure.reason, failure.metadata["quota"]) == ("QUOTA_EXCEEDED", "queued_count")

    none = key("c", running_count=0)
    assert failure_of(daemon.calls.StartTask, spec=spec, key=none).reason == "QUOTA_EXCEEDED"
    for task in daemon.calls.ListTasks(key=two).tasks:
        daemon.calls.Terminate(token=task.token, immediate=True, key=two)
        end_of_foreign(daemon, task.token, two)
    assert daemon.calls.StartTask(spec=spec, key=two).token


def end_of_foreign(daemon: Daemon, token: str, key: str) -> None:
    assert not daemon.calls.WaitTask(token=token, timeout_seconds=20, key=key).timed_out


def test_concurrent_submits_do_not_pass_the_quota_together(daemon: Daemon) -> None:
    key = daemon.calls.CreateKey(tenant="a", scopes=["submit", "read"], quotas={"running_count": 5}).secret
    request = daemon.calls._requests["StartTask"](spec={"command": {"argv": ["sleep", "100"]}})
    metadata = [("authorization", f"Bearer {key}")]
    calls = [daemon.calls._methods["StartTask"].future(request, metadata=metadata) for _ in range(40)]
    refused = [Failure(call.exception(30)).reason for call in calls if call.exception(30) is not None]
    assert refused == ["QUOTA_EXCEEDED"] * 35
    assert daemon.calls.ListTasks(key=key).total_count == 5


def test_bytes_on_disk_count_for_the_quota(daemon: Daemon) -> None:
    key = daemon.calls.CreateKey(tenant="a", scopes=["submit", "read"], quotas={"disk_bytes": 4 << 20}).secret
    spec = {"command": {"argv": ["head", "-c", str(8 << 20), "/dev/zero"]}}
    token = daemon.calls.StartTask(spec=spec, key=daemon.calls.CreateKey(tenant="a", scopes=["submit"]).secret).token
    end_of_foreign(daemon, token, key)
    failure = failure_of(daemon.calls.StartTask, spec=spec, key=key)
    assert (failure.reason, failure.metadata["quota"]) == ("QUOTA_EXCEEDED", "disk_bytes")
    assert int(failure.metadata["used"]) >= 8 << 20


def test_streams_are_capped_per_key(shared_daemon: Daemon, running: str) -> None:
    key = shared_daemon.calls.CreateKey(scopes=["read", "files"], quotas={"stream_count": 2}).secret
    events = shared_daemon.calls.StreamEvents(key=key)
    next(events)
    follow = shared_daemon.calls.ReadFile(token=running, path="stdout", follow=True, key=key)
    next(follow)
    failure = failure_of(shared_daemon.calls.StreamEvents, key=key, timeout=10)
    assert (failure.code, failure.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "TOO_MANY_STREAMS")
    assert failure.retry_seconds and shared_daemon.calls.ListTasks(key=key).total_count
    events.cancel()

    def opened() -> bool:
        again = shared_daemon.calls.StreamEvents(key=key, timeout=10)
        try:
            return bool(next(again))
        except grpc.RpcError:
            return False
        finally:
            again.cancel()

    wait_until(opened, "a place is free again")
    follow.cancel()


def test_g13_no_key_is_anywhere_but_with_its_owner(daemon: Daemon) -> None:
    """Not in files, logs, the audit log, command lines of supervisors, the tasks' environment, or error texts."""
    made = daemon.calls.CreateKey(name="secret keeper", scopes=["submit", "read", "files", "control"])
    token = start(daemon.calls, "sh", "-c", "env; exec sleep 100", env={"PASSWORD": "hunter2-hunter2"})
    wait_until(lambda: b"PATH" in next(daemon.calls.ReadFile(token=token, path="stdout", key=made.secret)).data, "its output")
    texts = [failure_of(daemon.calls.GetTaskStatus, key=made.secret + "x", token=token).message]
    texts += [failure_of(daemon.calls.CreateKey, key=made.secret, scopes=["read"]).message]
    for answer in (
        daemon.calls.ListKeys(include_ended=True),
        daemon.calls.GetTaskRecord(token=token),
        daemon.calls.ListTasks(),
        daemon.calls.GetServerInfo(),
    ):
        texts.append(str(answer))
    events = daemon.calls.StreamEvents(tokens=[token], from_seq=1, include_status=True)
    texts.append(str(next(answer for answer in events if answer.events)))
    events.cancel()
    for pid in processes.of_state_dir(daemon.state_dir):
        texts.append(Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace"))
    daemon.calls.Terminate(token=token, immediate=True)
    end_of(daemon.calls, token)
    daemon.calls.RevokeKey(key_id=made.key.key_id)
    failure_of(daemon.calls.ListTasks, key=made.secret)
    daemon.stop()
    secrets = [made.secret.split("_", 2)[2], daemon.key.split("_", 2)[2]]
    for text in (*texts, daemon.log()):
        assert not any(secret in text for secret in (*secrets, "hunter2-hunter2"))
    looked_at = 0
    for path in daemon.state_dir.rglob("*"):
        if path.is_file() and path.name != "admin.key":
            looked_at += 1
            assert not any(secret.encode() in path.read_bytes() for secret in secrets), path
    assert looked_at > 5


async def test_both_clients_make_list_and_revoke_keys(shared_daemon: Daemon) -> None:
    with SyncClient(state_dir=shared_daemon.state_dir) as client:
        made = client.create_key(["read"], name="sync", tenant="clients", running_count=3, lifetime_seconds=60)
        assert made.secret not in repr(made) and made.key.quotas is not None and made.key.quotas.running_count == 3
        assert [key.key_id for key in client.list_keys(tenant="clients")] == [made.key.key_id]
        with SyncClient(shared_daemon.target, key=made.secret) as other:
            assert list(other.list_tasks()) == []
            client.revoke_key(made.key.key_id)
            with pytest.raises(AuthenticationError):
                list(other.list_tasks())
    async with Client(state_dir=shared_daemon.state_dir) as client:
        made = await client.create_key(["read"], name="aio", tenant="clients")
        assert (await client.revoke_key(made.key.key_id)).ended(time.time())
        names = [key.name for key in await client.list_keys(tenant="clients", include_ended=True)]
        assert names == ["sync", "aio"] and await client.list_keys(tenant="clients") == []
