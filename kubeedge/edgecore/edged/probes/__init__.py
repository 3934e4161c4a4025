"""Probes of containers: how they are made (`http`, `checks`, `grpc`) and when (`prober`) (spec 05 §5.9)."""
