"""Prepares a state directory for a stack, and describes the one that runs: what `appia up` does around its loop."""

from __future__ import annotations

import ipaddress
import json
import os
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from services.cli.child import Service
from services.cli.run_settings import to_toml
from services.cli.running import IngesterAt, ReplicaAt, Running
from services.common.chain.keys import new_signing_key, public_key_file, read_signing_ring
from services.common.days.names import INDICES
from services.common.embedding.store import ModelStore, copy_active
from services.common.errors import AppiaError
from services.common.registry.connect import KEYS_FOLDER, registry_keys_in
from services.common.registry.keys import SEAL, read_seals
from services.common.registry.new_keys import Given, make_registry_keys
from services.common.rest.storage_keys import storage_keys_in
from services.common.settings import load_settings
from services.common.wire.keys import new_key_ring, read_key_ring, ring_folder
from services.ingester.settings import IngesterSettings

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from services.cli.ports import PortBook
    from services.common.days.chosen_models import ChosenModels
    from services.common.days.names import StateNames
    from services.common.durable import Disk

LOOPBACK = "127.0.0.1"
INGESTER = "ingester"
HEALTH = "health"


@dataclass(frozen=True)
class StackOptions:
    """What the operator asked for; `overrides` are settings by service, which win over what is decided here."""

    names: StateNames
    replicas: int
    registry: str
    listen: str
    intake_port: int | None
    v1_port: int | None
    overrides: Mapping[str, Mapping[str, Any]]
    health: bool = True  # whether the health service runs too


def prepare_keys(names: StateNames) -> bool:
    """Make a key ring where there is none; True when one was made.

    Raises:
        AppiaError: there is a ring that cannot be used.
    """
    if ring_folder(names.keys).exists():
        read_key_ring(names.keys)
        return False
    new_key_ring(names.keys)
    return True


def prepare_sealing(names: StateNames, registry: str, disk: Disk) -> bool:
    """Make a key that seals the live configuration where there is none; True when one was made.

    Not with etcd: its entries are sealed with the same key, which every machine has to have.

    Raises:
        AppiaError: there is a key that cannot be used.
    """
    folder = names.keys / KEYS_FOLDER
    if registry != "file" or read_seals(folder / SEAL) is not None:
        return False
    make_registry_keys(disk, folder, Given())
    return True


def prepare_signing(names: StateNames, disk: Disk) -> Path | None:
    """Make a key that signs sealed days where there is none; gives the file of its public half when one was made.

    Raises:
        AppiaError: there are keys that cannot be used.
    """
    if read_signing_ring(names.keys) is not None:
        return None
    return public_key_file(names.keys, new_signing_key(names.keys, disk).public)


def prepare_models(store_folder: Path, names: StateNames, chosen: ChosenModels) -> list[str]:
    """Make the active ones of the chosen models those of the state directory, which keeps copies of its own.

    Gives the ids of those that are new there.

    A store without models is of no matter when the state directory has its own: it may be on a machine
    on which nothing is built.

    Raises:
        AppiaError: a model is in neither, or damaged.
    """
    store, own = ModelStore(store_folder), ModelStore(names.models)
    installed = []
    for index in INDICES:
        name = chosen.name_of(index)
        wanted, have = _active(store, name), _active(own, name)
        if not wanted and not have:
            make = "run `appia models build`" if name == index else f"the setting {index}_model asks for it"
            raise AppiaError(
                f"there is no {name} model in {store_folder}: {make}, "
                "or name the folder that has the models with --models"
            )
        if wanted and wanted != have:
            installed += copy_active(store, own, (name,))
    return installed


def ingester_settings(names: StateNames) -> IngesterSettings:
    """The ingester's settings, as `make_services` wrote them and the environment changes them.

    Raises:
        UsageError: a setting is wrong.
    """
    return load_settings(IngesterSettings, names.run / f"{INGESTER}.toml")


def _active(store: ModelStore, name: str) -> str:
    return store.active(name) if (store.root / name / "ACTIVE").exists() else ""


def make_services(options: StackOptions, ports: PortBook, disk: Disk) -> list[Service]:
    """Choose the ports, write the settings files and return what to run, the ingester first.

    Raises:
        UsageError: a port is in use.
    """
    services = [_service(options.names, disk, INGESTER, "services.ingester.main", _ingester(options, ports))]
    prefix = "" if options.registry == "file" else f"{_host_label()}-"
    for number in range(1, options.replicas + 1):
        name = f"rag-{number}"
        port = ports.port(name, LOOPBACK)
        values = _replica(options, f"{prefix}{name}", f"tcp://{LOOPBACK}:{port}", observe_at(ports, name))
        services.append(_service(options.names, disk, name, "services.rag.main", values))
    if options.health:
        expected = [f"rag/{prefix}rag-{number}" for number in range(1, options.replicas + 1)]
        health = _health(options, ports, expected)
        services.append(_service(options.names, disk, HEALTH, "services.health.main", health))
    ports.save(disk)
    return services


def _service(names: StateNames, disk: Disk, name: str, module: str, values: Mapping[str, Any]) -> Service:
    settings = names.run / f"{name}.toml"
    disk.write_file(settings, to_toml(values).encode())
    return Service(name, module, settings, names.run / f"{name}.log")


def _ingester(options: StackOptions, ports: PortBook) -> dict[str, Any]:
    names = options.names
    intake = ports.port("intake", options.listen, options.intake_port)
    v1_port = ports.port("v1", LOOPBACK, options.v1_port)
    values = {
        "state": str(names.root),
        "keys": str(names.keys),
        "v2": endpoint(options.listen, intake),
        **_advertised(options.listen, intake),
        "v1_pull": endpoint(LOOPBACK, v1_port),
        "control": endpoint(LOOPBACK, ports.port("control", LOOPBACK)),
        "observe": observe_at(ports, INGESTER),
        "watch": [str(names.inbox)],
        **_from_keys(options),
    }
    return {**values, **options.overrides["ingester"]}


def _advertised(listen: str, port: int) -> dict[str, str]:
    """What is registered where the intake is every address of this machine; all others are in the registry as bound."""
    address = ipaddress.ip_address(listen)
    if not address.is_unspecified:
        return {}
    return {"advertise": endpoint(LOOPBACK if address.version == 4 else "::1", port)}


def observe_at(ports: PortBook, name: str) -> str:
    """Where a service is observed: a port of its own on loopback, the same at each start."""
    return f"{LOOPBACK}:{ports.port(f'observe-{name}', LOOPBACK)}"


def _replica(options: StackOptions, name: str, listen: str, observe: str) -> dict[str, Any]:
    values = {
        "state": str(options.names.root),
        "name": name,
        "bind": listen,
        "observe": observe,
        **_from_keys(options),
    }
    return {**values, **options.overrides["rag"]}


def _health(options: StackOptions, ports: PortBook, replicas: list[str]) -> dict[str, Any]:
    ingester = options.overrides["ingester"].get("name", INGESTER)
    values = {
        "state": str(options.names.root),
        "bind": endpoint(LOOPBACK, ports.port(HEALTH, LOOPBACK)),
        "observe": observe_at(ports, HEALTH),
        "expect": [f"ingester/{ingester}", *replicas],
        **{name: path for name, path in _from_keys(options).items() if name != "storage_key"},
    }
    return {**values, **options.overrides[HEALTH]}


def _from_keys(options: StackOptions) -> dict[str, str]:
    """Where services register, and what the state directory's own folder of keys has for them."""
    keys = options.names.keys
    found = {"registry_keys": registry_keys_in(keys), "storage_key": storage_keys_in(keys)}
    return {"registry": options.registry} | {name: str(path) for name, path in found.items() if path}


def endpoint(address: str, port: int) -> str:
    """A ZeroMQ endpoint; IPv6 addresses stand in brackets."""
    return f"tcp://[{address}]:{port}" if ":" in address else f"tcp://{address}:{port}"


def _host_label() -> str:
    """This machine's name with the characters that the registry allows."""
    name = "".join(char if char.isascii() and char.isalnum() else "-" for char in socket.gethostname())
    return name.strip("-")[:40] or "host"


def running_stack(options: StackOptions, facts: Mapping[str, Mapping[str, Any]]) -> Running:
    """What `endpoints.json` says, from what each service said when it was ready."""
    ingester = facts[INGESTER]
    listens = ingester["endpoints"]
    return Running(
        state=str(options.names.root),
        registry=options.registry,
        pid=os.getpid(),
        ingester=IngesterAt(ingester["pid"], listens["v2"], listens.get("v1_pull") or "", listens["control"]),
        replicas=[
            ReplicaAt(said["name"], said["endpoint"], said["pid"])
            for name, said in facts.items()
            if name not in {INGESTER, HEALTH}
        ],
        keys=str(options.names.keys),
        health=str(facts.get(HEALTH, {}).get("endpoint", "")),
        observe={name: str(said["observe"]) for name, said in facts.items() if said.get("observe")},
    )


def targets(running: Running) -> str:
    """Where Prometheus finds the services, as a file for its `file_sd_configs`."""
    groups = [
        {"targets": [place], "labels": {"appia": name}} for name, place in sorted(running.observe.items())
    ]
    return json.dumps(groups, indent=2) + "\n"
