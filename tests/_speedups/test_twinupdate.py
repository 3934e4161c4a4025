"""Requests applied to twins: as the specification tells it, and the same by both builds (spec 04 §3.6)."""

from __future__ import annotations

import copy
import json
from types import SimpleNamespace
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests._speedups.builds import BUILDS

NOW = 1_753_440_002_123
Twins = dict[str, dict[str, Any]]


class World:
    """A device in one build."""

    def __init__(self, build: SimpleNamespace) -> None:
        self.build = build
        self.device = build.twin.Device("default/sensor-1", "sensor-1")
        self.now = NOW
        self.written: dict[str, tuple[Any, ...]] = {}
        self.marked: set[str] = set()

    def _apply(self, name: str, twin: Any, event_id: str) -> Any:
        request = self.build.twinrequest.parse(orjson.dumps({"event_id": event_id, "twin": twin}), False)
        changes = self.build.twinupdate.Changes()
        outcome = getattr(self.build.twinupdate, name)(self.device, request, self.now, "delta", changes)
        for changed in changes.dirty:
            assert changed.is_dirty
            changed.is_dirty = False
            self.written[changed.name] = changed.columns()
        self.marked |= {changed.name for changed in changes.marks}
        return outcome

    def report(self, twin: Any, event_id: str = "e") -> Any:
        return self._apply("report", twin, event_id)

    def sync(self, twin: Any) -> Any:
        return self._apply("sync", twin, "s")

    def twins(self) -> Twins:
        document: dict[str, Any] = orjson.loads(self.device.twins_payload("g", self.now))
        assert (document.pop("event_id"), document.pop("timestamp"), list(document)) == ("g", self.now, ["twin"])
        return document["twin"]

    def news(self) -> Twins | None:
        payload = self.device.news_payload("n", self.now)
        return orjson.loads(payload)["twin"] if payload else None


@pytest.fixture
def world(speedups: SimpleNamespace) -> World:
    return World(speedups)


def value(text: str, at: int = NOW) -> dict[str, Any]:
    return {"value": text, "metadata": {"timestamp": at}}


def test_new_twin_is_answered_as_in_the_worked_example(world: World) -> None:
    outcome = world.report({"temperature": {"actual": {"value": "25.3"}, "metadata": {"type": "float"}}}, "e-1")
    assert outcome.result == (
        b'{"event_id":"e-1","timestamp":1753440002123,"twin":{"temperature":{"actual":{"value":"25.3","metadata":'
        b'{"timestamp":1753440002123}},"optional":true,"metadata":{"type":"float"}}}}'
    )
    assert outcome.document == (
        b'{"event_id":"e-1","timestamp":1753440002123,"twin":{"temperature":{"last":null,"current":{"actual":{"value":'
        b'"25.3","metadata":{"timestamp":1753440002123}},"optional":true,"metadata":{"type":"float"}}}}}'
    )
    assert (outcome.reason, outcome.delta, outcome.has_news) == ("", b"", True)
    assert world.device.news_payload("7c", NOW + 1) == (
        b'{"event_id":"7c","timestamp":1753440002124,"twin":{"temperature":{"actual":{"value":"25.3","metadata":'
        b'{"timestamp":1753440002123}},"optional":true,"metadata":{"type":"float"},"actual_version":{"cloud":0,"edge":1}}}}'
    )
    assert world.written == {
        "temperature": ("", "25.3", "", '{"timestamp":1753440002123}', "", '{"cloud":0,"edge":1}', 1, "float", 0)
    }


def test_every_report_raises_the_version_even_of_an_equal_value_q24(world: World) -> None:
    for edge in (1, 2, 3):
        assert world.report({"k": {"actual": {"value": "1"}}}).result != b""
        assert world.written["k"][5] == f'{{"cloud":0,"edge":{edge}}}'


def test_equal_value_goes_to_the_cloud_twice_and_then_once_a_minute_q1_q24(world: World) -> None:
    heard = []
    for second in range(0, 130, 10):
        world.now = NOW + second * 1000
        world.report({"k": {"actual": {"value": "1"}}})
        if world.news() is not None:
            heard.append(second)
    assert heard == [0, 10, 70]
    world.report({"k": {"actual": {"value": "2"}}})
    assert world.news() is not None


def test_equal_value_goes_along_with_another_that_has_changed(world: World) -> None:
    for _ in range(3):
        world.report({"k": {"actual": {"value": "1"}, "expected": {"value": "1"}}})
        world.news()
    world.report({"k": {"actual": {"value": "2"}}})
    world.report({"k": {"expected": {"value": "1"}}})
    news = world.news()
    assert news is not None
    assert sorted(news["k"]) == sorted(
        ["expected", "actual", "optional", "metadata", "expected_version", "actual_version"]
    )


def test_one_bad_value_refuses_the_whole_request_q25(world: World) -> None:
    world.report({"b": {"actual": {"value": "1"}, "metadata": {"type": "int"}}})
    before = world.twins()
    outcome = world.report({"a": {"actual": {"value": "1"}}, "b": {"actual": {"value": "x"}}})
    assert (outcome.reason, outcome.result) == ("the value is not int or integer", b"")
    assert world.twins() == before


def test_null_of_an_unknown_twin_does_not_cut_the_others_short_q25(world: World) -> None:
    outcome = world.report({"a": None, "b": {"actual": {"value": "1"}}})
    assert list(orjson.loads(outcome.result)["twin"]) == ["b"]
    assert orjson.loads(outcome.document)["twin"]["a"] == {"last": None, "current": None}
    alone = World(world.build).report({"a": None})
    assert (orjson.loads(alone.result)["twin"], alone.has_news) == ({}, False)


def test_first_value_that_is_empty_is_none_but_a_later_one_is_a_value_q26(world: World) -> None:
    world.report({"k": {"expected": {"value": ""}, "actual": {"value": "1"}}})
    news = world.news()
    assert news is not None
    assert ("expected" in news["k"], news["k"]["expected_version"]) == (False, {"cloud": 0, "edge": 1})
    world.report({"k": {"expected": {"value": ""}}})
    assert world.twins()["k"]["expected"] == value("")
    # What tells them apart in the database is the time.
    assert (world.written["k"][0], world.written["k"][2] != "") == ("", True)


def test_delta_holds_every_expected_value_and_what_differs(world: World) -> None:
    world.report({"b": {"expected": {"value": "on"}}})
    world.report({"a": {"expected": {"value": "1"}, "actual": {"value": "1"}}})
    outcome = world.report({"c": {"actual": {"value": "x"}}})
    assert outcome.delta == (
        b'{"event_id":"delta","timestamp":1753440002123,"twin":{"a":{"expected":{"value":"1","metadata":{"timestamp":'
        b'1753440002123}},"actual":{"value":"1","metadata":{"timestamp":1753440002123}},"optional":true,"metadata":'
        b'{"type":"string"}},"b":{"expected":{"value":"on","metadata":{"timestamp":1753440002123}},"optional":true,'
        b'"metadata":{"type":"string"}}},"delta":{"b":"on"}}'
    )
    assert world.report({"b": {"actual": {"value": "on"}}}).delta == b""


def test_only_an_optional_twin_can_be_deleted_and_its_row_stays(world: World) -> None:
    world.report({"must": {"actual": {"value": "1"}, "optional": False}, "may": {"actual": {"value": "1"}}})
    world.news()
    outcome = world.report({"must": None, "may": None})
    assert orjson.loads(outcome.result)["twin"] == {"may": None}
    assert orjson.loads(outcome.document)["twin"]["may"]["current"] is None
    assert list(world.twins()) == ["must"]
    assert world.news() == {
        "may": {
            "actual": {},
            "optional": True,
            "metadata": {"type": "deleted"},
            "expected_version": {"cloud": 0, "edge": 0},
            "actual_version": {"cloud": 0, "edge": 2},
        }
    }
    assert world.written["may"][:2] == (None, None)
    assert world.written["may"][5:8] == ('{"cloud":0,"edge":2}', 1, "deleted")
    again = world.report({"may": None})
    assert orjson.loads(again.result)["twin"] == {}
    assert orjson.loads(again.document)["twin"]["may"]["last"]["metadata"] == {"type": "deleted"}
    assert world.news() is None


def test_deleted_twin_comes_back_with_the_type_it_is_given_and_its_version(world: World) -> None:
    world.report({"k": {"actual": {"value": "1"}, "metadata": {"type": "int"}}})
    world.report({"k": None})
    outcome = world.report({"k": {"actual": {"value": "1.5"}, "metadata": {"type": "float"}}})
    assert orjson.loads(outcome.document)["twin"]["k"]["last"] is None
    assert world.twins()["k"]["metadata"] == {"type": "float"}
    assert world.written["k"][5] == '{"cloud":0,"edge":3}'


def test_another_type_of_a_living_twin_changes_nothing_but_is_answered(world: World) -> None:
    world.report({"k": {"actual": {"value": "1"}, "metadata": {"type": "int"}}})
    outcome = world.report({"k": {"metadata": {"type": "float"}}})
    assert orjson.loads(outcome.result)["twin"] == {"k": {}}
    assert world.twins()["k"]["metadata"] == {"type": "int"}
    assert orjson.loads(world.report({"k": {"metadata": {"type": "int"}}}).result)["twin"] == {}


def test_twin_becomes_required_and_never_optional_again(world: World) -> None:
    world.report({"k": {"actual": {"value": "1"}}})
    assert orjson.loads(world.report({"k": {"optional": False}}).result)["twin"] == {"k": {"optional": False}}
    assert orjson.loads(world.report({"k": {"optional": True}}).result)["twin"] == {}
    assert world.twins()["k"]["optional"] is False


def test_expected_value_that_was_none_is_not_checked_as_upstream_does_not(world: World) -> None:
    world.report({"k": {"actual": {"value": "1"}, "metadata": {"type": "int"}}})
    assert world.report({"k": {"expected": {"value": "x"}}}).reason == ""
    assert world.report({"k": {"expected": {"value": "y"}}}).reason == "the value is not int or integer"


def synced(actual: str, cloud: int, edge: int, type_: str = "string") -> dict[str, Any]:
    version = {"cloud": cloud, "edge": edge}
    return {"actual": {"value": actual}, "metadata": {"type": type_}, "actual_version": version}


def test_sync_takes_a_version_that_is_not_older(world: World) -> None:
    outcome = world.sync({"k": synced("1", 3, 0)})
    assert (outcome.reason, outcome.result, outcome.has_news) == ("", b"", False)
    assert world.written["k"][5] == '{"cloud":3,"edge":0}'
    world.sync({"k": synced("2", 3, 1)})
    assert world.twins()["k"]["actual"]["value"] == "2"


@pytest.mark.parametrize(("cloud", "edge"), [(1, 9), (9, 1)])
def test_sync_that_is_older_on_either_side_goes_back_with_the_local_value(world: World, cloud: int, edge: int) -> None:
    world.sync({"k": synced("here", 2, 2)})
    outcome = world.sync({"k": synced("there", cloud, edge)})
    assert (outcome.document, outcome.has_news) == (b"", True)
    news = world.news()
    assert news is not None
    assert (news["k"]["actual"]["value"], news["k"]["actual_version"]) == ("here", {"cloud": 2, "edge": 2})


def test_sync_without_a_version_is_refused_for_a_value_and_taken_for_a_deletion(world: World) -> None:
    world.report({"k": {"actual": {"value": "1"}}})
    world.news()
    twin = {"actual": {"value": "2"}, "metadata": {"type": "string"}}
    assert world.sync({"k": twin, "new": twin}).has_news
    assert {name: twin["actual"]["value"] for name, twin in world.twins().items()} == {"k": "1"}
    world.sync({"k": {"metadata": {"type": "deleted"}}})
    assert world.twins() == {}
    assert world.written["k"][5:8] == ('{"cloud":0,"edge":1}', 1, "deleted")


def test_sync_deletes_nothing_that_is_newer_here(world: World) -> None:
    world.sync({"k": synced("1", 2, 2)})
    gone = {"metadata": {"type": "deleted"}, "actual_version": {"cloud": 1, "edge": 2}}
    assert world.sync({"k": gone}).has_news
    assert world.twins()["k"]["actual"]["value"] == "1"


@pytest.mark.parametrize("twin", [None, {"actual": {"value": "1"}}, {}])
def test_sync_of_a_twin_without_metadata_is_refused_and_kills_nobody_q6(world: World, twin: Any) -> None:
    outcome = world.sync({"a": synced("1", 1, 1), "k": twin})
    assert outcome.reason == "unmarshal update request body failed, Please check the request"
    assert world.twins() == {}


def test_sync_with_a_value_of_the_wrong_type_leaves_that_side_alone(world: World) -> None:
    world.sync({"k": synced("1", 1, 0, "int")})
    world.sync({"k": synced("x", 2, 0, "int"), "new": synced("x", 1, 0, "int")})
    assert {name: twin["actual"]["value"] for name, twin in world.twins().items()} == {"k": "1"}


def test_what_is_on_its_way_is_kept_until_it_has_arrived(world: World) -> None:
    world.report({"k": {"actual": {"value": "1"}}})
    assert (world.marked, world.device.lost()) == ({"k"}, True)
    assert world.news() is not None
    assert world.device.lost() is True
    assert world.news() is not None
    world.report({"k": {"expected": {"value": "2"}}})
    world.device.arrived()
    news = world.news()
    assert news is not None
    assert "actual" not in news["k"]
    world.device.arrived()
    assert world.device.lost() is False
    assert world.device.settled(NOW) == []
    assert [twin.name for twin in world.device.settled(NOW + 1)] == ["k"]
    assert world.device.settled(NOW + 1) == []


def test_text_is_written_as_go_writes_it(world: World) -> None:
    world.sync({"a<b>": synced('"&\u2028\\', 1, 1)})
    assert b'"a\\u003cb\\u003e":{"actual":{"value":"\\"\\u0026\\u2028\\\\"' in world.device.twins_payload("<", NOW)
    assert world.build.twin.quote("\ud800ä") == '"\ufffdä"'


# The specification once more, on dicts.


def model_report(twins: Twins, request: dict[str, Any], now: int, build: SimpleNamespace) -> Any:
    """Apply a report to twins (in the form of MsgTwin, with versions); return reason or result and documents."""

    def bare(twin: dict[str, Any]) -> dict[str, Any]:
        return {key: part for key, part in twin.items() if not key.endswith("_version")}

    check = build.twinrequest.check_value
    for name in sorted(request):
        wanted, twin = request[name], twins.get(name)
        if wanted is None:
            continue
        asked = wanted.get("metadata", {"type": "string"}).get("type", "")
        type_ = twin["metadata"].get("type", "") if twin and twin["metadata"] != {"type": "deleted"} else asked
        for side in ("expected", "actual"):
            if side in wanted and not (side == "expected" and twin is not None and "expected" not in twin):
                reason = check(type_, wanted[side]["value"])
                if reason:
                    return reason
    result: dict[str, Any] = {}
    documents: dict[str, Any] = {}
    for name in sorted(request):
        wanted, twin = request[name], twins.get(name)
        if wanted is None:
            if twin is None:
                documents[name] = {"last": None, "current": None}
            elif twin["optional"]:
                documents[name] = {"last": bare(twin), "current": None}
                if twin["metadata"] != {"type": "deleted"}:
                    result[name] = None
                    for side in ("expected", "actual"):
                        version = twin.get(f"{side}_version")
                        if version:
                            version["edge"] += 1
                            twin[side] = {}
                    twin.setdefault("expected_version", {"cloud": 0, "edge": 0})
                    twin["metadata"] = {"type": "deleted"}
            continue
        last = None if twin is None or twin["metadata"] == {"type": "deleted"} else bare(copy.deepcopy(twin))
        shown = set()
        if twin is None:
            twin = twins[name] = {
                "optional": wanted.get("optional", True),
                "metadata": dict(wanted.get("metadata", {"type": "string"})),
            }
            shown = {"expected", "actual", "optional", "metadata"}
            for side in ("expected", "actual"):
                if side in wanted:
                    twin[f"{side}_version"] = {"cloud": 0, "edge": 1}
                    if wanted[side]["value"]:
                        twin[side] = value(wanted[side]["value"], now)
        else:
            for side in ("expected", "actual"):
                if side in wanted:
                    twin[side] = value(wanted[side]["value"], now)
                    version = twin.setdefault(f"{side}_version", {"cloud": 0, "edge": 0})
                    version["edge"] += 1
                    shown |= {side, "optional", "metadata"}
            if wanted.get("optional") is False and twin["optional"]:
                twin["optional"] = False
                shown.add("optional")
            if twin["metadata"] == {"type": "deleted"}:
                twin["metadata"] = dict(wanted.get("metadata", {"type": "string"}))
                shown.add("metadata")
            elif not shown and wanted.get("metadata", twin["metadata"]) == twin["metadata"]:
                continue
        is_gone = twin["metadata"] == {"type": "deleted"}
        documents[name] = {"last": last, "current": None if is_gone else bare(copy.deepcopy(twin))}
        if not is_gone:
            result[name] = {key: part for key, part in copy.deepcopy(twin).items() if key in shown}
    return result, documents


TYPES = st.sampled_from(["string", "int", "float", "boolean", "double", "deleted", "INT"])
SIDE = st.builds(lambda text: {"value": text}, st.sampled_from(["", "1", "2", "2.5", "true", "x"]))
METADATA = st.builds(lambda type_: {"type": type_}, TYPES) | st.just({})
VERSION = st.fixed_dictionaries({"cloud": st.integers(0, 3), "edge": st.integers(0, 5)})
WANTED = st.fixed_dictionaries(
    {}, optional={"expected": SIDE, "actual": SIDE, "metadata": METADATA, "optional": st.booleans()}
)
SYNCED = st.fixed_dictionaries(
    {"metadata": METADATA},
    optional={
        "expected": SIDE,
        "actual": SIDE,
        "optional": st.booleans(),
        "expected_version": VERSION,
        "actual_version": VERSION,
    },
)
NAMES = st.sampled_from(["a", "b", "c"])
REPORT = st.tuples(st.just("report"), st.dictionaries(NAMES, WANTED | st.none(), max_size=3))
SYNC = st.tuples(st.just("sync"), st.dictionaries(NAMES, SYNCED | st.none(), max_size=3))
FATE = st.tuples(st.sampled_from(["news", "arrived", "lost"]), st.none())


def without_empty_type(documents: Any) -> Any:
    """An empty type is left out by Go."""
    return json.loads(json.dumps(documents).replace('{"type": ""}', "{}"))


@settings(max_examples=200)
@given(st.lists(REPORT, max_size=8))
def test_reports_do_what_the_specification_tells(steps: list[tuple[str, Any]]) -> None:
    for build in BUILDS:
        world = World(build)
        twins: Twins = {}
        for _, request in steps:
            world.now += 1
            expected = model_report(twins, request, world.now, build)
            outcome = world.report(request)
            if isinstance(expected, str):
                assert outcome.reason == expected
                continue
            assert outcome.reason == ""
            result, documents = expected
            assert orjson.loads(outcome.result)["twin"] == without_empty_type(result)
            assert list(orjson.loads(outcome.result)["twin"]) == sorted(result)
            told = orjson.loads(outcome.document)["twin"] if outcome.document else {}
            assert told == without_empty_type(documents)
            delta = {
                name: twin["expected"]["value"]
                for name, twin in sorted(twins.items())
                if twin.get("expected", {}).get("value")
                and twin["metadata"] != {"type": "deleted"}
                and twin["expected"]["value"] != twin.get("actual", {}).get("value", "")
            }
            assert (orjson.loads(outcome.delta)["delta"] if outcome.delta else {}) == delta
            versions = {name: world.written[name][4:6] for name in world.written}
            for name, twin in twins.items():
                assert versions[name][1] == (
                    json.dumps(twin["actual_version"], separators=(",", ":")) if "actual_version" in twin else ""
                )


@settings(max_examples=200)
@given(st.lists(REPORT | SYNC | FATE, max_size=12))
def test_both_builds_do_the_same(steps: list[tuple[str, Any]]) -> None:
    seen = []
    for build in BUILDS:
        world = World(build)
        told: list[Any] = []
        for name, request in steps:
            world.now += 7000
            if name in ("report", "sync"):
                outcome = getattr(world, name)(request)
                told.append((outcome.reason, outcome.result, outcome.document, outcome.delta, outcome.has_news))
            elif name == "news":
                told.append(world.device.news_payload("n", world.now))
            else:
                told.append(getattr(world.device, name)())
        told.append((world.written, world.marked, world.device.twins_payload("<g>", world.now)))
        told.append([twin.name for twin in world.device.settled(world.now + 1)])
        seen.append(told)
    assert seen[0] == seen[-1]
