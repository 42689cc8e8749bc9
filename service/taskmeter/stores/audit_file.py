"""audit.jsonl: one JSON object per decision, appended and never changed; the oldest file goes when the bound is reached."""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Callable
from pathlib import Path

from taskmeter.core.audit import Decision

NAME = "audit.jsonl"
KEPT_FILES = 4
"""Of equal size: audit.jsonl, audit.jsonl.1, …; together they stay within the bound."""
MAX_REFUSALS_PER_SECOND = 100
"""A flood of calls without a key must not push everything else out; what is left out is counted."""
MAX_TOKENS = 16

log = logging.getLogger(__name__)


class AuditFile:
    """Writes the audit log; implements `core.audit.AuditLog`."""

    def __init__(self, state_dir: Path, max_bytes: int, clock: Callable[[], float] = time.time) -> None:
        self._path = state_dir / NAME
        self._file_bytes = max(4096, max_bytes // KEPT_FILES)
        self._clock = clock
        self._descriptor = -1
        self._size_bytes = 0
        self._second = 0
        self._refusals = 0
        self._failed = False

    def note(self, decision: Decision) -> None:
        now = self._clock()
        if int(now) != self._second:
            left_out, self._second, self._refusals = self._refusals - MAX_REFUSALS_PER_SECOND, int(now), 0
            if left_out > 0:
                self._write({"time": round(now, 6), "decision": "refused", "left_out_count": left_out})
        if not decision.key_id:
            self._refusals += 1
            if self._refusals > MAX_REFUSALS_PER_SECOND:
                return
        entry: dict[str, object] = {
            "time": round(now, 6),
            "key_id": decision.key_id,
            "tenant": decision.tenant,
            "method": decision.method,
            "tokens": list(decision.tokens[:MAX_TOKENS]),
            "decision": "allowed" if decision.code in {"OK", "OPEN"} else "refused",
            "code": decision.code,
            "reason": decision.reason,
            "peer": decision.peer,
        }
        if len(decision.tokens) > MAX_TOKENS:
            entry["token_count"] = len(decision.tokens)
        self._write(entry)

    def close(self) -> None:
        """Make what was noted durable and close the file."""
        if self._descriptor >= 0:
            try:
                os.fsync(self._descriptor)
            except OSError as error:
                self._fail(error)
            os.close(self._descriptor)
            self._descriptor = -1

    def _write(self, entry: dict[str, object]) -> None:
        line = (json.dumps(entry, separators=(",", ":")) + "\n").encode()
        try:
            if self._descriptor < 0:
                self._open()
            elif self._size_bytes + len(line) > self._file_bytes:
                self._rotate()
            written = os.write(self._descriptor, line)  # into the page cache: a few microseconds, and it survives a kill -9
            self._size_bytes += written
            if written < len(line):  # the disk is full: the half line must not spoil the next
                self._size_bytes -= written
                os.ftruncate(self._descriptor, self._size_bytes)
        except OSError as error:
            self._fail(error)
        else:
            self._failed = False

    def _open(self) -> None:
        self._descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self._size_bytes = os.fstat(self._descriptor).st_size

    def _rotate(self) -> None:
        self.close()
        for number in range(KEPT_FILES - 1, 0, -1):
            older = self._path.with_name(f"{NAME}.{number}")
            newer = self._path.with_name(f"{NAME}.{number - 1}") if number > 1 else self._path
            if newer.exists():
                os.replace(newer, older)
        self._open()

    def _fail(self, error: OSError) -> None:
        """Say once that notes are lost: calls go on, so that tasks can still be stopped."""
        if not self._failed:
            self._failed = True
            log.error("the audit log cannot be written: %s", os.strerror(error.errno or 0))
