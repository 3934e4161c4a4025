"""Back-off clocks: how long something that failed is left alone (spec 05 §5.4, §5.5)."""

from __future__ import annotations

INITIAL_S = 10.0
MAXIMUM_S = 300.0
# A thing that went well for twice the longest pause starts again with the shortest.
RESET_AFTER_S = 2 * MAXIMUM_S


class Backoff:
    """One clock. delay_s is the pause that applies now, 0 before the first failure; times are seconds."""

    __slots__ = ("delay_s", "initial_s", "maximum_s", "updated_at")

    def __init__(self, initial_s: float = INITIAL_S, maximum_s: float = MAXIMUM_S) -> None:
        self.initial_s = initial_s
        self.maximum_s = maximum_s
        self.delay_s = 0.0
        self.updated_at = 0.0

    def ends_at(self, failed_at: float) -> float:
        """Return when a thing that failed at failed_at may be tried again (in the past: now)."""
        if not self.delay_s or failed_at - self.updated_at > RESET_AFTER_S:
            return 0.0
        return failed_at + self.delay_s

    def advance(self, failed_at: float, now: float) -> None:
        """Note that it is tried again now, after a failure at failed_at; the next pause is twice as long."""
        if not self.delay_s or failed_at - self.updated_at > RESET_AFTER_S:
            self.delay_s = self.initial_s
        else:
            self.delay_s = min(self.delay_s * 2, self.maximum_s)
        self.updated_at = now

    def recall(self, failures: int, waited_s: float, tried_at: float) -> None:
        """Set the clock by what can still be seen of something that failed before; it was last tried at tried_at.

        It failed at most that often, and was left alone for at most waited_s before the last try: of other failures
        and other waits nothing is known, so the pause becomes the longest that both allow.
        """
        for _ in range(failures):
            longer = min(self.delay_s * 2, self.maximum_s) if self.delay_s else self.initial_s
            if longer == self.delay_s or self.delay_s > max(waited_s, 0.0):
                break
            self.delay_s = longer
        self.updated_at = tried_at
