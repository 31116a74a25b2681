"""Scripts that print ratios: `.venv/bin/python -m benchmarks.NAME --help`."""
