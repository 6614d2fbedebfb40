"""Signals are read off an observation: each with its number, and unknown is never bad."""

from __future__ import annotations

from dataclasses import replace

import pytest

from services.health.observation import (
    CORRUPT,
    MISSING,
    OK,
    REPAIR,
    STALE,
    Attempt,
    Certificate,
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
from services.health.read_off import Silence, read_off
from services.health.readings import MAX_SUBJECT, MAX_TEXT, SIGNALS, Reading, Readings

S = 1_000_000_000
NOW = 1_800_000_000 * S
INTAKE = Intake(
    "now",
    5,
    refused_per_minute={"bad_tag": 12.0},
    forged_frames=3,
    copied_frames=2,
    nonces_repeated={"old": 4.0},
    index_lag={"attack": 9.0},
    queue_bytes=77,
    paused=True,
    dead_letter_events=15,
    v1_missing={"": 6.0},
)
REPLICA = Service(
    "rag",
    "rag-1",
    "tcp://x",
    answers=True,
    ready=False,
    why="it lacks rows",
    restarts=2,
    clock_offset_s=-3.5,
    rows_behind=8,
    generations_behind=1,
    config_revision=4,
    config_fault="no",
)
MIRROR = Service(
    "mirror", "m-1", "tcp://m", answers=True, ready=True, behind_s=400.0, fault="the link is cut"
)
ORIGIN = Service("origin", "origin", "tcp://o", answers=True, ready=True, behind_s=7.0)
DAY = Day(
    "2026-11-19",
    sealed=True,
    rows=10,
    indices=(
        Index("attack", CORRUPT, "a bit is another", REPAIR, recall=0.91, distance_cv=0.2),
        Index("semantic", MISSING),
        Index("temporal", STALE),
        Index("entity", OK),
    ),
    fault="metadata.db is damaged",
)
WHOLE = Observation(
    NOW,
    disks=(Disk("/state", 100, 14, 86.0, 3.0, 1.0, 12.0),),
    services=(REPLICA, MIRROR, ORIGIN),
    registry="etcd does not answer",
    registry_is_etcd=True,
    intake=INTAKE,
    sensors=(Sensor("quick", 5, NOW - 1000 * S, usual_gap_s=2.0, clock_s=-40.0),),
    days=(DAY,),
    attempts=(Attempt("repair", "2026-11-19/attack", "x", 3, 0, ended_ns=1, error="no room"),),
    chain=Chain(7, ("link 5 was altered",)),
    certificates=(
        Certificate("client.pem", NOW + 25 * 43_200 * S),
        Certificate("etcd 10.0.0.1:2379", NOW - 86_400 * S),
    ),
    config_revision=6,
    config_fault="interval_s is too small",
    days_overdue_s=90.0,
    retention=Retention(20.0),
)


def read(seen: Observation) -> Readings:
    return read_off(seen, Silence(900, 3))


def values(seen: Observation) -> dict[tuple[str, str], float]:
    return {(one.signal, one.subject): one.value for one in read(seen).items}


@pytest.mark.parametrize(
    ("signal", "subject", "value"),
    [
        ("disk_used_percent", "/state", 86),
        ("inode_used_percent", "/state", 3),
        ("disk_days_left", "/state", 12),
        ("service_down", "rag/rag-1", 0),
        ("service_not_ready", "rag/rag-1", 1),
        ("service_restarts", "rag/rag-1", 2),
        ("replica_rows_behind", "rag/rag-1", 8),
        ("replica_generations_behind", "rag/rag-1", 1),
        ("mirror_behind_s", "mirror/m-1", 400),
        ("mirror_fault", "mirror/m-1", 1),
        ("publish_behind_s", "origin/origin", 7),
        ("publish_fault", "origin/origin", 0),
        ("queue_bytes", "ingester", 77),
        ("index_lag_rows", "attack", 9),
        ("intake_paused", "ingester", 1),
        ("refused_per_minute", "bad_tag", 12),
        ("forged_frames", "ingester", 3),
        ("nonce_repeated", "old", 4),
        ("copied_sender", "ingester", 2),
        ("chain_broken", "chain", 1),
        ("v1_missing_frames", "(unnamed)", 6),
        ("sensor_silent_s", "quick", 1000),
        ("sensor_clock_s", "quick", 40),
        ("index_missing", "2026-11-19/semantic", 1),
        ("index_missing", "2026-11-19/attack", 0),
        ("index_corrupt", "2026-11-19/attack", 1),
        ("index_stale", "2026-11-19/temporal", 1),
        ("index_stale", "2026-11-19/entity", 0),
        ("day_inconsistent", "2026-11-19", 1),
        ("days_unchecked_s", "days", 90),
        ("repair_failed", "2026-11-19/attack", 3),
        ("distance_cv", "2026-11-19/attack", 0.2),
        ("recall", "2026-11-19/attack", 0.91),
        ("clock_offset_s", "rag/rag-1", 3.5),
        ("etcd_down", "etcd", 1),
        ("config_refused", "rag/rag-1", 1),
        ("config_refused", "health/config", 1),
        ("config_behind", "rag/rag-1", 2),
        ("certificate_days_left", "client.pem", 12.5),
        ("certificate_days_left", "etcd 10.0.0.1:2379", -1),
        ("retention_days_left", "days", 20),
        ("dead_letter_events", "ingester", 15),
    ],
)
def test_each_signal_has_its_value(signal: str, subject: str, value: float) -> None:
    """Every signal is told of the part that it is about."""
    assert values(WHOLE)[signal, subject] == value


def test_every_signal_there_is_can_be_read() -> None:
    """The table of signals and what is read off are the same, but for what the alerts tell of their own channels."""
    assert {one.signal for one in read(WHOLE).items} == set(SIGNALS) - {"channel_failing"}


def test_one_reading_for_each_signal_and_subject() -> None:
    """Alerts are kept by both."""
    items = read(WHOLE).items
    assert len(items) == len({(one.signal, one.subject) for one in items})


def test_of_what_is_not_seen_nothing_is_said_and_nothing_is_gone() -> None:
    """An observation of nothing has no readings, and every signal but those of services is unknown."""
    found = read(Observation(NOW))
    assert found.items == ()
    of_services = {
        "service_down", "service_not_ready", "service_restarts", "clock_offset_s", "replica_rows_behind",
        "replica_generations_behind", "config_refused", "config_behind", "mirror_behind_s", "mirror_fault",
        "publish_behind_s", "publish_fault",
    }  # fmt: skip
    unknown = {signal for signal in SIGNALS if found.is_unknown(signal, "anything")}
    assert unknown == set(SIGNALS) - of_services - {"etcd_down", "channel_failing"}


@pytest.mark.parametrize(
    "signal", ["clock_offset_s", "replica_rows_behind", "config_refused", "service_not_ready"]
)
def test_a_service_that_is_down_is_only_down(signal: str) -> None:
    """Its clock, its lag and its configuration are what they were."""
    down = Service("rag", "rag-1", "tcp://x", answers=False, why="refused")
    found = read(replace(WHOLE, services=(down,)))
    assert values(replace(WHOLE, services=(down,)))["service_down", "rag/rag-1"] == 1
    assert found.is_unknown(signal, "rag/rag-1")
    assert not found.is_unknown("service_down", "rag/rag-1")
    assert not found.is_unknown(signal, "rag/rag-9")


@pytest.mark.parametrize("kind", ["mirror", "origin"])
def test_of_a_copier_that_is_down_its_copy_is_unknown(kind: str) -> None:
    """An alert about it neither ends nor begins; of an origin that publishes nothing there is no such signal."""
    behind, fault = {"mirror": MIRROR, "origin": ORIGIN}[kind], replace(MIRROR, kind=kind, name="x")
    signals = {
        "mirror": ("mirror_behind_s", "mirror_fault"),
        "origin": ("publish_behind_s", "publish_fault"),
    }[kind]
    down = replace(behind, answers=False, behind_s=None, fault="")
    silent = replace(fault, behind_s=None, fault="")
    found = read(replace(WHOLE, services=(down, silent)))
    for signal in signals:
        assert found.is_unknown(signal, down.subject)
        assert not found.is_unknown(signal, silent.subject)
        assert signal not in {one.signal for one in found.items}


def test_a_service_that_nobody_could_ask_is_not_down() -> None:
    """With the registry away from the start on, that is unknown."""
    unseen = Service("rag", "rag-1")
    found = read(replace(WHOLE, services=(unseen,)))
    assert found.is_unknown("service_down", "rag/rag-1")
    assert ("service_down", "rag/rag-1") not in values(replace(WHOLE, services=(unseen,)))


@pytest.mark.parametrize(
    ("sensor", "silent_s"),
    [
        (Sensor("a", 1, NOW - 900 * S), 0),
        (Sensor("a", 1, NOW - 901 * S), 901),
        (Sensor("a", 1, NOW - 1000 * S, usual_gap_s=400), 0),
        (Sensor("a", 1, NOW - 1201 * S, usual_gap_s=400), 1201),
        (Sensor("a", 1, NOW - 2000 * S, deaf_s=1500), 0),
        (Sensor("a", 1, NOW + 50 * S), 0),
    ],
)
def test_a_sensor_is_silent_after_what_is_usual_for_it(sensor: Sensor, silent_s: float) -> None:
    """And never for the time in which there was no ingester to hear it."""
    assert values(replace(WHOLE, sensors=(sensor,)))["sensor_silent_s", "a"] == silent_s


def test_while_the_ingester_is_away_sensors_are_unknown() -> None:
    """They send, and nobody is there to say so."""
    found = read(replace(WHOLE, intake=None))
    assert found.is_unknown("sensor_silent_s", "quick")
    assert not [one for one in found.items if one.signal.startswith("sensor_")]


def test_names_of_senders_are_bounded_and_cannot_steer_a_terminal() -> None:
    """Whoever names a sensor writes neither a second line nor a long one."""
    made = Reading.of("nonce_repeated", "evil\x1b[2J\n\u202e" + "x" * 500, 1, "y" * 1000)
    assert made.subject.startswith("evil?[2J??xxx")
    assert (len(made.subject), len(made.text)) == (MAX_SUBJECT, MAX_TEXT)
    assert made.subject.isprintable()


def test_a_disk_that_does_not_fill_has_days_without_end() -> None:
    """So that no rule about few days left says something of it."""
    still = replace(WHOLE.disks[0], days_left=None)
    assert values(replace(WHOLE, disks=(still,)))["disk_days_left", "/state"] == float("inf")


def test_a_full_disk_is_told_as_one_that_fills() -> None:
    """With no byte left there are no days left, which is not the same as a disk that does not fill."""
    full = replace(WHOLE.disks[0], days_left=0.0)
    (told,) = [one for one in read(replace(WHOLE, disks=(full,))).items if one.signal == "disk_days_left"]
    assert (told.value, told.text) == (0, "/state is full in 0.0 days at its growth")


def test_the_registry_in_a_folder_is_no_etcd() -> None:
    """Nobody is told of an etcd that there is not."""
    assert ("etcd_down", "etcd") not in values(replace(WHOLE, registry_is_etcd=False))
