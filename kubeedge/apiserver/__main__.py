"""The program `kubeedge-apiserver`."""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path

from kubeedge import __version__, daemon
from kubeedge.apiserver.app import ApiServer
from kubeedge.apiserver.documents import API_VERSION
from kubeedge.pki.pem import PkiError
from kubeedge.store.database import StoreError

DEFAULT_DATA_DIR = Path("/var/lib/kubeedge/apiserver")
DEFAULT_PORT = 6443

log = logging.getLogger(__name__)


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="kubeedge-apiserver",
        description="A Kubernetes API for one machine, with its few controllers, on SQLite. It is no cluster: there is "
        "one of it, and its data is in one folder. Point cloudcore to a real cluster for anything larger.",
    )
    parser.add_argument("--data-dir", type=Path, default=DEFAULT_DATA_DIR, help="folder of its data (%(default)s)")
    parser.add_argument("--bind-address", default="127.0.0.1", help="address to listen on (%(default)s)")
    parser.add_argument(
        "--port", type=int, default=DEFAULT_PORT, help="port to listen on, 0 for a free one (%(default)s)"
    )
    parser.add_argument(
        "--kubeconfig", type=Path, help="where to write the administrator's kubeconfig (DATA_DIR/admin.kubeconfig)"
    )
    parser.add_argument("--log-level", default="INFO", choices=("DEBUG", "INFO", "WARNING", "ERROR"))
    parser.add_argument(
        "--version", action="version", version=f"kubeedge-apiserver {__version__} (Kubernetes {API_VERSION})"
    )
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """Serve until a signal; return 0, or 1 when it cannot start or go on."""
    options = _options(arguments)
    daemon.set_up_logging(options.log_level)
    daemon.raise_file_limit()
    log.info("starting version=%s data_dir=%s", __version__, options.data_dir)
    log.info("this is a Kubernetes API for one machine; for more machines or users use a real cluster")
    server = ApiServer(options.data_dir, address=options.bind_address, port=options.port, kubeconfig=options.kubeconfig)
    return daemon.run(server.run, (OSError, PkiError, StoreError))


if __name__ == "__main__":
    sys.exit(main())
