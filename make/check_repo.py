"""Says what must not be in the project: `python make/check_repo.py` prints each finding and exits 1.

Five checks, over every file that git tracks or would track:

* no host name of a package registry or mirror: which one is used is a setting of the machine;
* no absolute path of a developer's machine;
* no file of the shared development data (`../shared/data`), whose terms forbid passing it on;
* nothing that loads or holds pickles, which run what they like when they are read;
* every relative link in the documentation leads to a file, and to a heading in it.
"""

from __future__ import annotations

import ast
import hashlib
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

REGISTRY_HOST = re.compile(
    r"\b(?:pypi\.org|pythonhosted\.org|(?:deb|security|snapshot)\.debian\.org|(?:archive|ports|security)\.ubuntu\.com"
    r"|registry\.npmjs\.org|crates\.io|proxy\.golang\.org|(?:conda\.)?anaconda\.(?:org|com)|docker\.io|ghcr\.io|quay\.io)\b"
)
MACHINE_PATH = re.compile(r"(?<![\w.})$/-])/(?:work|root|home/\w+|Users/\w+)/[\w.]")
FORBIDDEN = {"host of a package registry": REGISTRY_HOST, "absolute path of a machine": MACHINE_PATH}
LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^()\s]+)\)|^\[[^\]]+\]:\s+(\S+)", re.MULTILINE)
FENCED = re.compile(r"^(```|~~~).*?^\1", re.MULTILINE | re.DOTALL)
HEADING = re.compile(r"^#{1,6} +(.+?)\s*$", re.MULTILINE)
PICKLING = {
    "pickle",
    "_pickle",
    "cPickle",
    "dill",
    "cloudpickle",
    "joblib",
    "jsonpickle",
    "marshal",
    "shelve",
}
READ_PICKLES = {"read_pickle", "to_pickle", "unsafe_load"}
PICKLED = {".pkl", ".pickle", ".joblib", ".pt", ".pth", ".ckpt", ".dill"}
NOT_OURS = {".git", ".venv", ".appia", "__pycache__", "build", "dist"}


def project_files(root: Path) -> list[Path]:
    """Every file git tracks or would track; without git (an unpacked archive) all but NOT_OURS."""
    command = ["git", "-C", str(root), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    try:
        listed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    except (OSError, subprocess.CalledProcessError):
        found = (path for path in root.rglob("*") if not NOT_OURS & set(path.relative_to(root).parts))
    else:
        found = (root / name for name in listed.split("\0") if name)
    return sorted(path for path in found if path.is_file())


def read_text(path: Path) -> str | None:
    """The file's text, or None for a binary file."""
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return None


def forbidden_words(root: Path, path: Path) -> Iterator[str]:
    """Registry hosts and machine paths, one finding for each line that has one."""
    for number, line in enumerate((read_text(path) or "").splitlines(), start=1):
        for what, pattern in FORBIDDEN.items():
            if match := pattern.search(line):
                yield f"{path.relative_to(root)}:{number}: {what}: {match[0]}"


def pickles(root: Path, path: Path) -> Iterator[str]:
    """Imports and calls that read or write pickles, and files that are some."""
    where = path.relative_to(root)
    if path.suffix in PICKLED:
        yield f"{where}: is a file of a kind that holds pickles"
    if path.suffix not in {".py", ".pyi"}:
        return
    for node in ast.walk(ast.parse(read_text(path) or "", str(where))):
        if not isinstance(node, ast.Import | ast.ImportFrom | ast.Call):
            continue
        found = _called(node) if isinstance(node, ast.Call) else _imported(node)
        if found:
            yield f"{where}:{node.lineno}: {found}: use JSON, msgpack, safetensors or plain arrays"


def _imported(node: ast.Import | ast.ImportFrom) -> str:
    names = [node.module or ""] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]
    found = PICKLING.intersection(name.split(".")[0] for name in names)
    return f"imports {', '.join(sorted(found))}" if found else ""


def _called(node: ast.Call) -> str:
    """What is wrong with a call: numpy reads and writes pickles unless it is told not to, torch reads them."""
    name = ast.unparse(node.func)
    allowed = next((word.value for word in node.keywords if word.arg == "allow_pickle"), None)
    if name in {"np.load", "numpy.load", "np.save", "numpy.save"} or allowed is not None:
        return (
            ""
            if isinstance(allowed, ast.Constant) and allowed.value is False
            else f"{name} without allow_pickle=False"
        )
    return f"calls {name}" if name == "torch.load" or name.split(".")[-1] in READ_PICKLES else ""


def digest(path: Path) -> str:
    """SHA-256 of the file's content, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def shared_data(root: Path, files: list[Path], data: Path) -> Iterator[str]:
    """Files that are the same as, or named like, one below `data`; none where it is absent."""
    theirs = [path for path in data.rglob("*.gz") if path.is_file()]
    names = {name for path in theirs for name in (path.name, path.stem)}
    digests = {digest(path) for path in theirs}
    sizes = {path.stat().st_size for path in theirs}
    for path in files:
        same = path.stat().st_size in sizes and digest(path) in digests
        if same or path.name in names:
            yield f"{path.relative_to(root)}: is shared development data, which must not be passed on"


def anchors(text: str) -> set[str]:
    """The anchors of a Markdown file's headings, as code hosts make them: lower case, dashes, no signs."""
    headings = HEADING.findall(FENCED.sub("", text))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def broken_links(root: Path, path: Path) -> Iterator[str]:
    """Relative links of a Markdown file that lead nowhere."""
    text = read_text(path) or ""
    for target in (first or second for first, second in LINK.findall(FENCED.sub("", text))):
        if "://" in target or target.startswith("mailto:"):
            continue
        name, _, anchor = target.partition("#")
        linked = path.parent / name if name else path
        if not linked.exists():
            yield f"{path.relative_to(root)}: link to {target}: there is no such file"
        elif anchor and linked.suffix == ".md" and anchor not in anchors(read_text(linked) or ""):
            yield f"{path.relative_to(root)}: link to {target}: there is no such heading"


def findings(root: Path) -> Iterator[str]:
    """Everything wrong with the project at `root`, one line each."""
    files = project_files(root)
    for path in files:
        yield from forbidden_words(root, path)
        yield from pickles(root, path)
        if path.suffix == ".md":
            yield from broken_links(root, path)
    yield from shared_data(root, files, root.parent / "shared" / "data")


def main() -> int:
    """Check the project at the path given, or this one; the exit status is 1 when something was found."""
    root = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parents[1]
    found = list(findings(root.resolve()))
    for finding in found:
        print(finding)
    print(f"check_repo: {len(found)} finding(s)" if found else "check_repo: nothing found")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
