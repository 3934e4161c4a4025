"""Recorded creations (tests/golden/kube-api), run through the functions of a kind without a server."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from kubeedge.apiserver import status
from kubeedge.apiserver.kinds.registry import Registry
from kubeedge.apiserver.kinds.spec import KindSpec, Object
from kubeedge.apiserver.schema.reader import TypeMismatchError
from kubeedge.kube.api import ApiError

GOLDEN = Path(__file__).parents[1] / "golden" / "kube-api"
FILLED_BY_THE_SERVER = ("uid", "resourceVersion", "creationTimestamp", "managedFields")


class Creation(NamedTuple):
    """A recorded POST of an object."""

    name: str
    group: str
    version: str
    namespace: str
    plural: str
    body: Object
    status: int
    answer: Any

    def __str__(self) -> str:
        return self.name


def creations(*files: str) -> Iterator[Creation]:
    """Recorded creations whose body is an object, in order."""
    for file in files:
        for line in (GOLDEN / f"{file}.jsonl").read_text().splitlines():
            entry = json.loads(line)
            request, response = entry["request"], entry["response"]
            parts = request["path"].partition("?")[0].strip("/").split("/")
            group, version = ("", parts[1]) if parts[0] == "api" else (parts[1], parts[2])
            rest = parts[2:] if parts[0] == "api" else parts[3:]
            namespace = rest[1] if rest[:1] == ["namespaces"] and len(rest) > 2 else ""
            plural = rest[2:] if namespace else rest
            if request["method"] != "POST" or len(plural) != 1 or not isinstance(request.get("body"), dict):
                continue
            yield Creation(
                f"{file}: {entry['name']}",
                group,
                version,
                namespace,
                plural[0],
                request["body"],
                response["status"],
                response["body"],
            )


def objects() -> Iterator[Object]:
    """Every object in a recorded answer, those of lists and watches too, with kind and apiVersion."""
    for path in sorted(GOLDEN.glob("*.jsonl")):
        for line in path.read_text().splitlines():
            response = json.loads(line)["response"]
            for answer in response.get("events") or [response.get("body")]:
                if isinstance(answer, dict):
                    yield from _objects(answer.get("object", answer))


def _objects(answer: Object) -> Iterator[Object]:
    kind, api_version = answer.get("kind"), answer.get("apiVersion")
    if not kind or not api_version:
        return
    if "items" in answer:
        for item in answer["items"] or ():
            yield {"kind": kind.removesuffix("List"), "apiVersion": api_version, **item}
    else:
        yield answer


def spec_of(registry: Registry, creation: Creation) -> KindSpec:
    """The kind that a creation is of."""
    spec = registry.lookup(creation.group, creation.version, creation.plural)
    assert spec is not None, creation
    return spec


def created(spec: KindSpec, creation: Creation) -> Object:
    """What becomes of the body on its way to storage. Raises ApiError where a server would refuse it."""
    kind = spec.kind
    obj = {"kind": kind.kind, "apiVersion": kind.api_version, **copy.deepcopy(creation.body)}
    try:
        obj, _ = spec.decode(obj)
    except TypeMismatchError as error:
        head = f'{kind.kind} in version "{kind.version}" cannot be handled as a {kind.kind}: '
        raise status.bad_request(head + str(error)) from None
    spec.default(obj)
    metadata = obj["metadata"]
    if creation.namespace:
        metadata.setdefault("namespace", creation.namespace)
    answered = creation.answer.get("metadata") or {}
    if metadata.get("generateName"):
        metadata.setdefault("name", answered.get("name", ""))
    metadata["uid"] = answered.get("uid", "")
    spec.prepare_create(obj)
    if causes := spec.validate(obj, None):
        raise status.invalid(kind, metadata.get("name", ""), causes)
    return obj


def answer_to(spec: KindSpec, creation: Creation) -> tuple[int, Any]:
    """(status, body) as far as pure functions can tell."""
    try:
        return 201, without_server_fields(created(spec, creation))
    except ApiError as error:
        return error.code, json.loads(error.status)


def without_server_fields(obj: Any) -> Any:
    """An object without what only a server fills in."""
    if not isinstance(obj, dict) or obj.get("kind") == "Status":
        return obj
    metadata = {key: value for key, value in obj["metadata"].items() if key not in FILLED_BY_THE_SERVER}
    return {**obj, "metadata": metadata}
