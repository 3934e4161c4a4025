"""Names that a pod's containers see: host name, /etc/hosts, resolver (spec 05 §5.6, §5.7)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec

from kubeedge.edgecore.edged.pod import Pod
from kubeedge.edgecore.edged.runtime.interface import DnsConfig, PortMapping

MAX_HOSTNAME = 63
MAX_SERVERS = 3
MAX_SEARCHES = 32
MAX_SEARCH_CHARACTERS = 2048

_HOSTS_HEADER = "# Kubernetes-managed hosts file.\n"
_HOST_NETWORK_HEADER = "# Kubernetes-managed hosts file (host network).\n"
_LOCAL_NAMES = (
    ("127.0.0.1", "localhost"),
    ("::1", "localhost ip6-localhost ip6-loopback"),
    ("fe00::0", "ip6-localnet"),
    ("fe00::0", "ip6-mcastprefix"),
    ("fe00::1", "ip6-allnodes"),
    ("fe00::2", "ip6-allrouters"),
)


class ClusterDns(msgspec.Struct, frozen=True):
    """Resolver of the cluster as the node is configured: empty servers where there is none."""

    servers: Sequence[str] = ()
    domain: str = "cluster.local"
    resolv_conf: str = "/etc/resolv.conf"


def hostname(pod: Pod, domain: str) -> str:
    """Return the host name of a pod that has its own network, cut to what a kernel takes."""
    name = str(pod.spec.get("hostname") or pod.name)[:MAX_HOSTNAME].rstrip("-.")
    if pod.spec.get("setHostnameAsFQDN") and pod.spec.get("subdomain"):
        return f"{name}.{pod.spec['subdomain']}.{pod.namespace}.svc.{domain}"
    return name


def hosts_file(pod: Pod, pod_ips: Sequence[str], domain: str, host_file: str = "/etc/hosts") -> str:
    """Return the text of the pod's /etc/hosts; on the host's network that of the host is taken over."""
    if pod.host_network:
        try:
            text = _HOST_NETWORK_HEADER + Path(host_file).read_text()
        except OSError:
            text = _HOST_NETWORK_HEADER
    else:
        name = hostname(pod, domain)
        names = name
        if pod.spec.get("subdomain"):
            names = f"{name}.{pod.spec['subdomain']}.{pod.namespace}.svc.{domain}\t{name}"
        lines = [f"{ip}\t{names_}" for ip, names_ in _LOCAL_NAMES] + [f"{ip}\t{names}" for ip in pod_ips]
        text = _HOSTS_HEADER + "".join(line + "\n" for line in lines)
    aliases = pod.spec.get("hostAliases") or ()
    if aliases:
        text += "\n# Entries added by HostAliases.\n"
        text += "".join("\t".join((a["ip"], *(a.get("hostnames") or ()))) + "\n" for a in aliases)
    return text


def read_resolv_conf(path: str) -> DnsConfig:
    """Read the host's resolver; an empty path means the host itself. Lines that are not understood are left out."""
    if not path:
        return DnsConfig(["127.0.0.1"], ["."], [])
    config = DnsConfig()
    try:
        text = Path(path).read_text()
    except OSError:
        return config
    for line in text.splitlines():
        word, *values = line.split("#")[0].split(";")[0].split() or [""]
        if word == "nameserver" and values:
            config.servers.append(values[0])
        elif word == "search":
            config.searches = [value if value == "." else value.rstrip(".") for value in values]
        elif word == "options":
            config.options = values
    return config


def dns(pod: Pod, cluster: ClusterDns) -> tuple[DnsConfig, list[str]]:
    """Return the resolver of a pod, and what had to be left out or taken otherwise, as (reason: text) of events."""
    problems: list[str] = []
    policy = pod.spec.get("dnsPolicy") or "ClusterFirst"
    if policy == "ClusterFirst" and pod.host_network:
        policy = "Default"
    if policy in ("ClusterFirst", "ClusterFirstWithHostNet") and not cluster.servers:
        # Most edge nodes have no resolver of the cluster; only an explicit wish for it is worth a word.
        if pod.spec.get("dnsPolicy") == "ClusterFirstWithHostNet":
            problems.append(
                f'MissingClusterDNS: pod: "{pod.full_name}". kubelet does not have ClusterDNS IP configured and cannot '
                'create Pod using "ClusterFirstWithHostNet" policy. Falling back to "Default" policy.'
            )
        policy = "Default"
    if policy == "None":
        config = DnsConfig()
    elif policy == "Default":
        config = read_resolv_conf(cluster.resolv_conf)
    else:
        own = [f"{pod.namespace}.svc.{cluster.domain}", f"svc.{cluster.domain}", cluster.domain]
        host = read_resolv_conf(cluster.resolv_conf)
        config = DnsConfig(list(cluster.servers), _unique([*own, *host.searches]), ["ndots:5"])
    extra = pod.spec.get("dnsConfig") or {}
    config.servers = _unique([*config.servers, *(extra.get("nameservers") or ())])
    config.searches = _unique([*config.searches, *(extra.get("searches") or ())])
    config.options = _merge_options(config.options, extra.get("options") or ())
    _limit(config, problems)
    return config, problems


def _unique(values: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(values))


def _merge_options(options: Iterable[str], wanted: Iterable[dict[str, str]]) -> list[str]:
    merged: dict[str, str] = {}
    for option in options:
        merged[option.partition(":")[0]] = option
    for entry in wanted:
        name, value = entry.get("name") or "", entry.get("value")
        merged[name] = name if value is None else f"{name}:{value}"
    return list(merged.values())


def _limit(config: DnsConfig, problems: list[str]) -> None:
    if len(config.servers) > MAX_SERVERS:
        config.servers = config.servers[:MAX_SERVERS]
        problems.append(
            "DNSConfigForming: Nameserver limits were exceeded, some nameservers have been omitted, the applied "
            f"nameserver line is: {' '.join(config.servers)}"
        )
    kept = config.searches[:MAX_SEARCHES]
    while len(" ".join(kept)) > MAX_SEARCH_CHARACTERS:
        kept.pop()
    if len(kept) < len(config.searches):
        config.searches = kept
        problems.append(
            "DNSConfigForming: Search Line limits were exceeded, some search paths have been omitted, the applied "
            f"search line is: {' '.join(kept)}"
        )


def port_mappings(pod: Pod) -> list[PortMapping]:
    """Return the ports of the regular containers and sidecars."""
    return [
        PortMapping(
            int(port.get("containerPort") or 0),
            port.get("protocol") or "TCP",
            int(port.get("hostPort") or 0),
            port.get("hostIP") or "",
        )
        for container in pod.containers
        for port in container.get("ports") or ()
    ]
