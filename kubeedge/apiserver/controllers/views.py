"""What the controllers read of each kind: the fields their decisions look at, typed; everything else is passed over."""

from __future__ import annotations

from typing import Any, Protocol

import msgspec
from msgspec import field


class View(msgspec.Struct, rename="camel", omit_defaults=True):
    """A part of an object; JSON names are those of the API, absent fields have their zero value."""


class OwnerReference(View):
    """Who owns an object; the one with controller also manages it."""

    api_version: str = ""
    kind: str = ""
    name: str = ""
    uid: str = ""
    controller: bool | None = None
    block_owner_deletion: bool | None = None


class Metadata(View):
    """ObjectMeta without managedFields."""

    name: str = ""
    generate_name: str = ""
    namespace: str = ""
    uid: str = ""
    resource_version: str = ""
    generation: int = 0
    creation_timestamp: str | None = None
    deletion_timestamp: str | None = None
    deletion_grace_period_seconds: int | None = None
    labels: dict[str, str] = field(default_factory=dict)
    annotations: dict[str, str] = field(default_factory=dict)
    owner_references: list[OwnerReference] = field(default_factory=list)
    finalizers: list[str] = field(default_factory=list)

    @property
    def key(self) -> tuple[str, str]:
        """(namespace, name)."""
        return self.namespace, self.name

    @property
    def is_deleting(self) -> bool:
        """Whether a deletion has begun."""
        return self.deletion_timestamp is not None

    @property
    def controller(self) -> OwnerReference | None:
        """The owner that manages the object."""
        return next((owner for owner in self.owner_references if owner.controller), None)


class HasMetadata(Protocol):
    """Any view of a whole object."""

    metadata: Metadata


class Meta(View):
    """An object of which only the metadata matters."""

    metadata: Metadata = field(default_factory=Metadata)


class Condition(View):
    """A condition of any kind of object."""

    type: str
    status: str = ""
    observed_generation: int = 0
    last_probe_time: str | None = None
    last_heartbeat_time: str | None = None
    last_update_time: str | None = None
    last_transition_time: str | None = None
    reason: str = ""
    message: str = ""


def condition(conditions: list[Condition], type_: str) -> Condition | None:
    """Return the condition of that type."""
    return next((found for found in conditions if found.type == type_), None)


class Requirement(View):
    """A requirement on labels (In, NotIn, Exists, DoesNotExist) or on a node (also Gt, Lt)."""

    key: str = ""
    operator: str = ""
    values: list[str] = field(default_factory=list)


class LabelSelector(View):
    """metav1.LabelSelector."""

    match_labels: dict[str, str] = field(default_factory=dict)
    match_expressions: list[Requirement] = field(default_factory=list)


# Nodes


class Taint(View):
    """A taint of a node."""

    key: str = ""
    value: str = ""
    effect: str = ""
    time_added: str | None = None


class NodeSpec(View):
    """NodeSpec."""

    unschedulable: bool = False
    taints: list[Taint] = field(default_factory=list)


class NodeStatus(View):
    """NodeStatus."""

    allocatable: dict[str, str] = field(default_factory=dict)
    conditions: list[Condition] = field(default_factory=list)


class Node(View):
    """A Node."""

    metadata: Metadata = field(default_factory=Metadata)
    spec: NodeSpec = field(default_factory=NodeSpec)
    status: NodeStatus = field(default_factory=NodeStatus)


class LeaseSpec(View):
    """LeaseSpec."""

    holder_identity: str | None = None
    renew_time: str | None = None


class Lease(View):
    """A Lease."""

    metadata: Metadata = field(default_factory=Metadata)
    spec: LeaseSpec = field(default_factory=LeaseSpec)


# Pods


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


# Workloads


class ReplicaSetSpec(View):
    """ReplicaSetSpec."""

    replicas: int = 1
    min_ready_seconds: int = 0
    selector: LabelSelector = field(default_factory=LabelSelector)
    template: dict[str, Any] = field(default_factory=dict)


class ReplicaSetStatus(View):
    """ReplicaSetStatus."""

    replicas: int = 0
    fully_labeled_replicas: int = 0
    ready_replicas: int = 0
    available_replicas: int = 0
    terminating_replicas: int | None = None
    observed_generation: int = 0
    conditions: list[Condition] = field(default_factory=list)


class ReplicaSet(View):
    """A ReplicaSet."""

    metadata: Metadata = field(default_factory=Metadata)
    spec: ReplicaSetSpec = field(default_factory=ReplicaSetSpec)
    status: ReplicaSetStatus = field(default_factory=ReplicaSetStatus)


class RollingUpdate(View):
    """How fast pods are exchanged: numbers or percentages."""

    max_unavailable: int | str | None = None
    max_surge: int | str | None = None


class Strategy(View):
    """DeploymentStrategy or DaemonSetUpdateStrategy."""

    type: str = "RollingUpdate"
    rolling_update: RollingUpdate | None = None


class DeploymentSpec(View):
    """DeploymentSpec."""

    replicas: int = 1
    selector: LabelSelector = field(default_factory=LabelSelector)
    template: dict[str, Any] = field(default_factory=dict)
    strategy: Strategy = field(default_factory=Strategy)
    min_ready_seconds: int = 0
    revision_history_limit: int | None = None
    paused: bool = False
    progress_deadline_seconds: int | None = None


class DeploymentStatus(View):
    """DeploymentStatus."""

    observed_generation: int = 0
    replicas: int = 0
    updated_replicas: int = 0
    ready_replicas: int = 0
    available_replicas: int = 0
    unavailable_replicas: int = 0
    terminating_replicas: int | None = None
    collision_count: int | None = None
    conditions: list[Condition] = field(default_factory=list)


class Deployment(View):
    """A Deployment."""

    metadata: Metadata = field(default_factory=Metadata)
    spec: DeploymentSpec = field(default_factory=DeploymentSpec)
    status: DeploymentStatus = field(default_factory=DeploymentStatus)


class DaemonSetSpec(View):
    """DaemonSetSpec."""

    selector: LabelSelector = field(default_factory=LabelSelector)
    template: dict[str, Any] = field(default_factory=dict)
    update_strategy: Strategy = field(default_factory=Strategy)
    min_ready_seconds: int = 0
    revision_history_limit: int | None = None


class DaemonSetStatus(View):
    """DaemonSetStatus."""

    current_number_scheduled: int = 0
    number_misscheduled: int = 0
    desired_number_scheduled: int = 0
    number_ready: int = 0
    observed_generation: int = 0
    updated_number_scheduled: int = 0
    number_available: int = 0
    number_unavailable: int = 0
    collision_count: int | None = None


class DaemonSet(View):
    """A DaemonSet."""

    metadata: Metadata = field(default_factory=Metadata)
    spec: DaemonSetSpec = field(default_factory=DaemonSetSpec)
    status: DaemonSetStatus = field(default_factory=DaemonSetStatus)


class ControllerRevision(View):
    """A recorded template of a DaemonSet."""

    metadata: Metadata = field(default_factory=Metadata)
    revision: int = 0
    data: dict[str, Any] = field(default_factory=dict)


# The rest


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
