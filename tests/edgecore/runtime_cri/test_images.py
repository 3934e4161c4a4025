"""Images of a real containerd, pulled from a small registry that wants a password."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from kubeedge.edgecore.edged.image_collector import CollectionError, ImageCollector
from kubeedge.edgecore.edged.image_retention import Retention, Space
from kubeedge.edgecore.edged.runtime.interface import Image, ImageAuth, RuntimeCallError
from tests.containerd import BUSYBOX, PAUSE, image_parts
from tests.edgecore.runtime_cri.conftest import Node

pytestmark = pytest.mark.root

USER, PASSWORD = "edge", "s3cret"


class Registry:
    """Serves one image, `app:1`, to who knows the password."""

    def __init__(self) -> None:
        config, layer = image_parts({"etc": None, "etc/marker": b"pulled"}, ["/bin/sh"], "guest")
        self.blobs = {f"sha256:{hashlib.sha256(blob).hexdigest()}": blob for blob in (config, layer)}
        config_digest, layer_digest = self.blobs
        kind = "application/vnd.docker"
        self.manifest_type = f"{kind}.distribution.manifest.v2+json"
        manifest: dict[str, Any] = {
            "schemaVersion": 2,
            "mediaType": self.manifest_type,
            "config": {
                "mediaType": f"{kind}.container.image.v1+json",
                "size": len(config),
                "digest": config_digest,
            },
            "layers": [
                {"mediaType": f"{kind}.image.rootfs.diff.tar", "size": len(layer), "digest": layer_digest},
            ],
        }
        self.manifest = json.dumps(manifest).encode()
        self.digest = f"sha256:{hashlib.sha256(self.manifest).hexdigest()}"
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.name = f"127.0.0.1:{self.server.server_port}/app:1"

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        registry = self
        wanted = "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body, kind = registry.find(self.path)
                if self.headers.get("Authorization") != wanted:
                    self.send_response(401)
                    self.send_header("WWW-Authenticate", 'Basic realm="test"')
                    body = b""
                else:
                    self.send_response(200 if kind else 404)
                    self.send_header("Content-Type", kind)
                    self.send_header("Docker-Content-Digest", registry.digest)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                if self.command == "GET":
                    self.wfile.write(body)

            do_HEAD = do_GET

            def log_message(self, format: str, *args: Any) -> None:
                """Tests have nothing to say of single requests."""

        return Handler

    def find(self, path: str) -> tuple[bytes, str]:
        last = path.rpartition("/")[2]
        if last in ("1", self.digest):
            return self.manifest, self.manifest_type
        return self.blobs.get(last, b""), "application/octet-stream" if last in self.blobs else ""


@pytest.fixture
def registry() -> Iterator[Registry]:
    registry = Registry()
    thread = threading.Thread(target=registry.server.serve_forever)
    thread.start()
    yield registry
    registry.server.shutdown()
    registry.server.server_close()
    thread.join()


async def test_image_is_pulled_with_credentials_and_removed(node: Node, registry: Registry) -> None:
    assert await node.runtime.image_status(registry.name) is None
    with pytest.raises(RuntimeCallError, match="failed to resolve reference") as caught:
        await node.runtime.pull_image(registry.name, None, node.sandbox)
    assert caught.value.reason == "ErrImagePull"
    reference = await node.runtime.pull_image(registry.name, ImageAuth(USER, PASSWORD), node.sandbox)
    image = await node.runtime.image_status(reference)
    assert image is not None
    assert image == await node.runtime.image_status(registry.name)
    assert (image.repo_tags, image.uid, image.username) == ([registry.name], None, "guest")
    assert image.repo_digests == [f"{registry.name.removesuffix(':1')}@{registry.digest}"]
    assert image in await node.runtime.list_images()
    await node.runtime.remove_image(reference)
    await node.runtime.remove_image(reference)
    assert await node.runtime.image_status(registry.name) is None


async def test_registry_that_is_away_is_told_with_the_runtimes_text(node: Node) -> None:
    with pytest.raises(RuntimeCallError) as caught:
        await node.runtime.pull_image("127.0.0.1:1/none:1", None, node.sandbox)
    assert caught.value.reason == "ErrImagePull"
    assert caught.value.message == (
        'failed to pull and unpack image "127.0.0.1:1/none:1": failed to resolve reference "127.0.0.1:1/none:1": '
        'failed to do request: Head "http://127.0.0.1:1/v2/none/manifests/1": dial tcp 127.0.0.1:1: connect: '
        "connection refused"
    )


async def test_images_that_were_loaded_are_known_by_short_names(node: Node) -> None:
    image = await node.runtime.image_status("busybox:1.36")
    assert isinstance(image, Image)
    assert image.repo_tags == [BUSYBOX]
    assert image.size_bytes > 0
    assert {tag for listed in await node.runtime.list_images() for tag in listed.repo_tags} >= {BUSYBOX, PAUSE}


@pytest.mark.parametrize(("user", "uid", "username"), [("1000:1000", 1000, ""), ("guest", None, "guest")])
async def test_user_of_an_image_is_told(node: Node, user: str, uid: int | None, username: str) -> None:
    name = f"docker.io/library/user-{username or uid}:1"
    node.containerd.load_image(name, {"marker": user.encode()}, ["/x"], user)
    image = await node.runtime.image_status(name)
    assert image is not None
    assert (image.uid, image.username) == (uid, username)
    await node.runtime.remove_image(name)


async def test_impossible_name_is_told_apart_from_a_missing_image(node: Node) -> None:
    with pytest.raises(RuntimeCallError, match="must be lowercase") as caught:
        await node.runtime.image_status("Busybox:1")
    assert caught.value.reason == "InvalidImageName"
    assert await node.runtime.image_status("no-such-image:1") is None


async def test_file_system_of_images_is_told(node: Node) -> None:
    where = await node.runtime.image_fs_info()
    assert where is not None
    assert Path(where.mountpoint).is_dir()
    assert node.containerd.folder in Path(where.mountpoint).parents
    assert where.used_bytes >= 0


async def test_unused_image_is_collected_from_a_full_disk_and_no_other(node: Node) -> None:
    unused, used, wanted = (f"docker.io/library/collected-{name}:1" for name in ("unused", "used", "wanted"))
    for name in (unused, used, wanted):
        node.containerd.load_image(name, {"marker": name.encode()}, ["/x"], "")
    image = await node.runtime.image_status(used)
    assert image is not None
    await node.create("sleep", "60", image=image.id, image_spec=used)
    events: Any = None
    others = {tag for one in await node.runtime.list_images() for tag in one.repo_tags} - {unused, used}
    collector = ImageCollector(
        node.runtime, events, lambda: others, Retention(minimum_age_s=0), space_of=lambda _: Space(10**12, 0)
    )
    with pytest.raises(CollectionError, match="only found"):
        await collector.collect()
    left = {tag for one in await node.runtime.list_images() for tag in one.repo_tags}
    assert left == others | {used}
    for name in (used, wanted):
        await node.runtime.remove_image(name)
