"""The vocabulary file is read whole or refused with the entry that is wrong."""

from __future__ import annotations

from importlib.resources import files
from typing import TYPE_CHECKING

import numpy as np
import pytest

from services.common.errors import AppiaError
from services.common.events.vocabulary import SCALES, load_vocabulary

if TYPE_CHECKING:
    from pathlib import Path

ORIGINAL = files("services.common.events").joinpath("vocabulary.toml").read_text("utf-8")


def written(folder: Path, text: str) -> Path:
    path = folder / "words.toml"
    path.write_text(text, "utf-8")
    return path


def test_the_file_that_comes_with_the_program_is_right() -> None:
    """The default vocabulary loads, and a copy of it has the same identity."""
    vocabulary = load_vocabulary()
    assert set(vocabulary.scales) == set(SCALES)
    assert vocabulary.services[443] == "HTTPS"
    assert vocabulary.identity.startswith("1@")


def test_identity_is_that_of_the_content(tmp_path: Path) -> None:
    """A copy is the same vocabulary; one changed word makes another."""
    assert load_vocabulary(written(tmp_path, ORIGINAL)).identity == load_vocabulary().identity
    changed = written(tmp_path, ORIGINAL.replace('"a single packet"', '"one packet"'))
    assert load_vocabulary(changed).identity != load_vocabulary().identity


def test_a_number_on_a_border_belongs_above_it() -> None:
    """`below` excludes the border itself."""
    scale = load_vocabulary().scales["packets"]
    words = [scale.words[index] for index in scale.bins(np.array([0.0, 0.5, 1.0, 1.9, 2.0, 1e12]))]
    assert words[:5] == ["no packets", "no packets", "a single packet", "a single packet", "two packets"]
    assert words[5] == scale.words[-1]


@pytest.mark.parametrize(
    ("address", "inside", "group"),
    [
        ("192.168.1.1", True, False),
        ("172.32.0.1", False, False),
        ("fd00::1", True, False),
        ("2001:db8::1", False, False),
        ("224.0.0.251", False, True),
        ("255.255.255.255", False, True),
        ("ff02::1", False, True),
    ],
)
def test_inside_and_groups(address: str, inside: bool, group: bool) -> None:  # noqa: FBT001 - expected values
    """Private ranges are inside, multicast and broadcast mean many."""
    vocabulary = load_vocabulary()
    assert vocabulary.is_inside(address) is inside
    assert vocabulary.is_group(address) is group


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ("version = 1", "", "version must be a whole number"),
        ("[scales]", "[scale]", r"the section \[scales\] is missing"),
        ("{ below = 3, say", "{ below = 2, say", "scales.packets needs entries with `below` rising"),
        ("{ below = 3, say", '{ below = "3", say', "scales.packets"),
        ("{ below = 3, say", "{ below = nan, say", "scales.packets"),
        ('{ say = "thousands of packets" }', '{ below = 9_999, say = "thousands" }', "scales.packets"),
        ('{ say = "thousands of packets" }', '"thousands"', "scales.packets"),
        ('say = "two packets"', "say = 2", "scales.packets.say must be a text"),
        ("pause = [", "gap = [", "scales.pause must be a list"),
        ('internal = "Internal"', "", "directions.internal must be a text"),
        ('refused = "', 'rejected = "', "flags.refused must be a text"),
        ('"10.0.0.0/8"', '"10.0.0.1/8"', "networks.inside: 10.0.0.1/8 has host bits set"),
        ('6 = "TCP"', 'tcp = "TCP"', "protocols.tcp must be a number from 0 to 255"),
        ('6 = "TCP"', '256 = "TCP"', "protocols.256"),
        ("SSH = [22]", "SSH = 22", "services.SSH must be a list"),
        ("SSH = [22]", "SSH = [70000]", "services.SSH must list ports from 1 to 65535, not 70000"),
        ("SSH = [22]", "SSH = [53]", "port 53 is named by both SSH and DNS"),
        ('words = ["ransomware"]', "words = [7]", "the words or services of T1486"),
        ('words = ["ransomware"]', "", "the words of T1486 .* must be a list"),
        ('services = ["SMB"]', 'services = "SMB"', "the services of T1021.002 .* must be a list"),
        (
            'services = ["SMB"]',
            'services = ["Samba"]',
            "T1021.002 .* names a service that is not listed: Samba",
        ),
    ],
)
def test_a_wrong_entry_is_named(tmp_path: Path, old: str, new: str, named: str) -> None:
    """Each kind of mistake is refused with the file and the entry."""
    assert old in ORIGINAL
    path = written(tmp_path, ORIGINAL.replace(old, new, 1))
    with pytest.raises(AppiaError, match=named) as caught:
        load_vocabulary(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("content", [b"version = ", b"\xff\xfe"])
def test_what_is_no_toml_is_refused(tmp_path: Path, content: bytes) -> None:
    """A file that is no TOML, or no UTF-8, cannot be read."""
    path = tmp_path / "words.toml"
    path.write_bytes(content)
    with pytest.raises(AppiaError, match="cannot be read"):
        load_vocabulary(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    """A path without a file is refused with that path."""
    with pytest.raises(AppiaError, match=r"absent\.toml cannot be read"):
        load_vocabulary(tmp_path / "absent.toml")
