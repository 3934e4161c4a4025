"""What every namespace has: the service account `default` and the root CA that pods trust the API by."""

from __future__ import annotations

from typing import Any

import orjson

from kubeedge.apiserver.controllers.burst import first_error, together
from kubeedge.apiserver.controllers.cache import Cache
from kubeedge.apiserver.controllers.queue import Controller
from kubeedge.apiserver.controllers.replicaset import is_namespace_ending
from kubeedge.apiserver.controllers.views import HasMetadata, Meta, Namespace
from kubeedge.kube.api import ApiError

ACCOUNT = "default"
ROOT_CA = "kube-root-ca.crt"
# The text is part of the object that clients see.
DESCRIPTION = {
    "kubernetes.io/description": (
        "Contains a CA bundle that can be used to verify the kube-apiserver when using internal endpoints such as the "
        "internal service IP or kubernetes.default.svc. No other usage is guaranteed across distributions of "
        "Kubernetes clusters."
    )
}


class ServiceAccounts:
    """Makes both in each namespace, and again when somebody deletes or changes them."""

    def __init__(
        self,
        namespaces: Cache[Namespace],
        accounts: Cache[Meta],
        config_maps: Cache[Meta],
        *,
        ca_pem: bytes,
    ) -> None:
        self._namespaces = namespaces
        self._accounts = accounts
        self._config_maps = config_maps
        self._data = {"ca.crt": ca_pem.decode()}
        self._controller: Controller[str] = Controller("serviceaccount", self._reconcile)
        namespaces.on_change(lambda type_, new, old: self._controller.enqueue(new.metadata.name))
        accounts.on_change(lambda type_, new, old: self._object_changed(new, ACCOUNT))
        config_maps.on_change(lambda type_, new, old: self._object_changed(new, ROOT_CA))

    async def run(self) -> None:
        """Work until cancelled."""
        await self._controller.run()

    def _object_changed(self, new: HasMetadata, name: str) -> None:
        if new.metadata.name == name:
            self._controller.enqueue(new.metadata.namespace)

    async def _reconcile(self, name: str) -> None:
        namespace = self._namespaces.get("", name)
        if namespace is None or namespace.metadata.is_deleting:
            return
        calls = []
        if self._accounts.get(name, ACCOUNT) is None:
            calls.append(self._accounts.create(name, {"metadata": {"name": ACCOUNT, "namespace": name}}))
        config_map = self._config_maps.get(name, ROOT_CA)
        if config_map is None:
            body: dict[str, Any] = {
                "metadata": {"name": ROOT_CA, "namespace": name, "annotations": DESCRIPTION},
                "data": self._data,
            }
            calls.append(self._config_maps.create(name, body))
        elif not self._is_right(name):
            patch = {"data": {**self._data}, "metadata": {"annotations": DESCRIPTION}}
            calls.append(self._config_maps.patch(config_map, patch))
        error = first_error([outcome for outcome in await together(calls) if not _is_harmless(outcome)])
        if error is not None:
            raise error

    def _is_right(self, namespace: str) -> bool:
        raw = self._config_maps.raw(namespace, ROOT_CA)
        return raw is None or orjson.loads(raw).get("data") == self._data


def _is_harmless(outcome: object) -> bool:
    return isinstance(outcome, ApiError) and (outcome.reason == "AlreadyExists" or is_namespace_ending(outcome))
