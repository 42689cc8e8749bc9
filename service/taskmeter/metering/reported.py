"""What is reported about an attempt: by itself in `task/report`, and by others in `reported`, a block of the daemon's own.

Both have the layout of native/metercore/_c/report.h and are added. The daemon only reads the first, as copies, and believes
nothing of it. It maps neither: whoever runs as the same user could truncate them.
"""

from __future__ import annotations

import os
import stat

from metercore.report import Report as Block
from metercore.report import parse_report, revise_report
from taskmeter.errors import InvalidArgumentError
from taskmeter.model.report import MOST_COUNT, Report
from taskmeter.model.usage import Progress

REPORT_BYTES = 4096
"""Size of a report block."""
MOST_CUSTOM = 16

_NOTHING = Block(0, 0, 0, 0, 0, 0, False, "", "", {})


def take_report(directory: str, report: Report) -> bytes:
    """Return the block `reported` with one more report in it, and see to it that there is room for it on disk.

    Raises `InvalidArgumentError` naming the field of the request, `OSError`.
    """
    descriptor = _open(directory, os.O_RDWR | os.O_CREAT)
    try:
        block = os.pread(descriptor, REPORT_BYTES, 0)
        if len(block) != REPORT_BYTES:
            os.posix_fallocate(descriptor, 0, REPORT_BYTES)
    finally:
        os.close(descriptor)
    try:
        return revise_report(
            block,
            total_count=report.total_count,
            total_size=report.total_size,
            completed_count=report.completed_count,
            completed_size=report.completed_size,
            failed_count=report.failed_count,
            failed_size=report.failed_size,
            status=report.status,
            current_object=report.current_object,
            ready=report.ready,
            custom=dict(report.custom),
        )
    except OverflowError as error:
        raise _refused(report, str(error), f"would exceed {MOST_COUNT} with what was reported before") from error
    except LookupError as error:
        raise _refused(report, str(error.args[0]), f"is a counter too many: a task has {MOST_CUSTOM} at most") from error


def keep_report(directory: str, block: bytes) -> None:
    """Replace the block `reported`, which `take_report` has made. Raises `OSError`."""
    descriptor = _open(directory, os.O_WRONLY)
    try:
        os.pwrite(descriptor, block, 0)
    finally:
        os.close(descriptor)


def read_progress(directory: str) -> Progress:
    """Read both blocks once more: they outlive the work, and nothing that was reported may be missing in the end."""
    own, other = _read(f"{directory}/task/report"), _read(f"{directory}/reported")
    custom = {name: min(own.custom.get(name, 0) + other.custom.get(name, 0), MOST_COUNT) for name in own.custom | other.custom}
    return Progress(
        total_count=min(own.total_count + other.total_count, MOST_COUNT),
        completed_count=min(own.completed_count + other.completed_count, MOST_COUNT),
        failed_count=min(own.failed_count + other.failed_count, MOST_COUNT),
        total_size=min(own.total_size + other.total_size, MOST_COUNT),
        completed_size=min(own.completed_size + other.completed_size, MOST_COUNT),
        failed_size=min(own.failed_size + other.failed_size, MOST_COUNT),
        status=other.status or own.status,
        current_object=other.current_object or own.current_object,
        ready=own.ready or other.ready,
        custom=custom,
    )


def _read(path: str) -> Block:
    try:
        # The file may be the task's: a link, or a pipe that nobody writes to.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return _NOTHING
    try:
        return parse_report(os.read(descriptor, REPORT_BYTES)) or _NOTHING
    except OSError:
        return _NOTHING
    finally:
        os.close(descriptor)


def _open(directory: str, flags: int) -> int:
    descriptor = os.open(f"{directory}/reported", flags | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK, 0o600)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(5, os.strerror(5))  # somebody with our rights has put something else there
    return descriptor


def _refused(report: Report, name: str, problem: str) -> InvalidArgumentError:
    way = "set" if name.startswith("total") else "add"
    field = f"add_custom[{name!r}]" if name in report.custom else f"{way}_{name}"
    return InvalidArgumentError(f"{field}: {problem}", fields=[(field, problem)])
