"""What goes to a chat endpoint, and one sentence for everything that can go wrong there."""

from __future__ import annotations

import json
import socket
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from services.common.errors import AppiaError, UsageError
from services.rag.assistant.endpoint import (
    MAX_BYTES,
    MAX_TOKENS,
    Endpoint,
    EndpointFault,
    EndpointSettings,
    read_key,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

MESSAGES = [{"role": "system", "content": "rules"}, {"role": "user", "content": "question"}]
KEY = "sk-secret-0123456789"


@pytest.fixture
def endpoint(played: Any) -> Endpoint:
    return Endpoint(EndpointSettings(played.url, "small", timeout_s=20))


def key_file(tmp_path: Path, content: bytes = KEY.encode() + b"\n", mode: int = 0o600) -> Path:
    path = tmp_path / "key"
    path.write_bytes(content)
    path.chmod(mode)
    return path


def test_the_question_is_one_post_of_json(played: Any, endpoint: Endpoint) -> None:
    """Everything that is sent is named here: nothing of the surroundings comes along."""
    played.says("hello [E1]")
    assert endpoint.reply(MESSAGES) == "hello [E1]"
    (asked,) = played.asked
    assert asked.line == "POST /v1/chat/completions HTTP/1.1"
    assert set(asked.headers) == {
        "host", "accept", "accept-encoding", "content-type", "content-length", "connection",
    }  # fmt: skip
    assert asked.document == {
        "model": "small",
        "messages": MESSAGES,
        "stream": False,
        "temperature": 0,
        "max_tokens": MAX_TOKENS,
    }


def test_nothing_of_the_environment_is_used(
    played: Any, endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Proxies and passwords that the environment names are for other programs."""
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login me password mine\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    played.says("yes")
    assert endpoint.reply(MESSAGES) == "yes"
    assert "authorization" not in played.asked[0].headers


def test_the_key_of_a_file_goes_into_a_header_and_is_read_anew(played: Any, tmp_path: Path) -> None:
    """A key that was replaced is used at the next question."""
    path = key_file(tmp_path)
    endpoint = Endpoint(EndpointSettings(played.url, "small", key_file=path))
    played.says("yes")
    endpoint.reply(MESSAGES)
    path.write_text("another")
    endpoint.reply(MESSAGES)
    assert [asked.headers["authorization"] for asked in played.asked] == [f"Bearer {KEY}", "Bearer another"]
    assert all(KEY.encode() not in asked.body for asked in played.asked)


@pytest.mark.parametrize(
    ("content", "mode", "said"),
    [
        (b"", 0o600, "does not hold a key"),
        (b"two words", 0o600, "does not hold a key"),
        (b"one\r\nX-More: header", 0o600, "does not hold a key"),
        (b"caf\xc3\xa9", 0o600, "does not hold a key"),
        (b"x" * 5000, 0o600, "does not hold a key"),
        (KEY.encode(), 0o640, "has mode 0640, so others can read it"),
        (KEY.encode(), 0o604, "has mode 0604, so others can read it"),
    ],
)
def test_a_file_that_is_no_secret_key_is_refused(
    content: bytes, mode: int, said: str, tmp_path: Path
) -> None:
    """What is in it is never repeated."""
    with pytest.raises(AppiaError, match=said) as refused:
        read_key(key_file(tmp_path, content, mode))
    assert KEY not in str(refused.value)


def test_a_key_file_that_is_none(tmp_path: Path) -> None:
    """A missing file and a folder have a sentence each, and nothing waits for them."""
    with pytest.raises(AppiaError, match="could not be read"):
        read_key(tmp_path / "missing")
    with pytest.raises(AppiaError, match=r"could not be read|not a plain file"):
        read_key(tmp_path)


STATUS = [
    (301, "sends elsewhere (HTTP 301), which is not followed"),
    (307, "sends elsewhere (HTTP 307), which is not followed"),
    (400, "refuses the question (HTTP 400)"),
    (401, "refuses the key (HTTP 401)"),
    (403, "does not allow it (HTTP 403)"),
    (404, "has no chat there, or no such model (HTTP 404)"),
    (413, "refuses the question (HTTP 413)"),
    (429, "has too much to do (HTTP 429)"),
    (500, "has a fault of its own (HTTP 500)"),
    (503, "has a fault of its own (HTTP 503)"),
]


@pytest.mark.parametrize(("status", "said"), STATUS)
def test_every_status_has_a_sentence(status: int, said: str, played: Any, endpoint: Endpoint) -> None:
    """And nothing of what the endpoint wrote is in it."""
    played.sends_json({"error": {"message": f"Incorrect key {KEY}"}}, status)
    with pytest.raises(EndpointFault) as failed:
        endpoint.reply(MESSAGES)
    assert said in str(failed.value)
    assert played.url in str(failed.value)
    assert KEY not in str(failed.value)


def test_a_redirect_is_not_followed(played: Any, endpoint: Endpoint) -> None:
    """Events go where the operator said and nowhere else."""
    played.sends(f"HTTP/1.1 302 Found\r\nLocation: {played.url}/other\r\nContent-Length: 0\r\n\r\n".encode())
    with pytest.raises(EndpointFault, match="HTTP 302"):
        endpoint.reply(MESSAGES)
    assert len(played.asked) == 1


def chat(**choice: Any) -> bytes:
    return json.dumps({"choices": [choice]}).encode()


BODIES = [
    (b"", "not JSON"),
    (b"hello", "not JSON"),
    (b'{"choices": [', "not JSON"),
    (b"[" * 200_000, "not JSON"),
    (b"9" * 100_000, "not JSON"),
    (b"\xff\xfe\x00", "not JSON"),
    (b'data: {"choices": [{"delta": {"content": "a"}}]}\n\n', "not JSON"),
    (b"null", "has no 'choices'"),
    (b"[1]", "has no 'choices'"),
    (b'{"error": "no"}', "has no 'choices'"),
    (b'{"choices": []}', "has no 'choices'"),
    (b'{"choices": {"0": 1}}', "has no 'choices'"),
    (b'{"choices": ["text"]}', "has no 'choices'"),
    (chat(), "an empty text"),
    (chat(message=None), "an empty text"),
    (chat(message={"content": None, "tool_calls": []}), "an empty text"),
    (chat(message={"content": ""}), "an empty text"),
    (chat(message={"content": " \n\t"}), "an empty text"),
    (chat(message={"content": ["a"]}), "its content is no text"),
    (chat(message={"content": 7}), "its content is no text"),
    (chat(message={"content": "half a sen"}, finish_reason="length"), "cut its answer off"),
    (chat(message={"content": None}, finish_reason="content_filter"), "held its answer back"),
]


@pytest.mark.parametrize(("body", "said"), BODIES, ids=range(len(BODIES)))
def test_an_answer_that_is_no_chat_has_a_sentence(
    body: bytes, said: str, played: Any, endpoint: Endpoint, reply: Callable[..., bytes]
) -> None:
    """Whatever comes, the reason is one sentence of ours."""
    played.sends(reply(body))
    with pytest.raises(EndpointFault, match=said):
        endpoint.reply(MESSAGES)


def test_a_web_page_is_told_apart(played: Any, endpoint: Endpoint, reply: Callable[..., bytes]) -> None:
    """The usual fault: the URL is that of something else."""
    played.sends(reply(b"<html>hi</html>", kind="Text/HTML; charset=utf-8"))
    with pytest.raises(EndpointFault, match="answered with a web page"):
        endpoint.reply(MESSAGES)


RAW = [
    (b"", "broke the connection off, or does not speak HTTP"),
    (b"SSH-2.0-OpenSSH_9.2\r\n", "does not speak HTTP"),
    (b"HTTP/1.1 200 OK\r\n" + b"X: " + b"a" * 70_000, "does not speak HTTP"),
    (b"HTTP/1.1 200 OK\r\n" + b"X: a\r\n" * 200 + b"\r\n", "does not speak HTTP"),
    (b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{", "broke the connection off"),
    (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{", "broke the connection off"),
]


@pytest.mark.parametrize(("raw", "said"), RAW, ids=range(len(RAW)))
def test_what_is_no_http_has_a_sentence(raw: bytes, said: str, played: Any, endpoint: Endpoint) -> None:
    """Other services, and answers that end in the middle."""
    played.sends(raw)
    with pytest.raises(EndpointFault, match=said):
        endpoint.reply(MESSAGES)


@pytest.mark.parametrize("chunked", [False, True])
def test_a_huge_answer_is_not_read_to_its_end(played: Any, endpoint: Endpoint, *, chunked: bool) -> None:
    """What is over the limit stops there, however its length is told."""
    sent = threading.Event()

    def flood(connection: socket.socket, _: Any) -> None:
        try:
            if chunked:
                connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            else:
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 9999999999\r\n\r\n")
            for _number in range(100 * MAX_BYTES // 65_536):
                connection.sendall(b"10000\r\n" + b" " * 65_536 + b"\r\n" if chunked else b" " * 65_536)
        except OSError:
            sent.set()  # nobody reads on

    played.behaviour = flood
    with pytest.raises(EndpointFault, match="more than 1024 KiB"):
        endpoint.reply(MESSAGES)
    assert sent.wait(30)


def _never(connection: socket.socket, _: Any) -> None:
    while connection.recv(1):
        pass


def _drip(prefix: bytes) -> Callable[[socket.socket, Any], None]:
    def drip(connection: socket.socket, _: Any) -> None:
        connection.sendall(prefix)
        while True:
            connection.sendall(b"a")
            time.sleep(0.01)

    return drip


SLOW = {
    "silent": _never,
    "dripping status": _drip(b"HTTP/1.1 200 "),
    "dripping headers": _drip(b"HTTP/1.1 200 OK\r\nX: "),
    "dripping body": _drip(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n"),
}


@pytest.mark.parametrize("kind", SLOW)
def test_the_limit_is_on_the_whole_time(kind: str, played: Any, until: Any) -> None:
    """A server that always sends a little more cannot hold a question up, and nothing is left of it afterwards."""
    played.behaviour = SLOW[kind]
    endpoint = Endpoint(EndpointSettings(played.url, "small", timeout_s=0.3))
    with pytest.raises(EndpointFault, match=r"did not answer within 0\.3 s"):
        endpoint.reply(MESSAGES)
    until(lambda: all(thread.name != "ask-endpoint" for thread in threading.enumerate()))


def test_a_server_that_accepts_nobody(until: Any) -> None:
    """A connection that nobody takes ends with the time, too."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(0)
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        endpoint = Endpoint(EndpointSettings(url, "small", timeout_s=0.3))
        with pytest.raises(EndpointFault, match="did not answer within"):
            endpoint.reply(MESSAGES)
    until(lambda: all(thread.name != "ask-endpoint" for thread in threading.enumerate()))


def test_nobody_listens() -> None:
    """The usual fault of all: the server was not started."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening: a connection is refused
        endpoint = Endpoint(EndpointSettings(f"http://127.0.0.1:{taken.getsockname()[1]}", "small"))
        with pytest.raises(EndpointFault, match="refuses the connection: does it run"):
            endpoint.reply(MESSAGES)


def test_a_name_that_nobody_has() -> None:
    """A name that does not resolve is one sentence, not a traceback."""
    endpoint = Endpoint(EndpointSettings("http://no-such-host.invalid:8080", "small"))
    with pytest.raises(EndpointFault, match=r"cannot be reached"):
        endpoint.reply(MESSAGES)


def test_https_wants_a_certificate(played: Any) -> None:
    """A server that does not speak TLS, or whose certificate nobody vouches for, is not told anything."""
    played.says("never")
    url = played.url.replace("http:", "https:")
    with pytest.raises(EndpointFault, match=r"cannot be reached|broke the connection"):
        Endpoint(EndpointSettings(url, "small", timeout_s=20)).reply(MESSAGES)
    assert played.asked == []


def test_a_name_is_judged_by_the_address_that_was_connected_to(
    played: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name that turns out to be outside gets not a byte in plain text."""
    played.says("never")
    port = played.url.rpartition(":")[2]
    monkeypatch.setattr(
        "services.rag.assistant.place.NEAR", ()
    )  # no machine has an address outside that a test may use
    endpoint = Endpoint(EndpointSettings(f"http://localhost:{port}", "small", timeout_s=20))
    with pytest.raises(EndpointFault, match="which is neither this machine nor a private network"):
        endpoint.reply(MESSAGES)
    assert played.asked == []
    allowed = Endpoint(EndpointSettings(f"http://localhost:{port}", "small", allow_plain=True))
    assert allowed.reply(MESSAGES) == "never"


@pytest.mark.parametrize("model", ["", "  ", "a\nb", "a\x1b[0m"])
def test_a_model_needs_a_name(model: str) -> None:
    """Who sets an endpoint says which model."""
    with pytest.raises(UsageError, match="Which model"):
        EndpointSettings("http://127.0.0.1:1", model)
