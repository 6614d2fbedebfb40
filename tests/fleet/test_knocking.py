"""Who knocks finds the ports that let in, and no others; and a user who is not root has root do what is typed."""

from __future__ import annotations

import shlex
import socket

from fleet import hardened
from fleet.fleet import DESK
from fleet.knocking import knock
from fleet.machine import Login


def test_ports_that_let_in_are_found_and_those_beside_them_are_not() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening, socket.create_server(("127.0.0.1", 0)) as other:
        port = listening.getsockname()[1]
        assert knock("127.0.0.1", range(port, port + 1)) == [port]
        gone = other.getsockname()[1]
        other.close()
        assert knock("127.0.0.1", range(gone, gone + 1)) == []


def test_what_a_user_types_is_done_by_root_and_shows_no_password() -> None:
    login = Login("admin", "hunter2")
    line = ". /etc/x.env; echo 'a b' \"$HOME\""
    assert Login().as_root(line) == line
    assert shlex.split(login.as_root(line)) == ["sudo", "--stdin", "--prompt=", "sh", "-c", line]
    assert "hunter2" not in f"{login}{login.as_root(line)}"


def test_every_place_and_machine_of_the_closed_site_is_tried() -> None:
    """A machine that is not named would have ports that nobody looks at."""
    places = {
        hardened.STRANGER,
        hardened.ADMINISTRATOR,
        DESK,
        *hardened.PLAN.sensors,
        *hardened.PLAN.machines,
    }
    assert set(hardened.OPEN) == places
    for place, machines in hardened.OPEN.items():
        assert set(machines) == set(hardened.PLAN.machines) - {place}
