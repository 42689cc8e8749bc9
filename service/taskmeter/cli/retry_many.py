"""Go through all pages of a retry by filter, and say what came of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import click

from taskmeter.cli.text import escape

if TYPE_CHECKING:
    from taskmeter.client.retried import RetryRefusal
    from taskmeter.client.sync import SyncClient

PAGE_SIZE = 500
"""A few seconds of work at most, far under a call's deadline."""


@dataclass(slots=True)
class Done:
    """All pages together."""

    tokens: list[str] = field(default_factory=list)
    refusals: list[RetryRefusal] = field(default_factory=list)
    copied_before_count: int = 0
    stopped: RetryRefusal | None = None

    def as_json(self, *, dry_run: bool) -> dict[str, Any]:
        return {
            "dryRun": dry_run,
            "tokens": self.tokens,
            "retriedCount": len(self.tokens),
            "refusals": [_object(refusal) for refusal in self.refusals],
            "copiedBeforeCount": self.copied_before_count,
            "stopped": _object(self.stopped) if self.stopped else None,
        }

    def tell(self, *, dry_run: bool) -> None:
        """Print the tokens for programs, and the rest on stderr for people."""
        for token in self.tokens:
            click.echo(token)
        for refusal in self.refusals:
            click.echo(f"{refusal.token}: {refusal.reason}: {escape(refusal.message)}", err=True)
        parts = [f"{len(self.tokens)} {'would be ' if dry_run else ''}retried"]
        if self.refusals:
            parts.append(f"{len(self.refusals)} refused")
        if self.copied_before_count:
            parts.append(f"{self.copied_before_count} copied before")
        click.echo(", ".join(parts) if len(parts) > 1 or self.tokens else "nothing to retry", err=True)
        if self.stopped:
            why = f"{self.stopped.reason}: {escape(self.stopped.message)}"
            click.echo(f"stopped early at {self.stopped.token}: {why}; the same command goes on later", err=True)


def retry_many(client: SyncClient, **wanted: Any) -> Done:
    """Retry everything that matches, page by page, until one finds no room."""
    done = Done()
    page_token = ""
    while True:
        page = client.retry_tasks(page_size=PAGE_SIZE, page_token=page_token, **wanted)
        done.tokens += page.tokens
        done.refusals += page.refusals
        done.copied_before_count += page.copied_before_count
        done.stopped = page.stopped
        page_token = page.next_page_token
        if page.stopped or not page_token:
            return done


def _object(refusal: RetryRefusal) -> dict[str, str]:
    return {"token": refusal.token, "reason": refusal.reason, "message": refusal.message}
