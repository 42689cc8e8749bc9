from __future__ import annotations

import errno

import pytest

from taskmeter.executors.outcome import start_message
from taskmeter.executors.taskdir import Exit, ExitKind, Stage


@pytest.mark.parametrize(
    ("stage", "error", "code", "subject", "message"),
    [
        (Stage.EXEC, errno.ENOENT, 127, "foo", "command not found: foo"),
        (Stage.EXEC, errno.EACCES, 126, "./foo", "cannot run ./foo: Permission denied"),
        (Stage.EXEC, errno.ELIBACC, 126, "foo", "cannot run foo: its interpreter was not found"),
        (Stage.CWD, errno.EACCES, 126, "/x", "cannot enter working directory /x: Permission denied"),
        (Stage.CWD, errno.ENOENT, 126, "", "cannot enter working directory its own directory: No such file or directory"),
        (Stage.STDIN, errno.EMFILE, 126, "", "cannot open its standard input: Too many open files"),
        (Stage.OUTPUT, errno.ENOSPC, 126, "", "cannot open its output files: No space left on device"),
        (Stage.CGROUP, errno.EBUSY, 126, "", "cannot enter its cgroup: Device or resource busy"),
        (Stage.FORK, errno.EAGAIN, 126, "", "cannot start a process: Resource temporarily unavailable"),
        (Stage.IDS, errno.EPERM, 126, "", "cannot become its user: Operation not permitted"),
        (Stage.RLIMIT, errno.EPERM, 126, "", "cannot set its limits: Operation not permitted"),
        (Stage.LAUNCH_BLOCK, errno.ENOMEM, 126, "", "its supervisor could not be started: Cannot allocate memory"),
        (Stage.NONE, errno.EIO, 126, "", "it could not be started: Input/output error"),
    ],
)
def test_each_stage_has_its_sentence(stage: Stage, error: int, code: int, subject: str, message: str) -> None:
    assert start_message(Exit(ExitKind.EXEC_FAILED, 1, code=code, error=error, stage=stage, subject=subject)) == message
