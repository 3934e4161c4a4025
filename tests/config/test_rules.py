"""What a configuration must fulfil before anything starts (spec 02 §2.6)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from kubeedge.config import rules
from kubeedge.config.cloudcore import CloudCore
from kubeedge.config.edgecore import EdgeCore


def change(config: Any, path: str, value: Any) -> None:
    *sections, name = path.split(".")
    for section in sections:
        config = getattr(config, section)
    assert hasattr(config, name)
    setattr(config, name, value)


@pytest.fixture
def cloud(tmp_path: Path) -> CloudCore:
    config = CloudCore()
    change(config, "modules.cloud_hub.unix_socket.address", f"unix://{tmp_path}/sockets/k.sock")
    return config


@pytest.fixture
def edge(tmp_path: Path) -> EdgeCore:
    config = EdgeCore()
    change(config, "database.data_source", str(tmp_path / "data" / "edgecore.db"))
    return config


def test_defaults_pass_and_their_folders_are_made(cloud: CloudCore, edge: EdgeCore, tmp_path: Path) -> None:
    assert list(rules.cloudcore(cloud)) == []
    assert list(rules.edgecore(edge)) == []
    assert (tmp_path / "sockets").is_dir()
    assert (tmp_path / "data").is_dir()


PORT = "must be between 1 and 65535, inclusive"
IP = "must be a valid IP address, (e.g. 10.9.8.7)"


@pytest.mark.parametrize(
    ("path", "value", "problem"),
    [
        ("modules.cloud_hub.websocket.port", 0, f"modules.cloudHub.websocket.port: Invalid value: 0: {PORT}"),
        ("modules.cloud_hub.https.port", 65536, f"modules.cloudHub.https.port: Invalid value: 65536: {PORT}"),
        ("modules.cloud_hub.quic.port", 0, f"modules.cloudHub.quic.port: Invalid value: 0: {PORT}"),
        ("modules.cloud_hub.websocket.address", "x", f'modules.cloudHub.websocket.address: Invalid value: "x": {IP}'),
        ("modules.cloud_hub.quic.address", "", f'modules.cloudHub.quic.address: Invalid value: "": {IP}'),
        (
            "modules.cloud_hub.unix_socket.address",
            "/tmp/x",
            'modules.cloudHub.unixsocket.address: Invalid value: "/tmp/x": must start with unix://',
        ),
        (
            "modules.cloud_hub.token_refresh_duration",
            0,
            "modules.cloudHub.tokenRefreshDuration: Invalid value: 0: must be greater than 0 (hours)",
        ),
        (
            "modules.cloud_hub.edge_cert_signing_duration",
            -1,
            "modules.cloudHub.edgeCertSigningDuration: Invalid value: -1: must be greater than 0 (days)",
        ),
        (
            "modules.cloud_hub.advertise_address",
            [],
            "modules.cloudHub.advertiseAddress: Required value: at least one address that edge nodes dial",
        ),
        (
            "modules.cloud_hub.keepalive_interval",
            0,
            "modules.cloudHub.keepaliveInterval: Invalid value: 0: must be greater than 0",
        ),
        (
            "modules.cloud_hub.workers",
            0,
            "modules.cloudHub.workers: Invalid value: 0: must be between 1 and 256, inclusive",
        ),
        (
            "modules.edge_controller.node_update_frequency",
            0,
            "modules.edgeController.nodeUpdateFrequency: Invalid value: 0: must be greater than 0",
        ),
        (
            "modules.iptables_manager.mode",
            "x",
            'modules.iptablesManager.mode: Invalid value: "x": must be internal or external',
        ),
        (
            "kube_api_config.kube_config",
            "config",
            'kubeAPIConfig.kubeConfig: Invalid value: "config": must be an absolute path',
        ),
        (
            "kube_api_config.kube_config",
            "/does/not/exist",
            'kubeAPIConfig.kubeConfig: Invalid value: "/does/not/exist": does not exist',
        ),
        (
            "common_config.monitor_server.bind_address",
            "9091",
            'commonConfig.monitorServer.bindAddress: Invalid value: "9091": must be IP:port',
        ),
        (
            "common_config.monitor_server.bind_address",
            "localhost:9091",
            f'commonConfig.monitorServer.bindAddress: Invalid value: "localhost": {IP}',
        ),
        (
            "common_config.monitor_server.bind_address",
            "[::1]:0",
            'commonConfig.monitorServer.bindAddress: Invalid value: "0": must be a valid port',
        ),
        (
            "feature_gates",
            {"RequireAuthorization": True},
            "featureGates.RequireAuthorization: unknown feature gate; known are AllAlpha, AllBeta, "
            "disableNodeTaskV1alpha2, moduleRestart, requireAuthorization",
        ),
    ],
)
def test_wrong_value_in_the_cloud_is_named(cloud: CloudCore, path: str, value: Any, problem: str) -> None:
    change(cloud, path, value)
    assert [str(found) for found in rules.cloudcore(cloud)] == [problem]


@pytest.mark.parametrize(
    ("path", "value", "problem"),
    [
        (
            "modules.edged.hostname_override",
            "Edge_1",
            'modules.edged.hostnameOverride: Invalid value: "Edge_1": must be a lower-case DNS name of at most 253 '
            "characters (letters, digits, '-' and '.')",
        ),
        (
            "modules.edged.tailored_kubelet_config.cgroup_driver",
            "x",
            'modules.edged.tailoredKubeletConfig.cgroupDriver: Invalid value: "x": must be cgroupfs or systemd',
        ),
        (
            "modules.edged.tailored_kubelet_config.image_gc_high_threshold_percent",
            101,
            "modules.edged.tailoredKubeletConfig.imageGCHighThresholdPercent: Invalid value: 101: "
            "must be between 0 and 100, inclusive",
        ),
        (
            "modules.edged.tailored_kubelet_config.image_gc_low_threshold_percent",
            86,
            "modules.edged.tailoredKubeletConfig.imageGCLowThresholdPercent: Invalid value: 86: "
            "must not be above imageGCHighThresholdPercent, 85",
        ),
        (
            "modules.edged.tailored_kubelet_config.container_runtime_endpoint",
            "tcp://x",
            'modules.edged.tailoredKubeletConfig.containerRuntimeEndpoint: Invalid value: "tcp://x": '
            "must start with unix:// or process://",
        ),
        ("modules.edged.node_ip", "x", f'modules.edged.nodeIP: Invalid value: "x": {IP}'),
        (
            "modules.edge_hub.websocket.enable",
            False,
            "modules.edgeHub.enable: exactly one of websocket and quic must be enabled, none is",
        ),
        (
            "modules.edge_hub.quic.enable",
            True,
            "modules.edgeHub.enable: exactly one of websocket and quic must be enabled, both are",
        ),
        (
            "modules.edge_hub.message_qps",
            -1,
            "modules.edgeHub.messageQPS: Invalid value: -1: must not be negative",
        ),
        (
            "modules.edge_hub.heartbeat",
            0,
            "modules.edgeHub.heartbeat: Invalid value: 0: must be greater than 0 (seconds)",
        ),
        (
            "modules.edge_hub.http_server",
            "http://x:10002",
            'modules.edgeHub.httpServer: Invalid value: "http://x:10002": must look like https://host:10002',
        ),
        (
            "modules.edge_hub.websocket.server",
            "wss://x",
            'modules.edgeHub.websocket.server: Invalid value: "wss://x": must be host:port',
        ),
        ("modules.event_bus.mqtt_mode", 3, "modules.eventBus.mqttMode: Invalid value: 3: must be 0, 1 or 2"),
        (
            "modules.meta_manager.remote_query_timeout",
            0,
            "modules.metaManager.remoteQueryTimeout: Invalid value: 0: must be greater than 0 (seconds)",
        ),
    ],
)
def test_wrong_value_at_the_edge_is_named(edge: EdgeCore, path: str, value: Any, problem: str) -> None:
    change(edge, path, value)
    assert [str(found) for found in rules.edgecore(edge)] == [problem]


def test_all_problems_are_listed(edge: EdgeCore) -> None:
    change(edge, "modules.edged.hostname_override", "X")
    change(edge, "modules.edge_hub.heartbeat", -1)
    change(edge, "modules.event_bus.mqtt_mode", 9)
    assert len(list(rules.edgecore(edge))) == 3


def test_module_that_is_off_is_not_checked(cloud: CloudCore, edge: EdgeCore) -> None:
    change(cloud, "modules.cloud_hub.websocket.port", 0)
    change(cloud, "modules.cloud_hub.enable", False)
    assert list(rules.cloudcore(cloud)) == []
    change(edge, "modules.edged.hostname_override", "X")
    change(edge, "modules.edged.enable", False)
    change(edge, "modules.event_bus.mqtt_mode", 9)
    change(edge, "modules.event_bus.enable", False)
    assert list(rules.edgecore(edge)) == []


@pytest.mark.parametrize("endpoint", ["unix:///run/x.sock", "/run/x.sock", "process://", "process:///var/lib/x"])
def test_runtimes_that_edged_can_drive(edge: EdgeCore, endpoint: str) -> None:
    change(edge, "modules.edged.tailored_kubelet_config.container_runtime_endpoint", endpoint)
    assert list(rules.edgecore(edge)) == []


def test_stream_needs_its_files(cloud: CloudCore, tmp_path: Path) -> None:
    change(cloud, "modules.cloud_stream.enable", True)
    names = ("tls_stream_ca_file", "tls_stream_cert_file", "tls_stream_private_key_file")
    for name in names:
        change(cloud, f"modules.cloud_stream.{name}", str(tmp_path / name))
    assert len(list(rules.cloudcore(cloud))) == 3
    for name in names:
        (tmp_path / name).touch()
    assert list(rules.cloudcore(cloud)) == []


def test_half_of_servicebus_tls_is_an_error(edge: EdgeCore) -> None:
    change(edge, "modules.service_bus.enable", True)
    change(edge, "modules.service_bus.tls_cert_file", "/x")
    assert [problem.path for problem in rules.edgecore(edge)] == ["modules.serviceBus"]


def test_folder_that_cannot_be_made_is_an_error(edge: EdgeCore, cloud: CloudCore, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    change(edge, "database.data_source", str(tmp_path / "file" / "x" / "edgecore.db"))
    (problem,) = rules.edgecore(edge)
    assert problem.path == "database.dataSource"
    assert "cannot be created" in problem.reason
    change(cloud, "modules.cloud_hub.unix_socket.address", f"UNIX://{tmp_path}/file/k.sock")
    (problem,) = rules.cloudcore(cloud)
    assert problem.path == "modules.cloudHub.unixsocket.address"
