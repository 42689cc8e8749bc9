from __future__ import annotations

import pytest

from taskmeter.executors.environment import base_environment, compose, encode_argv


def test_the_base_has_no_secrets_of_the_daemon() -> None:
    own = {"PATH": "/bin", "HOME": "/h", "LC_ALL": "C", "TZ": "UTC", "AWS_SECRET": "x", "TASKMETER_KEY": "x", "PYTHONPATH": "/p"}
    assert base_environment(own) == {"PATH": "/bin", "HOME": "/h", "LC_ALL": "C", "TZ": "UTC", "PYTHONUNBUFFERED": "1"}


def test_later_layers_win() -> None:
    assert compose(({"A": "1", "B": "1"}, {"B": "2"}, {"C": "=3=", "D": ""})) == [b"A=1", b"B=2", b"C==3=", b"D="]


def test_a_task_may_want_its_python_buffered() -> None:
    assert compose((base_environment({}), {"PYTHONUNBUFFERED": ""})) == [b"PYTHONUNBUFFERED="]


def test_bytes_that_are_no_utf8_survive() -> None:
    assert compose(({"A": "\udcff"},)) == [b"A=\xff"]


@pytest.mark.parametrize(("name", "value"), [("", "x"), ("A=B", "x"), ("A\0", "x"), ("A", "x\0y")])
def test_what_exec_cannot_carry_is_refused(name: str, value: str) -> None:
    with pytest.raises(ValueError, match="not a valid environment variable"):
        compose(({name: value},))


@pytest.mark.parametrize("argv", [[], ["a", "b\0c"]])
def test_an_impossible_command_line_is_refused(argv: list[str]) -> None:
    with pytest.raises(ValueError, match="argv"):
        encode_argv(argv)
