"""Items through the clients."""

from __future__ import annotations

import sys

import pytest

from taskmeter import Client, SyncClient, errors
from taskmeter.model.item import ItemStatus
from tests.daemon import Daemon
from tests.integration.test_items import BEGIN

CODE = (
    BEGIN
    + """
for i in range(600):
    log.item(i, 3 if i else 4, stage="s", error="" if i else "bad")
log.item(b'{"a":[1,2.5]}', 2)
log.item("t", 2)
log.step("t", "x", 1)
"""
)


@pytest.fixture(scope="module")
def token(shared_daemon: Daemon) -> str:
    with SyncClient(state_dir=shared_daemon.state_dir) as client:
        made = client.start([sys.executable, "-c", CODE]).token
        client.wait_task(made)
    return made


def test_items_with_the_sync_client(shared_daemon: Daemon, token: str) -> None:
    with SyncClient(state_dir=shared_daemon.state_dir) as client:
        item = client.get_item(token, 0)
        assert (item.item_id, item.status, item["error"], item.stage) == (0, ItemStatus.FAILED, "bad", "s")
        assert client.get_item(token, 0.0) == item
        assert client.get_item(token, {"a": [1, 2.5]}).item_id == {"a": [1, 2.5]}
        assert {each.item_id for each in client.list_items(token, status="completed")} == set(range(1, 600))
        assert [each.item_id for each in client.list_items(token, status=["failed", "skipped"])] == [0]
        assert len(list(client.list_items(token))) == 602
        stats = client.get_item_stats(token)
        assert (stats.total.completed, stats.total.in_progress, stats.stages[1].stage) == (599, 2, "s")
        assert stats.stages[1].counts.failed == 1
        history = client.get_item_history(token, "t")
        assert ([event.kind.name for event in history], history.forgotten_count) == (["ITEM", "STEP"], 0)
        with pytest.raises(errors.NotFoundError) as missing:
            client.get_item(token, "0")
        assert missing.value.reason == "ITEM_NOT_FOUND"
        with pytest.raises(errors.InvalidArgumentError, match="no item is called so"):
            client.get_item(token, 2**70)
        with pytest.raises(errors.InvalidArgumentError, match="no status"):
            list(client.list_items(token, status="lost"))


async def test_items_with_the_client(shared_daemon: Daemon, token: str) -> None:
    async with Client(state_dir=shared_daemon.state_dir) as client:
        assert (await client.get_item(token, 5)).status is ItemStatus.COMPLETED
        assert [item.item_id async for item in client.list_items(token, status=ItemStatus.FAILED)] == [0]
        assert (await client.get_item_stats(token)).event_count == 603
        assert len(await client.get_item_history(token, "t")) == 2
