"""What has failed, as a tracker tells it."""

from __future__ import annotations

from taskmeter.work.tracking import ErrorSummary, FailedItem, StatusEvent


def failed_item(event: StatusEvent, attempts: int) -> FailedItem:
    """Describe a failed item by its newest event."""
    error = str(event.metadata.get("error", "Unknown error"))
    kind = event.metadata.get("error_type")
    if not kind:  # "ValueError: text", as an error is written
        before, colon, _ = error.partition(":")
        kind = before.strip() if colon and before.replace("_", "").replace(" ", "").isalpha() else "Exception"
    return FailedItem(event.item_id, error, str(kind), event.stage or "unknown", attempts, event.timestamp)


def summary_of(items: list[FailedItem]) -> ErrorSummary:
    """Count failed items by type of error and by stage."""
    types: dict[str, int] = {}
    stages: dict[str, int] = {}
    for item in items:
        types[item.error_type] = types.get(item.error_type, 0) + 1
        stages[item.stage] = stages.get(item.stage, 0) + 1
    return ErrorSummary(len(items), types, stages, items)
