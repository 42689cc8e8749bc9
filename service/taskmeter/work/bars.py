"""Progress bars of others as progress of the task: the outermost bar of a process counts, those inside it do not."""

from __future__ import annotations

from taskmeter.work.context import current


class Bar:
    """What was reported of one bar. Bars of bytes go to sizes, all others to counts.

    A bar is outermost from when it shows up while none other is open until it is closed, or full. What bars have to do adds up,
    unless the program has said itself how much there is (`progress(total=…)`). Progress of fractions is counted once it is whole.
    """

    __slots__ = ("done", "goal", "is_bytes", "is_open", "reported", "start", "text", "total")

    def __init__(self, start: float = 0, *, is_bytes: bool = False) -> None:
        self.start = start
        """What was done before; the task is not to be praised for it."""
        self.is_bytes = is_bytes
        self.is_open = True
        self.done = start
        self.goal: float | None = None
        self.reported = 0
        self.total = 0
        self.text = ""

    def show(self, done: float, total: float | None, text: str = "") -> None:
        """Report what has changed, if this bar is the outermost. Never raises."""
        global _outermost
        self.done = done
        self.goal = total
        if _outermost is not self:
            if not self.is_open or (_outermost is not None and _outermost.is_open):
                return
            _outermost = self
        count = _whole(done - self.start)
        goal = max(_whole(total - self.start), 0) if total is not None else 0
        context = current()
        if goal != self.total:
            if not context.has_total:
                context.expect(*self._amounts(goal - self.total))
            self.total = goal
        if count != self.reported:
            context.add(*self._amounts(count - self.reported))
            self.reported = count
        if text and text != self.text:
            self.text = text
            context.status(text)
        self.is_open = not (0 < goal <= count)

    @property
    def is_outermost(self) -> bool:
        """Whether it is this bar that counts."""
        return _outermost is self and self.is_open

    def one(self) -> None:
        """Report one more."""
        self.show(self.done + 1, self.goal)

    def restart(self) -> None:
        """Begin anew: what was reported stays, and what comes is more."""
        self.start = self.done = 0
        self.reported = self.total = 0
        self.is_open = True

    def close(self) -> None:
        """Give way to the next bar."""
        self.is_open = False

    def _amounts(self, n: int) -> tuple[int, int]:
        return (0, n) if self.is_bytes else (n, 0)


_outermost: Bar | None = None


MOST = 2**60
"""More is nonsense, and would not fit the counters."""


def _whole(value: float) -> int:
    try:
        return min(max(int(value), -MOST), MOST)
    except (TypeError, ValueError, OverflowError):
        return 0
