"""Options and argument types that several verbs share."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])

_UNIT_SECONDS = {"": 1.0, "ms": 1e-3, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
_SPAN = re.compile(r"(\d+(?:\.\d*)?|\.\d+)\s*([a-z]*)", re.IGNORECASE)


_SIZE = re.compile(r"(\d+(?:\.\d*)?|\.\d+)\s*([kmgt]?)(?:i?b)?", re.IGNORECASE)


class Span(click.ParamType[float]):
    """A length of time: 90, 1.5s, 10m, 2h30m."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Return seconds."""
        if isinstance(value, (int, float)):
            return float(value)
        text = str(value).strip()
        seconds, end = 0.0, 0
        for match in _SPAN.finditer(text):
            unit = _UNIT_SECONDS.get(match.group(2).lower())
            if unit is None or text[end : match.start()].strip():
                break
            seconds += float(match.group(1)) * unit
            end = match.end()
        if not text or text[end:].strip() or not math.isfinite(seconds):
            self.fail(f"{value!r} is no length of time; write 90, 1.5s, 10m or 2h30m", param, ctx)
        return seconds


class Pair(click.ParamType[tuple[str, str]]):
    """KEY=VALUE."""

    name = "key=value"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, str]:
        """Return (key, value)."""
        if isinstance(value, tuple):
            return value
        key, separator, rest = str(value).partition("=")
        if not separator or not key:
            self.fail(f"{value!r} is not KEY=VALUE", param, ctx)
        return key, rest


class Size(click.ParamType[int]):
    """A number of bytes: 1048576, 500M, 2GiB; units count by 1024."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return bytes."""
        if isinstance(value, int):
            return value
        match = _SIZE.fullmatch(str(value).strip())
        if match is None:
            self.fail(f"{value!r} is no size; write 1048576, 500M or 2G", param, ctx)
        power = "kmgt".index(match[2].lower()) + 1 if match[2] else 0
        return int(float(match[1]) * 2.0 ** (10 * power))


SPAN = Span()
SIZE = Size()
PAIR = Pair()


def _into_environment(ctx: click.Context, param: click.Parameter, value: str | None) -> None:
    """Hand a file of TLS to whatever client this process makes; a verb need not know."""
    if value and not ctx.resilient_parsing:
        os.environ[f"TASKMETER_{str(param.name).upper()}"] = value


def connection(function: F) -> F:
    """Add the options that say which daemon is meant, and how TLS is done with it."""
    for name, what in (
        ("ca", "TLS: the authorities to believe, in PEM."),
        ("cert", "TLS: this client's own certificate, in PEM."),
        ("cert-key", "TLS: the key of --cert, in PEM."),
    ):
        function = click.option(
            f"--{name}",
            metavar="FILE",
            help=f"{what} Default: TASKMETER_{name.upper().replace('-', '_')}.",
            expose_value=False,
            callback=_into_environment,
        )(function)
    function = click.option(
        "--target",
        metavar="TARGET",
        help="The daemon: unix:/path, HOST:PORT or https://HOST:PORT. Default: TASKMETER_TARGET, else the local one.",
    )(function)
    return click.option(
        "--state-dir",
        metavar="DIR",
        help="Where the local daemon keeps its state. Default: TASKMETER_STATE_DIR, else ~/.local/state/taskmeter.",
    )(function)


def json_flag(text: str) -> Callable[[F], F]:
    """Add --json."""
    return click.option("--json", "as_json", is_flag=True, help=text)


def tags(text: str) -> Callable[[F], F]:
    """Add a repeatable --tag."""
    return click.option("--tag", "tags", type=PAIR, multiple=True, metavar="KEY=VALUE", help=text)


def token_argument(function: F) -> F:
    """Add the TOKEN argument."""
    return click.argument("token")(function)


def token_arguments(function: F) -> F:
    """Add one or more TOKEN arguments."""
    return click.argument("tokens", nargs=-1, required=True, metavar="TOKEN...")(function)
