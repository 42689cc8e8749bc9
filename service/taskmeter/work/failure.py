"""How a failure is told: as "Type: text", and as metadata that trackers know, `error` (the text alone) and `error_type`."""

from __future__ import annotations


def describe(error: BaseException | str | None) -> tuple[str, dict[str, str]]:
    """Return an error as one text, and as metadata; both are empty without an error."""
    if error is None or error == "":
        return "", {}
    if not isinstance(error, BaseException):
        return str(error), {"error": str(error)}
    kind = type(error).__name__
    try:
        said = str(error)
    except Exception:  # noqa: BLE001  # whatever a foreign __str__ does, the work goes on
        said = ""
    return (f"{kind}: {said}" if said else kind), {"error": said or kind, "error_type": kind}
