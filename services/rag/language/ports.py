"""Ports, protocols and services by the names that people use: "port 443", "over udp", "the web server"."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from services.rag.arguments import MAX_PORT, PROTOCOLS
from services.rag.language.text import Reading

if TYPE_CHECKING:
    from collections.abc import Iterator

    from services.rag.language.text import Draft

_WEB = (80, 443, 8000, 8008, 8080, 8081, 8443, 8888)
# "web" alone stands before attacks, pages and much else.
_WEB_WORDS = (
    r"web[ -]?(?:servers?|sites?|traffic|browsing)|servidor(?:es)? web|sitios? web|(?:trafico|navegacion) web"
)
_MAIL = (25, 110, 143, 465, 587, 993, 995)
_SQL = (1433, 1434, 1521, 3306, 5432)
SERVICES = {
    "web": (_WEB, _WEB_WORDS),
    "HTTPS": ((443, 8443), r"https|tls traffic"),
    "HTTP": ((80, 8000, 8008, 8080, 8081, 8888), r"http"),
    "SSH": ((22,), r"ssh|sftp|secure shell"),
    "FTP": ((20, 21), r"ftp"),
    "Telnet": ((23, 2323), r"telnet"),
    "mail": (
        _MAIL,
        r"mail (?:servers?|traffic)|mailservers?|e-?mails?|smtp|imap|pop3|correo(?: electronico)?",
    ),
    "DNS": ((53,), r"dns|name servers?|servidor(?:es)? de nombres"),
    "DHCP": ((67, 68, 546, 547), r"dhcp"),
    "TFTP": ((69,), r"tftp"),
    "Kerberos": ((88, 464), r"kerberos"),
    "NTP": ((123,), r"ntp"),
    "Windows RPC": ((135,), r"windows rpc|msrpc|dcom"),
    "NetBIOS": ((137, 138, 139), r"netbios"),
    "SNMP": ((161, 162), r"snmp"),
    "LDAP": ((389, 636, 3268, 3269), r"ldaps?|active directory|directorio activo"),
    "SMB": (
        (445,),
        r"smb|cifs|samba|file shares?|carpetas? compartidas?|archivos compartidos|ficheros compartidos",
    ),
    "syslog": ((514, 6514), r"syslog"),
    "database": (
        _SQL,
        r"(?:sql )?(?:databases?|db)(?: servers?)?|sql servers?|bases? de datos",
    ),
    "MySQL": ((3306,), r"mysql|mariadb"),
    "PostgreSQL": ((5432,), r"postgres(?:ql)?"),
    "SSDP": ((1900,), r"ssdp|upnp"),
    "RDP": ((3389,), r"rdp|remote desktops?|escritorios? remotos?"),
    "SIP": ((5060, 5061), r"sip|voip"),
    "mDNS": ((5353,), r"mdns"),
    "LLMNR": ((5355,), r"llmnr"),
    "Android debug": ((5555,), r"adb|android debug"),
    "VNC": ((5800, 5900, 5901), r"vnc"),
    "WinRM": ((5985, 5986), r"winrm"),
    "Redis": ((6379,), r"redis"),
    "IRC": ((6666, 6667, 6668, 6697), r"irc"),
    "MQTT": ((1883, 8883), r"mqtt"),
    "VPN": ((500, 1194, 1701, 1723, 4500, 51820), r"vpn|openvpn|wireguard|ipsec"),
    "proxy": ((1080, 3128), r"socks prox(?:y|ies)|prox(?:y|ies)"),
    "key-value or search store": ((9200, 9300, 11211, 27017), r"elasticsearch|memcached|mongodb"),
    "printer": ((515, 631, 9100), r"printers?|printing service|impresoras?"),
}
"""By the name shown: the destination ports, those of vocabulary.toml where it has them, and how people call it."""

_BEGINS = r"(?:(?<![\w.-])|(?<=\bnon-))"  # what "non-" excludes is told then
_SERVER = r"(?: (?:servers?|services?|ports?|traffic|hosts?))?"
_SERVIDOR = r"(?:(?:el |los )?(?:servidor(?:es)?|servicio|trafico|puerto) (?:de |del )?)?"
_NAMES = tuple(SERVICES)
_SERVICE = re.compile(
    rf"{_BEGINS}{_SERVIDOR}(?:{'|'.join(f'(?P<s{i}>{SERVICES[name][1]})' for i, name in enumerate(_NAMES))})"
    rf"{_SERVER}(?![\w-]|\.\w|:/)"
)
_PROTOCOL = re.compile(
    rf"{_BEGINS}(?P<name>{'|'.join(PROTOCOLS)})(?: (?:protocol|traffic|packets|protocolo|paquetes))?(?![\w-])"
)
_NUMBER = r"\d{1,5}(?![\w.:%/]*\d)"
_RANGE = rf"{_NUMBER}(?: ?(?:-|to|through|a|hasta) ?{_NUMBER})?"
_PORT = re.compile(
    r"\b(?:(?P<src>(?:from |source |src |desde )(?:the |el )?|origen )|"
    r"(?P<dst>(?:to |destination |dst |against |hacia |al ))"
    r"(?:the |el |los )?)?(?:source |destination )?(?:ports?|puertos?)(?P<origin> de origen)?(?P<target> de destino)? ?"
    rf"(?:number |numbers |numero )?(?:(?P<above>above|over|>|mayor que|por encima de) ?(?P<least>{_NUMBER})|"
    rf"(?P<below>below|under|<|menor que|por debajo de) ?(?P<most>{_NUMBER})|"
    rf"(?:between |entre )?(?P<list>{_RANGE}(?:(?: ?, ?| and | or | y | o |, and |, or ){_RANGE}){{0,30}}))(?!\w)"
)
_PORTS = re.compile(rf"(?P<low>{_NUMBER})(?: ?(?:-|to|through|a|hasta) ?(?P<high>{_NUMBER}))?")


def read_ports(draft: Draft) -> Iterator[Reading]:
    """The ports by number: of the source or the destination where the text says so, else of either side."""
    for match in _PORT.finditer(draft.plain):
        ports = _ports(match)
        if ports:
            source, target = match["src"] or match["origin"], match["dst"] or match["target"]
            side = "src_port" if source else "dst_port" if target else "port"
            named = {"src_port": "source port", "dst_port": "destination port", "port": "port"}[side]
            values: list[int | str] = [low if low == high else f"{low}-{high}" for low, high in ports]
            shown = " or ".join(map(str, values))
            yield Reading(*match.span(), {side: values}, f"{named} {shown}")


def _ports(match: re.Match[str]) -> list[tuple[int, int]]:
    """The ranges that a phrase names; none where one is impossible."""
    if match["above"]:
        ranges = [(int(match["least"]) + 1, MAX_PORT)]
    elif match["below"]:
        ranges = [(0, int(match["most"]) - 1)]
    else:
        ranges = [(int(one["low"]), int(one["high"] or one["low"])) for one in _PORTS.finditer(match["list"])]
        if re.search(r"(?:between|entre) ?\d", match[0]) and len(ranges) == 2:
            ranges = [(ranges[0][0], ranges[1][1])]
    return ranges if all(0 <= low <= high <= MAX_PORT for low, high in ranges) else []


def read_protocols(draft: Draft) -> Iterator[Reading]:
    """The protocols by name."""
    for match in _PROTOCOL.finditer(draft.plain):
        yield Reading(*match.span(), {"protocol": [match["name"]]}, f"over {match['name'].upper()}")


def read_services(draft: Draft) -> Iterator[Reading]:
    """The services by name, as destination ports; none where the text gives port numbers, which say it better."""
    if draft.keys & {"port", "src_port", "dst_port"}:
        return
    for match in _SERVICE.finditer(draft.plain):
        name = next(name for number, name in enumerate(_NAMES) if match[f"s{number}"])
        ports = SERVICES[name][0]
        shown = ", ".join(map(str, ports))
        yield Reading(*match.span(), {"dst_port": list(ports)}, f"{name}: destination port {shown}")
