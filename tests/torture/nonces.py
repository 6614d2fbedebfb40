"""No (key, nonce) twice: boots of senders of both versions under kills, rollbacks, clones and clocks that are set back.

A round is the history of one machine: twenty boots over a state folder and a key ring, with what can happen to both in
between. Every frame that left the machine is noted; a kill comes to a process of its own, at any moment.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from torture.suite import Outcome, Suite

from services.common.wire.boots import next_boot
from services.common.wire.keys import KeyRing
from services.common.wire.senders import SenderTable
from services.common.wire.sessions import Opened, V2Receiver
from services.common.wire.v1 import V1Sealer
from services.common.wire.v2 import KEY_FIELDS, Origin, V2Sealer, read_header
from services.feed.reliable import new_origin

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from torture.suite import Budget

BOOTS = 20
CHANNEL = "events"
KILLED_WITHIN_S = 0.008
_STEPS_S = (0.0, 0.0, 0.01, 0.3, 0.9, 1.1, 5.0, 3600.0)
_BACK_S = (0.4, 1.5, 30.0, 7200.0)


@dataclass
class Machine:
    """A state folder, the copies of it that were made, a clock that this suite turns, and what left by the wire."""

    state: Path
    luck: random.Random
    rings: Sequence[KeyRing]
    now: float = 1_800_000_000.0
    copies: list[Path] = field(default_factory=list)
    used: set[bytes] = field(default_factory=set)
    repeats: list[str] = field(default_factory=list)

    def sleep(self, seconds: float) -> None:
        """What a boot waits for passes at once."""
        self.now += seconds

    def v1_sealer(self) -> V1Sealer:
        """Boot a version 1 sender as `appia feed` does."""
        boot = next_boot(self.state / "v1-sender.boot", lambda: self.now, self.sleep)
        return V1Sealer(self.rings[0].sealing_seed(), CHANNEL, boot)

    def v2_sealer(self) -> V2Sealer:
        """Boot a version 2 sender as `appia feed` does."""
        return V2Sealer(self.rings[0], self.origin())

    def origin(self) -> Origin:
        """Who sends, by the clock of this machine."""
        return new_origin(CHANNEL, lambda: int(self.now * 1e9))

    def sent(self, pair: bytes, what: str) -> None:
        """Note the key and nonce of a frame that left."""
        if pair in self.used:
            self.repeats.append(what)
        self.used.add(pair)


def run(budget: Budget) -> Outcome:
    """Let each round's machine live, and tell what it repeated."""
    outcome = Outcome()
    for number in budget.numbers(outcome):
        luck = budget.random(number)
        state = budget.folder / "state"
        state.mkdir()
        seeds = {1: luck.randbytes(32), 2: luck.randbytes(32)}
        machine = Machine(state, luck, [KeyRing(1, seeds), KeyRing(2, seeds)])
        for kind in _kinds(luck):
            _happen(machine, outcome)
            kind(machine, outcome)
            outcome.count("boots")
        for what in machine.repeats:
            outcome.fault(number, f"a (key, nonce) was used again by {what}")
        outcome.count("frames", len(machine.used))
        outcome.rounds += 1
        for folder in (state, *machine.copies):
            shutil.rmtree(folder)
    return outcome


def _kinds(luck: random.Random) -> Iterator[Callable[[Machine, Outcome], None]]:
    """Every way to boot comes in every history."""
    kinds = [_send_v1, _send_v1, _send_v2, _receive_v2, _killed_v1, _twins_v1]
    chosen = [*kinds, *luck.choices(kinds, k=BOOTS - len(kinds))]
    luck.shuffle(chosen)
    return iter(chosen)


def _happen(machine: Machine, outcome: Outcome) -> None:
    """What befalls a machine between two boots; the clock goes on or back, the folder is copied, restored or lost."""
    luck = machine.luck
    machine.now += luck.choice(_STEPS_S) if luck.random() < 0.9 else -luck.choice(_BACK_S)
    fate = luck.random()
    if fate < 0.3:
        copy = machine.state.with_name(f"copy-{len(machine.copies)}")
        shutil.copytree(machine.state, copy)
        machine.copies.append(copy)
    elif fate < 0.6 and machine.copies:
        shutil.rmtree(machine.state)
        shutil.copytree(luck.choice(machine.copies), machine.state)
        outcome.count("rollbacks")
    elif fate < 0.65:
        shutil.rmtree(machine.state)
        machine.state.mkdir()
        outcome.count("losses")


def _send_v1(machine: Machine, _outcome: Outcome) -> None:
    sealer = machine.v1_sealer()
    for _ in range(machine.luck.randint(1, 20)):
        ring = machine.luck.choice(machine.rings)
        sealer.use(ring.sealing_seed())
        _note_v1(machine, ring, sealer.seal(b"event"))


def _note_v1(machine: Machine, ring: KeyRing, frame: bytes) -> None:
    machine.sent(b"v1" + ring.sealing_seed() + frame[:12], f"version 1, nonce {frame[:12].hex()}")


def _send_v2(machine: Machine, _outcome: Outcome) -> None:
    sealer = machine.v2_sealer()
    for _ in range(machine.luck.randint(1, 20)):
        sealer.use(machine.luck.choice(machine.rings))
        _note_v2(machine, b"data", sealer.seal([b"event"] * machine.luck.randint(1, 3))[1])


def _note_v2(machine: Machine, direction: bytes, frame: bytes) -> None:
    seq = read_header(frame).seq.to_bytes(8, "little")
    machine.sent(direction + frame[KEY_FIELDS] + seq, f"version 2, {direction.decode()}, {frame[:52].hex()}")


def _receive_v2(machine: Machine, _outcome: Outcome) -> None:
    """A receiver boots over the same folder and answers two senders, one of which it may have heard before."""
    luck = machine.luck
    receiver = V2Receiver(machine.rings[0], CHANNEL, SenderTable(machine.state / "senders.json"))
    known = Origin(CHANNEL, 77, int(machine.now * 1e9) if luck.random() < 0.5 else 1 << 63)
    for origin in (known, machine.origin()):
        sealer = V2Sealer(machine.rings[0], origin)
        for _ in range(luck.randint(1, 5)):
            frame = sealer.seal([b"event"])[1]
            _note_v2(machine, b"data", frame)
            with contextlib.suppress(ValueError):  # an older boot is refused
                opened = receiver.open(frame)
                assert isinstance(opened, Opened)
                _note_v2(machine, b"ack", receiver.acknowledge(opened, 1, 0, {}))


def _killed_v1(machine: Machine, outcome: Outcome) -> None:
    """A sender in a process of its own, which is killed while it boots or sends; what it had sent counts."""
    sent = machine.state.with_name("sent")
    out = os.open(sent, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    child = os.fork()
    if child == 0:
        with contextlib.suppress(BaseException):
            sealer = machine.v1_sealer()
            while True:
                os.write(out, sealer.seal(b"event")[:12])
        os._exit(1)
    os.close(out)
    if machine.luck.random() < 0.5:
        _wait_for(sent)
    time.sleep(machine.luck.random() * KILLED_WITHIN_S)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    content = sent.read_bytes()
    for start in range(0, len(content) - 11, 12):
        _note_v1(machine, machine.rings[0], content[start : start + 12])
    outcome.count("kills")
    outcome.count("kills while sending", int(bool(content)))
    machine.now += 2.0  # at most what the child may have waited


def _wait_for(sent: Path) -> None:
    """Until the sender has booted and sent, at most for five seconds."""
    until = time.monotonic() + 5.0
    while sent.stat().st_size == 0 and time.monotonic() < until:
        time.sleep(0.0005)


def _twins_v1(machine: Machine, outcome: Outcome) -> None:
    """The machine is cloned, and both clones boot in the same second from the same state."""
    before, now = machine.state.with_name("before"), machine.now
    shutil.copytree(machine.state, before)
    _send_v1(machine, outcome)
    shutil.rmtree(machine.state)
    before.rename(machine.state)
    machine.now = now
    _send_v1(machine, outcome)
    outcome.count("clones")


SUITE = Suite(
    "nonce",
    "no (key, nonce) is ever used twice, whatever happens to the state directory and the clock",
    f"histories of {BOOTS} boots",
    50,
    5000,
    run,
)
