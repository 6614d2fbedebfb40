"""An encrypted log gives back what was written to who has the key, nothing to others, and repeats no nonce."""

from __future__ import annotations

import random
import struct
import uuid
from typing import TYPE_CHECKING

import google_crc32c
import pytest
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.common.days.log import LogReader, LogWriter
from services.common.days.log_format import EVENT, Damage, Record, was_begun
from services.common.durable import Disk
from services.common.errors import AppiaError
from services.common.rest import log_keys
from services.common.rest.storage_keys import StorageKeys, new_storage_keys, rotate_storage_keys
from services.common.system_calls import SystemCalls

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

HEADER, BLOCK, RECORD = 32, 80, 17
PAYLOADS = [b"first", b"second record", b"x" * 40, b""]


@pytest.fixture
def keys_file(tmp_path: Path, disk: Disk) -> Path:
    path = tmp_path / "storage.keys"
    new_storage_keys(disk, path)
    return path


@pytest.fixture
def keys(keys_file: Path) -> StorageKeys:
    return StorageKeys(keys_file, print)


def _write(disk: Disk, path: Path, keys: StorageKeys, payloads: Sequence[bytes] = PAYLOADS) -> list[int]:
    log = LogWriter(disk, path, keys)
    offsets = log.append(EVENT, 0, payloads)
    log.close()
    return [int(offset) for offset in offsets]


def _scan(path: Path, keys: StorageKeys) -> tuple[list[bytes], list[Damage]]:
    reader = LogReader(path, keys)
    try:
        found = list(reader.scan())
    finally:
        reader.close()
    return [r.payload for r in found if isinstance(r, Record)], [d for d in found if isinstance(d, Damage)]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30)
@given(payloads=st.lists(st.binary(max_size=3000), max_size=20))
def test_every_record_comes_back(
    tmp_path: Path, disk: Disk, keys: StorageKeys, payloads: list[bytes]
) -> None:
    """By a scan and by offset; and no payload stands in the file as it is."""
    path = tmp_path / f"{uuid.uuid4()}.log"
    payloads = [b"in plain text: " + payload for payload in payloads]
    offsets = _write(disk, path, keys, payloads)
    assert _scan(path, keys) == (payloads, [])
    reader = LogReader(path, keys)
    read = [reader.record(offset) for offset in offsets]
    reader.close()
    assert [record.payload for record in read if record is not None] == payloads
    raw = path.read_bytes()
    assert not any(payload in raw for payload in payloads)


def test_a_file_of_this_format_is_read_by_every_later_release(tmp_path: Path) -> None:
    """Bytes written once by hand from the description, with fixed keys: a change of the format shows here."""
    path = tmp_path / "storage.keys"
    path.write_text("07" * 32 + "\n")
    path.chmod(0o400)
    keys = StorageKeys(path, print)
    wrapping = keys.for_new_files()
    assert wrapping.key_id == 0x4D9D0206EA8246B1
    file_id, file_key, salt = 0x0123456789ABCDEF, bytes(range(32)), b"s" * 16
    head = struct.pack("<8sIIQ", b"APPIALOG", 2, 0, file_id)
    header = head + struct.pack("<II", google_crc32c.value(head), 0)
    wrap_key = bytes.fromhex("55731783b97dd45142954199857a92655d3fd25ff75207f91e5a83cef3318de6")
    key_id = struct.pack("<Q", wrapping.key_id)
    wrapped = ChaCha20Poly1305(wrap_key).encrypt(bytes(12), file_key, header + key_id + salt)
    block = key_id + salt + wrapped
    block += struct.pack("<II", google_crc32c.value(header + block), 0)
    nonce, aad = bytes(4) + struct.pack("<Q", 3), struct.pack("<QQBQ", file_id, 0, EVENT, 112)
    payload = struct.pack("<Q", 3) + ChaCha20Poly1305(file_key).encrypt(nonce, b"an event", aad)
    crc = google_crc32c.extend(
        google_crc32c.value(struct.pack("<QQIB", file_id, 0, len(payload), EVENT)), payload
    )
    (tmp_path / "a.log").write_bytes(
        header + block + struct.pack("<IIBQ", len(payload), crc, EVENT, 0) + payload
    )
    assert _scan(tmp_path / "a.log", keys) == ([b"an event"], [])


def test_a_cut_at_any_byte_leaves_the_whole_records_before_it(
    tmp_path: Path, disk: Disk, keys: StorageKeys
) -> None:
    """Also for who has no key: the torn tail is found by the checksum alone, at the same place."""
    path = tmp_path / "a.log"
    offsets = _write(disk, path, keys)
    whole = path.read_bytes()
    for size in range(offsets[0], len(whole)):
        path.write_bytes(whole[:size])
        payloads, damage = _scan(path, keys)
        complete = sum(end <= size for end in [*offsets[1:], len(whole)])
        assert payloads == PAYLOADS[:complete]
        assert all(part.tail for part in damage)
        without = LogReader(path)
        assert [found for found in without.scan_stored() if isinstance(found, Damage)] == damage
        without.close()


def test_a_header_cut_at_any_byte_was_never_begun(tmp_path: Path, disk: Disk, keys: StorageKeys) -> None:
    """A crash before header and key are on disk leaves a file that held nothing; zeros in their place count as that."""
    path = tmp_path / "a.log"
    _write(disk, path, keys, [])
    whole = path.read_bytes()
    assert len(whole) == HEADER + BLOCK
    assert was_begun(path)
    for size in range(len(whole)):
        path.write_bytes(whole[:size])
        assert not was_begun(path)
    path.write_bytes(whole[:HEADER] + bytes(BLOCK))
    assert not was_begun(path)
    path.write_bytes(bytes(len(whole)))
    assert not was_begun(path)


def test_a_flipped_bit_anywhere_never_yields_a_wrong_record(
    tmp_path: Path, disk: Disk, keys: StorageKeys
) -> None:
    path = tmp_path / "a.log"
    start = _write(disk, path, keys)[0]
    whole = path.read_bytes()
    for bit in range(start * 8, len(whole) * 8, 5):
        raw = bytearray(whole)
        raw[bit // 8] ^= 1 << bit % 8
        path.write_bytes(raw)
        payloads, damage = _scan(path, keys)
        assert len(payloads) == len(PAYLOADS) - 1
        assert set(payloads) < set(PAYLOADS)
        assert len(damage) == 1


@pytest.mark.parametrize("part", ["header", "key id", "salt", "key", "checksum"])
def test_a_flipped_bit_before_the_records_is_said(
    tmp_path: Path, disk: Disk, keys: StorageKeys, part: str
) -> None:
    """The file cannot be read then, and one sentence says why; nothing is taken for a torn tail."""
    path = tmp_path / "a.log"
    _write(disk, path, keys)
    at = {"header": 17, "key id": 35, "salt": 45, "key": 70, "checksum": 106}[part]
    raw = bytearray(path.read_bytes())
    raw[at] ^= 4
    path.write_bytes(raw)
    with pytest.raises(AppiaError, match="damaged"):
        _scan(path, keys)


def _forge(path: Path, offset: int, change: int, kind: int = EVENT) -> None:
    """Change a byte of the record at `offset` and make its checksum fit."""
    raw = bytearray(path.read_bytes())
    (file_id,) = struct.unpack_from("<Q", raw, 16)
    length, _, _, lsn = struct.unpack_from("<IIBQ", raw, offset)
    payload = raw[offset + RECORD : offset + RECORD + length]
    payload[change] ^= 1
    seed = google_crc32c.value(struct.pack("<QQIB", file_id, lsn, length, kind))
    crc = google_crc32c.extend(seed, bytes(payload))
    raw[offset : offset + RECORD + length] = struct.pack("<IIBQ", length, crc, kind, lsn) + payload
    path.write_bytes(raw)


@pytest.mark.parametrize("place", [0, 1, 3])
@pytest.mark.parametrize("change", [0, 8, -1])
def test_a_record_that_somebody_changed_is_damage_and_never_a_tail(
    tmp_path: Path, disk: Disk, keys: StorageKeys, place: int, change: int
) -> None:
    """Counter, data or tag changed, with a checksum that fits: the record is set aside, those around it are kept.

    If it were taken for a torn tail, whoever can write the disk could have events cut off by a restart.
    """
    path = tmp_path / "a.log"
    offsets = _write(disk, path, keys)
    _forge(path, offsets[place], change)
    payloads, damage = _scan(path, keys)
    assert payloads == [payload for i, payload in enumerate(PAYLOADS) if i != place]
    ends = [*offsets[1:], path.stat().st_size]
    assert damage == [Damage(offsets[place], ends[place], tail=False)]


def test_a_plain_record_put_into_an_encrypted_file_is_damage(
    tmp_path: Path, disk: Disk, keys: StorageKeys
) -> None:
    """Who has no key cannot add an event: the checksum is no secret, the seal is."""
    path = tmp_path / "a.log"
    _write(disk, path, keys)
    raw = path.read_bytes()
    (file_id,) = struct.unpack_from("<Q", raw, 16)
    for forged in (b"short", b"an event that nobody sent"):
        seed = google_crc32c.value(struct.pack("<QQIB", file_id, 9, len(forged), EVENT))
        record = struct.pack("<IIBQ", len(forged), google_crc32c.extend(seed, forged), EVENT, 9) + forged
        path.write_bytes(raw + record)
        assert _scan(path, keys) == (PAYLOADS, [Damage(len(raw), len(raw) + len(record), tail=False)])


def test_a_record_cannot_be_moved(tmp_path: Path, disk: Disk, keys: StorageKeys) -> None:
    """Under another number, as another kind, or into another file under the same key: it does not open."""
    path = tmp_path / "a.log"
    log = LogWriter(disk, path, keys)
    log.append(EVENT, 0, [b"one"])
    sealed = log._cipher
    assert sealed is not None
    payload = sealed.seal(EVENT, 1, 200, b"two")
    log.close()
    assert sealed.open(EVENT, 1, 200, payload) == b"two"
    assert sealed.open(EVENT, 2, 200, payload) is None
    assert sealed.open(EVENT + 1, 1, 200, payload) is None
    assert sealed.open(EVENT, 1, 201, payload) is None
    assert sealed.open(EVENT, 1, 200, payload[:20]) is None


@pytest.mark.parametrize("how", ["swapped", "repeated", "cut out"])
def test_records_cannot_be_put_in_another_order(
    tmp_path: Path, disk: Disk, keys: StorageKeys, how: str
) -> None:
    """Two that change places, one that comes twice, one that is taken out: what is not in its place is damage."""
    path = tmp_path / "a.log"
    payloads = [b"one!", b"two!", b"last"]
    first, second, third = _write(disk, path, keys, payloads)
    raw = path.read_bytes()
    start, one, two, last = raw[:first], raw[first:second], raw[second:third], raw[third:]
    changed, kept = {
        "swapped": (start + two + one + last, [b"last"]),
        "repeated": (raw + one, payloads),
        "cut out": (start + two + last, []),
    }[how]
    path.write_bytes(changed)
    found, damage = _scan(path, keys)
    assert found == kept
    assert damage
    assert not any(stretch.tail for stretch in damage)


def test_the_key_of_one_file_opens_no_other(tmp_path: Path, disk: Disk, keys: StorageKeys) -> None:
    """A key block copied behind another header is refused, although it was wrapped by the same storage key."""
    _write(disk, tmp_path / "a.log", keys)
    _write(disk, tmp_path / "b.log", keys)
    one, two = (bytearray((tmp_path / name).read_bytes()) for name in ("a.log", "b.log"))
    one[HEADER : HEADER + BLOCK] = two[HEADER : HEADER + BLOCK]
    crc = google_crc32c.value(bytes(one[: HEADER + BLOCK - 8]))
    one[HEADER + BLOCK - 8 : HEADER + BLOCK - 4] = struct.pack("<I", crc)
    (tmp_path / "a.log").write_bytes(one)
    with pytest.raises(AppiaError, match="was changed, or is of another file"):
        _scan(tmp_path / "a.log", keys)


def test_without_the_key_nothing_is_read_and_nothing_is_damage(
    tmp_path: Path, disk: Disk, keys: StorageKeys
) -> None:
    """A missing or another key is said; if it looked like damage, a start without the key would cut the log."""
    path = tmp_path / "a.log"
    offsets = _write(disk, path, keys)
    new_storage_keys(disk, tmp_path / "other.keys")
    for reader in (LogReader(path), LogReader(path, StorageKeys(tmp_path / "other.keys", print))):
        with pytest.raises(AppiaError, match="encrypted with the storage key"):
            list(reader.scan())
        with pytest.raises(AppiaError, match="encrypted with the storage key"):
            reader.record(offsets[0])
        assert not [found for found in reader.scan_stored() if isinstance(found, Damage)]
        reader.close()


def test_older_files_are_read_after_a_rotation(
    tmp_path: Path, disk: Disk, keys: StorageKeys, keys_file: Path
) -> None:
    """New files have the new key, and both open."""
    _write(disk, tmp_path / "a.log", keys)
    old = keys.for_new_files().key_id
    rotate_storage_keys(disk, keys_file)
    _write(disk, tmp_path / "b.log", keys)
    ids = [struct.unpack_from("<Q", (tmp_path / name).read_bytes(), HEADER)[0] for name in ("a.log", "b.log")]
    assert ids == [old, keys.for_new_files().key_id]
    assert ids[0] != ids[1]
    assert _scan(tmp_path / "a.log", keys) == _scan(tmp_path / "b.log", keys) == (PAYLOADS, [])


def test_plain_files_are_read_unless_encryption_is_required(
    tmp_path: Path, disk: Disk, keys: StorageKeys, keys_file: Path
) -> None:
    """What was written before there was a key stays readable, until the settings say no."""
    log = LogWriter(disk, tmp_path / "a.log")
    log.append(EVENT, 0, PAYLOADS)
    log.close()
    assert _scan(tmp_path / "a.log", keys) == (PAYLOADS, [])
    with pytest.raises(AppiaError, match="is not encrypted, and require_encryption is set"):
        LogReader(tmp_path / "a.log", StorageKeys(keys_file, print, require_encryption=True))


def test_compressed_blocks_are_sealed_too(tmp_path: Path, disk: Disk, keys: StorageKeys) -> None:
    """Each event of a sealed day is read by its position."""
    payloads = [b"event %d " % i * 20 for i in range(32)]
    log = LogWriter(disk, tmp_path / "a.log", keys)
    positions = log.append_block(0, payloads, 6)
    log.close()
    reader = LogReader(tmp_path / "a.log", keys)
    assert [reader.event(position) for position in positions.tolist()] == payloads
    reader.close()
    assert b"event" not in (tmp_path / "a.log").read_bytes()


class FlakyCalls(SystemCalls):
    """Some writes are cut short or fail, some truncations are not done."""

    def __init__(self, dice: random.Random) -> None:
        self._dice = dice

    def write(self, fd: int, data: bytes | memoryview) -> int:
        fate = self._dice.random()
        if fate < 0.1:
            raise OSError(28, "No space left on device")
        return super().write(fd, data if fate < 0.7 else bytes(data)[: 1 + len(data) // 3])

    def truncate(self, fd: int, size: int) -> None:
        if self._dice.random() < 0.3:
            raise OSError(5, "Input/output error")
        super().truncate(fd, size)


@pytest.fixture
def sealings(monkeypatch: pytest.MonkeyPatch) -> list[tuple[bytes, bytes]]:
    """Every key and nonce that anything was encrypted with."""
    used: list[tuple[bytes, bytes]] = []

    class Noting:
        def __init__(self, key: bytes) -> None:
            self._key, self._cipher = key, ChaCha20Poly1305(key)

        def encrypt(self, nonce: bytes, data: bytes, aad: bytes) -> bytes:
            used.append((self._key, nonce))
            return self._cipher.encrypt(nonce, data, aad)

    monkeypatch.setattr(log_keys, "ChaCha20Poly1305", Noting)
    return used


@pytest.mark.parametrize("seed", range(40))
def test_no_nonce_comes_twice_whatever_fails(
    tmp_path: Path, keys: StorageKeys, sealings: list[tuple[bytes, bytes]], seed: int
) -> None:
    """Writes that fail and are done again, tails that are cut off and written anew, files abandoned and begun anew.

    The nonce is neither an offset nor a number of a record, both of which come again here under the same key.
    """
    dice = random.Random(seed)
    disk = Disk(FlakyCalls(dice))
    twice = 0
    for number in range(6):
        try:
            log = LogWriter(disk, tmp_path / f"{number}.log", keys)
        except OSError:
            continue
        seen: set[int] = set()
        for _ in range(12):
            before = log.size
            twice += before in seen
            seen.add(before)
            try:
                log.append(EVENT, before, [b"event"] * dice.randrange(1, 4))
                if dice.random() < 0.4:
                    log._file.truncate(before)
            except OSError:
                continue
            except AppiaError:  # nor could it be cut back: nothing is appended any more
                break
        log.abandon(HEADER + BLOCK)
    assert len(sealings) > 20
    assert len(set(sealings)) == len(sealings)
    assert twice
