"""Names of items: any JSON value, as the item log takes them."""

from __future__ import annotations

import os
import sys

MOST_NUMBER = 2**63


def name_of(item_id: object) -> str | int | bytes:
    """Return text and 64-bit integers as they are, and any other JSON value in canonical form as bytes.

    A path and a UUID are named by their text; a float without a fraction is the integer, as in JSON. Raises `TypeError` for what
    is no JSON value, `ValueError` for numbers that cannot be told apart.
    """
    if isinstance(item_id, str):
        return item_id
    if isinstance(item_id, float) and item_id.is_integer() and abs(item_id) <= 2**53:
        return int(item_id)
    if isinstance(item_id, int) and not isinstance(item_id, bool):
        if not -MOST_NUMBER <= item_id < MOST_NUMBER:
            raise ValueError(f"the number of an item has 64 bits, unlike {item_id}; name it by text")
        return int(item_id)
    if isinstance(item_id, os.PathLike):
        return os.fsdecode(item_id)
    uuid = sys.modules.get("uuid")
    if uuid is not None and isinstance(item_id, uuid.UUID):
        return str(item_id)

    from taskmeter.model.canonical import canonical  # noqa: PLC0415  # few ids need it

    return canonical(item_id).encode()
