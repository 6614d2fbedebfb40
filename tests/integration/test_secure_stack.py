"""A whole stack with everything on that keeps others out, and what those see who are kept out.

Events come from another machine (a network namespace) and questions too; both sockets for questions listen beyond
loopback, with keys. The registry is an etcd over TLS that wants a certificate and a login, and its entries are sealed.
Logs are encrypted and plain ones refused; days are signed, and replicas map only what the chain names.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest
from real_etcd.certificates import make_certificates
from real_etcd.cluster import Wires
from real_etcd.member import MISSING, Member, Setup, installed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    Stack = Any

APPIA = [sys.executable, "-m", "services.cli.main"]
EVENTS = 300
QUESTION = ("search", "many connections to one host", "-k", "5")
PASSWORD = "a-password-of-this-test"  # noqa: S105 - of an etcd that lives as long as the test


@dataclass(frozen=True)
class Said:
    """How a command ended."""

    status: int
    out: str
    err: str

    @property
    def told(self) -> Any:
        assert (self.status, self.err) == (0, ""), self
        return json.loads(self.out)


@dataclass(frozen=True)
class Place:
    """Where commands run: on this machine, or behind one of the cables."""

    folder: Path
    before: tuple[str, ...] = ()
    environment: dict[str, str] = field(default_factory=dict)

    def appia(self, *words: str, given: str = "") -> Said:
        mine = {name: value for name, value in os.environ.items() if not name.startswith("APPIA_")}
        done = subprocess.run(
            [*self.before, *APPIA, *words],
            input=given,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
            env={**mine, **self.environment},
        )
        return Said(done.returncode, done.stdout, done.stderr)


@pytest.fixture
def wires() -> Iterator[Wires]:
    if not installed():
        pytest.skip(MISSING)
    if not Wires.possible():
        pytest.skip("network namespaces are not possible here: this test needs root and iproute2")
    found = Wires()
    try:
        found.make()
        yield found
    finally:
        found.remove()


@pytest.fixture
def etcd(wires: Wires, tmp_path: Path) -> Iterator[Member]:
    """Behind a cable, over TLS, with a user who may use one prefix."""
    host = wires.hosts[0]
    certificates = make_certificates(tmp_path / "certificates", [host])
    setup = Setup(host, certificates, ("ip", "netns", "exec", wires.spaces[0]), ("--client-cert-auth",))
    member = Member(tmp_path / "etcd", setup=setup)
    member.start()
    try:
        member.control("role", "add", "appia")
        member.control("role", "grant-permission", "appia", "--prefix=true", "readwrite", "appia/")
        for name in ("root", "appia"):
            member.control("user", "add", name, "--interactive=false", given=f"{PASSWORD}\n")
            member.control("user", "grant-role", name, name)
        member.control("auth", "enable")
        yield member
    finally:
        member.kill()


class Secure:
    """Keys and settings of a stack, and who asks it from where."""

    def __init__(self, folder: Path, wires: Wires, etcd: Member) -> None:
        self.state, self.keys = folder / "state", folder / "state" / "keys"
        self.settings, self.access = folder / "settings.toml", folder / "access.toml"
        self.url = f"etcds://{etcd.hostport}/appia"
        self.machine = wires.machine
        self.nobody = Place(folder)
        self._make_keys(etcd)
        self.alice = Place(folder, environment=self._named("alice"))
        self.limited = Place(folder, environment=self._named("limited"))
        self.elsewhere = Place(folder, ("ip", "netns", "exec", wires.spaces[1]), self._named("alice"))
        (self.public,) = (self.keys / "signing").glob("*.public")
        self.settings.write_text(self._settings())

    def _make_keys(self, etcd: Member) -> None:
        """What docs/ tells an operator to do."""
        found = etcd.certificates
        keys, appia = str(self.keys), self.nobody.appia
        made = [
            appia("keys", "new", keys),
            appia("keys", "server", keys),
            appia("keys", "storage", "new", keys),
        ]
        files = ("--certificate", str(found.client[0]), "--certificate-key", str(found.client[1]))
        login = ("--ca", str(found.ca), *files, "--login", "appia")
        made.append(appia("keys", "registry", keys, *login, given=f"{PASSWORD}\n"))
        for name, rights in (("alice", ("questions", "remarks", "control")), ("limited", ("get", "days"))):
            words = ("--access", str(self.access), "--out", str(self.settings.with_name(f"{name}.secret")))
            operations = [word for right in rights for word in ("--operations", right)]
            made.append(appia("access", "new", name, *words, *operations))
        assert [said.status for said in made] == [0] * len(made), made

    def _named(self, name: str) -> dict[str, str]:
        """The environment of one that has a key, and the server's public key by a way that can be trusted."""
        public = (self.keys / "access" / "server.public").read_text().strip()
        return {"APPIA_KEY": str(self.settings.with_name(f"{name}.secret")), "APPIA_SERVER_KEY": public}

    def _settings(self) -> str:
        storage = f'storage_key = "{self.keys}/rest/storage.keys"\nrequire_encryption = true\n'
        access = f'server_key = "{self.keys}/access/server.secret"\naccess = "{self.access}"\n'
        anywhere = f'"tcp://{self.machine}:*"'
        return (
            f"[ingester]\ncontrol = {anywhere}\n{storage}{access}"
            f'[rag]\nbind = {anywhere}\nsigning_key = "{self.public}"\n{storage}{access}'
        )

    @property
    def options(self) -> tuple[str, ...]:
        """Those of `appia up`."""
        return (
            *("--replicas", "2", "--registry", self.url),
            *("--settings", str(self.settings), "--listen", self.machine),
        )


@pytest.fixture
def secure(tmp_path: Path, wires: Wires, etcd: Member) -> Secure:
    return Secure(tmp_path, wires, etcd)


def _ask(place: Place, state: Path) -> list[Any]:
    """The groups of the answer, without what tells how long it took."""
    groups = place.appia(*QUESTION, "--state", str(state), "--json").told["groups"]
    assert len(groups) == 5
    return [(group["narrative"], group["count"]) for group in groups]


def _rows(place: Place, state: Path) -> int:
    said = place.appia("stats", "--state", str(state), "--json")
    return 0 if said.status else int(json.loads(said.out)["rows"])


def _nothing_is_plain(secure: Secure, etcd: Member, event: str) -> None:
    """No log has the id of an event, and etcd tells no address."""
    logs = [*secure.state.glob("days/**/events*.log")]
    assert logs
    assert not any(event.encode() in log.read_bytes() for log in logs)
    entries = etcd.control("get", "--prefix", "appia/rag/", options=("--user", f"appia:{PASSWORD}"))
    assert "appia/rag/" in entries
    assert secure.machine not in entries


def _others_are_kept_out(secure: Secure, stack: Stack, tmp_path: Path) -> None:
    """Without a key, with an unknown one, with another server key; with a right that is not enough."""
    state = ("--state", str(secure.state))
    assert "answers known keys only" in secure.nobody.appia(*QUESTION, *state).err
    unknown = tmp_path / "unknown.secret"
    assert secure.nobody.appia("access", "new", "unknown", "--out", str(unknown)).status == 0
    stranger = Place(tmp_path, environment={**secure.alice.environment, "APPIA_KEY": str(unknown)})
    assert "does not know the key" in stranger.appia(*QUESTION, *state).err
    other = {**secure.alice.environment, "APPIA_SERVER_KEY": "P7[/E5>Qdt]aTEXq4Mkr}&SJ<=@UvqUG3C(RtmXL"}
    assert Place(tmp_path, environment=other).appia(*QUESTION, *state, "--timeout", "2").status == 1
    assert "no right" in secure.limited.appia(*QUESTION, *state).err
    (day,) = stack.names.days()
    assert secure.limited.appia("seal", day, *state).status == 1
    for secret in (PASSWORD, unknown.read_text()):
        assert not any(secret in path.read_text(errors="replace") for path in stack.names.run.glob("*.log"))


def test_a_stack_with_everything_on_takes_in_answers_seals_and_comes_back(  # noqa: PLR0917 - fixtures
    secure: Secure,
    start_stack: Callable[..., Stack],
    etcd: Member,
    sample: Path,
    eventually: Callable[..., None],
    tmp_path: Path,
) -> None:
    """Fed and asked from elsewhere, sealed, verified, backed up, restored without keys, asked again: the same."""
    stack = start_stack(*secure.options, state=secure.state)
    sensor = Place(tmp_path, secure.elsewhere.before)
    wire = ("--to", stack.now.ingester.v2, "--keys", str(secure.keys))
    feed = ("feed", "--format", "cicflowmeter", "--limit", str(EVENTS), "--json")
    assert sensor.appia(*feed, *wire, str(sample)).told["acknowledged"] == EVENTS
    eventually("all is shown", lambda: _rows(secure.alice, secure.state) == EVENTS)
    before = _ask(secure.alice, secure.state)
    (replica, _) = stack.now.replicas
    assert replica.endpoint.startswith(f"tcp://{secure.machine}:")
    there = secure.elsewhere.appia("list", "--endpoint", replica.endpoint, "--json")
    event = there.told["events"][0]["event_id"]
    _others_are_kept_out(secure, stack, tmp_path)
    _nothing_is_plain(secure, etcd, event)
    (day,) = stack.names.days()
    assert secure.alice.appia("seal", day, "--state", str(secure.state), "--json").told["failed"] == {}
    at_member = f"etcd {etcd.hostport}"
    eventually(
        "its certificates are known", lambda: _certificates(secure) == ["ca.pem", "client.pem", at_member]
    )
    states = lambda: secure.alice.appia("days", "--state", str(secure.state), "--json").told["days"]  # noqa: E731
    eventually("it is served sealed", lambda: [one["state"] for one in states()] == ["sealed"])
    assert _ask(secure.alice, secure.state) == before
    _nothing_is_plain(secure, etcd, event)
    _verify(secure, secure.state)
    restored = _move(secure, stack, tmp_path)
    again = start_stack(*secure.options, state=restored)
    eventually("all is shown again", lambda: _rows(secure.alice, restored) == EVENTS)
    assert _ask(secure.alice, restored) == before
    assert (
        sensor.appia(*feed, *("--to", again.now.ingester.v2, *wire[2:]), str(sample)).told["duplicates"]
        == EVENTS
    )
    assert again.end() == 0


def _certificates(secure: Secure) -> list[str]:
    """Those that health, which has no key in this stack and wants none, looks at."""
    told = secure.nobody.appia("status", "--state", str(secure.state), "--json").told
    return [one["subject"] for one in told["certificates"] or ()]


def _verify(secure: Secure, state: Path) -> None:
    keys = ("--public-key", str(secure.public), "--storage-key", str(secure.keys / "rest" / "storage.keys"))
    found = secure.nobody.appia("verify", "--state", str(state), *keys, "--json")
    assert found.status == 0, found


def _move(secure: Secure, stack: Stack, tmp_path: Path) -> Path:
    """Back the running stack up, end it, and restore elsewhere; the keys come by another way."""
    store, restored = tmp_path / "store", tmp_path / "restored"
    assert secure.nobody.appia("backup", str(store), "--state", str(secure.state)).status == 0
    secrets = [
        *secure.keys.glob("*/*.secret"),
        *secure.keys.glob("*/*.keys"),
        *secure.keys.glob("signing/*.key"),
    ]
    assert len(secrets) >= 3
    kept = b"".join(path.read_bytes() for path in store.glob("pieces/*/*"))
    assert not any(path.read_bytes() in kept for path in secrets)
    assert stack.end() == 0
    assert secure.nobody.appia("restore", str(store), "--state", str(restored)).status == 0
    shutil.copytree(secure.keys, restored / "keys", dirs_exist_ok=True)
    _verify(secure, restored)
    return restored
