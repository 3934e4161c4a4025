"""Reading objects by their type: normal form, the words about wrong types, unknown fields."""

from __future__ import annotations

from typing import Any

import pytest

from kubeedge.apiserver.kinds.table import builtin
from kubeedge.apiserver.schema import types
from kubeedge.apiserver.schema.reader import TypeMismatchError, conversion_words, reader, unknown_fields


def test_every_type_that_is_named_exists_and_can_be_read() -> None:
    for name in types.names():
        reader(f"*{name}")({})
        for field in types.struct(name).fields.values():
            assert not field.element or field.element in types.names(), (name, field)


def test_every_built_in_kind_has_a_type() -> None:
    for spec in builtin().specs():
        assert (spec.kind.group, spec.kind.version, spec.kind.kind) in types.struct(spec.schema).kinds or not (
            types.struct(spec.schema).kinds
        )


@pytest.mark.parametrize(
    ("expression", "value", "normal"),
    [
        ("*core.v1.ConfigMap", {"data": {}}, {"metadata": {}}),
        ("*core.v1.PodSpec", {"containers": [], "hostNetwork": False}, {}),
        ("*apps.v1.ReplicaSetStatus", {}, {"replicas": 0}),
        ("*core.v1.EnvVarSource", {"fieldRef": None}, {}),
        ("*discovery.v1.EndpointSlice", {}, {"metadata": {}, "addressType": ""}),
        (
            "*core.v1.ResourceRequirements",
            {"limits": {"cpu": "1000m", "memory": 5}},
            {"limits": {"cpu": "1", "memory": "5"}},
        ),
        (
            "*coordination.v1.LeaseSpec",
            {"renewTime": "2026-01-01T01:00:00.5+01:00"},
            {"renewTime": "2026-01-01T00:00:00.500000Z"},
        ),
        (
            "*meta.v1.ObjectMeta",
            {"creationTimestamp": "2026-01-01T00:00:00.9Z"},
            {"creationTimestamp": "2026-01-01T00:00:00Z"},
        ),
        ("*core.v1.ContainerPort", {"containerPort": 80, "hostPort": 0}, {"containerPort": 80, "protocol": "TCP"}),
        ("[]string", None, []),
        ("{}string", {"a": None}, {"a": ""}),
    ],
)
def test_a_value_comes_into_the_form_in_which_a_server_keeps_it(expression: str, value: Any, normal: Any) -> None:
    read = reader(expression)(value)
    if isinstance(read, dict):
        read = {key: item for key, item in read.items() if item is not None}
    assert read == normal


def test_what_a_server_writes_as_null_is_written() -> None:
    assert reader("*discovery.v1.EndpointSlice")({"endpoints": []})["endpoints"] is None
    condition = reader("*core.v1.PodCondition")({"type": "Ready", "status": "True"})
    assert condition["lastProbeTime"] is None


def test_reading_twice_changes_nothing() -> None:
    body = {"metadata": {"labels": {}}, "spec": {"containers": [{"resources": {"limits": {"cpu": "0.5"}}}]}}
    once = reader("*core.v1.Pod")(body)
    assert reader("*core.v1.Pod")(once) == once


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (
            {"spec": {"containers": "c"}},
            "string into Go struct field PodSpec.spec.containers of type []v1.Container",
        ),
        (
            {"spec": {"hostNetwork": "x"}},
            "string into Go struct field PodSpec.spec.hostNetwork of type bool",
        ),
        (
            {"spec": {"containers": [{"ports": [{"containerPort": "80"}]}]}},
            "string into Go struct field ContainerPort.spec.containers.ports.containerPort of type int32",
        ),
        (
            {"spec": {"terminationGracePeriodSeconds": 1.5}},
            "number 1.5 into Go struct field PodSpec.spec.terminationGracePeriodSeconds of type int64",
        ),
        (
            {"spec": {"containers": [{"ports": [{"hostPort": 2**40}]}]}},
            "number 1099511627776 into Go struct field ContainerPort.spec.containers.ports.hostPort of type int32",
        ),
        (
            {"metadata": {"labels": {"a": 1}}},
            "number into Go struct field ObjectMeta.metadata.labels of type string",
        ),
        ({"metadata": []}, "array into Go struct field Pod.metadata of type v1.ObjectMeta"),
        (5, "number into Go value of type v1.Pod"),
        (
            {"metadata": {"creationTimestamp": "yesterday"}},
            'parsing time "yesterday" as "2006-01-02T15:04:05Z07:00": cannot parse "yesterday" as "2006"',
        ),
    ],
)
def test_a_wrong_type_is_refused_in_the_servers_words(value: Any, words: str) -> None:
    with pytest.raises(TypeMismatchError) as error:
        reader("*core.v1.Pod")(value)
    assert str(error.value).removeprefix("json: cannot unmarshal ") == words


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ({"spec": {"containers": "c"}}, "cannot restore slice from string"),
        ({"spec": {"nodeSelector": []}}, "cannot restore map from slice"),
        ({"spec": {"affinity": True}}, "cannot restore struct from: bool"),
        ({"spec": {"priority": "x"}}, "unrecognized type: int32"),
        ({"spec": {"priority": 1.5}}, "cannot convert float64 to int32"),
        ({"spec": {"nodeName": 5}}, "cannot convert int64 to string"),
        ({"spec": {"hostNetwork": 1}}, "unrecognized type: bool"),
    ],
)
def test_in_a_strategic_patch_the_words_are_others(value: Any, words: str) -> None:
    with pytest.raises(TypeMismatchError) as error:
        reader("*core.v1.Pod")(value)
    assert conversion_words(error.value) == words


def test_bytes_must_be_base64() -> None:
    with pytest.raises(TypeMismatchError, match="illegal base64 data at input byte 2"):
        reader("*core.v1.Secret")({"data": {"a": "aa%a"}})


def test_unknown_fields_are_found_in_lists_and_maps() -> None:
    body = {"x": 1, "spec": {"containers": [{}, {"y": 1, "env": [{"z": 1}]}], "nodeSelector": {"any": "thing"}}}
    assert unknown_fields("*core.v1.Pod", body) == ["x", "spec.containers[1].y", "spec.containers[1].env[0].z"]
