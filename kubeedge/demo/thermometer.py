"""`python -m kubeedge.demo.thermometer`: a Modbus TCP device of the demo, a real server of pymodbus without hardware.

Holding registers, in tenths of a degree: 0 the temperature, 1 the setpoint that it moves towards.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import signal

from pymodbus.server import ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

UNIT = 1
TEMPERATURE, SETPOINT = 0, 1
START_TENTHS, WANTED_TENTHS = 185, 210
# Function codes by which the server lets its own registers be read and written.
READ_REGISTERS, WRITE_REGISTERS = 3, 16

STEP_S = 1.0
# The part of the way to the setpoint that a step takes, and how far the air in the room moves it.
APPROACH = 0.1
DRAUGHT_TENTHS = 2


async def serve(host: str, port: int, *, is_still: bool) -> None:
    """Serve until cancelled. A still one keeps its temperature until somebody writes it."""
    registers = [SimData(0, values=[START_TENTHS, WANTED_TENTHS], datatype=DataType.REGISTERS)]
    server = ModbusTcpServer(SimDevice(id=UNIT, simdata=registers), address=(host, port))
    await server.serve_forever(background=True)
    try:
        while True:
            await asyncio.sleep(STEP_S)
            if not is_still:
                await _step(server)
    finally:
        # The library has no types for this one.
        await server.shutdown()  # type: ignore[no-untyped-call]


async def _step(server: ModbusTcpServer) -> None:
    temperature, setpoint = await server.async_getValues(UNIT, READ_REGISTERS, TEMPERATURE, 2)
    tenths = temperature + APPROACH * (setpoint - temperature) + random.uniform(-DRAUGHT_TENTHS, DRAUGHT_TENTHS)
    await server.async_setValues(UNIT, WRITE_REGISTERS, TEMPERATURE, [round(tenths)])


async def _until_signal(host: str, port: int, *, is_still: bool) -> None:
    serving = asyncio.ensure_future(serve(host, port, is_still=is_still))
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, serving.cancel)
    await asyncio.wait([serving])
    if not serving.cancelled():
        serving.result()


def main() -> None:
    """Serve until a signal."""
    parser = argparse.ArgumentParser(description="A thermometer that speaks Modbus TCP.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=5020)
    parser.add_argument("--still", action="store_true", help="keep the temperature until somebody writes it")
    options = parser.parse_args()
    asyncio.run(_until_signal(options.host, options.port, is_still=options.still))


if __name__ == "__main__":
    main()
