"""JSON, merge and strategic merge patches: against the RFCs, another implementation, and the API's own directives."""

from __future__ import annotations

import copy
from typing import Any

import jsonpatch
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kubeedge.apiserver import patch
from kubeedge.apiserver.patch import PatchError
from kubeedge.kube.api import JSON_PATCH, MERGE_PATCH, STRATEGIC_MERGE_PATCH, ApiError

KEYS = st.sampled_from(["a", "b", "c", "x/y", "t~z", ""])
SCALARS = st.none() | st.booleans() | st.integers(-5, 5) | st.sampled_from(["", "v", "w"])
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3), max_leaves=8
)
OBJECTS = st.dictionaries(KEYS, VALUES, max_size=4)


@settings(max_examples=300)
@given(VALUES, VALUES)
def test_a_difference_made_by_another_library_is_applied(before: Any, after: Any) -> None:
    operations = jsonpatch.make_patch(copy.deepcopy(before), copy.deepcopy(after)).patch
    assert patch.json_patch(copy.deepcopy(before), operations) == after


OPERATIONS = st.lists(
    st.fixed_dictionaries(
        {
            "op": st.sampled_from(["add", "remove", "replace", "move", "copy", "test"]),
            "path": st.lists(KEYS | st.sampled_from(["0", "1", "-"]), max_size=3).map(
                lambda parts: "".join("/" + part.replace("~", "~0").replace("/", "~1") for part in parts)
            ),
            "from": st.sampled_from(["", "/a", "/b/0", "/c/a"]),
            "value": VALUES,
        }
    ),
    max_size=3,
)


@settings(max_examples=400)
@given(OBJECTS, OPERATIONS)
def test_operations_do_what_another_library_does_where_both_can(before: Any, operations: list[dict[str, Any]]) -> None:
    try:
        wanted = jsonpatch.apply_patch(copy.deepcopy(before), operations)
        failed = False
    except (jsonpatch.JsonPatchException, jsonpatch.JsonPointerException, TypeError, KeyError, IndexError):
        failed = True
    try:
        found = patch.json_patch(copy.deepcopy(before), operations)
    except PatchError:
        found = None
        assert failed or _beyond_the_library(operations)
    else:
        assert failed or found == wanted or _beyond_the_library(operations)


def _beyond_the_library(operations: list[dict[str, Any]]) -> bool:
    """Where the two differ on purpose: true is not 1, whole documents, moves of a value into itself."""
    return any(
        operation["op"] in ("move", "copy", "test") or operation["path"] == "" or operation["from"] == ""
        for operation in operations
    )


@pytest.mark.parametrize(
    "operations",
    [
        [{"op": "test", "path": "/a", "value": 2}],
        [{"op": "remove", "path": "/absent"}],
        [{"op": "replace", "path": "/absent", "value": 1}],
        [{"op": "add", "path": "/l/5", "value": 1}],
        [{"op": "add", "path": "/l/01", "value": 1}],
        [{"op": "add", "path": "/a/b", "value": 1}],
        [{"op": "frob", "path": "/a"}],
        [{"op": "add", "path": "a", "value": 1}],
        [{"op": "add", "path": "/a"}],
        [{"op": "test", "path": "/t", "value": 1}],
        [{"op": "move", "from": "/l", "path": "/l/0"}],
        [{"op": "remove", "path": ""}],
    ],
)
def test_what_cannot_be_done_is_an_error(operations: list[dict[str, Any]]) -> None:
    with pytest.raises(PatchError):
        patch.json_patch({"a": 1, "l": [1, 2], "t": True}, operations)


@pytest.mark.parametrize(
    ("target", "change", "result"),
    [
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
        ({"a": "b"}, {"a": None}, {}),
        ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
        (["a", "b"], ["c", "d"], ["c", "d"]),
        ({"a": "b"}, ["c"], ["c"]),
        ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
        ([1, 2], {"a": "b", "c": None}, {"a": "b"}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
    ],
)
def test_merge_patch_follows_the_table_of_rfc_7386(target: Any, change: Any, result: Any) -> None:
    assert patch.merge_patch(target, change) == result


def pod(*containers: dict[str, Any], **spec: Any) -> dict[str, Any]:
    return {"spec": {"containers": list(containers), **spec}}


def strategic(document: dict[str, Any], change: dict[str, Any], schema: str = "core.v1.Pod") -> Any:
    before = orjson.dumps(change)
    result = patch.strategic_merge_patch(copy.deepcopy(document), change, schema)
    assert orjson.dumps(change) == before, "the patch itself stays as it is"
    return result


def test_elements_of_merged_lists_find_each_other_by_their_key() -> None:
    found = strategic(
        pod({"name": "a", "image": "1"}, {"name": "b", "image": "1"}),
        {"spec": {"containers": [{"name": "b", "image": "2"}, {"name": "c", "image": "3"}]}},
    )
    assert found["spec"]["containers"] == [
        {"name": "a", "image": "1"},
        {"name": "b", "image": "2"},
        {"name": "c", "image": "3"},
    ]


def test_new_elements_stand_before_those_only_the_server_has() -> None:
    found = strategic({"status": {"conditions": [{"type": "A"}]}}, {"status": {"conditions": [{"type": "B"}]}})
    assert [one["type"] for one in found["status"]["conditions"]] == ["B", "A"]


def test_lists_without_a_merge_strategy_are_replaced() -> None:
    found = strategic(
        pod({"name": "a", "command": ["x", "y"]}), {"spec": {"containers": [{"name": "a", "command": ["z"]}]}}
    )
    assert found["spec"]["containers"] == [{"name": "a", "command": ["z"]}]


def test_lists_of_scalars_are_merged_without_duplicates() -> None:
    found = strategic({"metadata": {"finalizers": ["a", "b"]}}, {"metadata": {"finalizers": ["b", "c"]}})
    assert sorted(found["metadata"]["finalizers"]) == ["a", "b", "c"]


def test_an_element_is_deleted_by_directive() -> None:
    change = {"spec": {"containers": [{"$patch": "delete", "name": "a"}]}}
    assert strategic(pod({"name": "a"}, {"name": "b"}), change) == pod({"name": "b"})


def test_a_list_is_replaced_by_directive() -> None:
    change = {"spec": {"containers": [{"name": "c"}, {"$patch": "replace"}]}}
    assert strategic(pod({"name": "a"}, {"name": "b"}), change) == pod({"name": "c"})


def test_an_object_is_replaced_or_emptied_by_directive() -> None:
    document = {"spec": {"nodeSelector": {"a": "1"}, "securityContext": {"runAsUser": 1}}}
    change = {"spec": {"nodeSelector": {"$patch": "replace", "b": "2"}, "securityContext": {"$patch": "delete"}}}
    assert strategic(document, change)["spec"] == {"nodeSelector": {"b": "2"}, "securityContext": {}}


def test_values_are_deleted_from_a_list_of_scalars() -> None:
    change = {"metadata": {"$deleteFromPrimitiveList/finalizers": ["a"]}}
    assert strategic({"metadata": {"finalizers": ["a", "b"]}}, change) == {"metadata": {"finalizers": ["b"]}}


def test_the_order_of_elements_is_set_by_directive() -> None:
    change = {
        "spec": {
            "$setElementOrder/containers": [{"name": "b"}, {"name": "a"}],
            "containers": [{"name": "b", "image": "2"}],
        }
    }
    found = strategic(pod({"name": "a"}, {"name": "s"}, {"name": "b"}), change)
    assert [one["name"] for one in found["spec"]["containers"]] == ["s", "b", "a"]
    assert found["spec"]["containers"][1] == {"name": "b", "image": "2"}


def test_only_retained_keys_stay() -> None:
    document = {"spec": {"strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}}}}
    change = {"spec": {"strategy": {"$retainKeys": ["type"], "type": "Recreate"}}}
    assert strategic(document, change, "apps.v1.Deployment") == {"spec": {"strategy": {"type": "Recreate"}}}
    with pytest.raises(PatchError, match="retainKeys"):
        strategic(document, {"spec": {"strategy": {"$retainKeys": ["x"], "type": "Recreate"}}}, "apps.v1.Deployment")


def test_null_removes_and_new_values_lose_nulls_and_directives() -> None:
    change = {"spec": {"nodeName": None, "affinity": {"nodeAffinity": None, "$patch": "merge"}}}
    assert strategic({"spec": {"nodeName": "n"}}, change) == {"spec": {"affinity": {}}}


def test_an_element_without_its_merge_key_is_refused() -> None:
    with pytest.raises(PatchError, match="does not contain declared merge key: name"):
        strategic(pod({"name": "a"}), {"spec": {"containers": [{"image": "x"}]}})


def test_an_unknown_directive_is_refused() -> None:
    with pytest.raises(PatchError, match="unknown patch type: frob"):
        strategic(pod({"name": "a"}), {"spec": {"containers": [{"name": "a", "$patch": "frob"}]}})


@given(OBJECTS, OBJECTS)
def test_a_strategic_patch_of_data_without_a_type_is_a_merge_patch(document: Any, change: Any) -> None:
    labels = {key: value for key, value in change.items() if isinstance(value, (str, type(None)))}
    before = {"metadata": {"labels": {key: value for key, value in document.items() if isinstance(value, str)}}}
    wanted = patch.merge_patch(copy.deepcopy(before), {"metadata": {"labels": labels}})
    assert strategic(before, {"metadata": {"labels": labels}}) == wanted


@pytest.mark.parametrize(
    ("body", "media_type", "words"),
    [
        (b'{"op": "add"}', JSON_PATCH, "cannot unmarshal object into Go value of type []handlers.jsonPatchOp"),
        (b"{", MERGE_PATCH, "error decoding patch: unexpected end of JSON input"),
        (b"[]", MERGE_PATCH, "cannot unmarshal array into Go value of type map[string]interface {}"),
        (b"x", STRATEGIC_MERGE_PATCH, "invalid character 'x' looking for beginning of value"),
    ],
)
def test_a_body_that_is_no_patch_is_refused_in_the_servers_words(body: bytes, media_type: str, words: str) -> None:
    with pytest.raises(ApiError) as error:
        patch.decode_patch(body, media_type)
    assert error.value.code == 400
    assert words in error.value.message


def test_a_patch_of_too_many_operations_is_refused() -> None:
    body = orjson.dumps([{"op": "remove", "path": "/a"}] * 10_001)
    with pytest.raises(ApiError, match="The allowed maximum operations") as error:
        patch.decode_patch(body, JSON_PATCH)
    assert error.value.code == 413
