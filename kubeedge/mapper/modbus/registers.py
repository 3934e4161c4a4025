"""What the bits and registers of a property mean, both ways; no I/O (Modbus Application Protocol 1.1b3, §4)."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from decimal import ROUND_HALF_EVEN, Decimal
from enum import StrEnum
from typing import Any

import msgspec

from kubeedge.mapper.description import Property
from kubeedge.mapper.settings import SettingsError, decode

# What one request may ask for (§6.1, §6.3).
MAX_BITS = 2000
MAX_REGISTERS = 125
LAST_ADDRESS = 0xFFFF


class Table(StrEnum):
    """The four tables of a Modbus device, named as in `configData`."""

    COIL = "CoilRegister"
    DISCRETE_INPUT = "DiscreteInputRegister"
    INPUT = "InputRegister"
    HOLDING = "HoldingRegister"

    @property
    def has_bits(self) -> bool:
        """Tell whether its cells are bits, not registers of 16."""
        return self in (Table.COIL, Table.DISCRETE_INPUT)

    @property
    def is_writable(self) -> bool:
        """Tell whether a client may write it."""
        return self in (Table.COIL, Table.HOLDING)


_TABLES = {table.value.lower(): table for table in Table} | {
    table.value.lower().removesuffix("register"): table for table in Table
}

# Codes of `struct` by data type; each is as wide as its registers.
_FORMATS = {
    "int16": ">h",
    "uint16": ">H",
    "int32": ">i",
    "uint32": ">I",
    "int64": ">q",
    "uint64": ">Q",
    "float32": ">f",
    "float64": ">d",
}
_TEXTS = frozenset({"string", "bytes"})
_UNSIGNED = {1: "uint16", 2: "uint32", 4: "uint64"}
_FLOATS = {2: "float32", 4: "float64"}


class _Visitor(msgspec.Struct):
    register: str
    offset: int
    limit: int = 0
    scale: float = 1
    is_swap: bool = False
    is_register_swap: bool = False
    data_type: str = ""


class Point(msgspec.Struct, frozen=True):
    """Where a property lies and how it is read. count is in cells of the table: bits or registers of 16 bits.

    data_type is one of int16 to uint64, float32, float64, string, bytes; empty for bits.
    """

    table: Table
    address: int
    count: int
    data_type: str
    type: str
    scale: Decimal = Decimal(1)
    swaps_bytes: bool = False
    swaps_registers: bool = False

    @property
    def end(self) -> int:
        """The address behind its last cell."""
        return self.address + self.count

    def value(self, cells: Sequence[Any]) -> Any:
        """Return what the cells mean. Raises ValueError."""
        if self.table.has_bits:
            return self._bits_to_value([bool(cell) for cell in cells])
        data = b"".join(struct.pack(">H", cell) for cell in self._ordered(cells))
        if self.data_type == "string":
            return data.rstrip(b"\0 ").decode("utf-8", "replace")
        if self.data_type == "bytes":
            return data.hex()
        (number,) = struct.unpack(_FORMATS[self.data_type], data)
        return self._scaled(number)

    def cells(self, value: Any) -> list[Any]:
        """Return the cells for a value of the model's type. Raises ValueError for one that does not fit."""
        if not self.table.is_writable:
            raise ValueError(f"a {self.table} cannot be written")
        if self.table.has_bits:
            return self._value_to_bits(value)
        if self.data_type in _TEXTS:
            data = value if isinstance(value, bytes) else str(value).encode()
            size = self.count * 2
            if len(data) > size:
                raise ValueError(f"{len(data)} bytes do not fit in {self.count} registers")
            data = data.ljust(size, b"\0")
        else:
            data = self._packed(value)
        return list(self._ordered(struct.unpack(f">{self.count}H", data)))

    def _ordered(self, registers: Sequence[int]) -> Sequence[int]:
        if self.swaps_registers:
            registers = registers[::-1]
        if self.swaps_bytes:
            registers = [(one & 0xFF) << 8 | one >> 8 for one in registers]
        return registers

    def _scaled(self, number: int | float) -> int | float:
        if isinstance(number, float):
            # As the device meant it: 25.3 in 32 bits is 25.3, not 25.299999237060547.
            shortest = float(f"{number:.7g}") if self.data_type == "float32" else number
            exact = _packs_the_same(shortest, number) if self.data_type == "float32" else True
            number = shortest if exact else number
            result = number if self.scale == 1 else number * float(self.scale)
        else:
            if self.scale == 1 and self.type != "boolean":
                return number
            result = float(number * self.scale)
        if self.type == "boolean":
            return bool(result)
        return round(result) if self.type in ("int", "integer") else result

    def _packed(self, value: Any) -> bytes:
        if isinstance(value, str | bytes):
            value = float(value)
        number = Decimal(str(float(value) if isinstance(value, bool) else value)) / self.scale
        try:
            if self.data_type.startswith("float"):
                return struct.pack(_FORMATS[self.data_type], float(number))
            whole = int(number.to_integral_value(ROUND_HALF_EVEN))
            return struct.pack(_FORMATS[self.data_type], whole)
        except (struct.error, OverflowError, ArithmeticError):
            raise ValueError(f"{value} does not fit in a register of type {self.data_type}") from None

    def _bits_to_value(self, bits: list[bool]) -> Any:
        if self.type == "boolean" or len(bits) == 1:
            return bits[0] if self.type in ("boolean", "") else int(bits[0])
        if self.type in ("int", "integer"):
            return sum(1 << index for index, bit in enumerate(bits) if bit)
        return "".join("1" if bit else "0" for bit in bits)

    def _value_to_bits(self, value: Any) -> list[bool]:
        if self.count == 1:
            return [value not in (False, 0, "", "0", "false", "False")]
        if isinstance(value, str):
            if len(value) != self.count or set(value) - {"0", "1"}:
                raise ValueError(f"{value!r} is not {self.count} digits of 0 and 1")
            return [digit == "1" for digit in value]
        number = int(value)
        if not 0 <= number < 1 << self.count:
            raise ValueError(f"{value} does not fit in {self.count} coils")
        return [bool(number >> index & 1) for index in range(self.count)]


def _packs_the_same(one: float, other: float) -> bool:
    return struct.pack(">f", one) == struct.pack(">f", other)


def point(one: Property) -> Point:
    """Read where a property lies from its `configData`. Raises SettingsError with the key that is wrong.

    Keys are those of upstream's mapper (register, offset, limit, scale, isSwap, isRegisterSwap), and dataType, which
    says what the type of the model leaves open: whether a number is signed, or an integer that is scaled.
    """
    visitor = decode(_Visitor, _without_foreign_types(one.config))
    table = _TABLES.get(visitor.register.lower())
    if table is None:
        raise SettingsError(f"register: expected one of {', '.join(Table)}, got {visitor.register!r}")
    data_type, count = "", max(visitor.limit, 1)
    if not table.has_bits:
        data_type, count = _layout(one.type, visitor.data_type.lower(), visitor.limit)
    if count > (MAX_BITS if table.has_bits else MAX_REGISTERS):
        raise SettingsError(f"limit: {count} are more than one request can ask for")
    if visitor.offset < 0 or visitor.offset + count - 1 > LAST_ADDRESS:
        raise SettingsError(f"offset: {visitor.offset} is no address of a {table}")
    return Point(
        table,
        visitor.offset,
        count,
        data_type,
        one.type,
        Decimal(repr(visitor.scale)) if visitor.scale else Decimal(1),
        visitor.is_swap,
        visitor.is_register_swap,
    )


def _without_foreign_types(config: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out a dataType of upstream's template (Int, Float, String): the model says that already."""
    known = {*_FORMATS, *_TEXTS, ""}
    return {
        key: value
        for key, value in config.items()
        if key.lower() != "datatype" or str(value).lower() in known - {"string"}
    }


def _layout(type_name: str, data_type: str, limit: int) -> tuple[str, int]:
    """Return the data type of registers and their number."""
    if data_type in _FORMATS:
        count = struct.calcsize(_FORMATS[data_type]) // 2
        if limit not in (0, count):
            raise SettingsError(f"limit: {data_type} takes {count} registers, not {limit}")
        return data_type, count
    count = max(limit, 1)
    if data_type in _TEXTS:
        return data_type, count
    if type_name in ("string", "bytes", ""):
        return type_name or _UNSIGNED.get(count, "bytes"), count
    # One register is too small for a float: it holds an integer that is scaled.
    found = _FLOATS.get(count) if type_name in ("float", "double") else None
    found = found or _UNSIGNED.get(count)
    if found is None:
        raise SettingsError(f"limit: {type_name} takes 1, 2 or 4 registers, not {limit}")
    return found, count
