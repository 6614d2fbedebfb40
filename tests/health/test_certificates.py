"""When certificates are looked at, and that one near its end is told by the rules that come with appia."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import TYPE_CHECKING

import structlog
from real_etcd.certificates import make_certificates

from services.health.alerts.rules_file import default_rules
from services.health.children import Children, Task
from services.health.observation import Certificate, Observation
from services.health.probes.certificates import AGAIN_S, EVERY_S, CertificateLook, Registered
from services.health.read_off import Silence, read_off
from services.health.readings import SIGNALS

if TYPE_CHECKING:
    from pathlib import Path

S = 1_000_000_000
NOW = 1_800_000_000 * S
ETCD = "etcds://127.0.0.1:1/appia"
QUIET = structlog.wrap_logger(structlog.ReturnLogger(), processors=[lambda _l, _m, line: repr(line)])


class World:
    """A look by a clock and children of a test."""

    def __init__(self, url: str = ETCD) -> None:
        self.now, self.tasks = NOW, list[Task]()
        self.look = CertificateLook(Registered(url, None), self, lambda: self.now)  # type: ignore[arg-type]

    def ask(self, task: Task) -> None:
        self.tasks.append(task)

    def after(self, seconds: float) -> int:
        self.now += int(seconds * S)
        self.look.look()
        return len(self.tasks)

    def says(self, well: bool, **until_s: float) -> None:  # noqa: FBT001 - how the child ended
        for subject, seconds in until_s.items():
            self.tasks[-1].line({"subject": subject, "until_s": seconds})
        self.tasks[-1].ended(well)


def test_a_look_is_made_once_an_hour_and_a_minute_after_one_that_failed() -> None:
    """Nothing is known before the first that ends well."""
    world = World()
    assert [world.after(0), world.after(EVERY_S - 1)] == [1, 1]
    world.says(well=False)
    assert world.look.seen() is None
    assert world.after(AGAIN_S) == 2
    world.says(well=True, client=7.0)
    assert world.look.seen() == (Certificate("client", 7 * S),)
    assert [world.after(EVERY_S - 1), world.after(1)] == [2, 3]


def test_a_member_that_is_away_stays_as_it_was_and_one_made_anew_counts() -> None:
    """An alert neither ends because nobody answered, nor stands because of what was before."""
    world = World()
    world.after(0)
    world.says(well=True, client=7.0, member=8.0)
    world.after(EVERY_S)
    world.says(well=True, client=9.0)
    assert world.look.seen() == (Certificate("client", 9 * S), Certificate("member", 8 * S))


def test_a_registry_of_files_has_no_certificates() -> None:
    """That is known at once, and costs no process."""
    world = World("file")
    assert (world.after(0), world.look.seen()) == (0, ())


def test_one_near_its_end_is_told_by_the_rules_that_come_with_appia(tmp_path: Path) -> None:
    """A real child reads a real certificate that is good for a minute."""
    made = make_certificates(tmp_path / "made", good_for=timedelta(minutes=1))
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys" / "ca.pem").write_bytes(made.ca.read_bytes())
    children = Children(QUIET)
    look = CertificateLook(Registered(ETCD, tmp_path / "keys"), children, time.time_ns)
    try:
        look.look()
        until = time.monotonic() + 30
        while look.seen() is None and time.monotonic() < until:
            children.step()
            time.sleep(0.02)
    finally:
        children.stop()
    (reading,) = (
        one
        for one in read_off(Observation(time.time_ns(), certificates=look.seen()), Silence()).items
        if one.signal == "certificate_days_left"
    )
    assert reading.subject == "ca.pem"
    assert 0 < reading.value < 1
    for rule in ("authority-ends", "certificate-ends", "certificate-ends-now"):
        found = default_rules(SIGNALS).named(rule)
        assert found is not None
        assert (found.signal, reading.value < found.limit) == ("certificate_days_left", True)


def test_an_authority_is_told_a_year_ahead_and_what_helps() -> None:
    """Renewal does not, and certificates made meanwhile end with it; a client's is told a month ahead."""
    rule = default_rules(SIGNALS).named("authority-ends")
    assert rule is not None
    assert rule.is_over(364)
    assert [rule.watches(rule.signal, name) for name in ("ca.pem", "client.pem", "etcd h:1")] == [
        True,
        False,
        False,
    ]
    for name in ("authority-ends", "certificate-ends", "certificate-ends-now"):
        found = default_rules(SIGNALS).named(name)
        assert found is not None
        assert "new authority" in found.do
