"""Carries out one order from standard input and reports on standard output."""

from __future__ import annotations

import os
import sys

from kubeedge.edgecore.certificate.application import carry_out
from kubeedge.edgecore.certificate.order import decode_order, encode


def main() -> int:
    """Serve the edgecore that started this; 1 when it died meanwhile, so that there is no order or nobody to tell."""
    order = sys.stdin.buffer.read()
    if not order:
        return 1
    report = encode(carry_out(decode_order(order)))
    try:
        while report:
            report = report[os.write(sys.stdout.fileno(), report) :]
    except BrokenPipeError:
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
