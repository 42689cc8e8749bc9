"""Outputs are bounded by giving their heads back: offsets stay, readers begin at a whole line and say what is gone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from taskmeter.v1 import task_pb2
from tests.daemon import Daemon
from tests.integration.helpers import end_of, read, start, wait_for_state
from tests.waiting import wait_until

MIB = 2**20
BOUND_BYTES = 4 * MIB
WRITTEN_BYTES = 48 * MIB
LINE = b"0123456789 a line of thirty-two\n"


def test_the_head_of_a_long_output_goes_and_the_rest_stays(make_daemon: Callable[..., Daemon], tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text(f"[retention]\ninterval_seconds = 0.1\nlog_max_bytes = {BOUND_BYTES}\n")
    daemon = make_daemon("--config", str(config)).start()
    calls = daemon.calls
    text = LINE.decode().rstrip()
    command = (
        f"echo first; yes '{text}' | head -c {WRITTEN_BYTES}; while [ ! -e {daemon.home}/go ]; do sleep 0.05; done; echo last"
    )
    token = start(calls, "sh", "-c", command)
    wait_for_state(calls, token, task_pb2.TASK_STATE_RUNNING)
    [directory] = daemon.state_dir.glob(f"tasks/*/{token}/0/task")
    output = directory / "stdout"
    wait_until(lambda: output.exists() and output.stat().st_size > WRITTEN_BYTES, "it has written")
    kept_bytes = BOUND_BYTES + 16 * MIB
    wait_until(lambda: output.stat().st_blocks * 512 <= kept_bytes + MIB, "the head is given back")
    pieces = list(calls.ReadFile(token=token, path="stdout"))
    gone = pieces[-1].first_available_offset
    assert gone % 4096 == 0 and gone >= WRITTEN_BYTES - kept_bytes
    assert gone <= pieces[0].offset <= gone + len(LINE)
    data = b"".join(piece.data for piece in pieces)
    assert data == LINE * (len(data) // len(LINE))
    assert pieces[0].offset + len(data) == output.stat().st_size
    assert read(calls, token, last_lines=2) == 2 * LINE
    assert read(calls, token, last_lines=10**7) == data
    assert read(calls, token, offset=gone + 10 * len(LINE)) == data[gone + 10 * len(LINE) - pieces[0].offset :]
    daemon.restart()
    calls = daemon.calls
    assert read(calls, token) == data
    shown = daemon.cli("logs", token, "--stdout")
    assert shown.stdout.encode() == data
    assert f"{pieces[0].offset} bytes of stdout before this are no longer kept" in shown.stderr
    (daemon.home / "go").touch()
    end_of(calls, token)
    assert read(calls, token) == data + b"last\n"
