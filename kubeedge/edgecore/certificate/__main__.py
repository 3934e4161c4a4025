"""Carries out one order from standard input and reports on standard output."""

from __future__ import annotations

import sys

from kubeedge.edgecore.certificate.application import carry_out
from kubeedge.edgecore.certificate.order import decode_order, encode

if __name__ == "__main__":
    sys.stdout.buffer.write(encode(carry_out(decode_order(sys.stdin.buffer.read()))))
