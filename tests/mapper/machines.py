"""Real Modbus and OPC UA servers for tests, in this process."""

from __future__ import annotations

import socket
from typing import Any

from asyncua import Server, ua
from pymodbus import FramerType
from pymodbus.server import ModbusSerialServer, ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

HOST = "127.0.0.1"
COILS, DISCRETE_INPUTS, HOLDING, INPUT = 1, 2, 3, 4


def free_port() -> int:
    with socket.create_server((HOST, 0)) as listener:
        return int(listener.getsockname()[1])


class ModbusMachine:
    """Units 1 and 2 with 20 cells in each table, at a port that stays the same, or on a serial line."""

    def __init__(self, port: int = 0, *, line: str = "") -> None:
        self.port = port or free_port()
        self._line = line
        self._server: ModbusTcpServer | ModbusSerialServer | None = None
        #: Addresses and counts of what was read, by function code.
        self.reads: list[tuple[int, int, int]] = []

    async def start(self) -> None:
        devices = [SimDevice(id=unit, simdata=_tables(), action=self._note) for unit in (1, 2)]
        if self._line:
            self._server = ModbusSerialServer(devices, framer=FramerType.RTU, port=self._line, baudrate=9600)
        else:
            self._server = ModbusTcpServer(devices, address=(HOST, self.port))
        await self._server.serve_forever(background=True)

    async def stop(self) -> None:
        if self._server is not None:
            await self._server.shutdown()
            self._server = None

    async def _note(self, code: int, start: int, address: int, count: int, cells: list[int], new: Any) -> None:
        if new is None:
            self.reads.append((code, address, count))

    async def set(self, table: int, address: int, *values: Any, unit: int = 1) -> None:
        assert self._server is not None
        await self._server.async_setValues(unit, table, address, list(values))

    async def get(self, table: int, address: int, count: int = 1, unit: int = 1) -> list[Any]:
        assert self._server is not None
        return list(await self._server.async_getValues(unit, table, address, count))[:count]


def _tables() -> tuple[list[SimData], list[SimData], list[SimData], list[SimData]]:
    bits = [[SimData(0, values=[False] * 20, datatype=DataType.BITS)] for _ in range(2)]
    registers = [[SimData(0, values=[0] * 20, datatype=DataType.REGISTERS)] for _ in range(2)]
    return bits[0], bits[1], registers[0], registers[1]


class OpcUaMachine:
    """A boiler in namespace 2: temperature (Double), setpoint (Int32, writable), name (String), valve (Boolean)."""

    def __init__(self) -> None:
        self.port = free_port()
        self.url = f"opc.tcp://{HOST}:{self.port}/"
        self.nodes: dict[str, Any] = {}
        self._server: Server | None = None

    async def start(self) -> None:
        server = Server()
        await server.init()
        server.set_endpoint(self.url)
        server.set_security_policy([ua.SecurityPolicyType.NoSecurity])
        namespace = await server.register_namespace("urn:test")
        boiler = await server.nodes.objects.add_object(namespace, "Boiler")
        for name, value, kind in (
            ("Temperature", 61.5, ua.VariantType.Double),
            ("Setpoint", 60, ua.VariantType.Int32),
            ("Name", "east", ua.VariantType.String),
            ("Valve", False, ua.VariantType.Boolean),
        ):
            node = await boiler.add_variable(ua.NodeId(name, namespace), f"{namespace}:{name}", value, kind)
            if name != "Temperature":
                await node.set_writable()
            self.nodes[name] = node
        await server.start()
        self._server = server

    async def stop(self) -> None:
        server, self._server = self._server, None
        if server is not None:
            await server.stop()
