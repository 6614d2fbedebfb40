"""What analysts said as labels: a false positive is benign, a true positive keeps its class."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import numpy as np

from services.common.events.known_names import BENIGN_WORDS
from services.common.feedback.remark import Verdict

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from services.common.days.view import SegmentView

    Verdicts = Mapping[str, tuple[Verdict, ...]]
    """By event id the verdicts that stand, the newest first, as `feedback.book.Page.verdicts` gives them."""

BENIGN = "BENIGN"
"""The class of false positives on days that have no benign class of their own."""


@dataclass(frozen=True)
class Judged:
    """How many events of some days analysts judged.

    Attributes:
        benign: false positives, whose class is benign whatever their label says.
        confirmed: true positives, which keep their class.
        left_out: true positives that are labelled benign: what they are nobody said, so they have no class.
        disputed: of all these, how many analysts disagree about; the newest verdict counts.
    """

    benign: int = 0
    confirmed: int = 0
    left_out: int = 0
    disputed: int = 0

    def __bool__(self) -> bool:
        return bool(self.benign or self.confirmed or self.left_out)

    def to_json(self) -> dict[str, int]:
        """For programs."""
        return asdict(self)


def judge(
    labels: NDArray[np.str_], views: Sequence[SegmentView], verdicts: Verdicts
) -> tuple[NDArray[np.str_], Judged]:
    """The classes of all events of some days, one day after the other, with what analysts said. Blocks for look-ups.

    Args:
        labels: classes as the events have them, text (n,); empty where there is none. Not changed.
        views: the days.
        verdicts: what stands.
    """
    newest = {event_id: said[0] for event_id, said in verdicts.items() if said}
    rows, event_ids = _rows(views, list(newest))
    if not event_ids:
        return labels, Judged()
    is_benign = np.isin(np.char.lower(labels[rows]), BENIGN_WORDS)
    is_false = np.array([newest[event_id] is Verdict.FALSE_POSITIVE for event_id in event_ids])
    benign = _benign_class(labels)
    judged = labels.astype(np.result_type(labels, np.array(benign)))
    judged[rows[is_false & ~is_benign]] = benign
    judged[rows[~is_false & is_benign]] = ""
    counts = Judged(
        benign=int(is_false.sum()),
        confirmed=int((~is_false & ~is_benign).sum()),
        left_out=int((~is_false & is_benign).sum()),
        disputed=sum(len(set(verdicts[event_id])) > 1 for event_id in event_ids),
    )
    return judged, counts


def _rows(views: Sequence[SegmentView], event_ids: list[str]) -> tuple[NDArray[np.int64], list[str]]:
    """Where the events with these ids lie among those of all days, int64 (m,), and the id of each."""
    first, rows, found = 0, [], []
    for view in views:
        for event_id, row in view.events.find_many(event_ids):
            rows.append(first + row)
            found.append(event_id)
        first += view.rows
    return np.array(rows, np.int64), found


def _benign_class(labels: NDArray[np.str_]) -> str:
    """What these days call benign traffic: the most frequent of their names for it."""
    names, counts = np.unique(labels, return_counts=True)
    called = Counter(
        {
            str(name): int(count)
            for name, count in zip(names, counts, strict=True)
            if name.lower() in BENIGN_WORDS
        }
    )
    return called.most_common(1)[0][0] if called else BENIGN
