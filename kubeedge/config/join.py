"""How a join token reaches edgecore, and what edgecore writes into its own file (spec 02 §1.5)."""

from __future__ import annotations

from pathlib import Path

from kubeedge import KUBEEDGE_VERSION
from kubeedge.config.edgecore import BOOTSTRAP_FILE, EdgeCore
from kubeedge.config.errors import ConfigError, Problem
from kubeedge.config.rewrite import set_value

TOKEN_KEY = "modules.edgeHub.token"
VERSION_KEY = "edgecoreVersion"


def join_token(config: EdgeCore) -> str:
    """Return the token to join with, empty when there is none: the bootstrap file's if that exists, else the key's.

    Raises ConfigError when the bootstrap file cannot be read.
    """
    hub = config.modules.edge_hub
    path = Path(hub.bootstrap_file or BOOTSTRAP_FILE)
    try:
        return path.read_text("utf-8").strip()
    except FileNotFoundError:
        return hub.token.strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(path, [Problem("", f"join token cannot be read: {error}")]) from None


def record_version(path: Path, config: EdgeCore) -> bool:
    """Write the version that runs now into the file when another one stands there; tell whether that was so.

    Raises ConfigError.
    """
    return config.edgecore_version != KUBEEDGE_VERSION and set_value(path, VERSION_KEY, KUBEEDGE_VERSION)


def forget_token(path: Path, config: EdgeCore) -> bool:
    """Empty the token in the file once the certificate is there; tell whether one stood there. Raises ConfigError."""
    return bool(config.modules.edge_hub.token) and set_value(path, TOKEN_KEY, "")
