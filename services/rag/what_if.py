"""Tells what would have to be different about an event for its neighbours to be benign: the answer's `what_if`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from services.common.errors import AppiaError
from services.common.events.feature_list import FEATURES
from services.common.rpc import RequestError
from services.rag.attack_space import ATTACK, AttackSpace
from services.rag.benign import are_benign
from services.rag.counterfactual import NEIGHBOURS, smallest_change
from services.rag.deltas import sigmas_text
from services.rag.events import Place, read_events
from services.rag.feature_words import is_nominal, name_of, value_text

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from services.common.embedding.port import RowEmbedder
    from services.rag.attack_space import Subject
    from services.rag.benign import BenignRows
    from services.rag.counterfactual import Change, Crowd
    from services.rag.flow_rules import Knob
    from services.rag.queries import QueryModels
    from services.rag.scope import Scope
    from services.rag.spread import Spread

BENIGN, FOUND, NONE, UNKNOWN = "benign", "found", "none", "unknown"
"""Outcomes: nothing has to change; a change was found; none was; it could not be looked for."""


def what_if(
    scope: Scope, subject: Subject, models: QueryModels, tools: tuple[BenignRows, Spread]
) -> dict[str, Any]:
    """The smallest change that would make the neighbours of an event mostly benign, or why there is none.

    Gives {"outcome", "says", "changes", "follows", "benign_before", "benign_after", "neighbours"}; what does not
    apply is empty or null.

    Raises:
        AppiaError: the bytes of an event are damaged.
    """
    benign, spread = tools
    model, reason = _model(scope, subject.place, models)
    if model is None:
        return _told(UNKNOWN, reason)
    space = AttackSpace(scope, subject, model, benign)
    try:
        return _look(space, spread)
    except RequestError as error:
        scope.partial = True
        scope.doubt("the time was over before a change had been looked for to the end")
        return _told(UNKNOWN, f"It is not known what would make it benign: {error}.")


def _look(space: AttackSpace, spread: Spread) -> dict[str, Any]:
    place, measured = space.subject.place, space.subject.measured
    before = space.crowd(space.embed(measured.values[None])[0])
    count = before.count_benign()
    if are_benign(place.view, np.array([place.row]))[0]:
        return _told(
            BENIGN,
            f"It is benign itself; so are {count} of the {min(len(before.benign), NEIGHBOURS)} nearest events.",
            before,
        )
    if before.mostly_benign:
        return _told(
            BENIGN, f"Nothing has to change: {count} of the {NEIGHBOURS} nearest events are benign.", before
        )
    change = smallest_change(measured, space, spread)
    if change is None and not space.any_benign():
        return _told(
            NONE, "None of the events of its protocol is clearly benign: there is nothing to go by.", before
        )
    if change is None:
        return _told(NONE, "No change was found that would bring it among benign events.", before)
    return _found(space, spread, (before, change))


def _model(scope: Scope, place: Place, models: QueryModels) -> tuple[RowEmbedder | None, str]:
    """The attack model of the event's day, else of another day here; or why there is none."""
    own = place.view.indices.get(ATTACK)
    ids = scope.models_of(ATTACK)
    if own is not None and own.spec.model_id in ids:
        ids = list(dict.fromkeys([own.spec.model_id, *ids]))
    fault = "no event that passes the filters is in the attack index"
    for model_id in ids:
        try:
            return models.rows(model_id), ""
        except AppiaError as error:
            fault = str(error)
    return None, f"It is not known what would make it benign: {fault.rstrip('.')}."


def _told(outcome: str, says: str, before: Crowd | None = None) -> dict[str, Any]:
    return {
        "outcome": outcome,
        "says": says,
        "changes": [],
        "follows": [],
        "benign_before": None if before is None else before.count_benign(),
        "benign_after": None,
        "neighbours": [],
    }


def _found(space: AttackSpace, spread: Spread, found: tuple[Crowd, Change]) -> dict[str, Any]:
    before, change = found
    was = space.subject.measured.values
    sigmas = spread.sigmas(change.values, was)
    knobs = [one for knob in change.knobs if (one := _knob(knob, (was, change.values), sigmas))]
    turned = {column for knob in change.knobs for column in knob.columns}
    moved = np.flatnonzero(~np.isclose(change.values, was, rtol=1e-3)).tolist()
    after = change.crowd.count_benign()
    first = before.count_benign()
    *some, last = (knob["knob"] for knob in knobs)
    names = f"{', '.join(some)} and {last}" if some else last
    told = f"{after} of its {NEIGHBOURS} nearest events would be benign instead of {first}"
    return {
        **_told(FOUND, f"{told}, if {names} were different."),
        "changes": knobs,
        "follows": [_value(c, (was, change.values), sigmas) for c in moved if c not in turned],
        "benign_before": first,
        "benign_after": after,
        "neighbours": _neighbours(space, change.crowd),
    }


def _neighbours(space: AttackSpace, crowd: Crowd) -> list[dict[str, Any]]:
    hits = crowd.hits.first(NEIGHBOURS)
    pairs = zip(hits.parts.tolist(), hits.rows.tolist(), strict=True)
    events = read_events([Place(space.scope.parts[part].view, row) for part, row in pairs])
    facts = zip(events, hits.distances.tolist(), crowd.benign[:NEIGHBOURS].tolist(), strict=True)
    return [{**event, "distance": distance, "benign": benign} for event, distance, benign in facts]


Pair = tuple["NDArray[np.float32]", "NDArray[np.float32]"]


def _knob(knob: Knob, pair: Pair, sigmas: NDArray[np.float64]) -> dict[str, Any] | None:
    """What a knob changed, the feature that names it first; None where it changed nothing."""
    changed = [column for column in knob.columns if pair[0][column] != pair[1][column]]
    features = [_value(column, pair, sigmas) for column in changed]
    return {"knob": knob.name, "says": features[0]["says"], "features": features} if features else None


def _value(column: int, pair: Pair, sigmas: NDArray[np.float64]) -> dict[str, Any]:
    was, now = (float(values[column]) for values in pair)
    told = f"{name_of(column)} {value_text(column, now)} instead of {value_text(column, was)}"
    number = not is_nominal(column)
    return {
        "feature": FEATURES[column].path,
        "name": name_of(column),
        "unit": FEATURES[column].unit,
        "from": was,
        "to": now,
        "sigmas": round(float(sigmas[column]), 2) if number else None,
        "says": f"{told}: {sigmas_text(column, float(sigmas[column]))}" if number else told,
    }
