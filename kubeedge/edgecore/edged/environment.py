"""The environment of a container (spec 05 §5.6)."""

from __future__ import annotations

import base64
import binascii
import re

from kubeedge.edgecore.edged import downward
from kubeedge.edgecore.edged.downward import FieldError, Place
from kubeedge.edgecore.edged.expansion import expand
from kubeedge.edgecore.edged.objects import MissingError, Objects
from kubeedge.edgecore.edged.pod import Object, Pod

# Any printable name may stand in an environment but for `=` (Kubernetes 1.32: relaxed names).
_NAME = re.compile(r"^[ -<>-~]+$")


class ConfigError(Exception):
    """A container that cannot be configured: `CreateContainerConfigError` with this message."""


class Environment:
    """Result: the variables in order of their first definition, later definitions winning.

    skipped names keys of an envFrom source that cannot be names of variables, as `<source>: <keys>` texts.
    """

    __slots__ = ("skipped", "values")

    def __init__(self) -> None:
        self.values: dict[str, str] = {}
        self.skipped: list[str] = []


async def build(pod: Pod, container: Object, objects: Objects, place: Place, service: tuple[str, str]) -> Environment:
    """Build the environment of one container.

    service is the address and port of the local API, set last as KUBERNETES_SERVICE_HOST and _PORT (spec 05 E1).
    Raises ConfigError.
    """
    result = Environment()
    for source in container.get("envFrom") or ():
        await _take_all(pod, source, objects, result)
    for variable in container.get("env") or ():
        name = variable["name"]
        source = variable.get("valueFrom")
        if source is None:
            result.values[name] = expand(str(variable.get("value") or ""), result.values)
            continue
        value = await _value(pod, container, source, objects, place)
        if value is not None:
            result.values[name] = value
    for name, value in zip(("KUBERNETES_SERVICE_HOST", "KUBERNETES_SERVICE_PORT"), service, strict=True):
        result.values.pop(name, None)
        result.values[name] = value
    return result


async def _take_all(pod: Pod, source: Object, objects: Objects, result: Environment) -> None:
    prefix = source.get("prefix") or ""
    for reference, is_secret in ((source.get("configMapRef"), False), (source.get("secretRef"), True)):
        if reference is None:
            continue
        name = reference.get("name") or ""
        found = await _fetch(pod, name, is_secret, bool(reference.get("optional")), objects)
        if found is None:
            continue
        invalid: list[str] = []
        for key, value in sorted(texts(found, is_secret).items()):
            if _NAME.match(prefix + key):
                result.values[prefix + key] = value
            else:
                invalid.append(prefix + key)
        if invalid:
            kind = "Secret" if is_secret else "ConfigMap"
            result.skipped.append(f"Keys [{', '.join(invalid)}] from the EnvFrom {kind.lower()} {pod.namespace}/{name}")


async def _value(pod: Pod, container: Object, source: Object, objects: Objects, place: Place) -> str | None:
    try:
        if "fieldRef" in source:
            return downward.field(pod, source["fieldRef"].get("fieldPath") or "", place)
        if "resourceFieldRef" in source:
            return downward.resource(pod, source["resourceFieldRef"], place, container)
    except FieldError as error:
        raise ConfigError(str(error)) from None
    for member, is_secret in (("configMapKeyRef", False), ("secretKeyRef", True)):
        reference = source.get(member)
        if reference is None:
            continue
        name, key = reference.get("name") or "", reference.get("key") or ""
        optional = bool(reference.get("optional"))
        found = await _fetch(pod, name, is_secret, optional, objects)
        if found is None:
            return None
        values = texts(found, is_secret)
        if key in values:
            return values[key]
        if optional:
            return None
        kind = "Secret" if is_secret else "ConfigMap"
        raise ConfigError(f"couldn't find key {key} in {kind} {pod.namespace}/{name}")
    raise ConfigError(f"unsupported source of an environment variable: {', '.join(source)}")


async def _fetch(pod: Pod, name: str, is_secret: bool, optional: bool, objects: Objects) -> Object | None:
    ask = objects.secret if is_secret else objects.config_map
    try:
        return await ask(pod.namespace, name)
    except MissingError as error:
        if optional:
            # Also when nobody can be asked: a node that restarts without a cloud runs what it ran before.
            return None
        raise ConfigError(error.message) from None


def texts(found: Object, is_secret: bool) -> dict[str, str]:
    """Return the data of a ConfigMap, or of a Secret decoded, as text."""
    data = found.get("data") or {}
    if not is_secret:
        return {key: str(value) for key, value in data.items()}
    decoded: dict[str, str] = {}
    for key, value in data.items():
        try:
            decoded[key] = base64.b64decode(value or "", validate=True).decode("utf-8", "replace")
        except (binascii.Error, ValueError):
            raise ConfigError(f"value of key {key} is not base64") from None
    return decoded
