"""What the SDK calls: one Modbus device, a unit on a bus."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, ClassVar

import msgspec

from kubeedge.mapper.description import Device, Property
from kubeedge.mapper.driver import Driver
from kubeedge.mapper.modbus.bus import Bus, Endpoint, ModbusError, Serial, Tcp
from kubeedge.mapper.modbus.registers import MAX_BITS, MAX_REGISTERS, Point, point
from kubeedge.mapper.settings import SettingsError, decode


class _Unit(msgspec.Struct):
    slave_id: int = 1


class ModbusDriver(Driver):
    """Protocol `modbus`. `configData` of the device: ip and port, or serialPort, baudRate, dataBits, stopBits, parity;
    and slaveID. Raises SettingsError for what is wrong in it."""

    protocol = "modbus"

    # Buses that have a connected device, with their number of devices.
    _buses: ClassVar[dict[Endpoint, tuple[Bus, int]]] = {}

    def __init__(self, device: Device) -> None:
        super().__init__(device)
        self._unit = decode(_Unit, device.config).slave_id
        if not 0 <= self._unit <= 255:
            raise SettingsError(f"slaveID: {self._unit} is not from 0 to 255")
        keys = {key.lower() for key in device.config}
        if "serialport" in keys:
            self._endpoint: Endpoint = decode(Serial, device.config)
        elif "ip" in keys:
            self._endpoint = decode(Tcp, device.config)
        else:
            raise SettingsError("ip or serialPort: the device needs one of them")
        self._bus: Bus | None = None
        # Where properties lie, as long as they are the same.
        self._points: dict[str, tuple[Property, Point]] = {}

    async def connect(self) -> None:
        bus, users = self._buses.get(self._endpoint, (None, 0))
        self._bus = bus or Bus(self._endpoint)
        self._buses[self._endpoint] = self._bus, users + 1
        await self._bus.connect()

    async def disconnect(self) -> None:
        if self._bus is None:
            return
        bus, self._bus = self._bus, None
        users = self._buses[self._endpoint][1] - 1
        if users:
            self._buses[self._endpoint] = bus, users
        else:
            del self._buses[self._endpoint]
            bus.close()

    async def write(self, property: Property, value: Any) -> None:
        where = self._point(property)
        await self._connected.write(self._unit, where.table, where.address, where.cells(value))

    async def read_many(self, properties: Sequence[Property]) -> list[Any]:
        """Read neighbours with one request: what costs is the trip, not the register."""
        results: dict[int, Any] = {}
        points = {}
        for index, one in enumerate(properties):
            try:
                points[index] = self._point(one)
            except SettingsError as error:
                results[index] = error
        away: OSError | None = None
        for block in _blocks(points.items()):
            if away is not None:
                results.update((index, away) for index, _ in block)
                continue
            try:
                results.update(await self._read_block(block))
            except OSError as error:
                away = error
                results.update((index, error) for index, _ in block)
        return [results[index] for index in range(len(properties))]

    async def _read_block(self, block: list[tuple[int, Point]]) -> dict[int, Any]:
        first, last = block[0][1], max(block, key=lambda item: item[1].end)[1]
        try:
            cells = await self._connected.read(self._unit, first.table, first.address, last.end - first.address)
        except ModbusError as error:
            if len(block) == 1:
                return {block[0][0]: error}
            # One of them is not there; which one, each by itself will tell.
            results = {}
            for item in block:
                results.update(await self._read_block([item]))
            return results
        results = {}
        for index, where in block:
            start = where.address - first.address
            try:
                results[index] = where.value(cells[start : start + where.count])
            except ValueError as error:
                results[index] = error
        return results

    def _point(self, one: Property) -> Point:
        known = self._points.get(one.name)
        if known is None or known[0] is not one:
            known = self._points[one.name] = one, point(one)
        return known[1]

    @property
    def _connected(self) -> Bus:
        if self._bus is None:
            raise ConnectionError("the device is not connected")
        return self._bus


def _blocks(points: Iterable[tuple[int, Point]]) -> list[list[tuple[int, Point]]]:
    """Put points together that follow one another in their table without a gap, as far as one request goes."""
    blocks: list[list[tuple[int, Point]]] = []
    end = 0
    for item in sorted(points, key=lambda item: (item[1].table, item[1].address)):
        where = item[1]
        if blocks:
            first = blocks[-1][0][1]
            limit = MAX_BITS if where.table.has_bits else MAX_REGISTERS
            if where.table is first.table and where.address <= end and where.end - first.address <= limit:
                blocks[-1].append(item)
                end = max(end, where.end)
                continue
        blocks.append([item])
        end = where.end
    return blocks
