"""The newest framed events in one piece of memory, from which any number of readers copy what is theirs."""

class EventRing:
    r"""The newest events of a sequence, as frames that are sent as they are.

    Memory is allocated once: `capacity_bytes` for frames and as much again for their index. When it is full the older half goes;
    an event larger than it is not kept, nor is anything before it.

    >>> ring = EventRing(4096)
    >>> ring.append(1, bytes([1, 4]), b"\n\x03one\n\x03two", "default", "a", {})
    >>> ring.append(3, bytes([1]), b"\n\x05three", "default", "b", {"colour": "red"})
    >>> ring.join(1, 100, 0b10, "default", frozenset(), {})
    (b'\n\x03one\n\x05three', 3, ('a', 'b'))
    >>> ring.join(1, 100, 0b10010, "default", frozenset({"a"}), {})
    (b'\n\x03one\n\x03two', 3, ('a',))
    """

    def __init__(self, capacity_bytes: int) -> None: ...
    def __len__(self) -> int: ...
    @property
    def first_seq(self) -> int:
        """Seq of the oldest event kept; one more than the newest when there is none."""
    @property
    def last_seq(self) -> int:
        """Seq of the newest event ever appended; 0 before that."""
    @property
    def size_bytes(self) -> int:
        """Size of the frames kept."""
    def append(self, first_seq: int, kinds: bytes, frames: bytes, tenant: str, token: str, tags: dict[str, str]) -> None:
        """Append a block: events of one task with consecutive seqs, the first of which is above every one before.

        `frames` are protobuf fields of wire type 2, joined, their tags of one byte; `kinds` has a number from 0 to 63 for each.
        Raises `ValueError` or `TypeError`, and then nothing has changed.
        """
    def join(
        self, from_seq: int, most_bytes: int, kinds: int, tenant: str, tokens: frozenset[str], tags: dict[str, str]
    ) -> tuple[bytes, int, tuple[str, ...]]:
        """Return the frames that match from `from_seq` on, joined; the seq up to which they were looked at; tokens that had some.

        At most `most_bytes`, but one event at least. `kinds` has bit N set for kind N; `tokens` may be empty for any; a token is
        named also where none of its kinds matched. The caller sees to it that nothing at or after `from_seq` was dropped.
        """
