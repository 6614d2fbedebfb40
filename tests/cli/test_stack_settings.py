"""What `appia up` writes into the settings of its services."""

from __future__ import annotations

import random
import tomllib
from typing import TYPE_CHECKING

import pytest

from services.cli.ports import PortBook
from services.cli.stack import StackOptions, make_services
from services.common.days.names import StateNames
from services.common.durable import Disk

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("listen", "told"),
    [("127.0.0.1", None), ("0.0.0.0", "tcp://127.0.0.1:{}"), ("::", "tcp://[::1]:{}")],  # noqa: S104 - that is asked
)
def test_an_intake_on_every_address_is_registered_under_one(
    tmp_path: Path, listen: str, told: str | None
) -> None:
    """The ingester refuses to register all of them; others of this machine find it on loopback."""
    names = StateNames(tmp_path)
    Disk().make_folder(names.run)
    options = StackOptions(
        names, 1, "file", listen, None, None, {"ingester": {}, "rag": {}, "health": {}}, health=False
    )
    ports = PortBook(names.run / "ports.json", random.Random(1), print)
    ingester, _ = make_services(options, ports, Disk())
    settings = tomllib.loads(ingester.settings.read_text())
    port = settings["v2"].rpartition(":")[2]
    assert settings.get("advertise") == (told and told.format(port))
