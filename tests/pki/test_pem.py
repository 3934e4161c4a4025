"""PEM and DER: read as leniently as upstream, written for the owner only."""

from __future__ import annotations

import ssl
import stat
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from hypothesis import given
from hypothesis import strategies as st

from kubeedge.pki.authority import Authority
from kubeedge.pki.pem import KeyPair, PkiError, from_pem, key_label, read_file, to_pem, write_file

DER, NONE = serialization.Encoding.DER, serialization.NoEncryption()
SEC1, PKCS8 = serialization.PrivateFormat.TraditionalOpenSSL, serialization.PrivateFormat.PKCS8


@given(st.binary())
def test_der_survives_pem(der: bytes) -> None:
    text = to_pem("CERTIFICATE", der)
    assert from_pem(text) == der
    assert from_pem(b"comment\n" + text.replace(b"\n", b"\r\n") + text) == der


@given(st.binary())
def test_anything_else_is_refused(junk: bytes) -> None:
    with pytest.raises(PkiError):
        from_pem(junk)


def test_pem_is_what_the_standard_library_reads() -> None:
    authority = Authority.create()
    assert ssl.PEM_cert_to_DER_cert(authority.certificate_pem.decode()) == authority.certificate


def test_damaged_block_is_named() -> None:
    with pytest.raises(PkiError, match="PEM block CERTIFICATE is damaged"):
        from_pem(b"-----BEGIN CERTIFICATE-----\n%%%\n-----END CERTIFICATE-----\n")


@pytest.mark.parametrize(
    ("key", "label"),
    [
        (ec.generate_private_key(ec.SECP256R1()).private_bytes(DER, SEC1, NONE), "EC PRIVATE KEY"),
        (ec.generate_private_key(ec.SECP521R1()).private_bytes(DER, SEC1, NONE), "EC PRIVATE KEY"),
        (ec.generate_private_key(ec.SECP256R1()).private_bytes(DER, PKCS8, NONE), "PRIVATE KEY"),
        (rsa.generate_private_key(65537, 2048).private_bytes(DER, PKCS8, NONE), "PRIVATE KEY"),
        (rsa.generate_private_key(65537, 2048).private_bytes(DER, SEC1, NONE), "RSA PRIVATE KEY"),
    ],
)
def test_label_tells_the_form_of_a_key(key: bytes, label: str) -> None:
    assert key_label(key) == label
    serialization.load_pem_private_key(to_pem(key_label(key), key), None)


@given(st.binary(max_size=40))
def test_what_is_no_key_has_no_label(junk: bytes) -> None:
    try:
        assert key_label(junk) in ("EC PRIVATE KEY", "PRIVATE KEY", "RSA PRIVATE KEY")
    except PkiError:
        pass


def test_files_are_for_their_owner_only(tmp_path: Path) -> None:
    pair = Authority.create().issue_client("x")
    certificate, key = tmp_path / "new" / "certs" / "c.crt", tmp_path / "new" / "certs" / "c.key"
    pair.write(certificate, key)
    assert KeyPair.read(certificate, key) == pair
    assert [stat.S_IMODE(path.stat().st_mode) for path in (certificate, key)] == [0o600, 0o600]
    assert stat.S_IMODE((tmp_path / "new" / "certs").stat().st_mode) == 0o700


def test_error_names_the_file(tmp_path: Path) -> None:
    write_file(tmp_path / "f", b"junk")
    with pytest.raises(PkiError, match="f: no PEM block found"):
        read_file(tmp_path / "f")
