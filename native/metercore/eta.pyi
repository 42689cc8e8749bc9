"""When the work will be done: a 30 s average, with a band between the overall mean and an average that adapts."""

class Eta:
    """Estimate the seconds until `done` reaches a total.

    The estimate divides what is left by a debiased 30 s average of the rate. The band spans that, the overall mean, and an
    average whose weight adapts to its own forecast errors (D. Trigg, A. Leach, "Exponential smoothing with an adaptive
    response rate", Operational Research Quarterly 18, 1967). Nothing before 3 samples and 2 s, nor while stalled.
    """

    def __init__(self) -> None: ...
    def update(self, now_ns: int, done: float) -> None:
        """Account that `done` is reached at monotonic time `now_ns`; a fall starts the estimate anew."""
    def remaining(self, now_ns: int, total: float) -> tuple[float, float, float] | None:
        """Return (seconds, low_seconds, high_seconds), or None when there is no honest estimate."""
    def is_stalled(self, now_ns: int) -> bool:
        """Tell whether nothing was done for 10 s and for 10 mean gaps."""
