"""What a chain shows: every alteration, removal and insertion is named by the number of its link."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest

from services.common.canonical import canonical, read_canonical
from services.common.chain.check import ChainWalk, check_chain
from services.common.chain.keys import SigningKey
from services.common.chain.link import (
    FIRST_PREVIOUS,
    LONGEST_LINE,
    SEALED,
    Link,
    Place,
    begin_link,
    day_link,
    key_link,
    read_link,
)
from services.common.errors import AppiaError

from .conftest import digest, state_of

if TYPE_CHECKING:
    from collections.abc import Callable

FIRST, SECOND, THIEF = (SigningKey(bytes([n]) * 32) for n in range(3))
TIME = "2026-01-22T12:00:00Z"


def place_after(link: Link) -> Place:
    return Place(link.number + 1, link.digest, TIME)


def made_chain(days: int = 6, *, handed_over_after: int | None = None) -> list[Link]:
    """A chain of some days, with another key after some of them."""
    key = FIRST
    links = [begin_link("ab" * 16, Place(1, FIRST_PREVIOUS, TIME), key)]
    for n in range(days):
        if n == handed_over_after:
            links.append(key_link(SECOND, place_after(links[-1]), key))
            key = SECOND
        links.append(day_link(SEALED, state_of(f"2026-01-{n + 1:02d}"), place_after(links[-1]), key))
    return links


def lines_of(links: list[Link]) -> list[bytes]:
    return [link.line for link in links]


def altered(link: Link, **fields: object) -> bytes:
    """A link whose body has other values, with the signature that it had."""
    raw = read_canonical(link.line)
    raw["link"] |= fields
    return canonical(raw)


def test_a_chain_that_nobody_touched_is_whole() -> None:
    """It gives its days, its head and its keys, with either key as the one that is trusted, or none."""
    links = made_chain(handed_over_after=3)
    for trusted in (FIRST.public, SECOND.public, None):
        chain = check_chain(lines_of(links), trusted)
        assert chain.faults == ()
        assert chain.links == tuple(links)
        assert chain.head == links[-1].digest
        assert chain.keys == (FIRST.public, SECOND.public)
        assert chain.state_of("2026-01-02") == state_of("2026-01-02")
        assert [link.number for link in chain.links_of("2026-01-04")] == [6]
    assert chain.state_of("2026-02-01") is None


def test_a_chain_of_another_key_vouches_for_nothing() -> None:
    """It may be whole in itself: under a key that never signed, none of its links counts."""
    chain = check_chain(lines_of(made_chain()), THIEF.public)
    assert chain.links == ()
    assert "never signed with the key" in chain.faults[0].sentence


def _flip(links: list[Link]) -> list[bytes]:
    return [*lines_of(links[:3]), links[3].line.replace(b"12:00", b"13:00"), *lines_of(links[4:])]


def _other_day(links: list[Link]) -> list[bytes]:
    return [*lines_of(links[:3]), altered(links[3], day="2026-01-31"), *lines_of(links[4:])]


def _signed_by_thief(links: list[Link]) -> list[bytes]:
    forged = day_link(SEALED, state_of("2026-01-03", 9), place_after(links[2]), THIEF)
    return [*lines_of(links[:3]), forged.line, *lines_of(links[4:])]


def _replaced_by_the_key_itself(links: list[Link]) -> list[bytes]:
    other = day_link(SEALED, state_of("2026-01-03", 9), place_after(links[2]), FIRST)
    return [*lines_of(links[:3]), other.line, *lines_of(links[4:])]


def _removed(links: list[Link]) -> list[bytes]:
    return lines_of([*links[:3], *links[4:]])


def _two_removed(links: list[Link]) -> list[bytes]:
    return lines_of([*links[:3], *links[5:]])


def _begin_removed(links: list[Link]) -> list[bytes]:
    return lines_of(links[1:])


def _twice(links: list[Link]) -> list[bytes]:
    return lines_of([*links[:4], links[2], *links[4:]])


def _swapped(links: list[Link]) -> list[bytes]:
    return lines_of([*links[:3], links[4], links[3], *links[5:]])


def _garbage_in_place(links: list[Link]) -> list[bytes]:
    return [*lines_of(links[:3]), b"\x00" * 80, *lines_of(links[4:])]


def _garbage_between(links: list[Link]) -> list[bytes]:
    return [*lines_of(links[:4]), b"nothing", *lines_of(links[4:])]


@pytest.mark.parametrize(
    ("attack", "numbers", "says", "lost"),
    [
        (_flip, [4], "link 4 was altered", 1),
        (_other_day, [4], "link 4 was altered: its signature does not hold", 1),
        (_signed_by_thief, [4], "link 4 is signed with the key", 1),
        (_replaced_by_the_key_itself, [5], "link 5 does not follow link 4", 0),
        (_removed, [4], "link 4 is missing", 1),
        (_two_removed, [4], "links 4 to 5 are missing", 2),
        (_begin_removed, [1], "link 1 is missing", 1),
        (_twice, [3], "link 3 comes after link 4", 0),
        (_swapped, [4, 4], "link 4 is missing", 1),
        (_garbage_in_place, [4], "link 4 was altered", 1),
        (_garbage_between, [4], "a line after link 4 was put in", 0),
    ],
)
def test_what_was_done_is_named(
    attack: Callable[[list[Link]], list[bytes]], numbers: list[int], says: str, lost: int
) -> None:
    """One fault with the number of the link; the links that nobody touched count on."""
    links = made_chain()
    chain = check_chain(attack(links), FIRST.public)
    assert [fault.link for fault in chain.faults] == numbers
    assert says in chain.faults[0].sentence
    assert len(chain.links) == len(links) - lost
    assert chain.head == links[-1].digest


def test_any_one_byte_that_differs_is_a_fault() -> None:
    """No byte of a chain can be another without a fault, and no alteration gives a link that nobody signed."""
    links = made_chain(3, handed_over_after=1)
    data = b"\n".join(lines_of(links))
    random_bytes = random.Random(5)
    bodies = {link.body for link in links}
    for at in random_bytes.sample(range(len(data)), 400):
        other = bytearray(data)
        other[at] ^= 1 << random_bytes.randrange(8)
        chain = check_chain(bytes(other).split(b"\n"), FIRST.public)
        assert chain.faults, at
        assert {link.body for link in chain.links} <= bodies


def test_a_key_alone_cannot_hand_over() -> None:
    """A change of keys needs the new key too: who stole the old one cannot put its own links under the new."""
    links = made_chain(2)
    handed = key_link(SECOND, place_after(links[-1]), FIRST)
    raw = read_canonical(handed.line)
    raw["countersignature"] = FIRST.sign("chain:v1", handed.body).hex()
    chain = check_chain([*lines_of(links), canonical(raw)], None)
    assert "the new key did not sign it" in chain.faults[0].sentence
    assert chain.keys == (FIRST.public,)


def test_links_of_a_stolen_old_key_do_not_count_under_the_new_one() -> None:
    """With the new key trusted, what the old one signed counts only where it leads up to the change unbroken."""
    links = made_chain(4, handed_over_after=2)
    forged = day_link(SEALED, state_of("2026-01-01", 9), place_after(links[0]), FIRST)
    chain = check_chain(lines_of([links[0], forged, *links[2:]]), SECOND.public)
    assert [fault.link for fault in chain.faults] == [3]
    assert chain.state_of("2026-01-01") is None
    assert chain.state_of("2026-01-02") == state_of("2026-01-02")
    after = day_link(SEALED, state_of("2026-01-09"), place_after(links[-1]), FIRST)
    chain = check_chain(lines_of([*links, after]), SECOND.public)
    assert "is in force" in chain.faults[0].sentence
    assert chain.links == tuple(links)


def test_a_lost_change_of_keys_leaves_what_the_given_key_signed() -> None:
    """The link that brought the key cannot be read: from the next on, the key that is given vouches by itself."""
    links = made_chain(4, handed_over_after=2)
    lines = lines_of(links)
    lines[3] = b"?"
    chain = check_chain(lines, SECOND.public)
    assert [fault.link for fault in chain.faults] == [4]
    assert chain.links == tuple(links[4:])


def test_an_excerpt_shows_some_days_and_all_keys() -> None:
    """Links between may be absent; each is signed by the key in force, and none may come twice or be altered."""
    links = made_chain(6, handed_over_after=3)
    excerpt = check_chain(lines_of(links), None).excerpt(["2026-01-02", "2026-01-05"])
    assert [link.number for link in excerpt] == [1, 3, 5, 7]
    assert check_chain(lines_of(list(excerpt)), SECOND.public, excerpt=True).faults == ()
    assert check_chain(lines_of(list(excerpt)), SECOND.public).faults
    lines = lines_of(list(excerpt))
    lines[1] = altered(excerpt[1], day="2026-01-31")
    assert [fault.link for fault in check_chain(lines, SECOND.public, excerpt=True).faults] == [3]
    assert check_chain([*lines_of(list(excerpt)), b"?"], None, excerpt=True).faults
    assert check_chain([excerpt[0].line, excerpt[2].line, excerpt[1].line], None, excerpt=True).faults


def _names_the_key(link: Link, key: SigningKey) -> bytes:
    """A link that claims to be signed with another key than it is."""
    raw = read_canonical(link.line)
    return canonical(raw | {"key": key.public.id})


def test_a_key_vouches_for_nothing_by_its_name_alone() -> None:
    """A chain of a thief does not count because a link of it claims, without a signature, to be of the key given."""
    begin = begin_link("cd" * 16, Place(1, FIRST_PREVIOUS, TIME), THIEF)
    forged = day_link(SEALED, state_of("2026-01-01", 9), place_after(begin), THIEF)
    claim = day_link(SEALED, state_of("2026-01-02", 9), place_after(forged), THIEF)
    chain = check_chain([begin.line, forged.line, _names_the_key(claim, FIRST)], FIRST.public)
    assert chain.links == ()
    assert "never signed with the key" in chain.faults[-1].sentence


@pytest.mark.parametrize("order", ["after", "before"])
def test_a_thief_puts_nothing_into_an_excerpt(order: str) -> None:
    """The beginning of another chain, wherever it is put, brings no key into force beside the one given."""
    genuine = made_chain()
    begin = begin_link("cd" * 16, Place(1, FIRST_PREVIOUS, TIME), THIEF)
    forged = day_link(SEALED, state_of("2026-01-31", 9), place_after(begin), THIEF)
    lines = [genuine[0], begin, forged] if order == "after" else [begin, forged, genuine[3]]
    chain = check_chain(lines_of(lines), FIRST.public, excerpt=True)
    assert {link.key_id for link in chain.links} == {FIRST.public.id}
    assert chain.state_of("2026-01-31") is None


def test_an_older_key_puts_nothing_into_an_excerpt() -> None:
    """Under the newer key a day that the older one signed does not count: nothing shows what it came after."""
    links = made_chain(handed_over_after=3)
    excerpt = lines_of(list(check_chain(lines_of(links), None).excerpt(["2026-01-02", "2026-01-05"])))
    for trusted, known in ((FIRST.public, True), (SECOND.public, False)):
        chain = check_chain(excerpt, trusted, excerpt=True)
        assert (chain.state_of("2026-01-02") is not None) == known
        assert chain.state_of("2026-01-05") is not None


def test_a_chain_that_grows_is_checked_as_one() -> None:
    """In pieces it gives what it gives at once."""
    lines = _garbage_in_place(made_chain(handed_over_after=3))
    walk = ChainWalk(FIRST.public)
    for line in lines:
        walk.take([line])
        walk.result()
    assert walk.result() == check_chain(lines, FIRST.public)


@pytest.mark.parametrize(
    "fields",
    [
        {"number": True},
        {"number": "2"},
        {"previous": "0"},
        {"previous": 5},
        {"time": "yesterday"},
        {"time": None},
        {"what": "begin"},
        {"what": "anything"},
        {"what": "key"},
        {"format": True},
        {"day": "../../etc"},
        {"day": None},
        {"served": 2},
        {"served": True},
        {"served": None},
        {"generations": {}},
        {"generations": []},
        {"generations": {"1": {}}},
        {"generations": {"000001": {"chunk": digest(1), "indices": {}, "more": 1}}},
        {"generations": {"000001": {"chunk": "x" * 64, "indices": {}}}},
        {"generations": {"000001": {"chunk": digest(1), "indices": {"../x": {"served": 1, "versions": {}}}}}},
        {"generations": {"000001": {"chunk": digest(1), "indices": {"a": {"served": 1, "versions": {}}}}}},
        {"another": 1},
    ],
)
def test_what_is_no_link_is_refused_before_it_is_used(fields: dict[str, object]) -> None:
    """Numbers, names, days and digests have one form; whatever differs is no link, and no other error."""
    with pytest.raises(AppiaError):
        read_link(altered(made_chain(1)[1], **fields))


@pytest.mark.parametrize(
    "line", [b"", b"5", b"[]", b"{}", b'{"link":5}', b"null", b"\xff", b"1" * LONGEST_LINE * 2]
)
def test_other_json_is_no_link(line: bytes) -> None:
    """Whatever the bytes are: one error."""
    with pytest.raises(AppiaError):
        read_link(line)


def test_a_newer_format_is_said_to_be_newer() -> None:
    """The sentence tells to install a newer release, and not that something was altered."""
    with pytest.raises(AppiaError, match="newer"):
        read_link(altered(made_chain(1)[1], format=2))
