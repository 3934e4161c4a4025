"""The program `cloudcore` (spec 02 §2.7)."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence

from kubeedge import KUBEEDGE_VERSION, __version__, daemon
from kubeedge.cloudcore.app import CloudCore
from kubeedge.config import cloudcore as configuration
from kubeedge.config.commandline import parse
from kubeedge.config.errors import ConfigError
from kubeedge.kube.kubeconfig import KubeconfigError, find

log = logging.getLogger(__name__)


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until a signal; return 0, or 1 when it cannot start or go on."""
    options = parse(
        "cloudcore",
        "The cloud side of KubeEdge: brings Kubernetes objects to edge nodes and what they report to Kubernetes.",
        configuration.DEFAULT_PATH,
        configuration.default_document,
        configuration.minimal_document,
        arguments,
    )
    try:
        config, warnings = configuration.load(options.config)
        access = find(config.kube_api_config.kube_config, config.kube_api_config.master)
    except (ConfigError, KubeconfigError) as error:
        print(error, file=sys.stderr)
        return 1
    daemon.set_up_logging(options.log_level)
    daemon.raise_file_limit()
    for warning in warnings:
        log.warning("configuration file=%s problem=%s", options.config, warning)
    log.info("starting version=%s kubeedge=%s config=%s", __version__, KUBEEDGE_VERSION, options.config)
    daemon.collect_garbage_seldom()
    return daemon.run(lambda: CloudCore(config, access).run())


if __name__ == "__main__":
    sys.exit(main())
