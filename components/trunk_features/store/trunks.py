"""Which trunk a folder of a store belongs to."""

import hashlib
import os
from dataclasses import dataclass

import h5py
import numpy as np
import tensorflow as tf
from absl import logging

from trainer import records
from trainer.errors import ThawError
from trainer.records import Record
from trainer.remote_files import read_record, write_replacing
from trainer.specs import TrunkSpec

ABOUT_FILE = "trunk.json"

# Raised when the same pixels and the same weights would give other features.
_VERSION = 1


@dataclass(frozen=True)
class TrunkAbout(Record):
    """A trunk whose features are kept.

    Attributes:
      spec: the trunk, but for its weights.
      weights: SHA-256 of the backbone's weights.
      version: of what computes the features.
    """

    spec: TrunkSpec
    weights: str
    version: int = _VERSION

    @property
    def fingerprint(self) -> str:
        """64 hexadecimal digits: the name of the trunk's folder."""
        return hashlib.sha256(records.dumps(self).encode()).hexdigest()


def write_about(about: TrunkAbout, folder: str) -> None:
    """Says in a trunk's folder which trunk it is."""
    tf.io.gfile.makedirs(folder)
    write_replacing(os.path.join(folder, ABOUT_FILE), records.dumps(about, indent=2).encode())


def read_about(folder: str) -> TrunkAbout | None:
    """Which trunk a folder belongs to; None, with a warning, if nobody can tell."""
    path = os.path.join(folder, ABOUT_FILE)
    try:
        return read_record(TrunkAbout, path)
    except (tf.errors.OpError, ThawError) as error:
        logging.warning("%s", error)
        return None


def sha256_of_weights(path: str) -> str:
    """Hashes the values in a Keras HDF5 file of weights, layer by layer.

    Neither the time of writing nor the numbers in the layers' names matter.

    Args:
      path: of a file on any file system.
    """
    digest = hashlib.sha256()
    with tf.io.gfile.GFile(path, "rb") as file, h5py.File(file, "r") as weights:
        for layer in weights.attrs["layer_names"]:
            for name in weights[layer].attrs["weight_names"]:
                values = np.ascontiguousarray(weights[layer][name][()])
                digest.update(f"{values.dtype} {values.shape} ".encode())
                digest.update(values.tobytes())
    return digest.hexdigest()
