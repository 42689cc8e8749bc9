"""What was read of an item log at one time: events, and the states of items that follow from them."""

from collections.abc import Mapping

class Batch:
    """Events of one task, in the order of each writer, as they are to be stored together with `offsets`.

    Made by `ItemLogReader.read`.
    """

    @property
    def count(self) -> int:
        """How many events; 0 where only bytes were found that say nothing."""
    @property
    def kinds(self) -> bytes:
        """One EventKind per event: ITEM (2), STEP (3) or MESSAGE (4)."""
    @property
    def offsets(self) -> dict[str, int]:
        """By name of the segment, up to where it is read with this batch; only those that have moved on."""
    @property
    def last_time(self) -> float:
        """When the last event happened, in Unix seconds; 0.0 without any."""
    @property
    def bad_count(self) -> int:
        """How often something was not a record: each run of such bytes counts once."""
    @property
    def dropped_count(self) -> int:
        """How many events the writers say they dropped for want of room."""
    def frames(self, first_seq: int, token: str, attempt: int, tags: Mapping[str, str]) -> bytes:
        """Return all events, numbered from `first_seq`, each as one `StreamEventsResponse.events` field.

        As protobuf writes them deterministically: the entries of a map in the order of their keys.
        """
    def items(self) -> list[tuple[bytes, str, int, int, str, str, int, str, float, tuple[int, ...]]]:
        """Return what is known of each item after this batch, in the order of their first events.

        (key, stage, status, attempt, error, worker, size, metadata, time, indexes of its events). The key is "s" and a text, "i"
        and a decimal number, or "j" and canonical JSON. Status 0: there were only steps; all from stage to metadata then says
        nothing. Size 0 and metadata "" are unknown to this batch and leave what was known before; metadata is else a JSON
        object. Time, in Unix seconds, is that of the last change, or of the last step where there is none.
        """
    def messages(self) -> list[tuple[int, str, float]]:
        """Return the messages, in order: level, text, Unix seconds."""
