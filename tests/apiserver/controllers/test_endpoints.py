"""How pods show behind a Service."""

from __future__ import annotations

from typing import Any

import msgspec

from kubeedge.apiserver.controllers import endpoints
from kubeedge.apiserver.controllers.views import Metadata, Pod, PodSpec, Service, ServiceSpec
from tests.apiserver.controllers.builders import pod


def service(**spec: Any) -> Service:
    return Service(metadata=Metadata(name="s", namespace="default"), spec=msgspec.convert(spec, ServiceSpec))


def at(ip: str, **more: Any) -> Pod:
    made = pod(f"p-{ip}", **more)
    made.status.pod_ip = ip
    return made


def named(port: int) -> PodSpec:
    return msgspec.convert({"containers": [{"name": "c", "ports": [{"name": "http", "containerPort": port}]}]}, PodSpec)


def test_ready_and_other_pods_stand_apart_and_finished_ones_nowhere() -> None:
    pods = [at("10.0.0.2", ready_at=1), at("10.0.0.1"), at("10.0.0.3", phase="Succeeded"), at("", ready_at=1)]
    (subset,) = endpoints.subsets(service(ports=[{"port": 80}]), pods)
    assert [address["ip"] for address in subset["addresses"]] == ["10.0.0.2"]
    assert [address["ip"] for address in subset["notReadyAddresses"]] == ["10.0.0.1"]
    assert subset["ports"] == [{"port": 80, "protocol": "TCP"}]


def test_named_ports_split_pods_into_subsets() -> None:
    pods = [
        at("10.0.0.1", ready_at=1, spec=named(80)),
        at("10.0.0.2", ready_at=1, spec=named(81)),
        at("10.0.0.3", ready_at=1),
    ]
    found = endpoints.subsets(service(ports=[{"port": 1, "targetPort": "http"}]), pods)
    assert [(subset["ports"][0]["port"], len(subset["addresses"])) for subset in found] == [(80, 1), (81, 1)]


def test_headless_service_without_ports_lists_addresses() -> None:
    (subset,) = endpoints.subsets(service(clusterIP="None"), [at("10.0.0.1", ready_at=1)])
    assert subset.keys() == {"addresses"}


def test_pods_that_end_serve_but_are_not_ready_in_slices() -> None:
    (found,) = endpoints.slices(service(ports=[{"name": "x", "port": 80}]), [at("10.0.0.1", ready_at=1, deleting=True)])
    assert found["endpoints"][0]["conditions"] == {"ready": False, "serving": True, "terminating": True}
    assert found["ports"] == [{"name": "x", "port": 80, "protocol": "TCP"}]


def test_service_may_publish_addresses_that_are_not_ready() -> None:
    early = service(ports=[{"port": 80}], publishNotReadyAddresses=True)
    assert "addresses" in endpoints.subsets(early, [at("10.0.0.1")])[0]
    assert endpoints.slices(early, [at("10.0.0.1")])[0]["endpoints"][0]["conditions"]["ready"]


def test_many_pods_fill_several_slices_and_none_an_empty_one() -> None:
    pods = [at(f"10.0.{index // 200}.{index % 200 + 1}", ready_at=1) for index in range(250)]
    found = endpoints.slices(service(ports=[{"port": 80}]), pods)
    assert [len(part["endpoints"]) for part in found] == [100, 100, 50]
    assert endpoints.slices(service(ports=[{"port": 80}]), []) == [{"ports": None, "endpoints": None}]


def test_host_name_counts_only_in_the_subdomain_of_the_service() -> None:
    there = at("10.0.0.1", ready_at=1, spec=PodSpec(hostname="h", subdomain="s"))
    elsewhere = at("10.0.0.2", ready_at=1, spec=PodSpec(hostname="h", subdomain="other"))
    (subset,) = endpoints.subsets(service(ports=[{"port": 80}]), [there, elsewhere])
    assert [address.get("hostname") for address in subset["addresses"]] == ["h", None]
