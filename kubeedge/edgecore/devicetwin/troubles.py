"""Inputs that are refused or not understood: each is counted, the first of its kind and device is logged."""

from __future__ import annotations

import logging

from kubeedge.metrics import Counter

log = logging.getLogger(__name__)

# Of so many kinds and devices the first is logged as a warning; what is wrong with further ones is only counted.
CAPACITY = 1000

refused = Counter("kubeedge_devicetwin_refused_total", "Inputs whose content was refused", ("kind",))
dropped = Counter("kubeedge_devicetwin_dropped_total", "Inputs that were not taken at all", ("reason",))


class Troubles:
    """Remembers what has been logged: a device that repeats itself once a second does not fill the log."""

    def __init__(self) -> None:
        self._told: set[tuple[str, str]] = set()

    def refuse(self, kind: str, device: str, reason: str) -> None:
        """Take note of an input of that kind whose content is refused; device may be the name of the node."""
        refused.inc(kind)
        self._tell(kind, device, reason)

    def drop(self, kind: str, subject: str, reason: str) -> None:
        """Take note of an input that is for nobody; subject is its topic or resource."""
        dropped.inc(kind)
        self._tell(kind, subject, reason)

    def _tell(self, kind: str, subject: str, reason: str) -> None:
        key = (kind, subject)
        is_new = key not in self._told and len(self._told) < CAPACITY
        if is_new:
            self._told.add(key)
        log.log(
            logging.WARNING if is_new else logging.DEBUG, "input refused: %s of=%s reason=%s", kind, subject, reason
        )
