"""Certificates of a local Ray: its processes accept connections from each other alone.

Ray's token does not protect the connection itself. A process of another user could end a process of Ray, listen at its
port, and be sent the token. With TLS on both sides, it has no certificate that the others accept.
"""

from __future__ import annotations

import datetime
import ipaddress
import os
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

_DAYS = 3_650


def make_certificates(folder: Path, address: str) -> dict[str, str]:
    """Write a new authority, and a certificate of it for one address, into a private folder.

    The key of the authority is not written, so nobody can make further certificates.

    Args:
        folder: An existing folder that only this user can enter.
        address: IP address of the Ray processes.

    Returns:
        The variables of the environment that have Ray use the certificate.
    """
    authority, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address(address))]
    root = _unsigned("authority", "authority", authority).add_extension(x509.BasicConstraints(True, 0), critical=True)
    own = _unsigned(address, "authority", key).add_extension(x509.SubjectAlternativeName(names), critical=False)
    contents = {
        "RAY_TLS_CA_CERT": root.sign(authority, hashes.SHA256()).public_bytes(serialization.Encoding.PEM),
        "RAY_TLS_SERVER_CERT": own.sign(authority, hashes.SHA256()).public_bytes(serialization.Encoding.PEM),
        "RAY_TLS_SERVER_KEY": key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ),
    }
    variables = {"RAY_USE_TLS": "1"}
    for name, content in contents.items():
        variables[name] = str(folder / f"{name.lower()}.pem")
        with open(os.open(variables[name], os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(content)
    return variables


def _unsigned(name: str, issuer: str, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return x509.CertificateBuilder(
        subject_name=_named(name),
        issuer_name=_named(issuer),
        public_key=key.public_key(),
        serial_number=x509.random_serial_number(),
        not_valid_before=now - datetime.timedelta(days=1),  # the clock may be set back
        not_valid_after=now + datetime.timedelta(days=_DAYS),
    )


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
