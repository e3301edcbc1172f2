"""Benchmarks: `python -m bench.NAME [--quick] [--json] [--check]`; `make bench` runs all of them (docs/benchmarks.md)."""
