"""Says where the product changes files other than through `services/common/durable.py`; prints each place and exits 1.

What goes through that one module can be failed, lost, torn and recorded by a test; what does not, cannot.
"""

from __future__ import annotations

import ast
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

METHODS = {
    "write_text",
    "write_bytes",
    "unlink",
    "rename",
    "rmdir",
    "touch",
    "mkdir",
    "chmod",
    "lchmod",
    "tofile",
}
METHODS |= {"symlink_to", "hardlink_to"}
OS_CALLS = {
    "write",
    "pwrite",
    "writev",
    "pwritev",
    "replace",
    "rename",
    "renames",
    "unlink",
    "remove",
    "removedirs",
}
OS_CALLS |= {
    "rmdir",
    "mkdir",
    "makedirs",
    "mkfifo",
    "link",
    "symlink",
    "fsync",
    "fdatasync",
    "truncate",
    "ftruncate",
}
OS_CALLS |= {"chmod", "fchmod", "chown", "fchown", "posix_fallocate", "sendfile"}
LIBRARY_CALLS = {
    *(
        "rmtree",
        "copy",
        "copy2",
        "copyfile",
        "copyfileobj",
        "copytree",
        "move",
        "unpack_archive",
        "make_archive",
    ),
    *(
        "TemporaryFile",
        "NamedTemporaryFile",
        "TemporaryDirectory",
        "SpooledTemporaryFile",
        "mkdtemp",
        "mkstemp",
    ),
}
WRITING_FLAGS = ("O_WRONLY", "O_RDWR", "O_CREAT", "O_APPEND", "O_TRUNC")
DISK = ("disk", "calls")

ALLOWED = {
    "services/common/durable.py": "the one place",
    "services/common/system_calls.py": "what durable.py works through",
    "services/common/days/identity.py": "a nameless scratch file of this process, which nothing reads after it",
    "services/common/days/open_hours.py": "a nameless scratch file of this process, which nothing reads after it",
    "services/common/days/trial_process.py": "the pipe to its parent, and /dev/null",
    "services/cli/child.py": "the system needs an open file to put a child's output into",
    "services/cli/notices.py": "a private folder for a socket, which holds no data",
    "services/cli/main.py": "/dev/null in the place of a closed terminal",
    "services/cli/models_quality.py": "a report and its plots, into a folder that the user names",
    "services/feed/readers/document.py": "a page of the documentation",
    "services/origin/fsspec_store.py": "files of another machine or an object store, which fsspec writes",
    "services/training/sentence_model.py": "a scratch folder of an exporter, which takes a path only",
}
"""Files that may change others by themselves, and why."""


def places(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """The line and the name of each call that changes a file without `Disk`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            name = _changes(node)
            if name is not None:
                yield node.lineno, name


def _changes(call: ast.Call) -> str | None:
    told = ast.unparse(call.func)
    owner, _, name = told.rpartition(".")
    if owner.split(".")[-1].lstrip("_").lower() in DISK:
        return None
    opens = (name == "open" and owner != "os" and _mode_writes(call)) or (
        told == "os.open" and any(flag in ast.unparse(call) for flag in WRITING_FLAGS)
    )
    changes = (
        opens
        or (owner == "os" and name in OS_CALLS)
        or (owner in {"", "shutil", "tempfile"} and name in LIBRARY_CALLS)
        or (owner not in {"", "os"} and name in METHODS)
        or (owner != "" and name == "replace" and len(call.args) == 1 and not call.keywords)
    )
    return told if changes else None


def _mode_writes(call: ast.Call) -> bool:
    values = [*call.args, *(keyword.value for keyword in call.keywords if keyword.arg == "mode")]
    modes = [
        value.value for value in values if isinstance(value, ast.Constant) and isinstance(value.value, str)
    ]
    return any(set(mode) <= set("rwaxbt+") and set(mode) & set("wax+") for mode in modes)


def findings(root: Path) -> list[str]:
    """One line for each place, and for each permission that is no longer used."""
    found: list[str] = []
    unused = set(ALLOWED)
    for path in sorted((root / "services").rglob("*.py")):
        name = path.relative_to(root).as_posix()
        here = list(places(ast.parse(path.read_text("utf-8"))))
        if name not in ALLOWED:
            found += [
                f"{name}:{line}: {call} changes a file: use services/common/durable.py" for line, call in here
            ]
        elif here:
            unused.discard(name)
    return [*found, *(f"{name}: may change files by itself and does not any more" for name in sorted(unused))]


def main() -> int:
    """Print the findings; 1 where there are any."""
    root = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).resolve().parent.parent
    found = findings(root)
    for line in found:
        print(line)
    print(
        "every change of a file goes through services/common/durable.py"
        if not found
        else f"{len(found)} places"
    )
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main())
