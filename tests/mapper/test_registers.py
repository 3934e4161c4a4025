from __future__ import annotations

import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubeedge.mapper.description import Property
from kubeedge.mapper.modbus.driver import _blocks
from kubeedge.mapper.modbus.registers import MAX_REGISTERS, Point, Table, point
from kubeedge.mapper.settings import SettingsError


def where(type_name: str = "int", **config: Any) -> Point:
    return point(Property("p", type=type_name, config={"register": "HoldingRegister", "offset": 0} | config))


@pytest.mark.parametrize(
    ("type_name", "config", "cells", "value"),
    [
        ("int", {}, [25], 25),
        ("int", {"limit": 1, "scale": 0.1}, [253], 25),
        ("int", {"scale": 10}, [3], 30),
        ("float", {"scale": 0.1}, [253], 25.3),
        ("float", {"scale": 0.1, "dataType": "int16"}, [0xFFF6], -1.0),
        ("int", {"dataType": "int16"}, [0xFFFF], -1),
        ("int", {}, [0xFFFF], 65535),
        ("int", {"isSwap": True}, [0x0100], 1),
        ("int", {"limit": 2}, [1, 2], 65538),
        ("int", {"limit": 2, "isRegisterSwap": True}, [2, 1], 65538),
        ("int", {"limit": 2, "isRegisterSwap": True, "isSwap": True}, [0x0200, 0x0100], 65538),
        ("int", {"limit": 4}, [0, 0, 0, 7], 7),
        ("float", {"limit": 2}, list(struct.unpack(">HH", struct.pack(">f", 25.3))), 25.3),
        ("double", {"limit": 4}, list(struct.unpack(">HHHH", struct.pack(">d", 25.3))), 25.3),
        ("double", {"dataType": "float32"}, list(struct.unpack(">HH", struct.pack(">f", 0.1))), 0.1),
        ("boolean", {}, [1], True),
        ("string", {"limit": 3}, [0x6F6E, 0x6521, 0], "one!"),
        ("bytes", {"limit": 1}, [0xCAFE], "cafe"),
        ("int", {"dataType": "Int"}, [5], 5),
        ("boolean", {"register": "CoilRegister"}, [True], True),
        ("int", {"register": "coilregister", "limit": 3}, [True, False, True], 5),
        ("string", {"register": "CoilRegister", "limit": 3}, [True, False, True], "101"),
        ("", {}, [7], "\x00\x07".strip("\0")),
    ],
)
def test_cells_mean_a_value(type_name: str, config: dict[str, Any], cells: list[Any], value: Any) -> None:
    if type_name == "":
        assert where(type_name, dataType="uint16", **config).value(cells) == 7
        return
    result = where(type_name, **config).value(cells)
    assert result == value and type(result) is type(value)


@pytest.mark.parametrize(
    ("type_name", "config", "value", "cells"),
    [
        ("int", {}, 25, [25]),
        ("int", {"scale": 0.1}, 25, [250]),
        ("float", {"scale": 0.1}, 25.3, [253]),
        ("float", {"scale": 0.1, "dataType": "int16"}, -1.0, [0xFFF6]),
        ("int", {"limit": 2, "isRegisterSwap": True}, 65538, [2, 1]),
        ("boolean", {}, True, [1]),
        ("boolean", {"register": "CoilRegister"}, False, [False]),
        ("int", {"register": "CoilRegister", "limit": 3}, 5, [True, False, True]),
        ("string", {"register": "CoilRegister", "limit": 3}, "101", [True, False, True]),
        ("string", {"limit": 3}, "one!", [0x6F6E, 0x6521, 0]),
    ],
)
def test_value_becomes_cells(type_name: str, config: dict[str, Any], value: Any, cells: list[Any]) -> None:
    assert where(type_name, **config).cells(value) == cells


@pytest.mark.parametrize(
    ("type_name", "config", "value"),
    [
        ("int", {}, -1),
        ("int", {}, 65536),
        ("float", {"scale": 0.001}, 100.0),
        ("float", {}, float("nan")),
        ("string", {"limit": 1}, "long"),
        ("int", {"register": "CoilRegister", "limit": 2}, 4),
        ("int", {"register": "InputRegister"}, 1),
        ("boolean", {"register": "DiscreteInputRegister"}, True),
    ],
)
def test_value_that_does_not_fit_is_refused(type_name: str, config: dict[str, Any], value: Any) -> None:
    with pytest.raises(ValueError):
        where(type_name, **config).cells(value)


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"register": "Magnet"}, "register: expected one of CoilRegister"),
        ({"offset": -1}, "offset: -1"),
        ({"offset": 65536}, "offset: 65536"),
        ({"limit": 3}, "limit: int takes 1, 2 or 4 registers"),
        ({"limit": 1, "dataType": "int32"}, "limit: int32 takes 2 registers"),
        ({"limit": 126, "dataType": "bytes"}, "limit: 126"),
        ({"scale": "x"}, "scale"),
    ],
)
def test_configuration_that_is_wrong_is_named(config: dict[str, Any], words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        where(**config)


def test_missing_key_is_named() -> None:
    with pytest.raises(SettingsError, match="offset"):
        point(Property("p", type="int", config={"register": "HoldingRegister"}))


@given(
    st.sampled_from(["int16", "uint16", "int32", "uint32", "int64", "uint64"]),
    st.integers(-(2**63), 2**64 - 1),
    st.booleans(),
    st.booleans(),
)
def test_whole_number_survives_the_registers(data_type: str, number: int, swaps: bool, swaps_registers: bool) -> None:
    spot = where("int", dataType=data_type, isSwap=swaps, isRegisterSwap=swaps_registers)
    bits = spot.count * 16
    low, high = (0, 2**bits) if data_type.startswith("u") else (-(2 ** (bits - 1)), 2 ** (bits - 1))
    if low <= number < high:
        cells = spot.cells(number)
        assert all(0 <= cell <= 0xFFFF for cell in cells)
        assert spot.value(cells) == number
    else:
        with pytest.raises(ValueError):
            spot.cells(number)


@given(st.floats(width=32, allow_nan=False, allow_infinity=False))
def test_float_survives_the_registers(number: float) -> None:
    spot = where("float", limit=2)
    assert struct.pack(">f", spot.value(spot.cells(number))) == struct.pack(">f", number)


@given(st.lists(st.tuples(st.integers(0, 300), st.integers(1, 60)), max_size=20))
def test_blocks_cover_every_point_within_one_request(points: list[tuple[int, int]]) -> None:
    items = [(i, Point(Table.HOLDING, at, count, "bytes", "bytes")) for i, (at, count) in enumerate(points)]
    blocks = _blocks(items)
    assert sorted(index for block in blocks for index, _ in block) == list(range(len(points)))
    for block in blocks:
        start = block[0][1].address
        end = max(one.end for _, one in block)
        assert end - start <= MAX_REGISTERS
        covered = {cell for _, one in block for cell in range(one.address, one.end)}
        # Nothing is asked for that nobody wants: a device refuses the whole for one address that it does not have.
        assert covered == set(range(start, end))


def test_neighbours_share_a_request() -> None:
    points = [Point(Table.HOLDING, at, 1, "uint16", "int") for at in (0, 2, 1, 5)]
    assert [[index for index, _ in block] for block in _blocks(enumerate(points))] == [[0, 2, 1], [3]]
