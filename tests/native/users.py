"""Run a function as an ordinary user, in a fork: what is imported stays usable where that user could not read it."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable

NOBODY = 65534


def as_nobody(function: Callable[[], object]) -> None:
    """Call `function` in a child with uid and gid 65534 and no groups; fail if it raises."""

    def call() -> None:
        os.setgroups([])
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)
        function()

    in_child(call)


def in_child(function: Callable[[], object]) -> None:
    """Call `function` in a child; fail if it raises."""
    sys.stderr.flush()
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            function()
            code = 0
        except BaseException:  # noqa: BLE001 — the child must not go on as the parent, whatever happened
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(code)
    assert os.waitpid(pid, 0)[1] == 0, "it failed in the child, see above"
