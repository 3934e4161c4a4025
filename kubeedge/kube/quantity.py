"""Quantities of resources (`500m`, `64Mi`, `1e3`): parse, compare, canonical form."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple

_NANO = 10**9
_MAX = (2**63 - 1) * _NANO
# Amounts with more digits, or longer exponents, are nobody's; what is left stays within what int() and str() take.
MAX_LENGTH = 1000
MAX_EXPONENT_LENGTH = 3

_BINARY = {"Ki": 10, "Mi": 20, "Gi": 30, "Ti": 40, "Pi": 50, "Ei": 60}
_DECIMAL = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_DECIMAL_SUFFIX = {exponent: suffix for suffix, exponent in _DECIMAL.items()}

_QUANTITY = re.compile(r"([+-]?)(\d*)(?:\.(\d*))?([eEinumkKMGTP]*)([-+]?\d*)", re.ASCII)

FORMAT_WRONG = "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
SUFFIX_WRONG = "unable to parse quantity's suffix"


class QuantityError(ValueError):
    """A text that is no quantity; says so in the words of a real server."""


class Quantity(NamedTuple):
    """An amount in billionths, the smallest unit, and how it was written: `binary`, `decimal` or `exponent`."""

    nanos: int
    format: str = "decimal"

    def __str__(self) -> str:
        """The canonical form: no fraction, the largest suffix that loses nothing."""
        if self.nanos == 0:
            return "0"
        if self.format == "binary" and abs(self.nanos) >= 1024 * _NANO and self.nanos % _NANO == 0:
            number, power = self.nanos // _NANO, 0
            while number % 1024 == 0 and power < 6:
                number, power = number // 1024, power + 1
            return f"{number}{('', *_BINARY)[power]}"
        number, exponent = self.nanos, -9
        while number % 1000 == 0 and exponent < 18:
            number, exponent = number // 1000, exponent + 3
        if self.format == "exponent":
            return f"{number}e{exponent}" if exponent else str(number)
        return f"{number}{_DECIMAL_SUFFIX[exponent]}"

    @property
    def value(self) -> int:
        """The amount as a whole number, rounded up (away from zero)."""
        return -(-self.nanos // _NANO) if self.nanos >= 0 else self.nanos // _NANO

    @property
    def milli(self) -> int:
        """The amount in thousandths, rounded up (away from zero)."""
        return -(-self.nanos // 10**6) if self.nanos >= 0 else self.nanos // 10**6


def parse(value: object) -> Quantity:
    """Read a quantity; a number counts as its text, less than a billionth is rounded up. Raises QuantityError."""
    text = str(value)
    match = _QUANTITY.fullmatch(text)
    if match is None or not text or len(text) > MAX_LENGTH:
        raise QuantityError(FORMAT_WRONG)
    sign, whole, fraction, suffix, exponent_text = match.groups()
    digits = whole + (fraction or "")
    places = len(fraction or "")
    if not digits and suffix + exponent_text == "" and sign == text:
        digits = "0"
    base, exponent, form = _suffix(suffix, exponent_text)
    mantissa = int(digits or "0") * _NANO
    if base == 2:
        scaled, below = mantissa << exponent, 10**places
    elif exponent >= places:
        scaled, below = mantissa * 10 ** (exponent - places), 1
    else:
        scaled, below = mantissa, 10 ** (places - exponent)
    nanos = -(-scaled // below)
    if form == "binary":
        nanos = min(nanos, _MAX)
        if 0 < nanos < _NANO:
            form = "decimal"
    return Quantity(-nanos if sign == "-" else nanos, form)


def _suffix(suffix: str, exponent_text: str) -> tuple[int, int, str]:
    """(base, exponent, format) of what follows the digits."""
    if not exponent_text:
        if suffix in _DECIMAL:
            return 10, _DECIMAL[suffix], "decimal"
        if suffix in _BINARY:
            return 2, _BINARY[suffix], "binary"
    elif suffix in ("e", "E") and exponent_text not in ("+", "-") and len(exponent_text) <= MAX_EXPONENT_LENGTH:
        return 10, int(exponent_text), "exponent"
    raise QuantityError(SUFFIX_WRONG)


def milli(value: object) -> int:
    """Read a quantity in thousandths, rounded up: CPU. Raises QuantityError."""
    return parse(value).milli


def whole(value: object) -> int:
    """Read a quantity in whole units, rounded up: bytes of memory, pods. Raises QuantityError."""
    return parse(value).value


@lru_cache(maxsize=1024)
def canonical(text: str) -> str:
    """The canonical form of a quantity: `1000m` is `1`, `1024Mi` is `1Gi`, `0.5` is `500m`. Raises QuantityError."""
    return str(parse(text))
