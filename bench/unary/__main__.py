"""How many status calls does one core answer, and how soon? `python -m bench.unary [unix|tcp|tls …] [--quick] [--seed N]`.

All servers of a transport run all the time, pinned to one core, and are asked in turns, in an order of chance, by h2load on
another core. A round is as many calls as the server answers in so many seconds. Leaves bench/results/unary-TRANSPORT.json.
"""

from __future__ import annotations

import random
import sys
import tempfile
from pathlib import Path

from bench import harness, profile, report
from bench.result import Cell, Column, Plot, Result, package, program, ratios
from bench.unary import load, servers
from bench.unary.servers import OURS, Place, Server
from tests.certificates import Authority

IN_FLIGHT = (1, 50, 500)
ROUNDS, ROUND_SECONDS = 5, 0.6
LEAST_CALLS = 1_000
TARGET = 1.35
AT = 50
"""In flight, for the target."""

ABOUT = (
    "{rounds} rounds of {seconds:g} s per server and number in flight, in turns in an order of chance; over {connections} "
    "connections where more than one is in flight. Every answer is checked by its size, and one by its status before. The "
    "generator's share says who waited for whom: near 1 it was the bottleneck. "
    "Where others had the server's core, its rate says little, and its processor time more."
)


def ask(server: Server, calls: int, in_flight: int, work: Path) -> dict[str, float]:
    """Make one round."""
    before, core = harness.cpu_seconds(server.pid), harness.server_core_seconds()
    found = load.call(server.address, calls, in_flight, work)
    spent = harness.cpu_seconds(server.pid) - before
    others = harness.server_core_seconds() - core - spent
    return {
        "calls_per_second": calls / found.seconds,
        "cpu_us": spent / calls * 1e6,
        "p50_us": found.p50_us,
        "p99_us": found.p99_us,
        "busy": spent / found.seconds,
        "others_busy": max(0.0, others / found.seconds),
        "generator_busy": found.busy,
        "answer_bytes": found.answer_bytes,
    }


def measure(result: Result, transport: str, chance: random.Random, rounds: int, seconds: float) -> None:
    """Ask all servers of one transport."""
    with tempfile.TemporaryDirectory(prefix="tm-unary-") as name:
        work = Path(name)
        authority = Authority(work, "authority")
        place = Place(servers.TRANSPORTS[transport], work, authority.issue("server"), authority.pair.cert)
        with servers.all_servers(place) as (running, missing):
            result.missing.update(missing)
            for in_flight in IN_FLIGHT:
                cells: dict[Server, Cell] = {
                    server: {"transport": place.transport, "in_flight": in_flight, "side": server.name} for server in running
                }
                calls = {}
                for server in running:  # the first calls warm, and tell how many make a round
                    ask(server, LEAST_CALLS, in_flight, work)
                    calls[server] = max(
                        LEAST_CALLS, round(ask(server, LEAST_CALLS, in_flight, work)["calls_per_second"] * seconds)
                    )
                for _ in range(rounds):
                    for server in chance.sample(running, len(running)):
                        for key, value in ask(server, calls[server], in_flight, work).items():
                            cells[server].setdefault(key, []).append(value)
                result.cells += cells.values()
            judge(result, place.transport, running, work)


def judge(result: Result, transport: str, running: list[Server], work: Path) -> None:
    """Hold ours against the target, and look where the time goes if it is missed."""
    where = {"transport": transport, "in_flight": AT}
    mine, base = (result.figures("calls_per_second", side=side, **where) for side in (OURS, servers.BUILT))
    against = f"{transport}, {AT} in flight, against an asyncio handler that builds per call"
    rate = result.judge(f"{against}: at least {TARGET} × the calls", ratios(mine, base), least=TARGET)
    spent, base = (result.figures("cpu_us", side=side, **where) for side in (OURS, servers.BUILT))
    cpu = result.judge(f"{against}: its processor time per call at least {TARGET} × ours", ratios(base, spent), least=TARGET)
    missed = [verdict for verdict in (rate, cpu) if verdict.met is False]
    if missed:
        server = next(each for each in running if each.name == OURS)
        calls = round(max(mine) * (profile.SECONDS + 1))
        title = f"{transport}: the daemon under {AT} calls in flight"
        result.profiles[title] = profile.of(server.pid, lambda: load.call(server.address, calls, AT, work))
        for verdict in missed:
            verdict.why = profile.shown(result.profiles[title], title)


def main(arguments: list[str]) -> None:
    options = harness.options(arguments)
    rounds, seconds = (1, 0.1) if options.quick else (ROUNDS, ROUND_SECONDS)
    if not program("h2load", "--version"):
        sys.exit("h2load is not installed (`make bench-tools`)")
    for transport in options.chosen or servers.TRANSPORTS:
        result = Result(
            f"unary-{transport}",
            "How many status calls does one core answer, and how soon?",
            [ABOUT.format(rounds=rounds, seconds=seconds, connections=load.CONNECTIONS)],
            ["transport", "in_flight"],
            [
                Column("calls_per_second", "calls/s", better="more"),
                Column("cpu_us", "server CPU per call, µs", ".1f", better="less"),
                Column("p50_us", "p50, µs"),
                Column("p99_us", "p99, µs"),
                Column("busy", "server busy", ".2f"),
                Column("others_busy", "others on its core", ".2f"),
                Column("generator_busy", "generator busy", ".2f"),
                Column("answer_bytes", "bytes per answer"),
            ],
            OURS,
            [
                Plot("calls_per_second", "Status calls per second of one core", "in_flight", "transport"),
                Plot("p99_us", "99 % of the status calls are answered within µs", "in_flight", "transport"),
            ],
            notes=servers.NOTES,
            environment={
                "h2load": program("h2load", "--version"),
                "FastAPI": package("fastapi"),
                "uvicorn": package("uvicorn"),
                "gRPC C++": harness.debian("libgrpc++-dev"),
            },
            seed=options.seed,
            quick=options.quick,
        )
        measure(result, transport, random.Random(options.seed), rounds, seconds)
        result.save()
        print(report.markdown_of(result))


if __name__ == "__main__":
    main(sys.argv[1:])
