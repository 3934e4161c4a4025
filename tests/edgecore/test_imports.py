"""What a running edgecore has in memory: no library that it does not need, and no more than is promised."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

from kubeedge.edgecore.edged.runtime.interface import RuntimeUnavailableError
from kubeedge.edgecore.edged.runtime.process.client import Client
from tests.mosquitto import free_port

TIMEOUT_S = 30
# The promise for an idle node; what tests run beside it is not in it, for it is a process of its own.
MAX_RSS_KB = 42 * 1024
# gRPC costs a node with a container engine about 4 MB; with its pods it has to stay below this as well.
MAX_RSS_WITH_GRPC_KB = 46 * 1024

# Runs edgecore until a page of its server answers 200, and prints what is loaded then and how large the process is.
PROGRAM = """
import asyncio, sys
from pathlib import Path
import uvloop
import kubeedge.edgecore.__main__
from kubeedge.config import edgecore as configuration
from kubeedge.edgecore.app import EdgeCore

async def answers(port, page):
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.write(b"GET %s HTTP/1.1\\r\\n\\r\\n" % page.encode())
    line = await reader.readline()
    writer.close()
    return b" 200 " in line

async def run(path, port, page):
    config, _ = configuration.load(path)
    running = asyncio.ensure_future(EdgeCore(config, path).run())
    while not await answers(port, page):
        done, _ = await asyncio.wait({running}, timeout=0.05)
        for task in done:
            task.result()
    size = next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmRSS"))
    modules = sorted(sys.modules)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    import json
    print(json.dumps({"modules": modules, "rss_kb": int(size)}))

uvloop.run(run(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]))
"""

# All that an idle node has loaded besides the standard library and ourselves. What a new one costs in memory (RSS, with
# the others loaded) belongs beside it; a library that few nodes need is imported where it is called.
LIBRARIES = {
    "apsw": "SQLite; the library itself, not Python's sqlite3",
    "cython_runtime": "of the compiled libraries and of _speedups",
    "gmqtt": "MQTT, for the event bus that is on by default; 0.4 MB",
    "msgspec": "configuration and JSON with types; 1.2 MB",
    "orjson": "JSON without types",
    "typing_extensions": "loaded by msgspec where it is installed; 0.5 MB",
    "uvloop": "the event loop; 1.2 MB",
    "yaml": "configuration; 1.2 MB",
}
# Names that an environment or a compiler adds, not we.
_OTHERS = ("_", "__main__", "sitecustomize", "usercustomize")

# Of the cloud's side, of other programs, of tests; and what of the standard library has no business at the edge.
NEVER = (
    *("cryptography", "kubernetes", "uvicorn", "starlette", "aiohttp", "pydantic", "rich", "click", "h11", "httptools"),
    *("kubeedge.apiserver", "kubeedge.cloudcore", "kubeedge.demo", "kubeedge.serving", "kubeedge.kube.client"),
    *("http.client", "http.server", "urllib.request", "email", "smtplib", "sqlite3", "xml", "unittest", "pytest"),
    # Of the broker inside edgecore, which is one only when it is to be.
    *("amqtt", "transitions", "websockets", "dacite"),
    *("importlib.metadata", "pkg_resources", "setuptools", "Cython", "tempfile", "fractions"),
    # What only some nodes need, and then at some moment: removing folders, mounting, turning logs.
    *("shutil", "bz2", "lzma", "gzip", "tarfile", "zipfile", "ctypes"),
    *(
        "pickle",
        "multiprocessing",
        "concurrent.futures.process",
        "asyncio.__main__",
        "pdb",
        "doctest",
        "difflib",
        "csv",
    ),
    *("statistics", "getpass", "ftplib", "socketserver", "html", "zoneinfo", "configparser", "optparse", "glob"),
    # The other side of the process runtime: it runs in the supervisor's process.
    *("kubeedge.edgecore.edged.runtime.process.supervisor", "kubeedge.edgecore.edged.runtime.process.launch"),
)
# What a node with a container engine may have for its sake.
GRPC_NEEDS = ("pickle",)
GRPC = ("grpclib", "google", "h2", "kubeedge.proto", "multidict")


class Running(NamedTuple):
    modules: list[str]
    rss_kb: int

    def has(self, *names: str) -> list[str]:
        """Those of names that are loaded, or a module below them."""
        return [name for name in names if any(f"{module}.".startswith(f"{name}.") for module in self.modules)]


async def edgecore(folder: Path, endpoint: str, page: str, **event_bus: Any) -> Running:
    """Run an edgecore without a cloud until page is healthy; event_bus is that part of its configuration."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    edged: dict[str, Any] = {
        "hostnameOverride": "e1",
        "rootDirectory": str(folder / "kubelet"),
        "tailoredKubeletConfig": {
            "containerRuntimeEndpoint": endpoint,
            "podLogsDir": str(folder / "logs"),
            "readOnlyPort": port,
        },
    }
    device_twin = {"dmiSockPath": str(folder)}
    modules: dict[str, Any] = {"edgeHub": {"enable": False}, "edged": edged, "metaManager": {"enable": True}}
    modules |= {"deviceTwin": device_twin, "eventBus": event_bus}
    path = folder / "edgecore.yaml"
    path.write_text(yaml.safe_dump({"database": {"dataSource": str(folder / "edge.db")}, "modules": modules}))
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", PROGRAM, str(path), str(port), page),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "CHECK_EDGECORE_ENVIRONMENT": "false"},
    )
    try:
        async with asyncio.timeout(TIMEOUT_S):
            out, err = await process.communicate()
        assert process.returncode == 0, err.decode()
        return Running(**json.loads(out))
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
        with contextlib.suppress(RuntimeUnavailableError):
            await Client(folder / "containers").destroy()


@pytest.fixture(scope="module")
def on_processes(tmp_path_factory: pytest.TempPathFactory) -> Running:
    return asyncio.run(edgecore(tmp_path_factory.mktemp("node"), "process://", "/healthz/syncloop"))


def test_node_loads_nothing_that_belongs_to_others(on_processes: Running) -> None:
    assert on_processes.has(*NEVER) == []


def test_idle_node_has_loaded_exactly_these_libraries(on_processes: Running) -> None:
    """A failure asks for a decision: import it where it is called, or write down here what it costs and why."""
    packages = {module.partition(".")[0] for module in on_processes.modules}
    foreign = {name for name in packages - sys.stdlib_module_names - {"kubeedge"} if not name.startswith(_OTHERS)}
    assert foreign - {"typing_extensions"} == LIBRARIES.keys() - {"typing_extensions"}


def test_node_without_a_container_engine_does_without_grpc(on_processes: Running) -> None:
    assert on_processes.has(*GRPC) == []
    assert on_processes.has("asyncio") == ["asyncio"]


def test_idle_node_is_as_small_as_promised(on_processes: Running) -> None:
    assert on_processes.rss_kb < MAX_RSS_KB


async def test_node_without_event_bus_does_without_mqtt(tmp_path: Path) -> None:
    running = await edgecore(tmp_path, "process://", "/healthz/syncloop", enable=False)
    assert running.has("gmqtt") == []


async def test_node_that_is_a_broker_itself_is_little_larger(tmp_path: Path) -> None:
    url = f"tcp://127.0.0.1:{free_port()}"
    running = await edgecore(tmp_path, "process://", "/healthz/syncloop", mqttMode=0, mqttServerInternal=url)
    assert running.has("amqtt") == ["amqtt"]
    assert running.rss_kb < MAX_RSS_WITH_GRPC_KB


async def test_node_with_a_container_engine_loads_grpc_and_nothing_more(tmp_path: Path) -> None:
    running = await edgecore(tmp_path, f"unix://{tmp_path}/absent.sock", "/healthz")
    assert "grpclib" in running.has(*GRPC)
    assert [name for name in running.has(*NEVER) if name not in GRPC_NEEDS] == []
    assert running.rss_kb < MAX_RSS_WITH_GRPC_KB
