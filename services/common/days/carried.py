"""What of a state directory replicas on other hosts need: the files that an origin serves and a mirror keeps.

Paths are relative to the state directory, joined by "/"; "" is the directory itself. The rules name what is carried, so
that secrets, settings, locks, what is being made (`staging`, `reindex`, `.staged`) and what is going (`.going`) never
are, nor anything that a later release adds. The SQLite database of an open segment is not: it changes in place, and is
made from the log. That of a sealed day never changes and is carried.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from services.common.days.names import INDICES

_DAY, _NUMBER, _SHA256 = r"\d{4}-\d{2}-\d{2}", r"\d{6}", r"[0-9a-f]{64}"
_NAME = r"(?!metadata\.db-)[A-Za-z0-9][A-Za-z0-9._-]{0,99}(?<!\.lock)"
_INDEX = "|".join(INDICES)
_OPEN = rf"days/{_DAY}/open"
_SEALED = rf"days/{_DAY}/sealed"
_FILES = re.compile(
    "|".join(
        (
            r"VERSION",
            r"retention\.json",
            r"chain/links\.jsonl",
            rf"feedback/feedback-{_NUMBER}\.log",
            rf"decisions/decisions-{_NUMBER}\.log",
            rf"models/{_NAME}/ACTIVE",
            rf"models/{_NAME}/{_SHA256}/{_NAME}",
            rf"{_OPEN}/{_NUMBER}/(?!metadata\.db){_NAME}",
            rf"{_SEALED}/CURRENT",
            rf"{_SEALED}/{_NUMBER}/chunk/{_NAME}",
            rf"{_SEALED}/{_NUMBER}/(?:{_INDEX})/(?:CURRENT|{_NUMBER}/{_NAME})",
        )
    ),
    re.ASCII,
)
_FOLDERS = re.compile(
    "|".join(
        (
            r"(?:chain|feedback|decisions|models|days)?",
            rf"models/{_NAME}(?:/{_SHA256})?",
            rf"days/{_DAY}",
            rf"{_OPEN}(?:/{_NUMBER})?",
            rf"{_SEALED}(?:/{_NUMBER}(?:/chunk|/(?:{_INDEX})(?:/{_NUMBER})?)?)?",
        )
    ),
    re.ASCII,
)
_OF_ALL_DAYS = ("feedback", "decisions")


@dataclass(frozen=True)
class Carried:
    """A path that is carried, whether or not anything is there.

    Attributes:
        is_folder: a folder; otherwise a file.
        day: the one day that it is of, YYYY-MM-DD; empty where it is of none.
        of_all_days: it speaks of events of any day, as remarks do.
    """

    is_folder: bool
    day: str = ""
    of_all_days: bool = False


def carried(path: str) -> Carried | None:
    """What a path below the state directory is; None where it is not carried. Looks at no file."""
    is_folder = _FOLDERS.fullmatch(path) is not None
    if not is_folder and _FILES.fullmatch(path) is None:
        return None
    top, _, rest = path.partition("/")
    day = rest.partition("/")[0] if top == "days" else ""
    return Carried(is_folder, day, top in _OF_ALL_DAYS)
