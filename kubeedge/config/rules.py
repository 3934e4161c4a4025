"""What must hold before a daemon starts with a configuration whose types are right (spec 02 §2.6).

A module that is not enabled is not checked. Whatever upstream accepts and can run with is accepted.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Protocol
from urllib.parse import urlsplit

from kubeedge.config.errors import Problem
from kubeedge.config.host import is_node_name

if TYPE_CHECKING:
    from kubeedge.config.cloudcore import CloudCore, CloudHub
    from kubeedge.config.edgecore import EdgeCore, Edged, EdgeHub
    from kubeedge.config.kubelet import TailoredKubeletConfig

FEATURE_GATES = frozenset({"AllAlpha", "AllBeta", "requireAuthorization", "moduleRestart", "disableNodeTaskV1alpha2"})
# Endpoints that edged can drive: a CRI socket (also as a bare path), or our own runtime of local processes.
RUNTIME_SCHEMES = ("unix", "", "process")
# More processes than this hold no more connections; the number is a mistake then.
MAX_WORKERS = 256


class _Endpoint(Protocol):
    address: str
    port: int


def invalid(path: str, value: object, text: str) -> Problem:
    """Say that a value will not do, in the words that upstream's users know."""
    shown = f'"{value}"' if isinstance(value, str) else value
    return Problem(path, f"Invalid value: {shown}: {text}")


def cloudcore(config: CloudCore) -> Iterator[Problem]:
    """Check cloudcore.yaml; creates the folder of the Unix socket."""
    kube_config = config.kube_api_config.kube_config
    if kube_config and not Path(kube_config).is_absolute():
        yield invalid("kubeAPIConfig.kubeConfig", kube_config, "must be an absolute path")
    elif kube_config and not Path(kube_config).exists():
        yield invalid("kubeAPIConfig.kubeConfig", kube_config, "does not exist")
    yield from _host_and_port(
        "commonConfig.monitorServer.bindAddress", config.common_config.monitor_server.bind_address
    )
    yield from _feature_gates(config.feature_gates)
    modules = config.modules
    if modules.cloud_hub.enable:
        yield from _cloud_hub(modules.cloud_hub)
    frequency = modules.edge_controller.node_update_frequency
    if modules.edge_controller.enable and frequency <= 0:
        yield invalid("modules.edgeController.nodeUpdateFrequency", frequency, "must be greater than 0")
    if modules.cloud_stream.enable:
        stream = modules.cloud_stream
        for key, file in (
            ("tlsStreamPrivateKeyFile", stream.tls_stream_private_key_file),
            ("tlsStreamCertFile", stream.tls_stream_cert_file),
            ("tlsStreamCAFile", stream.tls_stream_ca_file),
        ):
            if not Path(file).exists():
                yield invalid(f"modules.cloudStream.{key}", file, "does not exist")
    mode = modules.iptables_manager.mode
    if mode not in ("internal", "external"):
        yield invalid("modules.iptablesManager.mode", mode, "must be internal or external")


def _cloud_hub(hub: CloudHub) -> Iterator[Problem]:
    path = "modules.cloudHub"
    endpoints: tuple[tuple[str, _Endpoint], ...] = (
        ("https", hub.https),
        ("websocket", hub.websocket),
        ("quic", hub.quic),
    )
    for name, endpoint in endpoints:
        yield from _port(f"{path}.{name}.port", endpoint.port)
        yield from _ip(f"{path}.{name}.address", endpoint.address)
    socket = hub.unix_socket.address
    if socket.lower().startswith("unix://"):
        yield from _folder(f"{path}.unixsocket.address", socket, Path(socket[len("unix://") :]).parent)
    else:
        yield invalid(f"{path}.unixsocket.address", socket, "must start with unix://")
    if not hub.advertise_address:
        yield Problem(f"{path}.advertiseAddress", "Required value: at least one address that edge nodes dial")
    if hub.token_refresh_duration <= 0:
        yield invalid(f"{path}.tokenRefreshDuration", hub.token_refresh_duration, "must be greater than 0 (hours)")
    if hub.edge_cert_signing_duration <= 0:
        yield invalid(
            f"{path}.edgeCertSigningDuration", hub.edge_cert_signing_duration, "must be greater than 0 (days)"
        )
    if hub.workers is not None and not 1 <= hub.workers <= MAX_WORKERS:
        yield invalid(f"{path}.workers", hub.workers, f"must be between 1 and {MAX_WORKERS}, inclusive")
    for key, seconds in (("keepaliveInterval", hub.keepalive_interval), ("nodeLimit", hub.node_limit)):
        if seconds <= 0:
            yield invalid(f"{path}.{key}", seconds, "must be greater than 0")


def edgecore(config: EdgeCore) -> Iterator[Problem]:
    """Check edgecore.yaml; creates the folder of the database."""
    source = config.database.data_source
    yield from _folder("database.dataSource", source, Path(source).parent)
    yield from _feature_gates(config.feature_gates)
    modules = config.modules
    if modules.edged.enable:
        yield from _edged(modules.edged)
    if modules.edge_hub.enable:
        yield from _edge_hub(modules.edge_hub)
    if modules.event_bus.enable and not 0 <= modules.event_bus.mqtt_mode <= 2:
        yield invalid("modules.eventBus.mqttMode", modules.event_bus.mqtt_mode, "must be 0, 1 or 2")
    twin = modules.device_twin
    for key, value in (
        ("dmiRequestsPerSecond", twin.dmi_requests_per_second),
        ("dmiRequestBurst", twin.dmi_request_burst),
    ):
        if value < 0:
            yield invalid(f"modules.deviceTwin.{key}", value, "must not be negative")
    timeout = modules.meta_manager.remote_query_timeout
    if modules.meta_manager.enable and timeout <= 0:
        yield invalid("modules.metaManager.remoteQueryTimeout", timeout, "must be greater than 0 (seconds)")
    bus = modules.service_bus
    if bus.enable and bool(bus.tls_cert_file) != bool(bus.tls_private_key_file):
        yield Problem("modules.serviceBus", "tlsCertFile and tlsPrivateKeyFile must be given together")


def _edged(edged: Edged) -> Iterator[Problem]:
    path = "modules.edged"
    if not is_node_name(edged.hostname_override):
        yield invalid(
            f"{path}.hostnameOverride",
            edged.hostname_override,
            "must be a lower-case DNS name of at most 253 characters (letters, digits, '-' and '.')",
        )
    kubelet = edged.tailored_kubelet_config
    if kubelet.cgroup_driver not in ("cgroupfs", "systemd"):
        yield invalid(
            f"{path}.tailoredKubeletConfig.cgroupDriver", kubelet.cgroup_driver, "must be cgroupfs or systemd"
        )
    yield from _image_thresholds(kubelet)
    endpoint = kubelet.container_runtime_endpoint
    if not endpoint or urlsplit(endpoint).scheme not in RUNTIME_SCHEMES:
        yield invalid(
            f"{path}.tailoredKubeletConfig.containerRuntimeEndpoint", endpoint, "must start with unix:// or process://"
        )
    if edged.node_ip:
        yield from _ip(f"{path}.nodeIP", edged.node_ip)


def _image_thresholds(kubelet: TailoredKubeletConfig) -> Iterator[Problem]:
    path = "modules.edged.tailoredKubeletConfig"
    high, low = kubelet.image_gc_high_threshold_percent, kubelet.image_gc_low_threshold_percent
    for key, value in (("imageGCHighThresholdPercent", high), ("imageGCLowThresholdPercent", low)):
        if not 0 <= value <= 100:
            yield invalid(f"{path}.{key}", value, "must be between 0 and 100, inclusive")
    if low > high:
        yield invalid(
            f"{path}.imageGCLowThresholdPercent", low, f"must not be above imageGCHighThresholdPercent, {high}"
        )


def _edge_hub(hub: EdgeHub) -> Iterator[Problem]:
    path = "modules.edgeHub"
    if hub.websocket.enable == hub.quic.enable:
        state = "both are" if hub.quic.enable else "none is"
        yield Problem(f"{path}.enable", f"exactly one of websocket and quic must be enabled, {state}")
    for key, value in (("messageQPS", hub.message_qps), ("messageBurst", hub.message_burst)):
        if value < 0:
            yield invalid(f"{path}.{key}", value, "must not be negative")
    if hub.heartbeat <= 0:
        yield invalid(f"{path}.heartbeat", hub.heartbeat, "must be greater than 0 (seconds)")
    url = urlsplit(hub.http_server)
    if hub.http_server and (url.scheme != "https" or not url.hostname):
        yield invalid(f"{path}.httpServer", hub.http_server, "must look like https://host:10002")
    if hub.websocket.enable:
        yield from _server(f"{path}.websocket.server", hub.websocket.server)


def _feature_gates(gates: dict[str, bool]) -> Iterator[Problem]:
    for gate in sorted(gates.keys() - FEATURE_GATES):
        yield Problem(f"featureGates.{gate}", f"unknown feature gate; known are {', '.join(sorted(FEATURE_GATES))}")


def _port(path: str, port: int) -> Iterator[Problem]:
    if not 1 <= port <= 65535:
        yield invalid(path, port, "must be between 1 and 65535, inclusive")


def _ip(path: str, address: str) -> Iterator[Problem]:
    try:
        ipaddress.ip_address(address)
    except ValueError:
        yield invalid(path, address, "must be a valid IP address, (e.g. 10.9.8.7)")


def _split(address: str) -> tuple[str, str] | None:
    host, colon, port = address.rpartition(":")
    if not colon or (":" in host) != (host.startswith("[") and host.endswith("]")):
        return None
    return host.strip("[]"), port


def _host_and_port(path: str, address: str) -> Iterator[Problem]:
    parts = _split(address)
    if parts is None:
        yield invalid(path, address, "must be IP:port")
        return
    yield from _ip(path, parts[0])
    if not (parts[1].isascii() and parts[1].isdigit() and 1 <= int(parts[1]) <= 65535):
        yield invalid(path, parts[1], "must be a valid port")


def _server(path: str, address: str) -> Iterator[Problem]:
    parts = _split(address)
    if parts is None or not parts[0] or not (parts[1].isascii() and parts[1].isdigit() and 1 <= int(parts[1]) <= 65535):
        yield invalid(path, address, "must be host:port")


def _folder(path: str, value: str, folder: Path) -> Iterator[Problem]:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        yield invalid(path, value, f"folder {folder} cannot be created: {error.strerror}")
