"""cloudcore as a whole: how it starts, what keeps it from starting, and what does not stop it."""

from __future__ import annotations

import asyncio
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import orjson
import pytest
import yaml

from kubeedge import message
from kubeedge.apiserver.app import ApiServer, running
from kubeedge.cloudcore.app import CloudCore
from kubeedge.config import cloudcore as configuration
from kubeedge.daemon import CannotStartError
from kubeedge.kube.kinds import NODE, OBJECT_SYNC, POD
from kubeedge.kube.kubeconfig import load
from tests.embedded import embedded_apiserver
from tests.replay.link import LinkEdge, running_cloudcore

NODE_BODY = {"metadata": {"name": "e1", "labels": {"node-role.kubernetes.io/edge": ""}}}
POD_BODY = {
    "metadata": {"name": "web"},
    "spec": {"nodeName": "e1", "containers": [{"name": "c", "image": "busybox"}]},
}


def is_push(operation: str, resource: str) -> Any:
    """Return what tells a push of that operation and resource."""
    return lambda envelope: (
        envelope["route"]["operation"] == operation
        and envelope["route"].get("resource") == resource
        and "parent_msg_id" not in envelope["header"]
    )


def ack(envelope: dict[str, Any]) -> bytes:
    """Return the acknowledgement of a push."""
    return message.encode(
        message.new_message("edged", "resource", "response", "x", b'"OK"', parent_id=envelope["header"]["msg_id"])
    )


async def test_a_pod_reaches_its_node_and_its_acknowledgement_the_objectsync(tmp_path: Path) -> None:
    async with (
        embedded_apiserver(tmp_path / "api", "default") as server,
        running_cloudcore(server.kubeconfig, tmp_path) as cloudcore,
    ):

        async def cloud() -> CloudCore:
            return cloudcore

        await server.api.create(NODE, "", orjson.dumps(NODE_BODY))
        edge = LinkEdge(cloud)
        await edge.connect()
        async with asyncio.timeout(10):
            edge.send(ack(await edge.next(is_push("update", "null/node/e1"))))
            pod = orjson.loads(await server.api.create(POD, "default", orjson.dumps(POD_BODY)))
            push = await edge.next(is_push("insert", "default/pod/web"))
            assert push["content"]["metadata"]["uid"] == pod["metadata"]["uid"]
            edge.send(ack(push))
            while True:
                syncs = (await server.api.list(OBJECT_SYNC)).items
                status = orjson.loads(syncs[0]).get("status", {}) if syncs else {}
                if status.get("objectResourceVersion") == push["header"]["resourceversion"]:
                    break
                await asyncio.sleep(0.05)
        edge.close()


async def test_an_api_that_is_away_at_the_start_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("kubeedge.cloudcore.app.RETRY_S", 0.05)
    async with running(ApiServer(tmp_path / "api", with_controllers=False)) as server:
        kubeconfig, port = server.kubeconfig, server.port
    async with asyncio.TaskGroup() as group:
        cloud = group.create_task(_until_ready(kubeconfig, tmp_path))
        await asyncio.sleep(0.3)
        assert not cloud.done()
        waits = [record for record in caplog.records if "waiting for the Kubernetes API" in record.message]
        assert len(waits) == 1
        async with running(ApiServer(tmp_path / "api", port=port, with_controllers=False)), asyncio.timeout(10):
            await cloud


async def _until_ready(kubeconfig: Path, folder: Path) -> None:
    async with running_cloudcore(kubeconfig, folder) as cloudcore:
        assert cloudcore.ready.is_set()


async def test_it_lives_through_an_outage_of_the_api(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kubeedge.kube.informer.LONGEST_PAUSE_S", 0.2)
    async with embedded_apiserver(tmp_path / "api", "default") as server:
        port = server.port
        started = asyncio.get_running_loop().create_future()
        stop = asyncio.Event()

        async def serve() -> None:
            async with running_cloudcore(server.kubeconfig, tmp_path) as cloudcore:
                started.set_result(cloudcore)
                await stop.wait()

        await server.api.create(NODE, "", orjson.dumps(NODE_BODY))
        cloud = asyncio.ensure_future(serve())
        cloudcore: CloudCore = await started

        async def same() -> CloudCore:
            return cloudcore

        edge = LinkEdge(same)
        await edge.connect()
        async with asyncio.timeout(5):
            edge.send(ack(await edge.next(is_push("update", "null/node/e1"))))
    # Here the API is away: a request gets a Status, the session stays.
    query = message.new_message("edged", "meta", "query", "kube-node-lease/lease/e1")
    edge.send(message.encode(query))
    async with asyncio.timeout(5):
        answer = await edge.next(lambda envelope: envelope["header"].get("parent_msg_id") == query.id)
    assert answer["content"]["Err"]["ErrStatus"]["reason"] == "ServiceUnavailable"
    async with running(ApiServer(tmp_path / "api", port=port, with_controllers=False)) as server, asyncio.timeout(10):
        await server.api.create(POD, "default", orjson.dumps(POD_BODY))
        await edge.next(is_push("insert", "default/pod/web"))
        edge.close()
        stop.set()
        await cloud


async def test_a_port_in_use_is_told(tmp_path: Path) -> None:
    async with embedded_apiserver(tmp_path / "api") as server:
        with socket.create_server(("127.0.0.1", 0)) as used, pytest.raises(BaseExceptionGroup) as caught:
            async with running_cloudcore(server.kubeconfig, tmp_path, hub_port=used.getsockname()[1]):
                pass
        assert caught.group_contains(CannotStartError, match="CloudHub cannot listen.*in use", depth=None)


@pytest.mark.parametrize("part", ["cloud_hub", "websocket"])
async def test_a_configuration_that_leaves_nothing_to_do_is_refused(tmp_path: Path, part: str) -> None:
    async with embedded_apiserver(tmp_path / "api") as server:
        config = configuration.CloudCore()
        config.common_config.monitor_server.bind_address = "127.0.0.1:0"
        hub = config.modules.cloud_hub
        (hub if part == "cloud_hub" else hub.websocket).enable = False
        with pytest.raises(BaseExceptionGroup) as caught:
            await CloudCore(config, load(server.kubeconfig)).run()
        assert caught.group_contains(CannotStartError, match="enable is false", depth=None)


async def test_an_api_that_refuses_us_is_told(tmp_path: Path) -> None:
    async with embedded_apiserver(tmp_path / "api") as server:
        access = load(server.kubeconfig)
        document = yaml.safe_load(server.kubeconfig.read_text())
        document["users"][0]["user"] = {"token": "not-a-token"}
        (tmp_path / "wrong").write_text(yaml.safe_dump(document))
        assert access.tls is not None
        with pytest.raises(BaseExceptionGroup) as caught:
            async with running_cloudcore(tmp_path / "wrong", tmp_path):
                pass
        assert caught.group_contains(CannotStartError, match="Unauthorized", depth=None)


class TestProgram:
    """The command line, in a process of its own."""

    @staticmethod
    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        """Run cloudcore until it ends."""
        command = [sys.executable, "-m", "kubeedge.cloudcore", *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)

    @staticmethod
    def configuration(folder: Path, kubeconfig: Path) -> Path:
        """Write a configuration with free ports."""
        ports = []
        for _ in range(3):
            with socket.create_server(("127.0.0.1", 0)) as free:
                ports.append(free.getsockname()[1])
        files = {
            key: str(folder / "none" / key) for key in ("tlsCAFile", "tlsCAKeyFile", "tlsCertFile", "tlsPrivateKeyFile")
        }
        hub = {
            "advertiseAddress": ["127.0.0.1"],
            "websocket": {"address": "127.0.0.1", "port": ports[0]},
            "https": {"address": "127.0.0.1", "port": ports[1]},
            "unixsocket": {"enable": False, "address": f"unix://{folder}/k.sock"},
            **files,
        }
        document = {
            "apiVersion": "cloudcore.config.kubeedge.io/v1alpha1",
            "kind": "CloudCore",
            "commonConfig": {"monitorServer": {"bindAddress": f"127.0.0.1:{ports[2]}"}},
            "kubeAPIConfig": {"kubeConfig": str(kubeconfig), "installCRDs": True},
            "modules": {"cloudHub": hub},
        }
        path = folder / "cloudcore.yaml"
        path.write_text(yaml.safe_dump(document))
        return path

    def test_version_and_help_are_told(self) -> None:
        assert "v1.23.0" in self.run("--version").stdout
        assert "--config" in self.run("--help").stdout
        assert self.run("--nonsense").returncode == 1

    def test_a_kubeconfig_that_cannot_be_used_is_named_with_the_reason(self, tmp_path: Path) -> None:
        (tmp_path / "kubeconfig").write_text("current-context: x")
        result = self.run("--config", str(self.configuration(tmp_path, tmp_path / "kubeconfig")))
        assert result.returncode == 1
        assert f"{tmp_path}/kubeconfig: contexts has no context 'x'" in result.stderr
        assert "Traceback" not in result.stderr

    def test_a_wrong_configuration_starts_nothing(self, tmp_path: Path) -> None:
        (tmp_path / "c.yaml").write_text("modules: {cloudHub: {websocket: {port: many}}}")
        result = self.run("--config", str(tmp_path / "c.yaml"))
        assert result.returncode == 1
        assert "modules.cloudHub.websocket.port" in result.stderr

    async def test_it_serves_until_a_signal(self, tmp_path: Path) -> None:
        async with embedded_apiserver(tmp_path / "api") as server:
            path = self.configuration(tmp_path, server.kubeconfig)
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "kubeedge.cloudcore", "--config", str(path), stderr=asyncio.subprocess.PIPE
            )
            assert process.stderr is not None
            try:
                async with asyncio.timeout(20):
                    while b"ready hub_port" not in (line := await process.stderr.readline()):
                        assert line, "it ended before it was ready"
                    process.send_signal(signal.SIGTERM)
                    rest = await process.stderr.read()
                    assert await process.wait() == 0, rest
                    assert b"Traceback" not in rest
            finally:
                if process.returncode is None:
                    process.kill()
