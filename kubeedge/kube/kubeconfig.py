"""Where the API is and who we are: kubeconfig files and the in-cluster service account."""

from __future__ import annotations

import asyncio
import base64
import binascii
import os
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

from kubeedge.pki.pem import PkiError
from kubeedge.pki.tls import client_context, load_pair

SERVICE_ACCOUNT_FOLDER = Path("/var/run/secrets/kubernetes.io/serviceaccount")
# A token file is replaced long before its token expires (kubelet: at 80 % of its life), so a read a minute is enough.
TOKEN_REREAD_S = 60.0
# An exec plugin or an identity provider that has not answered by then is taken for dead.
PLUGIN_TIMEOUT_S = 30.0
# How often the official client is asked whether the plugin's token has expired; it takes a thread.
PLUGIN_ASK_S = 5.0


class KubeconfigError(Exception):
    """A kubeconfig that cannot be used. file names it, reason says what is wrong in it."""

    def __init__(self, file: str | Path, reason: str) -> None:
        super().__init__(f"{file}: {reason}")
        self.file = str(file)
        self.reason = reason


class Credential:
    """Gives the value of the Authorization header; without token there is none (client certificate or anonymous)."""

    async def header(self) -> str:
        """Return the value for the next request, or an empty string."""
        return ""

    def at_hand(self) -> str | None:
        """Return what header() would, None when it would have to find out first."""
        return ""


class FixedCredential(Credential):
    """A header value that never changes: a token or user and password from the kubeconfig itself."""

    def __init__(self, value: str) -> None:
        self._value = value

    async def header(self) -> str:
        """Return the value given."""
        return self._value

    def at_hand(self) -> str | None:
        """See Credential."""
        return self._value


class TokenFile(Credential):
    """A bearer token that something else renews in a file. Raises KubeconfigError when the file goes away."""

    def __init__(self, path: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self._path = path
        self._clock = clock
        self._value = ""
        self._read_at = -TOKEN_REREAD_S
        self._read()

    async def header(self) -> str:
        """Return the token, at most TOKEN_REREAD_S old."""
        if self._clock() - self._read_at >= TOKEN_REREAD_S:
            self._read()
        return self._value

    def at_hand(self) -> str | None:
        """See Credential."""
        return self._value if self._clock() - self._read_at < TOKEN_REREAD_S else None

    def _read(self) -> None:
        token = _read_file(self._path, "token file").decode(errors="replace").strip()
        if not token.isascii() or not token.isprintable() or not token:
            raise KubeconfigError(self._path, "holds no token")
        self._value = f"Bearer {token}"
        self._read_at = self._clock()


class Plugin(Credential):
    """An `exec` or `auth-provider` user: the official client runs the plugin and knows when its token expires."""

    def __init__(self, path: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self._path = path
        self._clock = clock
        self._configuration: Any = None
        self._lock = asyncio.Lock()
        self._value = ""
        self._asked_at = -PLUGIN_ASK_S

    async def header(self) -> str:
        """Return the plugin's token. Raises KubeconfigError when there is none."""
        async with self._lock:
            if self._clock() - self._asked_at >= PLUGIN_ASK_S:
                try:
                    async with asyncio.timeout(PLUGIN_TIMEOUT_S):
                        self._value = await asyncio.to_thread(self._ask)
                except TimeoutError:
                    raise KubeconfigError(self._path, f"plugin gave no token in {PLUGIN_TIMEOUT_S:.0f} s") from None
                if not self._value:
                    raise KubeconfigError(self._path, "plugin gave no token")
                self._asked_at = self._clock()
            return self._value

    def at_hand(self) -> str | None:
        """See Credential."""
        return self._value if self._clock() - self._asked_at < PLUGIN_ASK_S else None

    def _ask(self) -> str:
        configuration = self.load()
        if configuration.refresh_api_key_hook is not None:
            configuration.refresh_api_key_hook(configuration)
        return str(configuration.api_key.get("BearerToken") or "")

    def load(self) -> Any:
        """Return the official client's Configuration of this file, made at the first call."""
        if self._configuration is None:
            try:
                from kubernetes.client import Configuration
                from kubernetes.config import ConfigException, load_kube_config
            except ImportError:
                raise KubeconfigError(
                    self._path, "its user needs a plugin: install kubeedge[cloud] (package kubernetes)"
                ) from None
            configuration = Configuration()
            try:
                load_kube_config(  # type: ignore[no-untyped-call]
                    str(self._path), client_configuration=configuration
                )
            except ConfigException as error:
                raise KubeconfigError(self._path, str(error)) from None
            self._configuration = configuration
        return self._configuration


@dataclass(slots=True)
class Access:
    """Everything needed to call one API server."""

    host: str
    port: int
    prefix: str
    """Path in front of /api and /apis, for API servers behind a proxy; usually empty."""
    tls: ssl.SSLContext | None
    """None for plain HTTP."""
    server_name: str
    """Name that the server's certificate must have."""
    credential: Credential
    ca_pem: bytes = b""
    """The cluster's CA as PEM, empty when the system's own CAs are trusted."""


def find(kubeconfig: str = "", master: str = "") -> Access:
    """Return the access that cloudcore's `kubeAPIConfig` asks for (spec 02 §2.2).

    master beats the server of the kubeconfig; both empty means in-cluster. Raises KubeconfigError.
    """
    if kubeconfig:
        return load(Path(kubeconfig), master)
    if master:
        return _access("kubeAPIConfig.master", master, {}, Credential(), b"", None)
    return in_cluster()


def in_cluster(folder: Path = SERVICE_ACCOUNT_FOLDER) -> Access:
    """Return the access of the service account of the pod that this process runs in. Raises KubeconfigError."""
    host, port = os.environ.get("KUBERNETES_SERVICE_HOST", ""), os.environ.get("KUBERNETES_SERVICE_PORT", "")
    if not host or not port:
        raise KubeconfigError(
            "in-cluster configuration", "KUBERNETES_SERVICE_HOST is not set and no kubeconfig is configured"
        )
    ca = _read_file(folder / "ca.crt", "certificate authority")
    host = f"[{host}]" if ":" in host else host
    return _access(folder / "ca.crt", f"https://{host}:{port}", {}, TokenFile(folder / "token"), ca, None)


def load(path: Path, master: str = "") -> Access:
    """Read a kubeconfig file and take its current context. Raises KubeconfigError."""
    try:
        document = yaml.safe_load(_read_file(path, "kubeconfig"))
    except yaml.YAMLError as error:
        raise KubeconfigError(path, f"no YAML: {' '.join(str(error).split())}") from None
    if not isinstance(document, dict):
        raise KubeconfigError(path, "is no kubeconfig: a mapping was expected")
    current = document.get("current-context")
    if not current:
        raise KubeconfigError(path, "current-context is not set")
    context = _entry(path, document, "contexts", "context", str(current))
    cluster = _entry(path, document, "clusters", "cluster", str(context.get("cluster") or ""))
    user: dict[str, Any] = {}
    if context.get("user"):
        user = _entry(path, document, "users", "user", str(context["user"]))

    server = master or cluster.get("server")
    if not isinstance(server, str) or not server:
        raise KubeconfigError(path, f"cluster {context.get('cluster')} has no server")
    if cluster.get("proxy-url"):
        raise KubeconfigError(path, "proxy-url is not supported")
    ca = _file_or_data(path, cluster, "certificate-authority")
    certificate, key = _file_or_data(path, user, "client-certificate"), _file_or_data(path, user, "client-key")
    credential = _credential(path, user)
    if isinstance(credential, Plugin) and not (certificate or user.get("token")):
        # A plugin may give a certificate instead of a token; it then is the connection's, for the life of the process.
        configuration = credential.load()
        if configuration.cert_file and configuration.key_file:
            certificate = _read_file(Path(configuration.cert_file), "client certificate of the plugin")
            key = _read_file(Path(configuration.key_file), "client key of the plugin")
            credential = Credential()
    if bool(certificate) != bool(key):
        raise KubeconfigError(path, "client-certificate and client-key must be given together")
    return _access(path, server, cluster, credential, ca, (certificate, key) if certificate else None)


def _credential(path: Path, user: dict[str, Any]) -> Credential:
    # tokenFile beats token, as in Kubernetes' own client.
    if user.get("tokenFile"):
        return TokenFile(path.parent / str(user["tokenFile"]))
    if user.get("token"):
        token = str(user["token"])
        if not token.isascii() or not token.isprintable():
            raise KubeconfigError(path, "token has characters that no token has")
        return FixedCredential(f"Bearer {token}")
    if user.get("exec") or user.get("auth-provider"):
        return Plugin(path)
    if user.get("username"):
        pair = f"{user['username']}:{user.get('password') or ''}".encode()
        return FixedCredential(f"Basic {base64.b64encode(pair).decode()}")
    return Credential()


def _access(
    source: str | Path,
    server: str,
    cluster: dict[str, Any],
    credential: Credential,
    ca_pem: bytes,
    certificate: tuple[bytes, bytes] | None,
) -> Access:
    url = urlsplit(server if "://" in server else f"https://{server}")
    try:
        port = url.port or (443 if url.scheme == "https" else 80)
    except ValueError as error:
        raise KubeconfigError(source, f"server {server}: {error}") from None
    if url.scheme not in ("https", "http") or not url.hostname:
        raise KubeconfigError(source, f"server {server} is no http or https URL")
    tls = None
    if url.scheme == "https":
        tls = _context(source, ca_pem, certificate, insecure=bool(cluster.get("insecure-skip-tls-verify")))
    return Access(
        host=url.hostname,
        port=port,
        prefix=url.path.rstrip("/"),
        tls=tls,
        server_name=str(cluster.get("tls-server-name") or url.hostname),
        credential=credential,
        ca_pem=ca_pem,
    )


def _context(
    source: str | Path, ca_pem: bytes, certificate: tuple[bytes, bytes] | None, *, insecure: bool
) -> ssl.SSLContext:
    try:
        context = client_context(ca_pem) if ca_pem else ssl.create_default_context()
        if certificate is not None:
            load_pair(context, *certificate)
    except PkiError as error:
        raise KubeconfigError(source, str(error)) from None
    context.set_alpn_protocols(["http/1.1"])
    if insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _entry(path: Path, document: dict[str, Any], list_key: str, value_key: str, name: str) -> dict[str, Any]:
    entries = document.get(list_key)
    for entry in entries if isinstance(entries, list) else []:
        if isinstance(entry, dict) and entry.get("name") == name:
            value = entry.get(value_key) or {}
            if isinstance(value, dict):
                return value
    raise KubeconfigError(path, f"{list_key} has no {value_key} {name!r}")


def _file_or_data(path: Path, section: dict[str, Any], key: str) -> bytes:
    data = section.get(f"{key}-data")
    if data:
        try:
            return base64.b64decode(str(data), validate=True)
        except binascii.Error as error:
            raise KubeconfigError(path, f"{key}-data: {error}") from None
    if section.get(key):
        # Relative to the folder of the kubeconfig.
        return _read_file(path.parent / str(section[key]), key)
    return b""


def _read_file(path: Path, what: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise KubeconfigError(path, f"{what}: {error.strerror or error}") from None
