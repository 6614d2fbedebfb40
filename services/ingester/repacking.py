"""Serves a smaller form of an index of a sealed day; the whole vectors go when no replica maps them any more."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, get_args

from services.common.chain.link import SERVED
from services.common.days.holds import Book, Going
from services.common.days.leases import alone_with
from services.common.days.linking import Versioned, link_index
from services.common.days.manifest import read_manifest
from services.common.days.names import EVENT_INDICES, numbered, read_pointer
from services.common.days.policies import Compression
from services.common.days.stored import FULL, is_replaced
from services.common.days.switching import activate
from services.common.days.versions import served_generation, versions_of
from services.common.errors import AppiaError, UsageError
from services.ingester.jobs import Kind
from services.ingester.jobs_versions import tell_end

if TYPE_CHECKING:
    from collections.abc import Mapping

    from services.common.chain.store import Links
    from services.common.days.names import DayNames, GenerationNames, StateNames
    from services.ingester.jobs import Job
    from services.ingester.jobs_process import Worker
    from services.ingester.sealing_jobs import JobTools

REPACK = "repack"
SMALLER = tuple(form for form in get_args(Compression) if form != FULL)


class Repacking:
    """Makes indices smaller. The check is for any thread, all else for that of the jobs."""

    def __init__(self, state: StateNames, tools: JobTools, worker: Worker) -> None:
        """Do nothing yet."""
        self._state, self._tools, self._worker = state, tools, worker

    def kind(self) -> Kind:
        """Making smaller, as a kind of work, which yields to the intake."""
        return Kind(REPACK, self._check, self._work, tell_end(self._tools.report), yields=True)

    def _check(self, day: str, args: Mapping[str, Any]) -> dict[str, Any]:
        index, form = str(args.get("index", "")), str(args.get("form", ""))
        if index not in EVENT_INDICES:
            raise UsageError(f"Only the indices {', '.join(EVENT_INDICES)} have smaller forms.")
        if form not in SMALLER:
            raise UsageError(f"There is no smaller form {form[:80]!r}; there are: {', '.join(SMALLER)}.")
        self._refuse_held(day)
        served_generation(self._state.day(day))
        return {"index": index, "form": form}

    def _refuse_held(self, day: str) -> None:
        _unheld(self._tools.keeper.book(), day)

    def _work(self, job: Job) -> None:
        self._refuse_held(job.day)
        self._worker.run(job, "--repack", job.index, "--form", str(job.args["form"]))
        self._refuse_held(job.day)  # by somebody who came while it was made
        names = self._state.day(job.day)
        generation, links = served_generation(names), self._tools.signing.links()
        found = versions_of(generation, job.index)
        if found.served is not None and found.waiting is not None:
            waiting = read_manifest(generation.index_version(job.index, found.waiting))
            if is_replaced(generation, job.index, found.served, waiting):
                activate(names, job.index, self._tools.disk, links)
        job.report = {**(job.report or {}), "waits": self._let_go(names, job.index)}

    def _let_go(self, names: DayNames, index: str) -> str:
        """Have the whole vectors go that a smaller form replaced; gives what that waits for, empty for nothing."""
        generation = served_generation(names)
        found = versions_of(generation, index)
        if found.served is None or found.before is None:
            return ""
        served = read_manifest(generation.index_version(index, found.served))
        if not is_replaced(generation, index, found.before, served):
            return ""
        going = Going(names.day, f"{generation.folder.name}/{index}/{found.before:06d}")
        self._tools.keeper.change(lambda book: _unheld(book, names.day).with_going(going))
        return self.finish(going)

    def finish(self, going: Going) -> str:
        """Let a version go that the book names; gives what it waits for, empty where it is gone.

        It stays where it is served again, because somebody rolled back, and where its day is held by now.

        Raises:
            AppiaError: a pointer, a manifest, the book or the chain is damaged.
            OSError: it could not be deleted.
        """
        waits = ""

        def settle(book: Book) -> Book:  # with the book locked: nobody holds the day while its files go
            nonlocal waits
            waits = "" if book.holds_of(going.day) else self._delete(going)
            return book if waits else book.without_going(going)

        self._tools.keeper.change(settle)
        return waits

    def _delete(self, going: Going) -> str:
        """Delete a version that is not served any more; gives what that waits for, empty where it is done."""
        number, index, version = going.part.split("/")
        names = self._state.day(going.day)
        generation = names.generation(int(number))
        served = read_pointer(generation.index_current(index))
        if served is not None and served > int(version):
            _sign(self._tools.signing.links(), names, generation, (index, served, int(version)))
            folder = generation.index_version(index, int(version))
            with alone_with(folder) as is_alone:
                if not is_alone:
                    return "a replica still reads it"
                if folder.exists():
                    self._tools.disk.remove(folder)
            self._tools.disk.clear_going(generation.index(index))
        return ""


def _unheld(book: Book, day: str) -> Book:
    """The book, in which nobody holds the day; raises `AppiaError` where somebody does."""
    if book.holds_of(day):
        raise AppiaError(f"Day {day} is held, so nothing in it is changed.")
    return book


def _sign(links: Links, names: DayNames, generation: GenerationNames, what: tuple[str, int, int]) -> None:
    """Sign that a version is no longer a part of its day, where the last link says that it is."""
    index, served, gone = what
    state = links.state_of(names.day)
    signed = None if state is None else state.generations.get(generation.number)
    if signed is None or index not in signed.indices or gone not in signed.indices[index].versions:
        return
    stay = {number for number in numbered(generation.index(index)) if number != gone}
    link_index(links, names, SERVED, Versioned(index, served, stay))
