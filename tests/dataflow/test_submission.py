"""TrunkFeatures on Dataflow, up to what is sent: the staged files and the job's request."""

import io
import json
import sys
import tarfile
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import pytest
from apache_beam.version import __version__ as beam_version
from google.cloud import dataflow
from tfx.dsl.components.base.base_beam_executor import BaseBeamExecutor
from tfx.types import standard_artifacts

from components.trunk_features.executor import Executor
from trainer.errors import ThawError
from trainer.specs import NO_CHANGE, TrunkFeaturesArgs, TrunkSpec

from ..conftest import ROOT
from ..image_examples import write_image_examples
from .service import Request, Service, serving

pytestmark = pytest.mark.slow

SPEC = TrunkSpec("mobilenet_v2", 32, "block_1_project_BN", "float16", "float32")
SETTINGS = TrunkFeaturesArgs(SPEC, "random", "", 5, 0, NO_CHANGE)

# As docs/beam.md has them, but for the endpoint and for asking no one who we are.
OPTIONS = (
    "--runner=DataflowRunner",
    "--project=a-project",
    "--region=europe-west4",
    "--temp_location=gs://bucket/temp",
    "--service_account_email=thaw@a-project.iam.gserviceaccount.com",
    "--worker_machine_type=n2-standard-8",
    "--max_num_workers=20",
    "--no_use_public_ips",
)


@pytest.fixture
def submit(tmp_path, monkeypatch) -> Callable[..., tuple[Service, Request]]:
    """Runs the executor; what was uploaded, and the one job that was asked for."""

    def run(*options: str) -> tuple[Service, Request]:
        images = tmp_path / "images"
        write_image_examples(images, {"train": [3], "val": [1], "test": [1]}, 32)
        examples = standard_artifacts.Examples()
        examples.uri = str(images)
        outputs = {"features": standard_artifacts.Examples(), "trunk": standard_artifacts.Model()}
        for name, artifact in outputs.items():
            artifact.uri = str(tmp_path / name)
            (tmp_path / name).mkdir()
        with serving() as service:
            monkeypatch.setenv("STORAGE_EMULATOR_HOST", service.url)
            monkeypatch.setattr(sys, "argv", ["thaw"])  # TFX reads it
            arguments = [*OPTIONS, f"--dataflow_endpoint={service.url}", "--no_auth", *options]
            executor = Executor(BaseBeamExecutor.Context(beam_pipeline_args=arguments))
            # Nobody has done the work, whatever the service says.
            with pytest.raises(ThawError, match="not written"):
                executor.Do(
                    {"examples": [examples]},
                    {name: [artifact] for name, artifact in outputs.items()},
                    {"settings": json.dumps(asdict(SETTINGS))},
                )
        (job,) = service.jobs
        return service, job

    return run


def test_request_carries_the_options(submit):
    _, request = submit("--sdk_container_image=example/thaw:1")

    assert (request.project, request.region) == ("a-project", "europe-west4")
    assert request.job.type_ == dataflow.JobType.JOB_TYPE_BATCH
    environment = request.job.environment
    assert environment.temp_storage_prefix.startswith("storage.googleapis.com/bucket/temp/")
    assert environment.service_account_email == "thaw@a-project.iam.gserviceaccount.com"
    (pool,) = environment.worker_pools
    assert pool.machine_type == "n2-standard-8"
    assert pool.autoscaling_settings.max_num_workers == 20
    private = dataflow.WorkerIPAddressConfiguration.WORKER_IP_PRIVATE
    assert pool.ip_configuration == private


def images_of(pool: dataflow.WorkerPool) -> set[str]:
    return {image.container_image for image in pool.sdk_harness_container_images}


def test_image_of_ones_own_is_what_workers_run_and_no_package_is_staged(submit):
    service, request = submit("--sdk_container_image=example/thaw:1")

    (pool,) = request.job.environment.worker_pools
    assert images_of(pool) == {"example/thaw:1"}
    assert not [name for name in service.objects if name.endswith(".tar.gz")]
    assert any(name.endswith("/pipeline.pb") for name in service.objects)


def test_setup_file_stages_this_project_for_workers_of_beams_image(submit):
    service, request = submit(f"--setup_file={ROOT / 'setup.py'}")

    (pool,) = request.job.environment.worker_pools
    (image,) = images_of(pool)
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    assert image.endswith(f"/beam_python{version}_sdk:{beam_version}")
    (name,) = [name for name in service.objects if name.endswith("/workflow.tar.gz")]
    assert f"storage.googleapis.com/{name}" in {package.location for package in pool.packages}
    with tarfile.open(fileobj=io.BytesIO(service.objects[name])) as sdist:
        held = {str(Path(*Path(path).parts[1:])) for path in sdist.getnames()}
    assert {
        "components/trunk_features/executor.py",
        "components/image_example_gen/executor.py",
        "trainer/preprocessing.py",
        "pyproject.toml",
    } <= held
