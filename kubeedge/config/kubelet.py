"""`edged.tailoredKubeletConfig`: the kubelet's own configuration as far as upstream keeps it (spec 02 §2.5).

Names and types are those of KubeletConfiguration v1beta1. None means that nothing was given.
"""

from __future__ import annotations

from typing import ClassVar

from msgspec import field

from kubeedge.config.duration import Duration
from kubeedge.config.section import Int32, Section

CONTAINERD = "unix:///run/containerd/containerd.sock"


class MemorySwap(Section):
    swap_behavior: str = ""


class CrashLoopBackOff(Section):
    max_container_restart_period: Duration | None = None


class LoggingBuffer(Section):
    split_stream: bool = False
    info_buffer_size: str = "0"


class LoggingOptions(Section):
    text: LoggingBuffer = field(default_factory=LoggingBuffer)
    json: LoggingBuffer = field(default_factory=LoggingBuffer)


class LoggingVModule(Section):
    file_pattern: str = ""
    verbosity: int = 0


class Logging(Section):
    printed_when_empty: ClassVar[frozenset[str]] = frozenset({"verbosity"})

    format: str = "text"
    flush_frequency: Duration = Duration(5)
    verbosity: int = 0
    vmodule: list[LoggingVModule] = field(default_factory=list)
    options: LoggingOptions = field(default_factory=LoggingOptions)


class Taint(Section):
    key: str = ""
    value: str = ""
    effect: str = ""
    time_added: str = ""


class MemoryReservation(Section):
    numa_node: Int32 = 0
    limits: dict[str, str] = field(default_factory=dict)


class ShutdownGracePeriod(Section):
    priority: Int32 = 0
    shutdown_grace_period_seconds: int = 0


def _eviction_hard() -> dict[str, str]:
    return {
        "imagefs.available": "15%",
        "imagefs.inodesFree": "5%",
        "memory.available": "100Mi",
        "nodefs.available": "10%",
        "nodefs.inodesFree": "5%",
    }


class TailoredKubeletConfig(Section):
    printed_when_empty: ClassVar[frozenset[str]] = frozenset(
        {"container_runtime_endpoint", "fail_cgroup_v1", "fail_swap_on", "seccomp_default", "node_status_max_images"}
    )

    # Paths and server
    static_pod_path: str = "/etc/kubeedge/manifests"
    pod_logs_dir: str = "/var/log/pods"
    address: str = "127.0.0.1"
    read_only_port: Int32 = 10350
    volume_plugin_dir: str = "/usr/libexec/kubernetes/kubelet-plugins/volume/exec/"
    content_type: str = "application/json"
    enable_debugging_handlers: bool = True
    enable_contention_profiling: bool = False
    enable_system_log_handler: bool = True
    enable_system_log_query: bool | None = None
    enable_profiling_handler: bool = True
    enable_debug_flags_handler: bool = True
    streaming_connection_idle_timeout: Duration = Duration(4 * 3600)
    show_hidden_metrics_for_version: str = ""

    # Rhythm
    sync_frequency: Duration = Duration(60)
    file_check_frequency: Duration = Duration(20)
    node_status_update_frequency: Duration = Duration(10)
    node_status_report_frequency: Duration = Duration(300)
    node_lease_duration_seconds: Int32 = 40
    volume_stats_agg_period: Duration = Duration(60)
    runtime_request_timeout: Duration = Duration(120)
    shutdown_grace_period: Duration = Duration(0)
    shutdown_grace_period_critical_pods: Duration = Duration(0)
    shutdown_grace_period_by_pod_priority: list[ShutdownGracePeriod] = field(default_factory=list)
    crash_loop_back_off: CrashLoopBackOff = field(default_factory=CrashLoopBackOff)

    # Runtime and images
    container_runtime_endpoint: str = CONTAINERD
    image_service_endpoint: str = CONTAINERD
    registry_pull_qps: Int32 = field(default=5, name="registryPullQPS")
    registry_burst: Int32 = 10
    serialize_image_pulls: bool = True
    max_parallel_image_pulls: Int32 | None = None
    image_minimum_gc_age: Duration = field(default=Duration(120), name="imageMinimumGCAge")
    image_maximum_gc_age: Duration = field(default=Duration(0), name="imageMaximumGCAge")
    image_gc_high_threshold_percent: Int32 = field(default=85, name="imageGCHighThresholdPercent")
    image_gc_low_threshold_percent: Int32 = field(default=80, name="imageGCLowThresholdPercent")
    container_log_max_size: str = "10Mi"
    container_log_max_files: Int32 = 5
    container_log_max_workers: Int32 = 1
    container_log_monitor_interval: Duration = Duration(10)
    node_status_max_images: Int32 = 0
    seccomp_default: bool = False
    local_storage_capacity_isolation: bool = True

    # Pods and resources
    max_pods: Int32 = 110
    pods_per_core: Int32 = 0
    pod_cidr: str = field(default="", name="podCIDR")
    pod_pids_limit: int = -1
    cgroup_driver: str = "cgroupfs"
    cgroup_root: str = ""
    cgroups_per_qos: bool = field(default=True, name="cgroupsPerQOS")
    kubelet_cgroups: str = ""
    system_cgroups: str = ""
    single_process_oom_kill: bool | None = field(default=None, name="singleProcessOOMKill")
    cpu_cfs_quota: bool = field(default=True, name="cpuCFSQuota")
    cpu_cfs_quota_period: Duration = field(default=Duration(0.1), name="cpuCFSQuotaPeriod")
    cpu_manager_policy: str = "none"
    cpu_manager_policy_options: dict[str, str] = field(default_factory=dict)
    cpu_manager_reconcile_period: Duration = Duration(10)
    memory_manager_policy: str = "None"
    reserved_memory: list[MemoryReservation] = field(default_factory=list)
    memory_throttling_factor: float = 0.9
    memory_swap: MemorySwap = field(default_factory=MemorySwap)
    topology_manager_policy: str = "none"
    topology_manager_scope: str = "container"
    topology_manager_policy_options: dict[str, str] = field(default_factory=dict)
    qos_reserved: dict[str, str] = field(default_factory=dict)
    oom_score_adj: Int32 = -999
    max_open_files: int = 1_000_000
    system_reserved: dict[str, str] = field(default_factory=dict)
    kube_reserved: dict[str, str] = field(default_factory=dict)
    reserved_system_cpus: str = field(default="", name="reservedSystemCPUs")
    system_reserved_cgroup: str = ""
    kube_reserved_cgroup: str = ""
    enforce_node_allocatable: list[str] = field(default_factory=lambda: ["pods"])
    allowed_unsafe_sysctls: list[str] = field(default_factory=list)
    protect_kernel_defaults: bool = False
    kernel_memcg_notification: bool = False
    fail_swap_on: bool = False
    fail_cgroup_v1: bool = field(default=False, name="failCgroupV1")

    # Eviction
    eviction_hard: dict[str, str] = field(default_factory=_eviction_hard)
    eviction_soft: dict[str, str] = field(default_factory=dict)
    eviction_soft_grace_period: dict[str, str] = field(default_factory=dict)
    eviction_pressure_transition_period: Duration = Duration(300)
    eviction_max_pod_grace_period: Int32 = 0
    eviction_minimum_reclaim: dict[str, str] = field(default_factory=dict)

    # Network
    cluster_domain: str = "cluster.local"
    cluster_dns: list[str] = field(default_factory=list, name="clusterDNS")
    resolv_conf: str = "/etc/resolv.conf"
    hairpin_mode: str = "promiscuous-bridge"
    make_iptables_util_chains: bool = field(default=True, name="makeIPTablesUtilChains")
    iptables_masquerade_bit: Int32 = 14
    iptables_drop_bit: Int32 = 15

    # Node and the rest
    register_node: bool = True
    register_with_taints: list[Taint] = field(default_factory=list)
    enable_controller_attach_detach: bool = True
    config_map_and_secret_change_detection_strategy: str = "Get"
    event_record_qps: Int32 = field(default=50, name="eventRecordQPS")
    event_burst: Int32 = 100
    feature_gates: dict[str, bool] = field(default_factory=dict)
    logging: Logging = field(default_factory=Logging)
