"""Measurements of Lamina beside QEMU. `python -m bench --help`; results go to docs/benchmarks."""
