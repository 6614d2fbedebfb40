"""Where events may be sent, and where not."""

from __future__ import annotations

import pytest

from services.common.errors import UsageError
from services.rag.assistant.place import is_near, parse_place

PATHS = [
    ("http://127.0.0.1:8080", "/v1/chat/completions"),
    ("http://127.0.0.1:8080/", "/v1/chat/completions"),
    ("http://127.0.0.1:8080/v1", "/v1/chat/completions"),
    ("http://127.0.0.1:8080/v1/", "/v1/chat/completions"),
    ("http://127.0.0.1:8080/v1/chat/completions", "/v1/chat/completions"),
    ("https://example.com/api/v1", "/api/v1/chat/completions"),
    ("https://example.com/openai", "/openai/v1/chat/completions"),
]


@pytest.mark.parametrize(("url", "path"), PATHS)
def test_a_url_may_end_where_people_end_it(url: str, path: str) -> None:
    """The base of the server, of the API, or the whole path."""
    assert parse_place(url).path == path


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("http://localhost", "http://localhost:80"),
        ("https://example.com", "https://example.com:443"),
        ("http://[::1]:11434", "http://[::1]:11434"),
        ("HTTP://LocalHost:11434/v1", "http://localhost:11434"),
    ],
)
def test_sentences_name_scheme_host_and_port(url: str, shown: str) -> None:
    """A path may hold what is nobody's business."""
    assert parse_place(url).shown == shown


WRONG = [
    ("", "must be a URL such as"),
    ("127.0.0.1:8080", "must be a URL such as"),
    ("ftp://127.0.0.1", "must be a URL such as"),
    ("file:///etc/passwd", "must be a URL such as"),
    ("http://", "must be a URL such as"),
    ("http://a..b", "must be a URL such as"),
    (f"http://{'a' * 64}.example", "must be a URL such as"),
    ("http:///v1", "must be a URL such as"),
    ("http://127.0.0.1:0", "must be a URL such as"),
    ("http://127.0.0.1:65536", "must be a URL such as"),
    ("http://127.0.0.1:many", "must be a URL such as"),
    ("http://[::1", "must be a URL such as"),
    ("http://me:secret@127.0.0.1", "has a password in it"),
    ("http://me@127.0.0.1", "has a password in it"),
    ("http://127.0.0.1/v1?key=secret", "has a query"),
    ("http://127.0.0.1/v1#secret", "has a query"),
    ("http://127.0.0.1/a b", "characters that no URL has"),
    ("http://127.0.0.1/\r\nX: y", "characters that no URL has"),
    ("http://exämple.com", "characters that no URL has"),
]


@pytest.mark.parametrize(("url", "said"), WRONG)
def test_a_url_that_is_none_has_a_sentence(url: str, said: str) -> None:
    """What may be secret in it is not repeated."""
    with pytest.raises(UsageError, match=said) as refused:
        parse_place(url)
    assert "secret" not in str(refused.value)


NEAR = ["127.0.0.1", "127.255.0.9", "10.0.0.5", "172.16.0.1", "172.31.255.255", "192.168.1.1", "::1"]
NEAR += ["fd00::5", "fc00::1", "::ffff:10.0.0.5", "fd00::5%eth0"]
FAR = ["8.8.8.8", "172.15.0.1", "172.32.0.1", "192.169.0.1", "11.0.0.1", "169.254.169.254"]
FAR += [
    "0.0.0.0",  # noqa: S104 - nobody binds
    "100.64.0.1",
    "203.0.113.5",
    "2001:db8::1",
    "::",
    "fe80::1",
    "::ffff:8.8.8.8",
    "2002:a00:5::1",
]


@pytest.mark.parametrize("address", NEAR)
def test_this_machine_and_private_networks_are_near(address: str) -> None:
    """RFC 1918 and RFC 4193."""
    assert is_near(address)


@pytest.mark.parametrize("address", FAR)
def test_everything_else_is_far(address: str) -> None:
    """Also what only looks private: link-local, shared and translated addresses."""
    assert not is_near(address)


def test_plain_http_goes_far_only_where_that_is_allowed() -> None:
    """Event data leaves the house in the open only on purpose; a name is judged when it is connected to."""
    with pytest.raises(
        UsageError, match=r"at 8\.8\.8\.8, which is neither this machine nor a private network"
    ):
        parse_place("http://8.8.8.8:8080")
    assert parse_place("http://8.8.8.8:8080", allow_plain=True).may_be_at("8.8.8.8")
    assert parse_place("https://8.8.8.8").may_be_at("8.8.8.8")
    by_name = parse_place("http://models.example:8080")
    assert by_name.may_be_at("10.0.0.5")
    assert not by_name.may_be_at("8.8.8.8")
