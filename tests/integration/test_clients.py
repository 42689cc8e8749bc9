"""The clients against a real daemon, through connections that break."""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections.abc import Iterator
from contextlib import aclosing, closing
from typing import Any

import grpc
import pytest

from taskmeter import Client, Outcome, State, SyncClient, errors
from taskmeter.client.discovery import socket_path
from taskmeter.client.requests import command_spec
from taskmeter.v1 import task_service_pb2 as pb
from tests.daemon import Daemon
from tests.proxy import Proxy
from tests.waiting import wait_until

SLEEP = ["sleep", "60"]
SILENT_SECONDS = 0.1
"""Bookmark interval that makes a silent connection dead after 2.3 s."""


@pytest.fixture
def client(shared_daemon: Daemon) -> Iterator[SyncClient]:
    with SyncClient(state_dir=shared_daemon.state_dir) as connected:
        yield connected


@pytest.fixture
def proxy(shared_daemon: Daemon) -> Iterator[Proxy]:
    upstream = socket_path(shared_daemon.target)
    assert upstream
    with Proxy(shared_daemon.home / f"{next(_numbers)}.sock", upstream) as started:
        yield started


_numbers = itertools.count()


def ended(client: SyncClient, *argv: str, **fields: Any) -> Any:
    return client.wait_task(client.start(argv, **fields).token)


# ---------------------------------------------------------------------------------------------------------------- calls


def test_a_task_from_start_to_end(client):
    started = client.start(["sh", "-c", "echo out; exit 3"], name="job", tags={"of": "clients"})
    assert not started.existing
    status = client.wait_task(started.token)
    assert (status.state, status.outcome, status.exit_code, status["exitCode"]) == (State.COMPLETED, Outcome.FAILED, 3, 3)
    assert b"".join(client.logs(started.token)) == b"out\n"
    assert started.token in [found.token for found in client.list_tasks(tags={"of": "clients"})]
    assert client.get_task_record(started.token).status.token == started.token
    assert client.update_task(started.token, set_metadata={"a": "b"}).metadata == {"a": "b"}
    assert client.retry_task(started.token).token == started.token
    assert client.wait_task(started.token).attempt == 1
    client.delete_task(started.token)
    with pytest.raises(errors.NotFoundError) as caught:
        client.get_task_status(started.token)
    assert (caught.value.reason, caught.value.code) == ("TASK_NOT_FOUND", "NOT_FOUND")
    assert caught.value.hint


async def test_a_task_from_start_to_end_asynchronously(shared_daemon):
    async with Client(state_dir=shared_daemon.state_dir) as client:
        started = await client.start(["sh", "-c", "echo out; exit 3"], tags={"of": "aio"})
        status = await client.wait_task(started.token)
        assert (status.outcome, status.exit_code) == (Outcome.FAILED, 3)
        assert [chunk async for chunk in client.logs(started.token)] == [b"out\n"]
        assert [found.token async for found in client.list_tasks(tags={"of": "aio"})] == [started.token]
        assert (await client.server_info()).pid == shared_daemon.pid
        with pytest.raises(errors.PreconditionError) as caught:
            await client.terminate(started.token)
        assert caught.value.reason == "TASK_ENDED"
        await client.delete_task(started.token)


def test_terminate_ends_a_task(client):
    token = client.start(SLEEP).token
    client.terminate(token, grace_period_seconds=5)
    assert client.wait_task(token).outcome is Outcome.CANCELLED


def test_wait_returns_what_is_when_its_time_is_up(client):
    token = client.start(SLEEP).token
    assert not client.wait_task(token, timeout_seconds=0.1).completed
    assert client.wait_task(token, [State.RUNNING]).state is State.RUNNING
    client.terminate(token, immediate=True)
    assert client.wait_task(token, [State.RUNNING]).completed


def test_a_malformed_request_names_the_field(client):
    with pytest.raises(errors.InvalidArgumentError) as caught:
        client.start_task(command_spec([]))
    assert [field for field, _ in caught.value.fields]
    with pytest.raises(errors.InvalidArgumentError):
        client.start(["true"], env={"A=B": "x"})


def test_lists_go_over_pages(client):
    tokens = [client.start(["true"], tags={"page": "yes"}).token for _ in range(5)]
    found = [status.token for status in client.list_tasks(tags={"page": "yes"}, page_size=2)]
    assert found == tokens[::-1]
    assert [status.token for status in client.list_tasks(tags={"page": "yes"}, limit=3)] == tokens[:1:-1]


def test_an_unreachable_daemon_is_an_error_at_once(tmp_path):
    with closing(SyncClient(f"unix:{tmp_path}/none.sock")) as client:
        with pytest.raises(errors.UnavailableError) as caught:
            client.server_info()
        assert caught.value.reason == "DAEMON_UNREACHABLE"
        assert "taskmeter serve" in caught.value.hint
        with pytest.raises(errors.UnavailableError):
            next(client.events(from_seq=1))


def test_a_wrong_key_is_an_authentication_error(shared_daemon):
    with pytest.raises(errors.AuthenticationError), SyncClient(shared_daemon.target, key="wrong"):
        pass


# -------------------------------------------------------------------------------------------------------------- streams


def test_watch_yields_until_the_task_has_ended(client):
    token = client.start(["sleep", "0.5"]).token
    statuses = list(client.watch(token, interval_seconds=0.1))
    assert statuses[-1].completed
    assert [status.seq for status in statuses] == sorted(status.seq for status in statuses)


def test_events_come_once_and_in_order_over_many_cuts(client, proxy, shared_daemon):
    token = client.start(SLEEP).token
    updates = 40
    with SyncClient(proxy.target, key=shared_daemon.key) as cut_off:
        stream = cut_off.events([token], kinds=["metadata"], from_seq=1)
        seen = []
        for number in range(updates):
            client.update_task(token, set_metadata={"n": str(number)})
            if number % 8 == 3:
                proxy.cut()
            if number % 5 == 4:
                seen += [next(stream) for _ in range(5)]
        stream.close()
    numbers = [event["metadataChanged"]["metadata"]["n"] for event in seen]
    assert numbers == [str(number) for number in range(updates)]
    assert len({event.seq for event in seen}) == updates
    assert stream.seq == seen[-1].seq
    assert proxy.connection_count > 3
    client.terminate(token, immediate=True)


async def test_events_come_once_and_in_order_over_many_cuts_asynchronously(client, proxy, shared_daemon):
    token = client.start(SLEEP).token
    async with Client(proxy.target, key=shared_daemon.key) as cut_off:
        stream = cut_off.events([token], kinds=["metadata"], from_seq=1)
        seen = []
        for number in range(40):
            await asyncio.to_thread(client.update_task, token, set_metadata={"n": str(number)})
            if number % 8 == 3:
                await asyncio.to_thread(proxy.cut)
            if number % 5 == 4:
                seen += [await anext(stream) for _ in range(5)]
        await stream.aclose()
    assert [event["metadataChanged"]["metadata"]["n"] for event in seen] == [str(number) for number in range(40)]
    client.terminate(token, immediate=True)


def test_a_silent_connection_is_given_up_and_made_again(client, proxy, shared_daemon):
    token = client.start(SLEEP).token
    lost = threading.Event()
    with SyncClient(proxy.target, key=shared_daemon.key, on_disconnect=lambda _: lost.set()) as cut_off:
        deliveries = cut_off.stream([token], from_seq=1, bookmark_interval_seconds=SILENT_SECONDS)
        seq = next(deliveries).seq
        proxy.freeze()
        thaw = threading.Thread(target=lambda: (lost.wait(30), proxy.thaw()))
        thaw.start()
        client.update_task(token, set_metadata={"while": "frozen"})
        found = next(delivery for delivery in deliveries if any(event.metadata_changed for event in delivery.events))
        thaw.join()
        assert lost.is_set()
        assert found.seq > seq
        deliveries.close()  # type: ignore[attr-defined]
    client.terminate(token, immediate=True)


async def test_a_silent_connection_is_given_up_and_made_again_asynchronously(client, proxy, shared_daemon):
    token = client.start(SLEEP).token
    lost = threading.Event()

    def on_disconnect(_: errors.TaskmeterError) -> None:
        if not lost.is_set():
            lost.set()
            proxy.thaw()

    async with Client(proxy.target, key=shared_daemon.key, on_disconnect=on_disconnect) as cut_off:
        deliveries = cut_off.stream([token], from_seq=1, bookmark_interval_seconds=SILENT_SECONDS)
        async with aclosing(deliveries):
            await anext(deliveries)
            await asyncio.to_thread(proxy.freeze)
            await asyncio.to_thread(client.update_task, token, set_metadata={"while": "frozen"})
            async for delivery in deliveries:
                if any(event.metadata_changed for event in delivery.events):
                    break
        assert lost.is_set()
    client.terminate(token, immediate=True)


def test_output_is_followed_over_cuts_without_a_hole(client, proxy, shared_daemon):
    token = client.start(["sh", "-c", "for i in $(seq 1 2000); do echo line $i; done; sleep 1; echo last"]).token
    read = b""
    with SyncClient(proxy.target, key=shared_daemon.key) as cut_off:
        for count, data in enumerate(cut_off.logs(token, follow=True)):
            read += data
            if count < 3:
                proxy.cut()
    assert read == b"".join(b"line %d\n" % number for number in range(1, 2001)) + b"last\n"


def test_streams_and_waits_go_on_when_the_daemon_is_killed_and_comes_back(daemon):
    with SyncClient(state_dir=daemon.state_dir) as client:
        script = "while [ ! -e go ]; do sleep 0.05; done; exit 4"
        token = client.start(["sh", "-c", script], working_directory=str(daemon.home)).token
        results: dict[str, Any] = {}
        threads = [
            threading.Thread(target=lambda: results.update(wait=client.wait_task(token))),
            threading.Thread(target=lambda: results.update(events=list(client.events([token], from_seq=1, until_terminal=True)))),
            threading.Thread(target=lambda: results.update(logs=list(client.logs(token, follow=True)))),
        ]
        for thread in threads:
            thread.start()
        wait_until(lambda: client.get_task_status(token).state is State.RUNNING, "running")
        daemon.restart()
        (daemon.home / "go").touch()
        for thread in threads:
            thread.join(60)
        assert results["wait"].exit_code == 4
        assert [event["stateChanged"]["to"] for event in results["events"]] == [0, 1, 2, 3, 4, 5]
        assert results["logs"] == []


def test_events_that_are_not_yet_are_an_error_not_a_silence(client):
    with pytest.raises(errors.OutOfRangeError) as caught:
        next(client.events(from_seq=10**9))
    assert caught.value.reason == "SEQ_IN_FUTURE"


async def test_a_cancelled_consumer_is_cancelled_and_nothing_else(shared_daemon):
    async with Client(state_dir=shared_daemon.state_dir) as client:

        async def consume() -> None:
            async for _ in client.events():
                pass

        task = asyncio.create_task(consume())
        await client.server_info()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


async def test_five_hundred_calls_in_flight_on_one_connection_are_all_answered(shared_daemon):
    async with grpc.aio.insecure_channel(shared_daemon.target) as channel:
        path = "/taskmeter.v1.TaskService/ListTasks"
        list_tasks = channel.unary_unary(path, pb.ListTasksRequest.SerializeToString, pb.ListTasksResponse.FromString)
        metadata = (("authorization", f"Bearer {shared_daemon.key}"),)
        turns = iter(range(5_000))

        async def worker():
            for _ in turns:
                await list_tasks(pb.ListTasksRequest(page_size=1), metadata=metadata)

        await asyncio.gather(*(worker() for _ in range(500)))
