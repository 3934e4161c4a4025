"""Benchmarks: one small program for each hot path, and `python -m bench`, which runs all of them.

Each prints its figures as JSON. targets.json holds what DESIGN.md promises, floors.json the ratios that fail a run.
"""
