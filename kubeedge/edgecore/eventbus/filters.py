"""Names and filters of MQTT topics: which are well formed, and which match (MQTT 3.1.1 §4.7)."""

from __future__ import annotations

MAX_TOPIC_BYTES = 65_535
# Of subscriptions that several clients divide among them.
SHARE = "$share/"


def _is_text(topic: str) -> bool:
    """Tell whether a text may stand in a packet: not empty, not too long, no NUL, no half of a surrogate pair."""
    if not topic or "\0" in topic:
        return False
    try:
        return len(topic.encode()) <= MAX_TOPIC_BYTES
    except UnicodeEncodeError:
        return False


def is_topic(topic: str) -> bool:
    """Tell whether a message may be published on topic; brokers end the connection of whoever tries others."""
    return _is_text(topic) and "+" not in topic and "#" not in topic


def is_filter(text: str) -> bool:
    """Tell whether text may be subscribed to: `+` fills a level, `#` the last one.

    Of `$share/<group>/<filter>` all three parts have to be there. Brokers end the connection of whoever asks for less,
    and would again each time.
    """
    if not _is_text(text):
        return False
    if text.startswith(SHARE):
        group, _, text = text[len(SHARE) :].partition("/")
        if not group or not text or "+" in group or "#" in group:
            return False
    *parents, last = text.split("/")
    return all("#" not in level and ("+" not in level or level == "+") for level in parents) and (
        last in ("+", "#") or ("#" not in last and "+" not in last)
    )


def matches(text: str, topic: str) -> bool:
    """Tell whether a filter matches a topic. Wildcards match topics that begin with `$` too (spec 04 §5.3)."""
    levels = topic.split("/")
    for index, wanted in enumerate(text.split("/")):
        if wanted == "#":
            return True
        if index >= len(levels) or wanted not in ("+", levels[index]):
            return False
    return len(levels) == index + 1
