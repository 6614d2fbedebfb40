"""Machines as careful administrators have them, and a site on them that is closed wherever it can be.

Root does not come in, users become root by sudo, who makes a file has it for himself alone (umask 077), nothing in
`/media` and `/tmp` can be run, and each machine has a service of its own that appia knows nothing of. The site
encrypts its logs, refuses plain ones, and closes every port that it does not need.
"""

from __future__ import annotations

import json
import os
import shlex
import stat
import sys
import time
from functools import partial
from typing import TYPE_CHECKING, Any

from fleet import hurting, installing
from fleet.fleet import DESK, MEDIA, wait_until
from fleet.image import PACKAGES
from fleet.machine import Login
from fleet.sites import ANALYST, SECRET_MODE, Plan
from fleet.story import Alert, Check, Step

from services.common.days.log_format import is_encrypted

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from fleet.fleet import Fleet, Versions
    from fleet.machine import Machine

IMAGE_PACKAGES = (*PACKAGES, "sudo")
PLAN = Plan(
    "a",
    "ing-a",
    ("ing-a", "rag-1"),
    ("ing-a",),
    ("sensor-a",),
    settings={
        "ansible_become": True,  # as many inventories have it; it is not for what runs on the controller
        "appia_encrypt": True,
        "appia_ingester_settings": {"require_encryption": True},
        "appia_rag_settings": {"require_encryption": True},
        "appia_firewall_default_drop": True,
    },
)
STRANGER, ADMINISTRATOR = "stranger", "administrator"
STORAGE_KEY = "/etc/appia/keys/rest/storage.keys"
RESTARTS = (Alert("*", "service-*"), Alert("*", "replica-*"), Alert("*", "mirror*"), Alert("*", "etcd-down"))
USER = "admin"
ADDRESS_WITHIN_S = 30.0
"""A machine asks its neighbours first whether one of them has the address that it gave itself."""
SSH, OTHERS_PORT = 22, 8080
OPEN: dict[str, dict[str, list[int]]] = {
    STRANGER: {"ing-a": [], "rag-1": []},
    ADMINISTRATOR: {"ing-a": [SSH], "rag-1": [SSH]},
    "sensor-a": {"ing-a": [5570], "rag-1": []},
    DESK: {"ing-a": [2379, 5561, 5572, 5573], "rag-1": [5561]},
    "ing-a": {"rag-1": [5561, 5576]},
    "rag-1": {"ing-a": [2379, 5561, 5572, 5573, 5574]},
}
"""From where which ports of which machine can be reached: all that docs/security-checklist.md names, and no other."""
_UNIT = f"""[Service]
ExecStart=/usr/bin/python3 -m http.server {OTHERS_PORT} --bind :: --directory /usr/share/doc
[Install]
WantedBy=multi-user.target
"""
_HARDEN = f"""set -eu
useradd --create-home --shell /bin/bash {USER}
chpasswd
install -d -o {USER} -g {USER} -m 0700 /home/{USER}/.ssh
install -o {USER} -g {USER} -m 0600 ~root/.ssh/authorized_keys /home/{USER}/.ssh/authorized_keys
rm ~root/.ssh/authorized_keys
echo "{USER} ALL=(ALL:ALL) $ASKED ALL" > /etc/sudoers.d/{USER}
chmod 0440 /etc/sudoers.d/{USER}
echo 'PermitRootLogin no' > /etc/ssh/sshd_config.d/00-root.conf
sed -i 's/^UMASK.*/UMASK 077/' /etc/login.defs
for session in common-session common-session-noninteractive; do
    echo 'session optional pam_umask.so' >> /etc/pam.d/$session
done
mount -o remount,bind,ro,noexec,nosuid,nodev {MEDIA}
mount -t tmpfs -o noexec,nosuid,nodev,mode=1777 tmpfs /tmp
echo {shlex.quote(_UNIT)} > /etc/systemd/system/other.service
systemctl --quiet enable --now other.service
systemctl restart ssh
"""


def steps(fleet: Fleet, versions: Versions) -> list[Step]:
    """What is tried."""
    (site,) = fleet.plans
    return [
        Step("Close the machines", partial(close, fleet, versions)),
        Step("Install from nothing", partial(installing.install, fleet, site)),
        Step("Install once more", partial(installing.install_again, fleet)),
        Step("Hand over", partial(hand_over, fleet)),
        Step("Feed and ask", partial(installing.begin, fleet)),
        Step("Seal a day", partial(installing.seal, fleet)),
        Step("Try every port", partial(try_ports, fleet)),
        Step("Look at what is on the disks", partial(look_at_logs, fleet)),
        Step("Change the storage key", partial(change_storage_key, fleet), allowed=RESTARTS),
        Step("Back up", partial(back_up, fleet)),
        Step(
            "Power off rag-1",
            partial(hurting.cut_power, fleet, "rag-1"),
            expected=hurting.replicas_down(fleet, "rag-1"),
            allowed=(Alert("*", "mirror*"), Alert("*", "service-*", "mirror/*"), Alert("*", "replica-*")),
        ),
        Step(
            "Upgrade one by one",
            partial(installing.upgrade, fleet, versions),
            allowed=RESTARTS,
        ),
        Step("Try every port once more", partial(try_ports, fleet)),
    ]


def close(fleet: Fleet, versions: Versions) -> Iterator[Check]:
    """Do to new machines what administrators do, and see that it has taken effect."""
    fleet.machines.add_namespace(STRANGER)
    before = {name: [SSH, OTHERS_PORT] for name in fleet.names}
    password = os.urandom(12).hex()
    kept = fleet.folder / "sudo.password"
    kept.write_text(f"{password}\n")
    kept.chmod(SECRET_MODE)
    fleet.environment["ANSIBLE_BECOME_PASSWORD_FILE"] = str(kept)
    for name in fleet.names:
        _harden(fleet.machines[name], password, asked=name == PLAN.ingester)
    fleet.write_inventories(versions.first)
    yield _reached(fleet, STRANGER, before)
    wait_until(
        lambda: _by_ipv6(fleet) == before, ADDRESS_WITHIN_S, lambda: f"IPv6 leads to them: {_by_ipv6(fleet)}"
    )
    for machine in fleet.machines:
        root = machine.run("sshd", "-T").stdout
        yield Check(f"root does not come in at {machine.name}", "permitrootlogin no" in root)
        made = machine.ssh("cd /root && rm -f made && touch made && stat -c '%U %a' made && rm made").stdout
        what = f"{USER} becomes root at {machine.name}, and files are root's alone"
        yield Check(what, made == "root 600\n", made.strip())


def _harden(machine: Machine, password: str, *, asked: bool) -> None:
    """`asked` says whether sudo asks for the password."""
    line = f"ASKED={'' if asked else 'NOPASSWD:'}\n{_HARDEN}"
    machine.run("sh", "-c", line, given=f"{USER}:{password}\n")
    machine.login = Login(USER, password)


def hand_over(fleet: Fleet) -> Iterator[Check]:
    """What an analyst gets comes out of the vault, on this computer, and nobody has to be root for it."""
    into = fleet.folder / "handed over"
    given = {"appia_hand_over": f"clients/{ANALYST}.secret,public,reader", "appia_into": str(into)}
    yield installing.right(fleet.play(PLAN.name, "hand-over.yml", installing.INSTALL_S, **given))
    mode = stat.filemode((into / f"clients/{ANALYST}.secret").stat().st_mode)
    yield Check("the analyst's key is for its owner alone", mode == "-r--------", mode)


def try_ports(fleet: Fleet) -> Iterator[Check]:
    """Whatever listens, only what has to be reached is reached."""
    for place, wanted in OPEN.items():
        yield _reached(fleet, place, wanted)
    found = _by_ipv6(fleet)
    yield Check(f"{STRANGER} reaches none by IPv6", not any(found.values()), str(found))


def _by_ipv6(fleet: Fleet) -> dict[str, list[int]]:
    addresses = {_own_address(fleet.machines[name]): name for name in fleet.names}
    return {addresses[address]: ports for address, ports in _knock(fleet, STRANGER, list(addresses)).items()}


def _reached(fleet: Fleet, place: str, wanted: Mapping[str, list[int]]) -> Check:
    addresses = {fleet.machines[name].address: name for name in wanted}
    told = _knock(fleet, None if place == ADMINISTRATOR else place, list(addresses))
    found = {addresses[address]: ports for address, ports in told.items()}
    return Check(f"{place} reaches no other ports than it has to", found == wanted, f"{found}")


def _knock(fleet: Fleet, place: str | None, addresses: list[str]) -> dict[str, list[int]]:
    """By each address the ports that let somebody in who comes from a place; see knocking.py."""
    return dict(json.loads(fleet.run_at(place, [sys.executable, "-m", "fleet.knocking", *addresses])))


def _own_address(machine: Machine) -> str:
    """The address that it gave itself, as its neighbours write it."""
    shown: list[dict[str, Any]] = json.loads(
        machine.run("ip", "-json", "-6", "address", "show", "eth0").stdout
    )
    return f"{shown[0]['addr_info'][0]['local']}%eth0"


def look_at_logs(fleet: Fleet) -> Iterator[Check]:
    """Whose disk it is reads no event in the logs, on either machine."""
    for machine in fleet.machines:
        logs = [path for path in (machine.root / "var/lib/appia/a").rglob("*.log") if path.stat().st_size]
        plain = [path.name for path in logs if not is_encrypted(path)]
        kinds = {kind for path in logs for kind in ("open", "sealed") if kind in path.parts}
        seen = f"{len(logs)} logs of {' and '.join(sorted(kinds))} days, plain: {', '.join(plain) or 'none'}"
        yield Check(f"every log on {machine.name} is encrypted", len(kinds) > 1 and not plain, seen)


def change_storage_key(fleet: Fleet) -> Iterator[Check]:
    """Another key for what is written from now on; one that was made on the node alone is not written over."""
    since = time.time()
    for playbook, variables in (("keys.yml", {"appia_change_key": "storage"}), ("site.yml", {})):
        yield installing.right(fleet.play(PLAN.name, playbook, installing.INSTALL_S, **variables))
    yield installing.fresh(fleet)
    yield installing.calm(fleet)
    yield installing.questions(fleet, since)
    machine = fleet.machines[PLAN.ingester]
    machine.ssh(
        f"cp -a {STORAGE_KEY} /var/tmp/kept && runuser -u appia -- appia keys storage rotate /etc/appia/keys"
    )
    played = fleet.play(PLAN.name, "site.yml", installing.INSTALL_S)
    refused = played.status != 0 and "the vault does not have: storage keys (1)" in " ".join(
        played.output.split()
    )
    yield Check("a key that the vault does not have stays where it is", refused, f"status {played.status}")
    machine.ssh(f"mv /var/tmp/kept {STORAGE_KEY}")


def back_up(fleet: Fleet) -> Iterator[Check]:
    """What docs/backup.md says of nodes; and what was backed up is read with the key."""
    machine, state = fleet.machines[PLAN.ingester], f"/var/lib/appia/{PLAN.name}"
    backup = f"runuser -u appia -- appia backup /srv/backup --state {state}"
    machine.ssh("install -d -o appia -g appia -m 0700 /srv/backup")
    yield Check("a backup is made", held=True, seen=machine.ssh(f"{backup} --keep 30").stdout.splitlines()[0])
    yield Check("it is read whole", held=True, seen=machine.ssh(f"{backup} --check").stdout.strip())
    verify = f"runuser -u appia -- appia verify --state {state}"
    keys = f"--public-key /etc/appia/public-{PLAN.name}/signing.public --storage-key {STORAGE_KEY}"
    said = machine.ssh(f"{verify} {keys}").stdout
    yield Check(
        "sealed days are whole, and their logs open with the key", "whole" in said, said.splitlines()[0]
    )
