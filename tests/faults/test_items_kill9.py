"""Kill -9 of the daemon at any instruction while item events flow: each that was published is there once, in order."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable

import pytest

from tests.daemon import Daemon
from tests.faults.size import new_seed
from tests.integration.helpers import end_of, events
from tests.integration.test_items import report
from tests.waiting import wait_until

WRITER_COUNT = 3
CODE = """
children = []
for number in range({writers}):
    child = os.fork()
    if not child:
        for i in range({count}):
            log.item(f"{{number}}.{{i % 1000}}", 2, attempt=i)
            if i % 50 == 0:
                time.sleep({pause})
        os._exit(0)
    children.append(child)
for child in children:
    os.waitpid(child, 0)
"""


def judge(daemon: Daemon, token: str, count: int) -> None:
    found: dict[str, list[int]] = {}
    seqs: list[int] = []
    for event in events(daemon.calls, token, kinds=(2,)):
        changed = event.item_changed
        found.setdefault(changed.item_id.text.partition(".")[0], []).append(changed.attempt)
        seqs.append(event.seq)
    assert found == {str(number): list(range(count)) for number in range(WRITER_COUNT)}
    assert seqs == sorted(set(seqs))
    stats = daemon.calls.GetItemStats(token=token)
    assert (stats.event_count, stats.total.in_progress) == (WRITER_COUNT * count, WRITER_COUNT * min(count, 1000))
    item = daemon.calls.GetItem(token=token, item_id={"text": "1.7"}).item
    assert item.event_count == len(range(7, count, 1000))
    history: list[int] = []
    page_token = ""
    while True:
        page = daemon.calls.GetItemHistory(token=token, item_id={"text": "1.7"}, page_token=page_token)
        history += [event.item_changed.attempt for event in page.events]
        page_token = page.next_page_token
        if not page_token:
            break
    assert history == list(range(7, count, 1000))


@pytest.mark.slow
@pytest.mark.timeout(240)
@pytest.mark.guarantee("G8")
def test_kill9_at_random_loses_and_repeats_no_item_event(daemon: Daemon) -> None:
    chance = random.Random(new_seed())
    pause = threading.Event()
    count = 30_000
    token = report(daemon.calls, CODE.format(writers=WRITER_COUNT, count=count, pause=0.005))
    for _ in range(12):
        pause.wait(chance.uniform(0.02, 0.6))
        daemon.kill9()
        daemon.start()
    end_of(daemon.calls, token, seconds=60)
    judge(daemon, token, count)


@pytest.mark.slow
@pytest.mark.timeout(120)
@pytest.mark.parametrize("point", ["ingest.after_read", "ingest.before_commit"])
@pytest.mark.parametrize("action", ["crash", "error"])
def test_failpoints_of_the_ingest_lose_and_repeat_nothing(make_daemon: Callable[..., Daemon], point: str, action: str) -> None:
    daemon = make_daemon(env={"TASKMETER_FAILPOINTS": f"{point}={action}*1+3"})
    daemon.allow_tracebacks = action == "crash"
    daemon.start()
    count = 3000
    token = report(daemon.calls, CODE.format(writers=WRITER_COUNT, count=count, pause=0.01))
    assert daemon.process is not None
    wait_until(lambda: f"failpoint {point}" in daemon.log(), "the failpoint is reached")
    if action == "crash":
        daemon.process.wait(10)
        daemon.kill9()  # which only takes note of it
        daemon.env.pop("TASKMETER_FAILPOINTS")
        daemon.start()
    end_of(daemon.calls, token)
    judge(daemon, token, count)
