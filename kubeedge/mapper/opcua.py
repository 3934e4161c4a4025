"""The OPC UA mapper (extra `opcua`): one session for each device, all properties that are due in one request."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec
from asyncua import ua
from asyncua.client.client import Client
from asyncua.ua.attribute_ids import AttributeIds
from asyncua.ua.uaerrors import UaError

from kubeedge.mapper.description import Device, Property
from kubeedge.mapper.driver import Driver
from kubeedge.mapper.settings import SettingsError, decode
from kubeedge.mapper.values import from_text

# How long the server may take to answer a request.
ANSWER_TIMEOUT_S = 4.0

_INTEGERS = frozenset(
    getattr(ua.VariantType, name) for name in ("SByte", "Byte", "Int16", "UInt16", "Int32", "UInt32", "Int64", "UInt64")
)
_FLOATS = frozenset({ua.VariantType.Float, ua.VariantType.Double})


class _Server(msgspec.Struct):
    """configData of the device. A password is best given by its file, which stays on the node."""

    url: str
    user_name: str = ""
    password: str = ""
    password_file: str = ""
    security_policy: str = "None"
    security_mode: str = "SignAndEncrypt"
    certificate: str = ""
    private_key: str = ""


class _Visitor(msgspec.Struct):
    """configData of a property: its node, or the path of browse names from the folder Objects (`2:Boiler/2:Level`)."""

    node_id: str = ""
    browse_name: str = ""


class OpcUaDriver(Driver):
    """Protocol `opcua`."""

    protocol = "opcua"

    def __init__(self, device: Device) -> None:
        super().__init__(device)
        self._server = decode(_Server, device.config)
        self._client: Client | None = None
        # By what stands in the configuration.
        self._nodes: dict[tuple[str, str], ua.NodeId] = {}
        self._types: dict[ua.NodeId, ua.VariantType] = {}

    async def connect(self) -> None:
        server = self._server
        client = Client(server.url, timeout=ANSWER_TIMEOUT_S)
        if server.user_name:
            client.set_user(server.user_name)
            client.set_password(_password(server))
        try:
            if server.security_policy.lower() != "none":
                policy = server.security_policy.removeprefix("SecurityPolicy")
                await client.set_security_string(
                    ",".join((policy, server.security_mode, server.certificate, server.private_key))
                )
            self._client = client
            await client.connect()
        except UaError as error:
            raise ConnectionError(f"{server.url}: {error or type(error).__name__}") from error

    async def disconnect(self) -> None:
        client, self._client = self._client, None
        self._nodes.clear()
        self._types.clear()
        if client is not None:
            await client.disconnect()

    async def read_many(self, properties: Sequence[Property]) -> list[Any]:
        client = self._connected
        results: list[Any] = [None] * len(properties)
        found: dict[int, ua.NodeId] = {}
        for index, one in enumerate(properties):
            try:
                found[index] = await self._node(client, one)
            except (SettingsError, UaError) as error:
                results[index] = error
        if found:
            values = await client.uaclient.read_attributes(list(found.values()), AttributeIds.Value)
            for index, value in zip(found, values, strict=True):
                results[index] = _value(value)
        return results

    async def write(self, property: Property, value: Any) -> None:
        client = self._connected
        node = await self._node(client, property)
        if node not in self._types:
            self._types[node] = await client.get_node(node).read_data_type_as_variant_type()
        kind = self._types[node]
        # No time of ours goes along: many servers refuse one.
        written = ua.DataValue(ua.Variant(_as(kind, value), kind))
        (status,) = await client.uaclient.write_attributes([node], [written], AttributeIds.Value)
        status.check()

    async def _node(self, client: Client, one: Property) -> ua.NodeId:
        visitor = decode(_Visitor, one.config)
        key = visitor.node_id, visitor.browse_name
        if key in self._nodes:
            return self._nodes[key]
        if visitor.node_id:
            try:
                node = ua.NodeId.from_string(visitor.node_id)
            except UaError as error:
                raise SettingsError(f"nodeID: {error}") from None
        elif visitor.browse_name:
            path = [name for name in visitor.browse_name.split("/") if name]
            node = (await client.nodes.objects.get_child(path)).nodeid
        else:
            raise SettingsError("nodeID or browseName: the property needs one of them")
        self._nodes[key] = node
        return node

    @property
    def _connected(self) -> Client:
        if self._client is None:
            raise ConnectionError("the device is not connected")
        return self._client


def _password(server: _Server) -> str:
    if not server.password_file:
        return server.password
    return Path(server.password_file).read_text(encoding="utf-8").strip()


def _value(read: ua.DataValue) -> Any:
    status = read.StatusCode
    if status is not None and not status.is_good():
        return ValueError(f"the server says {status.name}")
    value = read.Value.Value if read.Value is not None else None
    if isinstance(value, datetime):
        return value.isoformat()
    return getattr(value, "Text", value)


def _as(kind: ua.VariantType, value: Any) -> Any:
    """Turn a value of the model's type into one of the server's. Raises ValueError."""
    if kind is ua.VariantType.Boolean:
        return from_text(value, "boolean") if isinstance(value, str) else bool(value)
    if kind in _INTEGERS:
        number = float(value)
        if not number.is_integer():
            raise ValueError(f"{value} is no whole number, as the server wants it")
        return int(value) if isinstance(value, int) else int(number)
    if kind in _FLOATS:
        return float(value)
    if kind is ua.VariantType.ByteString:
        return value if isinstance(value, bytes) else str(value).encode()
    if kind is ua.VariantType.LocalizedText:
        return ua.LocalizedText(str(value))
    if kind is ua.VariantType.DateTime:
        return datetime.fromisoformat(str(value))
    return value.decode() if isinstance(value, bytes) else str(value)
