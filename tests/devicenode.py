"""An edgecore process without a cloud: devices that it knows from its database, and the broker of a test."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import apsw
import yaml

from kubeedge.edgecore.devicetwin.schema import SCHEMA
from kubeedge.edgecore.edged.runtime.interface import RuntimeUnavailableError
from kubeedge.edgecore.edged.runtime.process.client import Client

NODE = "e1"
START_TIMEOUT_S = 30
STOP_TIMEOUT_S = 20
POLL_S = 0.05
# What EventBus says when it has its broker.
CONNECTED = "broker connected"


class DeviceNode:
    """One edgecore; start, stop and kill it as often as you like, it keeps its database."""

    def __init__(self, folder: Path, event_bus: dict[str, Any], *, edged: bool = False) -> None:
        """event_bus is that part of the configuration; edged adds the part that runs pods, with local processes."""
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.log = folder / "edgecore.log"
        self.database = folder / "edge.db"
        self._configuration = folder / "edgecore.yaml"
        modules = {
            "edgeHub": {"enable": False},
            "metaManager": {"enable": True},
            "eventBus": {"enable": True, **event_bus},
            "deviceTwin": {"enable": True, "dmiSockPath": str(folder)},
            "edged": {
                "enable": edged,
                "hostnameOverride": NODE,
                "rootDirectory": str(folder / "kubelet"),
                "tailoredKubeletConfig": {
                    "containerRuntimeEndpoint": "process://",
                    "podLogsDir": str(folder / "logs"),
                    "readOnlyPort": 0,
                },
            },
        }
        document = {"database": {"dataSource": str(self.database)}, "modules": modules}
        self._configuration.write_text(yaml.safe_dump(document))
        self.process: subprocess.Popen[bytes] | None = None

    def know(self, devices: Iterable[str], twins: Iterable[tuple[str, str, str, str]] = ()) -> None:
        """Write devices (`<namespace>/<name>`) and twins (device, property, type, actual value) for the next start."""
        connection = apsw.Connection(str(self.database))
        with connection:
            for script in SCHEMA:
                connection.execute(script)
            connection.executemany(
                "INSERT INTO device (id,name,description,state,last_online) VALUES (?,?,'','','')",
                [(device, device.partition("/")[2]) for device in devices],
            )
            connection.executemany(
                "INSERT INTO device_twin (deviceid,name,description,expected,actual,expected_meta,actual_meta,"
                "expected_version,actual_version,optional,attr_type,metadata) VALUES"
                " (?,?,'',NULL,?,NULL,'{\"timestamp\":1753440002123}',NULL,'{\"cloud\":0,\"edge\":1}',1,?,'{}')",
                [(device, name, value, type_) for device, name, type_, value in twins],
            )
        connection.close()

    async def start(self, sign: str = CONNECTED) -> None:
        """Start it, and wait until its log says sign."""
        said = self.log.read_text().count(sign) if self.log.exists() else 0
        process = self._spawn()
        async with asyncio.timeout(START_TIMEOUT_S):
            while self.log.read_text().count(sign) == said:
                assert process.poll() is None, self.log.read_text()
                await asyncio.sleep(POLL_S)

    def _spawn(self) -> subprocess.Popen[bytes]:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "kubeedge.edgecore", "--config", str(self._configuration)],
                stdout=log,
                stderr=log,
                env={**os.environ, "CHECK_EDGECORE_ENVIRONMENT": "false"},
            )
        return self.process

    def kill(self) -> None:
        """End it as a crash does."""
        if self.process is not None:
            self.process.kill()
            self.process.wait(STOP_TIMEOUT_S)
            self.process = None

    def stop(self) -> int:
        """End it in an orderly way; return its exit code."""
        assert self.process is not None
        self.process.terminate()
        code = self.process.wait(STOP_TIMEOUT_S)
        self.process = None
        return code

    async def clean_up(self) -> None:
        """End it, and the supervisor of containers if it has one."""
        self.kill()
        with contextlib.suppress(RuntimeUnavailableError):
            await Client(self.folder / "containers").destroy()


@asynccontextmanager
async def device_node(folder: Path, url: str, **event_bus: Any) -> AsyncIterator[DeviceNode]:
    """Make a node for the broker at url, not started, and clean up after it."""
    node = DeviceNode(folder, {"mqttMode": 2, "mqttServerExternal": url, **event_bus})
    try:
        yield node
    finally:
        await node.clean_up()
