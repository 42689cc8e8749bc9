"""The daemon's tariffs: from the config file's `[tariffs.NAME]` tables, each checked by name, read again on request.

tariff = "gold"                  # of tasks that name none; without it "default"

[tariffs.gold]
version = 2                      # a change of prices is a new version
per_core_hour = 900              # tokens; what is left out costs what it costs in the default tariff
per_gib_hour = 80
per_gpu_gib_hour = 2000
per_gpu_second = 0.5

[tariffs.gold.custom]            # the work's own counters, tokens per unit
pages = 0.02
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from taskmeter.errors import InvalidArgumentError
from taskmeter.model.usage import Tariff

DEFAULT = Tariff()
MAX_CUSTOM_COUNT = 16
MAX_CUSTOM_NAME_BYTES = 23
"""As many counters, with as long names, as a report block has (native/metercore/_c/report.h)."""
MAX_LABEL_BYTES = 128

_PRICES = tuple(name for name in Tariff.__struct_fields__ if name.startswith("per_"))


def parse(tables: Any) -> dict[str, Tariff]:
    """Return the tariffs by name, the default one always among them. Raises `InvalidArgumentError` naming what is wrong."""
    if not isinstance(tables, Mapping):
        raise _invalid("tariffs", "must be tables, [tariffs.NAME]")
    found = {DEFAULT.name: DEFAULT}
    for name, values in tables.items():
        found[name] = _tariff(name, values)
    return found


def updated(before: Mapping[str, Tariff], after: Mapping[str, Tariff]) -> dict[str, Tariff]:
    """Return `after`, if no version has come to mean other prices. Raises `InvalidArgumentError`.

    A version names prices on bills that were written already.
    """
    for name, tariff in after.items():
        known = before.get(name)
        if known is not None and known.version == tariff.version and known != tariff:
            raise _invalid(f"tariffs.{name}.version", f"must change with the prices; {tariff.label} has others")
    return dict(after)


def _tariff(name: str, values: Any) -> Tariff:
    at = f"tariffs.{name}"
    if not isinstance(values, Mapping):
        raise _invalid(at, "must be a table")
    for key in values:
        if key not in {"version", "custom", *_PRICES}:
            raise _invalid(f"{at}.{key}", f"is not part of a tariff; known are version, custom, {', '.join(_PRICES)}")
    version = values.get("version", 1)
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise _invalid(f"{at}.version", "must be a whole number from 1 on")
    prices = {key: _price(f"{at}.{key}", values[key]) for key in _PRICES if key in values}
    tariff = Tariff(name, version, **prices, custom=_custom(f"{at}.custom", values.get("custom", {})))
    if not name or "\0" in name or len(tariff.label.encode()) > MAX_LABEL_BYTES:
        raise _invalid(at, f"must have a name of 1 to {MAX_LABEL_BYTES} bytes, version included")
    return tariff


def _custom(at: str, values: Any) -> dict[str, float]:
    if not isinstance(values, Mapping):
        raise _invalid(at, "must be a table of prices by counter")
    if len(values) > MAX_CUSTOM_COUNT:
        raise _invalid(at, f"must have at most {MAX_CUSTOM_COUNT} prices")
    for name in values:
        if not 1 <= len(name.encode()) <= MAX_CUSTOM_NAME_BYTES or "\0" in name:
            raise _invalid(f"{at}.{name}", f"must have a name of 1 to {MAX_CUSTOM_NAME_BYTES} bytes")
    return {name: _price(f"{at}.{name}", value) for name, value in values.items()}


def _price(at: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value < 0:
        raise _invalid(at, f"must be a number of tokens from 0 on, not {value!r}")
    return float(value)


def _invalid(name: str, problem: str) -> InvalidArgumentError:
    return InvalidArgumentError(f"{name}: {problem}", fields=[(name, problem)])
