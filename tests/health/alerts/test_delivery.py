"""Messages go out through apprise in a child process, to a real mail server and a real web server on loopback."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from health.alerts.making import NOON_NS
from health.alerts.receivers import Hook, Mailbox, wait_until

from services.common.errors import AppiaError
from services.health.alerts.child import ChildSender
from services.health.alerts.courier import Addressed
from services.health.alerts.outbox import Parcel
from services.health.alerts.rules import Channel
from services.health.alerts.send_process import address_of, service_of, without_secrets
from services.health.alerts.state import Letter

SECRET = "t0psecret-token"  # noqa: S105 - one that opens nothing


def letters(*numbers: int, **changed: object) -> tuple[Letter, ...]:
    plain = Letter(id="", channel="a", group="disk", severity="critical", title="", body="", made_ns=NOON_NS)
    return tuple(
        plain.model_copy(
            update={"id": f"x-{n}", "title": f"title {n}", "body": f"line one\nline {n} < & >", **changed}
        )
        for n in numbers
    )


def parcel(url: str, *sent: Letter) -> Addressed:
    return Addressed(Parcel("a", sent, frozenset()), Channel.model_construct(url=url, url_file=None))


def secret_file(folder: Path, url: str) -> Path:
    path = folder / "a.url"
    path.write_text(url + "\n")
    path.chmod(0o400)
    return path


class Heard:
    """What a sender told."""

    def __init__(self) -> None:
        self.of: dict[str, str] = {}

    def __call__(self, letter_id: str, why: str) -> None:
        self.of[letter_id] = why


@pytest.fixture
def heard() -> Heard:
    return Heard()


def test_mail_and_hook_get_what_was_written(
    mailbox: Mailbox, hook: Hook, heard: Heard, tmp_path: Path
) -> None:
    """In order, as plain text, with the severity; the hook's address comes from a file that only its owner reads."""
    mailbox.start()
    file = secret_file(tmp_path, f"json://127.0.0.1:{hook.port}/{SECRET}")
    by_file = Addressed(
        Parcel("b", letters(3, 4), frozenset()), Channel.model_construct(url="", url_file=file)
    )
    assert ChildSender().send([parcel(mailbox.url, *letters(1, 2)), by_file], heard) == ""
    assert heard.of == {"x-1": "", "x-2": "", "x-3": "", "x-4": ""}
    assert [mail["Subject"] for mail in mailbox.mails] == ["title 1", "title 2"]
    assert [text.split() for text in mailbox.texts] == [
        ["line", "one", "line", "1", "<", "&", ">"],
        ["line", "one", "line", "2", "<", "&", ">"],
    ]
    assert [(got["title"], got["message"], got["type"]) for got in hook.got] == [
        ("title 3", "line one\nline 3 < & >", "failure"),
        ("title 4", "line one\nline 4 < & >", "failure"),
    ]
    assert hook.paths == [f"/{SECRET}"] * 2


def test_one_that_fails_holds_up_those_behind_it_and_no_other_channel(
    mailbox: Mailbox, hook: Hook, heard: Heard
) -> None:
    """Nobody listens for mail; the hook has all."""
    sent = [parcel(mailbox.url, *letters(1, 2)), parcel(f"json://127.0.0.1:{hook.port}/", *letters(3))]
    assert ChildSender().send(sent, heard) == ""
    assert sorted(heard.of) == ["x-1", "x-3"]
    assert heard.of["x-3"] == ""
    assert heard.of["x-1"]


def test_what_may_be_overtaken_is(mailbox: Mailbox, heard: Heard) -> None:
    """And after two failures in a row the channel is left alone."""
    mailbox.start().refuses = "554 no"
    own = letters(1, 2, 3)
    both = Addressed(Parcel("a", own, frozenset({"x-1", "x-2"})), Channel.model_construct(url=mailbox.url))
    ChildSender().send([both], heard)
    assert sorted(heard.of) == ["x-1", "x-2"]
    assert all(heard.of.values())


@pytest.mark.parametrize("status", [302, 404, 500])
def test_a_hook_that_does_not_take_a_message_did_not_get_it(hook: Hook, heard: Heard, status: int) -> None:
    """Nor is it followed elsewhere, where the message would be lost."""
    hook.status = status
    ChildSender().send([parcel(f"json://127.0.0.1:{hook.port}/", *letters(1))], heard)
    assert heard.of["x-1"]
    assert hook.paths == []


def test_a_server_that_trickles_is_left_after_a_while(hook: Hook, heard: Heard) -> None:
    """The process is ended, whatever the server does."""
    hook.hangs.set()
    sent = [parcel(f"json://127.0.0.1:{hook.port}/", *letters(1))]
    ended = ChildSender(limit_s=2).send(sent, heard)
    assert "did not end within 2 s" in ended
    assert heard.of == {}


def test_stopping_ends_what_is_being_sent(hook: Hook, heard: Heard) -> None:
    """At once; nothing is sent any more."""
    hook.hangs.set()
    sender = ChildSender()
    thread = threading.Thread(
        target=sender.send, args=([parcel(f"json://127.0.0.1:{hook.port}/", *letters(1))], heard)
    )
    thread.start()
    wait_until(lambda: sender._process is not None)
    sender.stop()
    thread.join(10)
    assert not thread.is_alive()
    assert sender.send([], heard) == "health is being stopped"


def test_no_secret_is_told_or_seen(hook: Hook, heard: Heard, tmp_path: Path) -> None:
    """Not in what is told of a failure, nor on a command line or in the environment of the process."""
    hook.hangs.set()
    file = secret_file(tmp_path, f"json://someone:{SECRET}@127.0.0.1:{hook.port}/hidden-path?+X-Key={SECRET}")
    sent = [Addressed(Parcel("a", letters(1), frozenset()), Channel.model_construct(url="", url_file=file))]
    sender = ChildSender()
    thread = threading.Thread(target=sender.send, args=(sent, heard))
    thread.start()
    wait_until(lambda: sender._process is not None)
    process = sender._process
    assert process is not None
    seen = [Path(f"/proc/{process.pid}/{name}").read_bytes() for name in ("cmdline", "environ")]
    assert all(SECRET.encode() not in content for content in seen)
    sender.stop()
    thread.join(10)
    hook.hangs.clear()
    hook.status = 500
    ChildSender().send(sent, heard)
    assert heard.of["x-1"]
    assert all(word not in heard.of["x-1"] for word in (SECRET, "someone", "hidden-path"))


@pytest.mark.parametrize(
    ("content", "mode", "sentence"),
    [
        ("json://localhost/", 0o644, "has mode 0644 and must have 0400"),
        ("", 0o400, "should hold one address of apprise on one line"),
        ("json://localhost/\njson://localhost/2", 0o400, "should hold one address of apprise on one line"),
        ("json://" + "a" * 5000, 0o400, "more than 4096 bytes"),
    ],
)
def test_a_file_of_an_address_that_cannot_be_used_is_said(
    tmp_path: Path, content: str, mode: int, sentence: str
) -> None:
    """Without its content."""
    path = tmp_path / "a.url"
    path.write_text(content)
    path.chmod(mode)
    with pytest.raises(AppiaError, match=sentence):
        address_of("", path)


@pytest.mark.parametrize(
    "url", ["", "nothing", "warp://host", "mailto://localhost/?to=nobody", "slack://x", f"x://{SECRET}"]
)
@pytest.mark.filterwarnings("ignore:'imghdr' is deprecated")  # of the library, in Python 3.11 and 3.12
def test_an_address_that_is_none_is_said(url: str) -> None:
    """Without quoting it."""
    with pytest.raises(AppiaError, match="its address") as refused:
        service_of(url)
    assert SECRET not in str(refused.value)


def test_no_part_of_an_address_is_left_in_a_text() -> None:
    """Nor one that is written otherwise in it."""
    url = f"mailtos://us%40er:{SECRET}@mail.example.org/path-x?key=va%20lue9"
    text = f"failed for us@er at mail.example.org with {SECRET.upper()}, va lue9 and\n/path-x: {url}"
    said = without_secrets(text, url)
    assert not any(word in said.lower() for word in ("us@er", "example", SECRET, "lue9", "path-x"))
    assert said.startswith("failed for ***")
    assert "\n" not in said
