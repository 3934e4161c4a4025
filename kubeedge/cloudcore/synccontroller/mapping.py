"""From the kind that an ObjectSync names to the kind of the API, custom resources included (spec 03 §3.2)."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from kubeedge.kube import kinds
from kubeedge.kube.api import Kind
from kubeedge.kube.caches import Caches


class _Names(msgspec.Struct):
    plural: str
    kind: str


class _Spec(msgspec.Struct):
    group: str
    names: _Names
    scope: str


class _Definition(msgspec.Struct):
    spec: _Spec


_definition = msgspec.json.Decoder(_Definition)


def _known() -> Iterator[Kind]:
    for value in vars(kinds).values():
        if isinstance(value, Kind):
            yield value


class KindMapping:
    """Resolves kinds by a table, and custom ones by their definitions, whose plurals no rule can guess (quirk SC4)."""

    def __init__(self, caches: Caches) -> None:
        self._caches = caches
        self._kinds = {(kind.api_version, kind.kind): kind for kind in _known()}

    async def resolve(self, api_version: str, kind: str) -> Kind | None:
        """Return the kind of the API, None when there is no such kind in it."""
        known = self._kinds.get((api_version, kind))
        if known is not None:
            return known
        group, slash, version = api_version.rpartition("/")
        if not slash or not kind:
            return None
        definitions = self._caches.open(kinds.CUSTOM_RESOURCE_DEFINITION)
        await definitions.synced()
        for object in definitions.objects():
            spec = _definition.decode(object.raw).spec
            if (spec.group, spec.names.kind) == (group, kind):
                return Kind(group, version, spec.names.plural, kind, spec.scope == "Namespaced")
        return None
