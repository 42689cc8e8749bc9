from __future__ import annotations

import json
import subprocess
import sys

import pytest


def imported_by(code: str) -> set[str]:
    """Return the modules a fresh interpreter has after running `code`."""
    program = f"{code}\nimport json, sys; print(json.dumps(sorted(sys.modules)))"
    output = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout
    return set(json.loads(output))


def test_importing_the_package_imports_neither_grpc_nor_asyncio():
    assert not imported_by("import taskmeter") & {"grpc", "asyncio", "google.protobuf", "click", "rich"}


def test_help_imports_neither_grpc_nor_rich_nor_any_verb():
    quietly = "with contextlib.redirect_stdout(io.StringIO()): run(['--help'])"
    code = f"import io, contextlib\nfrom taskmeter.cli.main import run\n{quietly}"
    modules = imported_by(code)
    assert not modules & {"grpc", "rich", "google.protobuf", "asyncio", "taskmeter.cli.run", "taskmeter.cli.ls"}


@pytest.mark.parametrize("name", ["Client", "SyncClient", "TaskStatus", "Event", "State", "Outcome", "EventKind", "errors"])
def test_public_names_load_when_they_are_first_used(name):
    import taskmeter

    assert getattr(taskmeter, name) is not None
    assert name in taskmeter.__all__
    assert name in dir(taskmeter)


def test_an_unknown_name_is_an_attribute_error():
    import taskmeter

    with pytest.raises(AttributeError):
        _ = taskmeter.nonsense
