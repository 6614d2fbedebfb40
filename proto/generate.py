"""Write the protobuf stub in services/common/events from network_security.proto, or check it is current.

    python proto/generate.py            write both files
    python proto/generate.py --check    write nothing; exit status 1 when either file is out of date

The output depends on the version of protoc, so that one is pinned here and in pyproject.toml.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path

from grpc_tools import protoc

GRPCIO_TOOLS = "1.85.1"
PACKAGE = "services/common/events"
STUBS = ("network_security_pb2.py", "network_security_pb2.pyi")
ROOT = Path(__file__).resolve().parent.parent


def generate(folder: Path) -> dict[str, bytes]:
    """Compile the contract into `folder` (which exists) and return the stub files by name.

    Raises:
        SystemExit: another version of grpcio-tools is installed, or protoc refuses the file.
    """
    if version("grpcio-tools") != GRPCIO_TOOLS:
        sys.exit(f"grpcio-tools {version('grpcio-tools')} is installed; install {GRPCIO_TOOLS} and try again")
    well_known = str(files("grpc_tools") / "_proto")
    arguments = [
        "protoc",
        f"--proto_path={PACKAGE}={ROOT / 'proto'}",  # the virtual folder gives the stub its real module name
        f"--proto_path={well_known}",
        f"--python_out={folder}",
        f"--pyi_out={folder}",
        f"{PACKAGE}/network_security.proto",
    ]
    if protoc.main(arguments):
        sys.exit("protoc refused proto/network_security.proto; see its message above")
    return {name: (folder / PACKAGE / name).read_bytes() for name in STUBS}


def main() -> int:
    """Write the stub files, or compare them with --check; returns the exit status."""
    parser = argparse.ArgumentParser(description="Write the protobuf stub from proto/network_security.proto.")
    parser.add_argument("--check", action="store_true", help="write nothing, only compare")
    check = parser.parse_args().check
    with tempfile.TemporaryDirectory() as folder:
        stubs = generate(Path(folder))
    stale = [name for name, content in stubs.items() if _on_disk(name) != content]
    for name in stale:
        if check:
            print(f"{PACKAGE}/{name} is out of date; run: python proto/generate.py")
        else:
            (ROOT / PACKAGE / name).write_bytes(stubs[name])
    return 1 if check and stale else 0


def _on_disk(name: str) -> bytes | None:
    path = ROOT / PACKAGE / name
    return path.read_bytes() if path.exists() else None


if __name__ == "__main__":
    sys.exit(main())
