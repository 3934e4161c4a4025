"""A group of inputs that is stored in one transaction, and what is to be said once that is done."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from kubeedge import topics
from kubeedge._speedups.twin import Device, Twin
from kubeedge._speedups.twinupdate import Changes, Outcome
from kubeedge.edgecore.devicetwin.rows import Statement, Writing

# Topic and payload.
Publication = tuple[str, bytes]


class Answer:
    """Something to publish when the group is stored, or in its place if_lost when it could not be.

    Without is_bound it is true either way. A payload that is a function is built at that moment.
    """

    __slots__ = ("if_lost", "is_bound", "make")

    def __init__(
        self,
        make: Callable[[], Publication],
        *,
        is_bound: bool = False,
        if_lost: Callable[[str], Publication] | None = None,
    ) -> None:
        self.make = make
        self.is_bound = is_bound
        self.if_lost = if_lost


class Batch:
    """Collects what inputs change: of a twin that changes often only the last value is written."""

    def __init__(self) -> None:
        self.changes = Changes()
        self.statements: list[Statement] = []
        self.answers: list[Answer] = []
        # Devices whose memory is ahead of the database.
        self.touched: set[str] = set()
        # Devices of which the cloud has to hear, of their twins and of their state.
        self.news: dict[str, None] = {}
        self.states: dict[str, bytes] = {}
        self.state_marks: list[str] = []
        self.dones: list[Callable[[], None]] = []
        self._new: list[Twin] = []

    def say(self, topic: str, payload: bytes) -> None:
        """Publish in any case: nothing was changed."""
        self.answers.append(Answer(lambda: (topic, payload)))

    def say_later(self, make: Callable[[], Publication]) -> None:
        """Publish what make returns when the fate of the group is known."""
        self.answers.append(Answer(make))

    def tell(self, topic: str, payload: bytes, if_lost: Callable[[str], Publication] | None = None) -> None:
        """Publish if the group is stored, else what if_lost makes of the reason."""
        self.answers.append(Answer(lambda: (topic, payload), is_bound=True, if_lost=if_lost))

    def take(self, device_id: str, outcome: Outcome) -> None:
        """Take over what becomes of a request: the publications that follow, and news for the cloud."""
        self.touched.add(device_id)
        if outcome.document:
            self.tell(topics.device_topic(device_id, topics.TWIN_UPDATE_DOCUMENT), outcome.document)
        if outcome.delta:
            self.tell(topics.device_topic(device_id, topics.TWIN_UPDATE_DELTA), outcome.delta)
        if outcome.has_news:
            self.news[device_id] = None

    def forget(self, device_id: str) -> None:
        """Leave out what was to be written of the twins of a device that is removed."""
        for twins in (self.changes.dirty, self.changes.marks):
            twins[:] = [twin for twin in twins if twin.device != device_id]
        self.state_marks = [id_ for id_ in self.state_marks if id_ != device_id]
        self.news.pop(device_id, None)
        self.states.pop(device_id, None)

    @property
    def is_empty(self) -> bool:
        """Tell whether there is nothing to be written."""
        return not (self.statements or self.changes.dirty or self.changes.marks or self.state_marks)

    def writing(self) -> Writing:
        """Return what has to be written, in plain values."""
        updates, inserts = [], []
        for twin in self.changes.dirty:
            twin.is_dirty = False
            columns = twin.columns()
            if twin.row:
                updates.append(columns)
            else:
                self._new.append(twin)
                inserts.append((*columns[:-1], twin.device, twin.name))
        marks = [(twin.device, twin.name) for twin in self.changes.marks]
        marks += [(id_, "") for id_ in self.state_marks]
        return Writing(self.statements, updates, inserts, marks)

    def stored(self, rows: Iterable[int]) -> None:
        """Note the rows that the new twins have got."""
        for twin, row in zip(self._new, rows, strict=True):
            twin.row = row

    def publications(self, failure: str | None) -> Iterable[Publication]:
        """Give what is to be published; failure is why the group was not stored, if it was not."""
        for answer in self.answers:
            if failure is None or not answer.is_bound:
                yield answer.make()
            elif answer.if_lost is not None:
                yield answer.if_lost(failure)


Devices = dict[str, Device]
