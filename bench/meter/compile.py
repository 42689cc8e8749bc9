"""Compiles what the benchmarks have in C and Cython, into a directory of the run."""

from __future__ import annotations

import importlib.util
import os
import shlex
import subprocess
import sys
import sysconfig
from pathlib import Path
from types import ModuleType

from Cython.Build import cythonize
from setuptools import Distribution, Extension
from setuptools.command.build_ext import build_ext

HERE = Path(__file__).resolve().parent
NATIVE = HERE.parents[1] / "native"
FLAGS = ["-O2", "-std=gnu11", "-Wall", "-Wextra"]


def c_program(name: str, into: Path) -> str:
    """Compile NAME.c, statically if the C library allows, so that a process of it is as small as one can be."""
    made = into / name
    compiler = shlex.split(os.environ.get("CC") or str(sysconfig.get_config_var("CC") or "cc"))
    command = [*compiler, *FLAGS, "-pthread", "-o", str(made), str(HERE / f"{name}.c")]
    if subprocess.run([*command, "-static"], capture_output=True, check=False).returncode:
        subprocess.run(command, check=True)
    return str(made)


def cython_module(name: str, into: Path, where: Path = HERE) -> ModuleType:
    """Translate and compile NAME.pyx against metercore's declarations, with the flags of setup.py; import it."""
    extension = Extension(
        name,
        [str(where / f"{name}.pyx")],
        include_dirs=[str(NATIVE), str(NATIVE / "metercore/_c"), str(NATIVE / "shim")],
        define_macros=[("_GNU_SOURCE", "1")],
        extra_compile_args=["-O2", "-g0", "-std=gnu11", "-fvisibility=hidden", "-fno-semantic-interposition", "-pthread"],
    )
    modules = cythonize(  # type: ignore[no-untyped-call]
        [extension], include_path=[str(NATIVE)], build_dir=str(into), quiet=True, compiler_directives={"language_level": 3}
    )
    command = build_ext(Distribution({"name": name, "ext_modules": modules}))
    command.build_lib = command.build_temp = str(into)
    command.ensure_finalized()
    command.run()
    path = command.get_ext_fullpath(name)
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module
