"""Fixtures of all tests, and the account of what was skipped."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

import pytest

from tests.daemon import Daemon


@pytest.fixture
def daemon() -> Iterator[Daemon]:
    """A running daemon of one's own."""
    with Daemon() as started:
        yield started


@pytest.fixture(scope="session")
def shared_daemon() -> Iterator[Daemon]:
    """A running daemon that many tests share: look at your own tasks only, and leave it running."""
    with Daemon() as started:
        yield started


@pytest.fixture
def make_daemon() -> Iterator[Callable[..., Daemon]]:
    """Make daemons with options of one's own: `make_daemon("--max-running", "2").start()`; all are closed at the end."""
    made: list[Daemon] = []

    def make(*options: str, **more: object) -> Daemon:
        made.append(Daemon(*options, **more))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for each in made:
        each.close()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Skip what this user cannot do, and leave out what needs a GPU where there is none: nobody's fault, and no news."""
    for item in items:
        if os.geteuid() != 0 and item.get_closest_marker("root"):
            item.add_marker(pytest.mark.skip(reason="needs root"))
    if not os.path.exists("/dev/nvidiactl"):
        config.hook.pytest_deselected(items=[item for item in items if item.get_closest_marker("gpu")])
        items[:] = [item for item in items if not item.get_closest_marker("gpu")]


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """With REQUIRE_ALL=1, as in CI, a skipped test is a failure: nothing may be missing unnoticed."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if reporter is None:
        return
    skipped = reporter.stats.get("skipped", [])
    if skipped and exitstatus == pytest.ExitCode.OK and os.environ.get("REQUIRE_ALL") == "1":
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
        reporter.write_line(f"REQUIRE_ALL=1: {len(skipped)} skipped", red=True)
