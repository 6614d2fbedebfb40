"""`make/venv.sh` says what is missing in one sentence, and does nothing when nothing has to be done."""

from __future__ import annotations

import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

LOCKS = ("lock.txt", "dev-lock.txt", "train-lock.txt", "train.txt")
TOOLS = ("basename", "cat", "cut", "date", "dirname", "grep", "sha256sum")


@pytest.fixture
def project(tmp_path: Path, scripts: Path) -> Path:
    """A project with the script and an empty lock, and a folder `bin` with the tools the script needs."""
    root = tmp_path / "project"
    (root / "make").mkdir(parents=True)
    (root / "requirements").mkdir()
    (root / "bin").mkdir()
    shutil.copy(scripts / "venv.sh", root / "make" / "venv.sh")
    for name in LOCKS:
        (root / "requirements" / name).write_text("# nothing\n")
    (root / "pyproject.toml").write_text("# nothing\n")
    for tool in TOOLS:
        (root / "bin" / tool).symlink_to(str(shutil.which(tool)))
    return root


def put_python(project: Path, name: str, script: str) -> None:
    path = project / "bin" / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def run(project: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = ["/bin/sh", str(project / "make" / "venv.sh"), *arguments]
    environment = {"PATH": str(project / "bin")}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def test_without_python_the_package_to_install_is_named(project: Path) -> None:
    """An empty PATH gives one sentence with the command that helps."""
    done = run(project, "run")
    assert done.returncode == 1
    assert "no Python 3.11 or newer" in done.stderr
    assert "apt-get install python3.11" in done.stderr


def test_an_old_python_is_passed_over(project: Path) -> None:
    """A python3 that is too old, or a launcher with nothing behind it, counts as none."""
    put_python(project, "python3", "exit 1")
    put_python(project, "python3.13", "exit 127")
    done = run(project, "run")
    assert done.returncode == 1
    assert "no Python 3.11 or newer" in done.stderr


@pytest.mark.parametrize("python", ["python3", "python3.12"])
def test_without_venv_its_package_is_named(project: Path, python: str) -> None:
    """Debian's Python without its venv package: the sentence names the package of the very Python found."""
    put_python(project, python, f'case "$2" in *ensurepip*) exit 1 ;; esac\nexec {sys.executable} "$@"')
    done = run(project, "dev")
    assert done.returncode == 1
    assert f"apt-get install {python}-venv" in done.stderr
    assert not (project / ".venv").exists()


def test_a_word_it_does_not_know_is_refused(project: Path) -> None:
    """A slip in the Makefile shows at once."""
    done = run(project, "prod")
    assert done.returncode == 1
    assert "run, dev or train" in done.stderr


def make_environment(project: Path, stamp: str) -> None:
    """A whole environment with a stamp, as a finished run leaves it."""
    files = " ".join(f"requirements/{name}" for name in LOCKS)
    done = subprocess.run(
        ["/bin/sh", "-c", f"cat {files} pyproject.toml | sha256sum"],
        cwd=project,
        capture_output=True,
        text=True,
        check=True,
    )
    python = project / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    no_install = (
        'case "$*" in *"pip install"*) exit 1 ;; esac'  # this would go into the tests' own environment
    )
    python.write_text(f'#!/bin/sh\n{no_install}\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)
    (project / ".venv" / stamp).write_text(done.stdout.split()[0] + "\n")


def test_a_second_run_does_nothing(project: Path) -> None:
    """With the stamp of this very lock the script says nothing and looks for no Python."""
    make_environment(project, "appia-train")
    for word in ("train", "dev", "run"):
        done = run(project, word)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_changed_lock_is_installed(project: Path) -> None:
    """After a change of the lock the stamp no longer holds."""
    make_environment(project, "appia-run")
    (project / "requirements" / "lock.txt").write_text("something-new\n")
    done = run(project, "run")
    assert done.returncode == 1
    assert "requirements/lock.txt could not be installed" in done.stderr


def test_the_development_environment_is_more_than_the_other(project: Path) -> None:
    """An environment made to run appia does not pass for one to test it with."""
    make_environment(project, "appia-run")
    (project / "requirements" / "dev-lock.txt").write_text("# nothing\n")
    assert run(project, "run").stdout == ""
    assert "Installing" in run(project, "dev").stdout


def test_torch_is_installed_for_training_only_and_its_absence_is_said(project: Path) -> None:
    """The training environment is what development needs, and torch; a machine without it is told what still works."""
    make_environment(project, "appia-dev")
    assert run(project, "dev").stdout == ""
    # An index that has everything but torch.
    only_locked = 'case "$*" in *train.txt*) exit 1 ;; *"pip install"*) exit 0 ;; esac\n'
    python = project / ".venv" / "bin" / "python"
    python.write_text(f'#!/bin/sh\n{only_locked}exec {sys.executable} "$@"\n')
    done = run(project, "train")
    assert done.returncode == 1
    assert "requirements/train-lock.txt" in done.stdout
    assert "torch could not be installed" in done.stderr
    assert not (project / ".venv" / "appia-train").exists()
