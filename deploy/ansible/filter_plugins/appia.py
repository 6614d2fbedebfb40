"""Ansible filters: settings as TOML, networks by their family, secrets of the vault as files of a node."""

from __future__ import annotations

import json
import operator
import re
from base64 import b64encode
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

CLOSED = "0400"  # the mode of what only its owner reads


def to_toml(values: Mapping[str, Any]) -> str:
    """Settings as TOML (https://toml.io/en/v1.0.0), tables after the plain keys; what is null is left out."""
    return "\n".join(_lines(values, ())) + "\n"


def _lines(values: Mapping[str, Any], above: tuple[str, ...]) -> list[str]:
    plain = {key: value for key, value in values.items() if value is not None and not isinstance(value, dict)}
    tables = {key: value for key, value in values.items() if isinstance(value, dict)}
    lines = [f"{_text(key)} = {_value(value)}" for key, value in plain.items()]
    for key, table in tables.items():
        name = (*above, key)
        lines += ["", f"[{'.'.join(map(_text, name))}]", *_lines(table, name)]
    return lines


def _value(value: object) -> str:
    """One value; a text of another type, as Ansible's own kinds of text are, is a text."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value + 0)
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_value, value))}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{_text(key)} = {_value(one)}' for key, one in value.items())}}}"
    return _text(str(value))


def _text(text: str) -> str:
    """A basic string: escapes of JSON are among those of TOML, but for the one character that JSON leaves as it is."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def of_family(networks: Sequence[str], version: int) -> list[str]:
    """The networks and addresses of IP version 4 or 6."""
    return [network for network in networks if (":" in network) == (version == 6)]


def in_url(address: str) -> str:
    """An address as it stands in an endpoint: IPv6 in brackets."""
    return f"[{address}]" if ":" in address else address


def secret_files(
    vault: Mapping[str, str], places: Mapping[str, str], owner: str = "root"
) -> list[dict[str, str]]:
    """Files for the module `appia_files` from the vault, which has the content of each file by its path, in base64.

    `places` says where a file of the vault goes, or a folder, whose names end in a slash both.
    """
    files = []
    for source, target in places.items():
        found = [
            path for path in vault if path == source or (source.endswith("/") and path.startswith(source))
        ]
        if not found:
            raise ValueError(
                f"The vault of the site has no {source}: run the playbook keys.yml, then this one again."
            )
        files += [
            {
                "path": target + path.removeprefix(source),
                "base64": vault[path],
                "mode": CLOSED,
                "owner": owner,
                "group": owner,
            }
            for path in sorted(found)
        ]
    return files


def read_folder(folder: str) -> dict[str, str]:
    """Every file below a folder of this machine by its path in it: its content in base64."""
    root = Path(folder)
    return {
        str(path.relative_to(root)): b64encode(path.read_bytes()).decode()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


def secret_tree(vault: Mapping[str, str], folder: str, owner: str, group: str) -> list[dict[str, str]]:
    """All files of the vault for the module `appia_files`, below a folder of this machine."""
    whose = {"owner": owner, "group": group}
    return [
        {"path": f"{folder}/{path}", "base64": content, "mode": _mode(path), **whose}
        for path, content in vault.items()
    ]


def _mode(path: str) -> str:
    return "0444" if path.startswith("public/") or path.endswith(".public") else CLOSED


def without(values: Mapping[str, Any], key: str) -> dict[str, Any]:
    """All but one."""
    return {name: value for name, value in values.items() if name != key}


def pair(path: str, folder: str) -> list[str]:
    """A path and where it goes in a folder that ends in a slash."""
    return [path, folder + path]


def member_url(node: str, variables: Mapping[str, Any]) -> str:
    """A member of etcd as ETCD_INITIAL_CLUSTER names it."""
    return f"{node}=https://{in_url(address_of(node, variables))}:2380"


def formatted(value: str, form: str) -> str:
    """A value in the place of the braces of a form."""
    return form.format(value)


def not_ready(expected: Sequence[str], fleet: Mapping[str, Any]) -> list[str]:
    """Of services named KIND/NAME those that `appia status --json` does not know as ready, each with the reason."""
    known = {f"{one['kind']}/{one['name']}": one for one in fleet["services"]}
    missing = [f"{name} is not registered" for name in expected if name not in known]
    return missing + [
        f"{name} is not ready ({known[name]['why'] or 'it does not say why'})"
        for name in expected
        if name in known and not (known[name]["answers"] and known[name]["ready"])
    ]


def unknown_names(names: Sequence[str], roles: str) -> list[str]:
    """Of names those that begin with `appia_` and stand in no meta/argument_specs.yml of a folder of roles."""
    specs = [
        yaml.safe_load(path.read_text("utf-8")) for path in Path(roles).glob("*/meta/argument_specs.yml")
    ]
    known = {name for spec in specs for name in spec["argument_specs"]["main"]["options"]}
    return sorted(name for name in names if name.startswith("appia_") and name not in known)


def replicas_of(node: str, variables: Mapping[str, Any], usual: Sequence[Mapping[str, Any]]) -> list[str]:
    """The replicas of a node as they register, rag/NODE-NAME; the usual ones where the inventory names none."""
    return [f"rag/{node}-{one['name']}" for one in variables[node].get("appia_replicas", usual)]


def newest(versions: Sequence[str]) -> str:
    """The newest of some releases: numbers in it are compared as numbers."""
    return max(
        versions, key=lambda version: [int(part) for part in re.findall("[0-9]+", version)], default=""
    )


def option(value: str, name: str) -> list[str]:
    """An option and its value, two words of a command."""
    return [name, value]


def address_of(node: str, variables: Mapping[str, Any]) -> str:
    """Where others reach a node: what the inventory says of it, as the default of `appia_address` has it."""
    own = variables[node]
    return str(own.get("appia_address") or own.get("ansible_host") or node)


def node_option(node: str, name: str, variables: Mapping[str, Any]) -> list[str]:
    """An option that takes NODE=ADDRESS."""
    return [name, f"{node}={address_of(node, variables)}"]


def url_files(urls: Mapping[str, str], folder: str) -> list[dict[str, str]]:
    """Addresses of channels of alerts, which hold passwords, as files for the module `appia_files`: NAME.url each."""
    return [
        {"path": f"{folder}/{name}.url", "content": f"{url}\n", "mode": CLOSED} for name, url in urls.items()
    ]


def as_unit(unit: str) -> dict[str, str]:
    """A unit for the module `appia_services`."""
    return {"unit": unit}


def as_folder(path: str, mode: str) -> dict[str, str]:
    """A folder of root for the module `appia_files`."""
    return {"path": path, "mode": mode}


def settings_file(service: Mapping[str, Any], program: str) -> dict[str, str]:
    """The settings of a service for the module `appia_files`, checked by its program."""
    return {
        "path": service["settings"],
        "content": service["content"],
        "group": "appia",
        "mode": "0640",
        "validate": f"{program} --check --settings %s",
    }


class FilterModule:
    """What Ansible looks for."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """The filters by their names."""
        return {
            "appia_toml": to_toml,
            "appia_family": of_family,
            "appia_in_url": in_url,
            "appia_add": operator.add,
            "appia_secret_files": secret_files,
            "appia_read_folder": read_folder,
            "appia_secret_tree": secret_tree,
            "appia_without": without,
            "appia_pair": pair,
            "appia_member_url": member_url,
            "appia_format": formatted,
            "appia_not_ready": not_ready,
            "appia_unknown_names": unknown_names,
            "appia_replicas_of": replicas_of,
            "appia_newest": newest,
            "appia_option": option,
            "appia_address_of": address_of,
            "appia_node_option": node_option,
            "appia_url_files": url_files,
            "appia_unit": as_unit,
            "appia_as_folder": as_folder,
            "appia_settings_file": settings_file,
        }
