"""Inspects what the first nodes of a run have left, and writes `inspect.json`."""

import itertools
import math
import resource
from collections.abc import Mapping, Sequence
from pathlib import Path

from PIL import Image

from components.image_example_gen.placed import NearDuplicates
from components.image_example_gen.rejected import read_rejected
from components.image_example_gen.summaries import read_near_duplicates
from pipeline import node_args
from pipeline.config.schema import Config
from pipeline.inspect import probe as probing
from pipeline.inspect.curve import helpful_class, learning_curve
from pipeline.inspect.features import Features, read_features, read_pixels
from pipeline.inspect.outliers import find_outliers, look_at
from pipeline.inspect.record import (
    Copies,
    Cost,
    Inspection,
    Outlier,
    Probe,
    RejectedFile,
    write,
)
from pipeline.report.lineage import NodeRun, read_nodes
from trainer import keys
from trainer.data.card import DataCard, read_card
from trainer.fit_specs import fast_epochs
from trainer.process import progress

_MOST_LISTED = 200
# A fit that stops early has done a few epochs more than its patience.
_EPOCHS_BEFORE_PATIENCE = 2
# A backward pass takes about twice as long as a forward pass.
_PASSES_PER_STEP = 3
# Starting processes, exporting, checking, pushing.
_OTHER_SECONDS = 60.0


def write_inspection(config: Config, output_dir: Path, run_dir: Path, path: Path) -> None:
    """Inspects a run that ended with TrunkFeatures.

    Args:
      config: of the run.
      output_dir: of the run.
      run_dir: folder of its logs; its name is the run's id.
      path: of the record to write.
    """
    nodes = read_nodes(output_dir / "metadata.sqlite", run_dir.name)
    write(inspect(config, nodes), path)


def inspect(config: Config, nodes: Mapping[str, NodeRun]) -> Inspection:
    """Finds out everything that the record holds."""
    examples = nodes["ImageExampleGen"].uri("examples")
    trunk = nodes["TrunkFeatures"]
    card, spec = read_card(examples), node_args.trunk_features(config).spec
    count = sum(card.num_examples(split) for split in keys.SPLITS)
    features = read_features(trunk.uri("features"), trunk.uri("trunk"), spec, count)
    groups = list(read_near_duplicates(examples))
    groups.sort(key=lambda group: (not group.is_conflicting, -len(group.paths)))
    found, why_not = _probe(features, groups)
    rejected = itertools.islice(read_rejected(examples), _MOST_LISTED)
    return Inspection(
        images_dir=card.images_dir,
        backbone=config.backbone.name,
        weights=config.backbone.weights,
        image_size_px=spec.image_size_px,
        counts={split: card.counts.get(split, {}) for split in keys.SPLITS},
        rejected=card.set_aside,
        rejected_files=[RejectedFile(one.path, one.reason) for one in rejected],
        near_duplicates=[Copies(one.paths, one.labels) for one in groups[:_MOST_LISTED]],
        num_near_duplicates=len(groups),
        outliers=_outliers(
            nodes["Transform"].uri("transformed_examples"), features, spec.image_size_px
        ),
        probe=found,
        no_probe=why_not,
        cost=_cost(config, card, trunk.seconds, features.seconds_per_image),
    )


def _probe(features: Features, groups: Sequence[NearDuplicates]) -> tuple[Probe | None, str]:
    rows = probing.choose_images(features.labels)
    chosen, left_out = probing.probeable(
        [features.labels[row] for row in rows],
        _group_numbers([features.paths[row] for row in rows], groups),
    )
    # A class of a single image is no reason to say nothing of the others.
    rows = rows[chosen]
    vectors = features.vectors[rows]
    labels, paths = ([values[row] for row in rows] for values in (features.labels, features.paths))
    counter = progress.Counter("steps of the probe", 4)
    try:
        judged = probing.judge(vectors, labels, _group_numbers(paths, groups))
    except probing.TooFewImages as reason:
        return None, str(reason)
    counter.add()
    suspects, flagged = probing.suspects(judged, paths)
    counter.add()
    curve = learning_curve(vectors, judged)
    counter.add()
    helpful = helpful_class(vectors, judged)
    counter.add()
    correct = judged.correct
    low, high = probing.interval(correct)
    recalls = {
        label: float(correct[judged.labels == number].mean())
        for number, label in enumerate(judged.classes)
    }
    return Probe(
        images=len(rows),
        left_out=left_out,
        folds=int(judged.folds.max()) + 1,
        accuracy=float(correct.mean()),
        low=low,
        high=high,
        recalls=recalls,
        confused=probing.confused(judged),
        suspects=suspects,
        num_flagged=flagged,
        curve=curve.points,
        doubled=curve.doubled,
        helpful=helpful,
    ), ""


def _group_numbers(paths: Sequence[str], groups: Sequence[NearDuplicates]) -> list[int]:
    """The number of the group of near-duplicates of each image; most are alone in theirs."""
    number_of = {path: number for number, group in enumerate(groups) for path in group.paths}
    return [number_of.get(path, len(groups) + row) for row, path in enumerate(paths)]


def _outliers(examples_uri: str, features: Features, size_px: int) -> list[Outlier]:
    about = dict(zip(features.ids, zip(features.paths, features.labels, strict=True), strict=True))
    counter = progress.Counter("images", len(about))
    looks, paths, labels = [], [], []
    for identity, pixels in read_pixels(examples_uri, size_px):
        path, label = about[identity]
        looks.append(look_at(pixels, _size_of(path)))
        paths.append(path)
        labels.append(label)
        counter.add()
    return find_outliers(looks, paths, labels)


def _size_of(path: str) -> tuple[int, int]:
    """Width and height of a file, by its header; 0 where it is no file of this machine."""
    try:
        with Image.open(path) as image:
            return image.size
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return 0, 0


def _cost(config: Config, card: DataCard, trunk_seconds: float, per_image: float) -> Cost:
    fit = config.fits.fine_tune
    train, val, test = (card.num_examples(split) for split in keys.SPLITS)
    steps = math.ceil(train / config.train.global_batch_size)
    most = fit.max_epochs or fast_epochs(max(1, steps))
    is_fast = config.fits.schedule == "fast"
    few = most if is_fast else min(most, fit.patience + _EPOCHS_BEFORE_PATIENCE)
    epoch = per_image * (_PASSES_PER_STEP * train + val)
    once = per_image * (train + val + 2 * test) + _OTHER_SECONDS
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return Cost(trunk_seconds, once + few * epoch, once + most * epoch, memory)
