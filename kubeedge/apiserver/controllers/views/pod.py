"""Pods, as far as placement, life cycle and endpoints look at them."""

from __future__ import annotations

from msgspec import field

from kubeedge.apiserver.controllers.views.metadata import Condition, LabelSelector, Metadata, Requirement, View


class NodeSelectorTerm(View):
    """A term of a node selector: all of its requirements hold."""

    match_expressions: list[Requirement] = field(default_factory=list)
    match_fields: list[Requirement] = field(default_factory=list)


class NodeSelector(View):
    """A node selector: one of its terms holds."""

    node_selector_terms: list[NodeSelectorTerm] = field(default_factory=list)


class PreferredTerm(View):
    """A preference of a pod for nodes."""

    weight: int = 0
    preference: NodeSelectorTerm = field(default_factory=NodeSelectorTerm)


class NodeAffinity(View):
    """NodeAffinity."""

    required: NodeSelector | None = field(default=None, name="requiredDuringSchedulingIgnoredDuringExecution")
    preferred: list[PreferredTerm] = field(default_factory=list, name="preferredDuringSchedulingIgnoredDuringExecution")


class PodAffinityTerm(View):
    """Pods near which, or away from which, a pod wants to be."""

    topology_key: str = ""
    label_selector: LabelSelector | None = None
    namespaces: list[str] = field(default_factory=list)
    namespace_selector: LabelSelector | None = None


class PodAffinity(View):
    """PodAffinity or PodAntiAffinity, of which only what is required counts."""

    required: list[PodAffinityTerm] = field(default_factory=list, name="requiredDuringSchedulingIgnoredDuringExecution")


class Affinity(View):
    """Affinity."""

    node_affinity: NodeAffinity | None = None
    pod_affinity: PodAffinity | None = None
    pod_anti_affinity: PodAffinity | None = None


class Toleration(View):
    """A toleration of a pod."""

    key: str = ""
    operator: str = ""
    value: str = ""
    effect: str = ""
    toleration_seconds: int | None = None


class ContainerPort(View):
    """A port of a container."""

    container_port: int = 0
    name: str = ""
    protocol: str = "TCP"
    host_port: int = 0
    host_ip: str = field(default="", name="hostIP")


class Resources(View):
    """Requests of a container by resource name; quantities as written."""

    requests: dict[str, str] = field(default_factory=dict)


class Container(View):
    """A container or init container."""

    name: str = ""
    ports: list[ContainerPort] = field(default_factory=list)
    resources: Resources = field(default_factory=Resources)
    restart_policy: str = ""


class ClaimVolume(View):
    """A volume's reference to a claim."""

    claim_name: str = ""


class Volume(View):
    """A volume, of which only the claim matters."""

    persistent_volume_claim: ClaimVolume | None = None


class PodSpec(View):
    """PodSpec."""

    node_name: str = ""
    scheduler_name: str = "default-scheduler"
    scheduling_gates: list[dict[str, str]] = field(default_factory=list)
    node_selector: dict[str, str] = field(default_factory=dict)
    affinity: Affinity | None = None
    tolerations: list[Toleration] = field(default_factory=list)
    priority: int | None = None
    preemption_policy: str = ""
    containers: list[Container] = field(default_factory=list)
    init_containers: list[Container] = field(default_factory=list)
    overhead: dict[str, str] = field(default_factory=dict)
    resources: Resources | None = None
    host_network: bool = False
    hostname: str = ""
    subdomain: str = ""
    volumes: list[Volume] = field(default_factory=list)


class ContainerStatus(View):
    """ContainerStatus."""

    restart_count: int = 0


class PodIP(View):
    """An address of a pod."""

    ip: str = ""


class PodStatus(View):
    """PodStatus."""

    phase: str = ""
    conditions: list[Condition] = field(default_factory=list)
    container_statuses: list[ContainerStatus] = field(default_factory=list)
    pod_ip: str = field(default="", name="podIP")
    pod_ips: list[PodIP] = field(default_factory=list, name="podIPs")
    start_time: str | None = None


class Pod(View):
    """A Pod."""

    metadata: Metadata = field(default_factory=Metadata)
    spec: PodSpec = field(default_factory=PodSpec)
    status: PodStatus = field(default_factory=PodStatus)
