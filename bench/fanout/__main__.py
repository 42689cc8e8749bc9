"""What does it cost to deliver an event to N subscribers, and how late is it? `python -m bench.fanout [--quick]`.

Both servers run all the time, pinned to one core, and get subscribers in turns; those are a program in C on another core. Ours
commits every event to the daemon's store before it sends it, and the time is counted from there; the baseline only sends.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator

from bench import harness
from bench.fanout.side import Found, Side

SECONDS = 3.0
ROUNDS = 3
CELLS = ((1, 1_000), (1, 10_000), (10, 1_000), (10, 10_000), (100, 1_000), (100, 10_000), (1_000, 100), (1_000, 1_000))
"""(subscribers, events per second offered)."""
STALLED = 900


def main(*, quick: bool) -> None:
    ours, theirs = Side("bench.fanout.server"), Side("bench.fanout.onebyone")
    rounds, seconds = (1, 1.0) if quick else (ROUNDS, SECONDS)
    try:
        rows, ratios = [], []
        for count, rate in CELLS:
            found: dict[Side, list[Found]] = {ours: [], theirs: []}
            for number in range(rounds):
                for side in (ours, theirs) if number % 2 else (theirs, ours):
                    found[side].append(side.subscribers(count).run(rate, seconds, max(1, rate // 500)))
            rows += [_row(name, count, rate, found[side]) for name, side in (("ours", ours), ("one by one", theirs))]
            ratio = [base.cpu_us / mine.cpu_us for mine, base in zip(found[ours], found[theirs], strict=True)]
            ratios.append((count, rate, harness.spread(ratio, ".1f")))
        append = ours.produce(0, seconds, 1000)
        stalled = _stalled(ours, seconds)
        opened = list(_open_ms(ours, rounds))
    finally:
        ours.close()
        theirs.close()
    harness.heading("What does it cost to deliver an event to N subscribers?")
    print(f"{rounds} rounds in turns of {seconds:g} s; events of 200 bytes. Median (range).\n")
    header = ["", "subscribers", "offered events/s", "delivered/s", "server CPU per delivery, µs", "events per message"]
    harness.table([*header, "p50, ms", "p99, ms", "server busy", "reader busy"], rows)
    harness.table(["subscribers", "offered events/s", "CPU per delivery, one by one ÷ ours"], ratios)
    print("Target at 100 and 10,000: at least 8; at 100 and 1,000: p50 at most 2 ms, p99 at most 10 ms.\n")
    per_second, cpu_us = append["events"] / append["seconds"], append["cpu_seconds"] / append["events"] * 1e6
    print(f"Durable append in blocks of 1,000, one after the other: {per_second:.0f} events/s, CPU {cpu_us:.1f} µs per event.")
    print(f"A stalled subscriber, {STALLED} of 1,000: {stalled:.1f} KiB each of the server's memory. Target: at most 125.")
    print(
        f"1,000 streams opened at once on an idle server have all begun after {harness.spread(opened, '.0f')} ms. Target: 1,000."
    )


def _row(name: str, count: int, rate: int, found: list[Found]) -> tuple[object, ...]:
    figures = (
        ([each.delivered_per_second for each in found], ".0f"),
        ([each.cpu_us for each in found], ".2f"),
        ([each.events_per_message for each in found], ".1f"),
        ([each.p50_ms for each in found], ".1f"),
        ([each.p99_ms for each in found], ".1f"),
        ([each.busy for each in found], ".2f"),
        ([each.reader_busy for each in found], ".2f"),
    )
    return (name, count, rate, *(harness.spread(values, form) for values, form in figures))


def _stalled(side: Side, seconds: float) -> float:
    """Return what a subscriber that does not read costs, once far more than its window has been sent, in KiB."""
    side.subscribers(100, stalled=20).run(1_000, seconds, 10)  # what the first ones cost once is not theirs
    live = side.subscribers(100)
    before = harness.status_kib(side.server.pid, "RssAnon")
    stalled = side.subscribers(1, stalled=STALLED, connections=9)
    side.produce(1_000, seconds, 10)
    cost = harness.status_kib(side.server.pid, "RssAnon") - before
    stalled.close()
    live.close()
    return cost / STALLED


def _open_ms(side: Side, rounds: int) -> Iterator[float]:
    for _ in range(rounds):
        opened = side.subscribers(1_000)
        yield opened.open_ms
        opened.close()


if __name__ == "__main__":
    main(quick="--quick" in sys.argv)
