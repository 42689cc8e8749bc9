"""Takes the mechanism behind each guarantee away, in a copy of the tree, and expects the test that names it to fail.

`python -m tests.faults.reverts [G3…]` prints which test noticed which reversal; exits 1 when one was not noticed, or when what
was to be reverted does not stand in the sources any more. `make faults ARGS=reverts` runs all of them.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import monotonic

ROOT = Path(__file__).resolve().parents[2]
NOT_COPIED = shutil.ignore_patterns(
    ".git", ".venv", "test-results", "bench", "__pycache__", ".*_cache", ".hypothesis", "*.egg-info"
)
TEST_SECONDS = 300


@dataclass(frozen=True, slots=True)
class Revert:
    """What is taken away, and by which test that has to be noticed."""

    guarantee: str
    mechanism: str
    file: str
    before: str
    """Stands in the file exactly once."""
    after: str
    test: str

    @property
    def is_native(self) -> bool:
        return self.file.startswith("native/")


CLAIM = "native/shim/shim.c"
LAUNCH = "tests/faults/test_double_launch.py"
REVERTS = (
    Revert(
        "G1",
        "a commit is acknowledged when it is on disk (`synchronous=FULL`)",
        "service/taskmeter/stores/sqlite.py",
        'connection.pragma("synchronous", 2)',
        'connection.pragma("synchronous", 1)',
        "tests/faults/test_power_cut.py::test_g1_a_hundred_power_cuts_lose_nothing_that_was_acknowledged",
    ),
    Revert(
        "G2",
        "a due time that may have run is looked for among the tasks, because a failed one's key is free",
        "service/taskmeter/core/schedules.py",
        "if found.key not in self._unsure:",
        "if True:",
        "tests/integration/test_schedules.py::test_g2_a_kill_between_the_task_and_its_settlement_neither_loses_nor_repeats_it",
    ),
    Revert(
        "G2",
        "what ran since the schedules' file was written is settled when the database is built anew",
        "service/taskmeter/core/keep_schedules.py",
        "if not schedule.next_time:",
        "if True:",
        "tests/integration/test_schedules.py::test_g2_g13_schedules_outlive_their_database_sealed_and_run_no_due_time_twice",
    ),
    Revert(
        "G2",
        "a submit looks up who holds its key",
        "service/taskmeter/core/start_task.py",
        "holder = service.store.find_key(tenant, idempotency_key)",
        "holder = None",
        "tests/integration/test_start_task.py::test_the_same_idempotency_key_gives_the_same_task_even_at_the_same_moment",
    ),
    Revert(
        "G2",
        "a key in use stays reserved while its first submit is being stored",
        "service/taskmeter/core/start_task.py",
        "async with service.key_locks.hold((tenant, idempotency_key)):",
        "if True:",
        "tests/integration/test_start_task.py::test_the_same_idempotency_key_gives_the_same_task_even_at_the_same_moment",
    ),
    Revert(
        "G3",
        "the claim is made with O_EXCL",
        CLAIM,
        'open_record("claim", O_WRONLY | O_EXCL)',
        'open_record("claim", O_WRONLY)',
        f"{LAUNCH}::test_g3_a_second_supervisor_leaves_wherever_the_first_one_stands",
    ),
    Revert(
        "G3",
        "the supervisor holds the attempt's lock, and leaves when somebody else does",
        CLAIM,
        "return fd >= 0 && fcntl(fd, F_SETLK, &whole) == 0;",
        "return fd >= 0 && whole.l_type == F_WRLCK;",
        f"{LAUNCH}::test_g3_a_second_supervisor_leaves_wherever_the_first_one_stands",
    ),
    Revert(
        "G3",
        "the same, seen by a daemon that starts meanwhile",
        CLAIM,
        "return fd >= 0 && fcntl(fd, F_SETLK, &whole) == 0;",
        "return fd >= 0 && whole.l_type == F_WRLCK;",
        f"{LAUNCH}::test_g3_g4_a_daemon_that_starts_while_a_supervisor_stands_somewhere_begins_nothing_twice",
    ),
    Revert(
        "G3",
        "recovery reads claim, lock, exit in this order (here: the exit first)",
        "native/metercore/attempt.pyx",
        """            error = c_read_record(descriptor, "claim", &claim, sizeof(tm_claim))
            if error == 0:
                error = c_was_read("claim")
            if error == 0:
                error = c_lock_owner(descriptor, &owner)
            if error == 0:
                error = c_was_read("lock")
            if error == 0:
                error = c_read_record(descriptor, "gone", &gone, c_GONE_BYTES)
            if error == 0:
                error = c_was_read("gone")
            if error == 0:
                error = c_read_record(descriptor, "exit", &exited, sizeof(tm_exit))
            if error == 0:
                error = c_was_read("exit")
""",
        """            error = c_read_record(descriptor, "exit", &exited, sizeof(tm_exit))
            if error == 0:
                error = c_was_read("exit")
            if error == 0:
                error = c_read_record(descriptor, "gone", &gone, c_GONE_BYTES)
            if error == 0:
                error = c_was_read("gone")
            if error == 0:
                error = c_lock_owner(descriptor, &owner)
            if error == 0:
                error = c_was_read("lock")
            if error == 0:
                error = c_read_record(descriptor, "claim", &claim, sizeof(tm_claim))
            if error == 0:
                error = c_was_read("claim")
""",
        f"{LAUNCH}::test_g3_what_is_read_of_an_attempt_that_ends_meanwhile_is_never_a_loss",
    ),
    Revert(
        "G3",
        "an attempt whose supervisor came after its claim was looked for is looked at again",
        "service/taskmeter/executors/records.py",
        "records[0] is None and (",
        "records[0] is None and not (",
        f"{LAUNCH}::test_g3_a_supervisor_that_comes_in_the_middle_of_a_look_runs_alone",
    ),
    Revert(
        "G4",
        "a starting daemon adopts what runs",
        "service/taskmeter/core/recovery.py",
        "            service.executor.adopt(task.token, task.attempt, started=facts.started is not None, at_once=not runs_on)\n",
        "",
        f"{LAUNCH}::test_g3_g4_a_daemon_that_starts_while_a_supervisor_stands_somewhere_begins_nothing_twice",
    ),
    Revert(
        "G5",
        "the signal that ended the main process is told",
        "service/taskmeter/executors/records.py",
        "exit_signal=end.signal,",
        "exit_signal=0,",
        "tests/integration/test_outcomes.py::test_exits_and_signals_are_exact",
    ),
    Revert(
        "G6",
        "orphans of a task become children of its supervisor",
        CLAIM,
        "prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);",
        "prctl(PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0);",
        "tests/integration/test_terminate.py::test_no_process_survives_a_stop",
    ),
    Revert(
        "G7",
        "the deadline of a stop, at which the whole tree is killed",
        CLAIM,
        "        kill_at_ns = limit;\n",
        "        kill_at_ns = NEVER;\n",
        "tests/integration/test_terminate.py::test_no_process_survives_a_stop",
    ),
    Revert(
        "G8",
        "a transaction that failed gives its numbers back",
        "service/taskmeter/stores/sqlite.py",
        "        self._written_head = head\n        if self._writing.in_transaction",
        "        if self._writing.in_transaction",
        "tests/faults/test_sqlite_faults.py::test_g1_g11_random_faults_lose_nothing_acknowledged",
    ),
    Revert(
        "G8",
        "the position before the first event is one to resume from",
        "service/taskmeter/client/resume.py",
        "if response.seq or response.resume_token:",
        "if response.seq:",
        "tests/integration/test_broken_connections.py"
        "::test_g8_a_stream_that_began_before_the_first_event_misses_none_when_it_is_cut",
    ),
    Revert(
        "G8",
        "a stream that fell silent goes on over a new connection",
        "service/taskmeter/client/sync.py",
        "            if watchdog.fired:\n                self._replace(method, callable_)\n",
        "",
        "tests/integration/test_broken_connections.py::test_g8_a_dead_connection_is_noticed_by_its_silence_and_made_again",
    ),
    Revert(
        "G9",
        "a change is stored only if the task is what the change was made from",
        "service/taskmeter/stores/sql/queries.sql",
        "WHERE token = ? AND attempt = ? AND state = ?;",
        "WHERE token = ? AND ? IS NOT NULL AND ? IS NOT NULL;",
        "tests/unit/stores/test_stale.py::test_g9_a_task_moves_once_from_each_state",
    ),
    Revert(
        "G9",
        "whoever retries an ended task holds the lock of those who change its tags",
        "service/taskmeter/core/retry_task.py",
        "async with service.ended_locks.hold(token):",
        "if True:",
        "tests/integration/test_retries.py::test_g9_a_change_of_tags_beside_a_retry_does_not_take_the_task_back",
    ),
    Revert(
        "G9",
        "a process that ended before anybody looked has been RUNNING all the same",
        "service/taskmeter/core/supervisor.py",
        "if facts.started and state is State.STARTING:",
        "if facts.started and not ended and state is State.STARTING:",
        "tests/faults/test_unseen.py::test_g9_a_task_that_began_and_ended_while_the_daemon_stood_still_has_been_running",
    ),
    Revert(
        "G10",
        "a message of a stream is at most 32 kB",
        "service/taskmeter/rpc/fanout.py",
        "PIECE_BYTES = 32 * 1024",
        "PIECE_BYTES = 1024 * 1024",
        "tests/faults/test_stalled_subscribers.py::test_g10_subscribers_that_do_not_read_cost_at_most_128_kb_each",
    ),
    Revert(
        "G10",
        "a stranger's call is refused by its headers, before its request has come",
        "service/taskmeter/rpc/methods.py",
        "if refusal is not None:",
        "if False:",
        "tests/faults/test_http2_abuse.py::test_g10_a_stranger_is_refused_before_his_request_has_come",
    ),
    Revert(
        "G11",
        "on a full disk the ballast is released, so that ends can be stored",
        "service/taskmeter/stores/sqlite.py",
        "released = self._ballast.release()",
        "return False",
        "tests/faults/test_disk_full.py",
    ),
    Revert(
        "G11",
        "descriptors that are kept for ordering stops and reading ends when there are no others",
        "service/taskmeter/executors/spares.py",
        "if error.errno != errno.EMFILE or not self._descriptors:",
        "if error.errno:",
        "tests/faults/test_descriptors.py",
    ),
    Revert(
        "G12",
        "a task of another tenant is not found",
        "service/taskmeter/core/service.py",
        "if task is None or task.tenant != tenant:\n            raise NotFoundError",
        "if task is None:\n            raise NotFoundError",
        "tests/integration/test_tenants.py::test_g12_a_foreign_task_is_not_found",
    ),
    Revert(
        "G13",
        "the file of a task's input is deleted as soon as the task has it open",
        "service/taskmeter/executors/local.py",
        "                drop_input(watch.directory)\n",
        "",
        "tests/integration/test_encryption.py::test_g13_secrets_show_up_nowhere_but_in_the_task",
    ),
)


def _environment(tree: Path) -> dict[str, str]:
    """The copy's packages come before the installed ones."""
    paths = (tree / "service", tree / "native", tree)
    return {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, paths)), "PYTHONDONTWRITEBYTECODE": "1"}


def _build(tree: Path) -> None:
    command = [sys.executable, "setup.py", "--quiet", "build_inplace"]
    subprocess.run(command, cwd=tree, env=_environment(tree), check=True, capture_output=True)


def _fails(tree: Path, test: str) -> tuple[bool, str]:
    """Run a test in the copy; tell whether it failed, and its last line."""
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "--no-header", "--tb=no", test]
    done = subprocess.run(
        command, cwd=tree, env=_environment(tree), capture_output=True, text=True, timeout=TEST_SECONDS, check=False
    )
    lines = done.stdout.strip().splitlines() or ["nothing was said"]
    failed = next((line for line in lines if line.startswith("FAILED")), lines[-1])
    return done.returncode == 1, failed


@contextmanager
def _taken_away(tree: Path, revert: Revert) -> Iterator[None]:
    path = tree / revert.file
    whole = path.read_text()
    if whole.count(revert.before) != 1:
        raise LookupError(f"{revert.file} does not have it once any more")
    path.write_text(whole.replace(revert.before, revert.after))
    try:
        if revert.is_native:
            _build(tree)
        yield
    finally:
        path.write_text(whole)
        if revert.is_native:
            _build(tree)


def check(tree: Path, revert: Revert) -> tuple[bool, str]:
    """Whether the test noticed the reversal, and what is to be said of it."""
    try:
        with _taken_away(tree, revert):
            return _fails(tree, revert.test)
    except (LookupError, subprocess.SubprocessError) as error:
        return False, str(error)


def main(guarantees: list[str]) -> int:
    chosen = [revert for revert in REVERTS if not guarantees or revert.guarantee in guarantees]
    unnoticed = 0
    print("| guarantee | taken away | noticed by |\n| --- | --- | --- |", flush=True)
    with tempfile.TemporaryDirectory(prefix="tm-reverts-", dir="/tmp") as scratch:
        tree = Path(scratch) / "tree"
        shutil.copytree(ROOT, tree, ignore=NOT_COPIED, symlinks=True)
        tree.chmod(0o755)
        for revert in chosen:
            begin = monotonic()
            noticed, line = check(tree, revert)
            unnoticed += not noticed
            name = line.removeprefix("FAILED ").partition(" - ")[0] if noticed else f"NOBODY: {line}"
            print(f"| {revert.guarantee} | {revert.mechanism} | `{name}` in {monotonic() - begin:.0f} s |", flush=True)
    print(f"\n{len(chosen)} reversals, {unnoticed} unnoticed")
    return 1 if unnoticed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
