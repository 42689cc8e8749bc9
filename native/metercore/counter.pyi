"""Kernel counters that may start anew or wrap around: what they grew by, never a negative amount."""

class Counter:
    """Follow a counter that grows, except when it starts anew.

    A reading below the last one is a reset or a wrap, which cannot be told apart; it counts as no growth, because a guess of
    what was missed would be billed. The total is thus a lower bound, exact without resets, and never falls; it ends at
    2**64 - 1.

    >>> counter = Counter()
    >>> [counter.update(value) for value in (100, 150, 3, 10)]
    [0, 50, 0, 7]
    >>> counter.total, counter.reset_count
    (57, 1)
    """

    def __init__(self) -> None: ...
    def update(self, value: int) -> int:
        """Account a reading and return what it grew by; the first call only sets where it starts."""
    @property
    def total(self) -> int:
        """The sum of what it grew by."""
    @property
    def reset_count(self) -> int:
        """How often it fell."""
