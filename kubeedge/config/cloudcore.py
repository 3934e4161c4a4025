"""cloudcore.yaml: every key of upstream with its default (spec 02 §2.2)."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

from msgspec import field

from kubeedge.config import document, rules
from kubeedge.config.errors import Problem
from kubeedge.config.host import local_address
from kubeedge.config.section import Int32, Section, UInt32, encode

API_VERSION = "cloudcore.config.kubeedge.io/v1alpha1"
KIND = "CloudCore"
DEFAULT_PATH = Path("/etc/kubeedge/config/cloudcore.yaml")

CA_FILE = "/etc/kubeedge/ca/rootCA.crt"
CA_KEY_FILE = "/etc/kubeedge/ca/rootCA.key"
CERT_FILE = "/etc/kubeedge/certs/server.crt"
KEY_FILE = "/etc/kubeedge/certs/server.key"


class MonitorServer(Section):
    bind_address: str = "127.0.0.1:9091"
    enable_profiling: bool = False


class CommonConfig(Section):
    tunnel_port: int = 10350
    monitor_server: MonitorServer = field(default_factory=MonitorServer)


class KubeApiConfig(Section):
    """install_crds is our own: create the custom resource definitions that the cluster lacks, at the start."""

    printed_when_empty: ClassVar[frozenset[str]] = frozenset({"master", "kube_config"})

    master: str = ""
    content_type: str = "application/vnd.kubernetes.protobuf"
    qps: Int32 = 2500
    burst: Int32 = 5000
    kube_config: str = ""
    install_crds: bool = field(default=False, name="installCRDs")


class Quic(Section):
    enable: bool = False
    address: str = "0.0.0.0"
    port: UInt32 = 10001
    max_incoming_streams: Int32 = 10000


class UnixSocket(Section):
    enable: bool = True
    address: str = "unix:///var/lib/kubeedge/kubeedge.sock"


class WebSocket(Section):
    enable: bool = True
    address: str = "0.0.0.0"
    port: UInt32 = 10000


class Https(Section):
    """require_node_certificate is our own: `/node/{name}` and the report endpoints then want a node's certificate."""

    enable: bool = True
    address: str = "0.0.0.0"
    port: UInt32 = 10002
    require_node_certificate: bool = False


class NodeAuthorization(Section):
    enable: bool = False


class AuthorizationMode(Section):
    node: NodeAuthorization | None = None


def _node_mode() -> list[AuthorizationMode]:
    return [AuthorizationMode(node=NodeAuthorization(enable=True))]


class Authorization(Section):
    enable: bool = False
    debug: bool = True
    modes: list[AuthorizationMode] = field(default_factory=_node_mode)


class CloudHub(Section):
    """workers is our own: how many processes hold the nodes' connections, None for as many as there are cores."""

    enable: bool = True
    keepalive_interval: Int32 = 30
    node_limit: Int32 = 500
    tls_ca_file: str = field(default=CA_FILE, name="tlsCAFile")
    tls_ca_key_file: str = field(default=CA_KEY_FILE, name="tlsCAKeyFile")
    tls_cert_file: str = CERT_FILE
    tls_private_key_file: str = KEY_FILE
    write_timeout: Int32 = 30
    quic: Quic = field(default_factory=Quic)
    unix_socket: UnixSocket = field(default_factory=UnixSocket, name="unixsocket")
    websocket: WebSocket = field(default_factory=WebSocket)
    https: Https = field(default_factory=Https)
    advertise_address: list[str] = field(default_factory=lambda: [local_address()])
    dns_names: list[str] = field(default_factory=lambda: [""])
    edge_cert_signing_duration: int = 365
    token_refresh_duration: int = 12
    workers: Int32 | None = None
    authorization: Authorization = field(default_factory=Authorization)


class EdgeControllerBuffer(Section):
    process_event: Int32 = 1024
    update_pod_status: Int32 = 1024
    update_node_status: Int32 = 1024
    query_config_map: Int32 = 1024
    query_secret: Int32 = 1024
    pod_event: Int32 = 1
    config_map_event: Int32 = 1
    secret_event: Int32 = 1
    rules_event: Int32 = 1
    rule_endpoints_event: Int32 = 1
    query_persistent_volume: Int32 = 1024
    query_persistent_volume_claim: Int32 = 1024
    query_volume_attachment: Int32 = 1024
    create_node: Int32 = 1024
    patch_node: Int32 = 1274
    query_node: Int32 = 1524
    update_node: Int32 = 1024
    patch_pod: Int32 = 1024
    delete_pod: Int32 = 1024
    create_lease: Int32 = 1524
    query_lease: Int32 = 1024
    service_account_token: Int32 = 1024
    create_pod: Int32 = 1024
    certificate_signing_request: Int32 = 1024


class EdgeControllerLoad(Section):
    process_event_workers: Int32 = 4
    update_pod_status_workers: Int32 = 1
    update_node_status_workers: Int32 = 1
    query_config_map_workers: Int32 = 100
    query_secret_workers: Int32 = 100
    query_persistent_volume_workers: Int32 = 4
    query_persistent_volume_claim_workers: Int32 = 4
    query_volume_attachment_workers: Int32 = 4
    create_node_workers: Int32 = 100
    patch_node_workers: Int32 = 110
    query_node_workers: Int32 = 500
    update_node_workers: Int32 = 4
    patch_pod_workers: Int32 = 100
    delete_pod_workers: Int32 = 100
    create_lease_workers: Int32 = 500
    query_lease_workers: Int32 = 100
    update_rule_status_workers: Int32 = field(default=4, name="UpdateRuleStatusWorkers")
    service_account_token_workers: Int32 = field(default=100, name="ServiceAccountTokenWorkers")
    create_pod_works: Int32 = field(default=4, name="CreatePodWorks")
    certificate_signing_request_workers: Int32 = 4


class EdgeController(Section):
    enable: bool = True
    node_update_frequency: Int32 = 10
    buffer: EdgeControllerBuffer = field(default_factory=EdgeControllerBuffer)
    load: EdgeControllerLoad = field(default_factory=EdgeControllerLoad)


class DeviceControllerBuffer(Section):
    update_device_twins: Int32 = 1024
    update_device_status: Int32 = 1024
    device_event: Int32 = 1
    device_model_event: Int32 = 1
    device_status_event: Int32 = 0


class DeviceControllerLoad(Section):
    update_device_status_workers: Int32 = 1


class DeviceController(Section):
    enable: bool = True
    buffer: DeviceControllerBuffer = field(default_factory=DeviceControllerBuffer)
    load: DeviceControllerLoad = field(default_factory=DeviceControllerLoad)


class TaskManagerBuffer(Section):
    task_status: Int32 = 1024
    task_event: Int32 = 1


class TaskManagerLoad(Section):
    task_workers: Int32 = 1


class TaskManager(Section):
    enable: bool = False
    buffer: TaskManagerBuffer = field(default_factory=TaskManagerBuffer)
    load: TaskManagerLoad = field(default_factory=TaskManagerLoad)


class SyncController(Section):
    enable: bool = True


class DynamicController(Section):
    enable: bool = False


class CloudStream(Section):
    enable: bool = False
    tls_tunnel_ca_file: str = field(default=CA_FILE, name="tlsTunnelCAFile")
    tls_tunnel_cert_file: str = CERT_FILE
    tls_tunnel_private_key_file: str = KEY_FILE
    tunnel_port: UInt32 = 10004
    tls_stream_ca_file: str = field(default="/etc/kubeedge/ca/streamCA.crt", name="tlsStreamCAFile")
    tls_stream_cert_file: str = "/etc/kubeedge/certs/stream.crt"
    tls_stream_private_key_file: str = "/etc/kubeedge/certs/stream.key"
    stream_port: UInt32 = 10003


class Router(Section):
    enable: bool = False
    address: str = "0.0.0.0"
    port: UInt32 = 9443
    rest_timeout: UInt32 = 60


class IptablesManager(Section):
    enable: bool = True
    mode: str = "internal"


class Modules(Section):
    cloud_hub: CloudHub = field(default_factory=CloudHub)
    edge_controller: EdgeController = field(default_factory=EdgeController)
    device_controller: DeviceController = field(default_factory=DeviceController)
    task_manager: TaskManager = field(default_factory=TaskManager)
    sync_controller: SyncController = field(default_factory=SyncController)
    dynamic_controller: DynamicController = field(default_factory=DynamicController)
    cloud_stream: CloudStream = field(default_factory=CloudStream)
    router: Router = field(default_factory=Router)
    iptables_manager: IptablesManager = field(default_factory=IptablesManager)


class CloudCore(Section):
    """The whole file. Times are integers in seconds unless the key says otherwise (spec 02 §2.1)."""

    api_version: str = API_VERSION
    kind: str = KIND
    common_config: CommonConfig = field(default_factory=CommonConfig)
    kube_api_config: KubeApiConfig = field(default_factory=KubeApiConfig, name="kubeAPIConfig")
    modules: Modules = field(default_factory=Modules)
    feature_gates: dict[str, bool] = field(default_factory=dict)


_MINIMAL_KEYS = {
    "apiVersion": None,
    "kind": None,
    "modules": {
        "cloudHub": "advertiseAddress enable https nodeLimit tlsCAFile tlsCAKeyFile tlsCertFile tlsPrivateKeyFile"
        " unixsocket websocket",
        "iptablesManager": "enable mode",
        "router": "address enable port restTimeout",
    },
}
# What upstream's minimal file says instead of the default.
_MINIMAL_NODE_LIMIT = 1000


def load(path: Path) -> tuple[CloudCore, list[Problem]]:
    """Read, check and return the configuration, and what is strange but harmless in it (unknown keys).

    Creates the folder of the Unix socket. Raises ConfigError with every problem found.
    """
    return document.load(path, CloudCore(), rules.cloudcore)


def default_document() -> dict[str, Any]:
    """Return what `--defaultconfig` prints."""
    return encode(CloudCore())


def minimal_document() -> dict[str, Any]:
    """Return what `--minconfig` prints: as upstream's, but with CloudHub enabled (spec 02 Q1)."""
    config = CloudCore()
    config.modules.cloud_hub.node_limit = _MINIMAL_NODE_LIMIT
    return document.select(encode(config), _MINIMAL_KEYS)
