"""The same rights over HTTP as over ZeroMQ, with servers, replicas and certificates as they really are."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import requests

from services.common.access.curve import KeyPair, make_server_key
from services.common.durable import Disk
from tests.rag.http.conftest import events_of
from tests.rag.http.test_http import refused
from tests.real_etcd.certificates import make_certificates

if TYPE_CHECKING:
    from tests.rag.http.conftest import Keys

HIDDEN, SEEN = "2026-01-21", "2026-01-22"
APPIA = Path(sys.executable).parent / "appia"
ALL_ADDRESSES = "0.0.0.0"  # noqa: S104 - it is what is tested


def _followed() -> None:
    """Wait until running services have looked at the access file again."""
    time.sleep(1.1)


def test_a_token_may_what_its_key_may(world: Any, start_replica: Any, serve: Any, keys: Keys) -> None:
    """Days, operations and indices are those of the access file, as it is now; nothing secret is logged."""
    for day in (HIDDEN, SEEN):
        world.fill(day, 20, sealed=True)
    few = {"days": [SEEN], "operations": ["days", "list", "get", "similar"], "indices": ["attack"]}
    alice, everything = keys.put("alice", **few), keys.put("everything")
    replica = start_replica(world.state.root, access=str(keys.file))
    server = serve(replica.ready()["endpoint"], words=["--access", str(keys.file)])
    hidden = next(i for i in world.events if HIDDEN in i)
    seen = next(i for i in world.events if SEEN in i)

    assert server.get("/healthz").json() == {"ok": True}
    refused(server.get("/v1/days"), "unauthorized", "Authorization: Bearer TOKEN")
    assert [day["day"] for day in server.get("/v1/days", headers=alice).json()["days"]] == [SEEN]
    assert [day["day"] for day in server.get("/v1/days", headers=everything).json()["days"]] == [HIDDEN, SEEN]
    refused(server.get(f"/v1/events/{hidden}", headers=alice), "not_found")
    assert server.get(f"/v1/events/{hidden}", headers=everything).status_code == 200
    *events, end = server.get("/v1/events", headers=alice).text.splitlines()
    assert (len(events), '"receipt"' in end) == (20, True)
    refused(server.post("stats", headers=alice), "forbidden", "alice has no right to 'stats'")
    attack, semantic = ({"event_id": seen, "index": index} for index in ("attack", "semantic"))
    assert server.post("similar", json=attack, headers=alice).status_code == 200
    refused(server.post("similar", json=semantic, headers=alice), "forbidden", "index semantic")

    keys.put("alice", **few, revoked=True)
    _followed()
    refused(server.get("/v1/days", headers=alice), "unauthorized")
    assert server.get("/v1/days", headers=everything).status_code == 200
    keys.tokens.pop("everything")
    keys.put("everything")
    _followed()
    refused(server.get("/v1/days", headers=everything), "unauthorized")
    keys.tokens["everything"] = everything["Authorization"].removeprefix("Bearer ")

    replica.process.terminate()
    for log, reasons in (
        (server.logged(), {"unknown_token", "revoked_token"}),
        (replica.process.communicate(timeout=20)[1], {"operation"}),
    ):
        assert not [secret for secret in keys.secrets if secret in log]
        assert reasons <= {line.get("reason") for line in events_of(log)}


def test_a_replica_without_an_access_file_answers_no_token(
    world: Any, start_replica: Any, serve: Any, keys: Keys
) -> None:
    """It cannot know the key, so it is not asked with the gateway's own rights either."""
    world.fill(SEEN, 5, sealed=True)
    server = serve(start_replica(world.state.root).ready()["endpoint"], words=["--access", str(keys.file)])
    alice = keys.put("alice")
    _followed()
    refused(server.get("/v1/days", headers=alice), "forbidden", "on behalf of 'alice'", "not known")


def test_beyond_loopback_all_is_encrypted(
    world: Any, start_replica: Any, serve: Any, keys: Keys, tmp_path: Path
) -> None:
    """HTTPS with a token to the gateway, CURVE with its own key from there; plain text gets nothing at all."""
    for day in (HIDDEN, SEEN):
        world.fill(day, 10, sealed=True)
    pair, made = KeyPair.new(), make_certificates(tmp_path / "tls")
    pair.write(Disk(), tmp_path / "gateway.secret")
    server_key, public = make_server_key(Disk(), tmp_path / "keys")
    keys.put("gateway", pair.public, delegate=True, operations=["days", "stats"])
    alice = keys.put("alice", days=[SEEN], operations=["days", "list"])
    bound = start_replica(
        world.state.root,
        bind=f"tcp://{ALL_ADDRESSES}:*",
        advertise="tcp://127.0.0.1:*",
        server_key=str(server_key),
        access=str(keys.file),
    )
    words = ["--listen", ALL_ADDRESSES, "--access", str(keys.file), "--key", str(tmp_path / "gateway.secret")]
    words += ["--server-key", public, "--tls-cert", str(made.server[0]), "--tls-key", str(made.server[1])]
    words += ["--tls-client-ca", str(made.ca)]
    server = serve(bound.ready()["endpoint"].replace(ALL_ADDRESSES, "127.0.0.1"), words=words)

    assert server.url.startswith(f"https://{ALL_ADDRESSES}:")
    port = int(server.url.rpartition(":")[2])
    url, shown = f"https://127.0.0.1:{port}", {"verify": str(made.ca), "timeout": 30}
    with_certificate = {**shown, "cert": tuple(map(str, made.client))}

    def get(path: str, **more: Any) -> requests.Response:
        with requests.Session() as session:
            return session.get(f"{url}{path}", **more)

    assert get("/healthz", **with_certificate).json() == {"ok": True}
    found = get("/v1/days", headers=alice, **with_certificate)
    assert [day["day"] for day in found.json()["days"]] == [SEEN]
    refused(get("/v1/days", **with_certificate), "unauthorized")
    # What the gateway itself may not, nobody may through it.
    refused(get("/v1/events", headers=alice, **with_certificate), "forbidden", "'list'")
    with pytest.raises(requests.ConnectionError):
        get("/v1/days", headers=alice, **shown)
    with socket.create_connection(("127.0.0.1", port), timeout=10) as plain:
        plain.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        with contextlib.suppress(ConnectionResetError):
            assert b"HTTP" not in plain.recv(100)
    log = server.logged()
    assert not [secret for secret in keys.secrets if secret in log]


def test_what_is_not_safe_does_not_start(tmp_path: Path, keys: Keys) -> None:
    """Half of what is needed beyond loopback, half of TLS, files that cannot be used: one sentence, and no server."""
    made = make_certificates(tmp_path / "tls")
    certificate, key = map(str, made.server)
    access, elsewhere = ["--access", str(keys.file)], ["--listen", ALL_ADDRESSES]
    tls = ["--tls-cert", certificate, "--tls-key", key]
    for words, status, said in [
        (elsewhere, 2, "is not on loopback"),
        ([*elsewhere, *access], 2, "is not on loopback"),
        ([*elsewhere, *tls], 2, "is not on loopback"),
        (["--tls-cert", certificate], 2, "both --tls-cert and --tls-key"),
        (["--tls-client-ca", str(made.ca)], 2, "both --tls-cert and --tls-key"),
        ([*tls[:3], str(made.client[1])], 1, "cannot be used (key values mismatch)"),
        (["--access", str(tmp_path / "missing.toml")], 1, "missing.toml cannot be read"),
    ]:
        done = subprocess.run(
            [str(APPIA), "http", "--endpoint", "tcp://127.0.0.1:9", "--port", "0", *words],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert (done.returncode, done.stdout) == (status, ""), done.stderr
        assert said in done.stderr
        assert len(done.stderr.splitlines()) == 1
