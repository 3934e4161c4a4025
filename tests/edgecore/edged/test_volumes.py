"""Volumes on a real file system, with real mounts where this user may make them."""

from __future__ import annotations

import asyncio
import base64
import os
import stat
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kubeedge.edgecore.edged.downward import Place
from kubeedge.edgecore.edged.folders import Folders
from kubeedge.edgecore.edged.meta import MetaError
from kubeedge.edgecore.edged.objects import Objects
from kubeedge.edgecore.edged.pod import Pod
from kubeedge.edgecore.edged.volumes import atomic, mounts
from kubeedge.edgecore.edged.volumes.atomic import File
from kubeedge.edgecore.edged.volumes.mounter import VolumeMounter, unsupported
from kubeedge.edgecore.edged.volumes.payload import MountError

PLACE = Place(["192.0.2.1"], ["10.0.0.1"], {"cpu": "2", "memory": "1Gi"})
NAMES = st.sampled_from(["a", "b", "dir/c", "dir/d", "e"])
FILES = st.dictionaries(NAMES, st.builds(File, st.binary(max_size=4), st.sampled_from([0o644, 0o400])), max_size=5)


def content(folder: Path) -> dict[str, bytes]:
    """The files as a reader sees them, through the links."""
    found: dict[str, bytes] = {}
    for parent, folders, names in os.walk(folder, followlinks=True):
        folders[:] = [name for name in folders if not name.startswith("..")]
        for name in names:
            path = Path(parent, name)
            found[str(path.relative_to(folder))] = path.read_bytes()
    return found


@given(st.lists(FILES, min_size=1, max_size=4))
@settings(deadline=None, max_examples=60)
def test_directory_holds_exactly_what_was_written_last(tmp_path_factory: pytest.TempPathFactory, sets: Any) -> None:
    target = tmp_path_factory.mktemp("volume")
    before: dict[str, File] | None = None
    for files in sets:
        assert atomic.write(target, files) == (files != before)
        assert content(target) == {name: file.content for name, file in files.items()}
        for name, file in files.items():
            assert stat.S_IMODE((target / name).stat().st_mode) == file.mode
        before = files
    # One directory of data and the link to it: nothing of earlier sets is left.
    assert len([entry for entry in target.iterdir() if entry.name.startswith("..")]) == 2


def test_reader_never_sees_a_mixture(tmp_path: Path) -> None:
    sets = [{name: File(str(i).encode() * 100, 0o644) for name in "abc"} for i in range(2)]
    atomic.write(tmp_path, sets[0])
    mixtures: list[set[bytes]] = []
    done = threading.Event()

    def read() -> None:
        while not done.is_set():
            # Opening the directory once is what a careful reader does.
            try:
                folder = os.open(tmp_path / atomic.DATA, os.O_RDONLY | os.O_DIRECTORY)
            except FileNotFoundError:
                continue
            try:
                seen = set()
                for name in "abc":
                    descriptor = os.open(name, os.O_RDONLY, dir_fd=folder)
                    seen.add(os.read(descriptor, 200))
                    os.close(descriptor)
                if len(seen) != 1:
                    mixtures.append(seen)
            except FileNotFoundError:
                continue
            finally:
                os.close(folder)

    reader = threading.Thread(target=read)
    reader.start()
    for i in range(200):
        atomic.write(tmp_path, sets[i % 2])
    done.set()
    reader.join()
    assert mixtures == []


class Store:
    """ConfigMaps and Secrets by name."""

    def __init__(self) -> None:
        self.config_maps: dict[str, dict[str, Any]] = {}
        self.secrets: dict[str, dict[str, Any]] = {}
        self.tokens = 0
        self.lifetime_s = 3600
        self.is_online = True

    async def config_map(self, namespace: str, name: str) -> dict[str, Any]:
        return self._get(self.config_maps, "configmap", name)

    async def secret(self, namespace: str, name: str) -> dict[str, Any]:
        return self._get(self.secrets, "secret", name)

    def _get(self, found: dict[str, dict[str, Any]], kind: str, name: str) -> dict[str, Any]:
        if name not in found:
            raise MetaError("NotFound", f'{kind} "{name}" not found')
        return found[name]

    async def token(self, namespace: str, service_account: str, request: dict[str, Any]) -> dict[str, Any]:
        if not self.is_online:
            raise MetaError("", "not connected")
        self.tokens += 1
        return {"spec": {"expirationSeconds": self.lifetime_s}, "status": {"token": f"token-{self.tokens}"}}


class Bench:
    def __init__(self, folder: Path) -> None:
        self.now = 1000.0
        self.store = Store()
        self.objects = Objects(self.store, lambda: self.now)
        self.folders = Folders(folder / "kubelet", folder / "logs")
        self.folders.prepare()
        self.mounter = VolumeMounter(self.folders, self.objects)

    def pod(self, *volumes: dict[str, Any], **spec: Any) -> Pod:
        metadata = {"name": "p", "namespace": "n", "uid": "u", "labels": {"b": "2", "a": 'say "hi"\n'}}
        containers = [{"name": "main", "image": "i"}]
        return Pod({"metadata": metadata, "spec": {"containers": containers, "volumes": list(volumes), **spec}})

    async def set_up(self, pod: Pod) -> None:
        self.folders.make_pod(pod)
        await self.mounter.set_up(pod, PLACE)

    def path(self, plugin: str, name: str = "v") -> Path:
        return self.folders.volume("u", plugin, name)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    yield made
    made.folders.remove_pod("u")


def encoded(**values: str) -> dict[str, Any]:
    return {"data": {key: base64.b64encode(value.encode()).decode() for key, value in values.items()}}


async def test_config_map_gives_a_file_a_key(bench: Bench) -> None:
    bench.store.config_maps["conf"] = {"data": {"a": "one"}, "binaryData": {"b": base64.b64encode(b"\0").decode()}}
    await bench.set_up(bench.pod({"name": "v", "configMap": {"name": "conf"}}))
    assert content(bench.path("configmap")) == {"a": b"one", "b": b"\0"}


async def test_items_choose_keys_paths_and_modes(bench: Bench) -> None:
    bench.store.config_maps["conf"] = {"data": {"a": "one", "b": "two"}}
    items = [{"key": "a", "path": "a"}, {"key": "b", "path": "dir/b", "mode": 0o444}]
    await bench.set_up(bench.pod({"name": "v", "configMap": {"name": "conf", "defaultMode": 0o600, "items": items}}))
    volume = bench.path("configmap")
    assert content(volume) == {"a": b"one", "dir/b": b"two"}
    assert stat.S_IMODE((volume / "a").stat().st_mode) == 0o600
    assert stat.S_IMODE((volume / "dir" / "b").stat().st_mode) == 0o444


@pytest.mark.parametrize(
    ("volume", "message"),
    [
        ({"configMap": {"name": "no"}}, 'configmap "no" not found'),
        ({"secret": {"secretName": "no"}}, 'secret "no" not found'),
        (
            {"configMap": {"name": "conf", "items": [{"key": "no", "path": "x"}]}},
            "references non-existent configmap key: no",
        ),
        ({"configMap": {"name": "conf", "items": [{"key": "a", "path": "../x"}]}}, "invalid path '../x'"),
        (
            {"hostPath": {"path": "/no/such", "type": "Directory"}},
            "hostPath type check failed: /no/such is not a directory",
        ),
        ({"hostPath": {"path": "/etc", "type": "File"}}, "hostPath type check failed: /etc is not a file"),
        ({"emptyDir": {"medium": "HugePages"}}, 'storage medium "HugePages" is not supported on this node'),
    ],
)
async def test_volume_that_cannot_be_set_up_says_why(bench: Bench, volume: dict[str, Any], message: str) -> None:
    bench.store.config_maps["conf"] = {"data": {"a": "one"}}
    with pytest.raises(MountError) as caught:
        await bench.set_up(bench.pod({"name": "v", **volume}))
    assert (caught.value.volume, caught.value.message) == ("v", message)


@pytest.mark.parametrize(
    "volume", [{"configMap": {"name": "no", "optional": True}}, {"secret": {"secretName": "no", "optional": True}}]
)
async def test_optional_source_that_is_missing_gives_an_empty_volume(bench: Bench, volume: dict[str, Any]) -> None:
    await bench.set_up(bench.pod({"name": "v", **volume}))
    (plugin,) = [p for p in ("configmap", "secret") if bench.path(p).exists()]
    assert content(bench.path(plugin)) == {}


async def test_secret_lies_in_memory_and_is_decoded(bench: Bench) -> None:
    bench.store.secrets["cred"] = encoded(user="u")
    await bench.set_up(bench.pod({"name": "v", "secret": {"secretName": "cred"}}))
    assert content(bench.path("secret")) == {"user": b"u"}
    assert mounts.is_mount_point(bench.path("secret")) == bench.mounter._may_mount


async def test_downward_api_gives_labels_and_limits(bench: Bench) -> None:
    items = [
        {"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}},
        {"path": "cpu", "resourceFieldRef": {"containerName": "main", "resource": "limits.cpu"}},
    ]
    await bench.set_up(bench.pod({"name": "v", "downwardAPI": {"items": items}}))
    assert content(bench.path("downward-api")) == {"labels": b'a="say \\"hi\\"\\n"\nb="2"', "cpu": b"2"}


async def test_projected_volume_joins_its_sources(bench: Bench) -> None:
    bench.store.config_maps["conf"] = {"data": {"a": "one"}}
    bench.store.secrets["cred"] = encoded(user="u")
    sources = [
        {"configMap": {"name": "conf"}},
        {"secret": {"name": "cred", "items": [{"key": "user", "path": "who"}]}},
        {"serviceAccountToken": {"path": "token", "expirationSeconds": 3607}},
        {"downwardAPI": {"items": [{"path": "name", "fieldRef": {"fieldPath": "metadata.name"}}]}},
    ]
    await bench.set_up(bench.pod({"name": "v", "projected": {"sources": sources}}))
    assert content(bench.path("projected")) == {"a": b"one", "who": b"u", "token": b"token-1", "name": b"p"}


async def test_token_is_renewed_after_four_fifths_of_its_life(bench: Bench) -> None:
    pod = bench.pod({"name": "v", "projected": {"sources": [{"serviceAccountToken": {"path": "token"}}]}})
    await bench.set_up(pod)
    assert bench.objects.token_renewal_at(pod) == bench.now + 0.8 * 3600
    bench.now += 0.79 * 3600
    await bench.mounter.refresh(pod, PLACE)
    assert content(bench.path("projected")) == {"token": b"token-1"}
    bench.now += 0.02 * 3600
    await bench.mounter.refresh(pod, PLACE)
    assert content(bench.path("projected")) == {"token": b"token-2"}


async def test_token_that_cannot_be_renewed_serves_until_its_end(bench: Bench) -> None:
    pod = bench.pod({"name": "v", "projected": {"sources": [{"serviceAccountToken": {"path": "token"}}]}})
    await bench.set_up(pod)
    bench.store.is_online = False
    bench.now += 0.9 * 3600
    await bench.mounter.refresh(pod, PLACE)
    assert content(bench.path("projected")) == {"token": b"token-1"}
    bench.now += 0.2 * 3600
    with pytest.raises(MountError, match="failed to fetch token: not connected"):
        await bench.mounter.refresh(pod, PLACE)


async def test_push_is_seen_at_the_next_refresh(bench: Bench) -> None:
    bench.store.config_maps["conf"] = {"data": {"a": "one"}}
    pod = bench.pod({"name": "v", "configMap": {"name": "conf"}})
    await bench.set_up(pod)
    bench.objects.pushed("configmap", "n", "conf", {"data": {"b": "two"}})
    await bench.mounter.refresh(pod, PLACE)
    assert content(bench.path("configmap")) == {"b": b"two"}


async def test_refresh_of_one_volume_is_not_held_up_by_another(bench: Bench) -> None:
    bench.store.config_maps.update(one={"data": {"a": "1"}}, two={"data": {"a": "1"}})
    pod = bench.pod({"name": "v", "configMap": {"name": "one"}}, {"name": "w", "configMap": {"name": "two"}})
    await bench.set_up(pod)
    bench.objects.pushed("configmap", "n", "one", None)
    del bench.store.config_maps["one"]
    bench.objects.pushed("configmap", "n", "two", {"data": {"a": "2"}})
    with pytest.raises(MountError):
        await bench.mounter.refresh(pod, PLACE)
    assert content(bench.path("configmap", "v")) == {"a": b"1"}
    assert content(bench.path("configmap", "w")) == {"a": b"2"}


async def test_empty_dir_is_for_everyone_and_of_the_pods_group(bench: Bench) -> None:
    await bench.set_up(bench.pod({"name": "v", "emptyDir": {}}, securityContext={"fsGroup": os.getgid()}))
    found = bench.path("empty-dir").stat()
    assert stat.S_IMODE(found.st_mode) == 0o2777
    assert found.st_gid == os.getgid()


async def test_empty_dir_in_memory_is_as_large_as_asked_for(bench: Bench) -> None:
    pod = bench.pod({"name": "v", "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}})
    if os.geteuid():
        with pytest.raises(MountError, match="may not mount"):
            await bench.set_up(pod)
        return
    await bench.set_up(pod)
    size = os.statvfs(bench.path("empty-dir"))
    assert size.f_blocks * size.f_frsize == 1 << 20
    (bench.path("empty-dir") / "kept").touch()
    await bench.set_up(pod)
    assert (bench.path("empty-dir") / "kept").exists()


async def test_empty_dir_over_its_limit_is_named(bench: Bench) -> None:
    pod = bench.pod({"name": "v", "emptyDir": {"sizeLimit": "64Ki"}}, {"name": "w", "emptyDir": {}})
    await bench.set_up(pod)
    (bench.path("empty-dir", "w") / "large").write_bytes(b"x" * 200_000)
    (bench.path("empty-dir") / "small").write_bytes(b"x" * 10_000)
    (bench.path("empty-dir") / "same").hardlink_to(bench.path("empty-dir") / "small")
    assert bench.mounter.over_limit(pod) == ""
    (bench.path("empty-dir") / "large").write_bytes(b"x" * 70_000)
    assert bench.mounter.over_limit(pod) == 'Usage of EmptyDir volume "v" exceeds the limit "64Ki". '


async def test_host_path_is_made_where_that_is_asked_for(bench: Bench, tmp_path: Path) -> None:
    volumes = [
        {"name": "d", "hostPath": {"path": str(tmp_path / "new" / "dir"), "type": "DirectoryOrCreate"}},
        {"name": "f", "hostPath": {"path": str(tmp_path / "file"), "type": "FileOrCreate"}},
        {"name": "x", "hostPath": {"path": str(tmp_path / "absent")}},
    ]
    await bench.set_up(bench.pod(*volumes))
    assert (tmp_path / "new" / "dir").is_dir()
    assert (tmp_path / "file").is_file()


def mounting(pod: Pod, *volume_mounts: dict[str, Any]) -> dict[str, Any]:
    return {"name": "main", "image": "i", "volumeMounts": list(volume_mounts)}


async def test_sub_path_is_one_file_or_folder_of_the_volume(bench: Bench) -> None:
    bench.store.config_maps["conf"] = {"data": {"a": "one"}}
    pod = bench.pod({"name": "v", "configMap": {"name": "conf"}}, {"name": "e", "emptyDir": {}})
    await bench.set_up(pod)
    container = mounting(
        pod,
        {"name": "v", "mountPath": "/one/a", "subPath": "a"},
        {"name": "e", "mountPath": "/x", "subPathExpr": "$(NODE)/y"},
    )
    one, two = await bench.mounter.mounts_of(pod, container, {"NODE": "e1"})
    assert Path(one.host_path).read_bytes() == b"one"
    (Path(two.host_path) / "written").touch()
    assert (bench.path("empty-dir", "e") / "e1" / "y" / "written").exists()
    again, _ = await bench.mounter.mounts_of(pod, container, {"NODE": "e1"})
    assert again == one


async def test_sub_path_cannot_lead_out_of_its_volume(bench: Bench, tmp_path: Path) -> None:
    pod = bench.pod({"name": "e", "emptyDir": {}})
    await bench.set_up(pod)
    (tmp_path / "secret").mkdir()
    (bench.path("empty-dir", "e") / "way").symlink_to(tmp_path / "secret")
    for sub_path in ("way", "../../..", "way/deeper"):
        with pytest.raises(MountError):
            await bench.mounter.mounts_of(pod, mounting(pod, {"name": "e", "mountPath": "/x", "subPath": sub_path}), {})
    assert list((tmp_path / "secret").iterdir()) == []
    container = mounting(pod, {"name": "e", "mountPath": "/x", "subPathExpr": "$(NO)"})
    with pytest.raises(MountError, match="unknown variable"):
        await bench.mounter.mounts_of(pod, container, {})


async def test_removal_unmounts_everything_and_leaves_the_host_alone(bench: Bench, tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    kept.mkdir()
    (kept / "file").touch()
    bench.store.secrets["cred"] = encoded(user="u")
    pod = bench.pod(
        {"name": "s", "secret": {"secretName": "cred"}},
        {"name": "h", "hostPath": {"path": str(kept)}},
        {"name": "e", "emptyDir": {}},
    )
    await bench.set_up(pod)
    container = mounting(pod, {"name": "h", "mountPath": "/h", "subPath": "sub"}, {"name": "e", "mountPath": "/e"})
    await bench.mounter.mounts_of(pod, container, {})
    await asyncio.to_thread(bench.folders.remove_pod, "u")
    assert not bench.folders.pod("u").exists()
    assert mounts.mounts_below(bench.folders.root) == []
    assert sorted(entry.name for entry in kept.iterdir()) == ["file", "sub"]


def test_volume_of_an_unknown_kind_is_named() -> None:
    make: Callable[[dict[str, Any]], Pod] = lambda volume: Pod({"spec": {"volumes": [volume]}})  # noqa: E731
    assert unsupported(make({"name": "v", "emptyDir": {}})) == ""
    assert unsupported(make({"name": "v", "nfs": {}})) == 'volume "v" of kind nfs is not supported on this node'
