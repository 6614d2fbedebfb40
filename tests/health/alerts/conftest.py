"""A mailbox and a web hook on loopback."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import pytest
from health.alerts.receivers import Hook, Mailbox

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def mailbox() -> Iterator[Mailbox]:
    """One that is not started yet."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    box = Mailbox(port)
    yield box
    box.stop()


@pytest.fixture
def hook() -> Iterator[Hook]:
    """One that answers."""
    receiver = Hook()
    yield receiver
    receiver.close()
