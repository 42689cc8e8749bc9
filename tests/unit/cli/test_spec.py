from __future__ import annotations

import click
import pytest

from taskmeter.cli import exits
from taskmeter.cli.options import PAIR, SPAN
from taskmeter.cli.spec import environment, name_of
from taskmeter.cli.table import Column, fitted
from taskmeter.errors import (
    ConflictError,
    DeadlineError,
    InternalError,
    InvalidArgumentError,
    LimitError,
    NotFoundError,
    UnavailableError,
)
from taskmeter.model.state import Outcome


@pytest.mark.parametrize(
    ("command", "name"),
    [
        (("make", "all"), "make"),
        (("/usr/bin/python3.11", "dir/job.py", "-x"), "job.py"),
        (("python", "-u", "job.py"), "job.py"),
        (("python", "-m", "package.tool", "x"), "package.tool"),
        (("python", "-c", "print(1)"), "python"),
        (("sh", "-c", "a | b"), "sh"),
        (("bash", "run.sh"), "run.sh"),
        (("python",), "python"),
    ],
)
def test_a_task_is_called_like_what_it_runs(command, name):
    assert name_of(command) == name


def test_the_environment_goes_along_without_what_is_ours():
    ours = {"PATH": "/bin", "TASKMETER_KEY": "secret", "HOME": "/h"}
    assert environment(ours, {"HOME": "/other"}, clean=False) == {"PATH": "/bin", "HOME": "/other"}
    assert environment(ours, {"A": "b"}, clean=True) == {"A": "b"}


def test_bytes_that_are_not_utf_8_do_not_stop_a_task():
    assert environment({"A": "\udcff", "\udcff": "x"}, {}, clean=False) == {"A": "\ufffd"}


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90", 90), ("1.5s", 1.5), ("10m", 600), ("2h30m", 9000), ("250ms", 0.25), ("1d", 86400), ("1h 5m", 3900)],
)
def test_spans_are_read(text, seconds):
    assert SPAN.convert(text, None, None) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "soon", "5x", "-5", "1h-", "s", "1e400s", "nan"])
def test_other_spans_are_refused(text):
    with pytest.raises(click.BadParameter):
        SPAN.convert(text, None, None)


def test_pairs_are_split_at_the_first_sign():
    assert PAIR.convert("a=b=c", None, None) == ("a", "b=c")
    for wrong in ("a", "=b", ""):
        with pytest.raises(click.BadParameter):
            PAIR.convert(wrong, None, None)


@pytest.mark.parametrize(
    ("outcome", "exit_code", "exit_signal", "code"),
    [
        (Outcome.SUCCEEDED, 0, 0, 0),
        (Outcome.FAILED, 3, 0, 3),
        (Outcome.SIGNALED, -9, 9, 137),
        (Outcome.FAILED_TO_START, 127, 0, 127),
        (Outcome.CANCELLED, -15, 15, 143),
        (Outcome.CANCELLED, 0, 0, 143),
        (Outcome.CANCELLED, -1, 0, 143),
        (Outcome.TIMED_OUT, 0, 0, 124),
        (Outcome.LOST, -1, 0, 125),
        (Outcome.OOM_KILLED, -9, 9, 137),
    ],
)
def test_exit_codes_stand_for_outcomes(outcome, exit_code, exit_signal, code):
    assert exits.code_of_task(outcome, exit_code, exit_signal) == code


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (UnavailableError("x"), 4),
        (UnavailableError("x", reason="DRAINING"), 3),
        (NotFoundError("x"), 3),
        (ConflictError("x"), 3),
        (LimitError("x"), 3),
        (InvalidArgumentError("x"), 2),
        (InternalError("x"), 1),
        (DeadlineError("x"), 1),
    ],
)
def test_exit_codes_stand_for_errors(error, code):
    assert exits.code_of(error) == code


@pytest.mark.parametrize(
    ("width", "headings"), [(80, ["ID", "NAME", "MORE", "MOST"]), (30, ["ID", "NAME", "MORE"]), (16, ["ID", "NAME"])]
)
def test_a_table_gives_up_columns_by_rank_and_never_cuts_figures(width, headings):
    from rich.text import Text

    columns = [Column("ID"), Column("NAME", flexible=True), Column("MORE", rank=1), Column("MOST", rank=2)]
    rows = [[Text("tk12"), Text("n" * 30), Text("1234567890"), Text("1234567890")]]
    table = fitted(columns, rows, width)
    assert [column.header for column in table.columns] == headings
    assert table.columns[0].width == 4
    assert sum((column.width or 0) + 2 for column in table.columns) - 2 <= width
