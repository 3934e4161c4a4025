"""What a node with many devices keeps in memory."""

from __future__ import annotations

import gc
import tracemalloc

import apsw

from kubeedge.edgecore.devicetwin import rows
from tests.edgecore.devicetwin.conftest import Node

DEVICES = 1000
PROPERTIES = 10
LIMIT_BYTES = 10 << 20


async def test_thousand_devices_with_ten_properties_stay_small(node: Node) -> None:
    def fill(connection: apsw.Connection) -> None:
        meta, version = '{"timestamp":1795541899635}', '{"cloud":0,"edge":312}'
        for number in range(DEVICES):
            device = f"default/device-{number}"
            connection.execute("INSERT INTO device VALUES (?,?,'','online','')", (device, f"device-{number}"))
            connection.executemany(
                "INSERT INTO device_twin (deviceid,name,expected,actual,expected_meta,actual_meta,expected_version,"
                "actual_version,optional,attr_type) VALUES (?,?,?,?,?,?,?,?,1,'float')",
                [
                    (device, f"property-{i}", f"{number}.{i}", f"{number}.5", meta, meta, version, version)
                    for i in range(PROPERTIES)
                ],
            )

    await node.database.write(fill)
    gc.collect()
    tracemalloc.start()
    try:
        loaded = rows.load(node.database)
        gc.collect()
        size, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert sum(len(device.twins) for device in loaded.devices.values()) == DEVICES * PROPERTIES
    assert size < LIMIT_BYTES
    # Reading takes little more than what is kept.
    assert peak < size + (1 << 20)
