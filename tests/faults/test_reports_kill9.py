"""Kill -9 of the daemon while work reports to it: what was acknowledged is there, and nothing that was not sent."""

from __future__ import annotations

import random
import threading

import grpc

from taskmeter.v1 import event_pb2
from taskmeter.v1 import task_service_pb2 as pb
from tests.calls import Calls
from tests.daemon import Daemon
from tests.faults.size import new_seed, wanted_count
from tests.integration.helpers import end_of, events
from tests.waiting import wait_until

KILLS = wanted_count(8)
PER_STREAM = 5


def test_g11_no_acknowledged_report_is_lost_and_none_is_taken_in_twice(daemon: Daemon) -> None:
    seed = new_seed()
    chance = random.Random(seed)
    answer = daemon.calls.StartTask(spec={"external": {"kind": "reporter"}})
    target = daemon.target
    acknowledged: list[str] = []
    sent: list[str] = []
    stop = threading.Event()

    def reports() -> None:
        number = 0
        while not stop.is_set():
            texts = [str(number + n) for n in range(PER_STREAM)]
            number += PER_STREAM
            stream = [
                pb.ReportProgressRequest(
                    token=answer.token,
                    add_completed_count=1,
                    messages=[event_pb2.Message(level=event_pb2.MESSAGE_LEVEL_NOTE, text=text)],
                )
                for text in texts
            ]
            sent.extend(texts)
            with grpc.insecure_channel(target) as channel:
                try:
                    accepted = Calls(channel, answer.report_key).ReportProgress(request=iter(stream), timeout=10).accepted_count
                except grpc.RpcError:
                    continue  # the daemon is away; what it has of these nobody knows
            assert accepted == PER_STREAM
            acknowledged.extend(texts)

    reporter = threading.Thread(target=reports)
    reporter.start()
    try:
        for _ in range(KILLS):
            before = len(acknowledged)
            wanted = before + PER_STREAM * chance.randint(1, 20)
            wait_until(lambda: len(acknowledged) >= wanted, "more reports", 30)  # noqa: B023
            daemon.restart()
    finally:
        stop.set()
        reporter.join()
    daemon.calls.Terminate(token=answer.token, immediate=True)
    counted = end_of(daemon.calls, answer.token).completed_count
    kept = [event.message.text for event in events(daemon.calls, answer.token, kinds=[event_pb2.EVENT_KIND_MESSAGE])]
    print(f"seed {seed}: {len(sent)} reports sent, {len(acknowledged)} acknowledged, {len(kept)} kept, {counted} counted")
    assert len(set(kept)) == len(kept), "each once"
    assert set(acknowledged) <= set(kept) <= set(sent)
    assert kept == sorted(kept, key=int), "in order"
    assert len(acknowledged) <= counted <= len(kept), "its events are stored before a report is counted"
