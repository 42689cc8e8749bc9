"""What has ended is kept within its bounds: by age, count, bytes and outcome. Keys stay bound; compacted events are said gone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import pytest

from taskmeter.v1 import event_pb2
from tests.daemon import Daemon
from tests.integration.helpers import end_of, failure_of, start
from tests.waiting import wait_until

Make = Callable[..., Daemon]


@pytest.fixture
def bounded(make_daemon: Make, tmp_path: Path) -> Callable[[str], Daemon]:
    """Start a daemon with these lines in its `[retention]` table."""

    def made(lines: str) -> Daemon:
        config = tmp_path / "config.toml"
        config.write_text(f"[retention]\ninterval_seconds = 0.1\n{lines}\n")
        return make_daemon("--config", str(config)).start()

    return made


def tokens_of(calls: Any) -> list[str]:
    return [task.token for task in calls.ListTasks().tasks]


def directories(daemon: Daemon) -> list[str]:
    return [path.name for path in daemon.state_dir.glob("tasks/*/*")]


def run(calls: Any, *argv: str, **spec: Any) -> str:
    token = start(calls, *argv, **spec)
    end_of(calls, token)
    return token


def deleted_events(calls: Any, count: int) -> list[str]:
    found = []
    stream = calls.StreamEvents(from_seq=1, kinds=[event_pb2.EVENT_KIND_DELETED], timeout=20)
    for message in stream:
        found += [event.token for event in message.events]
        if len(found) >= count:
            break
    stream.cancel()
    return found


def test_the_ones_that_ended_first_go_first_with_rows_files_and_an_event(bounded: Callable[[str], Daemon]) -> None:
    daemon = bounded("max_count = 3")
    calls = daemon.calls
    live = start(calls, "sleep", "600")
    tokens = [run(calls, "true") for _ in range(8)]
    wait_until(lambda: set(tokens_of(calls)) == {live, *tokens[-3:]}, "three ended tasks are left")
    wait_until(lambda: set(directories(daemon)) == {live, *tokens[-3:]}, "and the files of these three")
    assert deleted_events(calls, 5) == tokens[:5]
    wait_until(lambda: not list((daemon.state_dir / "trash").iterdir()), "the trash is empty")


def test_ages_differ_by_outcome(bounded: Callable[[str], Daemon]) -> None:
    calls = bounded("max_age_seconds = 0.5\n[retention.outcomes]\nfailed = 0").calls
    failed, succeeded = run(calls, "false"), run(calls, "true")
    wait_until(lambda: succeeded not in tokens_of(calls), "the one that succeeded is deleted")
    assert tokens_of(calls) == [failed]


def test_bytes_are_bounded(bounded: Callable[[str], Daemon]) -> None:
    calls = bounded("max_bytes = 3000000").calls
    tokens = [run(calls, "head", "-c", "1000000", "/dev/urandom") for _ in range(5)]
    wait_until(lambda: len(tokens_of(calls)) <= 2, "what is left fits")
    assert tokens_of(calls) == tokens[:2:-1] and len(tokens_of(calls)) == 2


def test_g2_a_key_stays_bound_whatever_the_bounds_say(bounded: Callable[[str], Daemon]) -> None:
    calls = bounded("max_count = 1\nmax_age_seconds = 0.2").calls
    spec = {"command": {"argv": ["true"]}}
    bound = calls.StartTask(spec=spec, idempotency_key="k").token
    end_of(calls, bound)
    freed = calls.StartTask(spec={"command": {"argv": ["false"]}}, idempotency_key="f").token
    end_of(calls, freed)
    others = [run(calls, "true") for _ in range(3)]
    wait_until(lambda: tokens_of(calls) == [bound], f"{others} and {freed} are deleted")
    again = calls.StartTask(spec=spec, idempotency_key="k")
    assert (again.token, again.existing) == (bound, True)


def test_g8_reading_below_what_is_kept_is_refused_and_says_where_it_begins(
    bounded: Callable[[str], Daemon], tmp_path: Path
) -> None:
    daemon = bounded("events_max_count = 20")
    calls = daemon.calls
    first = run(calls, "true")
    for _ in range(9):
        run(calls, "true")

    def compacted() -> bool:
        info = calls.GetServerInfo()
        return bool(info.head_seq - info.first_seq < 26)  # whole blocks, of six events at most

    wait_until(compacted, "old events are deleted")
    (tmp_path / "config.toml").write_text("")  # from here on nothing more is deleted
    calls = daemon.restart().calls
    info = calls.GetServerInfo()
    available, head = info.first_seq, info.head_seq
    fields: dict[str, Any]
    for fields in ({}, {"tokens": [first]}):
        failure = failure_of(calls.StreamEvents, from_seq=1, **fields)
        assert (failure.code, failure.reason) == (grpc.StatusCode.OUT_OF_RANGE, "EVENTS_COMPACTED")
        assert failure.metadata["first_available_seq"] == str(available)
    seqs: list[int] = []
    stream = calls.StreamEvents(from_seq=available, timeout=20)
    while not seqs or seqs[-1] < head:
        seqs += [event.seq for event in next(stream).events]
    stream.cancel()
    assert seqs == list(range(available, head + 1))
    assert failure_of(calls.StreamEvents, from_seq=available - 1).metadata["first_available_seq"] == str(available)


def test_a_daemon_killed_while_it_deletes_leaves_no_files_without_a_task(bounded: Callable[[str], Daemon]) -> None:
    daemon = bounded("max_count = 5")
    for _ in range(4):
        for _ in range(10):
            run(daemon.calls, "true")
        daemon.restart()  # kill -9 at some point of a pass
    wait_until(lambda: len(tokens_of(daemon.calls)) == 5, "the bound holds again")
    wait_until(lambda: sorted(directories(daemon)) == sorted(tokens_of(daemon.calls)), "files and tasks agree")
    wait_until(lambda: not list((daemon.state_dir / "trash").iterdir()), "the trash is empty")


def test_doctor_says_what_is_kept(bounded: Callable[[str], Daemon]) -> None:
    daemon = bounded("max_count = 3\n[retention.outcomes]\nfailed = 7776000")
    run(daemon.calls, "true")
    said = daemon.cli("doctor").stdout
    assert "keeps 1 ended tasks, events from 1; bounds: 30 d, 3 tasks; failed 90 d; events 30 d, 5000000" in said
