"""A service takes a configuration whole or not at all, and goes back where it does not serve with it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from services.common.config.document import NAME, Document
from services.common.config.memory import MemoryFile, MemoryOfProcess
from services.common.config.sections import Base
from services.common.config.tree import RAG, RagLive
from services.common.config.watcher import MOST_TRIES, Hooks, Watcher, WatchTools
from services.common.durable import Disk

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conftest import Config, Service

    Serve = Callable[..., Service]


def heavy(live: RagLive) -> str:
    return "it is too heavy" if live.weight_attack > 5 else ""


def test_a_change_is_applied_while_the_service_runs(config: Config, serve: Serve) -> None:
    """A changed key is in use after the next look, and good when the service is ready with it."""
    service = serve()
    config.set(weight_attack=2.0)
    service.watcher.step()
    assert (service.weight, [live.weight_attack for live in service.applied]) == (2.0, [2.0])
    assert service.watcher.facts()["config_trying"] == 1
    service.passes(4)
    assert service.watcher.facts() == {
        "config_revision": 1,
        "config_read": 1,
        "config_trying": 0,
        "config_fault": "",
        "config_pinned": "",
    }
    assert service.events() == ["config_taken", "config_good"]


def test_a_service_that_was_off_begins_with_what_was_set(config: Config, serve: Serve) -> None:
    """The first reading gives the values to start with; they are on trial as any others."""
    config.set(weight_attack=2.0)
    service = serve()
    assert (service.first.weight_attack, service.watcher.facts()["config_trying"]) == (2.0, 1)
    service.passes(4)
    assert serve().watcher.facts()["config_trying"] == 0, "it is known to be good"


def test_an_unready_service_goes_back_within_the_bound(config: Config, serve: Serve) -> None:
    """With values that leave it not ready for 30 s, the last good ones are applied again, and it is said why."""
    service = serve(unready=heavy)
    config.set(weight_attack=2.0)
    service.passes(5)
    config.set(weight_attack=6.0)
    service.passes(29)
    assert service.weight == 6.0
    service.passes(3)
    assert (service.weight, service.applied[-1].weight_attack) == (2.0, 2.0)
    assert service.watcher.configured().revision == 1
    assert service.watcher.configured().fault == (
        "Revision 2 of the configuration is refused: the service was not ready for 30 s with it: it is too heavy"
    )


def test_what_is_refused_is_not_tried_again(config: Config, serve: Serve) -> None:
    """Neither after a restart, nor when another section changes; but when the keys of the section are others."""
    service = serve(unready=heavy)
    config.set(weight_attack=6.0)
    service.passes(35)
    again = serve(unready=heavy)
    assert (again.first.weight_attack, again.watcher.facts()["config_read"]) == (1.0, 1)
    config.store.change(lambda _: {"ingester.queue_bytes": 3 << 20}, config.author)
    again.passes(2)
    assert (again.applied, again.watcher.facts()["config_read"]) == ([], 2)
    assert "too heavy" in str(again.watcher.facts()["config_fault"])
    config.set(weight_attack=3.0)
    again.passes(5)
    assert (again.weight, again.watcher.facts()["config_fault"]) == (3.0, "")


def test_taking_a_refused_key_back_ends_the_fault(config: Config, serve: Serve) -> None:
    """Where the document is again what is in use, nothing is refused; setting the same anew is tried anew."""
    service = serve(refuses=heavy)
    config.set(weight_attack=6.0)
    service.passes(1)
    assert "too heavy" in service.watcher.configured().fault
    config.set(weight_attack=None)
    service.passes(1)
    assert (service.watcher.configured().revision, service.watcher.configured().fault) == (2, "")
    service.refuses = lambda _: ""
    config.set(weight_attack=6.0)
    service.passes(5)
    assert service.weight == 6.0


def test_a_revision_counts_as_read_when_it_is_known_what_became_of_it(config: Config, serve: Serve) -> None:
    """Who waits for a revision to be read is not told the fault of the one before while the new one is applied."""
    service = serve(refuses=heavy)
    config.set(weight_attack=6.0)
    service.passes(1)
    meanwhile: list[Any] = []

    def look(_live: RagLive) -> str:
        meanwhile.append(service.watcher.facts())
        return ""

    service.refuses = look
    config.set(weight_attack=2.0)
    service.passes(1)
    assert [facts["config_read"] for facts in meanwhile] == [1]
    assert (service.watcher.facts()["config_read"], service.watcher.facts()["config_fault"]) == (2, "")


def test_what_a_part_refuses_leaves_the_last_good_values(config: Config, serve: Serve) -> None:
    """An applier that fails is given the last good values again, whatever it had done before."""
    service = serve(refuses=heavy)
    config.set(weight_attack=2.0)
    service.passes(5)
    config.set(weight_attack=6.0)
    service.passes(1)
    assert [live.weight_attack for live in service.applied] == [2.0, 2.0]
    assert (service.weight, service.watcher.configured().revision) == (2.0, 1)
    assert service.watcher.configured().fault.endswith("RuntimeError: it is too heavy")


def test_values_that_are_not_allowed_are_refused_whole(config: Config, serve: Serve) -> None:
    """A document of another release with a key or a value that is unknown here changes nothing."""
    service = serve()
    bad = Document(values={RAG: {"weight_attack": 2.0, "weight_magic": 1.0}})
    config.values().put(NAME, bad, 0)
    service.passes(1)
    assert (service.weight, service.applied) == (1.0, [])
    assert "no key 'rag.weight_magic'" in service.watcher.configured().fault
    config.values().put(NAME, Document(values={RAG: {"weight_attack": -1.0}}), 1)
    service.passes(1)
    assert "rag.weight_attack cannot be -1.0" in service.watcher.configured().fault


def test_the_environment_wins(config: Config, serve: Serve) -> None:
    """A key that the environment says keeps its value; the others change."""
    service = serve(Base(RAG, RagLive, RagLive(weight_attack=9.0), frozenset({"weight_attack"})))
    config.set(weight_attack=2.0, weight_words=3.0)
    service.passes(5)
    assert (service.weight, service.watcher.live.weight_words) == (9.0, 3.0)
    assert service.watcher.facts()["config_pinned"] == "weight_attack"


def test_a_killed_service_counts_its_tries(config: Config, serve: Serve) -> None:
    """A configuration that ends the process before it is known to be good is refused at the fourth start."""
    serve()
    config.set(weight_attack=6.0)
    starts = [serve().first.weight_attack for _ in range(MOST_TRIES + 1)]
    assert starts == [6.0] * MOST_TRIES + [1.0]
    assert "ended 3 times before" in serve().watcher.configured().fault


def test_a_kill_on_trial_forgets_no_good_values(config: Config, serve: Serve) -> None:
    """Killed while values are on trial, a service comes back to a trial, and goes back to those that were good."""
    service = serve()
    config.set(weight_attack=2.0)
    service.passes(5)
    config.set(weight_attack=6.0)
    service.watcher.step()
    again = serve(unready=heavy)
    assert again.first.weight_attack == 6.0
    again.passes(35)
    assert again.weight == 2.0


def test_without_its_store_a_service_starts_with_the_last_good_values(
    config: Config, serve: Serve, tmp_path: Path
) -> None:
    """A store that cannot be read stops no start, and is no fault of the configuration."""
    service = serve()
    config.set(weight_attack=2.0)
    service.passes(5)
    hidden = config.folder.rename(tmp_path / "hidden")
    config.folder.write_text("in the way")
    again = serve()
    assert (again.first.weight_attack, again.watcher.configured().revision) == (2.0, 1)
    assert (again.events(), again.watcher.configured().fault) == (["config_not_read", "config_from_disk"], "")
    config.folder.unlink()
    hidden.rename(config.folder)
    config.set(weight_attack=3.0)
    again.passes(2)
    assert again.weight == 3.0


def test_an_old_document_is_not_taken(config: Config, serve: Serve) -> None:
    """A sealed document that is put back is seen, also by a service that was down meanwhile."""
    config.set(weight_attack=2.0)
    old = config.file.read_bytes()
    config.set(weight_attack=3.0)
    serve().passes(5)
    config.file.write_bytes(old)
    again = serve()
    assert again.first.weight_attack == 3.0
    assert "set back from revision 2 to 1" in again.watcher.configured().fault


def test_a_forged_document_is_not_taken(config: Config, serve: Serve) -> None:
    """What does not open is told, and changes nothing."""
    config.set(weight_attack=2.0)
    service = serve()
    service.passes(5)
    config.file.write_bytes(b"\0" * 200)
    service.passes(2)
    assert service.weight == 2.0
    assert "is not a sealed value" in service.watcher.configured().fault


def test_a_service_that_was_not_ready_before_blames_no_values(config: Config, serve: Serve) -> None:
    """What comes while a service is not ready may be the cure: it stays."""
    service = serve(unready=lambda live: "it is cold" if live.weight_words < 3 else "")
    service.passes(5)
    config.set(weight_attack=2.0)
    service.passes(40)
    assert (service.weight, service.watcher.configured().fault) == (2.0, "")


def test_a_long_start_blames_no_values(config: Config, serve: Serve) -> None:
    """A replica that opens days for minutes is not ready, whatever the values are: they are judged when it is done."""
    config.set(weight_attack=6.0)
    opening = {"days": "Days are still being opened."}
    service = serve(begun=False, unready=lambda live: opening.get("days") or heavy(live))
    service.passes(300)
    assert (service.weight, service.watcher.facts()["config_trying"]) == (6.0, 1)
    service.begun = bool(opening.pop("days"))
    service.passes(29)
    assert service.weight == 6.0
    service.passes(3)
    assert (service.weight, "too heavy" in service.watcher.configured().fault) == (1.0, True)


def test_a_service_that_is_not_ready_at_its_start_whatever_the_values_are_keeps_them(
    config: Config, serve: Serve
) -> None:
    """A replica with a damaged day goes back once, sees that it is not ready then either, and takes the values anew."""
    config.set(weight_attack=2.0)
    service = serve(unready=lambda _: "It does not serve what is there.")
    service.passes(33)
    assert service.weight == 1.0
    service.passes(33)
    assert (service.weight, service.watcher.configured().fault) == (2.0, "")
    assert service.events() == ["config_refused", "config_not_to_blame", "config_taken", "config_good"]


def test_what_was_to_blame_at_the_start_stays_refused(config: Config, serve: Serve) -> None:
    """Where the service is ready without it, it is not tried again, also where the service is not ready later."""
    config.set(weight_attack=6.0)
    service = serve(unready=heavy)
    service.passes(40)
    service.unready = lambda _: "It does not serve what is there."
    service.passes(100)
    assert (service.weight, "too heavy" in service.watcher.configured().fault) == (1.0, True)


def test_another_section_ends_no_trial(config: Config, serve: Serve) -> None:
    """Changes that are not about the service neither prolong its trial nor are they applied."""
    service = serve(unready=heavy)
    config.set(weight_attack=6.0)
    service.passes(20)
    config.store.change(lambda _: {"ingester.queue_bytes": 3 << 20}, config.author)
    service.passes(12)
    assert (service.weight, len(service.applied)) == (1.0, 2)


def test_a_damaged_memory_stops_no_start(serve: Serve, tmp_path: Path) -> None:
    """Without what it remembered a service begins with what files say, and says so."""
    (tmp_path / "memory.json").write_text("{")
    service = serve()
    assert (service.first, service.events()) == (RagLive(), ["config_not_remembered"])


def test_without_a_sealing_key_nothing_that_was_remembered_is_used(
    config: Config, serve: Serve, tmp_path: Path
) -> None:
    """Who takes the keys away takes the live configuration away; its last good values are not sealed."""
    config.set(weight_attack=2.0)
    serve().passes(5)
    tools = WatchTools(MemoryFile(tmp_path / "memory.json", Disk()), lambda *_: None, lambda: 0.0)
    watcher = Watcher(Base(RAG, RagLive, RagLive()), None, tools)
    assert (watcher.begin().weight_attack, watcher.configured().revision) == (1.0, 0)


def test_without_a_sealing_key_there_is_nothing_to_follow() -> None:
    """A watcher without a store gives what files say, and starts no thread that could fail."""
    tools = WatchTools(MemoryOfProcess(), lambda *_: None, lambda: 0.0)
    watcher = Watcher(Base(RAG, RagLive, RagLive(weight_attack=4.0)), None, tools)
    assert watcher.begin().weight_attack == 4.0
    watcher.start(Hooks(lambda _: None, lambda: ""))
    watcher.stop()
    assert watcher.configured().revision == 0
