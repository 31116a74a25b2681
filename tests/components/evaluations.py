"""Evaluates models that are right on as many images as we say, through the real executor."""

from pathlib import Path

import tensorflow as tf
from google.protobuf import json_format
from tfx.components.util import examples_utils
from tfx.proto import example_gen_pb2
from tfx.types import artifact_utils, standard_artifacts

from components.evaluator import extractors
from components.evaluator.executor import Executor
from components.evaluator.metrics import make_eval_config
from trainer import keys
from trainer.data.predictions import REFERENCE_TOP
from trainer.export import EVALUATION_SIGNATURE, LOGITS, PROBABILITIES, UNKNOWN_SCORE

LABELS = ["ant", "bee", "cow"]


def write_examples(folder: Path, count: int) -> standard_artifacts.Examples:
    """Test images 0 to count - 1, of every class in turn; `image` holds the number."""
    artifact = standard_artifacts.Examples()
    artifact.uri = str(folder)
    artifact.split_names = artifact_utils.encode_split_names([keys.TEST])
    examples_utils.set_payload_format(artifact, example_gen_pb2.FORMAT_TF_EXAMPLE)
    examples_utils.set_file_format(artifact, "tfrecords_gzip")
    (folder / "Split-test").mkdir(parents=True)
    path = str(folder / "Split-test" / "images-00000-of-00001.gz")
    with tf.io.TFRecordWriter(path, "GZIP") as writer:
        for number in range(count):
            label_id = number % len(LABELS)
            texts = {
                keys.IMAGE: str(number),
                keys.LABEL: LABELS[label_id],
                keys.ID: f"id {number}",
                keys.PATH: f"images/{number}.png",
                keys.GROUP: f"scene {number // 2}" if number < 4 else "",
            }
            example = tf.train.Example()
            for name, text in texts.items():
                example.features.feature[name].bytes_list.value.append(text.encode())
            example.features.feature[keys.LABEL_ID].int64_list.value.append(label_id)
            example.features.feature[keys.WEIGHT].float_list.value.append(1.0)
            writer.write(example.SerializeToString())
    return artifact


def write_model(folder: Path, num_right: int) -> standard_artifacts.Model:
    """A model that is right, at 0.75, on the images below `num_right`, and wrong on others."""

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="examples")])
    def evaluate(examples: tf.Tensor) -> dict[str, tf.Tensor]:
        found = tf.io.parse_example(examples, {keys.IMAGE: tf.io.FixedLenFeature([], tf.string)})
        number = tf.strings.to_number(found[keys.IMAGE], tf.int32)
        choice = number + tf.where(number < num_right, 0, 1)
        hot = tf.one_hot(choice % len(LABELS), len(LABELS))
        probabilities = hot * 0.625 + 0.125
        return {
            PROBABILITIES: probabilities,
            LOGITS: tf.math.log(probabilities),
            UNKNOWN_SCORE: tf.cast(number, tf.float32),
            REFERENCE_TOP: probabilities,
        }

    module = tf.Module()
    module.evaluate = evaluate
    artifact = standard_artifacts.Model()
    artifact.uri = str(folder)
    tf.saved_model.save(
        module, str(folder / "Format-Serving"), signatures={EVALUATION_SIGNATURE: evaluate}
    )
    return artifact


def evaluate(
    folder: Path, num_images: int, baseline_right: int, candidate_right: int, top_k: int = 2
) -> standard_artifacts.ModelEvaluation:
    """Runs PairedEvaluator's executor."""
    evaluation = standard_artifacts.ModelEvaluation()
    evaluation.uri = str(folder / "evaluation")
    blessing = standard_artifacts.ModelBlessing()
    blessing.uri = str(folder / "blessing")
    Executor().Do(
        {
            "examples": [write_examples(folder / "examples", num_images)],
            "model": [write_model(folder / "candidate", candidate_right)],
            "baseline_model": [write_model(folder / "baseline", baseline_right)],
        },
        {"evaluation": [evaluation], "blessing": [blessing]},
        {
            "eval_config": json_format.MessageToJson(make_eval_config(top_k)),
            "example_splits": f'["{keys.TEST}"]',
            "module_path": extractors.__name__,
        },
    )
    return evaluation
