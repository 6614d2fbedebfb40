"""`appia keys signing` makes the key that signs days, shows its public half, and makes another on request."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from services.cli.main import run
from services.common.chain.keys import active_public_key, read_signing_ring

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def test_a_signing_key_is_made_shown_and_followed_by_another(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Asked twice there is one key; with --rotate another signs, and the first is kept. No seed is ever printed."""

    def asked(*words: str) -> dict[str, str]:
        assert run(["keys", "signing", str(tmp_path), *words, "--json"]) == 0
        said: dict[str, str] = json.loads(capsys.readouterr().out)
        return said

    first = asked()
    assert first["made"]
    assert asked() == {**first, "made": False}
    second = asked("--rotate")
    public, ring = active_public_key(tmp_path), read_signing_ring(tmp_path)
    assert public is not None
    assert ring is not None
    assert (second["key"], second["public_key"]) == (public.id, public.raw.hex())
    assert set(ring.keys) == {first["key"], second["key"]}
    assert run(["keys", "signing", str(tmp_path)]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith(f"There is signing key {second['key']}.")
    seeds = [path.read_text().strip() for path in (tmp_path / "signing").glob("*.key")]
    assert not any(seed in shown + json.dumps([first, second]) for seed in seeds)
