"""G8 on a bad network: the application sees each event once and in order, whatever becomes of connections; calls end in time."""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from time import monotonic
from typing import Any, Self

import pytest

from taskmeter import Client, SyncClient, errors
from tests.daemon import Daemon
from tests.proxy import Bytewise, Late, Pace, Proxy, Slow, Whole
from tests.waiting import wait_until

UPDATES = 24
SILENT_SECONDS = 0.1
"""Bookmark interval that makes a silent connection dead after 2.3 s."""
NOTICED_SECONDS = 2.3 + 10.0
"""gRPC itself notices a dead connection after 25 s only."""
CALL_SECONDS = 0.5
FAR_SECONDS = 0.15
PACES: list[Pace] = [Whole(), Slow(6_000), Bytewise()]
FAULTS: dict[str, Callable[[Proxy], None]] = {
    "cut": Proxy.cut,
    "the client is not told": lambda proxy: proxy.half_open(told="daemon"),
    "the daemon is not told": lambda proxy: proxy.half_open(told="client"),
    "nobody is told": Proxy.lose,
}
TOLD = {"cut", "the daemon is not told"}
"""The client knows, and makes a new connection for its next call."""
_numbers = itertools.count()


@pytest.fixture(scope="module")
def daemon_of_module() -> Iterator[Daemon]:
    with Daemon("--listen", "127.0.0.1:0") as started:
        yield started


@pytest.fixture(scope="module")
def client(daemon_of_module: Daemon) -> Iterator[SyncClient]:
    with SyncClient(state_dir=daemon_of_module.state_dir) as connected:
        yield connected


@pytest.fixture
def token(client: SyncClient) -> Iterator[str]:
    started = client.start(["sleep", "600"]).token
    yield started
    client.terminate(started, immediate=True)


@pytest.fixture(params=["unix", "tcp"])
def make_proxy(request: pytest.FixtureRequest, daemon_of_module: Daemon) -> Iterator[Callable[..., Proxy]]:
    made: list[Proxy] = []

    def make(pace: Pace | None = None) -> Proxy:
        targets = daemon_of_module.info["grpc"]
        upstream = next(each for each in targets if each.startswith("unix:") is (request.param == "unix"))
        path = daemon_of_module.home / f"proxy{next(_numbers)}" if request.param == "unix" else None
        made.append(Proxy(path, upstream, pace))
        return made[-1]

    yield make
    for each in made:
        each.__exit__()


class Writer:
    """Changes a task's metadata, and has something happen to the network now and then; in a thread."""

    def __init__(self, client: SyncClient, token: str, fault: Callable[[], None], every: int) -> None:
        self._client, self._token, self._fault, self._every = client, token, fault, every
        self.seen_count = 0
        """How many the subscriber has seen: the next fault waits for all before it."""
        self.times: list[float] = []
        self._thread = threading.Thread(target=self._write, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.join(60)

    def _write(self) -> None:
        for number in range(UPDATES):
            if number % self._every == self._every // 2:
                wait_until(lambda number=number: self.seen_count >= number, "the subscriber keeps up", 60)  # type: ignore[misc]
                self._fault()
                self.times.append(monotonic())
            self._client.update_task(self._token, set_metadata={"n": str(number)})


def number_of(event: Any) -> int:
    return int(event["metadataChanged"]["metadata"]["n"])


def read_all(writer: Writer, target: str, key: str, token: str) -> list[Any]:
    seen: list[Any] = []
    with SyncClient(target, key=key) as client:
        deliveries = client.stream([token], kinds=["metadata"], from_seq=1, bookmark_interval_seconds=SILENT_SECONDS)
        with closing(deliveries):  # type: ignore[type-var]
            for delivery in deliveries:
                seen += delivery.events
                writer.seen_count = len(seen)
                if len(seen) >= UPDATES:
                    break
    return seen


async def read_all_asynchronously(writer: Writer, target: str, key: str, token: str) -> list[Any]:
    seen: list[Any] = []
    async with Client(target, key=key) as client:
        deliveries = client.stream([token], kinds=["metadata"], from_seq=1, bookmark_interval_seconds=SILENT_SECONDS)
        async for delivery in deliveries:
            seen += delivery.events
            writer.seen_count = len(seen)
            if len(seen) >= UPDATES:
                break
        await deliveries.aclose()
    return seen


def check(seen: list[Any]) -> None:
    assert [number_of(event) for event in seen] == list(range(UPDATES))
    assert [event.seq for event in seen] == sorted({event.seq for event in seen})


@pytest.mark.guarantee("G8")
@pytest.mark.parametrize("pace", PACES, ids=lambda pace: type(pace).__name__)
def test_g8_every_event_comes_once_over_connections_that_are_slow_and_cut(
    client: SyncClient, token: str, make_proxy: Callable[..., Proxy], daemon_of_module: Daemon, pace: Pace
) -> None:
    proxy = make_proxy(pace)
    with Writer(client, token, proxy.cut, 8) as writer:
        check(read_all(writer, proxy.target, daemon_of_module.key, token))
    assert proxy.connection_count > len(writer.times)


@pytest.mark.guarantee("G8")
@pytest.mark.parametrize("pace", PACES, ids=lambda pace: type(pace).__name__)
async def test_g8_every_event_comes_once_over_connections_that_are_slow_and_cut_asynchronously(
    client: SyncClient, token: str, make_proxy: Callable[..., Proxy], daemon_of_module: Daemon, pace: Pace
) -> None:
    proxy = make_proxy(pace)
    with Writer(client, token, proxy.cut, 8) as writer:
        check(await read_all_asynchronously(writer, proxy.target, daemon_of_module.key, token))
    assert proxy.connection_count > len(writer.times)


@pytest.mark.guarantee("G8")
@pytest.mark.parametrize("name", FAULTS)
@pytest.mark.parametrize("make_proxy", ["tcp"], indirect=True)
def test_g8_a_dead_connection_is_noticed_by_its_silence_and_made_again(
    client: SyncClient, token: str, make_proxy: Callable[..., Proxy], daemon_of_module: Daemon, name: str
) -> None:
    proxy = make_proxy()
    with Writer(client, token, lambda: FAULTS[name](proxy), UPDATES) as writer:
        check(read_all(writer, proxy.target, daemon_of_module.key, token))
        took = monotonic() - writer.times[0]
    print(f"{name}: went on after {took:.1f} s")
    assert took <= NOTICED_SECONDS


@pytest.mark.guarantee("G8")
@pytest.mark.parametrize("name", FAULTS)
@pytest.mark.parametrize("make_proxy", ["unix"], indirect=True)
async def test_g8_a_dead_connection_is_noticed_by_its_silence_and_made_again_asynchronously(
    client: SyncClient, token: str, make_proxy: Callable[..., Proxy], daemon_of_module: Daemon, name: str
) -> None:
    proxy = make_proxy()
    with Writer(client, token, lambda: FAULTS[name](proxy), UPDATES) as writer:
        check(await read_all_asynchronously(writer, proxy.target, daemon_of_module.key, token))
        took = monotonic() - writer.times[0]
    print(f"{name}: went on after {took:.1f} s")
    assert took <= NOTICED_SECONDS


def in_time(begin: float) -> None:
    assert monotonic() - begin <= CALL_SECONDS + 5.0


@pytest.mark.parametrize("name", [*FAULTS, "frozen"])
@pytest.mark.parametrize("make_proxy", ["tcp"], indirect=True)
def test_a_call_on_a_broken_connection_ends_in_time(
    make_proxy: Callable[..., Proxy], daemon_of_module: Daemon, name: str
) -> None:
    proxy = make_proxy()
    with SyncClient(proxy.target, key=daemon_of_module.key, timeout_seconds=CALL_SECONDS) as client:
        FAULTS.get(name, Proxy.freeze)(proxy)
        begin = monotonic()
        try:
            client.server_info()
            assert name in TOLD, "nobody can have answered"
        except (errors.UnavailableError, errors.DeadlineError):
            in_time(begin)


@pytest.mark.parametrize("name", [*FAULTS, "frozen"])
@pytest.mark.parametrize("make_proxy", ["unix"], indirect=True)
async def test_a_call_on_a_broken_connection_ends_in_time_asynchronously(
    make_proxy: Callable[..., Proxy], daemon_of_module: Daemon, name: str
) -> None:
    proxy = make_proxy()
    async with Client(proxy.target, key=daemon_of_module.key, timeout_seconds=CALL_SECONDS) as client:
        FAULTS.get(name, Proxy.freeze)(proxy)
        begin = monotonic()
        try:
            await client.server_info()
            assert name in TOLD, "nobody can have answered"
        except (errors.UnavailableError, errors.DeadlineError):
            in_time(begin)


@pytest.mark.parametrize("make_proxy", ["tcp"], indirect=True)
async def test_a_call_that_is_under_way_when_its_connection_breaks_is_unavailable(
    token: str, make_proxy: Callable[..., Proxy], daemon_of_module: Daemon
) -> None:
    proxy = make_proxy()
    async with Client(proxy.target, key=daemon_of_module.key) as client:
        lost: list[errors.TaskmeterError] = []
        client.on_disconnect = lost.append
        waiting = asyncio.create_task(client.wait_task(token, timeout_seconds=1.0))
        await client.server_info()
        proxy.cut()
        status = await waiting
        assert not status.completed
        assert [error.code for error in lost] == ["UNAVAILABLE"]


def test_a_stream_does_not_outlive_its_client(client: SyncClient, daemon_of_module: Daemon) -> None:
    other = SyncClient(state_dir=daemon_of_module.state_dir)
    deliveries = other.stream(from_seq=1, bookmark_interval_seconds=SILENT_SECONDS)
    next(deliveries)
    other.close()
    with pytest.raises(errors.UnavailableError, match="closed"):
        list(deliveries)


async def test_a_stream_does_not_outlive_its_client_asynchronously(daemon_of_module: Daemon) -> None:
    other = Client(state_dir=daemon_of_module.state_dir)
    deliveries = other.stream(from_seq=1, bookmark_interval_seconds=SILENT_SECONDS)
    await anext(deliveries)
    await other.close()
    with pytest.raises(errors.UnavailableError, match="closed"):
        async for _ in deliveries:
            pass


def test_g8_a_stream_that_began_before_the_first_event_misses_none_when_it_is_cut(daemon: Daemon) -> None:
    """The position before the first event is 0, which is absent on the wire."""
    with Proxy(daemon.home / "proxy", daemon.target) as proxy, SyncClient(state_dir=daemon.state_dir) as direct:
        back = threading.Event()

        def on_disconnect(_: errors.TaskmeterError) -> None:
            direct.start(["true"])
            back.set()

        with SyncClient(proxy.target, key=daemon.key, on_disconnect=on_disconnect) as client:
            deliveries = client.stream(bookmark_interval_seconds=SILENT_SECONDS)
            assert next(deliveries).seq == 0
            proxy.cut()
            seen = next(delivery.events for delivery in deliveries if delivery.events)
            assert back.is_set()
            assert seen[0].seq == 1
            deliveries.close()  # type: ignore[attr-defined]


def test_one_client_has_more_streams_than_one_connection_takes(daemon_of_module: Daemon) -> None:
    with SyncClient(state_dir=daemon_of_module.state_dir) as client:
        streams = [client.stream(from_seq=1) for _ in range(250)]
        assert all(next(each).resume_token for each in streams)
        for each in streams:
            each.close()  # type: ignore[attr-defined]


def test_a_daemon_far_away_is_reached_at_the_first_try(daemon_of_module: Daemon, make_proxy: Callable[..., Proxy]) -> None:
    """It takes its time before its first bytes, as on a slow link with TLS, or when a thousand others connect to it."""
    with SyncClient(make_proxy(Late(FAR_SECONDS)).target, key=daemon_of_module.key) as far:
        assert far.server_info().pid == daemon_of_module.pid

    async def ask() -> int:
        async with Client(make_proxy(Late(FAR_SECONDS)).target, key=daemon_of_module.key) as client:
            return (await client.server_info()).pid

    assert asyncio.run(ask()) == daemon_of_module.pid
