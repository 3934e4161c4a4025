"""How a call to a mapper, or of one, can end badly."""

from __future__ import annotations


class AwayError(Exception):
    """The call did not reach the mapper, or it ended meanwhile. The text says why."""

    outcome = "away"


class UnansweredError(Exception):
    """The mapper has the call and does not answer: it may or may not have done what it was asked to."""

    outcome = "unanswered"


class RefusedError(Exception):
    """The mapper answered with an error; the text is its own."""

    outcome = "refused"


class TooManyMappersError(Exception):
    """There is no room for another mapper."""
