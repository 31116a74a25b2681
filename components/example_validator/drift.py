"""Compares the training images with those of the run before, by TFDV's comparators."""

import os
from dataclasses import dataclass, field

import tensorflow as tf
import tensorflow_data_validation as tfdv
from tensorflow_metadata.proto.v0 import anomalies_pb2, schema_pb2, statistics_pb2

from trainer import keys
from trainer.data.rules import DriftRule
from trainer.records import Record
from trainer.remote_files import earlier_beside, read_record, write_record

DRIFT_FILE = "drift.json"
_STATISTICS_FILE = "FeatureStats.pb"
_COMPARATORS = (
    anomalies_pb2.AnomalyInfo.COMPARATOR_L_INFTY_HIGH,
    anomalies_pb2.AnomalyInfo.COMPARATOR_JENSEN_SHANNON_DIVERGENCE_HIGH,
)
# Fewer than this share of the images before are too few by mistake, as a rule.
_SHRUNK = 0.5


@dataclass(frozen=True)
class Drift(Record):
    """How the training images differ from those of the run before.

    Attributes:
      previous: folder of the statistics of that run; empty: there is none.
      changes: a sentence for each change that is larger than it may be.
    """

    previous: str = ""
    changes: list[str] = field(default_factory=list)


def find_drift(statistics_uri: str, schema: schema_pb2.Schema, rule: DriftRule) -> Drift:
    """Compares statistics with the newest older ones that TFX has put beside them.

    Args:
      statistics_uri: folder of this run's statistics.
      schema: of its examples.
      rule: how large changes may be.
    """
    folders = earlier_beside(statistics_uri)
    previous = next((folder for folder in folders if tf.io.gfile.exists(_path(folder))), "")
    if not previous:
        return Drift()
    now, before = (_load(folder) for folder in (statistics_uri, previous))
    anomalies = tfdv.validate_statistics(
        now, _with_comparators(schema, rule), previous_statistics=before
    )
    changes = [
        f"{name}: {reason.description}"
        for name, info in sorted(anomalies.anomaly_info.items())
        for reason in info.reason
        if reason.type in _COMPARATORS
    ]
    count, count_before = (found.datasets[0].num_examples for found in (now, before))
    if count < _SHRUNK * count_before:
        changes.insert(0, f"there are {count:,} training images, and there were {count_before:,}.")
    return Drift(previous, changes)


def write_drift(drift: Drift, uri: str) -> None:
    """Writes the record into the folder of the anomalies."""
    tf.io.gfile.makedirs(uri)
    write_record(drift, os.path.join(uri, DRIFT_FILE), indent=2)


def read_drift(uri: str) -> Drift:
    """Reads what `write_drift` wrote; an empty record where an older version wrote none.

    Raises:
      ThawError: if the file is damaged.
    """
    path = os.path.join(uri, DRIFT_FILE)
    return read_record(Drift, path) if tf.io.gfile.exists(path) else Drift()


def _path(folder: str) -> str:
    return os.path.join(folder, keys.split_folder(keys.TRAIN), _STATISTICS_FILE)


def _load(folder: str) -> statistics_pb2.DatasetFeatureStatisticsList:
    return tfdv.load_stats_binary(_path(folder))


def _with_comparators(schema: schema_pb2.Schema, rule: DriftRule) -> schema_pb2.Schema:
    compared = schema_pb2.Schema()
    compared.CopyFrom(schema)
    for feature in compared.feature:
        if feature.name == keys.LABEL:
            feature.drift_comparator.infinity_norm.threshold = rule.label_share
        if feature.name in (keys.HEIGHT, keys.WIDTH):
            feature.drift_comparator.jensen_shannon_divergence.threshold = rule.size
    return compared
