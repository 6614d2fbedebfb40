"""Until when the certificates of the registry are good, so that nothing ends because a date has passed.

A child looks once an hour: at the files that health itself uses, and at what each member of etcd presents.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from services.common.registry.etcd_url import is_etcd_url
from services.health.children import Task
from services.health.observation import Certificate

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from services.health.children import Children

MODULE = "services.common.site.certificates_process"
EVERY_S, AGAIN_S = 3600.0, 60.0
"""Once an hour, and after a minute where a look failed."""
MOST = 64
_NS = 1_000_000_000


@dataclass(frozen=True)
class Registered:
    """The registry as the settings name it."""

    url: str
    keys: Path | None

    @property
    def words(self) -> Sequence[str]:
        """What the child is told."""
        return (self.url, *(() if self.keys is None else ("--keys", str(self.keys))))


class CertificateLook:
    """What is known of certificates. For one thread; nothing blocks."""

    def __init__(self, registry: Registered, children: Children, clock: Callable[[], int]) -> None:
        """Know nothing yet; `clock` gives nanoseconds since 1970."""
        self._registry = registry
        self._children = children
        self._clock = clock
        self._found: dict[str, Certificate] = {}
        self._looked_ns: int | None = None
        self._wait_s = EVERY_S
        self._known = not is_etcd_url(registry.url)

    def look(self) -> None:
        """Let a child look where that is due; a registry of files has no certificates."""
        now_ns = self._clock()
        is_due = self._looked_ns is None or abs(now_ns - self._looked_ns) / _NS >= self._wait_s
        if is_etcd_url(self._registry.url) and is_due:
            self._looked_ns = now_ns
            task = Task("certificates", MODULE, self._registry.words, self._take, self._ended)
            self._children.ask(task)

    def seen(self) -> tuple[Certificate, ...] | None:
        """As they were found last, by subject; None before the first look. A member that is away stays as it was."""
        return tuple(self._found[subject] for subject in sorted(self._found)) if self._known else None

    def _take(self, said: Mapping[str, Any]) -> None:
        if "subject" in said and (said["subject"] in self._found or len(self._found) < MOST):
            self._found[said["subject"]] = Certificate(str(said["subject"]), int(said["until_s"] * _NS))

    def _ended(self, well: bool) -> None:  # noqa: FBT001 - what a task takes
        self._known = self._known or well
        self._wait_s = EVERY_S if well else AGAIN_S
