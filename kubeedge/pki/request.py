"""The edge's side of a certificate: the request for it and what stands in it. Needs the cryptography package."""

from __future__ import annotations

from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from kubeedge.pki.authority import load_certificate, load_key
from kubeedge.pki.pem import PkiError
from kubeedge.pki.tls import NODE_ORGANIZATION, NODE_PREFIX, Subject


def make(node: str) -> tuple[bytes, bytes]:
    """Make a new P-256 key and a node's certificate request for it; return request and key as DER (spec 02 §1.4)."""
    private_key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name(
        [
            x509.NameAttribute(NameOID.COUNTRY_NAME, "CN"),
            x509.NameAttribute(NameOID.STATE_OR_PROVINCE_NAME, "Zhejiang"),
            x509.NameAttribute(NameOID.LOCALITY_NAME, "Hangzhou"),
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, NODE_ORGANIZATION),
            x509.NameAttribute(NameOID.COMMON_NAME, f"{NODE_PREFIX}{node}"),
        ]
    )
    request = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(private_key, hashes.SHA256())
    key = private_key.private_bytes(
        serialization.Encoding.DER, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    )
    return request.public_bytes(serialization.Encoding.DER), key


@dataclass(slots=True, frozen=True)
class Facts:
    """What a holder wants to know about its certificate. Times are Unix seconds."""

    subject: Subject
    not_before: float
    not_after: float


def facts(certificate: bytes, key: bytes) -> Facts:
    """Read a certificate (DER) and check that key (DER) is its private key. Raises PkiError."""
    parsed = load_certificate(certificate)
    public_key = parsed.public_key()
    own = load_key(key).public_key()
    if not isinstance(public_key, type(own)) or public_key != own:
        raise PkiError("private key does not belong to the certificate")
    return Facts(
        Subject(
            _last(parsed.subject, NameOID.COMMON_NAME),
            tuple(str(name.value) for name in parsed.subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)),
        ),
        parsed.not_valid_before_utc.timestamp(),
        parsed.not_valid_after_utc.timestamp(),
    )


def _last(name: x509.Name, kind: x509.ObjectIdentifier) -> str:
    found = name.get_attributes_for_oid(kind)
    return str(found[-1].value) if found else ""
