"""Prices of the integrals, to the bit against Python's own arithmetic and closely against fractions."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metercore.tariff import Tariff
from metercore.tokens import Tokens
from taskmeter.model import usage

MOST = 2**64 - 1

prices = st.floats(0, 1e9)
narrow = st.integers(0, MOST) | st.integers(0, 1000)
wide = st.integers(0, 2**128 - 1) | st.integers(0, 2**60)
names = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=5)
customs = st.dictionaries(names, prices, max_size=16)


@given(cpu=narrow, memory=wide, gpu_memory=wide, gpu=narrow, each=st.tuples(prices, prices, prices, prices), custom=customs)
def test_native_and_python_prices_agree_to_the_bit(
    cpu: int, memory: int, gpu_memory: int, gpu: int, each: tuple[float, float, float, float], custom: dict[str, float]
) -> None:
    counts = {name: (cpu ^ n) for n, name in enumerate(custom) if n % 3}
    tariff = Tariff(
        "gold", 1, per_core_hour=each[0], per_gib_hour=each[1], per_gpu_gib_hour=each[2], per_gpu_second=each[3], custom=custom
    )
    tokens = Tokens(cpu_ns=cpu, memory_byte_ns2=memory, gpu_memory_byte_ns2=gpu_memory, gpu_ns=gpu, counts=counts)
    price = tariff.price(tokens)
    model = usage.Tariff("gold-1", each[0], each[1])
    integrals = usage.Integrals(cpu, memory)
    assert price.cpu == model.cpu_tokens(integrals)
    assert price.memory == model.memory_tokens(integrals)
    assert price.gpu_memory == gpu_memory * each[2] / (2.0 * 3600e9 * 2**30)
    assert price.gpu_time == gpu * each[3] / 1e9
    assert price.custom == {name: counts.get(name, 0) * per_unit for name, per_unit in custom.items()}
    total = price.cpu + price.memory + price.gpu_memory + price.gpu_time
    for part in price.custom.values():
        total += part
    assert price.total == total
    assert tokens.price(tariff) == price


@given(cpu=narrow, memory=wide, gpu_memory=wide, gpu=narrow, pages=narrow)
def test_every_part_is_the_exact_price_but_for_the_last_bits(
    cpu: int, memory: int, gpu_memory: int, gpu: int, pages: int
) -> None:
    tokens = Tokens(cpu_ns=cpu, memory_byte_ns2=memory, gpu_memory_byte_ns2=gpu_memory, gpu_ns=gpu, counts={"pages": pages})
    price = tokens.price(Tariff("default", 1, per_gpu_second=0.75, custom={"pages": 0.125}))
    hour = 3600 * 10**9
    exact = [
        Fraction(cpu * 1020, hour),
        Fraction(memory * 100, 2 * hour * 2**30),
        Fraction(gpu_memory * 2140, 2 * hour * 2**30),
        Fraction(gpu * 3, 4 * 10**9),
        Fraction(pages, 8),
    ]
    parts = [price.cpu, price.memory, price.gpu_memory, price.gpu_time, price.custom["pages"]]
    # Three roundings of at most 2**-53 each in a part, four more in the sum.
    for part, fraction in zip(parts, exact, strict=True):
        assert abs(Fraction(part) - fraction) <= fraction * 4 / 2**53
    assert abs(Fraction(price.total) - sum(exact)) <= sum(exact) * 8 / 2**53


def test_the_default_prices_are_per_hour() -> None:
    hour = 3600 * 10**9
    tokens = Tokens(cpu_ns=hour, memory_byte_ns2=2 * hour * 2**30, gpu_memory_byte_ns2=2 * hour * 2**30, gpu_ns=hour)
    price = tokens.price(Tariff("default", 1))
    assert (price.cpu, price.memory, price.gpu_memory, price.gpu_time) == (1020.0, 100.0, 2140.0, 0.0)
    assert price.custom == {}
    assert price.total == 3260.0


def test_a_change_of_prices_leaves_the_integrals() -> None:
    tokens = Tokens(cpu_ns=3600 * 10**9, counts={"pages": 4})
    assert tokens.price(Tariff("a", 1, custom={"pages": 1.0})).total == 1024.0
    assert tokens.price(Tariff("a", 2, per_core_hour=1.0)).total == 1.0
    assert (tokens.cpu_ns, tokens.counts) == (3600 * 10**9, {"pages": 4})


def test_a_tariff_is_a_value() -> None:
    one = Tariff("gold", 7, per_core_hour=3.5, custom={"größe": 0.5})
    same = Tariff("gold", "7", per_core_hour=3.5, custom={"größe": 0.5})
    assert one == same and hash(one) == hash(same)
    assert one != Tariff("gold", 8, per_core_hour=3.5, custom={"größe": 0.5})
    assert one != Tariff("gold", 7, per_core_hour=3.5) and one != "gold-7"
    assert (one.name, one.version, one.label, one.custom) == ("gold", "7", "gold-7", {"größe": 0.5})
    assert eval(repr(one), {"Tariff": Tariff}) == one
    with pytest.raises(AttributeError):
        one.per_core_hour = 1.0  # type: ignore[misc]
    with pytest.raises(AttributeError):
        one.name = "silver"  # type: ignore[misc]


@pytest.mark.parametrize("price", [-1.0, math.nan, math.inf])
@pytest.mark.parametrize("field", ["per_core_hour", "per_gib_hour", "per_gpu_gib_hour", "per_gpu_second"])
def test_a_price_is_finite_and_not_negative(field: str, price: float) -> None:
    with pytest.raises(ValueError, match=field):
        Tariff("default", 1, **{field: price})  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"custom\['pages'\]"):
        Tariff("default", 1, custom={"pages": price})


def test_names_have_room_and_are_named_when_they_do_not_fit() -> None:
    assert Tariff("n" * 126, 1).label == "n" * 126 + "-1"
    assert Tariff("a", 1, custom={"p" * 23: 1.0}).custom == {"p" * 23: 1.0}
    assert len(Tariff("a", 1, custom={f"p{n}": 1.0 for n in range(16)}).custom) == 16
    for name, version, field in (
        ("n" * 127, 1, "label"),
        ("", 1, "name"),
        ("a", "", "version"),
        ("a\0b", 1, "name"),
        ("\ud800", 1, "name"),
    ):
        with pytest.raises(ValueError, match=f"^{field} "):
            Tariff(name, version)
    for custom in ({"p" * 24: 1.0}, {"": 1.0}, {"ü" * 12: 1.0}, {"a\0": 1.0}):
        with pytest.raises(ValueError, match=r"^custom\["):
            Tariff("a", 1, custom=custom)
    with pytest.raises(ValueError, match="at most 16"):
        Tariff("a", 1, custom={f"p{n}": 1.0 for n in range(17)})
