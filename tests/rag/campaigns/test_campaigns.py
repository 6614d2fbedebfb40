"""`campaigns` links what belongs together and nothing that only looks like it, checked against a plan made by hand."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from services.common.days.names import day_start_ns
from services.common.errors import UsageError
from services.common.events.network_security_pb2 import NetworkSecurityEvent
from services.common.logs import make_logger
from services.common.rpc import Deadline, NotFound, RequestError
from services.feed.readers.cicflowmeter import CicFlowMeterReader
from services.feed.readers.port import ReadOptions
from services.rag.arguments import parse_filters
from services.rag.campaigns import sightings
from services.rag.campaigns.finder import Campaigns
from services.rag.catalog import Catalog
from services.rag.scope import NOT_SEARCHED, Bounds

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from services.common.rpc_server import Handler
    from services.rag.catalog import Snapshot

DAYS = ("2026-01-19", "2026-01-20", "2026-01-21")
ATTACKER, CONTROL = "203.0.113.9", "192.0.2.66"
RESOLVER, WEB = "10.0.0.53", "10.0.0.80"
DESKTOPS = [f"10.0.1.{number}" for number in range(1, 31)]
BOTS = DESKTOPS[4], DESKTOPS[11]
SCANNERS = ("198.18.1.1", "198.18.2.2")
WEEK = Path(__file__).parents[4] / "shared" / "data" / "cicids2017" / "cicids2017-week.csv.gz"
SOON = Deadline()


@dataclass
class Plan:
    """Makes events; each is a second later than the one before."""

    world: Any
    made: int = 0

    def flow(self, day: str, source: str, target: str, kind: str = "", **more: Any) -> NetworkSecurityEvent:
        """One flow: harmless without a kind."""
        self.made += 1
        event = NetworkSecurityEvent(event_id=f"{kind or 'work'}-{self.made}", originating_node_id="node-1")
        event.event_timestamp.FromNanoseconds(day_start_ns(day) + self.made * 10**9)
        event.final_classification = "MALICIOUS" if kind else "BENIGN"
        event.threat_category = kind or "NORMAL"
        event.overall_threat_score = more.pop("score", 0.9 if kind else 0.1)
        flow = event.network_features
        flow.source_ip, flow.destination_ip = source, target
        flow.destination_port, flow.protocol_number = more.pop("port", 443), 6
        flow.source_port = 40_000
        flow.total_forward_packets, flow.total_forward_bytes = 10, more.pop("size", 3000)
        assert not more
        return event

    def work(self, day: str) -> list[NetworkSecurityEvent]:
        """What everybody does: names, the web server, somebody outside; each ten times."""
        visitors = [f"198.51.{number}.7" for number in range(40)]
        found = [self.flow(day, host, RESOLVER, port=53) for host in DESKTOPS for _ in range(10)]
        found += [self.flow(day, host, WEB) for host in (*DESKTOPS, *visitors) for _ in range(10)]
        return found + [self.flow(day, host, visitors[number]) for number, host in enumerate(DESKTOPS)]

    def attacks(self, day: str) -> list[NetworkSecurityEvent]:
        """An attacker from outside, machines that call their control host, strangers that scan, and false alarms."""
        number = DAYS.index(day)
        found = [
            self.flow(day, ATTACKER, WEB, ("brute force", "injection", "flood")[number]) for _ in range(20)
        ]
        if number:
            found += [
                self.flow(day, BOTS[number - 1], CONTROL, "beacon", port=8080, size=90) for _ in range(15)
            ]
        found += [
            self.flow(day, one, host, "scan", port=22, size=40) for one in SCANNERS for host in DESKTOPS
        ]
        return found + [self.flow(day, host, RESOLVER, "odd name", port=53) for host in DESKTOPS]


def fill(world: Any) -> Plan:
    """Three days with all of it; the last one is open."""
    plan = Plan(world)
    for day in DAYS:
        world.write(day, [*plan.work(day), *plan.attacks(day)])
        if day != DAYS[-1]:
            world.seal(day)
    return plan


@dataclass(frozen=True)
class Known:
    """A plan and what a replica sees of it."""

    plan: Plan
    snapshot: Snapshot

    def ask(self, filters: Any = None, k: int = 1000, event_id: str | None = None) -> dict[str, Any]:
        bounds = Bounds(k, parse_filters(filters or {}))
        return Campaigns().find(self.snapshot, event_id, bounds)


@pytest.fixture(scope="module")
def known(world_class: Any, tmp_path_factory: Any) -> Iterator[Known]:
    """The three days as they are, for tests that only ask."""
    plan = fill(world_class(tmp_path_factory.mktemp("campaigns") / "state"))
    catalog = Catalog(plan.world.state, make_logger("test"))
    catalog.start()
    assert catalog.wait_opened(30)
    with catalog.lease() as snapshot:
        yield Known(plan, snapshot)
    catalog.stop()
    plan.world.close()


def ask(handlers: Mapping[str, Handler], **more: Any) -> dict[str, Any]:
    return handlers["campaigns"]({"k": 1000, **more}, SOON)


def sources(campaign: Mapping[str, Any]) -> set[str]:
    return {host["address"] for step in campaign["steps"] for host in step["hosts"]["sources"]["most"]}


def test_what_belongs_together_is_linked_and_nothing_else(known: Known) -> None:
    """The attacker's three days are one campaign, two machines with their control host another; scanners and
    false alarms stay apart by their sources, whatever they have in common."""
    found = known.ask()
    strangers = [{one} for one in (*SCANNERS, *(set(DESKTOPS) - set(BOTS)))]
    expected = Counter(map(frozenset, [{ATTACKER}, set(BOTS), *strangers]))
    assert Counter(frozenset(sources(campaign)) for campaign in found["campaigns"]) == expected
    assert found["found"] == len(found["campaigns"])
    assert found["events"] == 3 * 20 + 2 * 15 + 3 * 60 + 3 * 30
    assert found["alone"] == 0


def test_a_campaign_is_told_step_by_step(known: Known) -> None:
    """Days, kinds, hosts and steps of the attacker are those of the plan, and the link says why."""
    (campaign,) = [one for one in known.ask()["campaigns"] if sources(one) == {ATTACKER}]
    assert campaign["days"] == list(DAYS)
    assert campaign["kinds"] == {"brute force": 20, "flood": 20, "injection": 20}
    assert [(step["day"], step["kind"], step["count"]) for step in campaign["steps"]] == [
        (DAYS[0], "brute force", 20),
        (DAYS[1], "injection", 20),
        (DAYS[2], "flood", 20),
    ]
    assert campaign["hosts"]["destinations"] == {
        "count": 1,
        "at_least": False,
        "most": [{"address": WEB, "events": 60}],
    }
    assert campaign["classes"] == {"MALICIOUS": 60}
    assert campaign["summary"].startswith(
        f"On 3 days, {DAYS[0]} to {DAYS[2]}: {ATTACKER} against {WEB}, 60 events of 3 kinds ("
    )
    (link,) = campaign["links"]
    assert (link["kind"], link["what"], link["weight"], link["days"]) == ("source", ATTACKER, 1.0, list(DAYS))
    ids = [example["event_id"] for example in campaign["examples"]]
    assert ids[0].startswith("brute force")
    assert ids[-1].startswith("flood")


def test_the_control_host_is_why_its_machines_are_linked(known: Known) -> None:
    """The first reason between hosts names it, with its weight: rarity of two peers among all hosts, and purity 1."""
    (campaign,) = [one for one in known.ask()["campaigns"] if sources(one) == set(BOTS)]
    link = campaign["links"][0]
    assert (link["kind"], link["what"], link["days"]) == ("destination", CONTROL, list(DAYS[1:]))
    assert 0.5 <= link["weight"] < 1
    assert f"{CONTROL}, which hardly anything else goes to" in link["sentence"]


def test_days_and_kinds_come_first(known: Known) -> None:
    """Campaigns are ordered by days times kinds: the attacker's three of three are before a scanner's three of one."""
    ranks = [len(one["days"]) * len(one["kinds"]) for one in known.ask()["campaigns"]]
    assert ranks == sorted(ranks, reverse=True)
    assert sources(known.ask(k=1)["campaigns"][0]) == {ATTACKER}
    assert known.ask(k=1)["found"] == len(ranks)


def test_sealing_and_later_events_change_only_what_they_should(world: Any, replica: Any) -> None:
    """Open or sealed, the same events give the same campaigns; later ones change no answer as of before, and no id."""
    plan = fill(world)
    before, handlers = ask(replica(world)), replica(world)
    plan.world.write(DAYS[-1], [plan.flow(DAYS[-1], ATTACKER, WEB, "upload") for _ in range(3)])
    plan.world.write(DAYS[-1], [plan.flow(DAYS[-1], f"198.19.0.{number}", WEB) for number in range(1, 200)])
    again = ask(handlers, as_of=before["receipt"]["as_of"])
    for answer in (before, again):
        del answer["receipt"]["took_ms"]
    assert before == again
    later = ask(handlers)
    assert later["campaigns"][0]["id"] == before["campaigns"][0]["id"]
    assert later["campaigns"][0]["count"] == before["campaigns"][0]["count"] + 3
    world.seal(DAYS[-1])
    assert _bare(ask(replica(world))) == _bare(later)


def _bare(answer: dict[str, Any]) -> dict[str, Any]:
    """Without what says where events lie."""
    campaigns = [
        {**one, "examples": [event["event_id"] for event in one["examples"]]} for one in answer["campaigns"]
    ]
    return {**answer, "campaigns": campaigns, "receipt": None}


def test_an_event_leads_to_its_campaign(known: Known) -> None:
    """From an attack comes its campaign; from a harmless event nothing, unless its host does something that matters."""
    attack = next(name for name in known.plan.world.events if name.startswith("beacon"))
    found = known.ask(event_id=attack)
    assert found["event"]["event_id"] == attack
    assert [sources(one) for one in found["campaigns"]] == [set(BOTS)]
    (visit,) = [e for e in known.plan.world.events.values() if e.network_features.source_ip == "198.51.3.7"][
        :1
    ]
    assert known.ask(event_id=visit.event_id)["campaigns"] == []
    (work,) = [e for e in known.plan.world.events.values() if e.network_features.source_ip == BOTS[0]][:1]
    (campaign,) = known.ask(event_id=work.event_id)["campaigns"]
    assert sources(campaign) >= set(BOTS)
    assert "NORMAL" in campaign["kinds"]


def test_what_an_event_is_asked_for_with_has_to_let_it_pass(known: Known) -> None:
    """An event that the filters leave out, and one that is not there, are refused in a sentence each."""
    attack = known.ask()["campaigns"][0]["examples"][0]
    with pytest.raises(UsageError, match="does not pass the filters"):
        known.ask({"category": "scan"}, event_id=attack["event_id"])
    with pytest.raises(NotFound, match="no event 'unknown'"):
        known.ask(event_id="unknown")


def test_filters_about_verdicts_say_what_matters(known: Known) -> None:
    """With a category only its events are linked; harmless ones too, where these were asked for."""
    found = known.ask({"category": "beacon"})
    assert (found["events"], found["found"]) == (30, 1)
    everyone = known.ask({"class": "BENIGN", "days": [DAYS[0]]})
    assert everyone["events"] == 30 * 10 + 70 * 10 + 30
    no_verdict = known.ask({"days": [DAYS[1]], "dst": CONTROL})
    assert no_verdict["events"] == 15


def test_events_without_a_class_matter_by_score(world: Any, replica: Any) -> None:
    """Where no class says anything a score of 0.5 or a category does; a class of harmless outweighs a score."""
    plan = Plan(world)
    events = [
        plan.flow(DAYS[0], ATTACKER, WEB, kind, score=score) for kind in ("", "odd") for score in (0.4, 0.5)
    ]
    for event in events:
        event.final_classification = ""
    events.append(plan.flow(DAYS[0], ATTACKER, WEB, score=0.9))
    world.write(DAYS[0], events)
    assert ask(replica(world))["events"] == 3


def test_forged_senders_are_one_pattern(world: Any, replica: Any) -> None:
    """A flood from five hundred senders is one pattern, by its destination, and glues nothing that they do besides."""
    plan = Plan(world)
    senders = [f"198.{18 + number % 2}.{number // 2}.1" for number in range(500)]
    flood = [plan.flow(DAYS[0], sender, WEB, "flood", size=40) for sender in senders]
    others = [
        plan.flow(DAYS[0], sender, f"10.0.2.{number}", "probe") for number, sender in enumerate(senders[:5])
    ]
    world.write(DAYS[0], [*flood, *others])
    found = ask(replica(world))
    assert (found["patterns"], found["events"]) == (6, 505)
    assert found["campaigns"] == []
    assert found["alone"] == 6


def test_forged_senders_do_not_hide_who_sends_most(world: Any, replica: Any) -> None:
    """Whoever has a sixty-fourth of the events of a flood stays a source, and what else it did is linked to that."""
    plan = Plan(world)
    flood = [plan.flow(DAYS[0], ATTACKER, WEB, "flood", size=40) for _ in range(20)]
    forged = [plan.flow(DAYS[0], f"198.18.{number}.1", WEB, "flood", size=40) for number in range(200)]
    world.write(DAYS[0], [*flood, *forged, plan.flow(DAYS[0], ATTACKER, "10.0.2.7", "probe")])
    found = ask(replica(world))
    assert (found["patterns"], found["alone"]) == (3, 1)
    (campaign,) = found["campaigns"]
    assert (sources(campaign), campaign["count"]) == ({ATTACKER}, 21)


def test_very_many_patterns_are_bounded(known: Known, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of more patterns than are linked the newest stay, and the receipt names the days of the others."""
    whole = known.ask()
    monkeypatch.setattr(sightings, "MOST_SIGHTINGS", 40)
    found = known.ask()
    assert found["patterns"] == 40 < whole["patterns"]
    left = {gap["day"]: int(gap["reason"].split()[0]) for gap in found["receipt"]["missing"]}
    assert sum(left.values()) == whole["patterns"] - 40
    assert DAYS[0] in left
    monkeypatch.setattr(sightings, "MOST_EVENTS", 130)
    assert {gap["day"] for gap in known.ask()["receipt"]["missing"]} >= {DAYS[0], DAYS[1]}


def test_time_that_ends_leaves_out_the_oldest_days(known: Known) -> None:
    """What was linked by then is the answer, and the receipt says what was not looked at."""

    class Ending(Deadline):
        looks = 0

        @property
        def is_near(self) -> bool:
            Ending.looks += 1
            return Ending.looks == 2 * len(DAYS)  # once for each day to choose rows, once to look at them

    receipt = Campaigns().find(known.snapshot, None, Bounds(5, deadline=Ending()))["receipt"]
    assert receipt["partial"]
    assert not receipt["repeatable"]
    assert [(gap["day"], gap["reason"]) for gap in receipt["missing"]] == [(DAYS[0], NOT_SEARCHED)]
    with pytest.raises(RequestError, match="time for this request is over"):
        Campaigns().find(known.snapshot, None, Bounds(5, deadline=Deadline.after(0)))


def test_nothing_that_matters_is_no_campaign(world: Any, replica: Any) -> None:
    """A day of work, and no day at all."""
    assert ask(replica(world))["campaigns"] == []
    plan = Plan(world)
    world.write(DAYS[0], plan.work(DAYS[0]))
    found = ask(replica(world))
    assert (found["campaigns"], found["events"], found["patterns"], found["alone"]) == ([], 0, 0, 0)


def test_the_week_of_attacks_is_what_is_known_of_it(world: Any, replica: Any) -> None:
    """CICIDS2017: the attacker 172.16.0.1 from Tuesday to Friday, and the machines that called 205.174.165.73."""
    if not WEEK.is_file():
        pytest.skip(f"{WEEK} is not here")
    by_day: dict[str, list[NetworkSecurityEvent]] = {}
    for item in CicFlowMeterReader().read(str(WEEK), ReadOptions()):
        if isinstance(item, NetworkSecurityEvent):
            by_day.setdefault(item.event_timestamp.ToJsonString()[:10], []).append(item)
    for day, events in by_day.items():
        world.write(day, events, index=False)  # what is alike is not asked here: no vectors
    attacker, infected = ask(replica(world))["campaigns"][:2]
    assert sources(attacker) == {"172.16.0.1"}
    assert attacker["days"] == ["2017-07-04", "2017-07-05", "2017-07-06", "2017-07-07"]
    assert {"FTP-Patator", "SSH-Patator", "DoS Hulk", "Heartbleed", "DDoS"} <= attacker["kinds"].keys()
    assert infected["hosts"]["sources"]["count"] == 6
    assert infected["kinds"].keys() == {"Infiltration", "Infiltration - Portscan", "Botnet"}
    assert infected["links"][0]["what"] == "205.174.165.73"
