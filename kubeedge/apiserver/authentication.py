"""Who calls: the owner of a client certificate, a service account with its token, or nobody."""

from __future__ import annotations

import ssl
from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Any, NamedTuple

from kubeedge.apiserver import status
from kubeedge.apiserver.tokens import AUDIENCE, InvalidTokenError, ServiceAccountToken, Tokens
from kubeedge.pki.tls import subject_of

MASTERS = "system:masters"
AUTHENTICATED = "system:authenticated"
UNAUTHENTICATED = "system:unauthenticated"
NODES = "system:nodes"
NODE_PREFIX = "system:node:"
_CREDENTIAL_ID = "authentication.kubernetes.io/credential-id"


class User(NamedTuple):
    """A caller, as authorization sees it."""

    name: str
    groups: tuple[str, ...] = ()
    uid: str = ""
    extra: Mapping[str, Sequence[str]] = {}

    @property
    def is_master(self) -> bool:
        """May do everything."""
        return MASTERS in self.groups

    @property
    def node(self) -> str:
        """Name of the node that calls, empty for everybody else."""
        return self.name.removeprefix(NODE_PREFIX) if NODES in self.groups and self.name.startswith(NODE_PREFIX) else ""

    def info(self) -> dict[str, Any]:
        """Return it as the UserInfo of reviews."""
        info: dict[str, Any] = {"username": self.name}
        if self.uid:
            info["uid"] = self.uid
        if self.groups:
            info["groups"] = list(self.groups)
        if self.extra:
            info["extra"] = {key: list(values) for key, values in self.extra.items()}
        return info


ANONYMOUS = User("system:anonymous", (UNAUTHENTICATED,))
LOCAL_ADMIN = User("system:apiserver", (MASTERS, AUTHENTICATED))
"""Who calls from inside the process."""


def certificate_user(tls: ssl.SSLObject | None) -> User | None:
    """Return the owner of the client certificate of a connection; None when it showed none that the CA signed."""
    certificate = tls.getpeercert() if tls is not None else None
    if not certificate or tls is None:
        return None
    subject = subject_of(certificate)
    if subject is None or not subject.common_name:
        return None
    digest = sha256(tls.getpeercert(binary_form=True) or b"").hexdigest()
    return User(
        subject.common_name, (*subject.organizations, AUTHENTICATED), extra={_CREDENTIAL_ID: (f"X509SHA256={digest}",)}
    )


def token_user(token: ServiceAccountToken) -> User:
    """Return the user that a service account's token stands for."""
    extra: dict[str, Sequence[str]] = {_CREDENTIAL_ID: (f"JTI={token.token_id}",)}
    if token.bound is not None and token.bound.kind == "Pod":
        extra["authentication.kubernetes.io/pod-name"] = (token.bound.name,)
        extra["authentication.kubernetes.io/pod-uid"] = (token.bound.uid,)
    groups = ("system:serviceaccounts", f"system:serviceaccounts:{token.namespace}", AUTHENTICATED)
    return User(f"system:serviceaccount:{token.namespace}:{token.name}", groups, token.uid, extra)


class Authenticator:
    """Tells the user of a request from its connection and headers."""

    def __init__(self, tokens: Tokens) -> None:
        self._tokens = tokens

    def authenticate(self, authorization: str, certificate: User | None) -> User:
        """Return who calls. authorization is the header; a certificate comes first. Raises ApiError 401."""
        if certificate is not None:
            return certificate
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() != "bearer" or not token.strip():
            return ANONYMOUS
        try:
            return token_user(self._tokens.verify(token.strip(), (AUDIENCE,)))
        except InvalidTokenError:
            raise status.unauthorized() from None
