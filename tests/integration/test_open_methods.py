"""Health without a key: many may watch it; calls that never finish their request are few."""

from __future__ import annotations

from contextlib import ExitStack

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from taskmeter.rpc.open_methods import MOST_STRANGERS, MOST_UNFINISHED
from tests.daemon import Daemon
from tests.http2 import Raw, encode, headers_of, opening
from tests.waiting import wait_until

SERVING = health_pb2.HealthCheckResponse.SERVING
CHECK = "/grpc.health.v1.Health/Check"


def test_ever_so_many_strangers_watch_our_health_but_not_more(daemon: Daemon) -> None:
    with ExitStack() as stack:
        stubs = [
            health_pb2_grpc.HealthStub(
                stack.enter_context(grpc.insecure_channel(daemon.target, options=[("grpc.use_local_subchannel_pool", 1)]))
            )
            for _ in range(4)
        ]
        watches = []
        for number in range(MOST_STRANGERS):
            watch = stubs[number % 4].Watch(health_pb2.HealthCheckRequest())
            assert next(watch).status == SERVING, "each begins"
            watches.append(watch)
        with pytest.raises(grpc.RpcError) as caught:
            stubs[0].Check(health_pb2.HealthCheckRequest(), timeout=10)
        assert caught.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
        watches.pop().cancel()
        assert daemon.calls.GetServerInfo().version, "who has a key is not counted"


def test_few_strangers_may_keep_us_waiting_for_their_request(daemon: Daemon) -> None:
    with ExitStack() as stack:
        raw = stack.enter_context(Raw(daemon.target))
        block = encode(headers_of(CHECK))
        raw.send(b"".join(opening(each, block) for each in raw.stream_ids(MOST_UNFINISHED)))
        channel = stack.enter_context(grpc.insecure_channel(daemon.target))
        check = health_pb2_grpc.HealthStub(channel).Check

        def is_refused() -> bool:
            answer = check.future(health_pb2.HealthCheckRequest(), timeout=10)
            return bool(answer.code() == grpc.StatusCode.RESOURCE_EXHAUSTED)

        wait_until(is_refused, "the last of them has been seen")
        raw.close()
        wait_until(lambda: not is_refused(), "they are gone with their connection")
