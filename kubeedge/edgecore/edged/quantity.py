"""Quantities of Kubernetes (`500m`, `64Mi`, `1e3`) as exact numbers."""

from __future__ import annotations

from decimal import ROUND_CEILING, Decimal, InvalidOperation

_SUFFIXES = {
    "": Decimal(1),
    "n": Decimal("1e-9"),
    "u": Decimal("1e-6"),
    "m": Decimal("1e-3"),
    "k": Decimal(10**3),
    "M": Decimal(10**6),
    "G": Decimal(10**9),
    "T": Decimal(10**12),
    "P": Decimal(10**15),
    "E": Decimal(10**18),
    "Ki": Decimal(2**10),
    "Mi": Decimal(2**20),
    "Gi": Decimal(2**30),
    "Ti": Decimal(2**40),
    "Pi": Decimal(2**50),
    "Ei": Decimal(2**60),
}


class QuantityError(ValueError):
    """A text that is no quantity."""


def parse(text: object) -> Decimal:
    """Read a quantity; a number counts as its text. Raises QuantityError."""
    source = str(text).strip()
    number = source.rstrip("numkKMGTPEi")
    suffix = source[len(number) :]
    # `1E3` and `1e3` are exponents, `1E` is an exa: what follows the letter decides.
    try:
        value = Decimal(number) * _SUFFIXES[suffix]
    except (InvalidOperation, KeyError):
        raise QuantityError(f"{source!r} is no quantity") from None
    if not value.is_finite():
        raise QuantityError(f"{source!r} is no quantity")
    return value


def milli(text: object) -> int:
    """A quantity in thousandths, rounded up: CPU as millicores."""
    return int((parse(text) * 1000).to_integral_value(ROUND_CEILING))


def whole(text: object) -> int:
    """A quantity in whole units, rounded up: memory in bytes."""
    return int(parse(text).to_integral_value(ROUND_CEILING))
