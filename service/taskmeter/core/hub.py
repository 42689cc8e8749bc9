"""The head of the event sequence, and who is told of each block that is committed."""

from __future__ import annotations

from collections.abc import Callable

from taskmeter.core.ports import Block, Store


class Hub:
    """Passes committed blocks on; lives on the loop. Who follows the sequence keeps what it needs: see rpc/fanout.py."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.head_seq = store.head_seq
        self.on_block: Callable[[Block], None] = lambda _: None
        """Called for each block, after `head_seq` has been moved to its end."""

    def publish(self, block: Block) -> None:
        """Take a committed block; blocks come in order of seq."""
        self.head_seq = block.last_seq
        self.on_block(block)
