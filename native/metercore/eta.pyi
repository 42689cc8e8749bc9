"""When the work will be done: a 30 s average, with a band between the overall mean and an average that adapts."""

class Eta:
    """Estimate the seconds until `done` reaches a total.

    The estimate divides what is left by a debiased 30 s average of the rate (see `metercore.rate`) from growth to growth. The
    band spans that, the overall mean, and an average whose weight adapts to its own forecast errors (D. Trigg, A. Leach,
    "Exponential smoothing with an adaptive response rate", Operational Research Quarterly 18, 1967); it widens while the
    next growth is overdue. Nothing before 3 samples, nor before 2 s, nor while stalled.

    >>> eta = Eta()
    >>> for second in range(6):
    ...     eta.update(second * 10**9, 20 * second)
    >>> [round(seconds, 6) for seconds in eta.remaining(5 * 10**9, total=200)]
    [5.0, 5.0, 5.0]
    >>> eta.is_stalled(15 * 10**9), eta.is_stalled(16 * 10**9)
    (False, True)
    """

    def __init__(self) -> None: ...
    def update(self, now_ns: int, done: float) -> None:
        """Account that `done` is reached at monotonic time `now_ns`; a fall starts the estimate anew.

        Growth within 1 ms is one sample. A time before the last counts as no time. Raises ValueError unless done is finite
        and at least 0.
        """
    def remaining(self, now_ns: int, total: float) -> tuple[float, float, float] | None:
        """Return (seconds, low_seconds, high_seconds), or None when there is no honest estimate.

        The total may change from call to call; what is done or more than done takes 0.0, a total of 0 is not known yet.
        Raises ValueError unless total is finite and at least 0.
        """
    def is_stalled(self, now_ns: int) -> bool:
        """Tell whether nothing was done for 10 s and for 10 mean gaps.

        Needs no total, and does not know one: work that is done stands still too. False before the first growth.
        """
