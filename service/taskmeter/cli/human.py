"""Numbers as people read them. What is None was not measurable and is shown as –, never as 0."""

from __future__ import annotations

import math
import time

NOTHING = "–"


def size(count_bytes: float | None) -> str:
    """Return bytes in binary units with three significant digits: 1.21 MiB."""
    if count_bytes is None:
        return NOTHING
    value = float(count_bytes)
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if abs(value) < 999.5 or unit == "TiB":
            break
        value /= 1024
    return f"{value:.0f} B" if unit == "B" else f"{_three(value)} {unit}"


def mib(count_mib: float | None) -> str:
    """Return MiB in the unit that fits."""
    return size(None if count_mib is None else count_mib * 2**20)


def plural(number: int, one: str, many: str) -> str:
    """Return a number with its noun."""
    return f"{number:,} {one if number == 1 else many}"


def span(seconds: float | None) -> str:
    """Return a duration: 420 ms, 1.23 s, 12.3 s, 3 m 07 s, 2 h 05 m, 3 d 04 h."""
    if seconds is None:
        return NOTHING
    if seconds < 0.9995:
        return f"{max(seconds, 0.0) * 1000:.0f} ms"
    if seconds < 9.995:
        return f"{seconds:.2f} s"
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    whole = int(seconds + 0.5)
    if whole < 3600:
        return f"{whole // 60} m {whole % 60:02d} s"
    if whole < 86400:
        return f"{whole // 3600} h {whole % 3600 // 60:02d} m"
    return f"{whole // 86400} d {whole % 86400 // 3600:02d} h"


def brief(seconds: float | None) -> str:
    """Return how long a call took, with three significant digits: 0 µs, 105 µs, 4.21 ms, 42.1 ms, 1.23 s."""
    if seconds is None or seconds >= 0.9995:
        return span(seconds)
    micros = max(seconds, 0.0) * 1e6
    return f"{micros:.0f} µs" if micros < 999.5 else f"{_three(micros / 1000)} ms"


def about(seconds: float | None) -> str:
    """Return an estimated duration in whole seconds, which is more than it is worth: 9 s, 1 m 11 s."""
    return NOTHING if seconds is None else span(seconds) if seconds >= 59.5 else f"{math.ceil(max(seconds, 0.0))} s"


def clock(seconds: float) -> str:
    """Return a running time that does not jitter in width: 0:07, 12:03, 1:02:03."""
    whole = int(max(seconds, 0.0))
    if whole < 3600:
        return f"{whole // 60}:{whole % 60:02d}"
    return f"{whole // 3600}:{whole % 3600 // 60:02d}:{whole % 60:02d}"


def count(value: float | None) -> str:
    """Return a whole number with thousands separated."""
    return NOTHING if value is None else f"{int(value):,}"


def rate(per_second: float | None) -> str:
    """Return items per second: 0.42/s, 12.3/s, 1,234/s."""
    if per_second is None:
        return NOTHING
    return f"{int(per_second + 0.5):,}/s" if per_second >= 999.5 else f"{_three(per_second)}/s"


def percent(value: float | None) -> str:
    """Return a percentage without decimals."""
    return NOTHING if value is None else f"{value:.0f} %"


def cores(value: float | None) -> str:
    """Return busy cores: 1.87."""
    return NOTHING if value is None else f"{value:.2f}"


def tokens(value: float | None) -> str:
    """Return tokens with as many digits as carry something."""
    return NOTHING if value is None else _amount(value)


def money(token_count: float | None) -> str:
    """Return the price of tokens; 100 tokens = 1.00 currency."""
    return NOTHING if token_count is None else _amount(token_count / 100)


def byte_seconds(value: float) -> str:
    """Return memory integrated over time: 0.42 GiB·h, or 12 MiB·s where that would be a very small number."""
    gib_hours = value / 2**30 / 3600
    return f"{_amount(gib_hours)} GiB·h" if gib_hours >= 0.001 or not value else f"{_amount(value / 2**20)} MiB·s"


def instant(unix_seconds: float) -> str:
    """Return the local time of day, with the date unless it is today; – if it has not come."""
    if unix_seconds <= 0:
        return NOTHING
    then, now = time.localtime(unix_seconds), time.localtime()
    return time.strftime("%H:%M:%S" if then[:3] == now[:3] else "%Y-%m-%d %H:%M:%S", then)


def ago(unix_seconds: float, now: float) -> str:
    """Return how long ago that was, in one unit."""
    if unix_seconds <= 0:
        return NOTHING
    seconds = max(now - unix_seconds, 0.0)
    for length, unit in ((86400, "d"), (3600, "h"), (60, "m")):
        if seconds >= length:
            return f"{int(seconds // length)} {unit} ago"
    return f"{int(seconds)} s ago"


def _amount(value: float) -> str:
    """Two decimals, or two significant digits of what is smaller; whole numbers above a thousand."""
    if value == 0:
        return "0"
    if value >= 999.5:
        return f"{value:,.0f}"
    if value >= 0.0995:
        return f"{value:.2f}"
    if value < 0.0000095:
        return "<0.00001"
    digits = 1 - math.floor(math.log10(value))
    return f"{value:.{digits}f}".rstrip("0")


def _three(value: float) -> str:
    if abs(value) >= 99.95:
        return f"{value:.0f}"
    return f"{value:.1f}" if abs(value) >= 9.995 else f"{value:.2f}"
