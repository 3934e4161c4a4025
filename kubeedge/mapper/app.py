"""A mapper as a program: the parts joined and started in the order that loses nothing."""

from __future__ import annotations

import argparse
import asyncio
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from kubeedge import __version__, daemon
from kubeedge.mapper import config as configuration
from kubeedge.mapper.config import Config, ConfigError
from kubeedge.mapper.devices import Devices
from kubeedge.mapper.driver import Driver, Protocol
from kubeedge.mapper.edge import Edge
from kubeedge.mapper.link import Link
from kubeedge.mapper.outbox import Outbox
from kubeedge.mapper.push import Pusher
from kubeedge.mapper.rest import Rest
from kubeedge.mapper.service import Service, listening
from kubeedge.proto import dmi_pb2 as dmi

log = logging.getLogger("kubeedge.mapper")

# From this level of klog on, messages are wanted in the log.
DEBUG_VERBOSITY = 4
# States that a mapper can be in; Go's edge stores it and looks at it nowhere.
STATE = "ok"


class Mapper:
    """One mapper: all devices of one protocol on this node."""

    def __init__(self, config: Config, driver: type[Driver]) -> None:
        """config is complete, see Config.complete."""
        common = config.common
        self._socket_path = Path(config.grpc_server.socket_path)
        self._outbox = Outbox()
        self._pusher = Pusher()
        self.devices = Devices(driver, self._outbox, self._pusher.push)
        info = dmi.MapperInfo(
            name=common.name,
            version=common.version,
            api_version=common.api_version,
            protocol=common.protocol,
            address=str(self._socket_path).encode(),
            state=STATE,
        )
        self.link = Link(Edge(common.edgecore_sock), info, self.devices, self._outbox)
        port = common.http_port
        self.rest = Rest(self.devices, common.protocol, common.http_address, port) if port >= 0 else None

    async def run(self) -> None:
        """Serve until cancelled. Raises daemon.CannotStartError when the mapper's own socket cannot be made."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self.devices.run())
            group.create_task(self._pusher.run())
            if self.rest is not None:
                group.create_task(self.rest.run())
            try:
                # Before it registers, so that no device that changes in between is missed (spec 04 §6.6).
                async with listening(Service(self.devices), self._socket_path):
                    await self.link.run()
            except OSError as error:
                raise daemon.CannotStartError(f"{self._socket_path}: {error.strerror or error}") from None


def run(driver: type[Driver] | Protocol, arguments: Sequence[str] | None = None) -> NoReturn:
    """Run a mapper as this program, with the command line of upstream's, and leave with its exit code."""
    sys.exit(main(driver.driver() if isinstance(driver, Protocol) else driver, arguments))


def main(driver: type[Driver], arguments: Sequence[str] | None = None, program: str | None = None) -> int:
    """Serve until a signal; return the exit code. arguments None takes those of the program."""
    parser = argparse.ArgumentParser(
        prog=program, description=f"KubeEdge mapper of the protocol {driver.protocol}", allow_abbrev=False
    )
    parser.add_argument(
        "--config-file", type=Path, metavar="FILE", help="configuration (default ./config.yaml, if it is there)"
    )
    parser.add_argument(
        "-v", "--v", dest="verbosity", type=int, default=1, metavar="LEVEL", help="log level, 4 for debug"
    )
    options = parser.parse_args(arguments)
    try:
        config, warnings = _load(options.config_file)
        mapper_config = config.complete(driver.protocol)
    except ConfigError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    daemon.set_up_logging("DEBUG" if options.verbosity >= DEBUG_VERBOSITY else "INFO")
    # The libraries of protocols tell every byte at these levels.
    for library in ("asyncua", "gmqtt", "hpack", "pymodbus"):
        logging.getLogger(library).setLevel(logging.CRITICAL)
    for warning in warnings:
        log.warning("configuration problem=%s", warning)
    common = mapper_config.common
    log.info("starting mapper=%s protocol=%s version=%s", common.name, common.protocol, __version__)
    return daemon.run(Mapper(mapper_config, driver).run)


def _load(path: Path | None) -> tuple[Config, list[str]]:
    if path is None and not configuration.DEFAULT_PATH.exists():
        return Config(), []
    return configuration.load(path or configuration.DEFAULT_PATH)
