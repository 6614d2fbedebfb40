"""MITRE ATT&CK (enterprise): techniques that network traffic shows, with the tactics they serve.

Numbers and names are those of https://attack.mitre.org, version 17.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_NUMBER = re.compile(r"\bATT&CK (T\d{4}(?:\.\d{3})?)\b")

_TACTICS = {
    "TA0001": "Initial Access",
    "TA0006": "Credential Access",
    "TA0007": "Discovery",
    "TA0008": "Lateral Movement",
    "TA0010": "Exfiltration",
    "TA0011": "Command and Control",
    "TA0040": "Impact",
    "TA0043": "Reconnaissance",
}
_TECHNIQUES = {
    "T1018": ("Remote System Discovery", "TA0007"),
    "T1021": ("Remote Services", "TA0008"),
    "T1021.001": ("Remote Desktop Protocol", "TA0008"),
    "T1021.002": ("SMB/Windows Admin Shares", "TA0008"),
    "T1021.004": ("SSH", "TA0008"),
    "T1021.005": ("VNC", "TA0008"),
    "T1021.006": ("Windows Remote Management", "TA0008"),
    "T1030": ("Data Transfer Size Limits", "TA0010"),
    "T1041": ("Exfiltration Over C2 Channel", "TA0010"),
    "T1046": ("Network Service Discovery", "TA0007"),
    "T1048": ("Exfiltration Over Alternative Protocol", "TA0010"),
    "T1071": ("Application Layer Protocol", "TA0011"),
    "T1071.001": ("Web Protocols", "TA0011"),
    "T1071.004": ("DNS", "TA0011"),
    "T1090": ("Proxy", "TA0011"),
    "T1095": ("Non-Application Layer Protocol", "TA0011"),
    "T1110": ("Brute Force", "TA0006"),
    "T1110.001": ("Password Guessing", "TA0006"),
    "T1110.003": ("Password Spraying", "TA0006"),
    "T1110.004": ("Credential Stuffing", "TA0006"),
    "T1133": ("External Remote Services", "TA0001"),
    "T1135": ("Network Share Discovery", "TA0007"),
    "T1190": ("Exploit Public-Facing Application", "TA0001"),
    "T1210": ("Exploitation of Remote Services", "TA0008"),
    "T1219": ("Remote Access Tools", "TA0011"),
    "T1486": ("Data Encrypted for Impact", "TA0040"),
    "T1496": ("Resource Hijacking", "TA0040"),
    "T1498": ("Network Denial of Service", "TA0040"),
    "T1498.001": ("Direct Network Flood", "TA0040"),
    "T1498.002": ("Reflection Amplification", "TA0040"),
    "T1499": ("Endpoint Denial of Service", "TA0040"),
    "T1499.002": ("Service Exhaustion Flood", "TA0040"),
    "T1557": ("Adversary-in-the-Middle", "TA0006"),
    "T1568": ("Dynamic Resolution", "TA0011"),
    "T1570": ("Lateral Tool Transfer", "TA0008"),
    "T1571": ("Non-Standard Port", "TA0011"),
    "T1572": ("Protocol Tunneling", "TA0011"),
    "T1573": ("Encrypted Channel", "TA0011"),
    "T1595": ("Active Scanning", "TA0043"),
    "T1595.001": ("Scanning IP Blocks", "TA0043"),
    "T1595.002": ("Vulnerability Scanning", "TA0043"),
}


@dataclass(frozen=True)
class Technique:
    """One technique; `name`, `tactic` and `tactic_name` are empty where this release does not know its number."""

    number: str
    name: str = ""
    tactic: str = ""
    tactic_name: str = ""


def technique(number: str) -> Technique:
    """The technique with a number such as T1046 or T1021.002."""
    known = _TECHNIQUES.get(number)
    return Technique(number) if known is None else Technique(number, *known, _TACTICS[known[1]])


def techniques_in(narrative: str) -> list[Technique]:
    """The techniques that a narrative names, each once, in its order."""
    return [technique(number) for number in dict.fromkeys(_NUMBER.findall(narrative))]
