"""What the work of one task reports beside its progress: its items by stage, and its newest messages."""

from __future__ import annotations

import time
from collections import deque
from typing import TYPE_CHECKING

from taskmeter.cli import human
from taskmeter.cli.text import escape, shorten

if TYPE_CHECKING:
    from rich.text import Text

    from taskmeter.client.items import ItemCounts, ItemStats
    from taskmeter.client.status import Event, TaskStatus

MOST_STAGES = 6
MOST_MESSAGES = 3
SHOWN = (
    ("in_progress", "in progress", "cyan"),
    ("queued", "waiting", ""),
    ("retrying", "to be retried", "yellow"),
    ("completed", "done", "green"),
    ("skipped", "skipped", "dim"),
    ("failed", "failed", "red"),
)
"""Count, what it is called, and its style; in the order of an item's life."""
STYLES = {1: "", 2: "yellow", 3: "red", 4: "dim"}
"""By level of a message."""

Message = tuple[str, int, str]
"""When, as a clock shows it, its level, and its text."""


class Reported:
    """Keeps the newest and draws it; nothing for work that reports nothing of the kind."""

    def __init__(self) -> None:
        self._stats: ItemStats | None = None
        self._messages: deque[Message] = deque(maxlen=MOST_MESSAGES)
        self._begun = False

    def begin(self, status: TaskStatus) -> None:
        """Take over what was said before anybody followed; harmless once something was heard."""
        if self._begun:
            return
        self._begun = True
        known = {(level, text) for _, level, text in self._messages}
        earlier = [("", level, text) for level, texts in ((2, status.warnings), (3, status.errors)) for text in texts]
        earlier = [each for each in earlier if each[1:] not in known]
        for message in reversed(earlier[-MOST_MESSAGES:]):
            self._messages.appendleft(message)

    def count(self, stats: ItemStats) -> None:
        """Take new counts of items."""
        self._stats = stats

    def hear(self, event: Event) -> None:
        """Take a message."""
        if event.message is not None:
            self._messages.append(heard(event))

    def render(self, width: int) -> list[Text]:
        """Return one line per stage and message."""
        from rich.text import Text

        lines: list[Text] = []
        stages = self._stats.stages if self._stats is not None else []
        name_width = min(max((len(escape(each.stage)) for each in stages[:MOST_STAGES]), default=0), 24)
        for each in stages[:MOST_STAGES]:
            name = shorten(escape(each.stage), name_width).ljust(name_width)
            lines.append(Text.assemble((name, "bold"), "  " if name_width else "", *_counts(each.counts), no_wrap=True))
        if len(stages) > MOST_STAGES:
            lines.append(Text(f"and {human.plural(len(stages) - MOST_STAGES, 'stage', 'stages')} more", "dim"))
        return [*lines, *(message_line(message, width) for message in self._messages)]


def heard(event: Event) -> Message:
    """Return what a message said, and when."""
    said = event.message or {}
    return time.strftime("%H:%M:%S", time.localtime(event.time)), int(said.get("level", 0)), str(said.get("text", ""))


def message_line(message: Message, width: int, title: str = "") -> Text:
    """Draw a message on one line, behind the title of its task if that is not clear."""
    from rich.text import Text

    at, level, text = message
    before = "".join(f"{part} " for part in (at, title) if part)
    line = shorten(escape(" ".join(text.split())), max(width - len(before), 20))
    return Text.assemble((before, "dim"), (line, STYLES.get(level, "")), no_wrap=True)


def _counts(counts: ItemCounts) -> list[str | tuple[str, str]]:
    parts: list[str | tuple[str, str]] = []
    for field, called, style in SHOWN:
        number = getattr(counts, field)
        if number:
            parts += [" · "] if parts else []
            parts.append((f"{human.count(number)} {called}", style))
    return parts
