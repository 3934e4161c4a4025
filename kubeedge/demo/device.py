"""The promises about devices: a thermometer whose registers are looked at and written over Modbus, as by hand."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from pymodbus.client import AsyncModbusTcpClient

from kubeedge.demo import configuration, thermometer
from kubeedge.demo.watcher import StepError, Watcher
from kubeedge.kube.kinds import DEVICE_STATUS

NAMESPACE = "default"
NAME = "thermometer"
SETPOINT_PATH = "/spec/properties/1/desired/value"

# The promises: so soon after the register changed, and after kubectl patch has returned.
REPORTED_TIMEOUT_S = 2
WRITTEN_TIMEOUT_S = 2


class DeviceSteps(Watcher):
    """The steps that need a site with devices, in the order in which they follow one another."""

    async def device_is_reported(self) -> str:
        """Device and DeviceModel applied: values reported, state online"""
        await self._site.start_device(is_still=True)
        await self._site.apply_device()
        await self._until(lambda: self._reports("temperature", "18.5"), "the temperature is not reported")
        await self._until(lambda: self._reports("setpoint", "21"), "the setpoint is not reported")
        await self._until(self._is_online, "the device is not online")
        return ""

    async def register_reaches_the_cloud(self) -> str:
        """device twin reported in the cloud at most 2 s after the register changed"""
        await self._write(thermometer.TEMPERATURE, 253)
        took_s = await self._until(
            lambda: self._reports("temperature", "25.3"), "the cloud does not show it", REPORTED_TIMEOUT_S
        )
        return f"{took_s:.1f} s"

    async def desired_value_reaches_the_register(self) -> str:
        """desired value written to the register at most 2 s after kubectl patch"""
        patch = f'[{{"op": "replace", "path": "{SETPOINT_PATH}", "value": "23.5"}}]'
        await self._site.kubectl("patch", "device", NAME, "--type", "json", "--patch", patch)

        async def is_written() -> bool:
            return await self._read(thermometer.SETPOINT) == 235

        took_s = await self._until(is_written, "the register does not have it", WRITTEN_TIMEOUT_S)
        await self._until(lambda: self._reports("setpoint", "23.5", "23.5"), "it is not reported back")
        return f"{took_s:.1f} s"

    async def device_changes_offline(self) -> str:
        """device read on without the cloud"""
        await self._write(thermometer.TEMPERATURE, 199)

        async def has_it() -> bool:
            return '"Value":"19.9"' in await self._site.mapper_page(f"/api/v1/device/{NAMESPACE}/{NAME}/temperature")

        await self._until(has_it, "the mapper does not read it")
        # A cycle of reports, so that the edge has it.
        await asyncio.sleep(REPORTED_TIMEOUT_S)
        return ""

    async def offline_report_arrives(self) -> str:
        """device reports made while offline arrive after reconnect"""
        await self._until(lambda: self._reports("temperature", "19.9"), "the cloud does not show it")
        return ""

    async def device_is_removed(self) -> str:
        """device removed from the node after delete"""
        await self._site.kubectl("delete", "device", NAME)

        async def is_gone() -> bool:
            page = await self._site.mapper_page(f"/api/v1/device/{NAMESPACE}/{NAME}/temperature")
            statuses = await self._site.objects(DEVICE_STATUS, NAMESPACE)
            return "there is no device" in page and not statuses

        await self._until(is_gone, "the node still has it")
        return ""

    # What is looked at.

    async def _reports(self, name: str, value: str, observed: str | None = None) -> bool:
        twins = (await self._status()).get("twins", ())
        return any(
            twin["propertyName"] == name
            and twin["reported"]["value"] == value
            and observed in (None, twin.get("observedDesired", {}).get("value"))
            for twin in twins
        )

    async def _is_online(self) -> bool:
        return bool((await self._status()).get("state") == "online")

    async def _status(self) -> dict[str, Any]:
        found: dict[str, Any] = (await self._site.get(DEVICE_STATUS, NAMESPACE, NAME)).get("status", {})
        return found

    async def _read(self, register: int) -> int:
        async with self._modbus() as client:
            answer = await client.read_holding_registers(register, device_id=thermometer.UNIT)
        return answer.registers[0]

    async def _write(self, register: int, value: int) -> None:
        async with self._modbus() as client:
            await client.write_register(register, value, device_id=thermometer.UNIT)

    @asynccontextmanager
    async def _modbus(self) -> AsyncIterator[AsyncModbusTcpClient]:
        client = AsyncModbusTcpClient(configuration.LOOPBACK, port=self._site.ports.thermometer, reconnect_delay=0)
        if not await client.connect():
            raise StepError("the thermometer cannot be reached")
        try:
            yield client
        finally:
            client.close()
