"""The audit log: who did what to which task, how it was decided, and nothing that is secret."""

from __future__ import annotations

import json
import stat
from typing import Any

from tests.daemon import Daemon
from tests.integration.helpers import end_of, failure_of, start
from tests.waiting import wait_until


def entries(daemon: Daemon) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (daemon.state_dir / "audit.jsonl").read_text().splitlines()]


def of(daemon: Daemon, method: str) -> list[dict[str, Any]]:
    return [entry for entry in entries(daemon) if entry["method"].endswith(f"/{method}")]


def test_changes_streams_and_refusals_are_noted_with_key_tenant_and_token(daemon: Daemon) -> None:
    made = daemon.calls.CreateKey(tenant="acme", scopes=["submit", "read", "files"])
    spec = {"command": {"argv": ["echo", "secret argument"]}, "env": {"PASSWORD": "hunter2"}, "name": "secret name"}
    token = daemon.calls.StartTask(spec=spec, key=made.secret).token
    daemon.calls.WaitTask(token=token, timeout_seconds=20, key=made.secret)
    list(daemon.calls.ReadFile(token=token, path="stdout", key=made.secret))
    failure_of(daemon.calls.Terminate, token=token, key=made.secret, reason="secret reason")
    failure_of(daemon.calls.ReadFile, token=token, path="stdout")
    failure_of(daemon.calls.StartTask, spec={}, key=made.secret)
    failure_of(daemon.calls.ListTasks, key=f"tm_{made.key.key_id}_" + "x" * 43)
    [create] = of(daemon, "CreateKey")
    assert (create["key_id"], create["tenant"], create["decision"]) == ("admin", "default", "allowed")
    began, refused = of(daemon, "StartTask")
    assert (began["key_id"], began["tenant"], began["tokens"]) == (made.key.key_id, "acme", [token])
    assert (began["decision"], began["code"], began["peer"][:5]) == ("allowed", "OK", "unix:")
    assert (refused["decision"], refused["code"], refused["reason"]) == ("refused", "INVALID_ARGUMENT", "FIELD_INVALID")
    [denied] = of(daemon, "Terminate")
    assert (denied["key_id"], denied["code"], denied["reason"]) == (made.key.key_id, "PERMISSION_DENIED", "SCOPE_MISSING")
    read, foreign, not_found = of(daemon, "ReadFile")
    assert (read["code"], read["key_id"]) == ("OPEN", made.key.key_id)
    assert (foreign["key_id"], not_found["code"], not_found["tokens"]) == ("admin", "NOT_FOUND", [token])
    [unknown] = of(daemon, "ListTasks")
    assert (unknown["key_id"], unknown["tenant"], unknown["reason"]) == ("", "", "KEY_INVALID")
    assert not of(daemon, "WaitTask"), "reads are not noted unless they are refused"
    path = daemon.state_dir / "audit.jsonl"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    for word in ("secret", "hunter2", made.secret, daemon.key):
        assert word not in path.read_text()


def test_a_stream_that_revocation_ends_is_noted(daemon: Daemon) -> None:
    made = daemon.calls.CreateKey(scopes=["read"])
    stream = daemon.calls.StreamEvents(key=made.secret)
    next(stream)
    daemon.calls.RevokeKey(key_id=made.key.key_id)
    wait_until(lambda: [entry["code"] for entry in of(daemon, "StreamEvents")] == ["OPEN", "UNAUTHENTICATED"], "its end")


def test_notes_go_on_after_a_restart_and_all_or_nothing_is_noted_as_asked(make_daemon: Any) -> None:
    daemon = make_daemon(env={"TASKMETER_AUDIT": "all"}).start()
    token = start(daemon.calls, "true")
    end_of(daemon.calls, token)
    daemon.restart()
    daemon.calls.GetTaskStatus(token=token)
    assert [entry["tokens"] for entry in of(daemon, "GetTaskStatus")] == [[token]]
    assert [entry["tokens"] for entry in of(daemon, "StartTask")] == [[token]]
    quiet = make_daemon(env={"TASKMETER_AUDIT": "off"}).start()
    end_of(quiet.calls, start(quiet.calls, "true"))
    assert not (quiet.state_dir / "audit.jsonl").exists()
