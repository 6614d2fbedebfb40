"""Every name below the state directory: built here and parsed here, nowhere else.

STATE/
VERSION                         the layout's version
days/2026-01-22/open/000001/    a segment of the day being written (see `OpenNames`)
days/2026-01-22/sealed/000001/  a generation: chunk/ and one folder per index (see `GenerationNames`)
days/2026-01-22/sealed/CURRENT  the generation that is served
dead-letter/                    what could not be read, with the reason
feedback/feedback-000001.log    what analysts said about events
decisions/decisions-000001.log  what firewalls decided about addresses
chain/links.jsonl               what each sealed day is made of, signed
retention.json                  which days are held, which are going, and which went
mirror.json                     of a copy: where it is from, and which days it does not hold
models/<name>/<sha256>/         ONNX files and manifests
cache/                          narrative vectors, by model
values/                         sealed values that configure services, where the registry is in files
registry/  keys/  run/  inbox/  file registry, secrets, settings and logs of a running stack, watched folder
endpoints.json                  where the running stack listens
"""

from __future__ import annotations

import errno
import re
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING

from services.common.days.log_files import LogFiles
from services.common.errors import AppiaError, UsageError

if TYPE_CHECKING:
    from pathlib import Path

EVENT_INDICES = ("attack", "semantic", "temporal")  # a row is an event
ENTITY = "entity"  # a row is a host of the day
INDICES = (*EVENT_INDICES, ENTITY)
NS_PER_DAY = 86_400_000_000_000

NO_FILE = frozenset({errno.EISDIR, errno.ENOTDIR, errno.ELOOP})
"""What the system says where something else stands in the place of a file."""
_DAY = re.compile(r"\d{4}-\d{2}-\d{2}")
_NUMBER = re.compile(r"\d{6}")
_LOG = re.compile(r"events-(\d{6})\.log")


def day_of(time_ns: int) -> str:
    """The UTC day of a time in nanoseconds since 1970, as `YYYY-MM-DD`."""
    return datetime.fromtimestamp(time_ns // 1_000_000_000, UTC).strftime("%Y-%m-%d")


def day_start_ns(day: str) -> int:
    """The first nanosecond of a UTC day."""
    return int(datetime.fromisoformat(parse_day(day)).replace(tzinfo=UTC).timestamp()) * 1_000_000_000


def parse_day(text: str) -> str:
    """Check a day given by a user.

    Raises:
        UsageError: `text` is not a calendar day.
    """
    try:
        if _DAY.fullmatch(text):
            return date.fromisoformat(text).isoformat()
    except ValueError:
        pass
    raise UsageError(f"{text!r} is not a day; write it as YYYY-MM-DD, for example 2026-01-22")


def number_name(number: int) -> str:
    """A segment, generation or version number as a folder name."""
    return f"{number:06d}"


def parse_number(name: str) -> int | None:
    """The number of a folder name; None for a foreign name."""
    return int(name) if _NUMBER.fullmatch(name) else None


def numbered(folder: Path) -> list[int]:
    """Numbers of the numbered folders in `folder`, ascending; none where it does not exist."""
    if not folder.is_dir():
        return []
    found = (parse_number(entry.name) for entry in folder.iterdir())
    return sorted(number for number in found if number is not None)


@dataclass(frozen=True)
class OpenNames:
    """Files of one segment of an open day."""

    folder: Path

    @property
    def number(self) -> int:
        """The segment's number."""
        return int(self.folder.name)

    @property
    def day(self) -> DayNames:
        """Folders of the day that the segment is of."""
        return DayNames(self.folder.parent.parent)

    @property
    def settled(self) -> Path:
        """How far the vectors of hours are right: rows of the segment, and rows of the day before it."""
        return self.folder / "temporal.settled"

    def log(self, number: int) -> Path:
        """The n-th log file; a restart always opens a new one."""
        return self.folder / f"events-{number:06d}.log"

    def logs(self) -> list[int]:
        """Numbers of the log files there are, ascending."""
        if not self.folder.is_dir():
            return []
        found = (_LOG.fullmatch(entry.name) for entry in self.folder.iterdir())
        return sorted(int(match[1]) for match in found if match)

    @property
    def columns(self) -> Path:
        """Fixed-width rows."""
        return self.folder / "columns.bin"

    @property
    def tags(self) -> Path:
        """For each row the number of its tags; absent in a segment of an older release until it is written on."""
        return self.folder / "tags.bin"

    @property
    def symbols(self) -> Path:
        """Texts that the columns refer to by number."""
        return self.folder / "symbols.bin"

    @property
    def metadata(self) -> Path:
        """SQLite database of the events."""
        return self.folder / "metadata.db"

    def vectors(self, index: str) -> Path:
        """Distinct vectors of an index, float32."""
        return self.folder / f"{index}.f32"

    def codes(self, index: str) -> Path:
        """For each row the number of its vector, uint32."""
        return self.folder / f"{index}.u32"

    def rewritten(self, index: str) -> Path:
        """Numbers of the vectors that were replaced in place, in the order in which that happened, uint32."""
        return self.folder / f"{index}.rewritten"

    def texts(self, index: str) -> Path:
        """For an index over distinct texts, the text of each vector."""
        return self.folder / f"{index}.texts"

    def model(self, index: str) -> Path:
        """Which model made the vectors of an index."""
        return self.folder / f"{index}.json"

    @property
    def addresses(self) -> Path:
        """Addresses that the columns refer to by number."""
        return self.folder / "addresses.bin"

    def counts(self, name: str) -> Path:
        """Committed rows and items of an index, or of the metadata."""
        return self.folder / f"{name}.count"


@dataclass(frozen=True)
class GenerationNames:
    """Files of one sealed generation of a day."""

    folder: Path

    @property
    def number(self) -> int:
        """The generation's number."""
        return int(self.folder.name)

    @property
    def chunk(self) -> Path:
        """Folder of the events, columns, symbols, identities and metadata."""
        return self.folder / "chunk"

    def index(self, name: str) -> Path:
        """Folder with the versions of an index."""
        return self.folder / name

    def index_version(self, name: str, version: int) -> Path:
        """Folder of one version of an index."""
        return self.folder / name / number_name(version)

    def index_work(self, name: str) -> Path:
        """Folder in which another version of an index is being made; it outlives who makes it."""
        return self.folder / name / "reindex"

    def index_current(self, name: str) -> Path:
        """Pointer to the version of an index that is served."""
        return self.folder / name / "CURRENT"


@dataclass(frozen=True)
class DayNames:
    """Folders of one day."""

    folder: Path

    @property
    def day(self) -> str:
        """The day, `YYYY-MM-DD`."""
        return self.folder.name

    @property
    def open_folder(self) -> Path:
        """Folder of the open segments."""
        return self.folder / "open"

    def segment(self, number: int) -> OpenNames:
        """One open segment."""
        return OpenNames(self.open_folder / number_name(number))

    def segments(self) -> list[int]:
        """Numbers of the open segments there are."""
        return numbered(self.open_folder)

    @property
    def sealed_folder(self) -> Path:
        """Folder of the generations."""
        return self.folder / "sealed"

    def generation(self, number: int) -> GenerationNames:
        """One sealed generation."""
        return GenerationNames(self.sealed_folder / number_name(number))

    def generations(self) -> list[int]:
        """Numbers of the generations there are."""
        return numbered(self.sealed_folder)

    @property
    def staging(self) -> Path:
        """Where a generation is built before it is published."""
        return self.sealed_folder / "staging"

    def pulled(self, number: int) -> Path:
        """Where a generation of another host is gathered before it is published here."""
        return self.sealed_folder / f"staging-{number_name(number)}"

    @property
    def current(self) -> Path:
        """Pointer to the generation that is served."""
        return self.sealed_folder / "CURRENT"


@dataclass(frozen=True)
class StateNames:
    """The state directory."""

    root: Path

    def day(self, day: str) -> DayNames:
        """Folders of a day."""
        return DayNames(self.root / "days" / day)

    def days(self) -> list[str]:
        """Days that have a folder, ascending."""
        folder = self.root / "days"
        if not folder.is_dir():
            return []
        return sorted(entry.name for entry in folder.iterdir() if _DAY.fullmatch(entry.name))

    @property
    def version(self) -> Path:
        """File with the layout's version."""
        return self.root / "VERSION"

    @property
    def lock(self) -> Path:
        """Locked by the one writer."""
        return self.root / "writer.lock"

    @property
    def writer(self) -> Path:
        """The epoch of the one writer."""
        return self.root / "writer.json"

    @property
    def dead_letter(self) -> Path:
        """Folder of what could not be read."""
        return self.root / "dead-letter"

    @property
    def feedback(self) -> Path:
        """Folder of what analysts said about events."""
        return self.root / "feedback"

    @property
    def feedback_files(self) -> LogFiles:
        """The log files of feedback."""
        return LogFiles(self.feedback, "feedback")

    def feedback_log(self, number: int) -> Path:
        """The n-th log file of feedback; who writes always begins a new one."""
        return self.feedback_files.path(number)

    def feedback_logs(self) -> list[int]:
        """Numbers of the log files of feedback there are, ascending."""
        return self.feedback_files.numbers()

    @property
    def decisions(self) -> LogFiles:
        """What firewalls decided about addresses."""
        return LogFiles(self.root / "decisions", "decisions")

    @property
    def values(self) -> Path:
        """Folder of sealed values that configure services, where the registry is in files."""
        return self.root / "values"

    @property
    def links(self) -> Path:
        """The signed chain of days."""
        return self.root / "chain" / "links.jsonl"

    @property
    def retention(self) -> Path:
        """Which days are held, which are going, and which went."""
        return self.root / "retention.json"

    @property
    def mirror(self) -> Path:
        """Of a copy: where it is from, and which days of the source are not held here."""
        return self.root / "mirror.json"

    @property
    def models(self) -> Path:
        """Model store."""
        return self.root / "models"

    @property
    def cache(self) -> Path:
        """Narrative vectors by model."""
        return self.root / "cache"

    @property
    def registry(self) -> Path:
        """File registry."""
        return self.root / "registry"

    @property
    def keys(self) -> Path:
        """Secrets."""
        return self.root / "keys"

    @property
    def run(self) -> Path:
        """Settings and logs of a running stack, and small state such as sender boots."""
        return self.root / "run"

    @property
    def inbox(self) -> Path:
        """Folder watched for artifacts unless settings name another."""
        return self.root / "inbox"

    @property
    def endpoints(self) -> Path:
        """Where the running stack listens."""
        return self.root / "endpoints.json"


def read_pointer(path: Path) -> int | None:
    """The number in a CURRENT file; None where there is none.

    Raises:
        AppiaError: the file holds something else.
    """
    try:
        text = path.read_text("ascii", errors="replace").strip()
    except FileNotFoundError:
        return None
    except OSError as error:
        # Where a folder of the day is a file, the day is damaged; where the folder of all days is, the disk has gone.
        all_gone = error.errno == errno.ENOTDIR and not any(folder.is_file() for folder in path.parents[:2])
        if error.errno not in NO_FILE or all_gone:
            raise
        raise AppiaError(f"{path} is no file ({error.strerror}): `appia repair` mends it") from None
    number = parse_number(text)
    if number is None:
        raise AppiaError(
            f"{path} should name a numbered folder and holds {text[:40]!r}: `appia repair` mends it"
        )
    return number
