"""Certificates and keys as DER and PEM, in memory and in files (spec 02 §1.1)."""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass
from pathlib import Path

from kubeedge.store.file import replace

CERTIFICATE = "CERTIFICATE"
SEC1_KEY = "EC PRIVATE KEY"
PKCS8_KEY = "PRIVATE KEY"
PKCS1_KEY = "RSA PRIVATE KEY"

FILE_MODE = 0o600
FOLDER_MODE = 0o700

_BLOCK = re.compile(rb"-----BEGIN ([A-Z0-9 ]+)-----\s(.*?)-----END \1-----", re.DOTALL)
# First tag after the version number of a key: what tells the three formats apart.
_KEY_TAGS = {0x04: SEC1_KEY, 0x30: PKCS8_KEY, 0x02: PKCS1_KEY}


class PkiError(Exception):
    """A key, certificate or request that cannot be used, with the reason."""


def to_pem(label: str, der: bytes) -> bytes:
    """Wrap DER in a PEM block."""
    text = base64.b64encode(der)
    lines = b"\n".join(text[start : start + 64] for start in range(0, len(text), 64))
    return b"-----BEGIN %s-----\n%s\n-----END %s-----\n" % (label.encode(), lines, label.encode())


def from_pem(text: bytes) -> bytes:
    """Return the DER of the first PEM block, whatever its label (as upstream reads them). Raises PkiError."""
    block = _BLOCK.search(text)
    if block is None:
        raise PkiError("no PEM block found")
    try:
        return base64.b64decode(b"".join(block[2].split()), validate=True)
    except binascii.Error as error:
        raise PkiError(f"PEM block {block[1].decode()} is damaged: {error}") from None


def key_label(key: bytes) -> str:
    """Return the PEM label that fits a private key in DER: SEC 1, PKCS#8 or PKCS#1. Raises PkiError."""
    try:
        # SEQUENCE header (length in one byte, or in the bytes it counts), then INTEGER of one byte, then the tag.
        start = 2 + (key[1] & 0x7F if key[1] & 0x80 else 0)
        if key[0] == 0x30 and key[start : start + 2] == b"\x02\x01":
            return _KEY_TAGS[key[start + 3]]
    except (IndexError, KeyError):
        pass
    raise PkiError("not a private key in SEC 1, PKCS#8 or PKCS#1 form")


@dataclass(slots=True, frozen=True)
class KeyPair:
    """A certificate and its private key, both DER."""

    certificate: bytes
    key: bytes

    @property
    def certificate_pem(self) -> bytes:
        """The certificate as a PEM block."""
        return to_pem(CERTIFICATE, self.certificate)

    @property
    def key_pem(self) -> bytes:
        """The key as a PEM block, under the label of its form."""
        return to_pem(key_label(self.key), self.key)

    def write(self, certificate_path: Path, key_path: Path) -> None:
        """Write both as PEM, the key first, so that the certificate on disk never lacks its key. Raises OSError."""
        write_file(key_path, self.key_pem)
        write_file(certificate_path, self.certificate_pem)

    @classmethod
    def read(cls, certificate_path: Path, key_path: Path) -> KeyPair:
        """Read both PEM files; that they fit is not checked. Raises OSError, PkiError."""
        return cls(read_file(certificate_path), read_file(key_path))


def read_file(path: Path) -> bytes:
    """Return the DER of the first block of a PEM file. Raises OSError, PkiError with the path."""
    try:
        return from_pem(path.read_bytes())
    except PkiError as error:
        raise PkiError(f"{path}: {error}") from None


def write_file(path: Path, text: bytes) -> None:
    """Write a file that only its owner may read, by rename; its folder is made when missing. Raises OSError."""
    path.parent.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
    replace(path, text, mode=FILE_MODE)
