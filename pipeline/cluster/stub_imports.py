"""Stubs what TFX imports and a process that only compiles never uses.

Half of the time that TFX takes to import goes into clients for Google's services, notebook
widgets with all of IPython, and toolkits for language and for searches. Compiling itself
takes a second. The pipeline that comes out is the same to the byte; a test compares.
"""

import sys
from types import ModuleType
from typing import Any

# Optional for those who import them: Beam without its Google extras, no notebooks.
MISSING = (
    "apache_beam.io.gcp.bigquery",
    "apache_beam.io.gcp.gcsfilesystem",
    "tqdm.notebook",
    "IPython",
)

# Imported unconditionally, used by widgets, metrics and searches that do not run while compiling.
STUBBED = (
    "keras_tuner",
    "keras_tuner.engine",
    "keras_tuner.engine.base_tuner",
    "nltk",
    "rouge_score",
    "rouge_score.rouge_scorer",
    "rouge_score.scoring",
    "rouge_score.tokenizers",
    "tensorflow_model_analysis.view.widget_view",
    "tfx.extensions.google_cloud_ai_platform.runner",  # Google's client for Vertex AI
)


class _Stub(ModuleType):
    """A module in which every name is an empty class."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return type(name, (), {})


def stub_unused_imports() -> None:
    """Call it before anything heavy is imported, in a process that only compiles."""
    for name in MISSING:
        sys.modules.setdefault(name, None)  # type: ignore[arg-type]
    for name in STUBBED:
        module = sys.modules.setdefault(name, _Stub(name))
        package, _, own = name.rpartition(".")
        if package in STUBBED:
            setattr(sys.modules[package], own, module)
