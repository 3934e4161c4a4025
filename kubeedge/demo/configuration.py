"""The configuration files of the demo's cloudcore and edgecore: only what differs from the defaults."""

from __future__ import annotations

import socket
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

LOOPBACK = "127.0.0.1"
NODE_NAME = "edge-1"
# Of modules.eventBus.mqttMode (spec 04 §5.1).
INTERNAL_BROKER = 0
DISK_SIGNALS = ("nodefs.available", "nodefs.inodesFree", "imagefs.available", "imagefs.inodesFree")


@dataclass(slots=True)
class Ports:
    """Where the programs listen on this machine."""

    api: int
    hub: int
    certificates: int
    monitor: int
    edged: int
    broker: int
    thermometer: int
    mapper: int


def free_ports() -> Ports:
    """Find ports that nobody listens on. All are held until the last is found, so they differ."""
    held = [socket.create_server((LOOPBACK, 0)) for _ in fields(Ports)]
    try:
        return Ports(*(one.getsockname()[1] for one in held))
    finally:
        for one in held:
            one.close()


def cloudcore(folder: Path, ports: Ports, kubeconfig: Path) -> dict[str, Any]:
    """Return cloudcore.yaml for a cloud whose files lie in folder."""
    return {
        "apiVersion": "cloudcore.config.kubeedge.io/v1alpha1",
        "kind": "CloudCore",
        "commonConfig": {"monitorServer": {"bindAddress": f"{LOOPBACK}:{ports.monitor}"}},
        "kubeAPIConfig": {"kubeConfig": str(kubeconfig), "installCRDs": True},
        "modules": {
            "cloudHub": {
                "advertiseAddress": [LOOPBACK],
                "workers": 1,
                "https": {"address": LOOPBACK, "port": ports.certificates},
                "websocket": {"address": LOOPBACK, "port": ports.hub},
                "unixsocket": {"enable": False, "address": f"unix://{folder}/cloudcore.sock"},
                "tlsCAFile": str(folder / "ca.crt"),
                "tlsCAKeyFile": str(folder / "ca.key"),
                "tlsCertFile": str(folder / "server.crt"),
                "tlsPrivateKeyFile": str(folder / "server.key"),
            },
            "iptablesManager": {"enable": False},
        },
    }


def process_endpoint(folder: Path) -> str:
    """Return the endpoint of a runtime that runs local processes, for a node whose files lie in folder."""
    return f"process://{folder}/containers"


def edgecore(
    folder: Path, ports: Ports, token: str, endpoint: str = "", cgroup: str = "", *, has_devices: bool = False
) -> dict[str, Any]:
    """Return edgecore.yaml for a node whose files lie in folder; token lets it join.

    endpoint is that of its runtime, by default local processes. cgroup names the control group of all its pods.
    With devices it has DeviceTwin, the DMI in folder and a broker of its own: none has to be installed.
    """
    return {
        "apiVersion": "edgecore.config.kubeedge.io/v1alpha2",
        "kind": "EdgeCore",
        "database": {"dataSource": str(folder / "edgecore.db")},
        "modules": {
            "edgeHub": {
                "httpServer": f"https://{LOOPBACK}:{ports.certificates}",
                "websocket": {"server": f"{LOOPBACK}:{ports.hub}"},
                "token": token,
                "bootstrapFile": str(folder / "bootstrap.conf"),
                "tlsCaFile": str(folder / "certs" / "ca.crt"),
                "tlsCertFile": str(folder / "certs" / "node.crt"),
                "tlsPrivateKeyFile": str(folder / "certs" / "node.key"),
            },
            "edged": {
                "hostnameOverride": NODE_NAME,
                "nodeIP": LOOPBACK,
                "rootDirectory": str(folder / "kubelet"),
                "reportEvent": True,
                "tailoredKubeletConfig": {
                    "containerRuntimeEndpoint": endpoint or process_endpoint(folder),
                    **({"cgroupRoot": f"/{cgroup}"} if cgroup else {}),
                    "staticPodPath": str(folder / "manifests"),
                    "podLogsDir": str(folder / "logs"),
                    "readOnlyPort": ports.edged,
                    # A laptop's disk is often fuller than a gateway's may be; the demo must not lose its pods for that.
                    # What is not named here keeps its default (spec 02 §2).
                    "evictionHard": {"memory.available": "1Mi", **dict.fromkeys(DISK_SIGNALS, "0%")},
                },
            },
            "eventBus": {
                "enable": has_devices,
                "mqttMode": INTERNAL_BROKER,
                "mqttServerInternal": f"tcp://{LOOPBACK}:{ports.broker}",
            },
            "deviceTwin": {"enable": has_devices, "dmiSockPath": str(folder)},
        },
    }


def mapper(folder: Path, ports: Ports) -> dict[str, Any]:
    """Return the file of the Modbus mapper of a node whose files lie in folder."""
    return {
        "grpc_server": {"socket_path": str(folder / "modbus.sock")},
        "common": {
            "name": "modbus-mapper",
            "protocol": "modbus",
            "edgecore_sock": str(folder / "dmi.sock"),
            "http_port": ports.mapper,
        },
    }
