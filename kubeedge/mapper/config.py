"""The file of a mapper, in the form of upstream's (spec 04 §7.1)."""

from __future__ import annotations

from pathlib import Path

import msgspec
import yaml

DEFAULT_PATH = Path("config.yaml")
DEFAULT_EDGE_SOCKET = "/etc/kubeedge/dmi.sock"
DEFAULT_HTTP_PORT = 7777


class ConfigError(Exception):
    """What is wrong with the file, with the key."""


class GrpcServer(msgspec.Struct):
    """Where the mapper listens for edgecore."""

    socket_path: str = ""


class Common(msgspec.Struct):
    """What the mapper is called and where it finds edgecore.

    http_port -1 opens no REST API, 0 one on a free port; http_address (ours, upstream listens on all) is what it is
    bound to. address is upstream's and without effect.
    """

    name: str = ""
    version: str = "v1.13.0"
    api_version: str = "v1.0.0"
    protocol: str = ""
    address: str = ""
    edgecore_sock: str = DEFAULT_EDGE_SOCKET
    http_port: int = DEFAULT_HTTP_PORT
    http_address: str = "127.0.0.1"


class Config(msgspec.Struct):
    """All of it."""

    grpc_server: GrpcServer = msgspec.field(default_factory=GrpcServer)
    common: Common = msgspec.field(default_factory=Common)

    def complete(self, protocol: str) -> Config:
        """Fill in what follows from the protocol of the driver. Raises ConfigError."""
        common = self.common
        common.protocol = common.protocol or protocol
        if not common.protocol:
            raise ConfigError("common.protocol: is needed, edgecore finds the mapper of a device by it")
        common.name = common.name or f"{common.protocol}-mapper"
        common.edgecore_sock = common.edgecore_sock or DEFAULT_EDGE_SOCKET
        if not self.grpc_server.socket_path:
            self.grpc_server.socket_path = str(Path(common.edgecore_sock).with_name(f"{common.protocol}.sock"))
        return self


def load(path: Path) -> tuple[Config, list[str]]:
    """Read the file. Returns it with warnings about keys that nobody knows. Raises ConfigError."""
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror or error}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: {error}") from None
    return decode(document, str(path))


def decode(document: object, source: str = "configuration") -> tuple[Config, list[str]]:
    """See load. Keys without a value keep their default. Raises ConfigError."""
    document = _without_empty({} if document is None else document)
    try:
        config = msgspec.convert(document, Config, strict=False)
    except msgspec.ValidationError as error:
        what, _, where = str(error).partition(" - at `$.")
        raise ConfigError(f"{source}: {where.rstrip('`') or 'file'}: {what[:1].lower()}{what[1:]}") from None
    return config, _unknown(document)


def _without_empty(value: object) -> object:
    if isinstance(value, dict):
        return {str(key): _without_empty(item) for key, item in value.items() if item is not None and item != ""}
    return value


def _unknown(document: object) -> list[str]:
    known: dict[str, type[msgspec.Struct]] = {"grpc_server": GrpcServer, "common": Common}
    warnings = []
    for section, values in document.items() if isinstance(document, dict) else ():
        if section not in known:
            warnings.append(f"{section}: unknown key")
        elif isinstance(values, dict):
            warnings += [
                f"{section}.{key}: unknown key" for key in values if key not in known[section].__struct_fields__
            ]
    return warnings
