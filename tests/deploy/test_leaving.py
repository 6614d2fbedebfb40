"""Replicas that an inventory names no more are known to the role, and no others."""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING

import pytest
import yaml
from deploy.controller import ANSIBLE, run_ansible

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(("host", "left"), [("node-1", "1,b-2"), ("node-2", "b-2")])
def test_replicas_that_nobody_names_are_left(tmp_path: Path, host: str, left: str) -> None:
    """In the example of three nodes the ingester's node has none any more, and the others have one of the name 1."""
    seen = {"stdout_lines": ["/etc/appia/rag-1.toml", "/etc/appia/rag-b-2.toml"]}
    check = {
        "name": "Look",
        "ansible.builtin.assert": {"that": f"rag_left | join(',') == '{left}'"},
    }
    load_role = {
        "name": "Know the role",
        "ansible.builtin.include_role": {"name": "rag", "public": True, "apply": {"when": False}},
    }
    known = {"appia_vault": {}, "common_bundle": {"version": "1"}, "rag_seen": seen}
    play = {
        "hosts": host,
        "gather_facts": False,
        "connection": "local",
        "vars": {"ansible_python_interpreter": sys.executable, **known},
        "tasks": [load_role, check],
    }
    (tmp_path / "look.yml").write_text(yaml.safe_dump([play]))
    inventory = str(ANSIBLE / "inventories/three-nodes")
    run = run_ansible(tmp_path, "ansible-playbook", "-i", inventory, str(tmp_path / "look.yml"))
    assert run.returncode == 0, run.stdout + run.stderr


def test_a_replica_is_known_by_the_line_that_its_settings_have() -> None:
    """The task looks for the very line that the filter writes."""
    sys.path.insert(0, str(ANSIBLE / "filter_plugins"))
    try:
        line = importlib.import_module("appia").to_toml({"state": "{{ site_state }}"}).strip()
    finally:
        sys.path.pop(0)
    assert f"'{line}'" in (ANSIBLE / "roles/rag/tasks/leave.yml").read_text("utf-8")
