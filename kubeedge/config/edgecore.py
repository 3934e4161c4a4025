"""edgecore.yaml: every key of upstream with its default, but for the kubelet's (spec 02 §2.4)."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

from msgspec import field

from kubeedge.config import document, rules
from kubeedge.config.duration import Duration
from kubeedge.config.errors import Problem
from kubeedge.config.host import local_endpoint, node_name
from kubeedge.config.kubelet import TailoredKubeletConfig
from kubeedge.config.section import Int32, Section, UInt8, encode

API_VERSION = "edgecore.config.kubeedge.io/v1alpha2"
KIND = "EdgeCore"
DEFAULT_PATH = Path("/etc/kubeedge/config/edgecore.yaml")

CA_FILE = "/etc/kubeedge/ca/rootCA.crt"
CERT_FILE = "/etc/kubeedge/certs/server.crt"
KEY_FILE = "/etc/kubeedge/certs/server.key"
# A token that waits here wins over the one of the configuration (spec 02 §1.5).
BOOTSTRAP_FILE = "/etc/kubeedge/bootstrap-edgecore.conf"


class DataBase(Section):
    driver_name: str = "sqlite3"
    alias_name: str = "default"
    data_source: str = "/var/lib/kubeedge/edgecore.db"


class Edged(Section):
    printed_when_empty: ClassVar[frozenset[str]] = frozenset({"enable", "report_event"})

    enable: bool = True
    report_event: bool = False
    tailored_kubelet_config: TailoredKubeletConfig = field(default_factory=TailoredKubeletConfig)
    custom_interface_name: str = ""
    register_node_namespace: str = "default"
    hostname_override: str = field(default_factory=node_name)
    node_ip: str = field(default="", name="nodeIP")
    runtime_cgroups: str = ""
    pod_sandbox_image: str = "kubeedge/pause:3.6"
    root_directory: str = "/var/lib/kubelet"
    windows_service: bool = False
    windows_priority_class: str = ""
    experimental_mounter_path: str = ""
    experimental_node_allocatable_ignore_eviction_threshold: bool = False
    node_labels: dict[str, str] = field(default_factory=dict)
    minimum_gc_age: Duration = field(default=Duration(0), name="minimumGCAge")
    max_per_pod_container_count: Int32 = 1
    max_container_count: Int32 = -1
    register_schedulable: bool = True
    seccomp_default: bool = False


class EdgeHubQuic(Section):
    enable: bool = False
    handshake_timeout: Int32 = 30
    read_deadline: Int32 = 15
    server: str = field(default_factory=lambda: local_endpoint(10001))
    write_deadline: Int32 = 15


class EdgeHubWebSocket(Section):
    enable: bool = True
    handshake_timeout: Int32 = 30
    read_deadline: Int32 = 15
    server: str = field(default_factory=lambda: local_endpoint(10000))
    write_deadline: Int32 = 15


class EdgeHub(Section):
    """bootstrap_file is our own: where a join token may wait (empty: BOOTSTRAP_FILE)."""

    printed_when_empty: ClassVar[frozenset[str]] = frozenset({"enable", "token"})

    enable: bool = True
    heartbeat: Int32 = 15
    message_qps: Int32 = field(default=30, name="messageQPS")
    message_burst: Int32 = 60
    project_id: str = field(default="e632aba927ea4ac2b575ec1603d56f10", name="projectID")
    tls_ca_file: str = CA_FILE
    tls_cert_file: str = CERT_FILE
    tls_private_key_file: str = KEY_FILE
    quic: EdgeHubQuic = field(default_factory=EdgeHubQuic)
    websocket: EdgeHubWebSocket = field(default_factory=EdgeHubWebSocket)
    token: str = ""
    http_server: str = field(default_factory=lambda: "https://" + local_endpoint(10002))
    rotate_certificates: bool = True
    bootstrap_file: str = ""


class EventBusTls(Section):
    enable: bool = False
    tls_mqtt_ca_file: str = field(default=CA_FILE, name="tlsMqttCAFile")
    tls_mqtt_cert_file: str = CERT_FILE
    tls_mqtt_private_key_file: str = KEY_FILE


class EventBus(Section):
    printed_when_empty: ClassVar[frozenset[str]] = frozenset(
        {"enable", "mqtt_qos", "mqtt_retain", "mqtt_sub_client_id", "mqtt_pub_client_id", "mqtt_username"}
        | {"mqtt_password", "mqtt_mode"}
    )

    enable: bool = True
    mqtt_qos: UInt8 = field(default=0, name="mqttQOS")
    mqtt_retain: bool = False
    mqtt_session_queue_size: Int32 = 100
    mqtt_server_internal: str = "tcp://127.0.0.1:1884"
    mqtt_server_external: str = "tcp://127.0.0.1:1883"
    mqtt_sub_client_id: str = field(default="", name="mqttSubClientID")
    mqtt_pub_client_id: str = field(default="", name="mqttPubClientID")
    mqtt_username: str = ""
    mqtt_password: str = ""
    mqtt_mode: int = 2
    event_bus_tls: EventBusTls = field(default_factory=EventBusTls, name="eventBusTLS")


class MetaServer(Section):
    printed_when_empty: ClassVar[frozenset[str]] = frozenset({"enable", "api_audiences", "service_account_key_files"})

    enable: bool = False
    server: str = "127.0.0.1:10550"
    tls_ca_file: str = CA_FILE
    tls_cert_file: str = CERT_FILE
    tls_private_key_file: str = KEY_FILE
    service_account_issuers: list[str] = field(default_factory=lambda: ["https://kubernetes.default.svc.cluster.local"])
    api_audiences: list[str] | None = None
    service_account_key_files: list[str] | None = None
    dummy_server: str = "169.254.30.10:10550"


class MetaManager(Section):
    enable: bool = True
    context_send_group: str = "hub"
    context_send_module: str = "websocket"
    remote_query_timeout: Int32 = 60
    meta_server: MetaServer = field(default_factory=MetaServer)


class ServiceBus(Section):
    enable: bool = False
    server: str = "127.0.0.1"
    port: int = 9060
    timeout: int = 60
    tls_cert_file: str = ""
    tls_private_key_file: str = ""


class DeviceTwin(Section):
    """The last two are ours: calls of all mappers together, each second and at once; 0 for what the module gives."""

    enable: bool = True
    dmi_sock_path: str = "/etc/kubeedge/"
    dmi_requests_per_second: Int32 = 0
    dmi_request_burst: Int32 = 0


class DbTest(Section):
    enable: bool = False


class EdgeStream(Section):
    enable: bool = False
    tls_tunnel_ca_file: str = field(default=CA_FILE, name="tlsTunnelCAFile")
    tls_tunnel_cert_file: str = CERT_FILE
    tls_tunnel_private_key_file: str = KEY_FILE
    handshake_timeout: Int32 = 30
    read_deadline: Int32 = 15
    server: str = "127.0.0.1:10004"
    write_deadline: Int32 = 15


class TaskManager(Section):
    enable: bool = False


class Modules(Section):
    edged: Edged = field(default_factory=Edged)
    edge_hub: EdgeHub = field(default_factory=EdgeHub)
    event_bus: EventBus = field(default_factory=EventBus)
    meta_manager: MetaManager = field(default_factory=MetaManager)
    service_bus: ServiceBus = field(default_factory=ServiceBus)
    device_twin: DeviceTwin = field(default_factory=DeviceTwin)
    db_test: DbTest = field(default_factory=DbTest)
    edge_stream: EdgeStream = field(default_factory=EdgeStream)
    task_manager: TaskManager = field(default_factory=TaskManager)


class EdgeCore(Section):
    """The whole file. Times are integers in seconds, except Durations (spec 02 §2.1)."""

    printed_when_empty: ClassVar[frozenset[str]] = frozenset({"edgecore_version"})

    api_version: str = API_VERSION
    kind: str = KIND
    database: DataBase = field(default_factory=DataBase)
    modules: Modules = field(default_factory=Modules)
    feature_gates: dict[str, bool] = field(default_factory=dict)
    edgecore_version: str = ""


_MINIMAL_KEYS = {
    "apiVersion": None,
    "database": "dataSource",
    "edgecoreVersion": None,
    "kind": None,
    "modules": {
        "deviceTwin": "dmiSockPath enable",
        "edgeHub": "enable heartbeat httpServer tlsCaFile tlsCertFile tlsPrivateKeyFile token websocket",
        "edged": None,
        "eventBus": "enable mqttMode mqttPassword mqttPubClientID mqttQOS mqttRetain mqttServerExternal"
        " mqttServerInternal mqttSubClientID mqttUsername",
    },
}


def load(path: Path) -> tuple[EdgeCore, list[Problem]]:
    """Read, check and return the configuration, and what is strange but harmless in it (unknown keys).

    Creates the folder of the database. Raises ConfigError with every problem found.
    """
    return document.load(path, EdgeCore(), rules.edgecore)


def default_document() -> dict[str, Any]:
    """Return what `--defaultconfig` prints."""
    return encode(EdgeCore())


def minimal_document() -> dict[str, Any]:
    """Return what `--minconfig` prints: as upstream's, but with the main modules enabled (spec 02 Q1)."""
    return document.select(encode(EdgeCore()), _MINIMAL_KEYS)
