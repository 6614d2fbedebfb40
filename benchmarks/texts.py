"""Questions in plain words for the benchmark of `search`."""

from __future__ import annotations

SUBJECTS = (
    "port scan against many ports",
    "many failed logins over SSH",
    "password guessing on a file server",
    "web requests that look like SQL injection",
    "flood of packets against a web server",
    "slow HTTP connections that are kept open",
    "a host that talks to a command server at regular times",
    "large upload to an outside address",
    "name resolution that carries data",
    "a long connection with hardly any bytes",
    "short connections to one service",
    "connection that was reset at once",
)
PLACES = (
    "",
    "from outside",
    "within the network",
    "with the fast detector and the model disagreeing",
    "by UDP",
)
TEXTS = tuple(f"{subject} {place}".strip() for subject in SUBJECTS for place in PLACES)
"""60 different texts."""
