"""Compiled hot paths with pure-Python fallback: frames, envelope and routing."""
