"""Stands in for the module `cython` when this source runs as plain Python and Cython is not installed."""

from __future__ import annotations

from typing import Final

compiled: Final = False
