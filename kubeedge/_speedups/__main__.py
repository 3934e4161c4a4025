"""Tell which build of the hot paths runs: `python -m kubeedge._speedups`."""

from __future__ import annotations

from kubeedge._speedups import BUILD, MODULES, build_of

print(BUILD)
for module in MODULES:
    print(f"  {module:12}{build_of(module)}")
