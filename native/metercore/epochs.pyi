"""The highest value of late, in two alternating epochs: readers reset nothing, so any number of them agree."""

class WindowPeak:
    """Keep the highest value over at least the last `span_seconds` and less than twice that.

    Time is cut into epochs of span_seconds from the first value on, or the first after a silence; the answer is the maximum of
    the present epoch and the one before. Two readers at any pace see the same, since neither resets anything. Raises
    ValueError unless span_seconds is 0.001 to 1e9.

    >>> peak = WindowPeak(span_seconds=60.0)
    >>> peak.update(0, 5.0)
    >>> peak.update(70 * 10**9, 2.0)
    >>> peak.highest(70 * 10**9), peak.highest(120 * 10**9), peak.highest(180 * 10**9)
    (5.0, 2.0, None)
    """

    def __init__(self, span_seconds: float = 60.0) -> None: ...
    def update(self, now_ns: int, value: float) -> None:
        """Account `value` at monotonic time `now_ns`; a time before the present epoch counts as in it.

        Raises ValueError unless value is finite.
        """
    def highest(self, now_ns: int) -> float | None:
        """Return the highest value of late, or None if there was none in that time."""
