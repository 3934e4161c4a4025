"""Finds kinds by the names that clients use; custom resource definitions come and go while the server runs."""

from __future__ import annotations

from collections.abc import Iterator

from kubeedge.apiserver.kinds.spec import KindSpec


class Registry:
    """The kinds that are served. `generation` counts changes, so that discovery documents know when they are stale."""

    def __init__(self, specs: tuple[KindSpec, ...] = ()) -> None:
        self._by_resource: dict[tuple[str, str, str], KindSpec] = {}
        self._by_kind: dict[tuple[str, str, str], KindSpec] = {}
        self.generation = 0
        for spec in specs:
            self.add(spec)

    def add(self, spec: KindSpec) -> None:
        """Serve a kind; one with the same group, version and plural is replaced."""
        kind = spec.kind
        self.remove(kind.group, kind.version, kind.plural)
        self._by_resource[kind.group, kind.version, kind.plural] = spec
        self._by_kind[kind.group, kind.version, kind.kind] = spec
        self.generation += 1

    def remove(self, group: str, version: str, plural: str) -> None:
        """Stop serving a kind; nothing happens when it isn't served."""
        spec = self._by_resource.pop((group, version, plural), None)
        if spec is not None:
            self._by_kind.pop((group, version, spec.kind.kind), None)
            self.generation += 1

    def lookup(self, group: str, version: str, plural: str) -> KindSpec | None:
        """The kind of a path `/apis/<group>/<version>/…/<plural>`; group is empty for `/api/v1`."""
        return self._by_resource.get((group, version, plural))

    def by_kind(self, group: str, version: str, kind: str) -> KindSpec | None:
        """The kind of an object's apiVersion and kind."""
        return self._by_kind.get((group, version, kind))

    def specs(self) -> Iterator[KindSpec]:
        """Every kind in the order in which they were added."""
        return iter(tuple(self._by_resource.values()))

    def versions(self, group: str) -> list[str]:
        """Served versions of a group, preferred one first; empty for an unknown group."""
        return list(dict.fromkeys(version for g, version, _ in self._by_resource if g == group))

    def groups(self) -> list[str]:
        """Served groups in the order in which they were added."""
        return list(dict.fromkeys(group for group, _, _ in self._by_resource))
