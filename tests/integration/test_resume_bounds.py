"""G8 at the bounds of what is kept: exactly there, one beside, in the future, and while they move."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import grpc
import pytest

from taskmeter import SyncClient, errors
from taskmeter.v1 import task_pb2
from tests.calls import Calls
from tests.daemon import Daemon
from tests.faults.test_stalled_subscribers import NARROW
from tests.faults.test_stopped_subscriber import change
from tests.integration.helpers import Failure, end_of, failure_of, start, wait_for_state
from tests.proxy import Proxy
from tests.waiting import wait_until

EVENTS_PER_TASK = 6
KEPT_COUNT = 30
BOUNDED = f"[retention]\ninterval_seconds = 0.1\nevents_max_count = {KEPT_COUNT}\n"
CHANGE_COUNT = 420
"""Of 28 kB each: more than fits into a connection's window, its socket, and the 8 MB that the daemon keeps in memory."""


@pytest.fixture
def bounded(make_daemon: Callable[..., Daemon], tmp_path: Path) -> Daemon:
    """A daemon that keeps few events."""
    (tmp_path / "config.toml").write_text(BOUNDED)
    return make_daemon("--config", str(tmp_path / "config.toml"))


def work(calls: Calls, count: int, **spec: object) -> None:
    for token in [start(calls, "true", **spec) for _ in range(count)]:
        end_of(calls, token)


def first_seq_above(calls: Calls, seq: int) -> int:
    return wait_until(lambda: (first := int(calls.GetServerInfo().first_seq)) > seq and first, "old events are deleted")


@pytest.fixture
def compacted(bounded: Daemon, tmp_path: Path) -> Daemon:
    """It has deleted some, and deletes no more."""
    bounded.start()
    work(bounded.calls, 12)
    first_seq_above(bounded.calls, 12 * EVENTS_PER_TASK - KEPT_COUNT - EVENTS_PER_TASK)
    (tmp_path / "config.toml").write_text("")
    return bounded.restart()


@pytest.mark.guarantee("G8")
def test_g8_what_is_kept_is_given_from_any_seq_and_what_is_not_is_refused(compacted: Daemon) -> None:
    calls = compacted.calls
    info = calls.GetServerInfo()
    first, head = int(info.first_seq), int(info.head_seq)
    assert 1 < first < head
    store_id = compacted.store_id
    for seq in (first, first + 1, head):
        for start_at in ({"from_seq": seq}, {"resume_token": f"{store_id}.{seq - 1}"}):
            seqs: list[int] = []
            stream = calls.StreamEvents(**start_at, timeout=20)
            while not seqs or seqs[-1] < head:
                seqs += [event.seq for event in next(stream).events]
            stream.cancel()
            assert seqs == list(range(seq, head + 1))
    for start_at in ({"from_seq": first - 1}, {"from_seq": 1}, {"resume_token": f"{store_id}.{first - 2}"}):
        failure = failure_of(calls.StreamEvents, **start_at)
        assert (failure.code, failure.reason) == (grpc.StatusCode.OUT_OF_RANGE, "EVENTS_COMPACTED")
        assert failure.metadata["first_available_seq"] == str(first)
    for start_at in ({"from_seq": head + 2}, {"resume_token": f"{store_id}.{head + 1}"}):
        failure = failure_of(calls.StreamEvents, **start_at)
        assert (failure.code, failure.reason) == (grpc.StatusCode.OUT_OF_RANGE, "SEQ_IN_FUTURE")
        assert failure.metadata["head_seq"] == str(head)


@pytest.mark.guarantee("G8")
def test_g8_the_very_next_event_may_be_asked_for_before_it_is_there(compacted: Daemon) -> None:
    calls = compacted.calls
    head = int(calls.GetServerInfo().head_seq)
    streams = [
        calls.StreamEvents(from_seq=head + 1, timeout=20),
        calls.StreamEvents(resume_token=f"{compacted.store_id}.{head}", timeout=20),
    ]
    assert all(next(stream).bookmark for stream in streams)
    start(calls, "true")
    for stream in streams:
        assert next(message for message in stream if message.events).events[0].seq == head + 1
        stream.cancel()


@pytest.mark.guarantee("G8")
def test_g8_who_keeps_up_misses_nothing_while_old_events_are_deleted(bounded: Daemon) -> None:
    with SyncClient(state_dir=bounded.start().state_dir) as client:
        deliveries = client.stream(from_seq=1, bookmark_interval_seconds=0.2)
        seen: list[int] = []
        for _ in range(10):
            work(bounded.calls, 3)
            head = int(bounded.calls.GetServerInfo().head_seq)
            while not seen or seen[-1] < head:
                seen += [event.seq for event in next(deliveries).events]
        first_seq_above(bounded.calls, KEPT_COUNT)
        assert seen == list(range(1, len(seen) + 1))
        deliveries.close()  # type: ignore[attr-defined]


@pytest.mark.guarantee("G8")
def test_g8_who_lags_behind_what_is_kept_gets_an_error_and_no_gap(bounded: Daemon) -> None:
    calls = bounded.start().calls
    token = start(calls, "sleep", "600")
    wait_for_state(calls, token, task_pb2.TASK_STATE_RUNNING)
    with grpc.insecure_channel(bounded.target, options=NARROW) as channel:
        stream = Calls(channel, bounded.key).StreamEvents(from_seq=1, timeout=60)
        seen = [event.seq for event in next(stream).events]
        change(bounded, token, CHANGE_COUNT)
        first = first_seq_above(calls, CHANGE_COUNT - 2 * KEPT_COUNT)
        failure = None
        try:
            for message in stream:
                seen += [event.seq for event in message.events]
        except grpc.RpcError as error:
            failure = Failure(error)
    assert failure is not None and failure.reason == "EVENTS_COMPACTED"
    assert int(failure.metadata["first_available_seq"]) >= first
    assert seen == list(range(1, len(seen) + 1))
    assert len(seen) < first - 1


@pytest.mark.guarantee("G8")
def test_g8_a_client_that_was_away_for_too_long_is_told_and_skips_nothing(bounded: Daemon) -> None:
    bounded.start()
    with Proxy(bounded.home / "proxy", bounded.target) as proxy:

        def on_disconnect(_: errors.TaskmeterError) -> None:
            work(bounded.calls, 12)
            first_seq_above(bounded.calls, 1 + EVENTS_PER_TASK)

        with SyncClient(proxy.target, key=bounded.key, on_disconnect=on_disconnect) as client:
            work(bounded.calls, 1)
            deliveries = client.stream(from_seq=1)
            seen: list[int] = []
            while len(seen) < EVENTS_PER_TASK:
                seen += [event.seq for event in next(deliveries).events]
            proxy.cut()
            with pytest.raises(errors.OutOfRangeError) as caught:
                seen += [event.seq for delivery in deliveries for event in delivery.events]
    assert caught.value.reason == "EVENTS_COMPACTED"
    assert int(caught.value.metadata["first_available_seq"]) > EVENTS_PER_TASK + 1
    assert seen == list(range(1, EVENTS_PER_TASK + 1))
