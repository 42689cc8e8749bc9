"""ItemService: how items stand, how many stand how, and what happened to one."""

from __future__ import annotations

import base64
import binascii
import json

from taskmeter.core.service import Service
from taskmeter.errors import NotFoundError
from taskmeter.model.item import ItemStatus
from taskmeter.rpc.auth import Caller
from taskmeter.rpc.convert.checks import Checks, checked_token
from taskmeter.rpc.convert.frame import frame, varint
from taskmeter.rpc.convert.item import counts_message, item_message, key_of
from taskmeter.rpc.methods import Method, Read
from taskmeter.v1 import item_pb2
from taskmeter.v1 import item_service_pb2 as pb

DEFAULT_PAGE_SIZE = 50
MAX_PAGE_SIZE = 1000
MAX_PAGE_BYTES = 2_000_000
MAX_ID_BYTES = 1024
MAX_STAGE_BYTES = 200

_NEXT_PAGE_TOKEN, _FORGOTTEN_COUNT = b"\x12", b"\x18"


class ItemServicer:
    """The methods of `taskmeter.v1.ItemService`."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def methods(self) -> dict[str, Method]:
        return {
            "GetItem": Read(self.get_item),
            "ListItems": Read(self.list_items),
            "GetItemStats": Read(self.get_item_stats),
            "GetItemHistory": Read(self.get_item_history),
        }

    def _token(self, token: str, caller: Caller) -> str:
        return self._service.find(checked_token(token), caller.tenant).token

    async def get_item(self, request: pb.GetItemRequest, caller: Caller) -> pb.GetItemResponse:
        token = self._token(request.token, caller)
        checks = Checks()
        key = _checked_key(checks, request.item_id)
        checks.done()
        item = self._service.store.items.get(token, key)
        if item is None:
            raise _no_such_item()
        return pb.GetItemResponse(item=item_message(item))

    async def list_items(self, request: pb.ListItemsRequest, caller: Caller) -> pb.ListItemsResponse:
        token = self._token(request.token, caller)
        checks = Checks()
        known = {int(status) for status in ItemStatus if status}
        checks.found += [
            (f"statuses[{i}]", "is not a status") for i, status in enumerate(request.statuses) if status not in known
        ]
        checks.text("stage", request.stage, most_bytes=MAX_STAGE_BYTES)
        size = _checked_page_size(checks, request.page_size)
        after = _parse_page_token(request.page_token) if request.page_token else (0, b"")
        if after is None:
            checks.add("page_token", "is not one that these pages gave")
        checks.done()
        assert after is not None
        statuses = sorted({ItemStatus(status) for status in request.statuses})
        items, following = self._service.store.items.select(token, statuses, request.stage, after, size)
        answer = pb.ListItemsResponse()
        size_bytes = 0
        for index, item in enumerate(items):
            message = item_message(item)
            size_bytes += message.ByteSize() + 8
            if index and size_bytes > MAX_PAGE_BYTES:
                before = items[index - 1]
                following = (int(before.status) if statuses else 0, before.key)
                break
            answer.items.append(message)
        if following is not None:
            answer.next_page_token = _page_token(following)
        return answer

    async def get_item_stats(self, request: pb.GetItemStatsRequest, caller: Caller) -> pb.GetItemStatsResponse:
        stats = self._service.store.items.stats(self._token(request.token, caller))
        stages = [pb.StageCounts(stage=stage, counts=counts_message(counts)) for stage, counts in stats.stages]
        return pb.GetItemStatsResponse(total=counts_message(stats.total), stages=stages, event_count=stats.event_count)

    async def get_item_history(self, request: pb.GetItemHistoryRequest, caller: Caller) -> bytes:
        token = self._token(request.token, caller)
        checks = Checks()
        key = _checked_key(checks, request.item_id)
        size = _checked_page_size(checks, request.page_size)
        begin = int(request.page_token) if request.page_token.isascii() and request.page_token.isdecimal() else 0
        if request.page_token and not 0 < begin < 2**63:
            checks.add("page_token", "is not one that these pages gave")
        checks.done()
        history = self._service.store.items.history(token, key, begin, size)
        if history is None:
            raise _no_such_item()
        answer = b"".join(history.frames)  # they are framed as field 1 here, too
        if history.next_seq:
            answer += frame(_NEXT_PAGE_TOKEN, str(history.next_seq).encode())
        return answer + _FORGOTTEN_COUNT + varint(history.forgotten_count) if history.forgotten_count else answer


def _no_such_item() -> NotFoundError:
    hint = "the text 1 and the number 1 are two items; `taskmeter items TOKEN` shows what there is"
    return NotFoundError("the task has no item of this name", reason="ITEM_NOT_FOUND", hint=hint)


def _checked_key(checks: Checks, item_id: item_pb2.ItemId) -> bytes:
    key = key_of(item_id)
    if not key:
        checks.add("item_id", "must name an item")
    if len(key) > MAX_ID_BYTES + 1:
        checks.add("item_id", f"is longer than {MAX_ID_BYTES} bytes")
    return key


def _checked_page_size(checks: Checks, size: int) -> int:
    if not 0 <= size <= MAX_PAGE_SIZE:
        checks.add("page_size", f"must be from 0 (= {DEFAULT_PAGE_SIZE}) to {MAX_PAGE_SIZE}")
    return size or DEFAULT_PAGE_SIZE


def _page_token(after: tuple[int, bytes]) -> str:
    return base64.urlsafe_b64encode(json.dumps([after[0], after[1].hex()]).encode()).decode()


def _parse_page_token(text: str) -> tuple[int, bytes] | None:
    try:
        status, key = json.loads(base64.urlsafe_b64decode(text.encode()))
        return ItemStatus(status), bytes.fromhex(key)
    except (ValueError, binascii.Error, TypeError):
        return None
