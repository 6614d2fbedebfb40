"""What is proposed for a machine: by table, and by what must hold for every machine."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.cli.hardware import DiskKind, Hardware
from services.cli.tune_plan import (
    FORMS,
    GIB,
    HEALTH_BYTES,
    INGESTER_BYTES,
    REPLICA_BYTES,
    RULES,
    Limits,
    Use,
    budget,
    plan,
)
from services.common.config.tree import MIB, SECTIONS

Values = dict[str, dict[str, bool | int | float | str]]

MINI = Hardware(4, 8 * GIB, 6 * GIB, 45.0, DiskKind.SOLID, 500 * GIB, 400 * GIB)
USUAL = Use(replicas=1, resident_bytes=500 * MIB, index_bytes=200 * MIB)


def defaults() -> Values:
    """The values of every section as they are without a file."""
    return {section: live().model_dump() for section, live in SECTIONS.items()}


def proposed(
    machine: Hardware = MINI, limits: Limits | None = None, use: Use = USUAL, **now: str
) -> dict[str, bool | int | float | str]:
    """What is proposed, by key."""
    values = defaults()
    values["ingester"] |= now
    made = plan(budget(machine, limits or Limits(), use), values)
    assert all(one.why for one in made)
    return {one.key: one.proposed for one in made}


def test_a_small_machine_that_is_well_keeps_most_of_what_it_has() -> None:
    """The defaults were made for one; memory to spare takes longer bursts."""
    values = defaults()
    made = plan(budget(MINI, Limits(), USUAL), values)
    assert [(one.name, one.now, one.proposed) for one in made if one.changes] == [
        ("ingester.queue_bytes", 2 * MIB, 4 * MIB),
        ("ingester.batch_rows", 1024, 4096),
        ("rag.waiting", 256, 384),
        ("rag.workers", 2, 3),
    ]


@pytest.mark.parametrize(
    ("cores", "cpu", "replicas", "threads", "workers", "slow"),
    [
        (1, 75, 1, 1, 2, 1),
        (2, 75, 2, 1, 2, 1),
        (8, 75, 1, 1, 6, 1),
        (16, 75, 1, 2, 8, 2),
        (16, 25, 1, 1, 4, 1),
        (64, 100, 4, 8, 8, 2),
        (64, 100, 64, 8, 2, 1),
        (0.5, 10, 1, 1, 2, 1),
    ],
)
def test_threads_and_workers_follow_the_cores(  # noqa: PLR0917 - a table
    cores: float, cpu: float, replicas: int, threads: int, workers: int, slow: int
) -> None:
    """Within the share of the processor that is allowed; many replicas need few workers each."""
    machine = replace(MINI, cores=cores, memory_bytes=256 * GIB, available_bytes=200 * GIB)
    made = proposed(machine, Limits(cpu_percent=cpu), replace(USUAL, replicas=replicas))
    assert (made["model_threads"], made["workers"], made["slow_workers"]) == (threads, workers, slow)


def test_heat_takes_threads_away_until_it_is_gone() -> None:
    """A machine without a fan is slower when it throttles than when it does less."""
    cool, hot = replace(MINI, cores=16, temperature_c=80.0), replace(MINI, cores=16, temperature_c=80.1)
    assert (proposed(cool)["model_threads"], proposed(cool)["workers"]) == (2, 8)
    assert (proposed(hot)["model_threads"], proposed(hot)["workers"]) == (1, 1)
    assert (proposed(hot)["commit_interval_s"], proposed(cool)["commit_interval_s"]) == (1.0, 0.0)
    assert proposed(hot, Limits(most_c=85.0)) == proposed(cool)
    assert proposed(replace(hot, temperature_c=None)) == proposed(cool)


def test_buffers_follow_memory_and_the_disk() -> None:
    """The least where memory is short, the most where a slow disk stalls and there is room."""
    short = Limits(ram_bytes=400 * MIB)
    assert proposed(limits=short)["queue_bytes"] == MIB
    assert proposed(limits=short)["batch_rows"] == 256
    usual = proposed(limits=Limits(ram_bytes=900 * MIB))
    assert (usual["queue_bytes"], usual["batch_rows"], usual["commit_interval_s"]) == (2 * MIB, 1024, 0.0)
    assert proposed(replace(MINI, disk=DiskKind.CARD))["commit_interval_s"] == 0.5
    assert proposed(replace(MINI, disk=DiskKind.ROTATING))["queue_bytes"] == 8 * MIB
    assert proposed(replace(MINI, disk=DiskKind.ROTATING), short)["queue_bytes"] == MIB


def test_forms_follow_the_disk_and_what_memory_can_hold() -> None:
    """Smaller as the disk fills, or where indices would not stay in memory; back only where there is much room."""
    nearly, full = replace(MINI, disk_free_bytes=100 * GIB), replace(MINI, disk_free_bytes=50 * GIB)
    assert (proposed(nearly)["vectors_semantic"], proposed(nearly)["compression"]) == ("balanced", "maximum")
    assert (proposed(full)["vectors_semantic"], proposed(full)["compression"]) == ("maximum", "maximum")
    large = replace(USUAL, index_bytes=20 * GIB)
    assert proposed(use=large)["vectors_attack"] == "balanced"
    assert proposed(use=replace(USUAL, index_bytes=2 * GIB), vectors_attack="balanced")["vectors_attack"] == (
        "balanced"
    )
    assert proposed(vectors_attack="maximum")["vectors_attack"] == "fast"
    assert proposed(nearly, vectors_attack="maximum")["vectors_attack"] == "maximum"


def test_what_is_not_there_is_not_proposed() -> None:
    """A key that an older service does not know."""
    values = defaults()
    del values["ingester"]["queue_bytes"], values["rag"]
    assert {one.section for one in plan(budget(MINI, Limits(), USUAL), values)} == {"ingester"}
    assert "queue_bytes" not in {one.key for one in plan(budget(MINI, Limits(), USUAL), values)}


def test_every_rule_is_of_a_key_that_exists() -> None:
    """Renamed keys must not lose their rules silently."""
    for section, key in RULES:
        assert key in SECTIONS[section].model_fields


machines = st.builds(
    Hardware,
    cores=st.floats(0.05, 512),
    memory_bytes=st.integers(64 * MIB, 1024 * GIB),
    available_bytes=st.integers(0, 1024 * GIB),
    temperature_c=st.none() | st.floats(1, 149),
    disk=st.sampled_from(DiskKind),
    disk_bytes=st.integers(0, 1024 * GIB),
    disk_free_bytes=st.integers(0, 1024 * GIB),
)
limits = st.builds(
    Limits,
    cpu_percent=st.floats(1, 100),
    ram_bytes=st.none() | st.integers(MIB, 1024 * GIB),
    most_c=st.floats(30, 110),
)
uses = st.builds(
    Use,
    replicas=st.integers(0, 64),
    resident_bytes=st.integers(0, 64 * GIB),
    index_bytes=st.integers(0, 512 * GIB),
)
forms = st.sampled_from(FORMS)


@given(machine=machines, limit=limits, use=uses, form=forms, compression=forms)
def test_every_plan_is_allowed_and_applying_it_leaves_nothing_to_propose(
    machine: Hardware, limit: Limits, use: Use, form: str, compression: str
) -> None:
    """Values are those that the schema takes, and a plan does not swing to and fro."""
    now = defaults()
    now["ingester"] |= {"vectors_attack": form, "vectors_entity": form, "compression": compression}
    made = plan(budget(machine, limit, use), now)
    for one in made:
        SECTIONS[one.section](**{one.key: one.proposed})
        now[one.section][one.key] = one.proposed
    assert not [one for one in plan(budget(machine, limit, use), now) if one.changes]


@given(machine=machines, limit=limits, use=uses, more=st.floats(1, 8))
def test_more_cores_never_mean_fewer_threads_and_heat_never_more(
    machine: Hardware, limit: Limits, use: Use, more: float
) -> None:
    """Nor do more threads than cores run models, but for the one that there must be."""
    machine = replace(machine, temperature_c=None)
    here, larger = (
        proposed(one, limit, use) for one in (machine, replace(machine, cores=machine.cores * more))
    )
    hot = proposed(replace(machine, temperature_c=149.0), limit, use)
    for key in ("model_threads", "workers", "slow_workers", "waiting"):
        assert int(hot[key]) <= int(here[key]) <= int(larger[key])
    assert int(here["model_threads"]) <= max(machine.cores * limit.cpu_percent / 100, 1)


@given(machine=machines, use=uses, ram=st.integers(MIB, 512 * GIB), less=st.floats(0, 1))
def test_less_memory_never_means_larger_buffers(machine: Hardware, use: Use, ram: int, less: float) -> None:
    """Whatever the machine; and where services do not even fit, buffers are the least there are."""
    much = proposed(machine, Limits(ram_bytes=ram), use)
    little = proposed(machine, Limits(ram_bytes=int(ram * less)), use)
    for key in ("queue_bytes", "batch_rows"):
        assert int(little[key]) <= int(much[key])
    if ram < INGESTER_BYTES + HEALTH_BYTES + use.replicas * REPLICA_BYTES:
        assert much["queue_bytes"] == MIB
