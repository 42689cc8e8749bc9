"""How much was done over the last seconds: a ring of running totals, interpolated at the window's left edge."""

class RateWindow:
    """Sum up whole amounts over the last `span_seconds`, at irregular times and in constant memory.

    Keeps 64 running totals, and merges intervals where they are shorter than 1/31 of the span; within one interval work is
    taken to be steady, so the total at the left edge is interpolated linearly. Everything else is exact: the error is less
    than the amount in the interval that contains the left edge, which lasts span / 31, or as long as no update came (the
    linear rolling sum of A. Eckner, "Algorithms for unevenly spaced time series", 2019). Raises ValueError unless
    span_seconds is 0.001 to 1e9.

    >>> window = RateWindow(span_seconds=10.0)
    >>> for second in range(60):
    ...     window.update(second * 10**9, 7)
    >>> window.amount(59 * 10**9), window.per_second(59 * 10**9)
    (70.0, 7.0)
    >>> window.per_second(64 * 10**9)  # nothing for 5 s: half the window is empty
    3.5
    """

    def __init__(self, span_seconds: float = 10.0) -> None: ...
    def update(self, now_ns: int, amount: int) -> None:
        """Account `amount` since the last update, at monotonic time `now_ns`; the first call only sets the clock.

        A time before the last counts as the last. A window holds at most 2**64 - 1; what goes beyond is cut.
        """
    def amount(self, now_ns: int) -> float:
        """Return how much was done in the span before `now_ns`, or since the first update while that is shorter."""
    def per_second(self, now_ns: int) -> float:
        """Return that amount per second; 0.0 in the first millisecond."""
