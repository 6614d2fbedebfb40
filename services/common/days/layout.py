"""Whether a folder is a state directory that this release can work with: the number in `<state>/VERSION`."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from services.common.errors import AppiaError
from services.common.private_folders import check_private, make_private

if TYPE_CHECKING:
    from services.common.days.names import StateNames
    from services.common.durable import Disk

LAYOUT_VERSION = 1


def claim_layout(state: StateNames, disk: Disk) -> None:
    """Create the state directory, or check that this release can work with it, and that it is closed to others.

    Raises:
        AppiaError: it was written by a newer release, is no state directory, or is open to others.
    """
    there = next(place for place in (state.root, *state.root.parents) if place.exists())
    if not there.is_dir():
        raise AppiaError(f"{there} is not a directory: name another with --state")
    if _is_claimed(state):
        check_layout(state)
        check_private(state.root)
        return
    if (state.root / "days").exists():
        raise AppiaError(
            f"{state.root} has days but no VERSION file: it is damaged or not a state directory of appia"
        )
    disk.make_folder(state.root)
    make_private(disk, state.root)
    disk.write_file(state.version, f"{LAYOUT_VERSION}\n".encode())


def check_layout(state: StateNames) -> None:
    """Check that `state` is a state directory that this release can read.

    Raises:
        AppiaError: it is absent, damaged or of a newer release.
    """
    try:
        text = state.version.read_text("ascii", errors="replace").strip()
    except (FileNotFoundError, NotADirectoryError):
        raise AppiaError(
            f"{state.root} is not a state directory: start one with `appia up --state {state.root}`"
        ) from None
    except PermissionError:
        raise _not_ours(state) from None
    if not text.isdecimal():
        raise AppiaError(f"{state.version} should hold a number and holds {text[:40]!r}: it is damaged")
    if int(text) > LAYOUT_VERSION:
        raise AppiaError(
            f"{state.root} has layout version {text}, this release reads up to {LAYOUT_VERSION}: install a newer appia"
        )


def _is_claimed(state: StateNames) -> bool:
    try:
        return state.version.exists()
    except PermissionError:
        raise _not_ours(state) from None


def _not_ours(state: StateNames) -> AppiaError:
    """Such as after somebody restored it as root."""
    user = os.geteuid()
    return AppiaError(
        f"{state.root} may not be entered by this user ({user}): run `chown -R {user} {state.root}` if it is meant to "
        "be used here."
    )
