"""Named SQL statements, read once from sql/queries.sql."""

from __future__ import annotations

import re
from importlib.resources import files


def load_queries() -> dict[str, str]:
    """Return {name: statement} of every `-- name: …` section."""
    text = files("taskmeter.stores").joinpath("sql/queries.sql").read_text(encoding="utf-8")
    parts = re.split(r"^-- name: (\w+)\n", text, flags=re.MULTILINE)[1:]
    return {name: body.strip().rstrip(";") for name, body in zip(parts[::2], parts[1::2], strict=True)}
