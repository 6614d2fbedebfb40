"""`appia export-case`: writes events, and all that shows what they are, into one signed file to hand over."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from services.cli.ask import Asking  # noqa: TC001 - typer reads it when a command is made
from services.cli.options import grouped
from services.cli.output import counted, print_json, print_lines
from services.cli.storage_key import StorageKeyOption, log_keys
from services.common.errors import AppiaError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from services.common.cases.evidence import Evidence
    from services.common.cases.listing import Listing
    from services.common.cases.writing import Answers
    from services.common.chain.keys import SigningKey

_MOST_NOTE = 4096
_MOST_REMARKS = 1000


@dataclass(frozen=True)
class Bundle:
    """Options of what goes into a case."""

    out: Annotated[Path, typer.Option(metavar="FILE", help="Where to write the case, FILE.zip. No default.")]
    k: Annotated[
        int, typer.Option("-k", metavar="N", min=1, max=50, help="How many patterns like each event at most.")
    ] = 10
    note: Annotated[
        str,
        typer.Option(metavar="TEXT", help="What the case is about; stands at its top.", show_default="none"),
    ] = ""
    keys: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Folder of keys whose signing key signs the case; appia keys signing makes one.",
            show_default="keys of the state directory",
        ),
    ] = None
    storage_key: StorageKeyOption = None
    hold: Annotated[
        bool,
        typer.Option(
            "--hold", help="Hold the days of the events, for a case of the file's name. Default: off."
        ),
    ] = False


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command("export-case", epilog="Example: appia export-case EVENT_ID --out case.zip --state ~/appia")(
        grouped(export_case)
    )


def export_case(
    *,
    event_ids: Annotated[
        list[str],
        typer.Argument(
            metavar="EVENT_ID...", help="Ids of the events, at most 100. No default.", show_default=False
        ),
    ],
    bundle: Bundle,
    asking: Asking,
) -> None:
    """Write events into one signed file to hand over.

    Each event as its sensor sent it and in plain JSON, what is most like it and why, what analysts said, receipts, the
    manifests of the days and the links that signed them, and a page for people that needs no network. Replicas are
    asked; manifests and original bytes come from the state directory. What cannot be had is named in the case.
    """
    key = _checked(event_ids, bundle, asking)
    answers = _ask_all(list(dict.fromkeys(event_ids)), bundle.k, asking)
    with _evidence(asking, bundle) as evidence:
        listing, data = _made(answers, evidence, key, bundle.note)
    _write(bundle.out, data)
    held = _held(listing, bundle, asking.state)
    if asking.as_json:
        facts = {**_facts(listing), "file": str(bundle.out), "bytes": len(data), "key": key.public.id}
        print_json({**facts, "held": held})
        return
    print_lines(
        f"Wrote {bundle.out}: {counted(len(listing.events), 'event')}, {counted(len(listing.files), 'file')}, "
        f"signed with the key {key.public.id}.",
        *(f"  not in it: {one.what}: {one.why}" for one in listing.left_out),
        *(f"  held: {day}, until `appia hold {day} --release`" for day in held),
    )


def _checked(event_ids: Sequence[str], bundle: Bundle, asking: Asking) -> SigningKey:
    """The key that signs, after looking at what can be said before anybody is asked."""
    from services.common.cases.listing import MOST_EVENTS  # noqa: PLC0415 - `appia --help` starts quicker without it
    from services.common.chain.keys import read_signing_ring  # noqa: PLC0415 - as above

    if len(set(event_ids)) > MOST_EVENTS:
        raise UsageError(f"a case has at most {MOST_EVENTS} events, and these are {len(set(event_ids)):,}")
    if len(bundle.note.encode("utf-8", "surrogateescape")) > _MOST_NOTE:
        raise UsageError(f"--note takes at most {_MOST_NOTE:,} bytes of text")
    if os.path.lexists(bundle.out):
        raise UsageError(f"{bundle.out} exists and is not overwritten: choose another name")
    if bundle.hold and asking.state is None:
        raise UsageError("--hold needs --state: the ingester that runs there holds the days")
    if not bundle.out.absolute().parent.is_dir():
        raise UsageError(f"there is no folder {bundle.out.absolute().parent}: make it first")
    folder = bundle.keys or _keys_of(asking.state)
    ring = read_signing_ring(folder) if folder is not None else None
    if ring is None:
        raise UsageError(
            "there is no key to sign the case with: give --keys FOLDER, where `appia keys signing FOLDER` made one"
        )
    return ring.active


def _keys_of(state: Path | None) -> Path | None:
    """The keys of a state directory: those of its running stack, which may have them elsewhere."""
    from services.cli.running import read_running  # noqa: PLC0415 - as above
    from services.common.days.names import StateNames  # noqa: PLC0415 - as above

    if state is None:
        return None
    with contextlib.suppress(AppiaError):
        return Path(read_running(state).keys)
    return StateNames(state).keys


def _ask_all(event_ids: Sequence[str], k: int, asking: Asking) -> list[Answers]:
    """Ask about all events as of one moment: that of the first answer, unless one was given."""
    answers: list[Answers] = []
    for event_id in event_ids:
        answers.append(_ask(event_id, k, asking))
        asking = replace(asking, as_of=answers[0].get["receipt"]["as_of"])
    return answers


def _ask(event_id: str, k: int, asking: Asking) -> Answers:
    from services.cli.ask_explain import similar_explained  # noqa: PLC0415 - as above
    from services.cli.asking import ask  # noqa: PLC0415 - as above
    from services.common.cases.writing import Answers  # noqa: PLC0415 - as above
    from services.common.rpc_client import RpcRefused  # noqa: PLC0415 - as above

    found = ask(asking, "get", {"event_id": event_id})
    asking = replace(asking, as_of=found["receipt"]["as_of"])
    questions: dict[str, Callable[[], dict[str, Any]]] = {
        "similar": lambda: similar_explained(
            asking, {"event_id": event_id, "k": k, "filters": {}, "index": "fused"}
        ),
        "feedback": lambda: ask(asking, "feedback", {"event_id": event_id, "limit": _MOST_REMARKS}),
    }
    given: dict[str, Mapping[str, Any] | None] = dict.fromkeys(questions)
    refused: dict[str, str] = {}
    for name, question in questions.items():
        try:
            given[name] = question()
        except (RpcRefused, UsageError) as error:  # such as a key without the right to that question
            refused[name] = f"a replica refused: {error}"
    return Answers(found, given["similar"], given["feedback"], refused)


@contextlib.contextmanager
def _evidence(asking: Asking, bundle: Bundle) -> Iterator[Evidence | None]:
    from services.common.cases.evidence import Evidence  # noqa: PLC0415 - as above
    from services.common.days.layout import check_layout  # noqa: PLC0415 - as above
    from services.common.days.names import StateNames  # noqa: PLC0415 - as above

    if asking.state is None:
        yield None
        return
    names = StateNames(asking.state)
    check_layout(names)
    with Evidence(names, log_keys(bundle.storage_key, names)) as evidence:
        yield evidence


def _made(
    answers: Sequence[Answers], evidence: Evidence | None, key: SigningKey, note: str
) -> tuple[Listing, bytes]:
    from datetime import UTC, datetime  # noqa: PLC0415 - as above
    from importlib.metadata import version  # noqa: PLC0415 - as above

    from services.common.cases.writing import Front, case_of  # noqa: PLC0415 - as above

    created = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    front = Front(created, version("appia"), note, answers[0].get["receipt"]["as_of"])
    return case_of(front, answers, evidence, key)


def _write(path: Path, data: bytes) -> None:
    from services.common.durable import Disk  # noqa: PLC0415 - as above

    try:
        Disk().write_file(path.absolute(), data)
    except OSError as error:
        raise AppiaError(f"{path} could not be written ({error.strerror})") from None


def _held(listing: Listing, bundle: Bundle, state: Path | None) -> list[str]:
    """Hold the days of the events where that is wanted; gives them."""
    if not bundle.hold:
        return []
    from services.cli.hold import hold_case  # noqa: PLC0415 - as above

    return hold_case(state, sorted({event.day for event in listing.events}), bundle.out.stem, bundle.note)


def _facts(listing: Listing) -> dict[str, Any]:
    return {
        "events": [vars(event) for event in listing.events],
        "files": sorted(listing.files),
        "left_out": [vars(one) for one in listing.left_out],
        "as_of": listing.as_of,
        "head": listing.head,
    }
