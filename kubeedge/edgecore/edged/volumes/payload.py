"""The files of configMap, secret, downwardAPI and projected volumes (spec 05 §5.6)."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping

import msgspec

from kubeedge.edgecore.edged import downward
from kubeedge.edgecore.edged.downward import FieldError, Place
from kubeedge.edgecore.edged.objects import MissingError, Objects
from kubeedge.edgecore.edged.pod import Object, Pod
from kubeedge.edgecore.edged.volumes.atomic import File

DEFAULT_MODE = 0o644
DEFAULT_TOKEN_LIFETIME_S = 3600
# A token that another user than root shall read must not be readable for all.
PRIVATE_TOKEN_MODE = 0o600
# fsGroup: the group may read what the owner may.
GROUP_MODE = 0o440


class MountError(Exception):
    """A volume that cannot be set up; is_final: trying again will not help (the pod's specification is at fault)."""

    def __init__(self, volume: str, message: str, *, is_final: bool = False) -> None:
        super().__init__(message)
        self.volume = volume
        self.message = message
        self.is_final = is_final


async def gather(pod: Pod, volume: Object, objects: Objects, place: Place) -> dict[str, File]:
    """Return the files of a volume by their path in it. Raises MountError when something that it needs is missing."""
    name = volume["name"]
    sources = _sources(volume)
    files: dict[str, File] = {}
    for source, default_mode in sources:
        try:
            files.update(await _source(pod, source, default_mode, objects, place))
        except (MissingError, FieldError, _BadDataError) as error:
            raise MountError(name, str(error)) from None
    group = pod.security.get("fsGroup")
    if group is None:
        return files
    return {path: msgspec.structs.replace(f, mode=f.mode | GROUP_MODE, group=int(group)) for path, f in files.items()}


class _BadDataError(Exception):
    pass


def _sources(volume: Object) -> list[tuple[Object, int]]:
    """Write every kind of volume as a list of sources of a projected one, with their default mode."""
    if "projected" in volume:
        projected = volume["projected"] or {}
        mode = _mode(projected.get("defaultMode"))
        return [(source, mode) for source in projected.get("sources") or ()]
    for kind in ("configMap", "secret", "downwardAPI"):
        if kind in volume:
            body = volume[kind] or {}
            source: Object = {kind: {**body, "name": body.get("secretName")} if kind == "secret" else body}
            return [(source, _mode(body.get("defaultMode")))]
    return []


def _mode(value: object) -> int:
    return DEFAULT_MODE if value is None else int(str(value))


async def _source(pod: Pod, source: Object, mode: int, objects: Objects, place: Place) -> dict[str, File]:
    if "configMap" in source:
        body = source["configMap"]
        return await _keyed(pod, body, mode, objects, is_secret=False)
    if "secret" in source:
        return await _keyed(pod, source["secret"], mode, objects, is_secret=True)
    if "downwardAPI" in source:
        return _downward(pod, source["downwardAPI"], mode, place)
    if "serviceAccountToken" in source:
        return await _token(pod, source["serviceAccountToken"], mode, objects)
    raise _BadDataError(f"projected source {', '.join(source)} is not supported on this node")


async def _keyed(pod: Pod, body: Object, mode: int, objects: Objects, *, is_secret: bool) -> dict[str, File]:
    name = str(body.get("name") or "")
    optional = bool(body.get("optional"))
    try:
        found = await (objects.secret if is_secret else objects.config_map)(pod.namespace, name)
    except MissingError:
        if optional:
            return {}
        raise
    data = content(found, is_secret)
    items = body.get("items")
    if not items:
        return {key: File(value, mode) for key, value in data.items()}
    files: dict[str, File] = {}
    for item in items:
        key = item.get("key") or ""
        if key in data:
            files[_relative(item.get("path") or "")] = File(data[key], _item_mode(item, mode))
        elif not optional:
            what = "secret" if is_secret else "configmap"
            raise _BadDataError(f"references non-existent {what} key: {key}")
    return files


def content(found: Object, is_secret: bool) -> dict[str, bytes]:
    """Return the data of a ConfigMap or Secret as bytes."""
    data: Mapping[str, str] = found.get("data") or {}
    try:
        if is_secret:
            return {key: base64.b64decode(value or "", validate=True) for key, value in data.items()}
        plain = {key: value.encode() for key, value in data.items()}
        binary: Mapping[str, str] = found.get("binaryData") or {}
        return plain | {key: base64.b64decode(value or "", validate=True) for key, value in binary.items()}
    except (binascii.Error, ValueError) as error:
        raise _BadDataError(f"data cannot be decoded: {error}") from None


def _downward(pod: Pod, body: Object, mode: int, place: Place) -> dict[str, File]:
    files: dict[str, File] = {}
    for item in body.get("items") or ():
        if item.get("fieldRef"):
            text = downward.field(pod, item["fieldRef"].get("fieldPath") or "", place)
        else:
            text = downward.resource(pod, item.get("resourceFieldRef") or {}, place)
        files[_relative(item.get("path") or "")] = File(text.encode(), _item_mode(item, mode))
    return files


async def _token(pod: Pod, body: Object, mode: int, objects: Objects) -> dict[str, File]:
    account = str(pod.spec.get("serviceAccountName") or "default")
    audience = body.get("audience")
    lifetime = int(body.get("expirationSeconds") or DEFAULT_TOKEN_LIFETIME_S)
    text = await objects.token(pod, account, [audience] if audience else [], lifetime)
    user = _common_user(pod)
    if pod.security.get("fsGroup") is not None or user is not None:
        mode = PRIVATE_TOKEN_MODE
    return {_relative(body.get("path") or ""): File(text.encode(), mode, user)}


def _common_user(pod: Pod) -> int | None:
    """Return the user that all containers of a pod run as, None where they differ or the image decides."""
    default = pod.security.get("runAsUser")
    users = {(c.get("securityContext") or {}).get("runAsUser", default) for c in pod.every_container()}
    user = users.pop() if len(users) == 1 else None
    return None if user is None else int(user)


def _item_mode(item: Object, default: int) -> int:
    return default if item.get("mode") is None else int(item["mode"])


def _relative(path: str) -> str:
    parts = path.split("/")
    if not path or path.startswith("/") or ".." in parts or parts[0].startswith(".."):
        raise _BadDataError(f"invalid path {path!r}")
    return "/".join(part for part in parts if part not in ("", "."))
