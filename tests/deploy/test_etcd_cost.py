"""Wherever this project starts an etcd, logins are cheap: passwords are random, and all services log in at once."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
STARTS = (
    "deploy/ansible/roles/etcd/templates/site.conf.j2",
    "deploy/nomad/etcd.nomad.hcl",
    "docker-compose.yml",
    "docs/runbooks/etcd.md",
)


@pytest.mark.parametrize("path", STARTS)
def test_an_etcd_that_is_started_makes_no_login_dear(path: str) -> None:
    assert re.search(r"(ETCD_BCRYPT_COST=|--bcrypt-cost[= ])4\b", (ROOT / path).read_text())
