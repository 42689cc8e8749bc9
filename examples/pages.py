"""Render made-up pages: each one is an item with a size, steps and an outcome; some fail, one is tried again, one is left out.

    taskmeter run -- python examples/pages.py
    taskmeter events @last

Runs by itself too: then nobody is told.
"""

from __future__ import annotations

import argparse
import zlib

import taskmeter


class BlankPageError(Exception):
    """There is nothing to render."""


def render(number: int, text: bytes, item: taskmeter.work.Item) -> None:
    with item.step("parse"):
        if not text:
            raise BlankPageError(f"page {number} is blank")
    with item.step("draw"):
        zlib.compress(text, 9)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pages", type=int, default=40, help="how many pages (default: 40)")
    options = parser.parse_args()

    pages = [b"" if number % 20 == 13 else b"x" * (1000 * (number % 7 + 1)) for number in range(options.pages)]
    progress = taskmeter.progress(total=len(pages), total_size=sum(map(len, pages)))
    for number in range(len(pages)):
        progress.items.queued(f"page-{number}", stage="render")
    for number, text in enumerate(pages):
        progress.object(f"page {number}")
        try:
            with taskmeter.item(f"page-{number}", stage="render", size=len(text)) as item:
                if number == 3:
                    item.retry(TimeoutError("the font server was busy"))
                if number == 5:
                    item.skip("not asked for")
                    continue
                render(number, text, item)
                taskmeter.count("pages")  # a tariff may have a price for it
        except BlankPageError as error:
            taskmeter.warn(error)
    taskmeter.note(f"{len(pages)} pages seen")
    print(f"{len(pages)} pages seen")


if __name__ == "__main__":
    main()
