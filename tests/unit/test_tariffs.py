"""The tariffs of the config file: what they say, each mistake by name, and that a version never comes to mean other prices."""

from __future__ import annotations

import tomllib
from typing import Any

import pytest

from taskmeter.errors import InvalidArgumentError
from taskmeter.model.usage import Integrals, Tariff
from taskmeter.tariffs import DEFAULT, parse, updated

GOLD = """
[tariffs.gold]
version = 2
per_core_hour = 900
per_gpu_second = 0.5
[tariffs.gold.custom]
pages = 0.02
"""


def refused(tables: Any) -> str:
    with pytest.raises(InvalidArgumentError) as error:
        parse(tables)
    ((field, _),) = error.value.fields
    return str(field)


def test_what_a_tariff_leaves_out_costs_what_it_costs_by_default() -> None:
    found = parse(tomllib.loads(GOLD)["tariffs"])
    assert found == {"default": DEFAULT, "gold": Tariff("gold", 2, 900.0, per_gpu_second=0.5, custom={"pages": 0.02})}
    assert found["gold"].label == "gold-2"
    assert found["gold"].per_gib_hour == DEFAULT.per_gib_hour


def test_the_default_tariff_may_have_other_prices_too() -> None:
    assert parse({"default": {"version": 7, "per_gib_hour": 1}})["default"] == Tariff("default", 7, per_gib_hour=1.0)


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"per_core_hour": -1}, "tariffs.x.per_core_hour"),
        ({"per_gib_hour": float("nan")}, "tariffs.x.per_gib_hour"),
        ({"per_gpu_gib_hour": "much"}, "tariffs.x.per_gpu_gib_hour"),
        ({"per_gpu_second": True}, "tariffs.x.per_gpu_second"),
        ({"version": 0}, "tariffs.x.version"),
        ({"version": True}, "tariffs.x.version"),
        ({"version": 1.5}, "tariffs.x.version"),
        ({"per_hour": 1}, "tariffs.x.per_hour"),
        ({"custom": 3}, "tariffs.x.custom"),
        ({"custom": {"": 1}}, "tariffs.x.custom."),
        ({"custom": {"ä" * 12: 1}}, f"tariffs.x.custom.{'ä' * 12}"),
        ({"custom": {"pages": -0.1}}, "tariffs.x.custom.pages"),
        ({"custom": {f"c{n}": 1 for n in range(17)}}, "tariffs.x.custom"),
        (5, "tariffs.x"),
    ],
)
def test_a_mistake_is_named(values: Any, field: str) -> None:
    assert refused({"x": values}) == field


def test_a_label_has_a_bound() -> None:
    assert refused({"x" * 127: {}}) == f"tariffs.{'x' * 127}"
    assert refused("gold") == "tariffs"
    parse({"x" * 126: {}})


def test_a_version_keeps_its_prices() -> None:
    before = parse({"gold": {"version": 1, "per_core_hour": 5}})
    with pytest.raises(InvalidArgumentError, match=r"tariffs\.gold\.version: must change"):
        updated(before, parse({"gold": {"version": 1, "per_core_hour": 6}}))
    assert updated(before, parse({"gold": {"version": 2, "per_core_hour": 6}}))["gold"].per_core_hour == 6.0
    assert updated(before, parse({})) == {"default": DEFAULT}, "a tariff may go; tasks that have it keep it"


def test_the_total_is_the_sum_of_unrounded_parts() -> None:
    tariff = Tariff("gold", 1, 3.0, 5.0, 7.0, 0.25, {"pages": 0.5, "free": 0.0})
    use = Integrals(10**9 * 3600, 2 * 2**30 * 3600 * 10**9, 4 * 2**30 * 3600 * 10**9, 8 * 10**9, {"pages": 3, "other": 9})
    assert tariff.custom_tokens(use) == {"free": 0.0, "pages": 1.5}
    assert tariff.total_tokens(use) == 3.0 + 5.0 + 14.0 + 2.0 + 0.0 + 1.5
