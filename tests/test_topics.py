"""Topics of devices and nodes, and the way that publications take on the bus."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubeedge import topics
from kubeedge.bus import Bus

names = st.text(st.characters(codec="utf-8", exclude_characters="/+#"), min_size=1)


@pytest.mark.parametrize("namespace", ["dev", "device", "event", "events", "e", "hw", "$hw"])
def test_namespace_that_stands_in_the_prefix_is_a_name_like_any_other_q2(namespace: str) -> None:
    topic = f"$hw/events/device/{namespace}/lamp/twin/update"
    assert topics.of_device(topic) == (f"{namespace}/lamp", topics.TWIN_UPDATE)


def test_node_named_node_is_a_name_like_any_other_q2() -> None:
    assert topics.of_node("$hw/events/node/node/membership/get") == ("node", topics.MEMBERSHIP_GET)


@given(names, names, st.sampled_from([topics.TWIN_UPDATE, topics.STATE_UPDATE, topics.UPDATED]))
def test_what_is_named_is_found_again(namespace: str, name: str, action: str) -> None:
    assert topics.of_device(topics.device_topic(f"{namespace}/{name}", action)) == (f"{namespace}/{name}", action)
    assert topics.of_node(topics.node_topic(name, action)) == (name, action)


@pytest.mark.parametrize("rest", ["", "a", "a/b", "/b/twin/update", "a//twin/update", "//"])
def test_topic_without_namespace_name_or_action_is_no_device_topic(rest: str) -> None:
    assert topics.of_device(topics.DEVICE + rest) is None
    assert topics.of_device(f"x/{rest}") is None


def test_topic_without_namespace_can_only_be_told_by_its_action_q5() -> None:
    assert topics.of_device("$hw/events/device/sensor-1/twin/update") == ("sensor-1/twin", "update")


def test_publication_reaches_its_module_with_what_is_to_be_done() -> None:
    bus, seen = Bus(), []
    assert not bus.publish("twin", "t", b"p")
    bus.register_topics("twin", lambda topic, payload, done: seen.append((topic, payload, done)))
    assert bus.publish("twin", "t", b"p", seen.clear)
    assert seen == [("t", b"p", seen.clear)]
