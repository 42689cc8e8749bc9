"""Items as objects, and the requests that ask for them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

from taskmeter.client.status import Event, View
from taskmeter.errors import InvalidArgumentError
from taskmeter.model.canonical import canonical
from taskmeter.model.item import ItemStatus
from taskmeter.v1 import item_pb2, item_service_pb2

ITEM_PAGE_SIZE = 500


class Item(View):
    """How one item stands; `item_id` is a text, a number, or any other JSON value."""

    __slots__ = ()
    _descriptor = item_service_pb2.Item.DESCRIPTOR
    _wrap: ClassVar[Mapping[str, Any]] = {"status": ItemStatus}

    item_id: Any
    stage: str
    status: ItemStatus
    attempt: int
    error: str
    worker: str
    size: int
    metadata: dict[str, str]
    time: float
    event_count: int


class ItemCounts(View):
    """How many items stand how."""

    __slots__ = ()
    _descriptor = item_service_pb2.ItemCounts.DESCRIPTOR

    queued: int
    in_progress: int
    completed: int
    failed: int
    retrying: int
    skipped: int


class StageCounts(View):
    """How many items of one stage stand how."""

    __slots__ = ()
    _descriptor = item_service_pb2.StageCounts.DESCRIPTOR
    _wrap: ClassVar[Mapping[str, Any]] = {"counts": ItemCounts}

    stage: str
    counts: ItemCounts


class ItemStats(View):
    """All items of a task, counted."""

    __slots__ = ()
    _descriptor = item_service_pb2.GetItemStatsResponse.DESCRIPTOR
    _wrap: ClassVar[Mapping[str, Any]] = {
        "total": ItemCounts,
        "stages": lambda stages: [StageCounts(stage) for stage in stages],
    }

    total: ItemCounts
    stages: list[StageCounts]
    event_count: int


class ItemHistory(list[Event]):
    """What happened to one item, oldest first."""

    forgotten_count = 0
    """Events of it that are not to be found any more."""

    def add(self, page: item_service_pb2.GetItemHistoryResponse) -> None:
        """Take over a page."""
        self += [Event.of(event) for event in page.events]
        self.forgotten_count = page.forgotten_count


def item_id_message(item_id: object) -> item_pb2.ItemId:
    """Return the name of an item: a text, a number of 64 bits, or any other JSON value. Raises `InvalidArgumentError`."""
    if isinstance(item_id, str):
        return item_pb2.ItemId(text=item_id)
    if isinstance(item_id, float) and item_id.is_integer() and abs(item_id) <= 2**53:
        item_id = int(item_id)
    try:
        if isinstance(item_id, int) and not isinstance(item_id, bool):
            return item_pb2.ItemId(number=item_id)
        return item_pb2.ItemId(json=canonical(item_id))
    except (TypeError, ValueError) as error:
        raise InvalidArgumentError(f"no item is called so: {error}", fields=[("item_id", str(error))]) from error


def list_items_request(
    token: str, status: ItemStatus | int | str | Iterable[ItemStatus | int | str], stage: str
) -> item_service_pb2.ListItemsRequest:
    """Build a ListItems request; `status` is one or several words or numbers, none = all."""
    words = [status] if isinstance(status, str | int) else list(status)
    numbers = [_status(word) for word in words if word != ""]
    return item_service_pb2.ListItemsRequest(
        token=token,
        statuses=numbers,  # type: ignore[arg-type]  # protobuf takes the numbers of its enums
        stage=stage,
        page_size=ITEM_PAGE_SIZE,
    )


def _status(word: ItemStatus | int | str) -> int:
    if not isinstance(word, str):
        return int(word)
    try:
        return int(ItemStatus[word.upper().replace("-", "_").replace(" ", "_")])
    except KeyError:
        raise InvalidArgumentError(
            f"no status of an item is called {word!r}",
            fields=[("statuses", f"unknown word {word!r}")],
            hint="one of: " + " ".join(known.name.lower() for known in ItemStatus if known),
        ) from None
