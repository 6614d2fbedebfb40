"""`appia status --intake`: what came in since the ingester started, and what gives cause for alarm."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from services.cli.output import counted, print_lines, print_table

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

NODES_SHOWN = 20
UNNAMED = "(names none, or not its own)"


def show_intake(counts: Mapping[str, Any]) -> None:
    """Print what the ingester counted since it started: events, refusals by reason, keys, sensors of version 1."""
    print_lines(*_lines(counts))
    _print_keys(counts["keys"])
    _print_nodes(counts["v1_nodes"])


def _lines(counts: Mapping[str, Any]) -> Iterator[str]:
    frames, refused, protection = counts["frames"], counts["refused"], counts["protection"]
    stored = f"{counted(counts['accepted'], 'event')} stored since {counts['started']}"
    yield f"{stored}, {counts['duplicates']:,} known before"
    yield f"{counted(frames.get('v2', 0), 'frame')} of wire version 2, {frames.get('v1', 0):,} of version 1"
    decided = counts["decisions"]
    if decided["accepted"] or decided["duplicates"]:
        yield (
            f"{counted(decided['accepted'], 'decision')} of firewalls kept, {decided['duplicates']:,} known before"
        )
    encrypted = "encrypted" if protection["encrypts"] else "not encrypted"
    signed = f"signed with {protection['signs']}" if protection["signs"] else "not signed"
    yield f"the disk is {counts['disk_percent']:.0f} % full; logs are {encrypted}, sealed days {signed}"
    if refused:
        yield f"refused: {_reasons(refused)}; {counts['dead_letter_not_kept']:,} of them not kept in the dead letter"
    if counts["refused_requests"]:
        yield f"requests refused: {_reasons(counts['refused_requests'])}"
    yield from _warnings(counts)
    yield from _alarms(counts)


def _reasons(numbers: Mapping[str, int]) -> str:
    return ", ".join(f"{reason} {number:,}" for reason, number in sorted(numbers.items()))


def _warnings(counts: Mapping[str, Any]) -> Iterator[str]:
    if counts["disk_filling"] and not counts["paused"]:
        yield f"WARNING: the disk is {counts['disk_percent']:.0f} % full; intake pauses when there is no room left"
    yield from (f"WARNING: the index {index} fails: {why}" for index, why in counts["index_faults"].items())
    yield from (f"WARNING: {why}" for why in counts["writer"]["faults"])


def _alarms(counts: Mapping[str, Any]) -> Iterator[str]:
    if counts["paused"]:
        yield "ALARM: the disk is too full, intake pauses until there is room"
    if counts["reused_ids"]:
        yield (
            f"ALARM: {counted(counts['reused_ids'], 'event')} under an id that another event of the same sensor has; "
            "both are kept"
        )
    reused = {
        node: seen["nonces_reused"] for node, seen in counts["v1_nodes"].items() if seen["nonces_reused"]
    }
    if reused:
        yield (
            f"ALARM: {counted(sum(reused.values()), 'repeated nonce')} from {counted(len(reused), 'sensor')} of wire "
            "version 1: what they send can be read and forged by who listens"
        )
    copied = sum(counts["refused"].get(reason, 0) for reason in ("nonce_reused", "salt_changed"))
    if copied:
        yield f"ALARM: {counted(copied, 'frame')} of senders that were copied: two processes believe to be one"


def _print_keys(keys: Mapping[str, Mapping[str, int]]) -> None:
    rows = [[key, f"{used['frames']:,}", f"{used['quiet_s']:,} s"] for key, used in sorted(keys.items())]
    if rows:
        print_lines("")
        print_table(["key", ">frames", ">quiet for"], rows)


def _print_nodes(nodes: Mapping[str, Mapping[str, int]]) -> None:
    shown = sorted(nodes.items(), key=lambda item: (-item[1]["nonces_reused"], -item[1]["frames"], item[0]))
    counts = ("frames", "missing", "restarts", "replays", "nonces_reused")
    rows = [
        [node or UNNAMED, *(f"{seen[count]:,}" for count in counts)] for node, seen in shown[:NODES_SHOWN]
    ]
    if rows:
        print_lines("")
        print_table(["~v1 sensor", ">frames", ">missing", ">restarts", ">replays", ">nonces repeated"], rows)
    if len(shown) > NODES_SHOWN:
        print_lines(f"... and {counted(len(shown) - NODES_SHOWN, 'sensor')} more: --json has all")
