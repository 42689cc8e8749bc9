"""The condition of a filter of tasks."""

from __future__ import annotations

from typing import Any

from taskmeter.core.ports import Filter


def where_of(wanted: Filter) -> tuple[str, list[Any]]:
    """Build the condition of `wanted`; only values are user input, never SQL text."""
    terms, values = ["t.tenant = ?"], [wanted.tenant]

    def add(term: str, *given: Any) -> None:
        terms.append(term)
        values.extend(given)

    if wanted.states:
        add(f"t.state IN ({','.join('?' * len(wanted.states))})", *(int(state) for state in wanted.states))
    if wanted.outcomes:
        add(f"t.outcome IN ({','.join('?' * len(wanted.outcomes))})", *(int(outcome) for outcome in wanted.outcomes))
    if wanted.project_id:
        add("t.project_id = ?", wanted.project_id)
    if wanted.source:
        add("t.source = ?", wanted.source)
    if wanted.queue:
        add("t.queue = ?", wanted.queue)
    if wanted.name_prefix:
        add("substr(t.name, 1, length(?)) = ?", wanted.name_prefix, wanted.name_prefix)
    if wanted.created_after_time:
        add("t.create_time > ?", wanted.created_after_time)
    if wanted.created_before_time:
        add("t.create_time < ?", wanted.created_before_time)
    for key, value in wanted.tags.items():
        add("EXISTS (SELECT 1 FROM json_each(t.tags) j WHERE j.key = ? AND j.value = ?)", key, value)
    return " AND ".join(terms), values
