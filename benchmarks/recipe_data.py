"""What all sides of a comparison with the plain recipe start from; run as a child of it.

Chooses images for the three splits, decodes and writes them as Transform does, and
makes the backbone's first weights.
"""

import hashlib
import itertools
import json
import random
import shutil
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from trainer import keys
from trainer.backbones.table import BACKBONES

SEED = 0
MAX_PIXELS = 100_000_000
_NEWER = ".weights.h5"


@dataclass(frozen=True)
class Recipe:
    """One comparison, on both sides alike.

    Attributes:
      folder: of the preparation; see the properties.
      size_px: side of the square images.
      epochs: of each fit.
      batch_size: images in a step.
      precision: what layers compute in: `float32` or `bfloat16`.
      dtype: what Thaw keeps the trunk's output in.
      backbone: key of `BACKBONES`.
      seed: of the fits.
      patience: epochs without a lower validation loss that end a fit; 0: none do.
      schedule: Thaw's: `recipe` or `fast`.
      head_units: of Thaw's fast side; 0: its head is solved.
    """

    folder: str
    size_px: int
    epochs: int
    batch_size: int
    precision: str
    dtype: str
    backbone: str = "inception_v3"
    seed: int = SEED
    patience: int = 0
    schedule: Literal["recipe", "fast"] = "recipe"
    head_units: int = 1024

    @property
    def boundary(self) -> str:
        """Block that ends the trunk."""
        return BACKBONES[self.backbone].default_boundary

    @property
    def boundary_layer(self) -> str:
        """Name of its last layer."""
        return BACKBONES[self.backbone].blocks[self.boundary]

    @property
    def most_wait(self) -> int:
        """Patience of a fit: longer than it takes, if none ends it."""
        return self.patience or self.epochs + 1

    @property
    def images(self) -> Path:
        """`<split>/<class>/<file>`."""
        return Path(self.folder) / "images"

    @property
    def examples(self) -> Path:
        """`Split-<split>/*` and the data card, as Transform leaves them."""
        return Path(self.folder) / "examples"

    @property
    def weights(self) -> Path:
        """The backbone's first weights."""
        # tf_keras reads its newer format only by this ending.
        newer = Path(self.folder) / f"backbone{_NEWER}"
        return newer if newer.exists() else Path(self.folder) / "backbone.h5"

    def put_weights(self, source: Path) -> None:
        """Has the backbone begin with the weights in a file."""
        ending = _NEWER if source.name.endswith(_NEWER) else ".h5"
        (Path(self.folder) / f"backbone{ending}").symlink_to(source.resolve())

    def to_json(self) -> str:
        """For a child's command line."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "Recipe":
        """Undoes `to_json`."""
        return cls(**json.loads(text))


def choose_images(
    source: Path, target: Path, counts: dict[str, int], seed: int | None = None
) -> None:
    """Copies images into `<split>/<class>/`, the classes taking turns.

    Args:
      source: folder of class folders.
      target: a new folder.
      counts: images of each split.
      seed: of the order of each class; None: by name.

    Raises:
      SystemExit: if there are too few.
    """
    classes = [sorted(folder.iterdir()) for folder in sorted(source.iterdir()) if folder.is_dir()]
    if seed is not None:
        order = random.Random(seed)
        for paths in classes:
            order.shuffle(paths)
    turns = itertools.chain.from_iterable(itertools.zip_longest(*classes))
    files = iter([path for path in turns if path is not None])
    for split, count in counts.items():
        chosen = list(itertools.islice(files, count))
        if len(chosen) < count:
            raise SystemExit(f"{source}: fewer than {sum(counts.values())} images.")
        for path in chosen:
            folder = target / split / path.parent.name
            folder.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, folder / path.name)


def write_examples(recipe: Recipe) -> float:
    """Decodes every image once and writes what Transform would; seconds it took."""
    import tensorflow as tf

    from trainer.data.card import DataCard, write_card
    from trainer.data.images import decode_and_resize, serialize_image

    def load(path: tf.Tensor) -> tf.Tensor:
        return serialize_image(decode_and_resize(tf.io.read_file(path), recipe.size_px, MAX_PIXELS))

    labels = sorted(folder.name for folder in (recipe.images / keys.TRAIN).iterdir())
    counts: dict[str, dict[str, int]] = {}
    started = time.monotonic()
    for split in keys.SPLITS:
        files = [str(path) for path in sorted((recipe.images / split).glob("*/*"))]
        names = [Path(path).parent.name for path in files]
        counts[split] = {label: names.count(label) for label in labels}
        folder = recipe.examples / keys.split_folder(split)
        folder.mkdir(parents=True)
        images = tf.data.Dataset.from_tensor_slices(files).map(load, tf.data.AUTOTUNE)
        target = str(folder / "transformed_examples-00000-of-00001")
        with tf.io.TFRecordWriter(target) as writer:
            for path, name, image in zip(files, names, images.as_numpy_iterator(), strict=True):
                writer.write(_example(path, name, labels.index(name), image))
    seconds = time.monotonic() - started
    write_card(DataCard(str(recipe.images), "0" * 64, counts), str(recipe.examples))
    return seconds


def _example(path: str, label: str, label_id: int, image: bytes) -> bytes:
    import tensorflow as tf

    values = {
        keys.IMAGE: image,
        keys.LABEL: label.encode(),
        keys.ID: hashlib.sha256(Path(path).read_bytes()).hexdigest().encode(),
        keys.PATH: path.encode(),
    }
    example = tf.train.Example()
    for name, value in values.items():
        example.features.feature[name].bytes_list.value.append(value)
    example.features.feature[keys.LABEL_ID].int64_list.value.append(label_id)
    return example.SerializeToString(deterministic=True)


def make_weights(recipe: Recipe) -> None:
    """Writes random weights whose BatchNorm statistics are calibrated on training images."""
    from trainer.distribution.strategy import make_deterministic
    from trainer.model.weight_files import save_weights
    from trainer.start_weights import load_start_weights

    make_deterministic(SEED)
    files = [str(recipe.examples / keys.split_folder(keys.TRAIN) / "*")]
    backbone = load_start_weights(recipe.backbone, recipe.size_px, "random", files, SEED)
    save_weights(backbone, str(recipe.weights))


def main(recipe: Recipe) -> None:
    """Prepares a comparison; prints what decoding took."""
    decode_seconds = write_examples(recipe)
    if not recipe.weights.exists():
        make_weights(recipe)
    print(json.dumps({"decode_seconds": decode_seconds}))


if __name__ == "__main__":
    main(Recipe.from_json(sys.argv[1]))
