"""Files over defaults: what merges, what replaces, and every mistake named with its path (spec 02 §2.1)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from kubeedge.config import cloudcore, edgecore
from kubeedge.config.errors import ConfigError
from kubeedge.config.section import decode


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "core.yaml"


def cloud(path: Path, text: str) -> tuple[cloudcore.CloudCore, list[str]]:
    """Load a cloudcore.yaml whose Unix socket lies in the test's folder."""
    document = yaml.safe_load(text) or {}
    hub = document.setdefault("modules", {}).setdefault("cloudHub", {})
    if isinstance(hub, dict):
        hub.setdefault("unixsocket", {}).setdefault("address", f"unix://{path.parent}/k.sock")
    path.write_text(yaml.safe_dump(document))
    config, warnings = cloudcore.load(path)
    return config, [str(warning) for warning in warnings]


def edge(path: Path, text: str) -> tuple[edgecore.EdgeCore, list[str]]:
    """Load an edgecore.yaml as it is; its database has to be named."""
    path.write_text(text)
    config, warnings = edgecore.load(path)
    return config, [str(warning) for warning in warnings]


def edge_problems(path: Path, text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        edge(path, text)
    assert caught.value.file == path
    return [str(problem) for problem in caught.value.problems]


def test_absent_keys_keep_their_default_and_given_ones_count(path: Path) -> None:
    config, warnings = cloud(path, "modules: {cloudHub: {websocket: {port: 20000}}}")
    hub = config.modules.cloud_hub
    assert (hub.websocket.port, hub.websocket.address, hub.websocket.enable) == (20000, "0.0.0.0", True)
    assert (hub.https.port, config.modules.router.port) == (10002, 9443)
    assert warnings == []


def test_keys_match_whatever_their_case(path: Path) -> None:
    config, warnings = cloud(path, "Modules: {CLOUDHUB: {tlscafile: /a, WebSocket: {PORT: 1}}}\nmodules: {}")
    assert config.modules.cloud_hub.tls_ca_file == "/etc/kubeedge/ca/rootCA.crt", "the later key replaces"
    assert warnings == ["modules: given twice, the last one counts"]
    config, warnings = cloud(path, "modules: {cloudHub: {TLSCAFILE: /a}}")
    assert config.modules.cloud_hub.tls_ca_file == "/a"
    assert warnings == []


def test_unknown_keys_are_warnings_with_their_path(path: Path) -> None:
    _, warnings = cloud(path, "typo: 1\nmodules: {cloudHub: {websocket: {prot: 1}}, edged: {}}")
    assert warnings == [
        "modules.cloudHub.websocket.prot: unknown key, ignored",
        "modules.edged: unknown key, ignored",
        "typo: unknown key, ignored",
    ]


def test_file_of_the_other_program_is_noticed(path: Path) -> None:
    _, warnings = cloud(path, "kind: EdgeCore")
    assert warnings == ["kind: is EdgeCore, CloudCore was expected"]


def test_api_version_may_be_any(path: Path) -> None:
    config, warnings = cloud(path, "apiVersion: cloudcore.config.kubeedge.io/v1alpha2")
    assert config.api_version.endswith("v1alpha2")
    assert warnings == []


def test_maps_merge_and_lists_replace(tmp_path: Path, path: Path) -> None:
    config, _ = edge(
        path,
        f"""
database: {{dataSource: {tmp_path}/e.db}}
modules:
  edged:
    nodeLabels: {{a: b}}
    tailoredKubeletConfig:
      evictionHard: {{memory.available: 5%}}
      enforceNodeAllocatable: []
      registerWithTaints: [{{key: k, effect: NoSchedule}}]
""",
    )
    kubelet = config.modules.edged.tailored_kubelet_config
    assert kubelet.eviction_hard["memory.available"] == "5%"
    assert kubelet.eviction_hard["nodefs.available"] == "10%"
    assert kubelet.enforce_node_allocatable == []
    assert (kubelet.register_with_taints[0].key, kubelet.register_with_taints[0].value) == ("k", "")
    assert config.modules.edged.node_labels == {"a": "b"}


def test_null_empties_what_can_be_empty_and_leaves_the_rest(tmp_path: Path, path: Path) -> None:
    config, _ = edge(
        path,
        f"""
database: {{dataSource: {tmp_path}/e.db}}
featureGates: null
modules:
  metaManager: {{metaServer: {{apiAudiences: null, serviceAccountIssuers: null}}, remoteQueryTimeout: null}}
""",
    )
    assert config.modules.meta_manager.meta_server.api_audiences is None
    assert config.modules.meta_manager.meta_server.service_account_issuers == []
    assert config.modules.meta_manager.remote_query_timeout == 60


def test_section_that_is_null_is_an_error(path: Path) -> None:
    assert edge_problems(path, "modules: {edged: null}") == ["modules.edged: must be a mapping, is empty"]


@pytest.mark.parametrize(("given", "kept"), [("7", "7"), ("true", "true"), ("1.5", "1.5"), ("'x'", "x")])
def test_text_may_be_written_as_a_number(tmp_path: Path, path: Path, given: str, kept: str) -> None:
    config, _ = edge(path, f"database: {{dataSource: {tmp_path}/e.db}}\nmodules: {{edgeHub: {{token: {given}}}}}")
    assert config.modules.edge_hub.token == kept


@pytest.mark.parametrize("text", ["10:20", "2026-01-02", "1_000:2"])
def test_text_that_other_yaml_readers_take_for_something_else_stays_text(tmp_path: Path, path: Path, text: str) -> None:
    config, _ = edge(path, f"database: {{dataSource: {tmp_path}/e.db}}\nmodules: {{edgeHub: {{token: {text}}}}}")
    assert config.modules.edge_hub.token == text


@pytest.mark.parametrize(("written", "number"), [("0x10", 16), ("010", 8), ("1_000", 1000), ("0b11", 3), ("+7", 7)])
def test_integers_are_written_as_in_yaml_1_1(tmp_path: Path, path: Path, written: str, number: int) -> None:
    config, _ = edge(path, f"database: {{dataSource: {tmp_path}/e.db}}\nmodules: {{edgeHub: {{heartbeat: {written}}}}}")
    assert config.modules.edge_hub.heartbeat == number


def test_every_wrong_type_is_listed(path: Path) -> None:
    problems = edge_problems(
        path,
        """
database: 7
featureGates: {moduleRestart: often}
modules:
  edgeHub: {heartbeat: fast, token: [a], websocket: {enable: 1, server: {a: b}}, messageQPS: 99999999999}
  eventBus: {mqttQOS: 300}
  edged:
    nodeLabels: [a]
    tailoredKubeletConfig:
      syncFrequency: 60
      fileCheckFrequency: soon
      registerWithTaints: {key: k}
      reservedMemory: [x]
      memoryThrottlingFactor: much
""",
    )
    assert problems == [
        "database: must be a mapping, is an integer",
        "featureGates.moduleRestart: must be a boolean (true or false), is a string",
        "modules.edgeHub.heartbeat: must be an integer, is a string",
        "modules.edgeHub.token: must be a string, is a list",
        "modules.edgeHub.websocket.enable: must be a boolean (true or false), is an integer",
        "modules.edgeHub.websocket.server: must be a string, is a mapping",
        "modules.edgeHub.messageQPS: must be an integer <= 2147483647",
        "modules.eventBus.mqttQOS: must be an integer <= 255",
        "modules.edged.nodeLabels: must be a mapping, is a list",
        "modules.edged.tailoredKubeletConfig.syncFrequency: must be a duration such as 10s or 1m30s, is an integer",
        "modules.edged.tailoredKubeletConfig.fileCheckFrequency: 'soon' is no duration such as 10s, 1m30s or 2h",
        "modules.edged.tailoredKubeletConfig.registerWithTaints: must be a list, is a mapping",
        "modules.edged.tailoredKubeletConfig.reservedMemory[0]: must be a mapping, is a string",
        "modules.edged.tailoredKubeletConfig.memoryThrottlingFactor: must be a number, is a string",
    ]


@pytest.mark.parametrize("key", ["edgeCertSigningDuration", "tokenRefreshDuration"])
def test_days_and_hours_are_plain_integers(path: Path, key: str) -> None:
    with pytest.raises(ConfigError, match=rf"modules\.cloudHub\.{key}: must be an integer, is a string"):
        cloud(path, f"modules: {{cloudHub: {{{key}: 12h}}}}")


def test_text_of_the_error_is_a_list_in_brackets_after_the_file(path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        edge(path, "modules: {edgeHub: {heartbeat: x, token: []}}")
    assert str(caught.value) == (
        f"{path}:\n[\n"
        "  modules.edgeHub.heartbeat: must be an integer, is a string\n"
        "  modules.edgeHub.token: must be a string, is a list\n"
        "]"
    )
    assert (caught.value.path, caught.value.reason) == (
        "modules.edgeHub.heartbeat",
        "must be an integer, is a string",
    )


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"a: [", "line 1, column 5: expected the node content, but found '<stream end>'"),
        (b"a: b: c", "line 1, column 5: mapping values are not allowed here"),
        (b"\xff\xfe\x00", "cannot be read"),
        (b"- a\n", "must be a mapping, is a list"),
        (b"text", "must be a mapping, is a string"),
        (b"a: !!python/object/apply:os.system [true]", "could not determine a constructor"),
        (b"a: 1\x00", "unacceptable character"),
    ],
)
def test_file_that_is_no_configuration_says_why(path: Path, content: bytes, reason: str) -> None:
    path.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        edgecore.load(path)
    assert reason in str(caught.value)
    assert str(path) in str(caught.value)


def test_missing_file_hints_at_how_to_make_one(path: Path) -> None:
    with pytest.raises(ConfigError, match=r"config: Required value: config file .* does not exist; --minconfig"):
        edgecore.load(path)


def test_empty_file_is_the_defaults(path: Path, tmp_path: Path) -> None:
    assert decode(edgecore.EdgeCore(), {})[0] == edgecore.EdgeCore()


_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["modules", "edged", "edgeHub", "websocket", "tailoredKubeletConfig", "port", "token", "x"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=15,
)


@given(_values)
def test_any_document_gives_a_configuration_and_named_problems(document: Any) -> None:
    config, errors, warnings = decode(edgecore.EdgeCore(), document)
    assert isinstance(config, edgecore.EdgeCore)
    assert all(problem.reason for problem in errors + warnings)
    again, _, _ = decode(edgecore.EdgeCore(), document)
    assert again == config or "nan" in repr(config)
