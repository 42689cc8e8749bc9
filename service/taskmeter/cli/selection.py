"""From what the user typed to the task that is meant."""

from __future__ import annotations

from taskmeter.client.sync import SyncClient
from taskmeter.errors import InvalidArgumentError, NotFoundError
from taskmeter.model.ids import TOKEN_PREFIX, is_token

LAST = "@last"
MIN_PREFIX = 4
MAX_SEARCHED = 20_000
"""The newest so many tasks are looked through for a prefix; full tokens have no such bound."""


def resolve(client: SyncClient, text: str) -> str:
    """Return the token that `text` names: a whole one, an unambiguous beginning, or @last."""
    if is_token(text):
        return text
    if text == LAST:
        for status in client.list_tasks(limit=1):
            return status.token
        raise NotFoundError("there is no task yet", hint="`taskmeter run -- COMMAND` starts one")
    prefix = text if text.startswith(TOKEN_PREFIX) else TOKEN_PREFIX + text
    if len(prefix) < len(TOKEN_PREFIX) + MIN_PREFIX:
        raise NotFoundError(f"{text!r} names no task: give at least {MIN_PREFIX} characters of its token")
    found = [status.token for status in client.list_tasks(limit=MAX_SEARCHED, page_size=1000) if status.token.startswith(prefix)]
    if len(found) > 1:
        raise InvalidArgumentError(
            f"{text!r} is the beginning of {len(found)} tokens", fields=[("token", ", ".join(found[:5]))], hint="give more of it"
        )
    if not found:
        raise NotFoundError(f"no task has the token {text!r}")
    return found[0]


def resolve_all(client: SyncClient, texts: tuple[str, ...]) -> list[str]:
    """Resolve several, in order, each once."""
    return list(dict.fromkeys(resolve(client, text) for text in texts))
