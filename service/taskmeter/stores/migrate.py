"""Bring a database to the newest schema: numbered SQL files, forward only, each in one transaction."""

from __future__ import annotations

import re
import secrets

import apsw

from taskmeter.errors import UnavailableError
from taskmeter.stores.damage import DamagedStoreError
from taskmeter.stores.queries import SQL


def migrations() -> list[tuple[int, str]]:
    """Return (number, SQL) of every migration, in order."""
    found = []
    for entry in SQL.iterdir():
        match = re.fullmatch(r"(\d{4})_\w+\.sql", entry.name)
        if match:
            found.append((int(match[1]), entry.read_text(encoding="utf-8")))
    return sorted(found)


def migrate(connection: apsw.Connection) -> None:
    """Apply what is missing.

    Raises `UnavailableError` for a database that a newer program wrote, `DamagedStoreError` for one that is not of this program.
    """
    version: int = connection.pragma("user_version")
    if version == 0 and connection.execute("SELECT count(*) FROM sqlite_schema").get:
        raise DamagedStoreError(f"{connection.filename} is a database of another program")
    known = migrations()
    if version > known[-1][0]:
        raise UnavailableError(
            f"the database has schema {version}, this program knows up to {known[-1][0]}",
            reason="STORE_UNAVAILABLE",
            hint="run the newer taskmeter again, or start with another --state-dir",
        )
    for number, sql in known:
        if number <= version:
            continue
        with connection:
            connection.execute(sql)
            if number == 1:
                connection.execute(
                    "INSERT INTO meta (key, value) VALUES ('store_id', ?), ('head_seq', 0), ('first_seq', 1)",
                    (secrets.token_hex(8),),
                )
            connection.execute(
                "INSERT INTO meta (key, value) VALUES ('schema_version', ?1) ON CONFLICT (key) DO UPDATE SET value = ?1",
                (number,),
            )
            connection.pragma("user_version", number)
