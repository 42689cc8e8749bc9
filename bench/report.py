"""Makes one report of what is in bench/results/: report.md, report.html with its plots inside, and the plots as files.

Families of results (NAME-PART.json) become one section each, verdicts first; what other benchmarks printed (NAME.md) follows.
`python -m bench.report` makes it anew of what is there.
"""

from __future__ import annotations

import itertools
import statistics
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from bench import plot
from bench.result import Cell, Column, Result, directory_of, load

TITLE = "What Taskmeter costs, beside what others do"
ORDER = ("unary", "fanout", "end_to_end", "growth")
"""Of the sections; others follow."""
_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 1500px; margin: 2em auto; padding: 0 1.5em; color: #1c2330; }
h1, h2, h3 { line-height: 1.2; } h2 { margin-top: 2.5em; border-top: 2px solid #d5dae3; padding-top: .8em; }
table { border-collapse: collapse; margin: 1em 0; font-size: 13px; font-variant-numeric: tabular-nums; }
th, td { border: 1px solid #d5dae3; padding: .25em .6em; text-align: left; }
td { white-space: nowrap; } td:first-child, td:last-child { white-space: normal; min-width: 7em; } th { background: #f1f4f9; }
tr:nth-child(even) td { background: #fafbfd; } svg { max-width: 100%; height: auto; }
code { background: #f1f4f9; padding: 0 .2em; }
"""
_WORDS = {True: "met", False: "**missed**", None: "not judged"}


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return a Markdown table."""
    lines = ["| " + " | ".join(header) + " |", "|" + " --- |" * len(header)]
    lines += ["| " + " | ".join(str(cell).replace("|", "\\|") for cell in row) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def short(values: Sequence[float], form: str) -> str:
    """Return a median with its range."""
    if not values:
        return "–"
    if len(values) == 1:
        return f"{values[0]:{form}}"
    return f"{statistics.median(values):{form}} ({min(values):{form}}–{max(values):{form}})"


def _times(column: Column, cell: Cell, base: Cell | None) -> str:
    """By how many times the base is better, by medians."""
    if base is None or base is cell or not cell.get(column.key) or not base.get(column.key):
        return "–"
    mine, theirs = statistics.median(base[column.key]), statistics.median(cell[column.key])
    above, below = (mine, theirs) if column.better == "more" else (theirs, mine)
    return f"{above / below:.2f}" if below else "–"


def tables_of(result: Result) -> Iterator[str]:
    """Yield a table for each combination of the keys that a result is `by`."""
    header = ["", *itertools.chain.from_iterable(_heads(column) for column in result.columns)]
    for values, cells in _groups(result):
        base = next((cell for cell in cells if cell["side"] == result.base), None)
        rows = [
            [cell["side"], *itertools.chain.from_iterable(_shown(column, cell, base) for column in result.columns)]
            for cell in cells
        ]
        yield f"### {', '.join(values)}\n\n" + table(header, rows)


def _heads(column: Column) -> list[str]:
    return [column.title, "ours is better by ×"] if column.better else [column.title]


def _shown(column: Column, cell: Cell, base: Cell | None) -> list[str]:
    figure = short(cell.get(column.key, []), column.form)
    return [figure, _times(column, cell, base)] if column.better else [figure]


def _groups(result: Result) -> Iterator[tuple[list[str], list[Cell]]]:
    groups: dict[tuple[str, ...], list[Cell]] = {}
    for cell in result.cells:
        names = (f"{cell[key]:,} {key.replace('_', ' ')}" if isinstance(cell[key], int) else str(cell[key]) for key in result.by)
        groups.setdefault(tuple(names), []).append(cell)
    for values, cells in groups.items():
        yield list(values), cells


def verdicts_of(result: Result) -> str:
    """Return the targets beside what was measured."""
    rows = [(each.target, each.measured, _WORDS[each.met], each.why) for each in result.verdicts]
    return table(["target", "measured", "", "what stands in the way"], rows) if rows else ""


def markdown_of(result: Result, plots: Iterable[str] = ()) -> str:
    """Return the section of one result."""
    parts = [f"## {result.question}\n", *(f"{text}\n" for text in result.about), verdicts_of(result)]
    if result.notes:
        parts.append("\n".join(f"- **{side}**: {text}" for side, text in result.notes.items()) + "\n")
    if result.missing:
        parts.append("Not measured: " + "; ".join(f"{side} ({why})" for side, why in result.missing.items()) + ".\n")
    parts += [*plots, *tables_of(result)]
    for title, functions in result.profiles.items():
        parts.append(
            f"### Profile: {title}\n\n"
            + table(
                ["thread → innermost Python function → native function", "share of its processor time"],
                ((f"`{f}`", f"{s:.1%}") for f, s in functions),
            )
        )
    seed = f" · seed {result.seed}" if result.seed is not None else ""
    quick = "**A quick run: figures mean nothing.** " if result.quick else ""
    parts.append(quick + " · ".join(f"{name} {value or 'missing'}" for name, value in result.environment.items()) + seed + "\n")
    return "\n".join(part for part in parts if part)


def families(directory: Path) -> list[Result]:
    """Read all results; parts of one question become one."""
    found: dict[str, Result] = {}
    for path in sorted(directory.glob("*.json"), key=_order):
        part = load(path)
        name = part.name.partition("-")[0]
        if name not in found:
            found[name] = part
            part.name = name
            continue
        whole = found[name]
        whole.about += [text for text in part.about if text not in whole.about]
        whole.cells += part.cells
        whole.verdicts += part.verdicts
        whole.profiles |= part.profiles
        whole.notes |= part.notes
        whole.quick |= part.quick
        for side, why in part.missing.items():
            if why not in whole.missing.get(side, why + " "):
                whole.missing[side] = f"{whole.missing[side]}, {why}"
            whole.missing.setdefault(side, why)
        for key, value in part.environment.items():
            whole.environment[key] = _joined(whole.environment.get(key, ""), value)
    return sorted(found.values(), key=lambda result: ORDER.index(result.name) if result.name in ORDER else len(ORDER))


def _joined(known: str, value: str) -> str:
    """Put values beside each other that are not the same."""
    return " / ".join(dict.fromkeys(filter(None, (*known.split(" / "), *value.split(" / ")))))


def _order(path: Path) -> tuple[str, int, str]:
    """Parts that are numbers in their order."""
    name, _, part = path.stem.partition("-")
    return name, int(part) if part.isdecimal() else 0, part


def write(directory: Path) -> list[Path]:
    """Write both reports of what is in a directory; return where they are."""
    results = families(directory)
    drawn = {f"{result.name}-{each.key}": plot.lines(result, each) for result in results for each in result.plots}
    drawn = {name: svg for name, svg in drawn.items() if svg}
    for name, svg in drawn.items():
        (directory / f"{name}.svg").write_text(svg)
    parts = [f"# {TITLE}\n", *_where(results), *_summary(results)]
    for result in results:
        links = (
            f"![{each.title}]({result.name}-{each.key}.svg)\n" for each in result.plots if f"{result.name}-{each.key}" in drawn
        )
        parts.append(markdown_of(result, links))
    others = (path.read_text() for path in sorted(directory.glob("*.md")) if path.name != "report.md")
    parts += (text.replace("\n## ", "\n### ").replace("# ", "## ", 1) for text in others)
    text = "\n".join(parts)
    made = [directory / "report.md", directory / "report.html"]
    made[0].write_text(text)
    made[1].write_text(_html(text, directory))
    return made


def _where(results: list[Result]) -> Iterator[str]:
    """Yield on what all of it was measured; parts that were measured at different times say each when."""
    together: dict[str, str] = {}
    for result in results:
        for key, value in result.environment.items():
            if key != "load average":
                together[key] = _joined(together.get(key, ""), value)
    together |= {"seeds": ", ".join(sorted({str(result.seed) for result in results if result.seed is not None}))}
    if results:
        yield table(["", ""], together.items())


def _summary(results: list[Result]) -> Iterator[str]:
    rows = [(each.target, each.measured, _WORDS[each.met]) for result in results for each in result.verdicts]
    if rows:
        yield "## Targets\n\n" + table(["target", "measured, median (range)", ""], rows)
        yield "In the tables a median stands with its range. Where ours is better by less than 1 ×, it is worse.\n"
    if not plot.available():
        yield "No plots: `pip install taskmeter[plot]` brings matplotlib.\n"


def _html(text: str, directory: Path) -> str:
    """Return one page with everything in it."""
    import markdown

    body = markdown.markdown(text, extensions=["tables"])
    for path in directory.glob("*.svg"):
        svg = path.read_text()
        for alt in plot.titles(body, path.name):
            body = body.replace(f'<img alt="{alt}" src="{path.name}" />', svg[svg.index("<svg") :])
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{TITLE}</title><style>{_STYLE}</style>\n{body}\n</html>\n'
    )


if __name__ == "__main__":
    found = directory_of(quick="--quick" in sys.argv)
    if not found.exists():
        sys.exit(f"there is nothing in {found}")
    for written in write(found):
        print(written)
