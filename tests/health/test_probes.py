"""What health makes of what it is told: growth, rates, silence, and who is down."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import pytest

from services.common.registry.port import Entry
from services.health.memory import Counted, KnownSensor, KnownService
from services.health.probes.asking import Answer
from services.health.probes.disks import (
    FORESIGHT,
    SAMPLES,
    file_systems,
    forecast,
    growth,
    look_at_disk,
    with_sample,
)
from services.health.probes.intake import MOST_COUNTED, MOST_NODES, look_at_intake
from services.health.probes.lag import with_lag
from services.health.probes.sensors import (
    FORGET_NS,
    MOST,
    deaf_s,
    sensors_seen,
    take_sensors,
    usual_gap_s,
    without_forgotten,
)
from services.health.probes.services import FORGET_NS as UNSEEN_NS
from services.health.probes.services import STARTING_S, Listed, known_services, service_seen
from services.health.read_off import Silence

if TYPE_CHECKING:
    from pathlib import Path

    from services.health.observation import Intake

S = 1_000_000_000
NOW = 1_800_000_000 * S
HOUR = 3600


GB = 10**9


def half_hours(*used: float) -> list[tuple[int, int]]:
    """Samples, the newest of now."""
    first = len(used) - 1
    return [(NOW - (first - number) * HOUR // 2 * S, int(bytes_)) for number, bytes_ in enumerate(used)]


def test_growth_is_the_usual_slope_and_unknown_of_few() -> None:
    """A thousand bytes a second, found from noisy samples; five samples say nothing."""
    samples = [(NOW + hour * HOUR * S, GB + hour * HOUR * 1000 + (-1) ** hour * 500) for hour in range(24)]
    found = growth(samples)
    assert found is not None
    assert math.isclose(found, 1000, rel_tol=0.001)
    assert growth(samples[:5]) is None
    assert growth([samples[0]] * 6) is None
    assert growth([]) is None


@pytest.mark.parametrize("burst_at", range(1, 8))
def test_a_burst_on_a_new_site_foretells_nothing(burst_at: int) -> None:
    """It was fed quickly for a minute; what came before and after says that this does not go on."""
    used = [GB if number < burst_at else 6 * GB for number in range(8)]
    for seen in range(1, len(used) + 1):
        assert forecast(half_hours(*used[:seen]), 60 * GB).days_left is None


def test_hours_foretell_hours_and_a_week_foretells_months() -> None:
    """What three hours showed says nothing about next week, and is told where the disk is full tomorrow."""
    three_hours = half_hours(*(number * GB for number in range(7)))
    assert forecast(three_hours, 20 * GB).days_left == pytest.approx(10 / 24)
    assert forecast(three_hours, int(2 * 3 * FORESIGHT * GB) + 10**7).days_left is None
    a_week = half_hours(*(number * GB for number in range(SAMPLES)))
    assert forecast(a_week, 48 * 100 * GB).days_left == pytest.approx(100)


def test_what_began_today_is_told_before_the_week_shows_it() -> None:
    """Six hours of growth after six quiet days."""
    begun = half_hours(*[0.0] * (SAMPLES - 13), *(number * GB for number in range(13)))
    assert growth(begun) == 0
    assert forecast(begun, 20 * GB).days_left == pytest.approx(10 / 24)
    over = half_hours(*[0.0] * 13, *(number * GB for number in range(13)), *[12.0 * GB] * 9)
    assert forecast(over, 200 * GB).days_left is None


def test_a_working_day_and_its_night_are_one_growth() -> None:
    """Twenty GB in ten busy hours: full when so many days do not fit. Where the oldest goes each midnight, never."""
    grows = [number // 48 * 20.0 + min(number % 48, 20) for number in range(SAMPLES)]
    found = forecast(half_hours(*(used * GB for used in grows)), 200 * GB)
    assert found.days_left == pytest.approx(10, rel=0.1)
    level = [used - 20.0 * max(number // 48 - 2, 0) for number, used in enumerate(grows)]
    assert forecast(half_hours(*(used * GB for used in level[144:])), 200 * GB).days_left is None


@pytest.mark.parametrize("busy_from", [0, 16])
@pytest.mark.parametrize("uneven", [0.0, 0.2])
def test_where_the_oldest_day_goes_each_night_no_hour_says_full_soon(busy_from: int, uneven: float) -> None:
    """Ten days of about 100 GB are kept, three are free: evenly or in working hours, each day as the last or not."""
    day_gb = [100 * (1 + uneven * math.sin(day * 2.4)) for day in range(27)]
    busy = 48 - 2 * busy_from
    used = [
        sum(day_gb[max(day - 9, 0) : day]) + day_gb[day] * min(max(slot - busy_from, 0) / busy, 1)
        for day in range(27)
        for slot in range(48)
    ]
    for now in range(17 * 48, 27 * 48):  # before, it did fill, and no week says otherwise
        seen = half_hours(*(gb * GB for gb in used[now - SAMPLES : now + 1]))
        left = forecast(seen, int((1300 - used[now]) * GB)).days_left
        assert left is None or left > 14, f"day {now // 48}, half hour {now % 48}: {left}"


def test_what_fills_a_disk_beside_a_steady_state_is_told_the_same_day() -> None:
    """Ten GB an hour more than the days that come and go."""
    steady = [900 + 100 * (number % 48) / 48 for number in range(SAMPLES)]
    filling = [gb + 5 * max(number - (SAMPLES - 24), 0) for number, gb in enumerate(steady)]
    left = forecast(half_hours(*(gb * GB for gb in filling)), 100 * GB).days_left
    assert left is not None
    assert left < 1


def test_a_disk_tells_when_it_is_full(tmp_path: Path) -> None:
    """The days left are the free bytes by the growth; what shrinks is never full."""
    now = look_at_disk(tmp_path, [], NOW)
    used, rate = now.total_bytes - now.free_bytes, now.free_bytes // (20 * HOUR)
    grows = [(NOW - hour * HOUR * S, used - hour * HOUR * rate) for hour in range(10, 0, -1)]
    full = look_at_disk(tmp_path, grows, NOW)
    assert full.days_left == pytest.approx(20 / 24, rel=0.05)
    shrinks = [(time, 2 * used - before) for time, before in grows]
    assert look_at_disk(tmp_path, shrinks, NOW).days_left is None
    assert now.days_left is None
    assert 0 < now.used_percent <= 100


def test_samples_of_disks_are_few_and_none_is_of_the_future() -> None:
    """One in half an hour, a week of them; a clock that was ahead leaves none behind."""
    samples: list[tuple[int, int]] = []
    for minute in range(0, 20_000, 5):
        samples = with_sample(samples, NOW + minute * 60 * S, minute)
    assert len(samples) == SAMPLES
    assert samples[1][0] - samples[0][0] == 1800 * S
    assert with_sample(samples, NOW, 7) == [(NOW, 7)]


def test_each_file_system_is_looked_at_once(tmp_path: Path) -> None:
    """Folders on one file system are one; what is not there is left out."""
    (tmp_path / "days").mkdir()
    assert file_systems([tmp_path, tmp_path / "days", tmp_path / "absent"]) == [tmp_path]


def status(accepted: int = 0, *, started: str = "a", **facts: Any) -> dict[str, Any]:
    base = {
        "started": started,
        "accepted": accepted,
        "refused": {},
        "v1_nodes": {},
        "index_lag": {"attack": 3, "temporal": 7},
        "queue_bytes": 11,
        "paused": False,
    }
    return {**base, **facts}


class Ingester:
    """Statuses that are looked at one after the other, as often as health does."""

    def __init__(self) -> None:
        self.counted, self.now = Counted(), NOW

    def look(self, told: dict[str, Any], after_s: float = 10) -> Intake:
        self.now += int(after_s * S)
        return look_at_intake(told, self.counted, self.now)


def test_rates_are_those_since_the_look_before() -> None:
    """Nothing is known of the first one; what is behind most is the lag."""
    ingester = Ingester()
    first = ingester.look(status(1000))
    assert (first.accepted_per_s, first.index_lag_rows, first.queue_bytes) == (None, 7, 11)
    assert ingester.look(status(1500)).accepted_per_s == 50
    assert ingester.look(status(1500)).accepted_per_s == 0


def test_what_is_forged_is_counted_for_five_minutes() -> None:
    """Reasons that no sound sender brings about count together; after five minutes they are over."""
    ingester = Ingester()
    ingester.look(status(refused={"bad_tag": 100, "too_old": 5}))
    attacked = status(refused={"bad_tag": 108, "unknown_key": 2, "too_old": 6, "nonce_reused": 3})
    seen = ingester.look(attacked)
    assert (seen.forged_frames, seen.copied_frames) == (10, 3)
    assert seen.dead_letter_events == 119
    for _ in range(29):
        seen = ingester.look(attacked)
    assert seen.forged_frames == 10
    for _ in range(2):
        seen = ingester.look(attacked)
    assert (seen.forged_frames, seen.refused_per_minute["bad_tag"]) == (0, 0)


def test_a_new_ingester_counts_from_zero_and_hides_nothing() -> None:
    """What the one before had counted is neither lost nor counted twice, and its own counts are news at once."""
    ingester = Ingester()
    ingester.look(status(refused={"bad_tag": 100}))
    ingester.look(status(refused={"bad_tag": 104}))
    seen = ingester.look(status(10, started="b", refused={"bad_tag": 3}))
    assert seen.forged_frames == 7
    assert ingester.look(status(10, started="c")).forged_frames == 7


def test_what_came_while_health_was_away_is_news() -> None:
    """However long ago the last look was, what was counted since then is told."""
    ingester = Ingester()
    ingester.look(status(refused={"bad_tag": 1}))
    assert ingester.look(status(refused={"bad_tag": 51}), after_s=7200).forged_frames == 50
    assert len(ingester.counted.samples) == 2


def test_names_that_senders_invent_are_bounded_and_forgotten() -> None:
    """However many there are, and however often they are others; what each counted is told once."""
    ingester = Ingester()
    ingester.look(status())
    for start in range(20):
        invented = {f"{start}-{n}": {"nonces_reused": 2, "missing": 0} for n in range(2000)}
        seen = ingester.look(status(started=str(start), v1_nodes=invented))
        assert len(seen.nonces_repeated) == MOST_NODES
    kept = {name for _, counts in ingester.counted.samples for name in counts}
    assert len(kept) < 21 * MOST_COUNTED
    for _ in range(32):
        seen = ingester.look(status(started="20", v1_nodes={"a": {"nonces_reused": 1, "missing": 0}}))
    assert dict(seen.nonces_repeated) == {"a": 0}
    assert {name for _, counts in ingester.counted.samples for name in counts} == {"accepted", "nonces/a"}
    assert ingester.look(
        status(started="21", v1_nodes={"0-1": {"nonces_reused": 1, "missing": 0}})
    ).nonces_repeated == {
        "a": 0,
        "0-1": 1,
    }


def test_nonces_and_gaps_are_told_by_sensor() -> None:
    """Only sensors with something to tell, and each what is new."""
    ingester = Ingester()
    node = {"nonces_reused": 2, "missing": 5}
    ingester.look(status(v1_nodes={"a": node, "b": {"nonces_reused": 0, "missing": 0}}))
    seen = ingester.look(status(v1_nodes={"a": {"nonces_reused": 3, "missing": 5}}))
    assert (dict(seen.nonces_repeated), dict(seen.v1_missing)) == ({"a": 1}, {"a": 0})


def test_a_frame_that_comes_late_is_not_missing() -> None:
    """The network brought it after another one: it was missing for a moment."""
    ingester = Ingester()
    for missing in (0, 1, 0, 5, 6, 0):
        seen = ingester.look(status(v1_nodes={"a": {"nonces_reused": 0, "missing": missing}}))
    assert dict(seen.v1_missing) == {"a": 0}


def told(newest_s: float, events: int = 1) -> dict[str, dict[str, Any]]:
    return {"one": {"events": events, "newest_ns": NOW + int(newest_s * S), "clock_s": -2}}


def test_what_is_usual_for_a_sensor_is_learned_from_several_days() -> None:
    """The second longest silence of the days: one long night makes none usual, two do."""
    known: dict[str, KnownSensor] = {}
    day = 86_400
    for start in (0, day):
        for second in range(start, start + 600, 60):
            take_sensors(known, told(second), NOW + second * S, 0)
    assert usual_gap_s(known["one"]) == 60
    take_sensors(known, told(2 * day), NOW + 2 * day * S, 0)
    assert usual_gap_s(known["one"]) == pytest.approx(day - 540)


def test_no_silence_is_usual_that_somebody_taught_step_by_step() -> None:
    """Each time a little less than what is told, on two days in a row: the limit grows no further than two days."""
    silence, gap_s = Silence(), 0.0
    for _ in range(20):
        gap_s = silence.limit_s(gap_s) - 1
    assert silence.limit_s(gap_s) == 172_800
    assert silence.limit_s(1) == 900


def test_while_no_ingester_listens_no_sensor_is_silent() -> None:
    """The time without one is neither silence nor a gap that is usual."""
    known: dict[str, KnownSensor] = {}
    take_sensors(known, told(0), NOW, 0)
    take_sensors(known, {}, NOW, 500)
    (sensor,) = sensors_seen(known)
    assert (sensor.deaf_s, sensor.newest_ns) == (500, NOW)
    take_sensors(known, told(560), NOW + 560 * S, 0)
    assert known["one"].gaps[-1][1] == 60
    assert sensors_seen(known)[0].deaf_s == 0
    began = "1970-01-01T00:01:00+00:00"
    assert (deaf_s(20 * S, began), deaf_s(90 * S, began), deaf_s(0, "no time")) == (40, 0, 0)


def test_a_sensor_that_died_while_the_clock_was_ahead_is_silent_when_it_is_right() -> None:
    """The ingester tells of its newest event for ever, in a year that has not come."""
    known: dict[str, KnownSensor] = {}
    year_s = 366 * 86_400
    take_sensors(known, told(year_s), NOW + year_s * S, 0)
    for second in (0, 10, 1000):
        take_sensors(known, told(year_s), NOW + second * S, 0)
    assert known["one"].newest_ns == NOW
    fresh: dict[str, KnownSensor] = {}
    take_sensors(fresh, told(year_s), NOW, 0)
    take_sensors(fresh, told(1000), NOW + 1000 * S - 1, 0)
    assert fresh["one"].newest_ns == NOW + 1000 * S - 1


def test_sensors_are_forgotten_and_bounded() -> None:
    """One that was silent for a month is; so are the longest silent where there are too many."""
    known = {f"s{n}": KnownSensor(NOW - n * S) for n in range(MOST + 3)}
    known["gone"] = KnownSensor(NOW - FORGET_NS - 1)
    take_sensors(known, {}, NOW, 0)
    assert len(known) == MOST
    assert "gone" not in known
    assert f"s{MOST + 2}" not in known


def test_a_clock_that_was_ahead_hides_no_silence() -> None:
    """What was learned while it was is cut off at now: nobody is heard of in the future, and no gap lies there."""
    known: dict[str, KnownSensor] = {}
    year = 366 * 86_400
    take_sensors(known, told(0), NOW, 0)
    for jump in (1, 2):
        take_sensors(known, told(jump * year), NOW + jump * year * S, 0)
    take_sensors(known, told(2 * year), NOW + 10 * S, 0)
    (sensor,) = sensors_seen(known)
    assert sensor.newest_ns == NOW + 10 * S
    assert sensor.usual_gap_s == 0


def test_invented_names_crowd_out_no_sensor_that_is_known_for_days() -> None:
    """Its silence is told on, however many others send; names of one day go first."""
    known: dict[str, KnownSensor] = {"ours": KnownSensor(NOW - 9 * HOUR * S, gaps=[(1, 60.0), (2, 60.0)])}
    invented = {f"!{n:05}": {"events": 1, "newest_ns": NOW, "clock_s": 0} for n in range(MOST + 500)}
    take_sensors(known, invented, NOW, 0)
    assert len(known) == MOST
    assert sensors_seen(known)[0].name == "ours"


def test_a_sensor_that_was_forgotten_stays_so_until_it_sends() -> None:
    """The ingester goes on telling what it heard of it."""
    forgotten = {"one": NOW, "two": NOW}
    assert without_forgotten(told(0), forgotten) == {}
    assert forgotten == {"one": NOW}
    assert list(without_forgotten(told(1), forgotten)) == ["one"]
    assert forgotten == {}


def entry(name: str, kind: str = "rag", **info: str | int) -> Entry:
    return Entry(kind, name, f"tcp://127.0.0.1:{1000 + len(name)}", info)


def test_where_services_are_is_learned_from_the_registry() -> None:
    """The ingester is asked at its control socket; who is expected is known before it was ever seen."""
    known: dict[str, KnownService] = {}
    control = {"control": "tcp://127.0.0.1:9", "public_key": "k"}
    listed = Listed((entry("ingester", "ingester", **control), entry("rag-1"), entry("other")))
    known_services(known, ["ingester/ingester", "rag/rag-1", "rag/rag-2"], listed, NOW)
    assert sorted(known) == ["ingester/ingester", "rag/other", "rag/rag-1", "rag/rag-2"]
    assert (known["ingester/ingester"].address, known["ingester/ingester"].public_key) == (
        "tcp://127.0.0.1:9",
        "k",
    )
    known_services(known, ["rag/rag-1"], Listed(), NOW)
    assert sorted(known) == ["rag/rag-1"]


def test_a_registry_that_is_away_makes_nobody_unknown() -> None:
    """Addresses stay; without expectations a service that left is looked for during a day."""
    known: dict[str, KnownService] = {}
    known_services(known, [], Listed((entry("rag-1"),)), NOW)
    known_services(known, [], Listed(fault="etcd is away"), NOW + 10 * UNSEEN_NS)
    assert known["rag/rag-1"].address
    known_services(known, [], Listed(), NOW + UNSEEN_NS - 1)
    assert "rag/rag-1" in known
    known_services(known, [], Listed(), NOW + UNSEEN_NS)
    assert known == {}


def answer(offset_s: float = 0.0, **facts: Any) -> Answer:
    said = {"pid": 7, "time_ns": NOW + 50_000_000 + int(offset_s * S), "ready": True, "why": "", **facts}
    return Answer(said, asked_ns=NOW, heard_ns=NOW + 100_000_000)


def test_a_clock_is_compared_with_the_middle_of_the_round_trip() -> None:
    """Ahead is above zero."""
    seen = service_seen("rag/rag-1", KnownService("tcp://x"), answer(2.5), NOW, 1000)
    assert seen.clock_offset_s == pytest.approx(2.5)
    assert (seen.answers, seen.ready, seen.pid) == (True, True, 7)


def test_who_does_not_answer_is_down_and_since_when_is_remembered() -> None:
    """An answer ends it; another process in between is a start anew."""
    known = KnownService("tcp://x")
    service_seen("rag/rag-1", known, answer(pid=7), NOW - 10 * S, 1000)
    silent = Answer(None, "it did not answer", alive=False)
    assert service_seen("rag/rag-1", known, silent, NOW, 1000).down_s == 0
    late = service_seen("rag/rag-1", known, silent, NOW + 30 * S, 1000)
    assert (late.answers, late.down_s, late.why, late.restarts) == (False, 30, "it did not answer", 0)
    back = service_seen("rag/rag-1", known, answer(pid=8), NOW + 40 * S, 1000)
    assert (back.answers, back.down_s, back.restarts) == (True, 0, 1)


def test_a_start_that_nobody_watched_is_no_restart() -> None:
    """Who stops and starts the whole stack, to update it say, is not told that everything restarts."""
    known = {
        "rag/rag-1": KnownService("tcp://x", pid=7, heard_ns=NOW - 60 * S)
    }  # health itself has run for 5 s
    known_services(known, [], Listed((entry("rag-1"),)), NOW - S)  # it registers before it answers
    assert service_seen("rag/rag-1", known["rag/rag-1"], answer(pid=8), NOW, 5).restarts == 0
    assert service_seen("rag/rag-1", known["rag/rag-1"], answer(pid=9), NOW + 10 * S, 15).restarts == 1


def test_who_was_never_seen_may_be_starting_and_who_cannot_be_asked_is_not_down() -> None:
    """What is not known is not bad; a refusal is an answer."""
    known = KnownService()
    assert service_seen("rag/rag-1", known, None, NOW, STARTING_S - 1).answers is None
    assert service_seen("rag/rag-1", known, None, NOW, STARTING_S).answers is False
    no_key = Answer(None, "give a key", alive=None)
    assert service_seen("rag/rag-1", KnownService(), no_key, NOW, 1000).answers is None
    refused = service_seen("rag/rag-1", KnownService(), Answer(None, "no right", alive=True), NOW, 1000)
    assert (refused.answers, refused.ready) == (True, None)


def test_what_copies_days_says_how_that_goes() -> None:
    """A mirror, and an origin that publishes; of others it is not taken."""
    told = {"behind_s": 12.5, "faults": ["the link is cut", "more"], "days_left_out": 3}
    mirror = service_seen("mirror/m", KnownService("x"), answer(mirror=told), NOW, 99)
    assert (mirror.behind_s, mirror.fault, mirror.days_not_held) == (12.5, "the link is cut", 3)
    origin = service_seen("origin/o", KnownService("x"), answer(publish={**told, "faults": []}), NOW, 99)
    assert (origin.behind_s, origin.fault, origin.days_not_held) == (12.5, "", None)
    quiet = service_seen("origin/o", KnownService("x"), answer(), NOW, 99)
    assert (quiet.behind_s, quiet.fault) == (None, "")
    replica = service_seen("rag/r", KnownService("x"), answer(mirror=told, days_not_held=2), NOW, 99)
    assert (replica.behind_s, replica.fault, replica.days_not_held) == (None, "", 2)


def test_of_a_replica_without_all_days_rows_are_not_compared() -> None:
    """Its mirror has no room for them, which is no lag; the newest generation is compared all the same."""
    said = answer(rows=90, newest_generation="2026-11-19/9", days_not_held=1)
    late = with_lag(service_seen("rag/r", KnownService("x"), said, NOW, 99), (100, "2026-11-19/10"))
    assert (late.rows_behind, late.generations_behind) == (None, 1)


def test_a_replica_is_behind_by_rows_and_by_generations() -> None:
    """Numbers of generations are compared as numbers; nobody else has a lag."""
    replica = service_seen(
        "rag/r", KnownService("x"), answer(rows=90, newest_generation="2026-11-19/9"), NOW, 99
    )
    late = with_lag(replica, (100, "2026-11-19/10"))
    assert (late.rows_behind, late.generations_behind) == (10, 1)
    even = with_lag(replica, (80, "2026-11-19/9"))
    assert (even.rows_behind, even.generations_behind) == (0, 0)
    assert with_lag(replica, None).rows_behind is None
    ingester = service_seen("ingester/i", KnownService("x"), answer(rows=None), NOW, 99)
    assert with_lag(ingester, (100, "")).rows_behind is None
