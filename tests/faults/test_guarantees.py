"""Every guarantee is named by a test: by the marker `guarantee("G1", …)`, or in the test's name (`test_g3_g6_…`)."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from pathlib import Path

import pytest

from tests.faults.reverts import REVERTS, Revert

ROOT = Path(__file__).parents[1]
REPOSITORY = ROOT.parent
GUARANTEES = {f"G{number}" for number in range(1, 14)}


def named_by(function: ast.FunctionDef | ast.AsyncFunctionDef) -> set[str]:
    """Read the guarantees that one test names."""
    found = {f"G{number}" for number in re.findall(r"(?<=_)g(\d+)(?=_)", function.name)}
    for decorator in function.decorator_list:
        if isinstance(decorator, ast.Call) and ast.unparse(decorator.func) == "pytest.mark.guarantee":
            found |= {str(argument.value) for argument in decorator.args if isinstance(argument, ast.Constant)}
    return found


def registry(root: Path) -> dict[str, list[str]]:
    """Return guarantee → the tests that name it."""
    found = defaultdict(list)
    for path in sorted(root.rglob("test_*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
                for name in named_by(node):
                    found[name].append(f"{path.relative_to(root)}::{node.name}")
    return dict(found)


def test_every_guarantee_is_named_by_a_test_and_no_other_is() -> None:
    found = registry(ROOT)
    for name in sorted(found, key=lambda name: int(name[1:])):
        print(name, len(found[name]), found[name][0])
    assert found.keys() == GUARANTEES


def test_a_guarantee_that_no_test_names_is_noticed(tmp_path: Path) -> None:
    (tmp_path / "test_one.py").write_text("@pytest.mark.guarantee('G1')\ndef test_a(): pass\ndef test_g3_b(): pass\n")
    assert registry(tmp_path) == {"G1": ["test_one.py::test_a"], "G3": ["test_one.py::test_g3_b"]}


@pytest.mark.parametrize("revert", REVERTS, ids=lambda each: f"{each.guarantee} {each.mechanism}")
def test_every_reversal_finds_its_mechanism_and_its_test(revert: Revert) -> None:
    assert (REPOSITORY / revert.file).read_text().count(revert.before) == 1
    path, _, name = revert.test.partition("::")  # a whole file, or one of its tests
    assert f"def {name.partition('[')[0]}" in (REPOSITORY / path).read_text()


def test_every_guarantee_has_a_reversal() -> None:
    assert {revert.guarantee for revert in REVERTS} == GUARANTEES
