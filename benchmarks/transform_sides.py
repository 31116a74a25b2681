"""The Transform node, and bare loops over the same images; children of other benchmarks.

    python -m benchmarks.transform_sides SIDE '{"folder": …, "size_px": …}'

`node` runs the nodes from ImageExampleGen to Transform in `folder`; `loop` and `writing`
then read what ImageExampleGen wrote, as Transform did.
"""

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from trainer import keys

IMAGES = "images"
MAX_PIXELS = 100_000_000


def run_node(folder: Path, size_px: int) -> dict[str, Any]:
    """Runs the nodes as `thaw run` does; images and seconds of Transform."""
    from tfx.orchestration.metadata import sqlite_metadata_connection_config
    from tfx.orchestration.pipeline import Pipeline

    from pipeline.config.load import load_config
    from pipeline.dag import make_nodes
    from pipeline.local.runner import _launch, compile_pipeline, run_forked
    from pipeline.report.lineage import read_nodes
    from trainer.data.card import read_card

    size = f"backbone.image_size_px={size_px}"
    config = load_config(None, ["backbone.weights=random", size], str(folder / IMAGES))
    nodes = make_nodes(config, str(folder / IMAGES), str(folder / "serving"))
    names = [node.id for node in nodes]
    nodes = nodes[: names.index("Transform") + 1]
    run_id = time.strftime("%Y%m%d-%H%M%S")
    database = folder / "metadata.sqlite"
    ir = compile_pipeline(
        Pipeline(
            pipeline_name="transform",
            pipeline_root=str(folder / "artifacts"),
            components=nodes,
            enable_cache=False,
            metadata_connection_config=sqlite_metadata_connection_config(str(database)),
        ),
        run_id,
    )
    logs = folder / "logs" / run_id
    logs.mkdir(parents=True)
    for node in nodes:
        outcome = run_forked(node.id, logs, _launch, ir, node.id)
        if not outcome.ok:
            raise SystemExit(f"{node.id}: {outcome.error}")
    found = read_nodes(database, run_id)
    examples = found["ImageExampleGen"].uri("examples")
    card = read_card(examples)
    return {
        "examples": examples,
        "images": sum(card.num_examples(split) for split in keys.SPLITS),
        "seconds": found["Transform"].seconds,
        "node_seconds": {name: node.seconds for name, node in found.items()},
    }


def run_loop(examples: str, size_px: int, target: str | None) -> dict[str, Any]:
    """Decodes and resizes every image on all cores; writes TFRecords, or nothing."""
    import tensorflow as tf

    from trainer.data import fit_data
    from trainer.data.images import decode_and_resize, serialize_image

    def load(record: tf.Tensor) -> tf.Tensor:
        spec = {keys.IMAGE_BYTES: tf.io.FixedLenFeature([], tf.string)}
        content = tf.io.parse_single_example(record, spec)[keys.IMAGE_BYTES]
        image = decode_and_resize(content, size_px, MAX_PIXELS)
        return serialize_image(image) if target else image

    started = time.monotonic()
    files = fit_data.list_files(
        [os.path.join(examples, keys.split_folder(split), "*") for split in keys.SPLITS]
    )
    images = fit_data.read_records(files).map(load, tf.data.AUTOTUNE).prefetch(32)
    if target is None:
        count = sum(1 for _ in images)
    else:
        count = 0
        with tf.io.TFRecordWriter(os.path.join(target, "written")) as writer:
            for image in images.as_numpy_iterator():
                example = tf.train.Example()
                example.features.feature[keys.IMAGE].bytes_list.value.append(image)
                writer.write(example.SerializeToString())
                count += 1
    return {"images": count, "seconds": time.monotonic() - started}


def main(side: str, arguments: dict[str, Any]) -> None:
    """Runs one side; prints images and seconds."""
    folder, size_px = Path(arguments["folder"]), arguments["size_px"]
    if side == "node":
        result = run_node(folder, size_px)
    else:
        target = str(folder) if side == "writing" else None
        result = run_loop(arguments["examples"], size_px, target)
    print(json.dumps(result))


if __name__ == "__main__":
    main(sys.argv[1], json.loads(sys.argv[2]))
    sys.stdout.flush()
    os._exit(0)  # libraries' threads have hung in the interpreter's shutdown
