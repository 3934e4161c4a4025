"""Cloud, edge and a device on one machine: their programs, their files, and what has to be cleaned up after them."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import shutil
from pathlib import Path
from typing import Any

import orjson
import yaml

import kubeedge
from kubeedge.demo import configuration
from kubeedge.demo.containers import PROCESS, Containers, containers
from kubeedge.demo.kubectl import Kubectl
from kubeedge.demo.program import Program, ProgramError
from kubeedge.edgecore.edged.runtime.process import kernel
from kubeedge.kube import kubeconfig
from kubeedge.kube.api import ApiError, ApiUnavailableError, Kind
from kubeedge.kube.client import HttpApi
from kubeedge.kube.kinds import SECRET

EXAMPLES = Path(kubeedge.__file__).parent.parent / "examples"
# Its device is at the usual port; here each demo has its own.
DEVICE_EXAMPLE = EXAMPLES / "thermometer" / "device.yaml"
EXAMPLE_PORT = "port: 5020"

START_TIMEOUT_S = 30
POLL_S = 0.05
PAGE_TIMEOUT_S = 2


class Site:
    """Everything of one demo lies in folder. endpoint is that of the node's runtime, by default local processes."""

    def __init__(self, folder: Path, endpoint: str = "", *, has_devices: bool = False) -> None:
        self.folder = folder
        self.ports = configuration.free_ports()
        self.kubeconfig = folder / "kubeconfig"
        self.kubectl = Kubectl(self.kubeconfig)
        self._cloud, self._edge = folder / "cloud", folder / "edge"
        data_dir = folder / "api"
        self.api_program = Program(
            "kubeedge-apiserver",
            "kubeedge.apiserver",
            ["--data-dir", str(data_dir), "--port", str(self.ports.api), "--kubeconfig", str(self.kubeconfig)],
            folder / "apiserver.log",
        )
        self.cloudcore = self._daemon("cloudcore", self._cloud)
        self.edgecore = self._daemon("edgecore", self._edge)
        self._has_devices = has_devices
        arguments = ["--port", str(self.ports.thermometer)]
        self.thermometer = Program("thermometer", "kubeedge.demo.thermometer", arguments, folder / "thermometer.log")
        arguments = ["modbus", "--config-file", str(self._edge / "mapper.yaml")]
        self.mapper = Program("mapper", "kubeedge.mapper", arguments, folder / "mapper.log")
        self._api: HttpApi | None = None
        self.endpoint = endpoint or configuration.process_endpoint(self._edge)
        self.containers: Containers = containers(self.endpoint, self._edge / "logs", self._cgroup)

    def _daemon(self, name: str, folder: Path) -> Program:
        return Program(
            name, f"kubeedge.{name}", ["--config", str(folder / f"{name}.yaml")], self.folder / f"{name}.log"
        )

    @property
    def _cgroup(self) -> str:
        """Name of the control group of all pods that a container engine runs for this site."""
        return "" if self.endpoint.startswith(PROCESS) else f"kubeedge-{self.ports.api}"

    @property
    def programs(self) -> list[Program]:
        """All of them, in the order in which they start."""
        return [self.api_program, self.cloudcore, self.edgecore, self.thermometer, self.mapper]

    def check_running(self) -> None:
        """Raise ProgramError when one of them ended though nobody stopped it."""
        for program in self.programs:
            program.check_running()

    @property
    def api(self) -> HttpApi:
        """The Kubernetes API, as administrator; from start_api on."""
        if self._api is None:
            self._api = HttpApi(kubeconfig.find(str(self.kubeconfig)))
        return self._api

    async def start_api(self) -> None:
        """Start the embedded API and wait until it answers. Raises ProgramError."""
        for folder in (self.folder, self._cloud, self._edge, self._edge / "certs"):
            folder.mkdir(mode=0o711, parents=True, exist_ok=True)
        await self.api_program.start()
        await self._wait(self.api_program, self.kubeconfig.exists)
        await self._answered(self.api_program, self.ports.api)

    async def start_cloudcore(self) -> None:
        """Start cloudcore and wait until nodes can connect. Raises ProgramError."""
        document = configuration.cloudcore(self._cloud, self.ports, self.kubeconfig)
        (self._cloud / "cloudcore.yaml").write_text(yaml.safe_dump(document, sort_keys=False), encoding="utf-8")
        await self.cloudcore.start()
        await self._answered(self.cloudcore, self.ports.certificates)

    async def start_edgecore(self) -> None:
        """Start edgecore; the first time with a token to join. Does not wait for the cloud. Raises ProgramError."""
        path = self._edge / "edgecore.yaml"
        if not path.exists():
            document = configuration.edgecore(
                *(self._edge, self.ports, await self._join_token(), self.endpoint, self._cgroup),
                has_devices=self._has_devices,
            )
            path.write_text(yaml.safe_dump(document, sort_keys=False), encoding="utf-8")
            path.chmod(0o600)
        await self.edgecore.start()

    async def start_device(self, *, is_still: bool) -> None:
        """Start the thermometer, one that keeps its temperature if it is still, and the mapper. Raises ProgramError."""
        await self.thermometer.start(*(["--still"] if is_still else []))
        await self._answered(self.thermometer, self.ports.thermometer)
        document = configuration.mapper(self._edge, self.ports)
        (self._edge / "mapper.yaml").write_text(yaml.safe_dump(document, sort_keys=False), encoding="utf-8")
        await self.mapper.start()

    async def apply_device(self) -> None:
        """Make the example's device, with the port of this site's thermometer. Raises KubectlError."""
        text = DEVICE_EXAMPLE.read_text(encoding="utf-8")
        path = self.folder / "device.yaml"
        path.write_text(text.replace(EXAMPLE_PORT, f"port: {self.ports.thermometer}"), encoding="utf-8")
        await self.kubectl("apply", "-f", str(path))

    async def mapper_page(self, path: str) -> str:
        """Return what the REST API of the mapper answers to GET path; empty when it is away."""
        return await _page(self.ports.mapper, path)

    async def _join_token(self) -> str:
        async with asyncio.timeout(START_TIMEOUT_S):
            while True:
                self.cloudcore.check_running()
                with contextlib.suppress(ApiError, ApiUnavailableError):
                    secret = await self.get(SECRET, "kubeedge", "tokensecret")
                    return base64.b64decode(secret["data"]["tokendata"]).decode()
                await asyncio.sleep(POLL_S)

    async def _answered(self, program: Program, port: int) -> None:
        async with asyncio.timeout(START_TIMEOUT_S):
            while True:
                program.check_running()
                try:
                    _, writer = await asyncio.open_connection(configuration.LOOPBACK, port)
                except OSError:
                    await asyncio.sleep(POLL_S)
                else:
                    writer.close()
                    return

    async def _wait(self, program: Program, condition: Any) -> None:
        try:
            async with asyncio.timeout(START_TIMEOUT_S):
                while not condition():
                    program.check_running()
                    await asyncio.sleep(POLL_S)
        except TimeoutError:
            raise ProgramError(f"{program.name} did not start in {START_TIMEOUT_S} s") from None

    async def get(self, kind: Kind, namespace: str, name: str) -> dict[str, Any]:
        """Read one object. Raises ApiError, ApiUnavailableError."""
        found: dict[str, Any] = orjson.loads(await self.api.get(kind, namespace, name))
        return found

    async def objects(self, kind: Kind, namespace: str = "", label_selector: str = "") -> list[dict[str, Any]]:
        """Read all objects of a kind. Raises ApiError, ApiUnavailableError."""
        page = await self.api.list(kind, namespace, label_selector=label_selector)
        return [orjson.loads(item) for item in page.items]

    async def messages(self) -> int:
        """Return how many messages cloudcore exchanged with its nodes; 0 when it is away."""
        names = ("kubeedge_cloudhub_upstream_messages_total", "kubeedge_cloudhub_downstream_messages_total")
        lines = (await _page(self.ports.monitor, "/metrics")).splitlines()
        return int(sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(names)))

    async def edge_pods(self) -> list[dict[str, Any]]:
        """Return the pods that edgecore itself knows, cloud or not; none while it is away."""
        page = await _page(self.ports.edged, "/pods")
        pods: list[dict[str, Any]] = orjson.loads(page)["items"] if page else []
        return pods

    async def clean_up(self, keep: bool = False) -> None:
        """End all programs and containers; remove every file unless they are to be kept."""
        for program in reversed(self.programs):
            await program.stop()
        await self.containers.remove()
        if self._api is not None:
            self._api.close()
        self._unmount()
        if not keep:
            shutil.rmtree(self.folder, ignore_errors=True)

    def _unmount(self) -> None:
        """Unmount what edged mounted for volumes, the deepest first."""
        lines = Path("/proc/self/mounts").read_text(encoding="utf-8").splitlines()
        points = [line.split(" ")[1] for line in lines]
        inside = str(self.folder.resolve()) + "/"
        for point in sorted((one for one in points if one.startswith(inside)), reverse=True):
            with contextlib.suppress(OSError):
                kernel.unmount(point, kernel.MNT_DETACH)


async def _page(port: int, path: str) -> str:
    """Return what a server on this machine answers to GET path; empty when it is away."""
    try:
        async with asyncio.timeout(PAGE_TIMEOUT_S):
            reader, writer = await asyncio.open_connection(configuration.LOOPBACK, port)
            writer.write(f"GET {path} HTTP/1.1\r\nHost: demo\r\nConnection: close\r\n\r\n".encode())
            text = (await reader.read()).decode()
            writer.close()
    except (OSError, TimeoutError):
        return ""
    return text.partition("\r\n\r\n")[2]
