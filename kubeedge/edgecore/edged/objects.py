"""ConfigMaps, Secrets and service account tokens that the node's pods use, kept in memory while they are used."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Protocol

from kubeedge.edgecore.edged.meta import MetaError
from kubeedge.edgecore.edged.pod import Object, Pod
from kubeedge.kube.instants import unix_time

log = logging.getLogger("kubeedge.edged")

# A token is renewed when this part of its life is over, at the latest after a day (spec 05 §2.6).
TOKEN_RENEWAL_PART = 0.8
TOKEN_MAX_AGE_S = 86_400.0
# While a renewal fails the old token serves; this long until the next try.
TOKEN_RETRY_S = 30.0


class ObjectClient(Protocol):
    """Where objects come from; MetaClient is one. Every call raises MetaError."""

    async def config_map(self, namespace: str, name: str) -> Object: ...

    async def secret(self, namespace: str, name: str) -> Object: ...

    async def token(self, namespace: str, service_account: str, request: Object) -> Object: ...


class MissingError(Exception):
    """An object that a pod needs is not there. message is worded as Kubernetes words it."""

    def __init__(self, message: str, *, exists_nowhere: bool) -> None:
        super().__init__(message)
        self.message = message
        self.exists_nowhere = exists_nowhere


class Objects:
    """Cache in front of the client.

    The cloud pushes every change of an object that this node has asked for (spec 03 §2.3: the answer is acked and
    tracked), so an object in memory is the newest that the node can know; what was not found is asked for again.
    Bounded by what the pods of the node name.
    """

    def __init__(self, client: ObjectClient, now: Callable[[], float]) -> None:
        self._client = client
        self._now = now
        self._known: dict[tuple[str, str, str], Object] = {}
        self._tokens: dict[tuple[object, ...], _Token] = {}

    async def config_map(self, namespace: str, name: str) -> Object:
        """Return a ConfigMap. Raises MissingError."""
        return await self._get("configmap", namespace, name)

    async def secret(self, namespace: str, name: str) -> Object:
        """Return a Secret. Raises MissingError."""
        return await self._get("secret", namespace, name)

    async def _get(self, type_: str, namespace: str, name: str) -> Object:
        key = (type_, namespace, name)
        known = self._known.get(key)
        if known is not None:
            return known
        ask = self._client.config_map if type_ == "configmap" else self._client.secret
        try:
            found = await ask(namespace, name)
        except MetaError as error:
            if error.is_not_found:
                raise MissingError(f'{type_} "{name}" not found', exists_nowhere=True) from None
            raise MissingError(
                f'failed to fetch {type_} "{namespace}/{name}": {error.message}', exists_nowhere=False
            ) from None
        # A push that came while this was asked for is newer than the answer.
        return self._known.setdefault(key, found)

    def pushed(self, type_: str, namespace: str, name: str, new: Object | None) -> None:
        """Take a change from the cloud; None: it was deleted."""
        key = (type_, namespace, name)
        if new is None:
            self._known.pop(key, None)
        else:
            self._known[key] = new

    def forget_unused(self, used: set[tuple[str, str, str]]) -> None:
        """Drop what no pod names any more. used holds (type, namespace, name)."""
        for key in [k for k in self._known if k not in used]:
            del self._known[key]

    async def token(self, pod: Pod, service_account: str, audiences: list[str], lifetime_s: int) -> str:
        """Return a token of the service account bound to that pod; renewed in time. Raises MissingError."""
        key = (pod.uid, service_account, tuple(audiences), lifetime_s)
        known = self._tokens.get(key)
        now = self._now()
        if known is not None and now < known.renew_at:
            return known.text
        request = {
            "metadata": {"creationTimestamp": None},
            "spec": {
                "audiences": audiences or None,
                "expirationSeconds": lifetime_s,
                "boundObjectRef": {"kind": "Pod", "apiVersion": "v1", "name": pod.name, "uid": pod.uid},
            },
            "status": {"token": "", "expirationTimestamp": None},
        }
        try:
            answer = await self._client.token(pod.namespace, service_account, request)
        except MetaError as error:
            if known is not None and now < known.expires_at:
                known.renew_at = now + TOKEN_RETRY_S
                log.warning("token not renewed pod=%s account=%s reason=%s", pod.key, service_account, error.message)
                return known.text
            message = f'failed to fetch token: {error.message} (serviceaccount "{pod.namespace}/{service_account}")'
            raise MissingError(message, exists_nowhere=error.is_not_found) from None
        token = _Token(answer, now, lifetime_s)
        if not token.text:
            raise MissingError("failed to fetch token: the answer holds none", exists_nowhere=False)
        self._tokens[key] = token
        return token.text

    def token_renewal_at(self, pod: Pod) -> float | None:
        """Return when the first token of a pod has to be renewed; None if it has none."""
        return min((t.renew_at for key, t in self._tokens.items() if key[0] == pod.uid), default=None)

    def forget_tokens(self, pod_uid: str) -> None:
        """Drop the tokens of a pod that is gone."""
        for key in [k for k in self._tokens if k[0] == pod_uid]:
            del self._tokens[key]


class _Token:
    __slots__ = ("expires_at", "renew_at", "text")

    def __init__(self, answer: Object, now: float, lifetime_s: int) -> None:
        status = answer.get("status") or {}
        self.text = str(status.get("token") or "")
        lifetime = float((answer.get("spec") or {}).get("expirationSeconds") or lifetime_s)
        self.expires_at = unix_time(status.get("expirationTimestamp"), now + lifetime)
        # A token out of the database may be older than this moment: its life counts from its own beginning.
        issued_at = self.expires_at - lifetime
        self.renew_at = issued_at + min(lifetime * TOKEN_RENEWAL_PART, TOKEN_MAX_AGE_S)
        if self.renew_at <= now:
            self.renew_at = now + TOKEN_RETRY_S
