"""`make/audit.py` tells what is known of the locked packages, and never takes silence of the service for good news."""

from __future__ import annotations

import datetime as dt
import json
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    Audit = Callable[[str], tuple[int, str]]

HASH = f" \\\n    --hash=sha256:{'0' * 64}\n"
WEAK = {
    "vulns": [
        {
            "id": "GHSA-aaaa-bbbb-cccc",
            "aliases": ["CVE-2026-1"],
            "summary": "It does what it is told.",
            "affected": [
                {
                    "package": {"name": "weak", "ecosystem": "PyPI"},
                    "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "2.1"}]}],
                }
            ],
        }
    ]
}


class Service(ThreadingHTTPServer):
    """Speaks the protocol of OSV on loopback: knows a weakness of the package `weak`."""

    asked: set[tuple[str, str]]
    status = 200

    class Handler(BaseHTTPRequestHandler):
        """Answers one question."""

        server: Service

        def do_POST(self) -> None:
            question = json.loads(self.rfile.read(int(self.headers["content-length"])))
            name, version = question["package"]["name"], question["version"]
            self.server.asked.add((name, version))
            known: dict[str, Any] = WEAK if name == "weak" else {}
            answer = json.dumps(known).encode()
            self.send_response(self.server.status)
            self.send_header("content-length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: object) -> None:
            """Keep quiet."""


@pytest.fixture
def service() -> Iterator[Service]:
    with Service(("127.0.0.1", 0), Service.Handler) as server:
        server.asked = set()
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def audit(scripts: Path, tmp_path: Path, service: Service) -> Audit:
    """Audits three packages with a list of exceptions."""
    (tmp_path / "train-lock.txt").write_text(
        f"weak==2.0{HASH}sound==1.0 ; python_full_version >= '3.0'{HASH}"
    )
    (tmp_path / "train.txt").write_text("torch==2.0\n")

    def run(exceptions: str) -> tuple[int, str]:
        (tmp_path / "audit-exceptions.txt").write_text(exceptions)
        url = f"http://127.0.0.1:{service.server_port}/"
        command = [
            sys.executable,
            str(scripts / "audit.py"),
            "--requirements",
            str(tmp_path),
            "--osv-url",
            url,
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        return done.returncode, done.stdout + done.stderr

    return run


def test_a_known_weakness_is_named_with_the_version_that_fixes_it(audit: Audit, service: Service) -> None:
    """All packages of both files are asked about, by the version that is locked."""
    told = "weak 2.0: CVE-2026-1 = GHSA-aaaa-bbbb-cccc; fixed in 2.1\n"
    assert audit("# nothing\n") == (
        1,
        f"{told}audit: 1 finding(s), 1 known weakness(es), 0 exception(s)\n",
    )
    assert service.asked == {("weak", "2.0"), ("sound", "1.0"), ("torch", "2.0")}


def test_what_is_accepted_passes_until_its_day(audit: Audit) -> None:
    """By any of its names, with a reason; afterwards it is a finding again, as is an entry that nothing needs."""
    today = dt.datetime.now(dt.UTC).date()
    assert audit(f"CVE-2026-1 {today + dt.timedelta(1)} not reached from here\n")[0] == 0
    status, output = audit("CVE-2026-1 2026-01-31 not reached\nCVE-2020-7 2999-01-31 long gone\n")
    assert status == 1
    assert output.splitlines()[:3] == [
        "weak 2.0: CVE-2026-1 = GHSA-aaaa-bbbb-cccc; fixed in 2.1",
        "audit-exceptions.txt: CVE-2026-1 was accepted until 2026-01-31 (not reached): look at it again",
        "audit-exceptions.txt: CVE-2020-7 is no longer known of anything here: take it out",
    ]


def test_a_service_that_fails_is_no_good_news(audit: Audit, service: Service) -> None:
    """An error of the service, and one that is not there, have an exit status of their own."""
    service.status = 500
    status, output = audit("")
    assert (status, "nothing was looked up" in output) == (3, True)
    service.server_close()
    status, output = audit("")
    assert (status, "nothing was looked up" in output) == (3, True)


def test_an_exception_without_a_reason_is_refused(audit: Audit, service: Service) -> None:
    status, output = audit("CVE-2026-1 2027-01-31\n")
    assert status == 1
    assert output.startswith(
        "audit: audit-exceptions.txt:1: wanted an id, a day as 2027-01-31, and the reason"
    )
    assert not service.asked
