"""Reliable messages of one node: what leaves when, and that nothing is lost or doubled."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from kubeedge.cloudcore.hub.outbox import MAX_SENDS, RETRY_S, Delivery, Outbox, SyncRef
from kubeedge.message import new_message


def delivery(uid: str, version: int | str, operation: str = "update", *, is_final: bool | None = None) -> Delivery:
    message = new_message("edgecontroller", "resource", operation, f"node/e1/default/pod/{uid}", b"{}")
    final = operation == "delete" if is_final is None else is_final
    return Delivery(message, f"default/pod/{uid}", uid, SyncRef("e1", "default", uid), str(version), is_final=final)


def drain(outbox: Outbox, now_s: float = 0.0) -> list[Delivery]:
    taken = []
    while (one := outbox.take(now_s)) is not None:
        taken.append(one)
    return taken


def test_first_come_first_served_up_to_the_window() -> None:
    outbox = Outbox(window=2)
    offered = [delivery(uid, 1) for uid in "abc"]
    assert all(map(outbox.offer, offered))
    assert drain(outbox) == offered[:2]
    assert outbox.acknowledge(offered[0].message.id) is offered[0]
    assert drain(outbox) == offered[2:]


def test_a_newer_version_takes_the_place_of_the_one_that_waits() -> None:
    outbox = Outbox(window=1)
    first, old, other, new = delivery("x", 1), delivery("a", 1), delivery("b", 1), delivery("a", 2)
    for one in (first, old, other, new):
        assert outbox.offer(one)
    assert not outbox.offer(delivery("a", 2))
    assert not outbox.offer(delivery("a", 1))
    assert drain(outbox) == [first]
    outbox.acknowledge(first.message.id)
    assert drain(outbox) == [new]
    outbox.acknowledge(new.message.id)
    assert drain(outbox) == [other]


def test_versions_are_numbers_of_any_size_and_what_is_none_counts_as_newer() -> None:
    outbox = Outbox()
    assert outbox.offer(delivery("a", "9"))
    assert outbox.offer(delivery("a", "10"))
    assert outbox.offer(delivery("a", str(2**80)))
    assert not outbox.offer(delivery("a", str(2**80)))
    assert outbox.offer(delivery("a", "not-a-number"))


def test_one_version_of_an_object_is_under_way_at_a_time() -> None:
    outbox = Outbox()
    old, new = delivery("a", 1), delivery("a", 2)
    outbox.offer(old)
    assert drain(outbox) == [old]
    outbox.offer(new)
    assert drain(outbox) == []
    assert outbox.acknowledge(old.message.id) is old
    assert drain(outbox) == [new]


def test_nothing_but_a_later_end_follows_a_delete() -> None:
    outbox = Outbox()
    gone = delivery("a", "", "delete")
    assert outbox.offer(gone)
    assert not outbox.offer(delivery("a", 5))
    assert outbox.offer(delivery("a", 6, is_final=True))


def test_what_comes_back_to_a_node_follows_its_delete() -> None:
    """A device that is bound to the node again, or a model that is needed again in the version that the node had."""
    outbox = Outbox()
    gone, back = delivery("a", 5, "delete"), delivery("a", 5, "insert")
    outbox.offer(gone)
    assert drain(outbox) == [gone]
    assert outbox.is_removing("a")
    assert outbox.offer(back)
    assert not outbox.is_removing("a")
    assert drain(outbox) == []
    outbox.acknowledge(gone.message.id)
    assert drain(outbox) == [back]


def test_a_message_is_sent_five_times_and_then_lets_others_pass() -> None:
    outbox = Outbox(window=1)
    stubborn, other = delivery("a", 1), delivery("b", 1)
    outbox.offer(stubborn)
    outbox.offer(other)
    assert drain(outbox, 0.0) == [stubborn]
    for attempt in range(1, MAX_SENDS):
        assert outbox.next_due_s == attempt * RETRY_S
        assert outbox.repeat(attempt * RETRY_S - 0.1) == []
        assert outbox.repeat(attempt * RETRY_S) == [stubborn]
    assert outbox.repeat(MAX_SENDS * RETRY_S) == []
    assert drain(outbox, 25.0) == [other]
    # A late acknowledgement is as good as any.
    assert outbox.acknowledge(stubborn.message.id) is stubborn
    assert len(outbox) == 1


def test_what_was_requeued_is_sent_again_under_the_same_id() -> None:
    outbox = Outbox(window=1)
    stubborn = delivery("a", 1)
    outbox.offer(stubborn)
    drain(outbox)
    for attempt in range(1, MAX_SENDS + 1):
        outbox.repeat(attempt * RETRY_S)
    assert drain(outbox, 30.0) == [stubborn]
    assert outbox.acknowledge(stubborn.message.id) is stubborn
    assert len(outbox) == 0


def test_a_repetition_gives_way_to_a_newer_version() -> None:
    outbox = Outbox()
    old, new = delivery("a", 1), delivery("a", 2)
    outbox.offer(old)
    drain(outbox)
    outbox.offer(new)
    assert outbox.repeat(RETRY_S) == []
    assert drain(outbox, RETRY_S) == [new]
    assert outbox.acknowledge(old.message.id) is None


class OutboxMachine(RuleBasedStateMachine):
    """Any order of offers, acknowledgements and time: the last version of each object arrives, each attempt counted."""

    def __init__(self) -> None:
        super().__init__()
        self.outbox = Outbox(window=3)
        self.now = 0.0
        self.latest: dict[str, Delivery] = {}
        self.acked: dict[str, int] = {}
        self.sent: list[Delivery] = []

    def pump(self) -> None:
        for one in drain(self.outbox, self.now):
            self.sent.append(one)

    @rule(uid=st.sampled_from("abcd"), version=st.integers(1, 9))
    def offer(self, uid: str, version: int) -> None:
        new = delivery(uid, version)
        if version <= self.acked.get(uid, 0):
            return
        if self.outbox.offer(new):
            self.latest[uid] = new
        self.pump()

    @rule(which=st.integers(0, 30))
    def acknowledge(self, which: int) -> None:
        if not self.sent:
            return
        message_id = self.sent[which % len(self.sent)].message.id
        acked = self.outbox.acknowledge(message_id)
        if acked is not None:
            uid = acked.key
            self.acked[uid] = max(self.acked.get(uid, 0), int(acked.version))
            if self.latest.get(uid) is acked:
                del self.latest[uid]
        assert self.outbox.acknowledge(message_id) is None
        self.pump()

    @rule(seconds=st.integers(0, 12))
    def wait(self, seconds: int) -> None:
        self.now += seconds
        for one in self.outbox.repeat(self.now):
            assert one in self.sent
            assert 2 <= one.sends <= MAX_SENDS
        self.pump()

    @invariant()
    def under_way_is_bounded_and_nothing_newest_is_lost(self) -> None:
        under_way = self.outbox._under_way
        assert len(under_way) <= 3
        assert len({one.key for one in under_way.values()}) == len(under_way)
        there = {id(one) for one in (*under_way.values(), *self.outbox._waiting.values())}
        assert all(id(one) in there for one in self.latest.values())
        dues = [one.due_s for one in under_way.values()]
        assert dues == sorted(dues)


TestOutboxMachine = OutboxMachine.TestCase
TestOutboxMachine.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
