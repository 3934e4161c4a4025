from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubeedge.mapper.description import Property
from kubeedge.mapper.settings import SettingsError
from kubeedge.mapper.simulator import CURVES, SimulatorDriver
from tests.mapper.lamps import device


def one(type_name: str = "float", **config: Any) -> Property:
    return Property("p", type=type_name, is_writable=True, minimum="10", maximum="20", config=config)


def simulator(now: float = 0, **config: Any) -> SimulatorDriver:
    return SimulatorDriver(device(config=config), clock=lambda: now, seed=1)


@pytest.mark.parametrize(
    ("now", "config", "value"),
    [
        (0, {"function": "ramp", "period": 10}, 10.0),
        (5, {"function": "ramp", "period": 10}, 15.0),
        (2.5, {"function": "sine", "period": 10}, 20.0),
        (7.5, {"function": "sine", "period": 10}, 10.0),
        (4, {"function": "square", "period": 10}, 10.0),
        (6, {"function": "square", "period": 10}, 20.0),
        (6, {"function": "constant", "minimum": 3.14159, "digits": 2}, 3.14),
    ],
)
async def test_property_follows_its_curve(now: float, config: dict[str, Any], value: float) -> None:
    assert await simulator(now).read(one(**config)) == value


@given(st.sampled_from(sorted(CURVES)), st.floats(0, 1e9))
async def test_value_stays_in_its_range(function: str, now: float) -> None:
    assert 10 <= await simulator(now).read(one(function=function)) <= 20


async def test_value_has_the_type_of_the_model() -> None:
    driver = simulator(31)
    assert await driver.read(one("int", function="ramp")) == 15
    assert await driver.read(Property("p", type="boolean")) is True
    assert await driver.read(one("string", value="hello")) == "hello"


async def test_written_value_stays() -> None:
    driver = simulator()
    await driver.write(one(), 12.5)
    assert await driver.read(one()) == 12.5


async def test_device_may_simulate_being_away() -> None:
    with pytest.raises(ConnectionError):
        await simulator(offline=True).connect()


@pytest.mark.parametrize("config", [{"function": "magic"}, {"period": 0}])
async def test_wrong_configuration_is_named(config: dict[str, Any]) -> None:
    with pytest.raises(SettingsError, match=next(iter(config))):
        await simulator().read(one(**config))
