"""The screen of the fleet: what is fine is short, what is wrong stands out, and a small stack fits 80x24."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from services.cli.durations import lasting, sized
from services.cli.fleet import Alert, Fleet, observation_of
from services.cli.fleet_merge import merged
from services.cli.fleet_source import undelivered_of
from services.cli.look import Look
from services.cli.status_screen import screen_lines
from services.cli.tables import cells_of
from services.common.errors import AppiaError
from services.health.observation import (
    Chain,
    Day,
    Disk,
    Index,
    Intake,
    Observation,
    Retention,
    Sensor,
    Service,
)
from services.health.plain import plain

NS = 1_000_000_000
NOW = 1_795_212_000 * NS
GIB = 1 << 30
TERMINAL = Look(80)


def service(kind: str, name: str, **facts: object) -> Service:
    """One that is well."""
    well = {
        "answers": True,
        "ready": True,
        "uptime_s": 273_600.0,
        "config_revision": 12,
        "rss_bytes": 275_775_488,
    }
    return Service(kind, name, **{**well, "clock_offset_s": 0.0004, **facts})  # type: ignore[arg-type] # by name


def day(name: str, *, sealed: bool = True, **states: str) -> Day:
    """A day with three indices, all of them ok but for those that are named."""
    kept = {"attack": "ok", "semantic": "ok", "temporal": "ok", **states} if sealed else {}
    indices = tuple(Index(index, state) for index, state in kept.items())
    return Day(name, sealed, 1000, indices, checked_ns=NOW)


WELL = Observation(
    NOW,
    disks=(Disk("/srv/appia", 250 * GIB, 150 * GIB, 40.0, 3.0, 1000.0, 37.2),),
    services=(
        service("health", "health", rss_bytes=58_000_000),
        service("ingester", "ingester"),
        service("rag", "rag-1", rows_behind=0, generations_behind=0),
        service("rag", "rag-2", rows_behind=0, generations_behind=0),
    ),
    intake=Intake("2026-11-20T19:20:51+00:00", 1_234_567, 1204.4),
    sensors=tuple(Sensor(f"sensor-{n}", 4000 * n, NOW - n * NS, 2.0) for n in range(1, 6)),
    days=(*(day(f"2026-11-{n:02}") for n in range(1, 20)), day("2026-11-20", sealed=False)),
    chain=Chain(40),
    config_revision=12,
    retention=Retention(61.0),
)


def shown(seen: Observation, look: Look = TERMINAL, alerts: tuple[Alert, ...] | None = ()) -> str:
    """The screen as text."""
    return "\n".join(screen_lines(Fleet("/srv/appia", seen, alerts=alerts), look))


def test_a_small_stack_that_is_well_fits_a_terminal_of_80_by_24() -> None:
    """Four services and five sensors, with what is said of disk, days, configuration and alerts."""
    lines = screen_lines(Fleet("/srv/appia", WELL, alerts=()), TERMINAL)
    assert len(lines) <= 24
    assert max(map(cells_of, lines)) <= 80
    assert lines[:7] == [
        "appia on /srv/appia, 2026-11-20 22:00:00 UTC",
        "intake    1,204 events/s; 1,234,567 since 2026-11-20 19:20; none refused",
        "disk      40 % of 250 GiB used, 150 GiB free; full in 37 d 4 h; /srv/appia",
        "days      19 of 19 sealed consistent (100.0 %); 1 open; the oldest goes in 61 d",
        "config    revision 12",
        "alerts    none",
        "",
    ]
    rows = [line.split() for line in lines]
    assert ["rag/rag-2", "ready", "3", "d", "4", "h", "0", "r12", "263", "MiB", "+0.000", "s"] in rows
    assert ["sensor-5", "5.0", "s", "ago", "2.0", "s", "20,000"] in rows


def test_what_is_wrong_stands_first_and_says_why() -> None:
    """A replica that is down, one that is behind, one that refused the configuration, a clock that is off."""
    seen = replace(
        WELL,
        services=(
            service("ingester", "ingester", clock_offset_s=-3.2, restarts=2),
            service(
                "rag", "behind", rows_behind=1200, generations_behind=1, ready=False, why="it opens a day"
            ),
            service("rag", "gone", answers=False, down_s=95.0, why="it cannot be reached", uptime_s=None),
            service("rag", "old", config_revision=11, config_fault="workers: too many"),
        ),
    )
    text = shown(seen, Look())
    rows = text[text.index("service ") :].splitlines()[1:5]
    assert [row.split()[0] for row in rows] == ["rag/gone", "rag/behind", "rag/old", "ingester/ingester"]
    assert "DOWN 1 min" in rows[0]
    assert rows[0].endswith("it cannot be reached")
    assert "not ready" in rows[1]
    assert "1,200 events, 1 day" in rows[1]
    assert rows[2].endswith("workers: too many")
    assert "ready, 2 restarts" in rows[3]
    assert "-3.200 s" in rows[3]
    assert "config    revision 12; refused by rag/old" in text
    late = replace(WELL, services=(service("rag", "old", config_revision=11),))
    assert "config    revision 12; not yet taken by rag/old" in shown(late)


def test_what_copies_days_shows_how_far_it_is() -> None:
    """And why it does not go on; a mirror that lacks nothing is at 0."""
    seen = replace(
        WELL,
        services=(
            service("mirror", "cut", behind_s=400.0, fault="the source is away", days_not_held=2),
            service("mirror", "fine", behind_s=0.0),
        ),
    )
    text = shown(seen, Look())
    cut, fine = text[text.index("service ") :].splitlines()[1:3]
    assert cut.split()[0] == "mirror/cut"
    assert "6 min" in cut
    assert cut.endswith("the source is away; 2 days not held")
    assert fine.split()[0] == "mirror/fine"


def test_days_intake_chain_and_registry_say_what_is_wrong() -> None:
    """The newest three of many damaged days; the reason for most refusals."""
    damaged = [day(f"2026-10-{n:02}", attack="missing", temporal="corrupt") for n in range(1, 6)]
    assert WELL.days is not None
    assert WELL.intake is not None
    seen = replace(
        WELL,
        days=(*damaged, *WELL.days),
        intake=replace(
            WELL.intake,
            paused=True,
            refused_per_minute={"bad_tag": 90.0, "too_old": 3.0},
            index_lag={"attack": 40, "temporal": 4000},
            queue_bytes=2 << 20,
        ),
        chain=Chain(40, ("link 7 is not signed",)),
        registry="No etcd answered.",
        disks=(Disk("/srv/appia", 250 * GIB, 10 * GIB, 96.0, 97.0),),
    )
    text = shown(seen, Look())
    assert "days      19 of 24 sealed consistent (79.2 %); 1 open" in text
    assert text.count("attack missing, temporal corrupt") == 3
    assert "... and 2 days more: appia check --all" in text
    assert "intake    PAUSED, the disk is too full; 1,204 events/s" in text
    assert "93 refused/min (bad_tag); queue 2.0 MiB; indices 4,000 events behind" in text
    assert "chain     link 7 is not signed" in text
    assert "registry  No etcd answered." in text
    assert "97 % of its inodes" in text


def test_what_nobody_knows_is_not_called_bad_or_good() -> None:
    """A service that nobody could ask, an intake that is unknown, alerts without health."""
    seen = Observation(NOW, services=(Service("rag", "rag-1"),))
    text = shown(seen, alerts=None)
    assert "unknown" in text.splitlines()[-1]
    assert "DOWN" not in text
    assert "alerts    unknown" in text
    assert "intake    unknown: the ingester does not answer" in text
    assert "sensor" not in text
    quiet = Fleet("/srv/appia", seen, health="not running: `appia up` starts it")
    assert "health    not running: `appia up` starts it" in screen_lines(quiet, TERMINAL)


def test_a_sensor_that_is_silent_for_its_own_habits_comes_first() -> None:
    """One that speaks twice a day may be quiet for an hour; one that speaks each second may not."""
    rare = Sensor("rare", 10, NOW - 3600 * NS, 43_200.0)
    silent = Sensor("silent", 9_999, NOW - 600 * NS, 1.0)
    seen = replace(WELL, sensors=(rare, silent))
    colours = screen_lines(Fleet("/s", seen), Look(80, colours=True))
    text = shown(seen)
    assert text.index("silent ") < text.index("rare ")
    assert any("silent" in line and "\x1b[33m10 min ago\x1b[0m" in line for line in colours)
    assert not any("rare" in line and "\x1b[33m" in line for line in colours)


def test_alerts_are_shown_with_how_bad_and_how_long() -> None:
    """The first five; the rest is counted."""
    alerts = tuple(Alert(f"rule-{n}", "critical", 600.0, "17 frames that no key fits") for n in range(7))
    text = shown(WELL, Look(), alerts)
    assert "alerts    7 firing" in text
    assert text.count("          critical for 10 min: rule-") == 5
    assert "... and 2 alerts more: --json has all" in text


def test_an_alert_that_is_well_again_says_so() -> None:
    """What its rule waits for before it is over is not told as if it went on."""
    text = shown(WELL, Look(), (Alert("intake-paused", "critical", 60.0, "nothing is taken in", well_s=8.0),))
    assert "nothing is taken in; well for 8.0 s, and over when that lasts" in text


def test_messages_that_do_not_arrive_are_said() -> None:
    """Whoever relies on mail sees that nobody is told; the reasons are in another place."""
    told = {"channels": {"slack": {"failing_since_ns": 0}, "mail": {"failing_since_ns": 5}, "old": {}}}
    fleet = Fleet("/s", WELL, alerts=(), undelivered=undelivered_of(told))
    assert "alerts    none; messages to mail do not arrive: appia alerts list" in screen_lines(
        fleet, TERMINAL
    )
    assert fleet.as_dict()["undelivered"] == ["mail"]


def test_large_fleets_are_cut_the_worst_first() -> None:
    """Sixty replicas, a hundred sensors: what is wrong is among what is shown."""
    services = tuple(service("rag", f"rag-{n:02}", answers=n != 59) for n in range(60))
    sensors = tuple(Sensor(f"s-{n:03}", n, NOW - (9000 if n == 77 else 1) * NS, 1.0) for n in range(100))
    lines = screen_lines(Fleet("/s", replace(WELL, services=services, sensors=sensors), alerts=()), TERMINAL)
    assert "... and 44 services more: --json has all" in lines
    assert "... and 92 sensors more: --json has all" in lines
    assert any(line.startswith("rag/rag-59") for line in lines)
    assert any(line.startswith("s-077") for line in lines)
    assert len(lines) < 40


@pytest.mark.parametrize(("clock_s", "text"), [(-90.0, "-90.0 s"), (90.0, "+90.0 s"), (-1.0, ""), (0.5, "")])
def test_a_clock_of_a_sensor_that_is_off_is_shown_either_way(clock_s: float, text: str) -> None:
    """Behind as well as ahead; a second is what the events' own time is told in."""
    lines = shown(replace(WELL, sensors=(Sensor("a", 7, NOW - NS, clock_s=clock_s),))).splitlines()
    assert lines[-1].endswith(text or "7")


def test_names_of_sensors_cannot_steer_the_terminal_or_fill_it() -> None:
    """They are written by who sends events."""
    hostile = Sensor("\x1b[2J" + "A" * 120, 1, NOW, 1.0)
    text = shown(replace(WELL, sensors=(hostile,)))
    assert "\x1b" not in text
    assert "A" * 40 not in text


def test_what_services_say_now_is_laid_over_what_health_knows() -> None:
    """A replica that just died, events that just came, a sensor that nobody knew; growth and lag stay health's."""
    assert WELL.intake is not None
    asked = Observation(
        NOW + 5 * NS,
        disks=(Disk("/srv/appia", 250 * GIB, 100 * GIB, 60.0, 3.0),),
        services=(service("rag", "rag-1", answers=False), service("rag", "rag-9", config_revision=13)),
        intake=Intake("2026-11-20T19:20:51+00:00", 1_300_000, 9.0),
        sensors=(
            Sensor("sensor-1", 4100, NOW + 4 * NS),
            Sensor("new", 1, NOW),
            Sensor("sensor-2", 1, NOW - 99 * NS),
        ),
        config_revision=13,
    )
    watched = replace(
        WELL,
        intake=replace(WELL.intake, refused_per_minute={"bad_tag": 2.0}),
        services=(*WELL.services, service("rag", "rag-0", rows_behind=4)),
    )
    seen = merged(watched, asked)
    told = {one.subject: one for one in seen.services}
    assert [*told] == sorted(told)
    assert (told["rag/rag-1"].answers, told["rag/rag-1"].rows_behind) == (False, 0)
    assert told["rag/rag-0"].rows_behind == 4
    assert "rag/rag-9" in told
    assert seen.intake is not None
    assert (seen.intake.accepted, seen.intake.refused_per_minute) == (1_300_000, {"bad_tag": 2.0})
    assert (seen.disks[0].used_percent, seen.disks[0].days_left) == (60.0, 37.2)
    sensors = {one.name: one for one in seen.sensors or ()}
    assert (sensors["sensor-1"].events, sensors["sensor-1"].usual_gap_s) == (4100, 2.0)
    assert sensors["sensor-2"].events == 8000
    assert "new" in sensors
    assert (seen.time_ns, seen.days, seen.config_revision) == (asked.time_ns, WELL.days, 12)
    assert merged(replace(WELL, config_revision=None, sensors=None), asked).config_revision == 13
    assert merged(WELL, replace(asked, intake=None)).intake is None


def test_days_that_nobody_looked_into_are_not_called_consistent() -> None:
    """A day that was sealed since health looked, one that was dropped, and days without health."""
    assert WELL.days is not None
    there = (*(Day(one.day, True, 0) for one in WELL.days[1:]), Day("2026-11-21", False, 0))  # noqa: FBT003
    seen = merged(WELL, replace(WELL, days=there))
    assert "days      18 of 18 sealed consistent (100.0 %); 1 sealed and not checked yet; 1 open" in shown(
        seen, Look()
    )
    assert "days      19 sealed and not checked yet; 1 open" in shown(replace(WELL, days=there), Look())


def test_what_health_tells_becomes_the_same_observation_again() -> None:
    """Over JSON, with keys that a later version adds."""
    document = json.loads(json.dumps(plain(WELL)))
    document["of_a_later_version"] = 1
    document["services"][0]["of_a_later_version"] = [1]
    assert observation_of(document) == WELL
    with pytest.raises(AppiaError, match="is it of another version"):
        observation_of({"services": [{"kind": "rag"}]})
    with pytest.raises(AppiaError, match="is it of another version"):
        observation_of({"time_ns": 1, "days": 5})


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (-4, "0.0 s"),
        (0.44, "0.4 s"),
        (9.96, "10 s"),
        (59.6, "1 min"),
        (3599, "59 min"),
        (3600, "1 h"),
        (7260, "2 h 1 min"),
        (86_400, "1 d"),
        (100_000, "1 d 3 h"),
        (86_400 * 400, "400 d"),
        (86_400 * 400 + 7200, "400 d"),
    ],
)
def test_lengths_of_time_are_few_words(seconds: float, words: str) -> None:
    """Two units at most."""
    assert lasting(seconds) == words


@pytest.mark.parametrize(
    ("number", "words"),
    [(0, "0 bytes"), (1023, "1023 bytes"), (1536, "1.5 KiB"), (263 << 20, "263 MiB"), (5 << 50, "5120 TiB")],
)
def test_bytes_are_few_words(number: int, words: str) -> None:
    """In units of 1024."""
    assert sized(number) == words
