"""Many streams in a process of their own: says up to which number every one of them has seen every change of a task.

`python -m tests.faults.crowd TARGET KEY TOKEN COUNT`, until it is ended. A stream that sees a number again or too late says so.
"""

from __future__ import annotations

import asyncio
import sys
from collections import Counter

from taskmeter import Client

STREAMS_PER_CLIENT = 10


class Crowd:
    """Counts who has seen what."""

    def __init__(self, target: str, key: str, token: str, count: int) -> None:
        self._target, self._key, self._token, self._count = target, key, token, count
        self._seen: Counter[int] = Counter()

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            for _ in range(0, self._count, STREAMS_PER_CLIENT):
                client = Client(self._target, key=self._key)
                for _ in range(STREAMS_PER_CLIENT):
                    group.create_task(self._follow(client))

    async def _follow(self, client: Client) -> None:
        expected = 0
        async for event in client.events([self._token], kinds=["metadata"], from_seq=1):
            number = int(event["metadataChanged"]["metadata"]["n"])
            if number != expected:
                print(f"wrong: {number} instead of {expected}", flush=True)
            expected = number + 1
            self._seen[number] += 1
            if self._seen[number] == self._count:
                print(f"all {number}", flush=True)


def main() -> None:
    target, key, token, count = sys.argv[1:]
    asyncio.run(Crowd(target, key, token, int(count)).run())


if __name__ == "__main__":
    main()
