"""Libraries that are put between a daemon and the kernel with LD_PRELOAD: clock.c, record.c, sqlite_faults.c."""

from __future__ import annotations

import subprocess
from pathlib import Path


def build_library(name: str, into: Path) -> Path:
    """Compile `name`.c of this directory; return the library's path."""
    library = into / f"{name}.so"
    source = Path(__file__).with_name(f"{name}.c")
    subprocess.run(["cc", "-shared", "-fPIC", "-O2", "-Wall", "-o", str(library), str(source), "-ldl"], check=True)
    return library
