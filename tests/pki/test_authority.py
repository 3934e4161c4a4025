"""Certificates as upstream makes them (spec 02 §1.1), judged by the cryptography package and by openssl."""

from __future__ import annotations

import datetime
import subprocess
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from kubeedge.pki import request
from kubeedge.pki.authority import (
    Authority,
    alternative_names,
    covers,
    expires_within,
    is_issued_by,
    load_certificate,
    load_key,
)
from kubeedge.pki.pem import KeyPair, PkiError

DAY = datetime.timedelta(days=1)


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority.create()


def subject(certificate: bytes) -> str:
    return load_certificate(certificate).subject.rfc4514_string()


def usages(certificate: bytes) -> list[x509.ObjectIdentifier]:
    return list(load_certificate(certificate).extensions.get_extension_for_class(x509.ExtendedKeyUsage).value)


def key_usage(certificate: bytes) -> set[str]:
    usage = load_certificate(certificate).extensions.get_extension_for_class(x509.KeyUsage).value
    names = ("digital_signature", "key_encipherment", "key_cert_sign", "crl_sign", "content_commitment")
    return {name for name in names if getattr(usage, name)}


def openssl(*arguments: str | Path) -> str:
    command = ["openssl", *map(str, arguments)]
    process = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    return process.stdout + process.stderr


def test_ca_is_upstreams(authority: Authority) -> None:
    ca = load_certificate(authority.certificate)
    assert subject(authority.certificate) == "CN=KubeEdge"
    assert ca.issuer == ca.subject
    assert ca.serial_number == 1024
    assert ca.signature_hash_algorithm is not None and ca.signature_hash_algorithm.name == "sha256"
    assert key_usage(authority.certificate) == {"digital_signature", "key_encipherment", "key_cert_sign"}
    assert usages(authority.certificate) == [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
    assert ca.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    left = ca.not_valid_after_utc - datetime.datetime.now(datetime.UTC)
    assert 100 * 364 - 1 < left / DAY <= 100 * 364
    key = load_key(authority.key)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    assert key.curve.name == "secp256r1"


def test_keys_are_sec1_der(authority: Authority, tmp_path: Path) -> None:
    for key in (authority.key, authority.sign_server(["127.0.0.1"]).key, request.make("e1")[1]):
        (tmp_path / "key").write_bytes(key)
        assert "ASN1 OID: prime256v1" in openssl("ec", "-inform", "DER", "-in", tmp_path / "key", "-noout", "-text")
        parsed = load_key(key)
        assert key == parsed.private_bytes(
            serialization.Encoding.DER, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
        )


def test_server_certificate_is_upstreams(authority: Authority) -> None:
    pair = authority.sign_server(["192.0.2.2", "::1"], ["cloud.example", ""])
    assert subject(pair.certificate) == "CN=KubeEdge,O=KubeEdge"
    assert key_usage(pair.certificate) == {"digital_signature", "key_encipherment"}
    assert usages(pair.certificate) == [ExtendedKeyUsageOID.SERVER_AUTH]
    names = load_certificate(pair.certificate).extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert [str(address) for address in names.get_values_for_type(x509.IPAddress)] == ["192.0.2.2", "::1"]
    assert names.get_values_for_type(x509.DNSName) == ["cloud.example"]
    assert is_issued_by(pair.certificate, authority.certificate)


def test_name_among_the_addresses_becomes_a_dns_name() -> None:
    assert alternative_names(["cloud.example"], [""]) == [x509.DNSName("cloud.example")]


def test_node_certificate_keeps_only_what_a_node_has(authority: Authority) -> None:
    csr, key = request.make("e1")
    assert "O=system:nodes" in x509.load_der_x509_csr(csr).subject.rfc4514_string()
    certificate = authority.sign_client_csr(csr, "e1", 30)
    assert subject(certificate) == "CN=system:node:e1,O=system:nodes"
    assert usages(certificate) == [ExtendedKeyUsageOID.CLIENT_AUTH]
    facts = request.facts(certificate, key)
    assert facts.subject.node == "e1"
    assert not expires_within(certificate, 29)
    assert expires_within(certificate, 31)


def test_addresses_of_a_request_are_kept_and_everything_else_is_not(authority: Authority) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "system:nodes"),
            x509.NameAttribute(NameOID.COMMON_NAME, "system:node:e1"),
        ]
    )
    names = x509.SubjectAlternativeName(
        [x509.DNSName("e1"), x509.RFC822Name("a@b"), x509.UniformResourceIdentifier("x:y")]
    )
    ca = x509.BasicConstraints(ca=True, path_length=None)
    builder = x509.CertificateSigningRequestBuilder().subject_name(name)
    csr = builder.add_extension(names, critical=False).add_extension(ca, critical=True).sign(key, hashes.SHA256())
    certificate = load_certificate(authority.sign_client_csr(csr.public_bytes(serialization.Encoding.DER), "e1", 1))
    kept = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert list(kept) == [x509.DNSName("e1")]
    assert not certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca


def test_openssl_accepts_the_chains_strictly(authority: Authority, tmp_path: Path) -> None:
    (tmp_path / "ca").write_bytes(authority.certificate_pem)
    csr, key = request.make("e1")
    server, client = authority.sign_server(["127.0.0.1"]), KeyPair(authority.sign_client_csr(csr, "e1", 9), key)
    for pair, purpose in ((server, "sslserver"), (client, "sslclient")):
        pair.write(tmp_path / "certificate", tmp_path / "key")
        answer = openssl(
            "verify", "-x509_strict", "-purpose", purpose, "-CAfile", tmp_path / "ca", tmp_path / "certificate"
        )
        assert answer.endswith("certificate: OK\n"), answer
    assert "OK" not in openssl("verify", "-purpose", "sslserver", "-CAfile", tmp_path / "ca", tmp_path / "certificate")


@pytest.mark.parametrize("form", [serialization.PrivateFormat.PKCS8, serialization.PrivateFormat.TraditionalOpenSSL])
def test_ca_is_taken_over_with_its_key_in_either_form(authority: Authority, form: serialization.PrivateFormat) -> None:
    key = load_key(authority.key).private_bytes(serialization.Encoding.DER, form, serialization.NoEncryption())
    again = Authority.from_der(authority.certificate, key)
    assert again.key == key
    assert is_issued_by(again.sign_server(["127.0.0.1"]).certificate, authority.certificate)


def test_rsa_ca_of_an_operator_signs_too() -> None:
    key = rsa.generate_private_key(65537, 2048)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Own CA")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now)
        .not_valid_after(now + DAY)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    der = certificate.public_bytes(serialization.Encoding.DER)
    pkcs1 = key.private_bytes(
        serialization.Encoding.DER, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    )
    authority = Authority.from_der(der, pkcs1)
    assert is_issued_by(authority.issue_client("x", ["o"]).certificate, der)


def test_ca_that_is_none_is_refused(authority: Authority) -> None:
    pair = authority.sign_server(["127.0.0.1"])
    with pytest.raises(PkiError, match="not one of an authority"):
        Authority.from_der(pair.certificate, pair.key)
    with pytest.raises(PkiError, match="does not belong"):
        Authority.from_der(authority.certificate, pair.key)
    with pytest.raises(PkiError, match="certificate cannot be read"):
        Authority.from_der(b"junk", authority.key)
    with pytest.raises(PkiError, match="not a private key"):
        Authority.from_der(authority.certificate, b"junk")
    edwards = ed25519.Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    with pytest.raises(PkiError, match="unknown kind"):
        load_key(edwards)


def test_certificate_of_another_ca_with_the_same_name_is_not_ours(authority: Authority) -> None:
    assert not is_issued_by(Authority.create().sign_server(["127.0.0.1"]).certificate, authority.certificate)


def test_covers_asks_for_every_name(authority: Authority) -> None:
    certificate = authority.sign_server(["192.0.2.2"], ["a.example"]).certificate
    assert covers(certificate, ["192.0.2.2"], ["", "a.example"])
    assert covers(certificate, [], [])
    assert not covers(certificate, ["192.0.2.3"], [])
    assert not covers(certificate, ["192.0.2.2"], ["b.example"])
    assert not covers(authority.certificate, ["192.0.2.2"], [])


def test_serial_numbers_differ(authority: Authority) -> None:
    serials = {load_certificate(authority.issue_client("x").certificate).serial_number for _ in range(20)}
    assert len(serials) == 20
    assert all(0 < serial < 2**63 for serial in serials)
