"""Ansible module: puts a release into use, or the one before with the units and settings that it ran with."""

from __future__ import annotations

import os
import pwd
import shutil
from dataclasses import dataclass
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = """
module: appia_release
short_description: Put an installed release into use, go back to the one before, remove those that nobody needs
description:
  - C(/opt/appia/current) leads to the release in use and C(/opt/appia/previous) to the one before. Both are links, and
    a link is replaced at once, so there is always one.
  - When a release goes out of use, the settings of the node and what this node adds to units are kept with it, and
    come back with it.
options:
  state:
    description:
      - C(current) puts C(version) into use and installs its units.
      - C(previous) puts the one before into use again, with its units and settings as they were.
      - C(pruned) removes all releases but these two, and those that a process still runs.
      - C(absent) takes the units and the links away; the releases stay.
    choices: [current, previous, pruned, absent]
    default: current
  version:
    description: The release; its folder is there.
    type: str
  etcd:
    description: Whether the node has a member of etcd, whose unit appia adds to.
    type: bool
    default: false
author: appia
"""

ROOT = Path("/opt/appia")
SETTINGS = Path("/etc/appia")
UNITS = Path("/etc/systemd/system")
OTHER = {"sysusers.d": Path("/etc/sysusers.d"), "tmpfiles.d": Path("/etc/tmpfiles.d")}
ETCD = "etcd.service.d"
KEPT = "kept"
TARGET = "appia.target"
USER = "appia"
COMMAND = Path("/usr/local/bin/appia")


@dataclass(frozen=True)
class Places:
    """Where a release keeps what it brings and what was kept with it."""

    root: Path

    @property
    def units(self) -> Path:
        """The units that it brings, as they lie in `deploy/systemd` of the project."""
        return self.root / "deploy" / "systemd"

    @property
    def kept_settings(self) -> Path:
        """The settings that it ran with last."""
        return self.root / KEPT / "settings"

    @property
    def kept_previous(self) -> Path:
        """Which release was the one before it."""
        return self.root / KEPT / "previous"

    @property
    def kept_units(self) -> Path:
        """What the node adds to units, as it was then."""
        return self.root / KEPT / "units"


class Node:
    """The files of this node; does what is missing and keeps what it did, in check mode it only keeps."""

    def __init__(self, module: AnsibleModule) -> None:
        self.did: list[str] = []
        self._module = module
        self._check = module.check_mode
        self._etcd = bool(module.params["etcd"])

    def current(self) -> Path | None:
        """The release in use; None before the first."""
        return _target(ROOT / "current")

    def use(self, release: Path) -> None:
        """Put a release into use; what it needs of the one before is kept there."""
        before = self.current()
        if before is not None and before != release:
            if not self._check:
                keep(before)
            self._remove_strangers(before, release)
            self._link(ROOT / "previous", _within(before))
        self._install_units(release)
        self._link(wanted_at_boot(), UNITS / TARGET)
        self._link(COMMAND, ROOT / "current" / "bin" / "appia")
        self._link(ROOT / "current", _within(release))

    def go_back(self, release: Path) -> None:
        """Put the one before into use again, with its units and settings."""
        now = self.current()
        if now is not None and now != release:
            self._remove_strangers(now, release)
        self._install_units(release)
        self._restore(release)
        self._link(ROOT / "current", _within(release))
        self._previous_of(release)

    def _previous_of(self, release: Path) -> None:
        """Let `previous` lead where it did when the release was in use, if that is there still."""
        noted = Places(release).kept_previous
        before = ROOT / "releases" / noted.read_text() if noted.is_file() else None
        if before is not None and (before / "release.json").is_file():
            self._link(ROOT / "previous", _within(before))
        else:
            self._do_remove(ROOT / "previous")

    def leave(self) -> None:
        """Take away what releases brought into the system."""
        links = (ROOT / "current", ROOT / "previous", COMMAND, wanted_at_boot())
        units = {path for release in (ROOT / "releases").glob("*") for path in self._files(release)}
        for path in sorted(units | {link for link in links if link.is_symlink()}):
            if os.path.lexists(path):
                self._do_remove(path)
        for folder in sorted({path.parent for path in units}):
            if not self._check and folder.is_dir() and not any(folder.iterdir()) and folder != UNITS:
                folder.rmdir()

    def prune(self) -> None:
        """Remove releases that are neither in use nor the one before."""
        wanted = {self.current(), _target(ROOT / "previous")}
        for release in sorted((ROOT / "releases").iterdir()):
            if release not in wanted and not is_used(release):
                self.did.append(f"removed {release}")
                if not self._check:
                    shutil.rmtree(release)

    def _files(self, release: Path) -> dict[Path, Path]:
        """Where each file of a release goes, and where it lies."""
        units = Places(release).units
        found = {}
        for path in sorted(units.rglob("*")):
            inside = path.relative_to(units)
            if path.is_dir() or (inside.parts[0] == ETCD and not self._etcd):
                continue
            target = OTHER.get(inside.parts[0])
            found[target / inside.name if target else UNITS / inside] = path
        return found

    def _install_units(self, release: Path) -> None:
        for target, source in self._files(release).items():
            if target.is_file() and target.read_bytes() == source.read_bytes():
                continue
            self.did.append(f"installed {target}")
            if self._check:
                continue
            target.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
            replace(target, source.read_bytes(), 0o644)
        if self.did or not has_user():
            self._make_folders()

    def _make_folders(self) -> None:
        """Have systemd make the user and the folders that the release names."""
        if not has_user():
            self.did.append(f"made the user {USER}")
        for words in () if self._check else (["systemd-sysusers"], ["systemd-tmpfiles", "--create"]):
            kind = f"{words[0].removeprefix('systemd-')}.d"
            status, _, errors = self._module.run_command([*words, str(OTHER[kind] / f"{USER}.conf")])
            if status:
                self._module.fail_json(msg=f"{words[0]} failed: {errors.strip()}")

    def _remove_strangers(self, before: Path, release: Path) -> None:
        for path in sorted(set(self._files(before)) - set(self._files(release))):
            self.did.append(f"removed {path}")
            if not self._check:
                path.unlink(missing_ok=True)

    def _restore(self, release: Path) -> None:
        places = Places(release)
        for kept, place in ((places.kept_settings, SETTINGS), (places.kept_units, UNITS)):
            wanted = {path.relative_to(kept): path for path in kept.rglob("*") if path.is_file()}
            for path in of_the_node(place):
                if path.relative_to(place) not in wanted and path not in self._files(release):
                    self._do_remove(path)
            for inside, source in sorted(wanted.items()):
                target = place / inside
                if target.is_file() and target.read_bytes() == source.read_bytes():
                    continue
                self.did.append(f"restored {target}")
                if not self._check:
                    target.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
                    status = source.stat()
                    replace(
                        target, source.read_bytes(), status.st_mode & 0o777, (status.st_uid, status.st_gid)
                    )

    def _do_remove(self, path: Path) -> None:
        self.did.append(f"removed {path}")
        if not self._check:
            path.unlink(missing_ok=True)

    def _link(self, link: Path, target: Path) -> None:
        if link.is_symlink() and link.readlink() == target:
            return
        self.did.append(f"{link} leads to {target}")
        if self._check:
            return
        link.parent.mkdir(mode=0o755, exist_ok=True)
        new = link.with_name(f".{link.name}.new")
        new.unlink(missing_ok=True)
        new.symlink_to(target)
        new.replace(link)


def of_the_node(place: Path) -> list[Path]:
    """What belongs to this node and may differ between releases: settings, or additions to units of appia and etcd."""
    if place == SETTINGS:
        return sorted(SETTINGS.glob("*.toml"))
    return sorted(
        path for path in UNITS.glob("*.service.d/*.conf") if path.parent.name.startswith(("appia-", "etcd."))
    )


def keep(release: Path) -> None:
    """Keep the settings and the additions to units with the release that they are of."""
    places = Places(release)
    shutil.rmtree(release / KEPT, ignore_errors=True)
    for kept, place in ((places.kept_settings, SETTINGS), (places.kept_units, UNITS)):
        kept.mkdir(mode=0o700, parents=True)
        for path in of_the_node(place):
            target = kept / path.relative_to(place)
            target.parent.mkdir(exist_ok=True)
            shutil.copy2(path, target)
            status = path.stat()
            os.chown(target, status.st_uid, status.st_gid)
    if (previous := _target(ROOT / "previous")) is not None:
        places.kept_previous.write_text(previous.name)


def replace(path: Path, content: bytes, mode: int, owner: tuple[int, int] = (0, 0)) -> None:
    """Write a file whole: whoever reads it sees the one before or this one."""
    new = path.with_name(f".{path.name}.new")
    new.unlink(missing_ok=True)  # of a run that was cut off
    handle = os.open(new, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)  # it may be a secret
    with os.fdopen(handle, "wb") as file:
        file.write(content)
        file.flush()
        os.chown(new, *owner)
        new.chmod(mode)
        os.fsync(handle)
    new.replace(path)


def wanted_at_boot() -> Path:
    """The link by which the target, and with it every service that is enabled, begins with the machine."""
    return UNITS / "multi-user.target.wants" / TARGET


def has_user() -> bool:
    """Whether the user of the services is there."""
    return any(entry.pw_name == USER for entry in pwd.getpwall())


def is_used(release: Path) -> bool:
    """Whether a process has files of a release open as memory: one of another site that was not begun anew since."""
    for maps in Path("/proc").glob("[0-9]*/maps"):
        try:
            if f"{release}/" in maps.read_text():
                return True
        except OSError:  # it ended meanwhile
            continue
    return False


def _within(release: Path) -> Path:
    return release.relative_to(ROOT)


def _target(link: Path) -> Path | None:
    return ROOT / link.readlink() if link.is_symlink() else None


def main() -> None:
    """Do what the task asks for."""
    os.umask(0o022)  # whatever that of who logged in is: services enter these folders as a user of their own
    module = AnsibleModule(
        argument_spec={
            "state": {
                "type": "str",
                "choices": ["current", "previous", "pruned", "absent"],
                "default": "current",
            },
            "version": {"type": "str"},
            "etcd": {"type": "bool", "default": False},
        },
        required_if=[("state", "current", ["version"])],
        supports_check_mode=True,
    )
    node, state = Node(module), module.params["state"]
    if state == "pruned":
        node.prune()
    elif state == "absent":
        node.leave()
    elif state == "current":
        release = ROOT / "releases" / module.params["version"]
        if not (release / "release.json").is_file() and not module.check_mode:
            module.fail_json(msg=f"The release {release} is not installed on this node.")
        node.use(release)
    elif (before := _target(ROOT / "previous")) is not None and (before / "release.json").is_file():
        node.go_back(before)
    else:
        module.fail_json(msg="There is no release before the one in use on this node: nothing to go back to.")
    module.exit_json(changed=bool(node.did), did=node.did)


if __name__ == "__main__":
    main()
