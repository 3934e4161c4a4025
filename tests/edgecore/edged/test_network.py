"""Names that containers see."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from kubeedge.edgecore.edged import network
from kubeedge.edgecore.edged.network import ClusterDns
from kubeedge.edgecore.edged.pod import Pod
from kubeedge.edgecore.edged.runtime.interface import DnsConfig


def pod(**spec: Any) -> Pod:
    return Pod({"metadata": {"name": "web", "namespace": "ns", "uid": "u"}, "spec": spec})


HOSTS = """\
# Kubernetes-managed hosts file.
127.0.0.1\tlocalhost
::1\tlocalhost ip6-localhost ip6-loopback
fe00::0\tip6-localnet
fe00::0\tip6-mcastprefix
fe00::1\tip6-allnodes
fe00::2\tip6-allrouters
10.0.0.1\tmyhost.mysub.ns.svc.cluster.local\tmyhost

# Entries added by HostAliases.
127.0.0.9\talias.example\tother.example
"""


def test_hosts_file_names_the_pod_and_its_aliases() -> None:
    aliases = [{"ip": "127.0.0.9", "hostnames": ["alias.example", "other.example"]}]
    made = pod(hostname="myhost", subdomain="mysub", hostAliases=aliases)
    assert network.hosts_file(made, ["10.0.0.1"], "cluster.local") == HOSTS


def test_hosts_file_on_the_hosts_network_is_the_hosts(tmp_path: Path) -> None:
    (tmp_path / "hosts").write_text("127.0.0.1 host\n")
    text = network.hosts_file(pod(hostNetwork=True), ["192.0.2.1"], "cluster.local", str(tmp_path / "hosts"))
    assert text == "# Kubernetes-managed hosts file (host network).\n127.0.0.1 host\n"
    assert network.hosts_file(pod(hostNetwork=True), [], "x", str(tmp_path / "no")).startswith("# Kubernetes-managed")


@pytest.mark.parametrize(
    ("spec", "name"),
    [
        ({}, "web"),
        ({"hostname": "h"}, "h"),
        ({"hostname": "x" * 62 + "-y"}, "x" * 62),
        ({"hostname": "h", "subdomain": "s", "setHostnameAsFQDN": True}, "h.s.ns.svc.cluster.local"),
    ],
)
def test_host_name_fits_into_the_kernel(spec: dict[str, Any], name: str) -> None:
    assert network.hostname(pod(**spec), "cluster.local") == name


@pytest.fixture
def cluster(tmp_path: Path) -> ClusterDns:
    path = tmp_path / "resolv.conf"
    path.write_text("# x\nnameserver 192.0.2.53\nsearch example. lan\noptions ndots:1 timeout:2\nnonsense\n")
    return ClusterDns(["10.96.0.10"], "cluster.local", str(path))


HOST = DnsConfig(["192.0.2.53"], ["example", "lan"], ["ndots:1", "timeout:2"])


def test_default_is_the_hosts_resolver(cluster: ClusterDns) -> None:
    assert network.dns(pod(dnsPolicy="Default"), cluster) == (HOST, [])
    assert network.dns(pod(dnsPolicy="ClusterFirst", hostNetwork=True), cluster) == (HOST, [])


def test_cluster_first_searches_the_namespace(cluster: ClusterDns) -> None:
    searches = ["ns.svc.cluster.local", "svc.cluster.local", "cluster.local", "example", "lan"]
    wanted = DnsConfig(["10.96.0.10"], searches, ["ndots:5"])
    assert network.dns(pod(), cluster)[0] == wanted
    assert network.dns(pod(dnsPolicy="ClusterFirstWithHostNet", hostNetwork=True), cluster)[0] == wanted


def test_node_without_a_resolver_of_the_cluster_takes_the_hosts(cluster: ClusterDns) -> None:
    alone = ClusterDns((), "cluster.local", cluster.resolv_conf)
    assert network.dns(pod(), alone) == (HOST, [])
    config, problems = network.dns(pod(dnsPolicy="ClusterFirstWithHostNet"), alone)
    assert config == HOST
    assert problems[0].startswith('MissingClusterDNS: pod: "web_ns(u)".')


def test_own_configuration_is_added(cluster: ClusterDns) -> None:
    extra = {
        "nameservers": ["192.0.2.53", "192.0.2.54"],
        "searches": ["lan", "more"],
        "options": [{"name": "ndots", "value": "3"}, {"name": "rotate"}],
    }
    config, _ = network.dns(pod(dnsPolicy="Default", dnsConfig=extra), cluster)
    assert config == DnsConfig(
        ["192.0.2.53", "192.0.2.54"], ["example", "lan", "more"], ["ndots:3", "timeout:2", "rotate"]
    )
    assert network.dns(pod(dnsPolicy="None", dnsConfig={"nameservers": ["::1"]}), cluster)[0] == DnsConfig(["::1"])


def test_limits_of_a_resolver_are_kept_and_told(cluster: ClusterDns) -> None:
    extra = {"nameservers": [f"192.0.2.{n}" for n in range(5)], "searches": [f"{n}.example" for n in range(40)]}
    config, problems = network.dns(pod(dnsPolicy="None", dnsConfig=extra), cluster)
    assert len(config.servers) == 3
    assert len(config.searches) == 32
    assert [problem.split(":")[0] for problem in problems] == ["DNSConfigForming"] * 2
    long = {"searches": [f"{n}." + "x" * 250 for n in range(20)]}
    config, _ = network.dns(pod(dnsPolicy="None", dnsConfig=long), cluster)
    assert len(" ".join(config.searches)) <= 2048


def test_no_resolver_file_means_the_host_itself(tmp_path: Path) -> None:
    assert network.read_resolv_conf("") == DnsConfig(["127.0.0.1"], ["."], [])
    assert network.read_resolv_conf(str(tmp_path / "no")) == DnsConfig()
