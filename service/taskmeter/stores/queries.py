"""Named SQL statements, read once from sql/queries.sql."""

from __future__ import annotations

import re
from pathlib import Path

SQL = Path(__file__).with_name("sql")  # importlib.resources and what it imports take 5 ms of each start


def load_queries() -> dict[str, str]:
    """Return {name: statement} of every `-- name: …` section."""
    text = (SQL / "queries.sql").read_text(encoding="utf-8")
    parts = re.split(r"^-- name: (\w+)\n", text, flags=re.MULTILINE)[1:]
    return {name: body.strip().rstrip(";") for name, body in zip(parts[::2], parts[1::2], strict=True)}
