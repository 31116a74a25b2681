"""TFX components: one folder each, the spec in `component.py`, the work in `executor.py`."""
