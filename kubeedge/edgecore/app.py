"""edgecore as a whole: its modules made, joined on the bus and run. The only place that knows them all."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from kubeedge.bus import Bus
from kubeedge.config import edgecore as configuration
from kubeedge.config.errors import ConfigError, Problem
from kubeedge.config.join import forget_token, join_token, record_version
from kubeedge.config.kubelet import CONTAINERD, TailoredKubeletConfig
from kubeedge.daemon import CannotStartError
from kubeedge.edgecore.certificate import keeper
from kubeedge.edgecore.certificate.keeper import CertificateError, CertificateKeeper
from kubeedge.edgecore.devicetwin import schema as twin_schema
from kubeedge.edgecore.devicetwin.devicetwin import DeviceTwin
from kubeedge.edgecore.dmi import dmi
from kubeedge.edgecore.dmi.listener import socket_path
from kubeedge.edgecore.edged.backoff import MAXIMUM_S
from kubeedge.edgecore.edged.edged import Edged, Settings
from kubeedge.edgecore.edged.image_retention import Retention
from kubeedge.edgecore.edged.network import ClusterDns
from kubeedge.edgecore.edged.runtime.interface import Runtime
from kubeedge.edgecore.eventbus import subscriptions
from kubeedge.edgecore.hub.hub import EdgeHub
from kubeedge.edgecore.metamanager.metamanager import MetaManager
from kubeedge.edgecore.metamanager.schema import SCHEMA
from kubeedge.kube import quantity
from kubeedge.store.database import Database, StoreError

if TYPE_CHECKING:
    from kubeedge.edgecore.eventbus.eventbus import EventBus

log = logging.getLogger(__name__)

# Set to `false` it lets edgecore start beside a kubelet (spec 05 §8.1).
CHECK_ENVIRONMENT = "CHECK_EDGECORE_ENVIRONMENT"
# Scheme of the endpoint of a node without a container engine.
PROCESS = "process"
# Where the process runtime keeps its containers when the endpoint names no folder: beside the database.
PROCESS_FOLDER = "containers"
# Values of `modules.eventBus.mqttMode`.
INTERNAL_BROKER, BOTH_BROKERS, EXTERNAL_BROKER = range(3)


class EdgeCore:
    """One node. The cloud is only needed for the first certificate: everything else works without it."""

    def __init__(self, config: configuration.EdgeCore, config_path: Path) -> None:
        self._config = config
        self._config_path = config_path
        modules = config.modules
        self._bus = Bus()
        schema = SCHEMA + twin_schema.SCHEMA + subscriptions.SCHEMA
        self._database = Database(Path(config.database.data_source), schema=schema)
        self._keeper = CertificateKeeper(_certificate_settings(config), lambda: join_token(config))
        self._hub = _hub(self._bus, config, self._keeper)
        self._metamanager = MetaManager(
            self._bus,
            self._database,
            self._hub.connected.is_set,
            remote_query_timeout_s=modules.meta_manager.remote_query_timeout,
        )
        self._device_twin: DeviceTwin | None = None
        self._dmi: dmi.Dmi | None = None
        if modules.device_twin.enable:
            self._device_twin = DeviceTwin(self._bus, self._database, modules.edged.hostname_override)
            self._dmi = _dmi(self._bus, self._database, modules.device_twin)
        self._runtime: Runtime | None = None
        self._edged: Edged | None = None
        if modules.edged.enable:
            self._runtime = _runtime(config)
            settings = _edged_settings(config, config_path)
            self._edged = Edged(self._bus, self._runtime, settings, service_address=_service_address)
        self._event_bus: EventBus | None = None
        if modules.event_bus.enable:
            self._event_bus = _event_bus(self._bus, self._database, config, config_path)

    async def run(self) -> None:
        """Run the node until cancelled. Raises CannotStartError, inside an exception group."""
        _check_environment(self._config)
        try:
            self._database.open()
        except StoreError as error:
            raise CannotStartError(str(error)) from error
        try:
            self._note_version()
            async with asyncio.TaskGroup() as group:
                group.create_task(self._metamanager.run())
                if self._device_twin is not None:
                    group.create_task(self._device_twin.run())
                if self._dmi is not None:
                    group.create_task(self._dmi.run())
                if self._runtime is not None and self._edged is not None:
                    group.create_task(self._runtime.run())
                    group.create_task(_preparing(self._edged))
                if self._event_bus is not None:
                    group.create_task(self._event_bus.run())
                if self._config.modules.edge_hub.enable:
                    group.create_task(self._join_cloud())
        finally:
            await self._database.close()

    async def _join_cloud(self) -> None:
        """Get a certificate if there is none, then stay connected and keep the certificate good."""
        try:
            is_new = await self._keeper.ensure()
        except CertificateError as error:
            raise CannotStartError(f"node cannot join the cloud: {error}") from error
        if is_new:
            self._forget_token()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._hub.run())
            group.create_task(self._keeper.run(lambda: self._hub.reconnect("certificate renewed")))

    def _note_version(self) -> None:
        try:
            record_version(self._config_path, self._config)
        except ConfigError as error:
            log.warning("version not noted in the configuration reason=%s", error.reason)

    def _forget_token(self) -> None:
        try:
            forget_token(self._config_path, self._config)
        except ConfigError as error:
            log.warning("token not taken out of the configuration reason=%s", error.reason)


async def _preparing(edged: Edged) -> None:
    try:
        await edged.run()
    except OSError as error:
        raise CannotStartError(f"edged cannot make its folders: {error}") from error


def _check_environment(config: configuration.EdgeCore) -> None:
    """Refuse to start beside a kubelet: both would manage the same pods' folders (spec 05 §1)."""
    if os.environ.get(CHECK_ENVIRONMENT) == "false" or config.modules.meta_manager.meta_server.enable:
        return
    if any(name == "kubelet" for name in _process_names()):
        raise CannotStartError("a kubelet runs on this machine; stop it before edgecore is started")


def _process_names() -> Iterator[str]:
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                yield (folder / "comm").read_text().strip()
            except OSError:
                # Ended since it was listed.
                continue


def _certificate_settings(config: configuration.EdgeCore) -> keeper.Settings:
    hub = config.modules.edge_hub
    return keeper.Settings(
        node=config.modules.edged.hostname_override,
        url=hub.http_server,
        ca_file=Path(hub.tls_ca_file),
        certificate_file=Path(hub.tls_cert_file),
        key_file=Path(hub.tls_private_key_file),
        rotate=hub.rotate_certificates,
    )


def _hub(bus: Bus, config: configuration.EdgeCore, certificates: CertificateKeeper) -> EdgeHub:
    hub = config.modules.edge_hub
    return EdgeHub(
        bus,
        config.modules.edged.hostname_override,
        hub.websocket.server,
        certificates.ssl_context,
        project_id=hub.project_id,
        heartbeat_s=hub.heartbeat,
        message_qps=hub.message_qps,
        message_burst=hub.message_burst,
        handshake_timeout_s=hub.websocket.handshake_timeout,
        write_timeout_s=hub.websocket.write_deadline,
    )


def _runtime(config: configuration.EdgeCore) -> Runtime:
    """Return the runtime that the endpoint names; anything but process:// is the socket of a container engine.

    The other one is not imported: a node does without its memory, most of it that of gRPC.
    """
    edged = config.modules.edged
    kubelet = edged.tailored_kubelet_config
    endpoint = urlsplit(kubelet.container_runtime_endpoint)
    if endpoint.scheme == PROCESS:
        from kubeedge.edgecore.edged.runtime.process.runtime import ProcessRuntime

        folder = Path(endpoint.path) if endpoint.path.strip("/") else _beside_database(config, PROCESS_FOLDER)
        return ProcessRuntime(folder, node_ip=edged.node_ip)
    from kubeedge.edgecore.edged.runtime.cri.runtime import CriRuntime

    seccomp_folder = Path(edged.root_directory) / "seccomp"
    # The default of both is containerd's: who names another engine alone means its images as well.
    images = kubelet.image_service_endpoint
    return CriRuntime(
        kubelet.container_runtime_endpoint,
        None if images == CONTAINERD else images,
        seccomp_folder=seccomp_folder,
        cgroup_root=kubelet.cgroup_root,
    )


def _event_bus(bus: Bus, database: Database, config: configuration.EdgeCore, config_path: Path) -> EventBus:
    """Return EventBus with the brokers of its mode. Raises ConfigError for an address that is none.

    Nothing of MQTT is imported when the module is off, and nothing of a broker when it is not to be one.
    """
    from kubeedge.edgecore.eventbus import address, external
    from kubeedge.edgecore.eventbus.broker import Broker
    from kubeedge.edgecore.eventbus.eventbus import EventBus

    settings = config.modules.event_bus
    node = config.modules.edged.hostname_override
    brokers: list[Broker] = []
    try:
        if settings.mqtt_mode in (INTERNAL_BROKER, BOTH_BROKERS):
            from kubeedge.edgecore.eventbus.internal import InternalBroker

            key = "mqttServerInternal"
            place = address.parse(settings.mqtt_server_internal)
            if place.is_secure:
                raise address.AddressError(f"{settings.mqtt_server_internal}: there is no certificate for it")
            brokers.append(
                InternalBroker(
                    place,
                    quality=settings.mqtt_qos,
                    is_retained=settings.mqtt_retain,
                    queue_size=settings.mqtt_session_queue_size,
                )
            )
        if settings.mqtt_mode in (BOTH_BROKERS, EXTERNAL_BROKER):
            key = "mqttServerExternal"
            place = address.parse(settings.mqtt_server_external)
            tls = settings.event_bus_tls
            files = address.Tls(
                Path(tls.tls_mqtt_ca_file), Path(tls.tls_mqtt_cert_file), Path(tls.tls_mqtt_private_key_file)
            )
            brokers.append(
                external.ExternalBroker(
                    place,
                    settings.mqtt_sub_client_id or external.client_id(node),
                    username=settings.mqtt_username,
                    password=settings.mqtt_password,
                    tls=files if tls.enable else None,
                )
            )
    except address.AddressError as error:
        raise ConfigError(config_path, [Problem(f"modules.eventBus.{key}", str(error))]) from None
    return EventBus(bus, database, brokers, node)


def _dmi(bus: Bus, database: Database, settings: configuration.DeviceTwin) -> dmi.Dmi:
    return dmi.Dmi(
        bus,
        database,
        socket_path(settings.dmi_sock_path),
        requests_per_second=settings.dmi_requests_per_second or dmi.REQUESTS_PER_S,
        burst=settings.dmi_request_burst or dmi.REQUEST_BURST,
    )


def _beside_database(config: configuration.EdgeCore, name: str) -> Path:
    return Path(config.database.data_source).resolve().parent / name


def _service_address() -> tuple[str, str]:
    """Return where containers find the node's own API: what MetaServer puts into the environment (spec 05 E1)."""
    return os.environ.get("METASERVER_DUMMY_IP", ""), os.environ.get("METASERVER_DUMMY_PORT", "")


def _edged_settings(config: configuration.EdgeCore, config_path: Path) -> Settings:
    """Return how edged is set up. Raises ConfigError for a quantity that is none."""
    edged = config.modules.edged
    kubelet = edged.tailored_kubelet_config
    return Settings(
        node_name=edged.hostname_override,
        root_directory=Path(edged.root_directory),
        logs_directory=Path(kubelet.pod_logs_dir),
        node_ip=edged.node_ip,
        pod_query_namespace=edged.register_node_namespace,
        node_labels=edged.node_labels,
        taints=_taints(kubelet),
        registers=kubelet.register_node,
        is_schedulable=edged.register_schedulable,
        has_attach_detach_controller=kubelet.enable_controller_attach_detach,
        server_address=kubelet.address,
        server_port=kubelet.read_only_port or None,
        max_pods=kubelet.max_pods,
        sync_frequency_s=kubelet.sync_frequency,
        status_update_s=kubelet.node_status_update_frequency,
        status_report_s=kubelet.node_status_report_frequency,
        lease_duration_s=kubelet.node_lease_duration_seconds,
        cgroup_driver=kubelet.cgroup_driver,
        cgroup_root=kubelet.cgroup_root,
        cluster_dns=ClusterDns(kubelet.cluster_dns, kubelet.cluster_domain, kubelet.resolv_conf),
        reserved=(kubelet.system_reserved, kubelet.kube_reserved),
        eviction_hard=kubelet.eviction_hard,
        pressure_transition_s=kubelet.eviction_pressure_transition_period,
        dead_containers_kept=max(edged.max_per_pod_container_count, 0),
        crash_backoff_max_s=kubelet.crash_loop_back_off.max_container_restart_period or MAXIMUM_S,
        log_max_size_bytes=_bytes(config_path, "containerLogMaxSize", kubelet.container_log_max_size),
        log_max_files=kubelet.container_log_max_files,
        image_retention=Retention(
            high_percent=kubelet.image_gc_high_threshold_percent,
            low_percent=kubelet.image_gc_low_threshold_percent,
            minimum_age_s=kubelet.image_minimum_gc_age,
            maximum_age_s=kubelet.image_maximum_gc_age,
        ),
    )


def _bytes(config_path: Path, key: str, text: str) -> int:
    try:
        return quantity.whole(text)
    except quantity.QuantityError as error:
        problem = Problem(f"modules.edged.tailoredKubeletConfig.{key}", str(error))
        raise ConfigError(config_path, [problem]) from None


def _taints(kubelet: TailoredKubeletConfig) -> list[dict[str, object]]:
    return [
        {"key": taint.key, "effect": taint.effect, **({"value": taint.value} if taint.value else {})}
        for taint in kubelet.register_with_taints
    ]
