"""What every store of values promises, and what readers of sealed, checked values are kept from."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
from pydantic import BaseModel, ConfigDict, Field

from services.common.durable import Disk
from services.common.errors import AppiaError, UsageError
from services.common.sealed import MAX_SEALED_BYTES, NotOpened, Seals, SeenRevisions
from services.common.values.checked import CheckedValues, Held, NotSound
from services.common.values.files import FileValues
from services.common.values.follower import Follower
from services.common.values.port import ABSENT, Conflict, Values, ValuesUnavailable
from services.common.values.seen import SeenFile

if TYPE_CHECKING:
    from pathlib import Path

SEALS = Seals(1, {1: bytes(32)})


class Limits(BaseModel):
    """A schema as services have them."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    weight: float = Field(ge=0, le=10)


class OtherLimits(BaseModel):
    """What a later release could write."""

    weight: float
    more: str


def checked(values: Values, seen: SeenRevisions | None = None) -> CheckedValues[Limits]:
    return CheckedValues(values, SEALS, Limits, seen or SeenRevisions())


def stored(values: Values, name: str = "limits") -> tuple[bytes, int]:
    found = values.get(name)
    assert found is not None
    return found.content, found.version


def test_a_value_is_made_changed_and_read_with_a_new_version_each_time(values: Values) -> None:
    assert values.get("limits") is None
    values.put("limits", b"one", ABSENT)
    content, first = stored(values)
    assert content == b"one"
    values.put("limits", b"two", first)
    content, second = stored(values)
    assert content == b"two"
    assert len({ABSENT, first, second}) == 3
    assert values.get("others") is None


def test_who_read_something_else_cannot_write(values: Values) -> None:
    values.put("limits", b"one", ABSENT)
    _, version = stored(values)
    for wrong in (ABSENT, version + 2):
        with pytest.raises(Conflict, match="another one"):
            values.put("limits", b"two", wrong)
    assert stored(values)[0] == b"one"


def test_of_many_who_write_at_once_one_succeeds(values: Values) -> None:
    def attempt(number: int) -> bool:
        try:
            values.put("limits", b"by %d" % number, ABSENT)
        except Conflict:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        won = [number for number, done in enumerate(pool.map(attempt, range(16))) if done]
    assert len(won) == 1
    assert stored(values)[0] == b"by %d" % won[0]


@pytest.mark.parametrize("name", ["", "a/b", "..", ".x", "ä", "x" * 65])
def test_a_name_that_is_none_is_refused(values: Values, name: str) -> None:
    with pytest.raises(UsageError, match="value name"):
        values.get(name)
    with pytest.raises(UsageError, match="value name"):
        values.put(name, b"x", ABSENT)


def test_a_value_has_at_most_so_many_bytes(values: Values) -> None:
    values.put("limits", bytes(MAX_SEALED_BYTES), ABSENT)
    assert len(stored(values)[0]) == MAX_SEALED_BYTES
    for content in (b"", bytes(MAX_SEALED_BYTES + 1)):
        with pytest.raises(UsageError, match=str(MAX_SEALED_BYTES)):
            values.put("others", content, ABSENT)


def test_a_folder_that_cannot_be_used_is_an_unavailable_store(tmp_path: Path) -> None:
    (tmp_path / "values").write_text("a file where a folder should be")
    store = FileValues(tmp_path / "values", Disk())
    with pytest.raises(ValuesUnavailable, match="values"):
        store.put("limits", b"x", ABSENT)
    with pytest.raises(ValuesUnavailable, match="values"):
        store.get("limits")


def test_a_file_that_grew_beyond_all_bounds_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "limits.value").write_bytes(bytes(MAX_SEALED_BYTES + 1))
    with pytest.raises(ValuesUnavailable, match="is no value"):
        FileValues(tmp_path, Disk()).get("limits")


def test_revisions_count_the_changes(values: Values) -> None:
    book = checked(values)
    assert book.get("limits") is None
    assert book.put("limits", Limits(weight=1), 0) == 1
    assert book.put("limits", Limits(weight=2), 1) == 2
    assert checked(values).get("limits") == Held(Limits(weight=2), 2)
    for wrong in (0, 1, 3):
        with pytest.raises(Conflict, match=f"has revision 2, not {wrong}"):
            book.put("limits", Limits(weight=3), wrong)


def test_an_old_value_put_back_is_noticed_and_can_be_replaced_on_purpose(values: Values) -> None:
    book = checked(values)
    book.put("limits", Limits(weight=1), 0)
    old, _ = stored(values)
    book.put("limits", Limits(weight=2), 1)
    values.put("limits", old, stored(values)[1])
    with pytest.raises(NotOpened, match="from revision 2 to 1"):
        book.get("limits")
    with pytest.raises(NotOpened, match="from revision 2 to 1"):
        book.put("limits", Limits(weight=3), 1)
    assert checked(values).put("limits", Limits(weight=3), 1) == 2
    # Who had seen revision 2 takes the new one of that number; a higher one needs who has seen it too.
    assert book.get("limits") == Held(Limits(weight=3), 2)


def test_a_value_copied_to_another_name_does_not_open(values: Values) -> None:
    book = checked(values)
    book.put("limits", Limits(weight=1), 0)
    values.put("others", stored(values)[0], ABSENT)
    with pytest.raises(NotOpened, match="others does not open"):
        book.get("others")


def test_what_does_not_fit_the_schema_is_named_by_its_place_and_not_quoted(values: Values) -> None:
    CheckedValues(values, SEALS, OtherLimits, SeenRevisions()).put(
        "limits", OtherLimits(weight=1, more="s3cret"), 0
    )
    with pytest.raises(NotSound, match="revision 1, is not sound at more") as caught:
        checked(values).get("limits")
    assert "s3cret" not in str(caught.value)


def test_what_was_seen_is_known_after_a_restart(tmp_path: Path) -> None:
    values, path = FileValues(tmp_path / "values", Disk()), tmp_path / "seen.json"
    writer = checked(values)
    writer.put("limits", Limits(weight=1), 0)
    old = (tmp_path / "values" / "limits.value").read_bytes()
    writer.put("limits", Limits(weight=2), 1)
    assert checked(values, SeenFile(path, Disk())).get("limits") == Held(Limits(weight=2), 2)
    (tmp_path / "values" / "limits.value").write_bytes(old)
    with pytest.raises(NotOpened, match="from revision 2 to 1"):
        checked(values, SeenFile(path, Disk())).get("limits")
    (tmp_path / "values" / "limits.value").unlink()
    with pytest.raises(NotSound, match="was removed"):
        checked(values, SeenFile(path, Disk())).get("limits")
    assert checked(values, SeenFile(path, Disk())).put("limits", Limits(weight=3), 0) == 3


@pytest.mark.parametrize(
    "content",
    ["", "[]", '{"format": 2}', '{"format": 1, "revisions": {"a": -1}}', '{"format": 1, "revisions": 7}'],
)
def test_a_damaged_memory_of_what_was_seen_is_named(tmp_path: Path, content: str) -> None:
    path = tmp_path / "seen.json"
    path.write_text(content)
    with pytest.raises(AppiaError, match=r"seen\.json is damaged"):
        SeenFile(path, Disk())


def test_a_follower_takes_changes_whole_and_keeps_the_last_good_one(tmp_path: Path) -> None:
    values = FileValues(tmp_path, Disk())
    taken: list[Held[Limits]] = []
    told: list[str] = []
    follower = Follower(checked(values), "limits", taken.append, told.append)
    follower.look()
    assert (follower.current(), taken, told) == (None, [], [])
    writer = checked(values)
    for number in (1, 2):
        writer.put("limits", Limits(weight=number), number - 1)
        follower.look()
        follower.look()
    good = (tmp_path / "limits.value").read_bytes()
    (tmp_path / "limits.value").write_bytes(good[:-1])
    follower.look()
    follower.look()
    assert follower.current() == Held(Limits(weight=2), 2)
    assert follower.fault() == told[0]
    assert [held.revision for held in taken] == [1, 2]
    assert len(told) == 1
    (tmp_path / "limits.value").unlink()
    follower.look()
    assert "was removed" in told[1]
    (tmp_path / "limits.value").write_bytes(good)
    follower.look()
    assert follower.fault() is None
    assert [held.revision for held in taken] == [1, 2]


def test_a_follower_runs_in_a_thread_of_its_own_until_it_is_stopped(tmp_path: Path) -> None:
    values, taken = FileValues(tmp_path, Disk()), threading.Event()
    checked(values).put("limits", Limits(weight=1), 0)
    follower = Follower(checked(values), "limits", lambda _: taken.set(), pytest.fail, 0.001)
    follower.start()
    assert taken.wait(60)
    follower.stop()
    assert follower.current() == Held(Limits(weight=1), 1)
