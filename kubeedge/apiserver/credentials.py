"""Keys and certificates of the embedded API, and the kubeconfig of its administrator."""

from __future__ import annotations

import socket
import ssl
from base64 import b64encode
from collections.abc import Sequence
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from kubeedge.apiserver.authentication import MASTERS
from kubeedge.pki.authority import Authority, load_key
from kubeedge.pki.pem import SEC1_KEY, PkiError, read_file, to_pem, write_file
from kubeedge.pki.tls import ClientCertificate, server_context

ADMIN = "admin"
_CA_NAME = "kubeedge-apiserver-ca"
_SERVER_NAMES = ("localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc")
_SERVER_ADDRESSES = ("127.0.0.1", "::1", "10.0.0.1")
# Serving and admin certificates are made anew at each start, so they only have to outlive one run.
_CERTIFICATE_DAYS = 3650


class Credentials:
    """CA and token key in a folder, made at the first start; everything else is derived from them."""

    def __init__(self, authority: Authority, token_key: ec.EllipticCurvePrivateKey) -> None:
        self._authority = authority
        self.token_key = token_key

    @classmethod
    def load_or_create(cls, folder: Path) -> Credentials:
        """Read the folder, or fill it when it is empty. Raises OSError or PkiError."""
        certificate, key, token_key = folder / "ca.crt", folder / "ca.key", folder / "sa.key"
        if not certificate.exists():
            Authority.create(_CA_NAME).pair.write(certificate, key)
        if not token_key.exists():
            made = ec.generate_private_key(ec.SECP256R1())
            der = made.private_bytes(Encoding.DER, PrivateFormat.TraditionalOpenSSL, NoEncryption())
            write_file(token_key, to_pem(SEC1_KEY, der))
        loaded = load_key(read_file(token_key))
        if not isinstance(loaded, ec.EllipticCurvePrivateKey):
            raise PkiError(f"{token_key}: not an EC key")
        return cls(Authority.load(certificate, key), loaded)

    @property
    def ca_pem(self) -> bytes:
        """The certificate that clients trust."""
        return self._authority.certificate_pem

    def context(self, addresses: Sequence[str]) -> ssl.SSLContext:
        """Return the TLS context of the listener, for the usual names and further addresses."""
        names = (*_SERVER_ADDRESSES, *(address for address in addresses if address not in ("", "0.0.0.0", "::")))
        pair = self._authority.sign_server(
            dict.fromkeys(names),
            dict.fromkeys((*_SERVER_NAMES, socket.gethostname())),
            common_name="kubeedge-apiserver",
            days=_CERTIFICATE_DAYS,
        )
        return server_context(
            pair.certificate_pem, pair.key_pem, self.ca_pem, client=ClientCertificate.OPTIONAL, alpn=("http/1.1",)
        )

    def write_kubeconfig(self, path: Path, url: str) -> None:
        """Write what kubectl and clients need to call as administrator; only the owner may read it. Raises OSError."""
        pair = self._authority.issue_client(ADMIN, (MASTERS,), _CERTIFICATE_DAYS)
        text = _KUBECONFIG.format(
            url=url,
            user=ADMIN,
            ca=b64encode(self.ca_pem).decode(),
            certificate=b64encode(pair.certificate_pem).decode(),
            key=b64encode(pair.key_pem).decode(),
        )
        write_file(path, text.encode())


_KUBECONFIG = """\
apiVersion: v1
kind: Config
current-context: kubeedge
clusters:
- name: kubeedge
  cluster:
    server: {url}
    certificate-authority-data: {ca}
users:
- name: {user}
  user:
    client-certificate-data: {certificate}
    client-key-data: {key}
contexts:
- name: kubeedge
  context:
    cluster: kubeedge
    user: {user}
"""
