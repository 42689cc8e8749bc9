"""The report key says whose it is, and nobody but the daemon can make one."""

from __future__ import annotations

import pytest

from taskmeter.core.report_key import read_report_key, report_key
from taskmeter.model.ids import new_token

SECRET = b"s" * 43


@pytest.mark.parametrize("attempt", [0, 1, 999_999_999])
def test_a_key_names_its_token_and_attempt(attempt: int) -> None:
    token = new_token()
    assert read_report_key(SECRET, report_key(SECRET, token, attempt)) == (token, attempt)


def test_a_key_of_another_secret_task_or_attempt_is_none() -> None:
    token, other = new_token(), new_token()
    key = report_key(SECRET, token, 0)
    proof = key.split("_", 3)[3]
    assert read_report_key(b"t" * 43, key) is None
    for forged in (f"tr_{other[3:]}_0_{proof}", f"tr_{token[3:]}_1_{proof}", f"tr_{token[3:]}_00_{proof}", key + "A", key[:-1]):
        assert read_report_key(SECRET, forged) is None


@pytest.mark.parametrize(
    "text", ["", "tr", "tr___", "tm_a_b", "tr_x_0_y", "tr_" + "é" * 22 + "_0_y", "tr_" + "a" * 22 + "_-1_y", "\udcff_0_0_0"]
)
def test_what_is_no_key_is_none(text: str) -> None:
    assert read_report_key(SECRET, text) is None


def test_without_a_secret_there_are_no_keys() -> None:
    assert read_report_key(b"", report_key(b"", new_token(), 0)) is None
