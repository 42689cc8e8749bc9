"""Kill -9 of the daemon and of writers at any instruction while item events flow: each that was published is there once.

make faults ARGS='items --count 1000000'
"""

from __future__ import annotations

import json
import random
import sys
import threading
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from tests.daemon import Daemon
from tests.faults.size import new_seed, wanted_count
from tests.integration.helpers import end_of, events, read
from tests.integration.test_items import report
from tests.waiting import wait_until

WRITER_COUNT = 3
COUNT = wanted_count(90_000)
"""Events that are published at least."""
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
"""Writers that end by themselves."""
KILLED = """
import json, mmap, random, signal
chance = random.Random({seed})
published = memoryview(mmap.mmap(-1, 8 << 16)).cast("q")  # by number of the writer; who is killed leaves it behind
def write(number):
    i = 0
    while True:
        log.item(f"{{number}}.{{i % 1000}}", 2, attempt=i)
        i += 1
        published[number] = i  # one store; struct.pack_into would write zeros first
        if i % 50 == 0:
            time.sleep({pause})
def counts():
    return published[:begun].tolist()
begun, running = 0, []
while sum(counts()) < {count} or running:
    while len(running) < {writers} and sum(counts()) < {count}:
        child = os.fork()
        if not child:
            write(begun)
        begun += 1
        running.append(child)
    time.sleep(chance.uniform(0.02, 0.4))
    victim = running.pop(chance.randrange(len(running)))
    os.kill(victim, signal.SIGKILL)
    os.waitpid(victim, 0)
print(json.dumps(counts()))
"""
"""Writers that are all killed at random, each followed by another, until enough is written."""


def judge(daemon: Daemon, token: str, published: Sequence[int], *, killed: bool = False) -> int:
    """See that each writer's events came once and in order: what it had published, and one more perhaps if it was killed."""
    found: dict[str, list[int]] = {}
    seqs: list[int] = []
    for event in events(daemon.calls, token, kinds=(2,)):
        changed = event.item_changed
        found.setdefault(changed.item_id.text.partition(".")[0], []).append(changed.attempt)
        seqs.append(event.seq)
    assert seqs == sorted(set(seqs))
    for number, count in enumerate(published):
        came = found.pop(str(number), [])
        assert came == list(range(len(came))), number
        assert len(came) in ((count, count + 1) if killed else (count,)), number
    assert not found
    stats = daemon.calls.GetItemStats(token=token)
    assert stats.event_count == len(seqs)
    item = daemon.calls.GetItem(token=token, item_id={"text": "1.7"}).item
    history: list[int] = []
    page_token = ""
    while True:
        page = daemon.calls.GetItemHistory(token=token, item_id={"text": "1.7"}, page_token=page_token)
        history += [event.item_changed.attempt for event in page.events]
        page_token = page.next_page_token
        if not page_token:
            break
    assert history == list(range(7, 7 + 1000 * item.event_count, 1000))
    assert item.event_count in {len(range(7, published[1] + more, 1000)) for more in (0, 1)}
    return len(seqs)


@pytest.mark.slow
@pytest.mark.timeout(240 + COUNT // 2000)
@pytest.mark.guarantee("G8")
def test_kills_of_daemon_and_writers_lose_and_repeat_no_item_event(daemon: Daemon, record_property: Any) -> None:
    seed = new_seed()
    chance = random.Random(seed)
    pause = threading.Event()
    token = report(daemon.calls, KILLED.format(writers=WRITER_COUNT, count=COUNT, pause=0.005, seed=seed))
    kills = max(12, COUNT // 20_000)
    for _ in range(kills):
        pause.wait(chance.uniform(0.02, 0.6))
        daemon.kill9()
        daemon.start()
    end_of(daemon.calls, token, seconds=60 + COUNT // 5000)
    published = json.loads(read(daemon.calls, token))
    count = judge(daemon, token, published, killed=True)
    record_property("faults", kills + len(published))
    print(f"\nitem events: {count}, seed={seed}, {kills} kills of the daemon, {len(published)} of writers", file=sys.stderr)


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
    judge(daemon, token, [count] * WRITER_COUNT)
