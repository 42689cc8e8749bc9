"""Rates per second over irregular intervals: an exponentially weighted moving average without start-up bias."""

class Rate:
    """Estimate a rate per second from amounts at irregular times.

    alpha = 1 - exp(-dt / tau) weighs each interval by its length (A. Eckner, "Algorithms for unevenly spaced time series:
    moving averages and other rolling operators", 2019); dividing by the same recursion over a constant 1 removes the bias
    towards the start at 0 (as in D. Kingma, J. Ba, "Adam", 2015, section 3). Decays when nothing happens.
    """

    def __init__(self, tau_seconds: float = 5.0) -> None: ...
    def update(self, now_ns: int, amount: float) -> None:
        """Account `amount` since the last update, at monotonic time `now_ns`; the first call only sets the clock.

        Intervals under 1 ms merge into the next. A time before the last counts as no time.
        """
    @property
    def per_second(self) -> float:
        """The rate now; below 0.005 it is 0.0."""
