"""A containerd of the tests' own: root, state, socket, network and images in one folder, nothing shared with others.

Needs root, and installs what is missing with apt-get. Images are built here from busybox and a small C program, so no
registry is asked. `python -m tests.containerd COMMAND...` runs a command with one: its endpoint is then in the
environment variable CONTAINER_RUNTIME_ENDPOINT.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from kubeedge.edgecore.edged.runtime.cri.connection import Connection, RefusedError
from kubeedge.edgecore.edged.runtime.interface import RuntimeUnavailableError
from kubeedge.proto import cri_pb2 as cri

# The word of crictl and others for where the runtime is.
ENDPOINT_VARIABLE = "CONTAINER_RUNTIME_ENDPOINT"
PAUSE = "registry.k8s.io/pause:3.6"
BUSYBOX = "docker.io/library/busybox:1.36"
START_TIMEOUT_S = 20.0
STOP_TIMEOUT_S = 10.0
INSTALL_TIMEOUT_S = 300.0
REMOVE_TIMEOUT_S = 60.0

_PLUGINS = Path("/usr/lib/cni")
_PACKAGES = {
    "containerd": "containerd",
    "runc": "runc",
    "iptables": "iptables",
    "gcc": "gcc libc6-dev",
    "busybox": "busybox-static",
    "ip": "iproute2",
    str(_PLUGINS / "bridge"): "containernetworking-plugins",
}
# The first process of a sandbox: waits for its end, and takes over orphans where processes are shared.
_PAUSE_SOURCE = """
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>
static void end(int number) { exit(0); }
static void reap(int number) { while (waitpid(-1, 0, WNOHANG) > 0); }
int main(void) {
    signal(SIGTERM, end);
    signal(SIGINT, end);
    signal(SIGCHLD, reap);
    for (;;) pause();
}
"""


class RigError(Exception):
    """A real containerd cannot be had on this machine; the text says what is missing."""


def ensure_packages() -> None:
    """Install what is missing. Raises RigError."""
    if os.geteuid() != 0:
        raise RigError("containers need root")
    missing = [packages for program, packages in _PACKAGES.items() if shutil.which(program) is None]
    if not missing:
        return
    if shutil.which("apt-get") is None:
        raise RigError(f"install these first: {' '.join(missing)}")
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    apt = ["apt-get", "-q", "-y", "-o", "DPkg::Lock::Timeout=120"]
    for arguments in (["update"], ["install", "--no-install-recommends", *" ".join(missing).split()]):
        done = subprocess.run(
            apt + arguments, env=environment, capture_output=True, text=True, timeout=INSTALL_TIMEOUT_S, check=False
        )
        if done.returncode:
            raise RigError(f"apt-get {' '.join(arguments)} failed: {done.stderr.strip()}")


class Containerd:
    """One containerd; start and stop it as often as you like, containers live on in between."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.socket = folder / "c.sock"
        self.endpoint = f"unix://{self.socket}"
        self.network = folder / "cni"
        # A network that no other rig on this machine has.
        number = _free_number()
        self.bridge = f"ke{number}"
        self._subnet = f"10.{200 + number // 256}.{number % 256}."
        self.gateway = f"{self._subnet}1"
        self.cgroup = f"/kubeedge-test-{os.getpid()}"
        self.process: subprocess.Popen[bytes] | None = None

    def prepare(self) -> None:
        """Write the configuration, build the images, start and fill. Raises RigError."""
        ensure_packages()
        self.network.mkdir(parents=True)
        (self.folder / "config.toml").write_text(self._config())
        self.write_network()
        self.start()
        pause = self.folder / "pause"
        compile_pause(pause)
        self.load_image(PAUSE, {"pause": pause.read_bytes()}, ["/pause"])
        self.load_image(BUSYBOX, busybox_files(), ["/bin/sh"])

    def _config(self) -> str:
        kind = subprocess.run(["stat", "-f", "-c", "%T", self.folder], capture_output=True, text=True, check=True)
        # An overlay cannot lie on another one: tests in a container.
        snapshotter = "native" if "overlay" in kind.stdout else "overlayfs"
        return f"""version = 2
root = "{self.folder}/root"
state = "{self.folder}/state"
[grpc]
  address = "{self.socket}"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{PAUSE}"
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "{snapshotter}"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{_PLUGINS}"
    conf_dir = "{self.network}"
"""

    def write_network(self) -> None:
        """Give the pods a bridge, with ports of the host."""
        bridge = {
            "type": "bridge",
            "bridge": self.bridge,
            "isGateway": True,
            "ipMasq": False,
            "ipam": {
                "type": "host-local",
                "dataDir": str(self.folder / "addresses"),
                "ranges": [[{"subnet": f"{self._subnet}0/24"}]],
                "routes": [{"dst": "0.0.0.0/0"}],
            },
        }
        ports = {"type": "portmap", "capabilities": {"portMappings": True}}
        network = {"cniVersion": "0.4.0", "name": self.bridge, "plugins": [bridge, ports]}
        (self.network / "10-bridge.conflist").write_text(json.dumps(network))

    def start(self) -> None:
        """Start containerd and wait until it answers. Raises RigError."""
        log = (self.folder / "containerd.log").open("ab")
        self.process = subprocess.Popen(
            ["containerd", "--config", str(self.folder / "config.toml")], stdout=log, stderr=log, start_new_session=True
        )
        log.close()
        deadline = time.monotonic() + START_TIMEOUT_S
        while self._ctr("version", check=False).returncode:
            if self.process.poll() is not None or time.monotonic() > deadline:
                tail = (self.folder / "containerd.log").read_text().splitlines()[-5:]
                raise RigError("containerd does not start: " + " | ".join(tail))
            time.sleep(0.05)

    def kill(self) -> None:
        """End containerd as a crash does; its containers live on."""
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(STOP_TIMEOUT_S)

    def freeze(self) -> None:
        """Make containerd hang."""
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)

    def clean_up(self) -> None:
        """End all pods and containerd, and take away what they left on the machine."""
        if self.process is not None:
            self.thaw()
            with contextlib.suppress(RigError, TimeoutError, RefusedError, RuntimeUnavailableError):
                if self.process.poll() is not None:
                    self.start()
                asyncio.run(_remove_pods(self.endpoint))
            self.process.terminate()
            try:
                self.process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                self.kill()
        for shim in self._shims():
            with contextlib.suppress(ProcessLookupError):
                os.kill(shim, signal.SIGKILL)
        subprocess.run(["ip", "link", "delete", self.bridge], capture_output=True, check=False)
        for line in reversed(Path("/proc/self/mounts").read_text().splitlines()):
            point = line.split(" ")[1]
            if point.startswith(f"{self.folder}/"):
                subprocess.run(["umount", "-l", point], capture_output=True, check=False)
        for group in Path("/sys/fs/cgroup").glob(f"**{self.cgroup}"):
            for folder in sorted((f for f in group.rglob("*") if f.is_dir()), reverse=True):
                folder.rmdir()
            group.rmdir()

    def _shims(self) -> Iterator[int]:
        """Give the processes that keep pods for this containerd."""
        for entry in Path("/proc").iterdir():
            with contextlib.suppress(OSError):
                words = (entry / "cmdline").read_bytes().split(b"\0") if entry.name.isdigit() else []
                if os.fsencode(self.socket) in words and b"containerd-shim" in words[0]:
                    yield int(entry.name)

    def _ctr(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        command = ["ctr", "--address", str(self.socket), "--namespace", "k8s.io", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=START_TIMEOUT_S, check=False)
        if check and done.returncode:
            raise RigError(f"ctr {' '.join(arguments)}: {done.stderr.strip()}")
        return done

    def load_image(self, name: str, files: dict[str, bytes | str | None], command: list[str], user: str = "") -> None:
        """Give containerd an image of one layer. Raises RigError."""
        archive = self.folder / "image.tar"
        write_image(archive, name, files, command, user)
        self._ctr("images", "import", "--base-name", name.rpartition(":")[0], str(archive))
        archive.unlink()


def _free_number() -> int:
    """Return a number for a bridge and a subnet that nobody uses."""
    number = os.getpid() % 4096
    while Path(f"/sys/class/net/ke{number}").exists():
        number = (number + 1) % 4096
    return number


async def _remove_pods(endpoint: str) -> None:
    connection = Connection(endpoint)
    try:
        async with asyncio.timeout(REMOVE_TIMEOUT_S):
            listing = await connection.call(connection.runtime.ListPodSandbox, cri.ListPodSandboxRequest())
            for sandbox in listing.items:
                await connection.call(
                    connection.runtime.StopPodSandbox, cri.StopPodSandboxRequest(pod_sandbox_id=sandbox.id)
                )
                await connection.call(
                    connection.runtime.RemovePodSandbox, cri.RemovePodSandboxRequest(pod_sandbox_id=sandbox.id)
                )
    finally:
        connection.close()


def compile_pause(path: Path) -> None:
    """Compile the program of sandboxes. Raises RigError."""
    done = subprocess.run(
        ["gcc", "-static", "-Os", "-s", "-x", "c", "-o", str(path), "-"],
        input=_PAUSE_SOURCE.encode(),
        capture_output=True,
        check=False,
    )
    if done.returncode:
        raise RigError(f"gcc cannot link a static program: {done.stderr.decode()}")


def busybox_files() -> dict[str, bytes | str | None]:
    """Return the tree of a busybox image: folders are None, links are text."""
    program = shutil.which("busybox")
    assert program is not None
    applets = subprocess.run([program, "--list"], capture_output=True, text=True, check=True).stdout.split()
    tree: dict[str, bytes | str | None] = {"bin": None, "tmp": None, "etc": None, "root": None}
    tree["etc/passwd"] = b"root:x:0:0::/root:/bin/sh\nguest:x:1000:1000::/:/bin/sh\n"
    tree["bin/busybox"] = Path(program).read_bytes()
    tree.update((f"bin/{applet}", "busybox") for applet in applets if applet != "busybox")
    return tree


def image_parts(files: dict[str, bytes | str | None], command: list[str], user: str = "") -> tuple[bytes, bytes]:
    """Return configuration and layer of an image."""
    layer = io.BytesIO()
    with tarfile.open(fileobj=layer, mode="w") as tree:
        for file, content in files.items():
            entry = tarfile.TarInfo(file)
            entry.mode = 0o1777 if file == "tmp" else 0o755
            if content is None:
                entry.type = tarfile.DIRTYPE
                tree.addfile(entry)
            elif isinstance(content, str):
                entry.type, entry.linkname = tarfile.SYMTYPE, content
                tree.addfile(entry)
            else:
                entry.size = len(content)
                tree.addfile(entry, io.BytesIO(content))
    digest = hashlib.sha256(layer.getvalue()).hexdigest()
    config = {
        "architecture": {"x86_64": "amd64", "aarch64": "arm64"}.get(os.uname().machine, os.uname().machine),
        "os": "linux",
        "config": {"Cmd": command, "Env": ["PATH=/bin"], "User": user},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}"]},
    }
    return json.dumps(config).encode(), layer.getvalue()


def write_image(
    path: Path, name: str, files: dict[str, bytes | str | None], command: list[str], user: str = ""
) -> None:
    """Write an image archive as `docker save` does."""
    config, layer = image_parts(files, command, user)
    config_name, layer_name = f"{hashlib.sha256(config).hexdigest()}.json", "layer.tar"
    manifest = [{"Config": config_name, "RepoTags": [name], "Layers": [layer_name]}]
    parts = {config_name: config, layer_name: layer, "manifest.json": json.dumps(manifest).encode()}
    with tarfile.open(path, "w") as archive:
        for part, content in parts.items():
            entry = tarfile.TarInfo(part)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))


def main() -> int:
    """Run the command of the arguments with a containerd; return its exit code."""
    with tempfile.TemporaryDirectory(prefix="kubeedge-containerd-", ignore_cleanup_errors=True) as folder:
        containerd = Containerd(Path(folder))
        try:
            containerd.prepare()
            command = subprocess.Popen(sys.argv[1:], env={**os.environ, ENDPOINT_VARIABLE: containerd.endpoint})
            # Ctrl-C reaches the command too; it ends when it has tidied up, and this program after it.
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            signal.signal(signal.SIGTERM, lambda number, _: command.send_signal(number))
            return command.wait()
        except RigError as error:
            print(f"error: {error}", file=sys.stderr)
            return 1
        finally:
            containerd.clean_up()


if __name__ == "__main__":
    sys.exit(main())
