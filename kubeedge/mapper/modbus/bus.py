"""One connection to a Modbus gateway or a serial line, shared by the devices behind it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import msgspec
from pymodbus import FramerType
from pymodbus.client import AsyncModbusSerialClient, AsyncModbusTcpClient
from pymodbus.exceptions import ConnectionException, ModbusException
from pymodbus.pdu import ExceptionResponse, ModbusPDU

from kubeedge.mapper.modbus.registers import Table

# How long a device may take to answer; the SDK asks again in the next cycle.
ANSWER_TIMEOUT_S = 2.0
RETRIES = 1

# Exceptions by which a gateway says that the device behind it is away (§7).
_AWAY = frozenset({0x0A, 0x0B})
_EXCEPTIONS = {
    0x01: "illegal function",
    0x02: "illegal data address",
    0x03: "illegal data value",
    0x04: "device failure",
    0x05: "acknowledge",
    0x06: "device busy",
    0x07: "negative acknowledge",
    0x08: "memory parity error",
    0x0A: "gateway path unavailable",
    0x0B: "gateway target does not answer",
}


class Tcp(msgspec.Struct, frozen=True):
    """A device or gateway on the network."""

    ip: str
    port: int = 502


class Serial(msgspec.Struct, frozen=True):
    """A serial line. parity is none, even or odd, or its first letter."""

    serial_port: str
    baud_rate: int = 9600
    data_bits: int = 8
    stop_bits: int = 1
    parity: str = "none"


Endpoint = Tcp | Serial


class ModbusError(Exception):
    """A device's own answer that it will not do that."""


class Bus:
    """One connection. Requests on it follow one another, also those of different devices."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._connecting = asyncio.Lock()
        self._client = self._make()

    def _make(self) -> AsyncModbusTcpClient | AsyncModbusSerialClient:
        # Connecting again is the SDK's, with its pauses.
        options: dict[str, Any] = {"timeout": ANSWER_TIMEOUT_S, "retries": RETRIES, "reconnect_delay": 0}
        match self._endpoint:
            case Tcp(ip=ip, port=port):
                return AsyncModbusTcpClient(ip, port=port, framer=FramerType.SOCKET, **options)
            case Serial() as line:
                return AsyncModbusSerialClient(
                    line.serial_port,
                    framer=FramerType.RTU,
                    baudrate=line.baud_rate,
                    bytesize=line.data_bits,
                    stopbits=line.stop_bits,
                    parity=line.parity[:1].upper() or "N",
                    **options,
                )

    async def connect(self) -> None:
        """Connect unless another device has done so. Raises ConnectionError."""
        async with self._connecting:
            if self._client.connected:
                return
            self._client.close()
            self._client = self._make()
            if not await self._client.connect():
                raise ConnectionError(f"cannot connect to {_shown(self._endpoint)}")

    def close(self) -> None:
        """End the connection."""
        self._client.close()

    async def read(self, device_id: int, table: Table, address: int, count: int) -> Sequence[Any]:
        """Return count cells. Raises ModbusError when the device refuses, OSError when it is away."""
        client = self._client
        method = {
            Table.COIL: client.read_coils,
            Table.DISCRETE_INPUT: client.read_discrete_inputs,
            Table.INPUT: client.read_input_registers,
            Table.HOLDING: client.read_holding_registers,
        }[table]
        answer = await self._ask(lambda: method(address, count=count, device_id=device_id))
        cells: Sequence[Any] = answer.bits if table.has_bits else answer.registers
        if len(cells) < count:
            raise ModbusError(f"the device gave {len(cells)} cells instead of {count}")
        return cells[:count]

    async def write(self, device_id: int, table: Table, address: int, cells: Sequence[Any]) -> None:
        """Write cells: one with the call for one, which every device knows. Raises as read does."""
        client = self._client
        values = list(cells)
        if table is Table.COIL:
            if len(values) == 1:
                await self._ask(lambda: client.write_coil(address, values[0], device_id=device_id))
            else:
                await self._ask(lambda: client.write_coils(address, values, device_id=device_id))
        elif len(values) == 1:
            await self._ask(lambda: client.write_register(address, values[0], device_id=device_id))
        else:
            await self._ask(lambda: client.write_registers(address, values, device_id=device_id))

    async def _ask(self, request: Callable[[], Awaitable[ModbusPDU]]) -> ModbusPDU:
        try:
            # The call itself fails when there is no connection, not only what it returns.
            answer = await request()
        except ConnectionException as error:
            raise ConnectionError(f"no connection to {_shown(self._endpoint)}") from error
        except ModbusException as error:
            raise TimeoutError(f"no answer from {_shown(self._endpoint)}") from error
        if isinstance(answer, ExceptionResponse):
            code = answer.exception_code
            text = _EXCEPTIONS.get(code, f"exception {code}")
            raise TimeoutError(text) if code in _AWAY else ModbusError(text)
        if answer.isError():
            raise TimeoutError(f"no answer from {_shown(self._endpoint)}")
        return answer


def _shown(endpoint: Endpoint) -> str:
    return f"{endpoint.ip}:{endpoint.port}" if isinstance(endpoint, Tcp) else endpoint.serial_port
