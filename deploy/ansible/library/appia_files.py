"""Ansible module: brings many small files of a node to the state that is given, in one go."""

from __future__ import annotations

import base64
import grp
import os
import pwd
import shlex
import shutil
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = """
module: appia_files
short_description: Bring many small files to the state that is given, in one go
description:
  - One task for all files of a role, where copying each by itself costs a way to the node and back.
  - What has to be valid is looked at before anything is changed. Each file is replaced whole.
options:
  folders:
    description: Folders, made where they are missing, with the owner, the group and the mode that are given.
    type: list
    elements: dict
    default: []
  files:
    description:
      - Files, each with C(path), C(content) or C(base64), and C(owner), C(group) and C(mode).
      - C(validate) is a command that ends well where the content may be used; C(%s) stands for a file that holds it.
    type: list
    elements: dict
    default: []
  only:
    description: Folders in which nothing may lie that C(files) and C(folders) do not name.
    type: list
    elements: path
    default: []
  absent:
    description: Files that shall not be there.
    type: list
    elements: path
    default: []
author: appia
"""

FOLDER_MODE = "0755"
FILE_MODE = "0644"


@dataclass(frozen=True)
class Owned:
    """Whose a file or folder is, and what others may do with it."""

    user: str
    group: str
    mode: int

    @classmethod
    def of(cls, given: dict[str, Any], mode: str) -> Owned:
        """What the task says; root's where it says nothing."""
        return cls(
            given.get("owner", "root"), given.get("group", "root"), int(str(given.get("mode", mode)), 8)
        )

    def same_as(self, status: os.stat_result) -> bool:
        """Whether it is so already. A user who is not there yet, as in check mode, owns nothing."""
        try:
            return (status.st_uid, status.st_gid, status.st_mode & 0o7777) == (*self._ids(), self.mode)
        except KeyError:
            return False

    def give(self, path: Path) -> None:
        """Make it so; the owner first, which takes set-id bits away."""
        os.chown(path, *self._ids(), follow_symlinks=False)
        path.chmod(self.mode)

    def _ids(self) -> tuple[int, int]:
        return pwd.getpwnam(self.user).pw_uid, grp.getgrnam(self.group).gr_gid


@dataclass(frozen=True)
class Wanted:
    """A file as it shall be."""

    path: Path
    content: bytes
    owned: Owned
    validate: str

    @classmethod
    def of(cls, given: dict[str, Any]) -> Wanted:
        """What the task says of a file."""
        text = given.get("content")
        content = base64.b64decode(given["base64"]) if text is None else text.encode()
        return cls(Path(given["path"]), content, Owned.of(given, FILE_MODE), given.get("validate", ""))

    def differs(self) -> bool:
        """Whether the content is another, or there is no such file."""
        if self.path.is_symlink() or not self.path.is_file():
            return True
        return self.path.read_bytes() != self.content

    def invalid(self, module: AnsibleModule) -> str:
        """What its validation says against it; empty where that ends well. A file without one is valid."""
        if not self.validate:
            return ""
        command = shlex.split(self.validate)
        if not Path(command[0]).exists() and module.check_mode:
            return ""  # it comes with what this run would install
        with tempfile.TemporaryDirectory() as folder:
            trial = Path(folder) / self.path.name
            trial.write_bytes(self.content)
            status, output, errors = module.run_command([word.replace("%s", str(trial)) for word in command])
            said = (errors or output).strip().replace(str(trial), str(self.path))
        return (said or f"{command[0]} ended with status {status}") if status else ""

    def write(self) -> None:
        """Replace the file; whoever reads it sees the old or the new one, whole, and a power cut leaves one of them."""
        self._make_room()
        handle, name = tempfile.mkstemp(prefix=f".{self.path.name}.", dir=self.path.parent)
        with os.fdopen(handle, "wb") as file:
            file.write(self.content)
            file.flush()
            self.owned.give(Path(name))
            os.fsync(handle)
        Path(name).replace(self.path)

    def _make_room(self) -> None:
        """Make the folders above that are missing; those of a secret are closed to others as the secret is."""
        missing = [path for path in self.path.parents if not path.exists()]
        mode = 0o755 if self.owned.mode & 0o077 else 0o700
        for folder in reversed(missing):
            folder.mkdir()
            replace(self.owned, mode=mode).give(folder)


class Changes:
    """Does what is missing, and keeps the paths; in check mode it only keeps them."""

    def __init__(self, *, check: bool) -> None:
        self.paths: list[str] = []
        self._check = check

    def folder(self, path: Path, owned: Owned) -> None:
        """Have a folder."""
        there = path.is_dir()
        if there and owned.same_as(path.stat()):
            return
        self.paths.append(str(path))
        if not self._check:
            path.mkdir(parents=True, exist_ok=True)
            owned.give(path)

    def file(self, wanted: Wanted) -> None:
        """Have a file."""
        if not wanted.differs():
            if wanted.owned.same_as(wanted.path.stat()):
                return
            self.paths.append(str(wanted.path))
            if not self._check:
                wanted.owned.give(wanted.path)
            return
        self.paths.append(str(wanted.path))
        if not self._check:
            wanted.write()

    def gone(self, path: Path) -> None:
        """Have nothing there."""
        if not os.path.lexists(path):
            return
        self.paths.append(str(path))
        if self._check:
            return
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def strangers(folder: Path, known: set[Path]) -> list[Path]:
    """What lies in a folder, or in one below it, and is not named; of a folder that goes not what is in it."""
    found: list[Path] = []
    for path in sorted(folder.iterdir()) if folder.is_dir() else []:
        if path not in known:
            found.append(path)
        elif path.is_dir() and not path.is_symlink():
            found += strangers(path, known)
    return found


def named(paths: list[Path]) -> set[Path]:
    """Paths, and the folders that they lie in."""
    return {above for path in paths for above in (path, *path.parents)}


def main() -> None:
    """Read what the task wants, see whether it is valid, make it so."""
    os.umask(0o022)  # whatever that of who logged in is: services enter these folders as a user of their own
    module = AnsibleModule(
        argument_spec={
            "folders": {"type": "list", "elements": "dict", "default": []},
            "files": {"type": "list", "elements": "dict", "default": []},
            "only": {"type": "list", "elements": "path", "default": []},
            "absent": {"type": "list", "elements": "path", "default": []},
        },
        supports_check_mode=True,
    )
    given = module.params
    folders = [(Path(one["path"]), Owned.of(one, FOLDER_MODE)) for one in given["folders"]]
    files = [Wanted.of(one) for one in given["files"]]
    for wanted in files:
        reason = wanted.invalid(module) if wanted.differs() else ""
        if reason:
            module.fail_json(msg=f"{wanted.path} is not valid, and nothing was changed: {reason}")
    changes = Changes(check=module.check_mode)
    known = named([path for path, _ in folders] + [wanted.path for wanted in files])
    for path, owned in folders:
        changes.folder(path, owned)
    for wanted in files:
        changes.file(wanted)
    for folder in given["only"]:
        for path in strangers(Path(folder), known):
            changes.gone(path)
    for path in given["absent"]:
        changes.gone(Path(path))
    module.exit_json(changed=bool(changes.paths), paths=changes.paths)


if __name__ == "__main__":
    main()
