"""Key files of CURVE: which half of a pair a file holds."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from services.common.access.curve import KeyPair, make_server_key
from services.common.durable import Disk
from services.common.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path


def test_the_public_half_is_not_taken_for_the_secret_one(tmp_path: Path) -> None:
    """It would be a key like any other; the advice is not to change its mode, but to name the other file."""
    secret, public = make_server_key(Disk(), tmp_path)
    assert KeyPair.read(secret).public == public
    with pytest.raises(UsageError, match=f"name the file of the secret one, {secret}"):
        KeyPair.read(secret.with_suffix(".public"))
