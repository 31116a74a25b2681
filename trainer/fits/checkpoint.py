"""The state of a fit between two epochs, as files.

A directory holds `epoch-<number>.npz` of the last completed epoch and of the best one.
"""

import io
import json
import os
import re
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import tensorflow as tf

from trainer.errors import ThawError
from trainer.remote_files import write_replacing

_NAME = re.compile(r"epoch-(\d+)\.npz")
_META, _WEIGHT, _SLOT, _BEST = "meta", "weight", "slot", "best"


class CannotSave(ThawError):
    """The state of a fit could not be written; the message says where and why."""


@dataclass(frozen=True)
class State:
    """All that the rest of a fit depends on, after `epochs` of it.

    `best`, `best_epoch`, `wait` and `stopped_epoch` are those of Keras's `EarlyStopping`,
    which counts epochs from 0. Of the arrays, `best_weights` are those of `best_epoch`.
    """

    epochs: int
    finished: bool
    seconds: float
    history: dict[str, list[float]]
    best: float
    best_epoch: int
    wait: int
    stopped_epoch: int
    weights: list[np.ndarray] = field(repr=False)
    slots: list[np.ndarray] = field(repr=False)
    best_weights: list[np.ndarray] = field(repr=False)


def _file_name(epochs: int) -> str:
    return f"epoch-{epochs:06d}.npz"


def write_state(state: State, directory: str) -> None:
    """Writes a state and removes those that it replaces.

    Best weights that are in an earlier file already are not written again: that file stays.

    Raises:
      CannotSave: if that fails. Older states are still there then.
    """
    try:
        tf.io.gfile.makedirs(directory)
        kept = _epochs_kept(directory)
        best = state.best_epoch + 1
        if best == state.epochs or best in kept:
            arrays = _named(state, best_weights=())
        else:
            arrays = _named(state, state.best_weights)
        write_replacing(os.path.join(directory, _file_name(state.epochs)), _packed(arrays))
        for epochs in kept - {best, state.epochs}:
            tf.io.gfile.remove(os.path.join(directory, _file_name(epochs)))
    except (OSError, tf.errors.OpError) as error:
        raise CannotSave(
            f"the state of the fit cannot be written: {_reason(error)}",
            where=directory,
            to_do="Make room there or let it be written, and start again: what was complete is "
            "kept.",
        ) from error


def _reason(error: Exception) -> str:
    return getattr(error, "message", None) or str(error)


def _named(state: State, best_weights: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
    meta = {name: getattr(state, name) for name in _META_FIELDS}
    return {
        _META: np.frombuffer(json.dumps(meta).encode(), np.uint8),
        **{f"{_WEIGHT}{number}": array for number, array in enumerate(state.weights)},
        **{f"{_SLOT}{number}": array for number, array in enumerate(state.slots)},
        **{f"{_BEST}{number}": array for number, array in enumerate(best_weights)},
    }


_META_FIELDS = (
    "epochs",
    "finished",
    "seconds",
    "history",
    "best",
    "best_epoch",
    "wait",
    "stopped_epoch",
)


def _packed(arrays: dict[str, np.ndarray]) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)  # type: ignore[arg-type]
    return buffer.getvalue()


def read_newest(directory: str, shapes: Sequence[tuple[int, ...]]) -> State | None:
    """The newest state in a directory that can be read, if there is one.

    Args:
      directory: need not exist.
      shapes: of the model's weights; a state of another model is none.
    """
    for epochs in sorted(_epochs_kept(directory), reverse=True):
        try:
            found = read_state(directory, epochs)
        except (OSError, ValueError, KeyError, zipfile.BadZipFile, tf.errors.OpError) as error:
            print(f"{directory}: epoch {epochs} cannot be read: {_reason(error)}", flush=True)
            continue
        if [array.shape for array in found.weights] == list(shapes):
            return found
    return None


def _epochs_kept(directory: str) -> set[int]:
    if not tf.io.gfile.isdir(directory):
        return set()
    matches = (_NAME.fullmatch(name.rstrip("/")) for name in tf.io.gfile.listdir(directory))
    return {int(match[1]) for match in matches if match}


def read_state(directory: str, epochs: int) -> State:
    """The state after so many epochs. Raises what reading raises."""
    arrays = _arrays(directory, epochs)
    meta = json.loads(arrays[_META].tobytes())
    weights, best = _numbered(arrays, _WEIGHT), _numbered(arrays, _BEST)
    best_after = meta["best_epoch"] + 1
    if best_after == epochs:
        best = weights
    elif not best:
        best = _numbered(_arrays(directory, best_after), _WEIGHT)
    return State(
        **{name: meta[name] for name in _META_FIELDS},
        weights=weights,
        slots=_numbered(arrays, _SLOT),
        best_weights=best,
    )


def _arrays(directory: str, epochs: int) -> dict[str, np.ndarray]:
    path = os.path.join(directory, _file_name(epochs))
    with tf.io.gfile.GFile(path, "rb") as file, np.load(io.BytesIO(file.read())) as arrays:
        return {name: arrays[name] for name in arrays.files}


def _numbered(arrays: dict[str, np.ndarray], kind: str) -> list[np.ndarray]:
    count = sum(name.startswith(kind) for name in arrays)
    return [arrays[f"{kind}{number}"] for number in range(count)]


def delete(directory: str) -> None:
    """Removes what was kept, once it is of no use."""
    if directory and tf.io.gfile.isdir(directory):
        tf.io.gfile.rmtree(directory)
