"""Runs of a compiled pipeline, with each kind of store, and what they leave."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tensorflow as tf

from pipeline.cluster.compile import compile_pipeline
from pipeline.cluster.target import Target
from pipeline.config.schema import Config
from trainer.store.uris import Kind

from ..cluster.containers import ColdPython, WarmPython
from ..cluster.kfp_launcher import fetch
from ..cluster.s3_server import ACCESS_KEY, SECRET_KEY, S3Server
from ..cluster.spec_runner import SpecRun

# Starts as a container does; the others in forks of a Python that has TFX loaded.
COLD = {"ImageExampleGen"}
ROOT = "minio://mlpipeline/thaw"
SECRETS = {"mlpipeline-minio-artifact": {"accesskey": ACCESS_KEY, "secretkey": SECRET_KEY}}


@dataclass(frozen=True)
class StoreRun:
    """A run of all tasks, whose store is where `kind` says.

    Attributes:
      kind: of store.
      run: its tasks' outputs.
      server: what holds the artifacts of a staged run.
    """

    kind: Kind
    run: SpecRun
    server: S3Server | None = None

    def folder(self, uri: str) -> Path:
        """A folder of this machine with the content of one in the store."""
        local = self.run.directory / "claim" / uri.removeprefix(f"{ROOT}/")
        if self.kind is Kind.DIRECT:
            return Path(uri)
        if self.kind is Kind.STAGED and not local.exists():
            assert self.server
            fetch(self.server, uri, local)
        return local

    def output(self, task: str, name: str) -> Path:
        return self.folder(self.run.uri(task, name))


def config_like(run, formats: tuple[str, ...] = (), **cluster) -> Config:
    """The config of a finished `thaw run`, for a cluster, with fewer exports."""
    config = run.results["config"]
    return Config.model_validate(
        {
            **config,
            "export": {**config["export"], "formats": formats},
            "cluster": {
                "image": "example/thaw:1",
                "pipeline_root": "gs://bucket/root",
                **cluster,
            },
        }
    )


def run_all(run: SpecRun, warm_python: WarmPython) -> SpecRun:
    for task in run.tasks():
        run.run(task, ColdPython().run if task in COLD else warm_python.run)
    return run


def staged(config: Config, server: S3Server) -> Config:
    store = {"kind": "staged", "endpoint": server.endpoint, "secret": "mlpipeline-minio-artifact"}
    values = {**config.model_dump(), "cluster": {**config.cluster.model_dump(), "store": store}}
    values["cluster"]["pipeline_root"] = ROOT
    return Config.model_validate(values)


def with_images(config: Config, images: str) -> Config:
    data = config.data.model_copy(update={"images": images})
    return config.model_copy(update={"data": data})


def one_trial(run, formats: tuple[str, ...] = (), **cluster) -> Config:
    """One trial, of what the config says: the fits then learn as without a search."""
    config = config_like(run, formats, **cluster)
    search = {"enabled": True, "head_trials": 1, "fine_tune_trials": 0, "max_epochs": 1}
    return config.model_copy(update={"tuner": config.tuner.model_copy(update=search)})


def in_a_folder(config: Config, target: Target, directory: Path) -> str:
    """The compiled pipeline, with a folder in the place of the bucket."""
    images = config.data.images
    text = compile_pipeline(with_images(config, "gs://bucket/images"), target)
    return text.replace("gs://bucket/images", str(images)).replace(
        "gs://bucket", f"{directory}/bucket"
    )


def weights(saved_model: Path) -> list[np.ndarray]:
    reader = tf.train.load_checkpoint(str(saved_model / "variables" / "variables"))
    return [
        reader.get_tensor(name)
        for name in sorted(reader.get_variable_to_shape_map())
        if "OBJECT_GRAPH" not in name
    ]
