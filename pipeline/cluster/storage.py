"""Which places a cluster's nodes can read from and write to."""

import posixpath
import re
from pathlib import PurePosixPath

from pipeline.cluster.target import ClusterError, Target
from pipeline.config.schema import Config

_GS = "gs://"
_USE_GS = "Use gs://BUCKET/…"


def check_places(config: Config, target: Target) -> None:
    """Checks that every node that uses a place can reach it.

    Artifacts go to `gs://` only. TensorFlow, which reads and writes them, brings no other
    remote file system, and Kubeflow Pipelines accepts as its root an object store but no
    folder (`ParseBucketPathToConfig` in its backend/src/v2/objectstore/config.go). Images
    and pushed models never pass through Kubeflow Pipelines: one node's own process reads
    or writes them, so a volume does as well, if that node's pod mounts it.

    Raises:
      ClusterError: naming a place that cannot be reached, and what works instead.
    """
    places = {
        "data.images": (config.data.images, "ImageExampleGen"),
        "cluster.pipeline_root": (config.cluster.pipeline_root, None),
        "cluster.serving_dir": (config.cluster.serving_dir, "Pusher"),
    }
    for key, (place, node) in places.items():
        if place is None or re.match(r"gs://[^/]", place):
            continue
        if target is Target.VERTEX:
            raise ClusterError(f"{key}: {place!r} is in no bucket: Vertex AI needs gs://BUCKET/….")
        if node is None or not _is_mounted(config, node, place):
            raise ClusterError(f"{key}: {place!r} {_why_not(place, node)}")


def _is_mounted(config: Config, node: str, place: str) -> bool:
    """Whether a full path is on a volume that the node's pod mounts."""
    path = PurePosixPath(posixpath.normpath(place))
    claims = config.cluster.resources_of(node).claims or {}
    return path.is_absolute() and any(path.is_relative_to(folder) for folder in claims)


def _why_not(place: str, node: str | None) -> str:
    if place.startswith(_GS):
        return f"names no bucket. {_USE_GS}"
    if "://" in place:
        return (
            "cannot be used: apart from gs://, TensorFlow reads and writes no remote storage. "
            f"{_USE_GS}"
        )
    if node is None:
        return (
            "cannot hold the artifacts: Kubeflow Pipelines accepts no folder as its root. "
            f"{_USE_GS}"
        )
    if not place.startswith("/"):
        return f"is a folder of this machine, which no cluster can reach. {_USE_GS}"
    return (
        f"is on no volume that {node} mounts. {_USE_GS}, or mount its claim: "
        f"cluster.resources.{node}.claims."
    )
