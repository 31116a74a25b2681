"""What Vertex AI runs to learn whether ImageExampleGen can be skipped."""

import importlib
from pathlib import Path

import pytest
from google.protobuf import json_format
from kfp.pipeline_spec import pipeline_spec_pb2 as spec_pb2

from .conftest import needs_kfp
from .spec_runner import PLACEHOLDER, Service, SpecRun
from .specs import container_of, read_vertex

pytestmark = [pytest.mark.slow, needs_kfp]


@pytest.fixture
def images(tmp_path) -> Path:
    folder = tmp_path / "bucket" / "images"
    for label in ("cat", "dog"):
        (folder / label).mkdir(parents=True)
        for number in range(2):
            (folder / label / f"{number}.jpg").write_bytes(b"alike")
    return folder


@pytest.fixture
def check(vertex_text, images, tmp_path):
    """Runs the check of a compiled job, a folder in the place of the bucket; what it says."""
    spec, job = read_vertex(vertex_text.replace("gs://bucket", f"{tmp_path}/bucket"))
    values = dict(job.runtime_config.parameters.items())
    run = SpecRun(spec, tmp_path, Service.VERTEX, job_parameters=values)
    command = container_of(spec, "ImageExampleGen").lifecycle.pre_cache_check

    def checks() -> dict[str, str]:
        asked = run.executor_input("ImageExampleGen", None)
        text = json_format.MessageToJson(asked, indent=None)
        arguments = [text if word == PLACEHOLDER else word for word in command.args]
        assert command.command[:2] == ["python", "-m"]
        module = importlib.import_module(command.command[2])
        module.main(module.parse_flags(["check", *arguments]))
        reported = Path(asked.outputs.output_file).read_text()
        output = json_format.Parse(reported, spec_pb2.ExecutorOutput())
        return {name: value.string_value for name, value in output.parameter_values.items()}

    return checks


def test_an_image_that_moves_to_another_class_is_noticed(check, images):
    before = check()
    again = check()

    (images / "cat" / "0.jpg").rename(images / "dog" / "2.jpg")

    assert before == again
    assert check()["input_fingerprint"] != before["input_fingerprint"]
    assert "*/*" in before["input_config"]
