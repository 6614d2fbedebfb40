"""X.509 for etcd: an authority of one's own and the certificates that it signs (RFC 5280), P-256 and SHA-256.

No certificate but the authority's has a common name: etcd refuses clients with one over its HTTP gateway, and the
gateway is a client of etcd with the server's certificate, which therefore has both usages (docs/runbooks/etcd.md).
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from services.common.errors import AppiaError
from services.common.replacing import replace_file
from services.common.secret_files import SECRET_MODE, make_secret_folder, read_secret_file

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from services.common.durable import Disk

AUTHORITY_DAYS = 3650
CERTIFICATE_DAYS = 825
"""The longest that some TLS libraries take for a server's certificate."""
PUBLIC_MODE = 0o444
_BEFORE = timedelta(days=1)
"""How long before now a certificate begins: a machine whose clock is behind shall take it too."""
_MOST_PEM_BYTES = 64 * 1024
_PEM = serialization.Encoding.PEM
_SERVER = (ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH)
_CLIENT = (ExtendedKeyUsageOID.CLIENT_AUTH,)


@dataclass(frozen=True)
class Pair:
    """Where a certificate and its key lie."""

    certificate: Path
    key: Path


@dataclass(frozen=True)
class Authority:
    """Signs certificates; its key is never shown."""

    certificate: x509.Certificate
    _key: ec.EllipticCurvePrivateKey

    @classmethod
    def make(cls, disk: Disk, pair: Pair, name: str, now: datetime) -> Authority:
        """Make one and keep it at `pair`, the key first: a certificate that is there has its key. Blocks.

        Raises:
            AppiaError: the folder cannot be written.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        authority = cls(_self_signed(subject, key, now), key)
        _write(disk, pair, authority.certificate, key)
        return authority

    @classmethod
    def read(cls, pair: Pair) -> Authority:
        """The one at `pair`.

        Raises:
            AppiaError: a file is missing or damaged, others may read the key, or it is not the certificate's.
        """
        key = _read_key(pair.key)
        authority = cls(read_certificate(pair.certificate), key)
        if authority.certificate.public_key() != key.public_key():
            raise AppiaError(f"{pair.key} is not the key of {pair.certificate}: restore both from one copy.")
        return authority

    def issue(self, disk: Disk, pair: Pair, addresses: Sequence[str], now: datetime) -> None:
        """Make a key and a certificate for it at `pair`, durable on return: of a server at `addresses`, or of a client.

        Args:
            disk: Where it is written.
            pair: The two files; what is there is replaced.
            addresses: IP addresses and host names of a server; none for a client.
            now: When it is made.

        Raises:
            AppiaError: the folder cannot be written.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, "appia")])
        until = min(now + timedelta(days=CERTIFICATE_DAYS), self.certificate.not_valid_after_utc)
        builder = _builder(subject, self.certificate.subject, key, (now, until)).add_extension(
            x509.BasicConstraints(ca=False, path_length=None), critical=True
        )
        for extension, critical in self._extensions(addresses):
            builder = builder.add_extension(extension, critical=critical)
        _write(disk, pair, builder.sign(self._key, hashes.SHA256()), key)

    def _extensions(self, addresses: Sequence[str]) -> list[tuple[x509.ExtensionType, bool]]:
        issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        usage = x509.ExtendedKeyUsage(_SERVER if addresses else _CLIENT)
        found: list[tuple[x509.ExtensionType, bool]] = [(issuer, False), (usage, False), (_usage(), True)]
        if addresses:
            found.append((x509.SubjectAlternativeName([_general_name(text) for text in addresses]), False))
        return found

    def is_right(self, pair: Pair, addresses: Sequence[str]) -> bool:
        """Whether `pair` is a certificate of this authority for these addresses, with its key. Blocks on the disk."""
        try:
            certificate, key = read_certificate(pair.certificate), _read_key(pair.key)
            certificate.verify_directly_issued_by(self.certificate)
        except (AppiaError, ValueError, TypeError, InvalidSignature):
            return False
        return certificate.public_key() == key.public_key() and set(addresses_of(certificate)) == set(
            addresses
        )


def read_certificate(path: Path) -> x509.Certificate:
    """The certificate in a PEM file; blocks on the disk.

    Raises:
        AppiaError: it cannot be read, or holds none.
    """
    try:
        with path.open("rb") as file:
            return x509.load_pem_x509_certificate(file.read(_MOST_PEM_BYTES))
    except OSError as error:
        raise AppiaError(f"{path} cannot be read ({error.strerror}): check its name and owner.") from None
    except ValueError:
        raise AppiaError(f"{path} holds no certificate in PEM: restore it.") from None


def addresses_of(certificate: x509.Certificate) -> list[str]:
    """The IP addresses and host names that a certificate is for; none for that of a client."""
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    return [str(name.value) for name in names]


def _general_name(text: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(text))
    except ValueError:
        return x509.DNSName(text)


def _self_signed(subject: x509.Name, key: ec.EllipticCurvePrivateKey, now: datetime) -> x509.Certificate:
    return (
        _builder(subject, subject, key, (now, now + timedelta(days=AUTHORITY_DAYS)))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs=True), critical=True)
        .sign(key, hashes.SHA256())
    )


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, span: tuple[datetime, datetime]
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(span[0].astimezone(UTC) - _BEFORE)
        .not_valid_after(span[1].astimezone(UTC))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _usage(*, signs: bool = False) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs,
        key_cert_sign=signs,
        crl_sign=signs,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _read_key(path: Path) -> ec.EllipticCurvePrivateKey:
    content = read_secret_file(path, _MOST_PEM_BYTES)
    try:
        key = serialization.load_pem_private_key(content, password=None)
    except (ValueError, TypeError):
        key = None
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise AppiaError(f"{path} holds no EC key in PEM without a password: restore it.")
    return key


def _write(disk: Disk, pair: Pair, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> None:
    make_secret_folder(disk, pair.certificate.parent)
    spelled = key.private_bytes(_PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    replace_file(disk, pair.key, spelled, SECRET_MODE)
    replace_file(disk, pair.certificate, certificate.public_bytes(_PEM), PUBLIC_MODE)
