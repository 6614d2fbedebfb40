"""The process that sends messages through apprise: it hears of them on standard input, and tells how each went.

It reads one JSON list of parcels and prints one JSON object a line for each message, `{"id": ..., "why": ...}`; an
empty `why` says that it arrived. It keeps nothing and ends with the last message.
"""

from __future__ import annotations

import json
import logging
import os
import re
import sys
import threading
import urllib.parse
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from services.common.errors import AppiaError
from services.common.secret_files import read_secret_file

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from apprise import NotifyBase

MOST_URL_BYTES = 4096
CHANNELS_AT_ONCE = 8
NICE = 10
_LONGEST_WHY = 300
_HIDDEN = "***"
_BETWEEN = r"[/:@?&=+,; ]+"
_PUBLIC = {
    "localhost",
    "mailto",
    "mailtos",
    "json",
    "jsons",
    "http",
    "https",
    "format",
    "mode",
    "from",
    "name",
    "text",
}


class Heard(logging.Handler):
    """The last warning of each thread: apprise tells in its log why a message did not arrive."""

    def __init__(self) -> None:
        """Hear nothing yet."""
        super().__init__(logging.WARNING)
        self._last: dict[int, str] = {}

    def emit(self, record: logging.LogRecord) -> None:
        """Keep it."""
        self._last[threading.get_ident()] = record.getMessage()

    def take(self) -> str:
        """The last warning of this thread, once."""
        return self._last.pop(threading.get_ident(), "")


def address_of(url: str, url_file: Path | None) -> str:
    """The address of a channel. Blocks on the disk.

    Raises:
        AppiaError: its file cannot be used, or has not one line.
    """
    if url_file is None:
        return url
    try:
        lines = read_secret_file(url_file, MOST_URL_BYTES).decode().split()
    except ValueError:
        lines = []
    if len(lines) != 1:
        raise AppiaError(
            f"{url_file} should hold one address of apprise on one line, such as mailto://... (docs/alerts.md)"
        )
    return lines[0]


def service_of(url: str) -> NotifyBase:
    """What sends to an address: it keeps no files, fills in no templates, and follows no redirect with what it sends.

    Raises:
        AppiaError: it is no address that apprise knows.
    """
    from apprise import Apprise, AppriseAsset, PersistentStoreMode  # noqa: PLC0415 - large, and not for who imports this

    asset = AppriseAsset(
        app_id="appia",
        app_desc="appia",
        app_url="",
        async_mode=False,
        http_redirects=False,
        interpret_emojis=False,
        storage_mode=PersistentStoreMode.MEMORY,
        allow_templates=False,
    )
    service = Apprise.instantiate(_as_text(url), asset=asset, suppress_exceptions=True)
    if service is None:
        raise AppiaError(
            "its address is none that apprise knows, or lacks a part; https://github.com/caronc/apprise/wiki has all"
        )
    if getattr(service, "targets", None) == []:
        raise AppiaError(
            "its address names nobody to send to, or names them in a way that apprise does not take"
        )
    return service


def _as_text(url: str) -> str:
    """The address, for mail with plain text where it does not ask for another format."""
    scheme, _, rest = url.partition("://")
    if not scheme.lower().startswith("mailto") or re.search(r"[?&]format=", rest):
        return url
    return f"{url}{'&' if '?' in rest else '?'}format=text"


def send_one(url: str, letter: Mapping[str, Any], heard: Heard) -> str:
    """Send one message; gives why it did not arrive, or "". Nothing of the address is in it. Blocks."""
    from apprise import NotifyFormat, NotifyType  # noqa: PLC0415 - as above

    kinds = {"critical": NotifyType.FAILURE, "warning": NotifyType.WARNING, "info": NotifyType.INFO}
    kind = NotifyType.SUCCESS if letter["ends"] else kinds[letter["severity"]]
    heard.take()
    try:
        arrived = service_of(url).notify(
            body=letter["body"], title=letter["title"], notify_type=kind, body_format=NotifyFormat.TEXT
        )
    except AppiaError as error:
        return str(error)
    except Exception as error:  # noqa: BLE001 - a plugin of a hundred may raise anything
        return without_secrets(f"{type(error).__name__}: {error}", url)
    return "" if arrived else without_secrets(heard.take() or "the service did not take it", url)


def without_secrets(text: str, url: str) -> str:
    """A text in which no part of an address is left, on one line."""
    raw = re.split(_BETWEEN, url)
    decoded = [urllib.parse.unquote_plus(part) for part in raw]
    parts = {url, *raw, *decoded, *(piece for part in decoded for piece in re.split(_BETWEEN, part))}
    for part in sorted((p for p in parts if len(p) >= 3 and p.lower() not in _PUBLIC), key=len, reverse=True):
        text = re.sub(re.escape(part), _HIDDEN, text, flags=re.IGNORECASE)
    return " ".join("".join(char if char.isprintable() else " " for char in text).split())[:_LONGEST_WHY]


def send_parcel(parcel: Mapping[str, Any], heard: Heard) -> Iterator[tuple[str, str]]:
    """Send messages in order; gives the id of each that was tried, and why it did not arrive.

    The first that fails is the last, but one that may be overtaken; two failures in a row are the end in any case.
    """
    failures = 0
    url_file = None if parcel["url_file"] is None else Path(parcel["url_file"])
    for letter in parcel["letters"]:
        try:
            why = send_one(address_of(parcel["url"], url_file), letter, heard)
        except AppiaError as error:
            why = str(error)
        yield letter["id"], why
        failures = failures + 1 if why else 0
        if why and (failures > 1 or letter["id"] not in parcel["overtakable"]):
            return


def main() -> None:
    """Send what standard input says."""
    os.nice(NICE)
    parcels = json.loads(sys.stdin.buffer.read())
    heard, lock = Heard(), threading.Lock()
    logger = logging.getLogger("apprise")
    logger.addHandler(heard)
    logger.propagate = False

    def deliver(parcel: Mapping[str, Any]) -> None:
        for letter_id, why in send_parcel(parcel, heard):
            with lock:
                sys.stdout.write(json.dumps({"id": letter_id, "why": why}) + "\n")
                sys.stdout.flush()

    with ThreadPoolExecutor(CHANNELS_AT_ONCE) as threads:
        for done in [threads.submit(deliver, parcel) for parcel in parcels]:
            done.result()


if __name__ == "__main__":
    main()
