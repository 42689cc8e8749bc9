"""One sentence for an attempt that failed before its command ran, from the shim's stage, errno and subject."""

from __future__ import annotations

import errno
import os

from taskmeter.executors.taskdir import Exit, Stage

_SENTENCES = {
    Stage.CGROUP: "cannot enter its cgroup: {reason}",
    Stage.STDIN: "cannot open its standard input: {reason}",
    Stage.OUTPUT: "cannot open its output files: {reason}",
    Stage.RLIMIT: "cannot set its limits: {reason}",
    Stage.IDS: "cannot become its user: {reason}",
    Stage.CWD: "cannot enter working directory {subject}: {reason}",
    Stage.EXEC: "cannot run {subject}: {reason}",
    Stage.FORK: "cannot start a process: {reason}",
    Stage.ATTACH: "cannot attach to it: {reason}",
    Stage.LAUNCH_BLOCK: "its supervisor could not be started: {reason}",
}

_NOT_FOUND = 127


def start_message(end: Exit) -> str:
    """Say what failed and why, as a shell would."""
    if end.stage is Stage.EXEC and end.code == _NOT_FOUND:
        return f"command not found: {end.subject}"
    if end.stage is Stage.ATTACH and end.error == errno.ESRCH:
        return "the process ended before it could be attached"
    if end.stage is Stage.LAUNCH_BLOCK and not end.error:
        return "its supervisor could not be started"
    # The shim's own use of this errno: the file is there, but the interpreter in its first line, or its loader, is not.
    reason = "its interpreter was not found" if end.error == errno.ELIBACC else os.strerror(end.error)
    sentence = _SENTENCES.get(end.stage, "it could not be started: {reason}")
    return sentence.format(subject=end.subject or "its own directory", reason=reason)
