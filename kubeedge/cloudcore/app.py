"""cloudcore as a whole: its modules made, joined on the bus and run. The only place that knows them all."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

from kubeedge.bus import Bus
from kubeedge.cloudcore.devicecontroller import device
from kubeedge.cloudcore.devicecontroller.controller import DeviceController
from kubeedge.cloudcore.edgecontroller.controller import EdgeController
from kubeedge.cloudcore.edgecontroller.node import by_node, has_annotation
from kubeedge.cloudcore.httpserver.material import MaterialError, Sources
from kubeedge.cloudcore.httpserver.service import CertificateService, Settings
from kubeedge.cloudcore.hub.hub import CloudHub
from kubeedge.cloudcore.monitor import monitor
from kubeedge.cloudcore.synccontroller import sync
from kubeedge.cloudcore.synccontroller.controller import SyncController, always_belongs
from kubeedge.config import cloudcore as configuration
from kubeedge.config.host import cores, local_address
from kubeedge.daemon import CannotStartError
from kubeedge.kube.api import ApiError, ApiUnavailableError
from kubeedge.kube.caches import Caches
from kubeedge.kube.client import HttpApi
from kubeedge.kube.crds import ensure_installed
from kubeedge.kube.informer import Informer
from kubeedge.kube.kinds import (
    CLUSTER_OBJECT_SYNC,
    CONFIG_MAP,
    DEVICE,
    DEVICE_MODEL,
    DEVICE_STATUS,
    NODE,
    OBJECT_SYNC,
    POD,
    SECRET,
)
from kubeedge.kube.kubeconfig import Access
from kubeedge.pki.authority import Authority
from kubeedge.pki.pem import PkiError

log = logging.getLogger(__name__)

# Between two attempts to reach an API that is away, and between two reminders that a cache is still empty.
RETRY_S = 2.0
REMIND_S = 15.0


class CloudCore:
    """One replica of cloudcore.

    Before `ready` it waits for the Kubernetes API for as long as that takes; afterwards it lives through outages.
    """

    def __init__(self, config: configuration.CloudCore, access: Access) -> None:
        self.ready = asyncio.Event()
        self.hub_port = 0
        """Port of CloudHub, from ready on."""
        self._config = config.modules
        self._install_crds = config.kube_api_config.install_crds
        self._access = access
        self._local_ip = local_address()
        self._api = HttpApi(access)
        self._caches = Caches(self._api)
        self._bus = Bus()
        self._certificates = CertificateService(self._api, self._bus, _certificate_settings(self._config.cloud_hub))
        self._monitor = monitor(config.common_config.monitor_server.bind_address, self.ready.is_set)

    @property
    def authority(self) -> Authority:
        """The CA of edge nodes, from ready on."""
        return self._certificates.authority

    @property
    def certificate_port(self) -> int:
        """Port of the certificate service, from ready on."""
        return self._certificates.port

    @property
    def monitor_port(self) -> int:
        """Port of the monitor server, from ready on."""
        return self._monitor.port

    async def run(self) -> None:
        """Serve until cancelled. Raises CannotStartError, inside an exception group."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(_listening(self._monitor.run, "monitor server"))
                group.create_task(self._caches.run())
                await self._join(group)
        finally:
            self._api.close()

    async def _join(self, group: asyncio.TaskGroup) -> None:
        _check_modules(self._config)
        await self._prepare()
        caches, bus, api, modules = self._caches, self._bus, self._api, self._config
        sync_indexes = {"node": sync.by_node, "object": sync.by_object}
        object_syncs = caches.open(OBJECT_SYNC, indexes=sync_indexes)
        cluster_syncs = caches.open(CLUSTER_OBJECT_SYNC, indexes=sync_indexes)
        nodes = caches.open(NODE)
        pods = caches.open(POD, field_selector="spec.nodeName!=", indexes={"node": by_node})
        config_maps, secrets = caches.open(CONFIG_MAP), caches.open(SECRET)
        informers = [object_syncs, cluster_syncs, nodes, pods, config_maps, secrets]
        authorization = modules.cloud_hub.authorization
        impersonate = authorization.enable and not authorization.debug

        hub = CloudHub(
            bus,
            api,
            self._certificates.hub_credentials(),
            sync.SyncVersions(object_syncs, cluster_syncs),
            host=modules.cloud_hub.websocket.address,
            port=modules.cloud_hub.websocket.port,
            node_limit=modules.cloud_hub.node_limit,
            keepalive_timeout_s=modules.cloud_hub.keepalive_interval,
            write_timeout_s=modules.cloud_hub.write_timeout,
            local_ip=self._local_ip,
            cluster_ca=self._access.ca_pem,
            is_annotated=partial(has_annotation, nodes, self._local_ip),
            workers=modules.cloud_hub.workers or cores(),
        )
        belongs = always_belongs
        if modules.device_controller.enable:
            device_indexes = {"node": device.by_node, "use": device.by_use, "model": device.by_model}
            devices = caches.open(DEVICE, indexes=device_indexes)
            models, statuses = caches.open(DEVICE_MODEL), caches.open(DEVICE_STATUS)
            informers += [devices, models, statuses]
            device_controller = DeviceController(bus, api, devices, models, statuses, impersonate=impersonate)
            belongs = device_controller.belongs
            group.create_task(device_controller.run())
        if modules.sync_controller.enable:
            sync_controller = SyncController(
                bus, api, caches, nodes, object_syncs, cluster_syncs, is_connected=hub.is_connected, belongs=belongs
            )
            group.create_task(sync_controller.run())
        if modules.edge_controller.enable:
            edge_controller = EdgeController(
                bus,
                api,
                nodes,
                pods,
                config_maps,
                secrets,
                local_ip=self._local_ip,
                heartbeat_s=modules.edge_controller.node_update_frequency,
                impersonate=impersonate,
            )
            group.create_task(edge_controller.run())

        # What a node has acked must be known before anything is sent to it (spec 01 §3.1).
        for informer in informers:
            await _synced(informer)
        try:
            self.hub_port = hub.bind()
        except OSError as error:
            raise CannotStartError(f"CloudHub cannot listen: {error}") from error
        group.create_task(hub.run())
        group.create_task(_listening(self._certificates.run, "certificate service"))
        await self._certificates.listening.wait()
        self.ready.set()
        log.info("ready hub_port=%d certificate_port=%d", self.hub_port, self.certificate_port)

    async def _prepare(self) -> None:
        """Make what must be there before anything is listened on; wait for an API that is away."""
        told = ""
        while True:
            try:
                if self._install_crds:
                    await ensure_installed(self._api)
                await self._certificates.prepare()
                return
            except (MaterialError, PkiError) as error:
                raise CannotStartError(str(error)) from error
            except ApiError as error:
                if error.code < 500 and error.code != 429:
                    raise CannotStartError(f"the Kubernetes API refuses: {error}") from error
                reason = str(error)
            except (ApiUnavailableError, TimeoutError) as error:
                reason = str(error) or "time-out"
            if reason != told:
                log.warning("waiting for the Kubernetes API reason=%s", reason)
                told = reason
            await asyncio.sleep(RETRY_S)


def _check_modules(modules: configuration.Modules) -> None:
    """Say what of the configuration is not done. Raises CannotStartError when nothing would be left to do."""
    if not modules.cloud_hub.enable:
        raise CannotStartError("modules.cloudHub.enable is false: no node could connect")
    if not modules.cloud_hub.websocket.enable:
        raise CannotStartError("modules.cloudHub.websocket.enable is false, and QUIC is not supported")
    for name, is_enabled in (
        ("cloudHub.quic", modules.cloud_hub.quic.enable),
        ("taskManager", modules.task_manager.enable),
        ("dynamicController", modules.dynamic_controller.enable),
        ("cloudStream", modules.cloud_stream.enable),
        ("router", modules.router.enable),
    ):
        if is_enabled:
            log.warning("module is enabled and not part of this version module=%s", name)


def _certificate_settings(hub: configuration.CloudHub) -> Settings:
    return Settings(
        sources=Sources(
            ca_file=Path(hub.tls_ca_file),
            ca_key_file=Path(hub.tls_ca_key_file),
            certificate_file=Path(hub.tls_cert_file),
            key_file=Path(hub.tls_private_key_file),
            addresses=hub.advertise_address,
            dns_names=hub.dns_names,
        ),
        address=hub.https.address,
        port=hub.https.port,
        certificate_days=hub.edge_cert_signing_duration,
        token_refresh_hours=hub.token_refresh_duration,
        require_node_certificate=hub.https.require_node_certificate,
    )


async def _synced(informer: Informer) -> None:
    while True:
        try:
            async with asyncio.timeout(REMIND_S):
                await informer.synced()
            return
        except TimeoutError:
            log.warning(
                "waiting for a first list kind=%s hint=is the kind installed and may it be listed?",
                informer.kind.plural,
            )


async def _listening(serve: Callable[[], Awaitable[None]], what: str) -> None:
    try:
        await serve()
    except OSError as error:
        raise CannotStartError(f"{what} cannot listen: {error}") from error
