"""How much local disk and memory each node's pod takes, for a number of images.

An upper bound by arithmetic, for requests and limits; it holds within the rounding of file
formats. What is in the store, or on a mounted volume, is not on a pod's disk.
"""

import functools
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from components.image_example_gen.sources import manifest
from components.image_example_gen.sources.find import find_source
from pipeline.config.schema import Config
from trainer.store.uris import Kind, is_remote

if TYPE_CHECKING:  # imports TFX
    from pipeline.training_nodes import NodePlacement

# What a pod needs before the first image: TensorFlow, a network and its batches. The highest
# peak of a whole run at 299 px was 2.9 GiB (docs/performance.md).
_BASE_MEMORY_BYTES = 3 * 2**30
# A photograph of ImageNet: 138 GB in 1.28 million files.
_FILE_BYTES = 110_000
# Labels, ids and paths of an example.
_ABOUT_BYTES = 500
_FLOAT_BYTES = 4
# Of vectors that a search keeps in memory (`MOST_VECTORS` in trainer/tuning/job.py).
_MOST_VECTORS = 100_000
# An exported model holds its weights, and once more for the warm start.
_COPIES_OF_WEIGHTS = 2

_GIB = 2**30
_EXAMPLES = "ImageExampleGen"


@dataclass(frozen=True)
class NodeSize:
    """What a pod of a node takes.

    Attributes:
      node: its name; of a job's workers with `, each worker`.
      disk_bytes: of local files at once.
      memory_bytes: at its peak, without what GPUs hold.
    """

    node: str
    disk_bytes: int
    memory_bytes: int


@dataclass(frozen=True)
class ImageSizes:
    """Bytes of one image on its way, and of a model.

    Attributes:
      file: the file itself.
      pixels: after Transform.
      features: of one view, after the trunk; 0 where nothing is cached.
      vector: pooled, as fit 1 reads it.
      model: exported.
    """

    file: int
    pixels: int
    features: int
    vector: int
    model: int


def count_images(config: Config) -> int | None:
    """`cluster.num_images`, or the files that a source on this machine lists; None otherwise."""
    images = config.data.images
    if config.cluster.num_images or not images:
        return config.cluster.num_images
    is_listed = os.path.isdir(images) or images.lower().endswith(manifest.ENDINGS)
    if is_remote(images) or not is_listed or not os.path.exists(images):
        return None
    return sum(1 for _ in find_source(images).entries()) or None


def image_sizes(config: Config) -> ImageSizes:
    """Builds the backbone without weights to see its shapes; takes some seconds, once."""
    from pipeline import node_args

    trunk = node_args.trunk_features(config).spec
    shapes = _shapes(trunk.backbone, trunk.image_size_px, trunk.boundary)
    value_bytes = 4 if trunk.dtype == "float32" else 2
    weights = shapes.weights + shapes.width * config.head.units
    cached = config.features.cache
    return ImageSizes(
        file=_FILE_BYTES,
        pixels=trunk.image_size_px**2 * 3 + _ABOUT_BYTES,
        features=shapes.trunk_values * value_bytes + _ABOUT_BYTES if cached else 0,
        vector=shapes.width * _FLOAT_BYTES if cached else 0,
        model=weights * _FLOAT_BYTES * _COPIES_OF_WEIGHTS,
    )


class _Shapes(NamedTuple):
    """Of a backbone: numbers that its trunk computes of an image, of its pooled vector, of
    weights.
    """

    trunk_values: int
    width: int
    weights: int


@functools.lru_cache(maxsize=4)
def _shapes(backbone: str, size_px: int, boundary: str) -> _Shapes:
    from trainer.backbones.networks import RANDOM, boundary_layer, load_backbone
    from trainer.backbones.table import BACKBONES

    network = load_backbone(backbone, size_px, RANDOM)
    layer = network.get_layer(boundary_layer(network, BACKBONES[backbone], boundary))
    return _Shapes(
        math.prod(layer.output_shape[1:]), network.output_shape[-1], network.count_params()
    )


def node_sizes(
    config: Config, placements: Mapping[str, "NodePlacement"], num_images: int
) -> list[NodeSize]:
    """The sizes of every node's pod and of the workers', first to last.

    Args:
      config: `cluster.store` decides what is on local disk.
      placements: of the training nodes.
      num_images: in all splits together.
    """
    staged = config.cluster.store.kind == Kind.STAGED.value
    each = image_sizes(config)
    memory = {"Tuner": min(num_images, _MOST_VECTORS) * each.vector}
    sizes = []
    for node in _nodes(config):
        elsewhere = node in placements and placements[node].elsewhere
        disk = disk_bytes(config, node, num_images)
        size = NodeSize(node, disk, _BASE_MEMORY_BYTES + memory.get(node, 0))
        if elsewhere:
            sizes.append(NodeSize(node, each.model if staged else 0, _BASE_MEMORY_BYTES))
            size = NodeSize(f"{node}, each worker", size.disk_bytes, size.memory_bytes)
        sizes.append(size)
    return sizes


def disk_bytes(config: Config, node: str, num_images: int) -> int:
    """Local disk of the process that does a node's work."""
    each = image_sizes(config)
    staged = config.cluster.store.kind == Kind.STAGED.value
    copied = _copied(config, num_images, each).get(node, 0) if staged else 0
    return copied + _scratch(config, num_images, each).get(node, 0)


def _nodes(config: Config) -> list[str]:
    from pipeline.config.cluster import NODES

    left_out = set() if config.tuner.enabled else {"Tuner"}
    if config.gate.evidence == "test":
        left_out.add("CrossFitter")
    if not config.export.formats:
        left_out.add("Exporter")
    return [
        node
        for node in NODES
        if node not in left_out and (config.features.cache or node != "TrunkFeatures")
    ]


def _copied(config: Config, num_images: int, each: ImageSizes) -> dict[str, int]:
    """Inputs and outputs of a node that works on local copies."""
    files, pixels = num_images * each.file, num_images * each.pixels
    fitted = _views(config, num_images) * each.features or pixels
    exports = len(config.export.formats) * each.model
    return {
        _EXAMPLES: files,
        "StatisticsGen": files,
        "Transform": files + pixels,
        "TrunkFeatures": pixels + fitted,
        "Tuner": fitted + each.model,
        "HeadTrainer": fitted + 2 * each.model,
        "FineTuner": fitted + 2 * each.model,
        "CrossFitter": fitted + each.model,
        "Evaluator": fitted + 2 * each.model,
        "Gate": 2 * each.model + (files if config.gate.served == "compare" else 0),
        "ServingCheck": files + fitted + each.model,
        "Pusher": each.model,
        "Exporter": pixels + 2 * each.model + exports,
    }


def _scratch(config: Config, num_images: int, each: ImageSizes) -> dict[str, int]:
    """Temporary files: fit 1 and the search write a pooled vector for each image."""
    vectors = _views(config, num_images) * each.vector
    # A fold is a copy of all features.
    fold = num_images * each.features + vectors
    return {"Tuner": vectors, "HeadTrainer": vectors, "CrossFitter": fold, "Gate": each.model}


def _views(config: Config, num_images: int) -> int:
    """Images and their augmented views."""
    from pipeline import node_args

    views = node_args.trunk_features(config).augmented_views
    splits = config.data.splits
    share = splits.train / (splits.train + splits.val + splits.test)
    return num_images + round(num_images * share) * views


def in_words(size: int) -> str:
    """GiB, rounded up to a tenth."""
    return f"{-(-size * 10 // _GIB) / 10:.1f} GiB"


def whole_gibibytes(size: int) -> str:
    """A Kubernetes quantity that is no smaller."""
    return f"{max(1, -(-size // _GIB))}Gi"
