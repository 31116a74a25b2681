"""The container that Vertex AI runs before it looks for an earlier ingestion in its cache.

    python -m components.image_example_gen.cache_check --json_serialized_invocation_args …

TFX's own gives the cache the number, the total size and the times of all images; this one
gives it the fingerprint by which `thaw run` decides, in which every image counts by its name.
"""

import argparse

from absl import app
from absl.flags import argparse_flags
from tfx.components.example_gen.input_processor import FileBasedInputProcessor
from tfx.orchestration.kubeflow.v2.file_based_example_gen import driver as tfx_driver

from components.image_example_gen.driver import fingerprint
from trainer.process.replaced import replaced


class _Images(FileBasedInputProcessor):
    """One folder of class folders; there are no spans and no versions of it."""

    def resolve_span_and_version(self) -> tuple[int, int | None]:
        return 0, None

    def get_input_fingerprint(self, span: int, version: int | None) -> str:
        return fingerprint(self._input_base_uri)


def parse_flags(arguments: list[str]) -> argparse.Namespace:
    """Reads what Vertex AI passes; options for Beam are accepted and not needed."""
    parser = argparse_flags.ArgumentParser()
    parser.add_argument("--json_serialized_invocation_args", required=True)
    parser.add_argument("--json_serialized_inputs_spec_args")
    return parser.parse_known_args(arguments[1:])[0]


def main(arguments: argparse.Namespace) -> None:
    """Writes the fingerprint to the output file that the arguments name."""
    with replaced(tfx_driver.input_processor, "FileBasedInputProcessor", _Images):
        tfx_driver.main(arguments)


if __name__ == "__main__":
    app.run(main, flags_parser=parse_flags)
