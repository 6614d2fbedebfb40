"""What a service registers is somewhere that others can connect to."""

from __future__ import annotations

import pytest

from services.common.errors import UsageError
from services.common.registry.advertising import advertised


@pytest.mark.parametrize(
    ("bound", "advertise", "registered"),
    [
        ("tcp://10.1.2.3:5560", None, "tcp://10.1.2.3:5560"),
        ("tcp://[fd00::3]:5560", None, "tcp://[fd00::3]:5560"),
        ("tcp://node-1:5560", None, "tcp://node-1:5560"),
        ("tcp://0.0.0.0:5560", "tcp://10.1.2.3:5560", "tcp://10.1.2.3:5560"),
        ("tcp://0.0.0.0:5560", "tcp://gateway.example:7000", "tcp://gateway.example:7000"),
        ("tcp://0.0.0.0:40123", "tcp://10.1.2.3:*", "tcp://10.1.2.3:40123"),
        ("tcp://[::]:40123", "tcp://[fd00::3]:*", "tcp://[fd00::3]:40123"),
    ],
)
def test_what_is_registered(bound: str, advertise: str | None, registered: str) -> None:
    """The setting wins, `*` in it is the bound port; without it the bound endpoint."""
    assert advertised(bound, advertise) == registered


@pytest.mark.parametrize("host", ["0.0.0.0", "[::]", "*", "[::ffff:0.0.0.0]"])  # noqa: S104 - that is the point
def test_every_address_of_a_machine_is_no_place_to_connect_to(host: str) -> None:
    """Neither where a socket is bound to it, nor where the setting says it."""
    with pytest.raises(UsageError, match=r"is every address of this machine.* set advertise_control to"):
        advertised(f"tcp://{host}:5572", None, "advertise_control")
    with pytest.raises(UsageError, match=r"'advertise' is tcp.*every address of a machine: name the one"):
        advertised("tcp://10.1.2.3:5560", f"tcp://{host}:5560")


def test_what_is_told_is_an_endpoint() -> None:
    with pytest.raises(UsageError, match=r"'10.1.2.3' is no endpoint; write it as tcp://HOST:PORT"):
        advertised("tcp://0.0.0.0:5560", "10.1.2.3")
