"""Certificates of a private authority for addresses of this machine, made anew for each test run."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

USAGES = (ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH)
PEM = serialization.Encoding.PEM


@dataclass(frozen=True)
class Certificates:
    """PEM files: an authority, and a server's and a client's certificate that it signed, each with its key."""

    ca: Path
    server: tuple[Path, Path]
    client: tuple[Path, Path]
    named_client: tuple[Path, Path]


def make_certificates(
    folder: Path, addresses: Sequence[str] = ("127.0.0.1",), good_for: timedelta = timedelta(days=90)
) -> Certificates:
    """The client's has no common name, which etcd's HTTP gateway would refuse; that of `named_client` has one."""
    until = datetime.now(UTC) + good_for
    folder.mkdir(parents=True, exist_ok=True)
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "authority of a test")])
    authority = _builder(name, name, key, until).add_extension(
        x509.BasicConstraints(ca=True, path_length=None), critical=True
    )
    ca = folder / "ca.pem"
    ca.write_bytes(authority.sign(key, hashes.SHA256()).public_bytes(PEM))
    found = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(text)) for text in addresses])
    server, client, named = (
        _pair(folder, who, found, (name, key), until) for who in ("server", "client", "named")
    )
    return Certificates(ca, server, client, named)


def _pair(
    folder: Path,
    who: str,
    addresses: x509.SubjectAlternativeName,
    authority: tuple[x509.Name, ec.EllipticCurvePrivateKey],
    until: datetime,
) -> tuple[Path, Path]:
    key = ec.generate_private_key(ec.SECP256R1())
    oid = NameOID.COMMON_NAME if who == "named" else NameOID.ORGANIZATION_NAME
    signed = (
        _builder(x509.Name([x509.NameAttribute(oid, "appia")]), authority[0], key, until)
        .add_extension(addresses, critical=False)
        .add_extension(x509.ExtendedKeyUsage(USAGES), critical=False)
        .sign(authority[1], hashes.SHA256())
    )
    certificate, key_file = folder / f"{who}.pem", folder / f"{who}-key.pem"
    certificate.write_bytes(signed.public_bytes(PEM))
    plain = serialization.NoEncryption()
    key_file.write_bytes(key.private_bytes(PEM, serialization.PrivateFormat.PKCS8, plain))
    key_file.chmod(0o400)
    return certificate, key_file


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, until: datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(min(datetime.now(UTC), until) - timedelta(hours=1))
        .not_valid_after(until)
    )
