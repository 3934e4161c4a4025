"""A certificate authority: makes itself, signs servers and clients (spec 02 §1.1). Needs the cryptography package."""

from __future__ import annotations

import datetime
import ipaddress
import secrets
from collections.abc import Iterable, Sequence
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from kubeedge.pki.pem import CERTIFICATE, KeyPair, PkiError, key_label, read_file, to_pem
from kubeedge.pki.tls import NODE_ORGANIZATION, NODE_PREFIX

PROJECT = "KubeEdge"
# "100 years" of 364 days, as upstream counts them.
CENTURY_DAYS = 100 * 364
CA_SERIAL = 1024
# Upstream does not do this, so an edge whose clock is behind refuses a fresh certificate for that long.
BACKDATE = datetime.timedelta(minutes=5)

PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


class Authority:
    """A CA certificate with its key.

    `certificate` and `key` are the DER bytes as they were given or made: join tokens are keyed with exactly those.
    """

    def __init__(self, certificate: x509.Certificate, private_key: PrivateKey, key: bytes) -> None:
        self.certificate = certificate.public_bytes(serialization.Encoding.DER)
        self.key = key
        self._certificate = certificate
        self._private_key = private_key

    @classmethod
    def create(cls, common_name: str = PROJECT, *, days: int = CENTURY_DAYS) -> Authority:
        """Make a new P-256 key and a self-signed certificate for it."""
        private_key = ec.generate_private_key(ec.SECP256R1())
        name = _name(common_name)
        builder = (
            _validity(days)
            .subject_name(name)
            .issuer_name(name)
            .public_key(private_key.public_key())
            .serial_number(CA_SERIAL)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .add_extension(_key_usage(sign_certificates=True), critical=True)
            .add_extension(
                x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]),
                critical=False,
            )
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(private_key.public_key()), critical=False)
        )
        return cls(builder.sign(private_key, hashes.SHA256()), private_key, _sec1(private_key))

    @classmethod
    def from_der(cls, certificate: bytes, key: bytes) -> Authority:
        """Take a CA from DER; the key may be SEC 1, PKCS#8 or PKCS#1. Raises PkiError that says what is wrong."""
        parsed = load_certificate(certificate)
        private_key = load_key(key)
        if _public_bytes(parsed.public_key()) != _public_bytes(private_key.public_key()):
            raise PkiError("CA key does not belong to the CA certificate")
        try:
            is_ca = parsed.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
        except x509.ExtensionNotFound:
            is_ca = False
        if not is_ca:
            raise PkiError("CA certificate is not one of an authority (basicConstraints CA:TRUE is missing)")
        return cls(parsed, private_key, key)

    @classmethod
    def load(cls, certificate_path: Path, key_path: Path) -> Authority:
        """Read a CA from two PEM files. Raises OSError, PkiError."""
        return cls.from_der(read_file(certificate_path), read_file(key_path))

    @property
    def pair(self) -> KeyPair:
        """Certificate and key as DER."""
        return KeyPair(self.certificate, self.key)

    @property
    def certificate_pem(self) -> bytes:
        """The certificate as PEM."""
        return to_pem(CERTIFICATE, self.certificate)

    def sign_server(
        self,
        addresses: Iterable[str] = (),
        dns_names: Iterable[str] = (),
        *,
        common_name: str = PROJECT,
        organizations: Iterable[str] = (PROJECT,),
        days: int = CENTURY_DAYS,
    ) -> KeyPair:
        """Make a key and a server certificate for it. addresses that are no IP addresses are taken for DNS names."""
        private_key = ec.generate_private_key(ec.SECP256R1())
        certificate = self._sign(
            private_key.public_key(),
            _name(common_name, organizations),
            alternative_names(addresses, dns_names),
            ExtendedKeyUsageOID.SERVER_AUTH,
            days,
        )
        return KeyPair(certificate, _sec1(private_key))

    def issue_client(self, common_name: str, organizations: Iterable[str] = (), days: int = 365) -> KeyPair:
        """Make a key and a client certificate for it."""
        private_key = ec.generate_private_key(ec.SECP256R1())
        certificate = self._sign(
            private_key.public_key(),
            _name(common_name, organizations),
            [],
            ExtendedKeyUsageOID.CLIENT_AUTH,
            days,
        )
        return KeyPair(certificate, _sec1(private_key))

    def sign_client_csr(self, request: bytes, node: str, days: int) -> bytes:
        """Sign the request (DER) of a node for its client certificate; return the certificate as DER.

        The subject must be `O=system:nodes, CN=system:node:<node>` and nothing else of those two, and the request
        must be signed with its own key: upstream would sign any (spec 02 §1.9). Raises PkiError.
        """
        try:
            parsed = x509.load_der_x509_csr(request)
            public_key = parsed.public_key()
            valid = parsed.is_signature_valid
        except (ValueError, InvalidSignature, TypeError) as error:
            raise PkiError(f"certificate request cannot be read: {error}") from None
        if not valid:
            raise PkiError("certificate request is not signed with its own key")
        if not isinstance(public_key, ec.EllipticCurvePublicKey | rsa.RSAPublicKey):
            raise PkiError(f"certificate request has a key of an unknown kind: {type(public_key).__name__}")
        common_names, organizations = (
            _texts(parsed.subject, NameOID.COMMON_NAME),
            _texts(parsed.subject, NameOID.ORGANIZATION_NAME),
        )
        if common_names != [f"{NODE_PREFIX}{node}"]:
            raise PkiError(f"certificate request is for {common_names}, only {NODE_PREFIX}{node} may be asked for")
        if organizations != [NODE_ORGANIZATION]:
            raise PkiError(
                f"certificate request is for organization {organizations}, only {NODE_ORGANIZATION} is signed"
            )
        try:
            names = list(parsed.extensions.get_extension_for_class(x509.SubjectAlternativeName).value)
        except (x509.ExtensionNotFound, ValueError):
            names = []
        kept = [name for name in names if isinstance(name, x509.DNSName | x509.IPAddress)]
        subject = _name(common_names[0], organizations)
        return self._sign(public_key, subject, kept, ExtendedKeyUsageOID.CLIENT_AUTH, days)

    def _sign(
        self,
        public_key: ec.EllipticCurvePublicKey | rsa.RSAPublicKey,
        subject: x509.Name,
        names: Sequence[x509.GeneralName],
        usage: x509.ObjectIdentifier,
        days: int,
    ) -> bytes:
        builder = (
            _validity(days)
            .subject_name(subject)
            .issuer_name(self._certificate.subject)
            .public_key(public_key)
            .serial_number(secrets.randbelow(2**63 - 2) + 1)
            .add_extension(_key_usage(sign_certificates=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        )
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        try:
            own = self._certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
            issuer = x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(own)
        except x509.ExtensionNotFound:
            issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._private_key.public_key())
        builder = builder.add_extension(issuer, critical=False)
        return builder.sign(self._private_key, hashes.SHA256()).public_bytes(serialization.Encoding.DER)


def load_certificate(certificate: bytes) -> x509.Certificate:
    """Parse a certificate from DER. Raises PkiError."""
    try:
        return x509.load_der_x509_certificate(certificate)
    except ValueError as error:
        raise PkiError(f"certificate cannot be read: {error}") from None


def load_key(key: bytes) -> PrivateKey:
    """Parse an EC or RSA private key from DER in SEC 1, PKCS#8 or PKCS#1. Raises PkiError."""
    try:
        # OpenSSL's DER reader takes all three forms; PEM with the label that fits is what cryptography promises.
        parsed = serialization.load_pem_private_key(to_pem(key_label(key), key), password=None)
    except (ValueError, TypeError) as error:
        raise PkiError(f"private key cannot be read: {error}") from None
    if not isinstance(parsed, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey):
        raise PkiError(f"private key is of an unknown kind: {type(parsed).__name__}")
    return parsed


def expires_within(certificate: bytes, days: int) -> bool:
    """Tell whether a certificate (DER) ends in that many days, or has ended. Raises PkiError."""
    end = load_certificate(certificate).not_valid_after_utc
    return end < datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=days)


def is_issued_by(certificate: bytes, ca: bytes) -> bool:
    """Tell whether the CA certificate ca signed certificate (both DER); times are not looked at. Raises PkiError."""
    issued, issuer = load_certificate(certificate), load_certificate(ca)
    try:
        issued.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def covers(certificate: bytes, addresses: Iterable[str], dns_names: Iterable[str]) -> bool:
    """Tell whether a server certificate (DER) names every address and DNS name given. Raises PkiError."""
    try:
        present = load_certificate(certificate).extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return not alternative_names(addresses, dns_names)
    return set(alternative_names(addresses, dns_names)) <= set(present.value)


def alternative_names(addresses: Iterable[str], dns_names: Iterable[str]) -> list[x509.GeneralName]:
    """Turn addresses and names of a configuration into SAN entries; empty ones are left out."""
    names: list[x509.GeneralName] = []
    for address in addresses:
        try:
            names.append(x509.IPAddress(ipaddress.ip_address(address)))
        except ValueError:
            dns_names = [*dns_names, address]
    names.extend(x509.DNSName(name) for name in dns_names if name)
    return names


def _name(common_name: str, organizations: Iterable[str] = ()) -> x509.Name:
    attributes = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, organization) for organization in organizations]
    return x509.Name([*attributes, x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _texts(name: x509.Name, kind: x509.ObjectIdentifier) -> list[str]:
    return [str(attribute.value) for attribute in name.get_attributes_for_oid(kind)]


def _validity(days: int) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC).replace(microsecond=0)
    return (
        x509.CertificateBuilder().not_valid_before(now - BACKDATE).not_valid_after(now + datetime.timedelta(days=days))
    )


def _key_usage(*, sign_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        key_encipherment=True,
        key_cert_sign=sign_certificates,
        content_commitment=False,
        data_encipherment=False,
        key_agreement=False,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )


def _sec1(private_key: ec.EllipticCurvePrivateKey) -> bytes:
    return private_key.private_bytes(
        serialization.Encoding.DER, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    )


def _public_bytes(public_key: object) -> bytes:
    encode = getattr(public_key, "public_bytes", None)
    if encode is None:
        raise PkiError(f"key is of an unknown kind: {type(public_key).__name__}")
    result: bytes = encode(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return result
