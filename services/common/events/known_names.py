"""Names that decide something wherever events are chosen, judged or shown."""

PROTOCOL_NAMES = {1: "ICMP", 6: "TCP", 17: "UDP", 47: "GRE", 50: "ESP", 58: "ICMPv6", 132: "SCTP"}
"""Protocols that filters and answers name, by number: IANA, Assigned Internet Protocol Numbers."""
BENIGN_WORDS = ("benign", "normal", "background")
"""Classes, categories and labels of harmless traffic, in small letters."""
