"""Edged's requests to metamanager: each as upstream's node sends it (spec 05 §2.5)."""

from __future__ import annotations

from typing import Any

import orjson

from kubeedge import resources
from kubeedge.bus import Bus, UnknownModuleError
from kubeedge.edgecore.edged.pod import Object, Pod
from kubeedge.message import NULL, EnvelopeError, Message, content_object, new_message

METAMANAGER = "metamanager"
HUB = "websocket"
SOURCE = "edged"
GROUP = "meta"

# As long as a node waits for the cloud's answer (spec 05 §2.4).
REQUEST_TIMEOUT_S = 60.0
# A look into the local database.
LOCAL_TIMEOUT_S = 10.0

LEASE_NAMESPACE = "kube-node-lease"


class MetaError(Exception):
    """A request that failed. reason is the API's (`NotFound`, `AlreadyExists`, `Conflict`), empty where it is not the
    API that refused: the cloud cannot be reached, or the answer cannot be understood."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message

    @property
    def is_not_found(self) -> bool:
        return self.reason == "NotFound"


class MetaClient:
    """Asks metamanager for objects and hands it what the API shall know. Every call raises MetaError."""

    def __init__(self, bus: Bus, node_name: str) -> None:
        self._bus = bus
        self._node_name = node_name

    async def pods(self, namespace: str) -> list[Object]:
        """Return all pods of the local database."""
        reply = await self._request("query", resources.build(namespace, "pod"), NULL, LOCAL_TIMEOUT_S)
        return _texts(reply)

    async def config_map(self, namespace: str, name: str) -> Object:
        return await self._object("configmap", namespace, name)

    async def secret(self, namespace: str, name: str) -> Object:
        return await self._object("secret", namespace, name)

    async def token(self, namespace: str, service_account: str, request: Object) -> Object:
        """Let the API make a token; request and result are TokenRequests."""
        resource = resources.build(namespace, "serviceaccounttoken", service_account)
        return _object(await self._request("query", resource, orjson.dumps(request)))

    async def node(self) -> Object:
        """Return the Node as the local database has it."""
        reply = await self._request("query", self._node_resource("node"), NULL, LOCAL_TIMEOUT_S)
        return _object(reply)

    async def node_from_cloud(self) -> Object:
        """Return the Node as the cloud has it, past metamanager, which answers from its database (spec 05 Q8)."""
        return _object(await self._request("query", self._node_resource("node"), NULL, module=HUB))

    async def create_node(self, node: Object) -> Object:
        return _outcome(await self._request("insert", self._node_resource("node"), orjson.dumps(node)))

    async def patch_node(self, patch: Object) -> Object:
        """Patch the status of the Node (strategic merge patch); return the whole Node."""
        return _outcome(await self._request("patch", self._node_resource("nodepatch"), _as_text(patch)))

    async def lease(self) -> Object:
        return _outcome(await self._request("query", self._lease_resource(), NULL))

    async def create_lease(self, lease: Object) -> Object:
        return _outcome(await self._request("insert", self._lease_resource(), orjson.dumps(lease)))

    async def update_lease(self, lease: Object) -> Object:
        return _outcome(await self._request("update", self._lease_resource(), orjson.dumps(lease)))

    async def patch_pod(self, pod: Pod, patch: Object) -> Object:
        """Patch the status of a pod (strategic merge patch with its uid); return the whole pod."""
        resource = resources.build(pod.namespace, "podpatch", pod.name)
        return _outcome(await self._request("patch", resource, _as_text(patch)))

    async def delete_pod(self, pod: Pod) -> None:
        """Tell the API that nothing is left of a pod that it wants deleted (spec 03 §2.7)."""
        options = {"gracePeriodSeconds": 0, "preconditions": {"uid": pod.uid}}
        resource = resources.build(pod.namespace, "pod", pod.name)
        _value(await self._request("delete", resource, orjson.dumps(options)))

    def event(self, operation: str, event: Object) -> None:
        """Send an Event to the cloud; there is never an answer (spec 03 §2.8)."""
        resource = resources.build(event["metadata"]["namespace"], "event", event["metadata"]["name"])
        message = new_message(SOURCE, GROUP, operation, resource, orjson.dumps(event))
        try:
            self._bus.send(METAMANAGER, message)
        except UnknownModuleError as error:
            raise MetaError("", f"module {error} does not run") from None

    def _node_resource(self, type_: str) -> str:
        return resources.build("", type_, self._node_name)

    def _lease_resource(self) -> str:
        return resources.build(LEASE_NAMESPACE, "lease", self._node_name)

    async def _object(self, type_: str, namespace: str, name: str) -> Object:
        return _object(await self._request("query", resources.build(namespace, type_, name), NULL))

    async def _request(
        self,
        operation: str,
        resource: str,
        content: bytes,
        timeout_s: float = REQUEST_TIMEOUT_S,
        module: str = METAMANAGER,
    ) -> Message:
        message = new_message(SOURCE, GROUP, operation, resource, content)
        try:
            reply = await self._bus.request(module, message, timeout_s)
        except TimeoutError:
            raise MetaError("", f"no answer to {operation} {resource} in {timeout_s:g} s") from None
        except UnknownModuleError as error:
            raise MetaError("", f"module {error} does not run") from None
        if reply.operation == "error":
            raise MetaError("", str(_value(reply)))
        return reply


def _as_text(patch: Object) -> bytes:
    """Patches travel as a string that holds JSON (spec 05 §10.1)."""
    return orjson.dumps(orjson.dumps(patch).decode())


def _value(reply: Message) -> Any:
    """Return the content of a reply; a Status of the API is raised as what it says."""
    try:
        value = orjson.loads(reply.content)
    except orjson.JSONDecodeError as error:
        raise MetaError("", f"answer to {reply.resource} is no JSON: {error}") from None
    if isinstance(value, dict):
        _raise_status(value)
    return value


def _raise_status(value: Object) -> None:
    status = value.get("ErrStatus")
    if isinstance(status, dict):
        raise MetaError(str(status.get("reason") or "Unknown"), str(status.get("message") or "refused by the API"))


def _texts(reply: Message) -> list[Object]:
    """Read a local answer: a list of objects or of their JSON texts, null where there is none."""
    value = _value(reply)
    if value is None:
        return []
    if not isinstance(value, list):
        raise MetaError("", f"answer to {reply.resource} is no list")
    try:
        objects = [orjson.loads(entry) if isinstance(entry, str) else entry for entry in value]
    except orjson.JSONDecodeError as error:
        raise MetaError("", f"answer to {reply.resource} is no JSON: {error}") from None
    return [entry for entry in objects if isinstance(entry, dict)]


def _object(reply: Message) -> Object:
    """Read one object: as such from the cloud, as a list of one from the database."""
    value = _value(reply)
    if isinstance(value, dict) and value:
        return _outcome(reply) if value.keys() == {"Object", "Err"} else value
    if value is None or isinstance(value, list):
        found = _texts(reply)
        if found:
            _raise_status(found[0])
            return found[0]
        raise MetaError("", f"{reply.resource} is not on this node and the cloud cannot be asked")
    raise MetaError("", f"answer to {reply.resource} is no object")


def _outcome(reply: Message) -> Object:
    """Read `{"Object": …, "Err": …}` (spec 03 §2.1, RESP)."""
    value = _value(reply)
    if not isinstance(value, dict):
        raise MetaError("", f"answer to {reply.resource} is {value!r}")
    error = value.get("Err")
    if isinstance(error, dict):
        _raise_status(error)
        # An error of Go that is no Status: it tells nothing but that it failed (spec 05 Q4).
        raise MetaError("", f"the cloud failed at {reply.resource}: {error}")
    result = value.get("Object")
    if not isinstance(result, dict):
        raise MetaError("", f"answer to {reply.resource} has no object")
    return result


def read_object(message: Message) -> Object:
    """Read the object that a message from metamanager carries; an empty one where it carries none."""
    try:
        value = content_object(message)
    except EnvelopeError as error:
        raise MetaError("", str(error)) from None
    return value if isinstance(value, dict) else {}
