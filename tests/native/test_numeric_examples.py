"""The examples in the documentation of the numeric classes and the meters run, and their stubs say what they say."""

from __future__ import annotations

import ast
import doctest
import importlib
import inspect
from pathlib import Path

import pytest

import metercore

MODULES = ("rate", "window", "peak", "epochs", "counter", "tokens", "tariff", "limit", "eta", "systemmeter")


@pytest.mark.parametrize("name", [*MODULES, "processmeter"])
def test_examples_run_as_written(name: str) -> None:
    module = importlib.import_module(f"metercore.{name}")
    classes = [each for each in vars(module).values() if inspect.isclass(each) and each.__module__ == module.__name__]
    documented = [each for each in classes if not issubclass(each, tuple)]
    assert documented
    for each in documented:
        assert ">>>" in (each.__doc__ or ""), f"{each.__name__} has an example"
    ran = 0
    for item in [module, *documented, *(each for each in vars(module).values() if inspect.isroutine(each))]:
        test = doctest.DocTestParser().get_doctest(inspect.getdoc(item) or "", vars(module).copy(), name, None, None)
        failed, count = doctest.DocTestRunner().run(test)
        assert failed == 0
        ran += count
    assert ran > 0


@pytest.mark.parametrize("name", MODULES)
def test_stubs_have_the_documentation_of_the_modules(name: str) -> None:
    module = importlib.import_module(f"metercore.{name}")
    tree = ast.parse((Path(metercore.__file__).parent / f"{name}.pyi").read_text())
    for node in tree.body:
        if isinstance(node, (ast.ClassDef, ast.FunctionDef)):
            assert ast.get_docstring(node) == inspect.getdoc(getattr(module, node.name)), node.name
        for inner in getattr(node, "body", []):
            if isinstance(inner, ast.FunctionDef) and isinstance(node, ast.ClassDef) and (text := ast.get_docstring(inner)):
                assert text == inspect.getdoc(getattr(getattr(module, node.name), inner.name)), f"{node.name}.{inner.name}"
