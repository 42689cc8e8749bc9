"""Failpoints: armed by the environment only, free when they are not, and each one stands in the sources."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from taskmeter import failpoints
from taskmeter.failpoints import IN_SHIM, NAMES, parse

ROOT = Path(__file__).parents[2]
SERVICE = ROOT / "service" / "taskmeter"
SHIM = ROOT / "native" / "shim"


def run_armed(text: str, code: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "TASKMETER_FAILPOINTS": text}
    code = f"from taskmeter.failpoints import hit, hit_after, for_shim\n{code}"
    return subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=False)


def test_nothing_is_armed_by_default() -> None:
    assert not failpoints.armed
    assert failpoints.hit is failpoints.hit_after is failpoints._nothing
    assert failpoints.for_shim() == 0


def test_a_crash_is_a_sigkill_after_as_many_passes_as_were_asked_for() -> None:
    done = run_armed("submit.before_tx=crash*1+2", "for n in range(9): print(n, flush=True); hit('submit.before_tx')")
    assert (done.returncode, done.stdout) == (-9, "0\n1\n2\n")


def test_an_error_is_raised_as_often_as_was_asked_for() -> None:
    code = "for n in range(4):\n try: hit('events.after_read'); print('fine')\n except OSError as e: print(e.errno)"
    assert run_armed("events.after_read=error*2", code).stdout.split() == ["5", "5", "fine", "fine"]


def test_execute_then_error_is_raised_only_after_the_operation() -> None:
    code = "hit('submit.before_commit'); print('done')\ntry: hit_after('submit.before_commit')\nexcept OSError: print('failed')"
    assert run_armed("submit.before_commit=execute-then-error*1", code).stdout.split() == ["done", "failed"]


def test_a_launch_takes_what_its_shim_is_to_suffer() -> None:
    done = run_armed("shim.after_claim=crash*1;stop.before_kill=sleep*1", "print(*(for_shim() for _ in range(3)))")
    assert done.stdout.split() == [str(2 << 4 | 1), str(9 << 4 | 2), "0"]


@pytest.mark.parametrize("text", ["nowhere=crash", "submit.before_tx=explode", "submit.before_tx", "submit.before_tx=crash*"])
def test_what_is_not_understood_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="TASKMETER_FAILPOINTS"):
        parse(text)


def test_every_failpoint_of_the_daemon_stands_in_the_sources_and_no_other() -> None:
    sources = "".join(path.read_text() for path in SERVICE.rglob("*.py") if path.name != "failpoints.py")
    found = set(re.findall(r'hit(?:_after)?,? ?\(?"([a-z_.]+)"', sources))
    reads = {
        f"reconcile.after_{name}"
        for name in re.findall(r'c_was_read\("(\w+)"\)', (ROOT / "native/metercore/attempt.pyx").read_text())
    }
    assert found | reads == set(NAMES)


def test_the_shim_has_the_same_failpoints_in_the_same_order_and_reaches_each() -> None:
    header = (SHIM / "taskdir.h").read_text()
    names = re.findall(r"TM_FAIL_(\w+)", header[header.index("enum tm_failpoint {") :])
    assert [name.lower() for name in names] == [name.partition(".")[2] for name in IN_SHIM]
    sources = "".join(path.read_text() for path in SHIM.glob("*.[ch]"))
    assert {name for name in names if f"failpoint(TM_FAIL_{name})" in sources} == set(names)
