"""The fleet reads from Ansible's output what was changed and what failed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fleet.playbooks import Playbooks, Played, read_recap

if TYPE_CHECKING:
    from pathlib import Path

OUTPUT = """
TASK [common : Verify] ***
ok: [one]

PLAY RECAP *********************************************************************
one                        : ok=4    changed=2    unreachable=0    failed=0    skipped=1    rescued=0    ignored=0
rag-1                      : ok=1    changed=0    unreachable=1    failed=0    skipped=0    rescued=0    ignored=0
"""


def test_the_recap_has_the_counts_of_each_host() -> None:
    recap = read_recap(OUTPUT)
    assert recap["one"]["changed"] == 2
    played = Played("site.yml", 1.0, 4, recap, OUTPUT)
    assert (played.changed, played.failed, played.is_right) == (2, ("rag-1",), False)
    assert played.last_words().endswith("ok: [one]")


def test_a_run_that_never_began_is_not_right() -> None:
    assert read_recap("ERROR! the playbook could not be found") == {}
    assert not Played("none.yml", 0.1, 1, {}, "").is_right


def test_a_real_run_is_read(tmp_path: Path) -> None:
    book = tmp_path / "book.yml"
    book.write_text(
        "- name: Try\n  hosts: all\n  gather_facts: false\n  tasks:\n    - name: Say\n"
        "      ansible.builtin.debug:\n        msg: '{{ word }}'\n      changed_when: true\n"
    )
    inventory = tmp_path / "hosts.yml"
    inventory.write_text("all: {hosts: {one: {ansible_connection: local}}}\n")
    played = Playbooks(inventory, tmp_path / "log").play(str(book), 60, word="hello")
    assert (played.is_right, played.changed) == (True, 1)
    assert "hello" in (tmp_path / "log").read_text()
