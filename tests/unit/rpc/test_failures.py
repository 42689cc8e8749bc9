"""What a call is answered when something went wrong below it: the machine's troubles have codes of their own (G11)."""

from __future__ import annotations

import base64
import errno
import os
from urllib.parse import quote

import pytest

from taskmeter.errors import InvalidArgumentError
from taskmeter.rpc.status import rpc_status, translate


@pytest.mark.guarantee("G11")
@pytest.mark.parametrize(
    ("number", "code", "reason"),
    [
        (errno.EIO, "UNAVAILABLE", "STORE_UNAVAILABLE"),
        (errno.EROFS, "UNAVAILABLE", "STORE_UNAVAILABLE"),
        (errno.EMFILE, "UNAVAILABLE", "STORE_UNAVAILABLE"),
        (errno.ENOSPC, "RESOURCE_EXHAUSTED", "DISK_FULL"),
        (errno.EPERM, "INTERNAL", "INTERNAL"),
    ],
)
def test_an_error_of_the_machine_is_no_bug_and_shows_no_path(number: int, code: str, reason: str) -> None:
    shown = translate(OSError(number, os.strerror(number), "/a/path"))
    assert (shown.code, shown.reason) == (code, reason)
    assert "/a/path" not in shown.message
    assert bool(shown.retry_after_seconds) is (code != "INTERNAL")


def test_what_is_not_ours_is_told_by_an_opaque_id_alone() -> None:
    assert "secret" not in translate(RuntimeError("secret")).message


def test_what_many_long_fields_are_refused_with_fits_into_the_metadata_that_clients_take() -> None:
    fields = [(f"spec.env[{'ü' * 300}{number}]", "is no name of a variable") for number in range(1000)]
    status = rpc_status(InvalidArgumentError("; ".join(f"{field} {problem}" for field, problem in fields), fields=fields))
    sent = len(quote(status.message)) + len(base64.b64encode(status.SerializeToString()))
    assert 2000 < sent < 8192 - 256
    assert status.message.endswith("…")
