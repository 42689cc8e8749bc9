"""The audit log on disk: whole lines, bounded by rotation, bounded refusals, and no call that fails for it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from taskmeter.core.audit import Decision
from taskmeter.stores.audit_file import KEPT_FILES, MAX_REFUSALS_PER_SECOND, AuditFile

ALLOWED = Decision("k1", "default", "/taskmeter.v1.TaskService/StartTask", ("t" * 26,), "OK", peer="unix:")
REFUSED = Decision("", "", "/taskmeter.v1.TaskService/StartTask", (), "UNAUTHENTICATED", "KEY_MISSING")


def lines(directory: Path) -> list[dict[str, object]]:
    return [json.loads(line) for path in directory.glob("audit.jsonl*") for line in path.read_text().splitlines()]


def test_all_files_together_stay_within_the_bound_and_the_newest_notes_are_kept(tmp_path: Path) -> None:
    bound = 64 * 1024
    audit = AuditFile(tmp_path, bound, clock=iter(range(10_000)).__next__)
    for _ in range(3000):
        audit.note(ALLOWED)
    audit.close()
    files = sorted(path.name for path in tmp_path.iterdir())
    assert files == ["audit.jsonl", *(f"audit.jsonl.{number}" for number in range(1, KEPT_FILES))]
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= bound
    times = sorted(int(str(entry["time"])) for entry in lines(tmp_path))
    assert times[-1] == 2999 and times == list(range(times[0], 3000))


def test_a_flood_without_a_key_is_counted_and_pushes_nothing_out(tmp_path: Path) -> None:
    now = [1000.0]
    audit = AuditFile(tmp_path, 1 << 20, clock=lambda: now[0])
    for _ in range(1000):
        audit.note(REFUSED)
    audit.note(ALLOWED)
    now[0] += 1
    audit.note(REFUSED)
    audit.close()
    found = lines(tmp_path)
    assert len(found) == MAX_REFUSALS_PER_SECOND + 3
    assert [entry["left_out_count"] for entry in found if "left_out_count" in entry] == [1000 - MAX_REFUSALS_PER_SECOND]


def test_a_log_that_cannot_be_written_is_said_once_and_harms_no_call(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "audit.jsonl").mkdir()
    audit = AuditFile(tmp_path, 1 << 20)
    for _ in range(3):
        audit.note(ALLOWED)
    assert [record.message for record in caplog.records] == ["the audit log cannot be written: Is a directory"]
    (tmp_path / "audit.jsonl").rmdir()
    audit.note(ALLOWED)
    audit.close()
    assert len(lines(tmp_path)) == 1
