"""Rates per second over irregular intervals: an exponentially weighted moving average without start-up bias."""

class Rate:
    """Estimate a rate per second from amounts at irregular times.

    alpha = 1 - exp(-dt / tau) weighs each interval by its length (A. Eckner, "Algorithms for unevenly spaced time series:
    moving averages and other rolling operators", 2019); dividing by the same recursion over a constant 1 removes the bias
    towards the start at 0 (as in D. Kingma, J. Ba, "Adam", 2015, section 3). Decays when nothing happens. Raises ValueError
    unless tau_seconds is 0.001 to 1e9.

    >>> rate = Rate(tau_seconds=5.0)
    >>> for second in range(10):
    ...     rate.update(second * 10**9, 30)
    >>> round(rate.per_second, 6)
    30.0
    >>> round(rate.at(14 * 10**9), 1)  # after 5 s of nothing
    9.8
    """

    def __init__(self, tau_seconds: float = 5.0) -> None: ...
    def update(self, now_ns: int, amount: float) -> None:
        """Account `amount` since the last update, at monotonic time `now_ns`; the first call only sets the clock.

        Intervals under 1 ms merge into the next, and so does a time before the last. Raises ValueError unless amount is
        0 to 2**64.
        """
    def at(self, now_ns: int) -> float:
        """Return the rate at `now_ns` if nothing has happened since the last update."""
    @property
    def per_second(self) -> float:
        """The rate as of the last update; below 0.005 it is 0.0."""
