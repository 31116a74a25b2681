"""Keeps pipelines for Vertex AI in Artifact Registry, as its own template gallery does."""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from google.auth.transport.requests import AuthorizedSession

from pipeline.cluster.client import PipelineVersion
from pipeline.cluster.target import ClusterError
from pipeline.cluster.vertex_errors import as_cluster_error
from pipeline.config.schema import Config

_ANSWER_SECS = 60.0
_LATEST = "latest"


@dataclass(frozen=True)
class UploadedTemplate(PipelineVersion):
    """A version in Artifact Registry.

    Attributes:
      package: the file that was uploaded; a run that is started at once needs no download.
    """

    package: Path


def upload_template(
    package: Path, version: str, config: Config, credentials: Any
) -> UploadedTemplate:
    """Uploads a pipeline as a new version of the package of its name.

    The request is that of `kfp.registry.RegistryClient.upload_pipeline`, which has no deadline.
    The repository names a version by its content, SHA-256; our name becomes a tag.

    Args:
      package: a PipelineJob as JSON.
      version: name of the version.
      config: `cluster.vertex.template_registry` must be set.
      credentials: Google's.

    Raises:
      ClusterError: without a repository, or if it refuses the pipeline.
    """
    registry = config.cluster.vertex.template_registry
    if not registry:
        raise ClusterError(
            "must be set for --upload: Vertex AI itself keeps no pipelines.",
            where="cluster.vertex.template_registry",
            to_do=(
                "Create a repository: gcloud artifacts repositories create NAME "
                f"--repository-format=kfp --location={config.cluster.location}"
            ),
        )
    spec = json.loads(package.read_text(encoding="utf-8"))["pipelineSpec"]
    with as_cluster_error():
        answer = AuthorizedSession(credentials).post(
            registry,
            data={"tags": f"{_tag(version)},{_LATEST}"},
            files={"content": ("pipeline.yaml", yaml.safe_dump(spec, sort_keys=True))},
            timeout=_ANSWER_SECS,
        )
    name, _, content = answer.text.strip().partition("/")
    if answer.status_code != 200 or not content.startswith("sha256:"):
        raise ClusterError(
            f"{registry} rejected the pipeline: HTTP {answer.status_code}: {answer.text[:500]}",
            where="cluster.vertex.template_registry",
        )
    return UploadedTemplate(
        pipeline=name,
        pipeline_id=f"{registry}/{name}",
        version=_tag(version),
        version_id=content,
        url=f"{registry}/{name}/{content}",
        package=package,
    )


def _tag(version: str) -> str:
    return re.sub(r"[^a-z0-9-]+", "-", version.lower()).strip("-")
