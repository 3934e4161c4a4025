"""A mosquitto of the tests' own, on a free port, and a client to talk to it.

`with mosquitto(tmp_path) as broker:` starts one; broker.kill() and broker.start() show what happens around a crash.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import socket
import ssl
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import gmqtt
from gmqtt.mqtt.constants import MQTTv311

START_TIMEOUT_S = 15
STOP_TIMEOUT_S = 10
INSTALL_TIMEOUT_S = 300
ANSWER_TIMEOUT_S = 10

USER, PASSWORD = "edge", "a-password-of-tests"


class RigError(Exception):
    """mosquitto cannot be had here; the text says what to do."""


class TlsFiles(NamedTuple):
    """What a broker with TLS shows, and the authority whose clients it lets in."""

    ca_file: Path
    certificate_file: Path
    key_file: Path


def ensure_package() -> str:
    """Return the program; install it where that may be done. Raises RigError."""
    for folder in (*os.environ.get("PATH", "").split(os.pathsep), "/usr/sbin", "/usr/local/sbin"):
        if found := shutil.which("mosquitto", path=folder):
            return found
    if os.geteuid() or shutil.which("apt-get") is None:
        raise RigError("install mosquitto first: apt-get install mosquitto")
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    apt = ["apt-get", "-q", "-y", "-o", "DPkg::Lock::Timeout=120"]
    for arguments in (["update"], ["install", "--no-install-recommends", "mosquitto"]):
        done = subprocess.run(
            apt + arguments, env=environment, capture_output=True, text=True, timeout=INSTALL_TIMEOUT_S, check=False
        )
        if done.returncode:
            raise RigError(f"apt-get {' '.join(arguments)} failed: {done.stderr.strip()}")
    return ensure_package()


def free_port() -> int:
    """Return a port of loopback that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Mosquitto:
    """One broker; start, stop and kill it as often as you like: it keeps its port and, if persistent, its sessions."""

    def __init__(
        self,
        folder: Path,
        *,
        with_password: bool = False,
        tls: TlsFiles | None = None,
        is_persistent: bool = False,
        settings: Sequence[str] = (),
    ) -> None:
        """settings are further lines of its configuration."""
        self.folder = folder
        self.port = free_port()
        self.tls = tls
        self.with_password = with_password
        self.is_persistent = is_persistent
        self._settings = settings
        self._store: tempfile.TemporaryDirectory[str] | None = None
        self.process: subprocess.Popen[bytes] | None = None
        folder.mkdir(parents=True, exist_ok=True)

    @property
    def url(self) -> str:
        """How the configuration of edgecore names it."""
        return f"{'ssl' if self.tls else 'tcp'}://127.0.0.1:{self.port}"

    def _write_configuration(self) -> Path:
        lines = [f"listener {self.port} 127.0.0.1", f"allow_anonymous {str(not self.with_password).lower()}"]
        if os.geteuid() == 0:
            # Else it would change to its own user, who may not read the folders of tests.
            lines.append("user root")
        if self.with_password:
            passwords = self.folder / "passwords"
            passwords.write_text(f"{USER}:{PASSWORD}\n")
            passwords.chmod(0o600)
            subprocess.run(["mosquitto_passwd", "-U", str(passwords)], check=True, timeout=START_TIMEOUT_S)
            lines.append(f"password_file {passwords}")
        if self.tls is not None:
            lines += [f"cafile {self.tls.ca_file}", f"certfile {self.tls.certificate_file}"]
            lines += [f"keyfile {self.tls.key_file}", "require_certificate true"]
        if self.is_persistent:
            # Every change is written before the next turn of its loop. To memory, where there is a file system in it:
            # mosquitto writes the whole file and waits for the disk each time, and what a process wrote outlives it.
            if self._store is None:
                shared = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
                self._store = tempfile.TemporaryDirectory(prefix="mosquitto-", dir=shared)
            lines += ["persistence true", f"persistence_location {self._store.name}/"]
            lines += ["autosave_on_changes true", "autosave_interval 1"]
        lines += self._settings
        path = self.folder / "mosquitto.conf"
        path.write_text("\n".join(lines) + "\n")
        return path

    def start(self) -> None:
        """Start and wait until it listens. Raises RigError."""
        program = ensure_package()
        configuration = self._write_configuration()
        with (self.folder / "mosquitto.log").open("ab") as log:
            self.process = subprocess.Popen(
                [program, "-c", str(configuration)], stdout=log, stderr=log, start_new_session=True
            )
        deadline = time.monotonic() + START_TIMEOUT_S
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
                return
            if self.process.poll() is not None or time.monotonic() > deadline:
                tail = (self.folder / "mosquitto.log").read_text().splitlines()[-5:]
                raise RigError("mosquitto does not start: " + " | ".join(tail))
            time.sleep(0.02)

    def kill(self) -> None:
        """End it as a crash does."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """End it in an orderly way."""
        self._end(signal.SIGTERM)

    def _end(self, number: signal.Signals) -> None:
        if self.process is None:
            return
        self.process.send_signal(number)
        try:
            self.process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(STOP_TIMEOUT_S)
        self.process = None

    def clean_up(self) -> None:
        """End it, and throw away its sessions."""
        self.kill()
        if self._store is not None:
            self._store.cleanup()


@contextmanager
def mosquitto(folder: Path, **arguments: Any) -> Iterator[Mosquitto]:
    """Run a broker until the block is left. Raises RigError; arguments are those of Mosquitto."""
    broker = Mosquitto(folder, **arguments)
    broker.start()
    try:
        yield broker
    finally:
        broker.clean_up()


class Heard(NamedTuple):
    """A publication that a client of the tests was given."""

    topic: str
    payload: bytes
    quality: int
    is_retained: bool


class Reachable(Protocol):
    """Where a client finds a broker on loopback, and whether it has to say who it is."""

    port: int
    with_password: bool


class TestClient:
    """A client as any application has one: plain gmqtt, connected anew by itself when the broker was away."""

    __test__ = False

    def __init__(self, broker: Reachable, client_id: str, *, keeps_session: bool = False) -> None:
        """With keeps_session the broker knows subscriptions and publications for this client while it is away."""
        self._broker = broker
        self._client: Any = gmqtt.Client(client_id, clean_session=not keeps_session)
        self._client.set_config({"reconnect_delay": 0.1, "reconnect_retries": -1})
        self._client.on_message = self._on_message
        self._client.on_connect = self._on_connect
        self._client.on_subscribe = self._on_subscribe
        self._filters: list[str] = []
        self._subscribed = asyncio.Event()
        self.heard: asyncio.Queue[Heard] = asyncio.Queue()

    async def connect(self, *, tls: ssl.SSLContext | None = None) -> None:
        """Connect, with the broker's password if it wants one."""
        if self._broker.with_password:
            self._client.set_auth_credentials(USER, PASSWORD)
        async with asyncio.timeout(ANSWER_TIMEOUT_S):
            await self._client.connect("127.0.0.1", self._broker.port, ssl=tls or False, version=MQTTv311)

    async def close(self) -> None:
        with contextlib.suppress(OSError):
            await self._client.disconnect()

    async def subscribe(self, *filters: str, quality: int = 1) -> None:
        """Subscribe, and wait for the broker's word."""
        self._filters += filters
        self._subscribed.clear()
        self._client.subscribe([gmqtt.Subscription(text, qos=quality) for text in filters])
        await asyncio.wait_for(self._subscribed.wait(), ANSWER_TIMEOUT_S)

    def publish(self, topic: str, payload: bytes | str, quality: int = 1, *, is_retained: bool = False) -> None:
        """Publish; at QoS 1 it is sent until the broker has it."""
        self._client.publish(topic, payload, qos=quality, retain=is_retained)

    async def next(self, timeout_s: float = ANSWER_TIMEOUT_S) -> Heard:
        """Return the next publication that was not asked for yet."""
        return await asyncio.wait_for(self.heard.get(), timeout_s)

    def _on_message(self, _client: Any, topic: str, payload: bytes, quality: int, properties: dict[str, Any]) -> int:
        self.heard.put_nowait(Heard(topic, bytes(payload), quality, bool(properties["retain"])))
        return 0

    def _on_connect(self, _client: Any, _flags: int, _code: int, _properties: Any) -> None:
        if self._filters:
            self._client.subscribe([gmqtt.Subscription(text, qos=1) for text in self._filters])

    def _on_subscribe(self, _client: Any, _number: int, _granted: Any, _properties: Any) -> None:
        self._subscribed.set()


@asynccontextmanager
async def client(
    broker: Reachable, client_id: str = "tester", *, keeps_session: bool = False, **arguments: Any
) -> AsyncIterator[TestClient]:
    """Connect a client until the block is left; arguments are those of connect()."""
    tester = TestClient(broker, client_id, keeps_session=keeps_session)
    await tester.connect(**arguments)
    try:
        yield tester
    finally:
        await tester.close()
