"""A background-task manager's records: idempotency, tags and encryption, and what it got wrong.

There, a retry of an encrypted task ran with empty arguments, tags were lost on a restart, and a retry deleted the record.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from cryptography.fernet import Fernet

from taskmeter import SyncClient
from tests.daemon import Daemon


def test_a_key_names_the_task_that_has_not_failed_and_is_free_after_a_failure(shared_daemon: Daemon) -> None:
    with SyncClient(state_dir=str(shared_daemon.state_dir)) as client:
        first = client.start(["true"], idempotency_key="done").token
        client.wait_task(first)
        assert client.start(["true"], idempotency_key="done").token == first
        failed = client.start(["false"], idempotency_key="failed").token
        client.wait_task(failed)
        assert client.start(["false"], idempotency_key="failed").token != failed


def test_a_retry_of_an_encrypted_task_has_its_arguments_and_its_record_stays(
    make_daemon: Callable[..., Daemon], tmp_path: Path
) -> None:
    keys = tmp_path / "keys"
    keys.write_bytes(Fernet.generate_key() + b"\n")
    keys.chmod(0o600)
    daemon = make_daemon("--encryption-key-file", str(keys)).start()
    script = 'echo "$0 $ENV"; [ $TASKMETER_ATTEMPT = 1 ]'
    with SyncClient(state_dir=str(daemon.state_dir)) as client:
        token = client.start(["sh", "-c", script, "argument"], env={"ENV": "value"}, tags={"a": "b"}).token
        before = client.wait_task(token)
        assert before.simple_status == "failed"
    daemon.restart()
    with SyncClient(state_dir=str(daemon.state_dir)) as client:
        record = daemon.calls.GetTaskRecord(token=token).record
        assert (record.encrypted, record.args_json) == (True, "[]")
        client.retry_task(token)
        after = client.wait_task(token)
        assert (after.simple_status, after.token, after.create_time) == ("success", token, before.create_time)
        assert after.tags == {"a": "b"}
        said = b"".join(part.data for part in daemon.calls.ReadFile(token=token, path="stdout"))
        assert said == b"argument value\n"
