"""Rules of the house that no linter knows."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NATIVE = ROOT / "native"
LONGEST_LINES = 620
"""The soft roof is 400; what is far over it has become two things."""


def committed() -> list[Path]:
    """Every file that git knows or would take; outside of a checkout, none."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    return [ROOT / name for name in done.stdout.split("\0") if name and (ROOT / name).is_file()]


def test_native_code_never_imports_the_service() -> None:
    """import-linter reads Python only."""
    for path in (*NATIVE.rglob("*.pyx"), *NATIVE.rglob("*.pxd"), *NATIVE.rglob("*.pyi")):
        assert not re.search(r"^\s*(from|import|cimport) +taskmeter\b", path.read_text(), re.MULTILINE), path


def test_every_native_module_has_its_stub() -> None:
    missing = [path.name for path in NATIVE.rglob("*.pyx") if not path.with_suffix(".pyi").exists()]
    assert missing == []


@pytest.mark.parametrize("suffix", [".py", ".pyx", ".c", ".h", ".sql"])
def test_no_file_outgrows_its_reader(suffix: str) -> None:
    long = {
        str(path.relative_to(ROOT)): lines
        for path in committed()
        if path.suffix == suffix and (lines := path.read_text().count("\n")) > LONGEST_LINES
    }
    assert long == {}


def test_message_classes_of_packages_are_not_committed() -> None:
    assert [path for path in committed() if "_pb2" in path.name or path.suffix == ".so"] == []


def test_nothing_is_left_for_later_in_the_sources() -> None:
    mark = re.compile(r"\b(TODO|FIXME|XXX|NotImplementedError)\b")
    found = [
        str(path.relative_to(ROOT))
        for path in committed()
        if path.suffix in {".py", ".pyx", ".c", ".h", ".proto", ".sql", ".sh"}
        and path != Path(__file__)
        and mark.search(path.read_text())
    ]
    assert found == []
