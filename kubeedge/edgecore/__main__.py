"""The program `edgecore` (spec 05 §8.1)."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence

from kubeedge import KUBEEDGE_VERSION, __version__, daemon
from kubeedge.config import edgecore as configuration
from kubeedge.config.commandline import parse
from kubeedge.config.errors import ConfigError
from kubeedge.edgecore.app import EdgeCore

log = logging.getLogger(__name__)


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until a signal; return 0, or 1 when it cannot start or go on."""
    options = parse(
        "edgecore",
        "The edge side of KubeEdge: runs the pods of this node and keeps them running without the cloud.",
        configuration.DEFAULT_PATH,
        configuration.default_document,
        configuration.minimal_document,
        arguments,
    )
    try:
        config, warnings = configuration.load(options.config)
        edgecore = EdgeCore(config, options.config)
    except ConfigError as error:
        print(error, file=sys.stderr)
        return 1
    daemon.set_up_logging(options.log_level)
    for warning in warnings:
        log.warning("configuration file=%s problem=%s", options.config, warning)
    log.info("starting version=%s kubeedge=%s config=%s", __version__, KUBEEDGE_VERSION, options.config)
    return daemon.run(edgecore.run)


if __name__ == "__main__":
    sys.exit(main())
