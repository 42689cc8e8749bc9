"""What does it cost to deliver an event to N subscribers, and how late is it? `bench.fanout [N …] [--quick] [--seed N]`.

All servers run all the time, pinned to one core, and get subscribers in turns in an order of chance; those are a program in C on
another core, where also the producers of servers are that do not make their events themselves. Ours commits every event to the
daemon's store before it sends it. Leaves bench/results/fanout-N.json for each number of subscribers.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from bench import harness, profile, report
from bench.fanout import sides
from bench.fanout.side import Side
from bench.fanout.sides import OURS
from bench.result import Cell, Column, Plot, Result, package, program, ratios

SECONDS = 1.2
ROUNDS = 3
RATES = {1: (1_000, 10_000), 10: (1_000, 10_000), 100: (1_000, 10_000), 1_000: (100, 1_000)}
"""Events per second offered, by number of subscribers."""
STALLED = 900
COLUMNS = [
    Column("delivered_per_second", "delivered/s"),
    Column("cpu_us", "server CPU per delivery, µs", ".2f", better="less"),
    Column("p50_ms", "p50 emit → receive, ms", ".2f"),
    Column("p99_ms", "p99, ms", ".2f"),
    Column("stored_p50_ms", "p50 stored → receive, ms", ".2f"),
    Column("stored_p99_ms", "p99, ms", ".2f"),
    Column("open_ms", "all open, ms", ".0f"),
    Column("subscriber_kb", "kB per subscriber", ".0f"),
    Column("events_per_read", "events per read", ".1f"),
    Column("busy", "server busy", ".2f"),
    Column("others_busy", "others on its core", ".2f"),
    Column("client_busy", "readers' core busy", ".2f"),
]
ABOUT = (
    "{rounds} rounds in turns of {seconds:g} s in an order of chance; events of 200 bytes, in blocks of 2 ms. Emit is the "
    "moment at which a block is handed over; ours commits it to disk before it is sent, and the time from there stands "
    "beside. A server near 1 could not deliver all that was offered: then latencies are its queue's length. Where the "
    "readers' core is near 1 it was the bottleneck. kB are the growth of RssAnon over the first round of a server with so "
    "many subscribers, queues and what it keeps included."
)


@contextmanager
def running(result: Result) -> Iterator[list[Side]]:
    """Start all sides that can run here."""
    with ExitStack() as stack:
        found = []
        for kind in sides.ALL:
            if lacks := kind.missing():
                result.missing[kind.name] = lacks
                continue
            side = Side(kind.name, kind.module, *kind.arguments)
            stack.callback(side.close)
            found.append(side)
        yield found


def measure(result: Result, all_sides: list[Side], count: int, chance: random.Random, rounds: int, seconds: float) -> None:
    """Fill the cells of one number of subscribers."""
    for rate in RATES[count]:
        cells: dict[Side, Cell] = {
            side: {"subscribers": count, "events_per_second_offered": rate, "side": side.name} for side in all_sides
        }
        for number in range(rounds):
            for side in chance.sample(all_sides, len(all_sides)):
                before = harness.status_kib(side.pid, "RssAnon")
                opened = side.subscribers(count)
                found = opened.run(rate, seconds, max(1, rate // 500))
                figures = {**found._asdict(), "open_ms": opened.open_ms}
                if not number and rate == RATES[count][0] and count >= 100:  # later ones reuse what the first have left
                    figures["subscriber_kb"] = (found.server_kib - before) * 1.024 / count
                for key, value in figures.items():
                    if value is not None:
                        cells[side].setdefault(key, []).append(value)
        result.cells += cells.values()


def judge(result: Result, count: int, ours: Side) -> None:
    """Hold ours against the targets of 100 subscribers, and look where the time goes if one is missed."""
    if count != 100:
        return
    at = {"subscribers": 100, "events_per_second_offered": 10_000}
    mine = result.figures("cpu_us", side=OURS, **at)
    for other, factor in ((sides.ONE_BY_ONE, 8), (sides.ETCD, 1), (sides.STREAM, 1), (sides.BROADCAST, 1.1)):
        base = result.figures("cpu_us", side=other, **at)
        target = f"100 subscribers, 10,000 events/s: CPU per delivery of {other} at least {factor:g} × ours"
        result.judge(target, ratios(base, mine) if base else [], least=factor)
    at = {"subscribers": 100, "events_per_second_offered": 1_000}
    for key, what, most in (("p50_ms", "p50", 2.0), ("p99_ms", "p99", 10.0)):
        for prefix, since in (("stored_", "stored"), ("", "emit")):
            target = f"100,000 deliveries/s: {what} {since} → receive at most {most:g} ms"
            result.judge(target, result.figures(prefix + key, side=OURS, **at), most=most)
    missed = [verdict for verdict in result.verdicts if verdict.met is False]
    if missed:
        title = "the daemon's path with 100 subscribers, 1,000 events/s"
        opened = ours.subscribers(100)
        result.profiles[title] = profile.of(ours.pid, lambda: ours.produce(1_000, profile.SECONDS + 1.5, 2))
        opened.close()
        for verdict in missed:
            verdict.why = profile.shown(result.profiles[title], title)


def judge_thousand(result: Result, ours: Side, rounds: int, seconds: float) -> None:
    """Streams that do not read, and streams that open all at once."""
    stalled = stalled_kb(ours, seconds)
    target = f"a stalled subscriber, {STALLED} of 1,000: at most 128 kB of the server's memory"
    result.judge(target, [stalled], most=128, form=".1f")
    opened = list(open_ms(ours, rounds))
    target = "1,000 streams opened at once on an idle server have all begun after at most 1,000 ms"
    result.judge(target, opened, most=1_000, form=".0f")
    append = ours.produce(0, seconds, 1000)
    per_second, cpu_us = append["events"] / append["seconds"], append["cpu_seconds"] / append["events"] * 1e6
    result.about.append(
        f"Durable append in blocks of 1,000, one by one: {per_second:.0f} events/s, {cpu_us:.1f} µs of CPU per event."
    )


def stalled_kb(side: Side, seconds: float) -> float:
    """Return what a subscriber that does not read costs, once far more than its window has been sent, in kB."""
    side.subscribers(100, stalled=20).run(1_000, seconds, 10)  # what the first ones cost once is not theirs
    live = side.subscribers(100)
    before = harness.status_kib(side.pid, "RssAnon")
    stalled = side.subscribers(1, stalled=STALLED, connections=9)
    side.produce(1_000, seconds, 10)
    cost = harness.status_kib(side.pid, "RssAnon") - before
    stalled.close()
    live.close()
    return cost * 1.024 / STALLED


def open_ms(side: Side, rounds: int) -> Iterator[float]:
    """Yield how long 1,000 streams take to begin."""
    for _ in range(rounds):
        opened = side.subscribers(1_000)
        yield opened.open_ms
        opened.close()


def main(arguments: list[str]) -> None:
    options = harness.options(arguments)
    rounds, seconds = (1, 0.4) if options.quick else (ROUNDS, SECONDS)
    harness.raise_descriptor_limit()
    for count in map(int, options.chosen or map(str, RATES)):
        result = Result(
            f"fanout-{count}",
            "What does it cost to deliver an event to N subscribers, and how late is it?",
            [ABOUT.format(rounds=rounds, seconds=seconds)],
            ["subscribers", "events_per_second_offered"],
            COLUMNS,
            OURS,
            [
                Plot("cpu_us", "Processor time of the server per delivery", "events_per_second_offered", "subscribers"),
                Plot("delivered_per_second", "Deliveries per second of one core", "events_per_second_offered", "subscribers"),
                Plot("p99_ms", "99 % of the deliveries arrive within ms", "events_per_second_offered", "subscribers"),
            ],
            notes={kind.name: kind.note for kind in sides.ALL},
            environment={
                "etcd": program("etcd", "--version"),
                "NATS": program("nats-server", "--version"),
                "Redis": program("redis-server", "--version").partition(" sha")[0],
                **{name: package(name) for name in ("websockets", "starlette", "uvicorn")},
            },
            seed=options.seed,
            quick=options.quick,
        )
        with running(result) as all_sides:
            measure(result, all_sides, count, random.Random(options.seed), rounds, seconds)
            ours = next(side for side in all_sides if side.name == OURS)
            judge(result, count, ours)
            if count == 1_000:
                judge_thousand(result, ours, rounds, seconds)
        result.save()
        print(report.markdown_of(result))


if __name__ == "__main__":
    main(sys.argv[1:])
