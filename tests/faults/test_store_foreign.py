"""A file in the database's place that this program has not written is put aside, whole, and said; the daemon serves."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable

from tests.daemon import Daemon
from tests.integration.helpers import end_of, start, status_of


def test_what_another_program_wrote_is_put_aside_untouched_and_the_tasks_are_found(make_daemon: Callable[..., Daemon]) -> None:
    daemon = make_daemon().start()
    token = start(daemon.calls, "true")
    end_of(daemon.calls, token)
    path = daemon.state_dir / "taskmeter.db"
    for name in ("database", "text"):
        daemon.kill9()
        for each in daemon.state_dir.glob("taskmeter.db*"):
            each.unlink()
        if name == "text":
            path.write_text("somebody's notes\n")
        else:
            with sqlite3.connect(path) as database:
                database.execute("CREATE TABLE theirs (a)")
                database.execute("INSERT INTO theirs VALUES (42)")
            database.close()
        daemon.start()
        assert status_of(daemon.calls, token).exit_code == 0
        [aside] = daemon.state_dir.glob("taskmeter.db.damaged-*[0-9]")
        assert str(aside) in daemon.log()
        [finding] = [each for each in json.loads(daemon.cli("doctor", "--json").stdout) if each["name"] == "rebuilt"]
        assert "built anew with 1 task" in finding["text"]
        if name == "text":
            assert aside.read_text() == "somebody's notes\n"
        else:
            with sqlite3.connect(aside) as database:
                assert database.execute("SELECT a FROM theirs").fetchone() == (42,)
            database.close()
            assert "of another program" in daemon.log()
