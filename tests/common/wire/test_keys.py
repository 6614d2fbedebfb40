"""Seeds and key rings: modes, owners, damaged files, and rings that are made."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import pytest

from services.common.errors import AppiaError, UsageError
from services.common.wire.keys import KeyRing, new_key_ring, read_key_ring, read_seed
from services.common.wire.refusals import FrameRefused, Reason

SEED = bytes(range(200, 232))


def secret(path: Path, content: bytes, mode: int = 0o400) -> Path:
    path.write_bytes(content)
    path.chmod(mode)
    return path


@pytest.mark.parametrize("content", [SEED, SEED.hex().encode(), SEED.hex().upper().encode() + b"\n"])
def test_a_seed_is_raw_or_hex(tmp_path: Path, content: bytes) -> None:
    """Both spellings give the same 32 bytes."""
    assert read_seed(secret(tmp_path / "a.seed", content)) == SEED


@pytest.mark.parametrize("mode", [0o600, 0o440, 0o644, 0o000, 0o500])
def test_a_seed_that_is_not_0400_is_refused(tmp_path: Path, mode: int) -> None:
    """The sentence names the file, its mode and the command that puts it right."""
    path = secret(tmp_path / "a.seed", SEED, mode)
    if mode == 0 and os.geteuid() != 0:
        pytest.skip("only root can open a file of mode 0000")
    with pytest.raises(AppiaError) as error:
        read_seed(path)
    assert f"chmod 0400 {path}" in str(error.value)
    assert f"{mode:04o}" in str(error.value)


def test_a_state_directory_taken_for_its_keys_is_said(tmp_path: Path) -> None:
    """Nobody is sent off to make a second ring beside the days."""
    new_key_ring(tmp_path / "keys")
    with pytest.raises(AppiaError, match=f"name the folder {tmp_path / 'keys'}"):
        read_key_ring(tmp_path)
    with pytest.raises(AppiaError, match=f"make one with `appia keys new {tmp_path / 'other'}`"):
        read_key_ring(tmp_path / "other")


def test_a_seed_of_another_user_is_refused(tmp_path: Path) -> None:
    """A key that somebody else may change is not used."""
    if os.geteuid() != 0:
        pytest.skip("only root can give a file away")
    path = secret(tmp_path / "a.seed", SEED)
    os.chown(path, 12345, 12345)
    with pytest.raises(AppiaError, match="belongs to user 12345"):
        read_seed(path)


@pytest.mark.parametrize(
    "content", [b"", SEED[:31], SEED + b"x", SEED.hex().encode()[:32], b"g" * 64, b"a" * 80]
)
def test_a_file_that_holds_no_seed_is_refused_without_quoting_it(tmp_path: Path, content: bytes) -> None:
    """Wrong lengths and characters are refused, half a hex seed too, and no content is shown."""
    with pytest.raises(AppiaError) as error:
        read_seed(secret(tmp_path / "k.seed", content))
    assert "does not hold a seed" in str(error.value)
    assert "a" * 32 not in str(error.value)


def test_missing_files_and_folders_are_named(tmp_path: Path) -> None:
    """What is not there, or is no plain file, is said in one sentence."""
    with pytest.raises(AppiaError, match=r"no\.seed could not be read"):
        read_seed(tmp_path / "no.seed")
    with pytest.raises(AppiaError, match="could not be read"):
        read_seed(tmp_path)
    with pytest.raises(AppiaError, match="not a plain file"):
        read_seed(Path("/dev/null"))


def test_a_new_ring_can_be_read_and_is_locked_up(tmp_path: Path) -> None:
    """Folders 0700, files 0400, one primary; reading gives what was made."""
    keys = tmp_path / "state" / "keys"
    made = new_key_ring(keys)
    read = read_key_ring(keys)
    assert read == made
    assert len(read.sealing_seed()) == 32
    assert stat.S_IMODE(keys.stat().st_mode) == stat.S_IMODE((keys / "wire").stat().st_mode) == 0o700
    files = sorted(path.name for path in (keys / "wire").iterdir())
    assert files == [f"{made.primary}.seed", "ring.json"]
    assert all(stat.S_IMODE(path.stat().st_mode) == 0o400 for path in (keys / "wire").iterdir())


def test_a_ring_is_never_overwritten(tmp_path: Path) -> None:
    """A second `new` is a usage error and changes nothing."""
    made = new_key_ring(tmp_path)
    with pytest.raises(UsageError, match="not overwritten"):
        new_key_ring(tmp_path)
    assert read_key_ring(tmp_path) == made
    assert [path.name for path in tmp_path.iterdir()] == ["wire"]


def test_a_ring_that_cannot_be_written_says_where(tmp_path: Path) -> None:
    """A file in the place of the folder is reported with its path, and nothing is left behind."""
    (tmp_path / "keys").write_text("")
    with pytest.raises(AppiaError, match="keys"):
        new_key_ring(tmp_path / "keys")


def test_two_rings_have_nothing_in_common(tmp_path: Path) -> None:
    """Seeds come from the random source, and key ids differ so that a wrong ring is told from a forgery."""
    first, second = new_key_ring(tmp_path / "a"), new_key_ring(tmp_path / "b")
    assert first.sealing_seed() != second.sealing_seed()
    assert first.primary != second.primary


def write_ring(keys: Path, ring: object, seeds: dict[str, bytes]) -> Path:
    folder = keys / "wire"
    folder.mkdir(parents=True)
    (folder / "ring.json").write_text(json.dumps(ring))
    for name, seed in seeds.items():
        secret(folder / name, seed)
    return keys


def test_rotation_and_revocation_by_hand(tmp_path: Path) -> None:
    """Two seeds and a new primary: the old one opens; once revoked it does not, and its file may go."""
    ring = {"format": 1, "primary": 2, "revoked": [3, 9]}
    keys = write_ring(tmp_path, ring, {"1.seed": SEED, "2.seed": bytes(32), "3.seed": b"x" * 32})
    read = read_key_ring(keys)
    assert read.sealing_seed() == bytes(32)
    assert read.opening_seed(1) == SEED
    assert read.opening_seeds() == (bytes(32), SEED)
    for key_id, reason in ((3, Reason.REVOKED_KEY), (9, Reason.REVOKED_KEY), (4, Reason.UNKNOWN_KEY)):
        with pytest.raises(FrameRefused) as refused:
            read.opening_seed(key_id)
        assert refused.value.reason is reason


@pytest.mark.parametrize(
    "ring",
    [
        [],
        None,
        {},
        {"format": 2, "primary": 1, "revoked": []},
        {"format": 1, "primary": "1", "revoked": []},
        {"format": 1, "primary": True, "revoked": []},
        {"format": 1, "primary": 1 << 32, "revoked": []},
        {"format": 1, "primary": 1, "revoked": [-1]},
        {"format": 1, "primary": 1, "revoked": None},
        {"format": 1, "primary": 1, "revoked": [1]},
        {"format": 1, "primary": 5, "revoked": []},
    ],
)
def test_a_damaged_ring_is_refused_by_name(tmp_path: Path, ring: object) -> None:
    """Whatever is wrong with ring.json, the sentence names the file."""
    keys = write_ring(tmp_path, ring, {"1.seed": SEED})
    with pytest.raises(AppiaError, match=r"ring\.json"):
        read_key_ring(keys)


def test_a_missing_ring_says_how_to_make_one(tmp_path: Path) -> None:
    """The sentence holds the command to run."""
    with pytest.raises(AppiaError, match="appia keys new"):
        read_key_ring(tmp_path)


@pytest.mark.parametrize("name", ["one.seed", "4294967296.seed", "٣.seed", "-1.seed"])
def test_a_seed_file_that_is_not_named_by_a_key_id_is_refused(tmp_path: Path, name: str) -> None:
    """A stray name is refused instead of being left out silently."""
    keys = write_ring(tmp_path, {"format": 1, "primary": 1, "revoked": []}, {"1.seed": SEED, name: SEED})
    with pytest.raises(AppiaError, match="no name for a seed"):
        read_key_ring(keys)


def test_a_loose_seed_in_a_ring_is_refused(tmp_path: Path) -> None:
    """Every seed of a ring must be 0400, not only the primary's."""
    keys = write_ring(tmp_path, {"format": 1, "primary": 1, "revoked": []}, {"1.seed": SEED, "2.seed": SEED})
    (keys / "wire" / "2.seed").chmod(0o440)
    with pytest.raises(AppiaError, match="chmod 0400"):
        read_key_ring(keys)


def test_a_ring_does_not_show_its_seeds() -> None:
    """A ring that ends up in a log or a traceback shows key ids only."""
    shown = repr(KeyRing(1, {1: SEED}))
    assert "1" in shown
    assert SEED.hex() not in shown
    assert repr(SEED) not in shown


@pytest.mark.parametrize(("primary", "revoked"), [(2, frozenset()), (1, frozenset({1}))])
def test_a_ring_needs_a_primary_that_may_seal(primary: int, revoked: frozenset[int]) -> None:
    """A ring whose primary is missing or revoked cannot be built."""
    with pytest.raises(AppiaError, match="primary"):
        KeyRing(primary, {1: SEED}, revoked)
