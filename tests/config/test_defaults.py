"""What is printed and what an empty file means: golden/config, key by key (spec 02 §2.2, §2.4)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

from kubeedge.config import cloudcore, document, edgecore, host
from kubeedge.config.section import decode, encode

GOLDEN = Path(__file__).parents[1] / "golden" / "config"

# Main modules that upstream's minimal file switches off by an oversight (spec 02 Q1); ours leaves them on.
ENABLED_IN_OURS = {"cloudcore": ["cloudHub"], "edgecore": ["deviceTwin", "edgeHub", "eventBus"]}

PROGRAMS = [("cloudcore", cloudcore), ("edgecore", edgecore)]


@pytest.fixture(autouse=True)
def recorded_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the defaults see the machine that the recordings were made on."""
    monkeypatch.setattr(host.socket, "gethostname", lambda: "vm")
    for module in (host, cloudcore):
        monkeypatch.setattr(module, "local_address", lambda: "192.0.2.2")


@pytest.mark.parametrize(("program", "module"), PROGRAMS)
def test_default_file_is_upstreams_to_the_byte(program: str, module: ModuleType) -> None:
    assert document.dump(module.default_document()) == (GOLDEN / f"{program}-default.yaml").read_text()


@pytest.mark.parametrize(("program", "module"), PROGRAMS)
def test_minimal_file_is_upstreams_with_its_main_modules_on(program: str, module: ModuleType) -> None:
    expected = yaml.safe_load((GOLDEN / f"{program}-min.yaml").read_text())
    for name in ENABLED_IN_OURS[program]:
        assert expected["modules"][name]["enable"] is False
        expected["modules"][name]["enable"] = True
    assert document.dump(module.minimal_document()) == document.dump(expected)


def load(module: ModuleType, path: Path) -> Any:
    config, warnings = module.load(path)
    assert warnings == []
    return config


@pytest.mark.parametrize(("program", "module"), PROGRAMS)
@pytest.mark.parametrize("kind", ["default", "min"])
def test_upstreams_files_are_read_with_upstreams_effect(
    program: str, module: ModuleType, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Path, "mkdir", lambda *_, **__: None)
    text = (GOLDEN / f"{program}-{kind}.yaml").read_text()
    (tmp_path / "file.yaml").write_text(text)
    config = load(module, tmp_path / "file.yaml")
    expected = yaml.safe_load((GOLDEN / f"{program}-default.yaml").read_text())
    _lay_over(expected, yaml.safe_load(text))
    assert encode(config) == expected


def _lay_over(base: dict[str, Any], changes: dict[str, Any]) -> None:
    for key, value in changes.items():
        if isinstance(value, dict):
            _lay_over(base.setdefault(key, {}), value)
        else:
            base[key] = value


@pytest.mark.parametrize("make", [cloudcore.CloudCore, edgecore.EdgeCore])
def test_printed_configuration_reads_back_to_itself(make: Callable[[], Any]) -> None:
    config = make()
    again, errors, warnings = decode(make(), yaml.safe_load(document.dump(encode(config))))
    assert (again, errors, warnings) == (config, [], [])


def test_false_is_written_where_the_default_is_true() -> None:
    config = edgecore.EdgeCore()
    config.modules.edge_hub.rotate_certificates = False
    config.modules.edged.register_schedulable = False
    config.modules.edge_hub.heartbeat = 0
    again, _, _ = decode(edgecore.EdgeCore(), encode(config))
    assert again == config


def test_two_configurations_share_nothing() -> None:
    one, other = edgecore.EdgeCore(), edgecore.EdgeCore()
    one.modules.edged.tailored_kubelet_config.eviction_hard["memory.available"] = "1Mi"
    one.modules.edge_hub.token = "secret"
    assert other.modules.edged.tailored_kubelet_config.eviction_hard["memory.available"] == "100Mi"
    assert other.modules.edge_hub.token == ""


@pytest.mark.parametrize(
    ("name", "used"), [("edge-1", "edge-1"), ("Edge_1", "default-edge-node"), ("", "default-edge-node")]
)
def test_host_name_that_names_no_node_is_replaced(monkeypatch: pytest.MonkeyPatch, name: str, used: str) -> None:
    monkeypatch.setattr(host.socket, "gethostname", lambda: name)
    assert edgecore.EdgeCore().modules.edged.hostname_override == used


def test_ipv6_address_is_bracketed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host, "local_address", lambda: "2001:db8::7")
    assert edgecore.EdgeCore().modules.edge_hub.websocket.server == "[2001:db8::7]:10000"


def test_machine_has_an_address() -> None:
    assert host.local_address()
