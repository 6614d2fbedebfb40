"""The recording stays among its own hosts, and what it plans can be labelled."""

import ipaddress
from types import ModuleType

RANGES = [ipaddress.ip_network(text) for text in ("10.20.0.0/16", "198.51.100.0/24", "203.0.113.0/24")]


def test_every_host_has_addresses_of_private_or_documentation_ranges_only(plan: ModuleType) -> None:
    for address in plan.HOST_OF:
        assert any(ipaddress.ip_address(address) in net for net in RANGES)


def test_attacks_come_from_and_go_to_hosts_of_the_recording_only(plan: ModuleType) -> None:
    for attack in plan.ATTACKS:
        assert {attack.source, *attack.targets} <= plan.HOST_OF.keys()


def test_attacks_start_in_the_order_they_are_listed_and_end_with_the_recording(plan: ModuleType) -> None:
    starts = [attack.at for attack in plan.ATTACKS]
    assert starts == sorted(starts)
    assert all(attack.at + attack.limit <= plan.DURATION + 10 for attack in plan.ATTACKS)


def test_no_two_kinds_of_attack_meet_between_the_same_hosts_at_once(plan: ModuleType) -> None:
    for number, one in enumerate(plan.ATTACKS):
        for other in plan.ATTACKS[number + 1 :]:
            apart = one.at + one.limit < other.at or other.at + other.limit < one.at
            same_ends = one.source == other.source and set(one.targets) & set(other.targets)
            assert apart or one.label == other.label or not same_ends, (one, other)


def test_commands_name_no_address_but_their_source_and_targets(plan: ModuleType) -> None:
    for attack in plan.ATTACKS:
        words = " ".join(attack.command).replace("/", " ").split()
        numbers = {word for word in words if word.count(".") == 3}
        assert numbers <= {attack.source, *attack.targets}
