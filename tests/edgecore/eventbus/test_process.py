"""Whole edgecore processes with each kind of broker: an update goes in, its result comes out, the node ends cleanly."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import orjson
import pytest

from kubeedge.edgecore.eventbus.external import client_id
from tests.devicenode import NODE, DeviceNode, device_node
from tests.link.certificates import TestAuthority
from tests.mosquitto import PASSWORD, USER, Mosquitto, Reachable, TlsFiles, client, free_port, mosquitto
from tests.sites import until

TOPIC = "$hw/events/device/default/d1/twin/update"
MODE_INTERNAL, MODE_BOTH, MODE_EXTERNAL = range(3)
CONNECTED, LISTENS = "broker connected", "internal broker listens"


class Inside:
    """Where clients find the broker of a node."""

    with_password = False

    def __init__(self) -> None:
        self.port = free_port()
        self.url = f"tcp://127.0.0.1:{self.port}"


async def updates(broker: Reachable, value: str, **arguments: Any) -> None:
    """Update a twin and hear the result."""
    async with client(broker, f"tester-{value}", **arguments) as tester:
        await tester.subscribe(f"{TOPIC}/result")
        body = {"event_id": value, "twin": {"t": {"actual": {"value": value}, "metadata": {"type": "int"}}}}
        tester.publish(TOPIC, orjson.dumps(body))
        answer = orjson.loads((await tester.next()).payload)
        assert answer["event_id"] == value
        assert answer["twin"]["t"]["actual"]["value"] == value


def ends(node: DeviceNode) -> None:
    """End a node as systemd does."""
    began = time.monotonic()
    assert node.stop() == 0
    assert time.monotonic() - began < 5
    text = node.log.read_text()
    assert "Traceback" not in text
    assert " ERROR " not in text, text


async def test_node_is_its_own_broker(tmp_path: Path) -> None:
    inside = Inside()
    async with device_node(
        tmp_path, "tcp://127.0.0.1:1", mqttMode=MODE_INTERNAL, mqttServerInternal=inside.url, mqttQOS=1
    ) as node:
        node.know(["default/d1"])
        await node.start(LISTENS)
        await updates(inside, "1")
        ends(node)


async def test_node_serves_its_own_broker_and_another(tmp_path: Path) -> None:
    inside = Inside()
    with mosquitto(tmp_path / "broker") as outside:
        async with device_node(tmp_path, outside.url, mqttMode=MODE_BOTH, mqttServerInternal=inside.url) as node:
            node.know(["default/d1"])
            await node.start(CONNECTED)
            await updates(outside, "1")
            await updates(inside, "2")
            ends(node)


async def test_node_shows_certificate_user_and_password(tmp_path: Path) -> None:
    authority = TestAuthority(tmp_path / "pki")
    server, own = authority.issue("broker", is_server=True), authority.issue("system:node:e1")
    tls = {
        "enable": True,
        "tlsMqttCAFile": str(authority.ca_file),
        "tlsMqttCertFile": str(own),
        "tlsMqttPrivateKeyFile": str(own),
    }
    files = TlsFiles(authority.ca_file, server, server)
    with mosquitto(tmp_path / "broker", tls=files, with_password=True) as broker:
        async with device_node(tmp_path, broker.url, eventBusTLS=tls, mqttUsername=USER, mqttPassword=PASSWORD) as node:
            node.know(["default/d1"])
            await node.start(CONNECTED)
            assert f"client={client_id(NODE)}" in node.log.read_text()
            assert PASSWORD not in node.log.read_text()
            ends(node)


async def test_configured_client_id_is_used(tmp_path: Path) -> None:
    with mosquitto(tmp_path / "broker") as broker:
        async with device_node(tmp_path, broker.url, mqttSubClientID="our-own") as node:
            await node.start(CONNECTED)
            assert "client=our-own" in node.log.read_text()
            ends(node)


async def test_node_without_a_broker_starts_says_so_once_and_ends_cleanly(tmp_path: Path) -> None:
    """Q28."""
    rig = Mosquitto(tmp_path / "late")
    async with device_node(tmp_path, rig.url) as node:
        node.know(["default/d1"])
        await node.start("broker not connected")
        rig.start()
        try:
            await until(lambda: CONNECTED in node.log.read_text())
            await updates(rig, "1")
            assert node.log.read_text().count("broker not connected") == 1
            ends(node)
        finally:
            rig.clean_up()


async def test_port_of_the_own_broker_in_use_ends_the_program(tmp_path: Path) -> None:
    with mosquitto(tmp_path / "broker") as other:
        node = DeviceNode(tmp_path, {"mqttMode": MODE_INTERNAL, "mqttServerInternal": other.url})
        done = run(node)
    assert done.returncode == 1
    assert f"internal MQTT broker cannot listen on 127.0.0.1:{other.port}" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("url", ["http://127.0.0.1:80", "127.0.0.1"])
def test_address_that_is_none_is_told_with_its_key(tmp_path: Path, url: str) -> None:
    node = DeviceNode(tmp_path, {"mqttServerExternal": url})
    done = run(node)
    assert done.returncode == 1
    assert "modules.eventBus.mqttServerExternal" in done.stderr
    assert "Traceback" not in done.stderr


def run(node: DeviceNode) -> subprocess.CompletedProcess[str]:
    """Run a node that is not to last."""
    command = [sys.executable, "-m", "kubeedge.edgecore", "--config", str(node.folder / "edgecore.yaml")]
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
