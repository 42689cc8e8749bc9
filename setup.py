"""Builds what setuptools does not know of: the protobuf modules, the Cython extensions and the shim.

All three are built into the source tree (git ignores them), so that an editable install, a wheel and a checkout have the same
files, and only when a source is newer than what was made of it. `python setup.py build_inplace` does just that.
Everything else about the package stands in pyproject.toml.
"""

from __future__ import annotations

import compileall
import os
import shlex
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import ClassVar

from Cython.Build import cythonize
from setuptools import Command, Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent
PROTOS = Path("protos")
GENERATED = Path("service/taskmeter/v1")
SHIM_SOURCES = Path("native/shim")
SHIM = Path("service/taskmeter/executors/taskmeter-shim")
NATIVE = Path("native")
PACKAGES = (Path("service/taskmeter"), Path("native/metercore"))

C_FLAGS = ["-O2", "-g0", "-std=gnu11", "-fvisibility=hidden", "-fno-semantic-interposition", "-pthread"]
LINK_FLAGS = ["-pthread"]
if os.environ.get("TASKMETER_SANITIZE"):
    # For `make asan` and `make fuzz`: see tests/sanitize.py, which says where to build to and how to run what was built.
    SANITIZERS = ["-fsanitize=address,undefined", "-fno-sanitize-recover=undefined"]
    C_FLAGS += ["-O1", "-g1", "-fno-omit-frame-pointer", *SANITIZERS, "-fsanitize-coverage=trace-pc,trace-cmp"]
    LINK_FLAGS += SANITIZERS
SHIM_FLAGS = ["-O2", "-std=gnu11", "-Wall", "-Wextra", "-fno-asynchronous-unwind-tables", "-s"]
if os.environ.get("TASKMETER_WERROR"):
    # CI refuses warnings; a user's newer compiler, which may know more of them, does not.
    SHIM_FLAGS.append("-Werror")


def is_stale(made: list[Path], sources: list[Path]) -> bool:
    """Tell whether one of `made` is missing or older than the newest of `sources`."""
    if not all(path.exists() for path in made):
        return True
    return min(path.stat().st_mtime_ns for path in made) < max(path.stat().st_mtime_ns for path in sources)


def build_protos() -> None:
    """Generate the message modules and their stubs; the proto path is the import path, so nothing needs rewriting."""
    sources = sorted(PROTOS.glob("taskmeter/v1/*.proto"))
    made = [GENERATED / f"{source.stem}_pb2{suffix}" for source in sources for suffix in (".py", ".pyi")]
    for stray in {*GENERATED.glob("*_pb2*")} - {*made}:
        stray.unlink()
    if not is_stale(made, [*sources, Path("setup.py")]):
        return
    print(f"generating {GENERATED}", flush=True)
    protoc = [sys.executable, "-m", "grpc_tools.protoc", f"-I{PROTOS}", "--python_out=service", "--pyi_out=service"]
    subprocess.run([*protoc, *map(str, sources)], check=True)


def build_shim() -> None:
    """Compile the shim, statically if the C library allows, so that it needs nothing of the host and starts in 0.4 ms."""
    sources = sorted(SHIM_SOURCES.glob("*.[ch]"))
    if not is_stale([SHIM], [*sources, Path("setup.py")]):
        return
    print(f"compiling {SHIM}", flush=True)
    compiler = shlex.split(os.environ.get("CC") or str(sysconfig.get_config_var("CC") or "cc"))
    fresh = SHIM.with_name(f".{SHIM.name}.{os.getpid()}")
    command = [*compiler, *SHIM_FLAGS, f"-I{SHIM_SOURCES}", "-o", str(fresh), *map(str, sorted(SHIM_SOURCES.glob("*.c")))]
    static = subprocess.run([*command, "-static"], capture_output=True, text=True, check=False)
    if static.returncode:
        print(static.stderr, "no static C library here: linking the shim dynamically", sep="\n", file=sys.stderr, flush=True)
        subprocess.run(command, check=True)
    elif static.stderr:
        print(static.stderr, file=sys.stderr, flush=True)
    fresh.chmod(0o755)
    fresh.replace(SHIM)  # in one step: a running daemon may be about to copy it


def extensions() -> list[Extension]:
    """Find the Cython modules; each .pyx is one extension."""
    headers = sorted(map(str, [*NATIVE.glob("metercore/_c/*.h"), *SHIM_SOURCES.glob("*.h")]))
    return [
        Extension(
            ".".join(source.relative_to(NATIVE).with_suffix("").parts),
            [str(source)],
            include_dirs=[str(NATIVE), str(NATIVE / "metercore/_c"), str(SHIM_SOURCES)],
            define_macros=[("_GNU_SOURCE", "1")],
            libraries=["m"],
            extra_compile_args=C_FLAGS,
            extra_link_args=LINK_FLAGS,
            depends=headers,
        )
        for source in sorted(NATIVE.glob("metercore/**/*.pyx"))
    ]


class BuildPy(build_py):
    """Makes the generated modules and the shim before the package's files are collected."""

    def run(self) -> None:
        build_protos()
        build_shim()
        super().run()


class BuildExt(build_ext):
    """Translates the Cython modules whose sources, or what these cimport, have changed; compiles several at a time."""

    def finalize_options(self) -> None:
        workers = os.cpu_count() or 1
        self.distribution.ext_modules = cythonize(  # type: ignore[no-untyped-call]
            self.distribution.ext_modules,
            include_path=[str(NATIVE)],
            build_dir="build/cython",
            nthreads=workers,
            compiler_directives={"language_level": 3},
        )
        super().finalize_options()
        self.parallel = self.parallel or workers


class BuildInplace(Command):
    """Brings everything that is built up to date in the source tree: what developers run after a change."""

    description = "build protobuf modules, extensions and the shim into the source tree"
    user_options: ClassVar[list[tuple[str, str, str]]] = []

    def initialize_options(self) -> None:
        pass

    def finalize_options(self) -> None:
        pass

    def run(self) -> None:
        build_protos()
        build_shim()
        self.reinitialize_command("build_ext", inplace=True)
        self.run_command("build_ext")
        for package in PACKAGES:  # as pip does: else a start of the daemon compiles 160 files wherever Python may not keep them
            compileall.compile_dir(package, quiet=1)


os.chdir(ROOT)
setup(ext_modules=extensions(), cmdclass={"build_py": BuildPy, "build_ext": BuildExt, "build_inplace": BuildInplace})
