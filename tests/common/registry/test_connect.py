"""Which registry a setting opens, and the sentence for every setting that opens none."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from services.common.errors import UsageError
from services.common.registry.connect import open_registry
from services.common.registry.etcd_url import EtcdSettings, parse_etcd_url
from services.common.registry.port import Entry

if TYPE_CHECKING:
    from pathlib import Path


def test_file_opens_the_folder_below_the_state_directory(tmp_path: Path) -> None:
    open_registry("file", tmp_path).register(Entry("rag", "one", "tcp://x:1"), 3)
    assert (tmp_path / "registry" / "rag" / "one.json").is_file()


@pytest.mark.parametrize(
    ("url", "settings"),
    [
        ("etcd://127.0.0.1:2379/appia", EtcdSettings((("127.0.0.1", 2379),), "appia")),
        ("etcd://127.0.0.1:2379", EtcdSettings((("127.0.0.1", 2379),), "appia")),
        ("etcd://localhost:2379,127.3.2.1:1", EtcdSettings((("localhost", 2379), ("127.3.2.1", 1)), "appia")),
        ("etcds://a:1,b-2.c:65535/x/y", EtcdSettings((("a", 1), ("b-2.c", 65535)), "x/y", tls=True)),
        ("etcds://[::1]:2379,[fe80::1]:1/p", EtcdSettings((("::1", 2379), ("fe80::1", 1)), "p", tls=True)),
    ],
)
def test_an_etcd_url_names_hosts_ports_and_prefix(url: str, settings: EtcdSettings) -> None:
    assert parse_etcd_url(url) == settings


@pytest.mark.parametrize(
    ("url", "fact"),
    [
        ("", "'file', 'etcds://"),
        ("files", "'file', 'etcds://"),
        ("http://127.0.0.1:2379/appia", "'file', 'etcds://"),
        ("etcd:/127.0.0.1:2379/appia", "'file', 'etcds://"),
        ("etcd://10.0.0.7:2379/appia", "plain text"),
        ("etcd://127.0.0.1:1,etcd.example:1/appia", "plain text"),
        ("etcd://127.0.0.1:2379/", "prefix"),
        ("etcd://127.0.0.1:2379/a//b", "prefix"),
        ("etcd://127.0.0.1:2379/a/", "prefix"),
        ("etcd://127.0.0.1:2379/ä", "prefix"),
        ("etcd:///appia", "HOST:PORT"),
        ("etcd://127.0.0.1/appia", "HOST:PORT"),
        ("etcd://:2379/appia", "HOST:PORT"),
        ("etcds://a:1,/appia", "HOST:PORT"),
        ("etcds://a:0/appia", "1 to 65535"),
        ("etcds://a:65536/appia", "1 to 65535"),
        ("etcd://::1:2379/appia", "HOST:PORT"),
    ],
)
def test_any_other_url_is_refused_in_one_sentence(tmp_path: Path, url: str, fact: str) -> None:
    with pytest.raises(UsageError, match=fact) as caught:
        open_registry(url, tmp_path)
    assert "\n" not in str(caught.value)


def test_a_password_in_the_url_is_refused_and_not_repeated(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="password") as caught:
        open_registry("etcd://root:hunter2@127.0.0.1:2379/appia", tmp_path)
    assert "hunter2" not in str(caught.value)


def test_the_file_registry_does_not_load_an_http_client() -> None:
    code = (
        "import sys; from pathlib import Path; from services.common.registry.connect import open_registry; "
        "open_registry('file', Path('unused')); sys.exit('requests' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
