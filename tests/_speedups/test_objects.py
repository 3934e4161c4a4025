"""Finding out which object some JSON text holds."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests._speedups.builds import BUILDS
from tests._speedups.test_envelope import RECORDED
from tests._speedups.test_scan import JSON_VALUES


def summary(identity: Any) -> tuple[Any, ...]:
    names = ("api_version", "kind", "namespace", "name", "uid", "resource_version", "is_deleting")
    return tuple(getattr(identity, name) for name in names)


def expected(content: dict[str, Any]) -> tuple[Any, ...]:
    metadata = content.get("metadata") or {}
    return (
        content.get("apiVersion") or "",
        content.get("kind") or "",
        *(metadata.get(name) or "" for name in ("namespace", "name", "uid", "resourceVersion")),
        bool(metadata.get("deletionTimestamp")),
    )


def test_every_recorded_object_is_identified(speedups: SimpleNamespace) -> None:
    objects = [message["content"] for message in RECORDED if isinstance(message["content"], dict)]
    assert len([content for content in objects if "metadata" in content]) > 50
    for content in objects:
        assert summary(speedups.objects.identify(json.dumps(content).encode())) == expected(content)


def test_fields_of_the_same_name_deeper_down_do_not_count(speedups: SimpleNamespace) -> None:
    content = {
        "spec": {"metadata": {"uid": "inner"}, "kind": "Inner"},
        "metadata": {
            "managedFields": [{"uid": "field", "name": "x"}],
            "ownerReferences": [{"kind": "ReplicaSet", "uid": "owner", "name": "rs"}],
            "uid": "outer",
            "labels": {"uid": "label", "name": "label"},
        },
        "kind": "Pod",
    }
    identity = speedups.objects.identify(json.dumps(content).encode())
    assert (identity.uid, identity.kind, identity.name) == ("outer", "Pod", "")


def test_the_walk_stops_when_all_is_known(speedups: SimpleNamespace) -> None:
    text = b'{"kind":"Pod","apiVersion":"v1","metadata":{"uid":"u","deletionTimestamp":"2026-01-01T00:00:00Z"},broken'
    identity = speedups.objects.identify(text)
    assert (identity.uid, identity.is_deleting) == ("u", True)


@pytest.mark.parametrize(
    "text", [b"", b"null", b'"OK"', b"[]", b'{"metadata":[]}', b'{"metadata":{"uid":1}}', b'{"kind":']
)
def test_what_is_no_object_is_an_error(speedups: SimpleNamespace, text: bytes) -> None:
    with pytest.raises(speedups.objects.ScanError):
        speedups.objects.identify(text)


@given(
    st.dictionaries(
        st.sampled_from(["kind", "apiVersion", "spec", "data"]) | st.text(max_size=4), JSON_VALUES, max_size=4
    ),
    st.dictionaries(
        st.sampled_from(["name", "namespace", "uid", "resourceVersion", "deletionTimestamp"]),
        st.none() | st.text(),
        max_size=5,
    ),
)
def test_identity_is_what_a_parser_finds(rest: dict[str, Any], metadata: dict[str, Any]) -> None:
    rest = {key: value for key, value in rest.items() if key not in ("kind", "apiVersion") or isinstance(value, str)}
    content = {**rest, "metadata": metadata}
    text = json.dumps(content).encode("utf-8", "replace")
    parsed = expected(json.loads(text))
    for build in BUILDS:
        got = summary(build.objects.identify(text))
        assert got == tuple(
            value.encode("utf-16", "surrogatepass").decode("utf-16", "replace") if isinstance(value, str) else value
            for value in parsed
        )
