"""Namespaces, Services, definitions of custom kinds."""

from __future__ import annotations

from msgspec import field

from kubeedge.apiserver.controllers.views.metadata import Condition, Metadata, View


class NamespaceSpec(View):
    """NamespaceSpec."""

    finalizers: list[str] = field(default_factory=list)


class NamespaceStatus(View):
    """NamespaceStatus."""

    phase: str = ""
    conditions: list[Condition] = field(default_factory=list)


class Namespace(View):
    """A Namespace."""

    metadata: Metadata = field(default_factory=Metadata)
    spec: NamespaceSpec = field(default_factory=NamespaceSpec)
    status: NamespaceStatus = field(default_factory=NamespaceStatus)


class ServicePort(View):
    """A port of a Service."""

    name: str = ""
    protocol: str = "TCP"
    port: int = 0
    target_port: int | str | None = None
    app_protocol: str | None = None


class ServiceSpec(View):
    """ServiceSpec."""

    type: str = ""
    selector: dict[str, str] = field(default_factory=dict)
    ports: list[ServicePort] = field(default_factory=list)
    cluster_ip: str = field(default="", name="clusterIP")
    ip_families: list[str] = field(default_factory=list)
    publish_not_ready_addresses: bool = False


class Service(View):
    """A Service."""

    metadata: Metadata = field(default_factory=Metadata)
    spec: ServiceSpec = field(default_factory=ServiceSpec)


class CrdNames(View):
    """Names of a custom kind."""

    plural: str = ""
    kind: str = ""


class CrdVersion(View):
    """A version of a custom kind."""

    name: str = ""
    served: bool = False
    storage: bool = False


class CrdSpec(View):
    """CustomResourceDefinitionSpec."""

    group: str = ""
    scope: str = ""
    names: CrdNames = field(default_factory=CrdNames)
    versions: list[CrdVersion] = field(default_factory=list)


class CrdStatus(View):
    """CustomResourceDefinitionStatus."""

    conditions: list[Condition] = field(default_factory=list)


class CustomResourceDefinition(View):
    """A CustomResourceDefinition."""

    metadata: Metadata = field(default_factory=Metadata)
    spec: CrdSpec = field(default_factory=CrdSpec)
    status: CrdStatus = field(default_factory=CrdStatus)
