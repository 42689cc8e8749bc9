"""Builds the C++ server with Debian's gRPC (libgrpc++-dev, protobuf-compiler-grpc), once; what is built stays in build/bench/."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
PROTOS = ROOT / "protos"
BUILT = ROOT / "build/bench/unary"
LIBRARIES = ("-Wl,--copy-dt-needed-entries", "-lgrpc++", "-lgrpc", "-lgpr", "-lprotobuf", "-pthread")
"""The linker follows gRPC's own libraries: how its parts are called differs from release to release."""


def missing() -> str:
    """Return what is not installed, or nothing."""
    for program in ("g++", "protoc", "grpc_cpp_plugin"):
        if not shutil.which(program):
            return program
    looks = ["g++", "-E", "-x", "c++", "-include", "grpcpp/grpcpp.h", "-include", "google/protobuf/message.h", "/dev/null"]
    return "libgrpc++-dev libprotobuf-dev" if subprocess.run(looks, capture_output=True, check=False).returncode else ""


def server() -> Path:
    """Return the compiled server, as new as its sources."""
    sources = [HERE / "server.cc", *sorted(PROTOS.glob("taskmeter/v1/*.proto"))]
    program = BUILT / "server"
    if program.exists() and program.stat().st_mtime > max(source.stat().st_mtime for source in sources):
        return program
    BUILT.mkdir(parents=True, exist_ok=True)
    names = ["task", "usage", "item", "event", "task_service"]
    protos = [f"taskmeter/v1/{name}.proto" for name in names]
    plugin = shutil.which("grpc_cpp_plugin")
    subprocess.run(
        ["protoc", f"-I{PROTOS}", f"--cpp_out={BUILT}", f"--grpc_out={BUILT}", f"--plugin=protoc-gen-grpc={plugin}", *protos],
        check=True,
    )
    made = [str(BUILT / f"taskmeter/v1/{name}.pb.cc") for name in names]
    made.append(str(BUILT / "taskmeter/v1/task_service.grpc.pb.cc"))
    command = ["g++", "-O2", "-std=c++17", f"-I{BUILT}", "-o", str(program), str(HERE / "server.cc"), *made]
    subprocess.run([*command, *LIBRARIES], check=True)
    return program
