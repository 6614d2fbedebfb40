"""Tables of texts and addresses number what they are given, also after a crash and when they forget."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.common.days.columns import (
    ROW,
    AddressTable,
    TextTable,
    columns_in,
    pack_address,
    pack_text,
    unpack_texts,
    write_columns,
)
from services.common.durable import REAL

if TYPE_CHECKING:
    from pathlib import Path

    from services.common.durable import Disk


def test_new_texts_of_one_call_get_consecutive_numbers(tmp_path: Path, disk: Disk) -> None:
    """Several new texts in one batch are numbered one after the other, as they lie in the file."""
    table = TextTable(disk, tmp_path / "t")
    assert table.codes(["a", "b", "a", "c"]).tolist() == [0, 1, 0, 2]
    assert table.codes(["d", "b"]).tolist() == [3, 1]
    table.close()
    assert unpack_texts((tmp_path / "t").read_bytes())[0] == ["a", "b", "c", "d"]


def test_a_table_goes_on_where_it_ended_and_cuts_a_torn_text(tmp_path: Path, disk: Disk) -> None:
    """After a crash in mid-write the whole texts keep their numbers."""
    table = TextTable(disk, tmp_path / "t")
    table.codes(["first", "sécond"])
    table.close()
    with (tmp_path / "t").open("ab") as file:
        file.write(pack_text("torn")[:-1])
    again = TextTable(disk, tmp_path / "t")
    assert again.codes(["third", "first"]).tolist() == [2, 0]
    again.close()
    assert unpack_texts((tmp_path / "t").read_bytes())[0] == ["first", "sécond", "third"]


def test_what_is_behind_the_kept_texts_is_cut(tmp_path: Path, disk: Disk) -> None:
    """A table is brought back to the number of its vectors."""
    table = TextTable(disk, tmp_path / "t")
    table.codes(["a", "b", "c"])
    table.close()
    again = TextTable(disk, tmp_path / "t", keep=1)
    assert len(again) == 1
    assert again.codes(["c"]).tolist() == [1]
    again.close()


@pytest.mark.parametrize("kind", [TextTable, AddressTable])
def test_a_table_that_forgets_never_gives_a_wrong_number(
    tmp_path: Path, disk: Disk, kind: type[TextTable | AddressTable]
) -> None:
    """Beyond its bound a value may get a second number; every number still leads to the right value."""
    values = [f"10.0.{i // 250}.{i % 250}" for i in range(3000)]
    table = kind(disk, tmp_path / "t", remembered=100)
    codes = np.concatenate([table.codes(values[i : i + 70]) for _ in range(2) for i in range(0, 3000, 70)])
    table.close()
    raw = (tmp_path / "t").read_bytes()
    if kind is TextTable:
        stored = unpack_texts(raw)[0]
        assert [stored[code] for code in codes.tolist()] == values * 2
    else:
        assert [raw[16 * code : 16 * code + 16] for code in codes.tolist()] == [
            pack_address(v) for v in values * 2
        ]


def test_an_address_has_one_number_however_it_is_written(tmp_path: Path, disk: Disk) -> None:
    """Spellings of one address share a number, also after the table was opened again."""
    table = AddressTable(disk, tmp_path / "a")
    assert table.codes(["2001:db8::1", "2001:DB8:0::1", "192.0.2.1"]).tolist() == [0, 0, 1]
    table.close()
    again = AddressTable(disk, tmp_path / "a")
    assert again.codes(["192.0.2.1", "192.0.2.2"]).tolist() == [1, 2]
    again.close()
    with pytest.raises(ValueError, match="not an address"):
        pack_address("not an address")


@given(st.integers(0, 300))
def test_columns_come_back_as_they_were_written(tmp_path_factory: pytest.TempPathFactory, rows: int) -> None:
    """Each column of a sealed day is the same as that of its rows, for any number of them."""
    path = tmp_path_factory.mktemp("columns") / "columns.bin"
    written = np.frombuffer(np.random.default_rng(rows).bytes(rows * ROW.itemsize), ROW)
    write_columns(REAL, path, written)
    file = np.fromfile(path, np.uint8)
    mapped = columns_in(file, rows)
    for name in ROW.names or ():
        assert mapped[name].tobytes() == np.ascontiguousarray(written[name]).tobytes()
    with pytest.raises(ValueError, match="bytes and should have"):
        columns_in(file, rows + 100)
