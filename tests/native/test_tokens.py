"""What is billed, against exact models in integers and fractions."""

from __future__ import annotations

from array import array
from fractions import Fraction
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metercore.tariff import Tariff
from metercore.tokens import Tokens

SECOND = 10**9
MOST = 2**64 - 1

samples_strategy = st.lists(st.tuples(st.integers(0, MOST), st.integers(0, 2**63)), min_size=1, max_size=60)


def doubled_trapezoids(samples: list[tuple[int, int]]) -> int:
    """Integrate (time, value) exactly; a time before the last is no time."""
    total = 0
    latest, value = samples[0]
    for now, sample in samples[1:]:
        total += (value + sample) * max(now - latest, 0)
        latest, value = max(now, latest), sample
    return total


@given(samples=samples_strategy)
def test_memory_over_time_is_exact_whatever_the_clock_does(samples: list[tuple[int, int]]) -> None:
    tokens = Tokens()
    for now, value in samples:
        tokens.update_memory(now, value)
        tokens.update_gpu_memory(now, value // 3)
    assert tokens.memory_byte_ns2 == doubled_trapezoids(samples)
    assert tokens.gpu_memory_byte_ns2 == doubled_trapezoids([(now, value // 3) for now, value in samples])
    assert tokens.memory_byte_seconds == tokens.memory_byte_ns2 / 2e9
    assert tokens.gpu_memory_byte_seconds == tokens.gpu_memory_byte_ns2 / 2e9


def test_the_highest_memory_over_all_of_time_fits() -> None:
    tokens = Tokens()
    tokens.update_memory(0, 2**63)
    tokens.update_memory(MOST, 2**63)
    assert tokens.memory_byte_ns2 == 2**64 * MOST
    with pytest.raises(ValueError, match="memory_bytes"):
        tokens.update_memory(MOST, 2**63 + 1)
    with pytest.raises(ValueError, match="gpu_memory_bytes"):
        tokens.update_gpu_memory(MOST, 2**63 + 1)


def test_a_gap_holds_the_last_values() -> None:
    tokens = Tokens()
    tokens.hold(5 * SECOND)
    tokens.update_memory(10 * SECOND, 100)
    tokens.update_gpu_memory(12 * SECOND, 7)
    tokens.hold(20 * SECOND)
    tokens.hold(1 * SECOND)
    tokens.update_memory(20 * SECOND, 900)
    tokens.update_gpu_memory(20 * SECOND, 900)
    assert tokens.memory_byte_ns2 == 2 * 100 * 10 * SECOND
    assert tokens.gpu_memory_byte_ns2 == 2 * 7 * 8 * SECOND


def test_time_that_goes_back_adds_nothing() -> None:
    tokens = Tokens()
    tokens.update_memory(5 * SECOND, 100)
    tokens.update_memory(4 * SECOND, 100)
    assert tokens.memory_byte_ns2 == 0
    tokens.update_memory(6 * SECOND, 100)
    assert tokens.memory_byte_ns2 == 200 * SECOND


@given(
    cpu=st.lists(st.integers(0, 2**58), max_size=60),
    gpu=st.lists(st.integers(0, 2**58), max_size=60),
    counts=st.lists(st.tuples(st.sampled_from(["pages", "größe", "x"]), st.integers(0, 2**58)), max_size=60),
)
def test_times_and_counters_add_up(cpu: list[int], gpu: list[int], counts: list[tuple[str, int]]) -> None:
    tokens = Tokens()
    for each in cpu:
        tokens.add_cpu_ns(each)
    for each in gpu:
        tokens.add_gpu_ns(each)
    for name, count in counts:
        tokens.add(name, count)
    assert (tokens.cpu_ns, tokens.gpu_ns) == (sum(cpu), sum(gpu))
    assert tokens.counts == {name: sum(count for other, count in counts if other == name) for name, _ in counts}


def test_a_total_that_would_not_fit_is_refused_and_stays() -> None:
    tokens = Tokens(cpu_ns=MOST, gpu_ns=MOST, counts={"pages": MOST})
    with pytest.raises(OverflowError, match="cpu_ns"):
        tokens.add_cpu_ns(1)
    with pytest.raises(OverflowError, match="gpu_ns"):
        tokens.add_gpu_ns(1)
    with pytest.raises(OverflowError, match="pages"):
        tokens.add("pages")
    assert (tokens.cpu_ns, tokens.gpu_ns, tokens.counts) == (MOST, MOST, {"pages": MOST})


@pytest.mark.parametrize("amount", [-1, 2**64])
def test_amounts_have_64_bits(amount: int) -> None:
    tokens = Tokens()
    for add in (tokens.add_cpu_ns, tokens.add_gpu_ns, lambda count: tokens.add("pages", count)):
        with pytest.raises(OverflowError):
            add(amount)
    with pytest.raises(ValueError, match="name"):
        tokens.add("")


def test_earlier_integrals_go_on() -> None:
    tokens = Tokens(cpu_ns=5, memory_byte_ns2=2**100, gpu_memory_byte_ns2=2**70, gpu_ns=6, counts={"pages": 7})
    tokens.update_memory(0, 1)
    tokens.update_memory(1, 1)
    tokens.add("pages")
    assert (tokens.cpu_ns, tokens.gpu_ns, tokens.counts) == (5, 6, {"pages": 8})
    assert (tokens.memory_byte_ns2, tokens.gpu_memory_byte_ns2) == (2**100 + 2, 2**70)
    for bad in (-1, 2**128):
        with pytest.raises(OverflowError, match="integral"):
            Tokens(memory_byte_ns2=bad)


@given(samples=samples_strategy, parts=st.integers(1, 5))
def test_a_replay_is_as_one_by_one(samples: list[tuple[int, int]], parts: int) -> None:
    tokens = Tokens()
    for begin in range(0, len(samples), parts):
        chunk = samples[begin : begin + parts]
        tokens.replay_memory(array("Q", [now for now, _ in chunk]), memoryview(array("Q", [value for _, value in chunk])))
    assert tokens.memory_byte_ns2 == doubled_trapezoids(samples)


def test_a_replay_that_is_refused_accounts_nothing() -> None:
    tokens = Tokens()
    good = array("Q", [0, 1, 2])
    with pytest.raises(ValueError, match="length"):
        tokens.replay_memory(good, good[:2])
    with pytest.raises(ValueError, match="memory_bytes"):
        tokens.replay_memory(good, array("Q", [0, 2**63 + 1, 2]))
    with pytest.raises(ValueError, match="times"):
        tokens.replay_memory(good, good, MOST - 1)
    with pytest.raises(ValueError, match="uint64_t"):
        tokens.replay_memory(array("d", [0.0]), array("Q", [1]))
    tokens.replay_memory(array("Q"), array("Q"))
    tokens.replay_memory(good, good, MOST - 2)
    assert tokens.memory_byte_ns2 == 1 + 3


def test_ninety_days_at_twenty_hertz_are_exact_and_priced_to_one_part_in_a_million_million() -> None:
    # An hour of jittered samples, 2160 times over. The period is odd in nanoseconds, so no rounding would repeat itself.
    random = Random(90)
    count, rounds, period = 72_000, 90 * 24, 3600 * SECOND + 7
    times = sorted(random.sample(range(period), count))
    values = [random.randrange(2**20, 2**38) for _ in range(count)]
    buffers = array("Q", times), array("Q", values)
    tokens = Tokens()
    for n in range(rounds):
        tokens.replay_memory(*buffers, n * period)
    assert count * rounds == 155_520_000
    within = doubled_trapezoids(list(zip(times, values, strict=True)))
    between = (values[-1] + values[0]) * (period - times[-1] + times[0])
    exact = rounds * within + (rounds - 1) * between
    assert tokens.memory_byte_ns2 == exact
    price = tokens.price(Tariff("default", 1)).memory
    exact_price = Fraction(exact, 2) / SECOND / 3600 / 2**30 * 100
    assert abs(Fraction(price) - exact_price) <= exact_price / 10**12
