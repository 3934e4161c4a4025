"""How a join token reaches edgecore, and what edgecore writes into its own file (spec 02 §1.5)."""

from __future__ import annotations

import logging
from pathlib import Path

from kubeedge import KUBEEDGE_VERSION
from kubeedge.config.edgecore import BOOTSTRAP_FILE, EdgeCore
from kubeedge.config.rewrite import set_value

log = logging.getLogger(__name__)

TOKEN_KEY = "modules.edgeHub.token"
VERSION_KEY = "edgecoreVersion"


def join_token(config: EdgeCore) -> str:
    """Return the token to join with as it is now, empty when there is none: the bootstrap file's, else the key's."""
    hub = config.modules.edge_hub
    path = Path(hub.bootstrap_file or BOOTSTRAP_FILE)
    try:
        return path.read_text("utf-8").strip()
    except FileNotFoundError:
        pass
    except (OSError, UnicodeDecodeError) as error:
        log.error("join token cannot be read path=%s reason=%s", path, error)
    return hub.token.strip()


def record_version(path: Path, config: EdgeCore) -> bool:
    """Write the version that runs now into the file when another one stands there; tell whether that was so.

    Raises ConfigError.
    """
    return config.edgecore_version != KUBEEDGE_VERSION and set_value(path, VERSION_KEY, KUBEEDGE_VERSION)


def forget_token(path: Path, config: EdgeCore) -> bool:
    """Empty the token in the file once the certificate is there; tell whether one stood there. Raises ConfigError."""
    return bool(config.modules.edge_hub.token) and set_value(path, TOKEN_KEY, "")
