"""`make/check_repo.py` finds what must not be in the project, and nothing else."""

from __future__ import annotations

import gzip
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Check = Callable[[], tuple[int, str]]

# With stand-ins for the signs, so that the check does not find its own tests.
HOST = "pypi!org".replace("!", ".")
MIRROR = "deb!debian!org".replace("!", ".")
CHECKOUT = "!work!main".replace("!", "/")
HOME = "!home!ada!appia".replace("!", "/")
WORDS = [HOST, f"https://{HOST}/simple", MIRROR, f"'{CHECKOUT}/x.py'", f"({HOME}/x)"]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    root = tmp_path / "project"
    (root / "docs").mkdir(parents=True)
    return root


@pytest.fixture
def check(scripts: Path, project: Path) -> Check:
    def run() -> tuple[int, str]:
        command = [sys.executable, str(scripts / "check_repo.py"), str(project)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        return done.returncode, done.stdout + done.stderr

    return run


def test_a_clean_project_passes(project: Path, check: Check) -> None:
    """Ordinary code, relative paths and good links give no finding."""
    (project / "code.py").write_text('STATE = "./work/days"\nURL = "https://example.org/work/days"\n')
    (project / "README.md").write_text("# Read me\n\n[docs](docs/guide.md#first-steps) [top](#read-me)\n")
    (project / "docs" / "guide.md").write_text("# Guide\n\n## First steps\n\n[up](../README.md)\n")
    (project / "photo.bin").write_bytes(b"\xff\xfe" + HOST.encode())
    assert check() == (0, "check_repo: nothing found\n")


BAD_LINES = {
    "import pickle": "imports pickle",
    "from joblib.externals import x": "imports joblib",
    "def f():\n    import dill as d": "imports dill",
    "x = np.load('a.npy')": "np.load without allow_pickle=False",
    "x = np.load('a.npy', allow_pickle=True)": "np.load without allow_pickle=False",
    "x = loaded(1, allow_pickle=wanted)": "loaded without allow_pickle=False",
    "np.save('a', x)": "np.save without allow_pickle=False",
    "x = torch.load('a', weights_only=True)": "calls torch.load",
    "x = frame.read_pickle('a')": "calls frame.read_pickle",
}


@pytest.mark.parametrize("line", list(BAD_LINES))
def test_what_reads_pickles_is_found(project: Path, check: Check, line: str) -> None:
    """Wherever in a file it stands, with what to use instead."""
    (project / "code.py").write_text(f'"""Says pickle and np.load(x)."""\n{line}\n')
    status, output = check()
    assert status == 1
    assert f": {BAD_LINES[line]}: use JSON" in output


def test_what_reads_no_pickles_passes(project: Path, check: Check) -> None:
    (project / "code.py").write_text("import json\nx = np.load('a', allow_pickle=False)\ny = json.load(f)\n")
    assert check() == (0, "check_repo: nothing found\n")


def test_a_file_of_pickles_is_found(project: Path, check: Check) -> None:
    (project / "weights.pt").write_bytes(b"\x80\x02N.")
    assert check() == (1, "weights.pt: is a file of a kind that holds pickles\ncheck_repo: 1 finding(s)\n")


@pytest.mark.parametrize(
    "word", [HOST, f"https://{HOST}/simple", MIRROR, f"'{CHECKOUT}/x.py'", f"({HOME}/x)"]
)
def test_a_forbidden_word_is_found_with_its_line(project: Path, check: Check, word: str) -> None:
    """A registry host or a machine's path is named with file and line."""
    (project / "notes.txt").write_text(f"one\ntwo {word}\n")
    status, output = check()
    assert status == 1
    assert output.startswith("notes.txt:2: ")


@pytest.mark.parametrize("word", [HOST.replace(".", "-"), "not" + HOST, "/workshop/x", "a/work/b", "/root"])
def test_a_word_that_only_looks_alike_is_no_finding(project: Path, check: Check, word: str) -> None:
    """The patterns stop at the borders of words and folders."""
    (project / "notes.txt").write_text(f"{word}\n")
    assert check()[0] == 0


def test_shared_data_is_found_by_content_and_by_name(project: Path, check: Check) -> None:
    """A renamed copy, and an unpacked one under the old name, are both found."""
    data = project.parent / "shared" / "data" / "set"
    data.mkdir(parents=True)
    packed = gzip.compress(b"1,2,3\n", mtime=0)
    (data / "week.csv.gz").write_bytes(packed)
    (project / "renamed.gz").write_bytes(packed)
    (project / "week.csv").write_bytes(b"1,2\n")
    (project / "other.csv").write_bytes(b"x" * len(packed))
    status, output = check()
    assert status == 1
    assert [line.split(":")[0] for line in output.splitlines()] == ["renamed.gz", "week.csv", "check_repo"]


@pytest.mark.parametrize(
    ("link", "why"),
    [
        ("[a](missing.md)", "no such file"),
        ("[a](docs/guide.md#nowhere)", "no such heading"),
        ("[a](#nowhere)", "no such heading"),
        ("[a]: missing.md", "no such file"),
    ],
)
def test_a_link_that_leads_nowhere_is_found(project: Path, check: Check, link: str, why: str) -> None:
    """Files, headings and reference links are all followed."""
    (project / "docs" / "guide.md").write_text("# Guide\n")
    (project / "README.md").write_text(f"# Read me\n\n{link}\n")
    status, output = check()
    assert status == 1
    assert why in output


def test_links_in_code_blocks_and_web_addresses_are_left_alone(project: Path, check: Check) -> None:
    """Nothing is fetched, and an example is no link."""
    text = "```\n[a](missing.md)\n```\n[b](https://example.org/x) [c](mailto:a@b)\n"
    (project / "README.md").write_text(text)
    assert check()[0] == 0


def test_ignored_files_are_not_checked(project: Path, check: Check) -> None:
    """What git ignores is no part of the project."""
    command = ["git", "init", "-q", str(project)]
    subprocess.run(command, check=True)
    (project / ".gitignore").write_text("local.txt\n")
    (project / "local.txt").write_text(HOST)
    assert check()[0] == 0
