"""Tensors as JSON, by the rules of TensorFlow Serving's REST API.

https://www.tensorflow.org/tfx/serving/api_rest: rows (`instances`) and columns (`inputs`), bytes as
{"b64": …}, bytes of outputs whose name ends in `_bytes` likewise, NaN and Infinity as such.
"""

import base64
import binascii
from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from serving.server.loaded import Signature
from serving.server.refused import RequestRefused

_B64 = "b64"
_BYTES_SUFFIX = "_bytes"

Json = Any


def rows_to_arrays(instances: Json, signature: Signature, max_rows: int) -> dict[str, np.ndarray]:
    """Reads `instances`: a list of values, or of objects with one value for each input.

    Raises:
      RequestRefused: saying which input is wrong, and how.
    """
    if not isinstance(instances, list) or not instances:
        raise RequestRefused(400, "'instances' must be a list with one entry or more.")
    _check_rows(len(instances), max_rows)
    if _is_named(instances[0]):
        columns: dict[str, list[Json]] = {name: [] for name in instances[0]}
        for number, instance in enumerate(instances):
            if not _is_named(instance) or instance.keys() != columns.keys():
                raise RequestRefused(
                    400, f"'instances' entry {number} does not have the inputs of the first entry."
                )
            for name, value in instance.items():
                columns[name].append(value)
        return _named_arrays(columns, signature)
    return {_only_input(signature): _array(instances, signature, _only_input(signature))}


def columns_to_arrays(inputs: Json, signature: Signature, max_rows: int) -> dict[str, np.ndarray]:
    """Reads `inputs`: an object with a tensor for each input, or the tensor of the only one.

    Raises:
      RequestRefused: saying which input is wrong, and how.
    """
    named = inputs if _is_named(inputs) else {_only_input(signature): inputs}
    arrays = _named_arrays(named, signature)
    check_rows(arrays, signature, max_rows)
    return arrays


def check_rows(arrays: Mapping[str, np.ndarray], signature: Signature, max_rows: int) -> None:
    """Refuses inputs with different numbers of rows, or too many.

    Raises:
      RequestRefused: with the numbers.
    """
    if not signature.is_batched:
        return
    counts = {len(array) for array in arrays.values()}
    if len(counts) > 1:
        raise RequestRefused(400, f"The inputs have different numbers of rows: {sorted(counts)}.")
    _check_rows(max(counts, default=0), max_rows)


def _check_rows(rows: int, max_rows: int) -> None:
    if rows > max_rows:
        raise RequestRefused(
            413, f"The request has {rows} rows; at most {max_rows} are taken at once."
        )


def _is_named(value: Json) -> bool:
    """Whether a value is an object of named ones, and not bytes."""
    return isinstance(value, dict) and set(value) != {_B64}


def _only_input(signature: Signature) -> str:
    if len(signature.inputs) != 1:
        names = ", ".join(signature.inputs)
        raise RequestRefused(400, f"The inputs must be named, for there are several: {names}.")
    return next(iter(signature.inputs))


def _named_arrays(columns: Mapping[str, Json], signature: Signature) -> dict[str, np.ndarray]:
    unknown = sorted(set(columns) - set(signature.inputs))
    missing = sorted(set(signature.inputs) - set(columns))
    if unknown or missing:
        what = f"unknown inputs: {', '.join(unknown)}" if unknown else ""
        what += "; " if unknown and missing else ""
        what += f"missing inputs: {', '.join(missing)}" if missing else ""
        raise RequestRefused(
            400, f"{what}. The signature's inputs are {', '.join(signature.inputs)}."
        )
    return {name: _array(value, signature, name) for name, value in columns.items()}


def _array(value: Json, signature: Signature, name: str) -> np.ndarray:
    """One input's values, by its dtype and shape."""
    spec = signature.inputs[name]
    if spec.dtype == tf.string:
        array = np.array(_bytes(value, name), object)
        if not all(isinstance(one, bytes) for one in array.flat):
            raise RequestRefused(400, f"{name}: its lists are of different lengths.")
    else:
        array = _numbers(value, spec.dtype.as_numpy_dtype, name)
    return check_shape(array, spec, name)


def check_shape(array: np.ndarray, spec: tf.TensorSpec, name: str) -> np.ndarray:
    """Refuses an array of another shape than an input has."""
    if not spec.shape.is_compatible_with(array.shape):
        raise RequestRefused(
            400, f"{name}: shape {list(array.shape)} does not fit {_shape_words(spec)}."
        )
    return array


def _shape_words(spec: tf.TensorSpec) -> str:
    if spec.shape.rank is None:
        return "the input"
    return str([-1 if size is None else size for size in spec.shape])


def _bytes(value: Json, name: str) -> Json:
    """Nested lists of bytes."""
    if isinstance(value, list):
        return [_bytes(one, name) for one in value]
    if isinstance(value, str):
        return value.encode()
    if isinstance(value, dict) and set(value) == {_B64}:
        return from_base64(value[_B64], name)
    raise RequestRefused(400, f'{name}: expects strings, or bytes as {{"b64": "…"}}.')


def from_base64(text: Json, name: str) -> bytes:
    """Bytes of base64 text, as the standard or the URL alphabet writes them.

    Raises:
      RequestRefused: if it is none.
    """
    try:
        if not isinstance(text, str):
            raise ValueError
        plain = text.replace("-", "+").replace("_", "/")
        return base64.b64decode(plain + "=" * (-len(plain) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise RequestRefused(400, f"{name}: is not valid base64.") from None


def _numbers(value: Json, dtype: type, name: str) -> np.ndarray:
    try:
        found = np.array(value)
    except ValueError:
        raise RequestRefused(400, f"{name}: its lists are of different lengths.") from None
    wanted = np.dtype(dtype)
    fits = {
        "b": found.dtype.kind == "b",
        "i": found.dtype.kind in "iu",
        "u": found.dtype.kind in "iu",
        "f": found.dtype.kind in "iuf",
    }.get(wanted.kind, found.dtype.kind in "iuf")
    if not fits and found.size:
        raise RequestRefused(400, f"{name}: expects values of type {wanted.name}.")
    converted = found.astype(wanted)
    if wanted.kind in "iu" and found.size and not np.array_equal(converted, found):
        raise RequestRefused(400, f"{name}: has values that {wanted.name} does not hold.")
    return np.asarray(converted)


def to_rows(arrays: Mapping[str, np.ndarray]) -> list[Json]:
    """Outputs as `predictions`: values of the only output, or objects of all of them.

    Raises:
      RequestRefused: if an output has no rows, or another number of them.
    """
    counts = {len(array) if array.ndim else -1 for array in arrays.values()}
    if len(counts) != 1 or -1 in counts:
        raise RequestRefused(
            400, "The outputs are not one for each row: ask with 'inputs' in place of 'instances'."
        )
    values = {name: to_json(array, name) for name, array in arrays.items()}
    if len(values) == 1:
        return list(*values.values())
    return [dict(zip(values, row, strict=True)) for row in zip(*values.values(), strict=True)]


def to_columns(arrays: Mapping[str, np.ndarray]) -> Json:
    """Outputs as `outputs`: the only output's tensor, or an object of all of them."""
    values = {name: to_json(array, name) for name, array in arrays.items()}
    return next(iter(values.values())) if len(values) == 1 else values


def to_json(array: np.ndarray, name: str) -> Json:
    """Nested lists of a tensor."""
    if array.dtype.kind not in "OS":
        return array.tolist()
    as_bytes = name.endswith(_BYTES_SUFFIX)

    def one(value: bytes) -> Json:
        if as_bytes:
            return {_B64: base64.b64encode(value).decode()}
        return value.decode("utf-8", "replace")

    return np.vectorize(one, otypes=[object])(array).tolist() if array.size else array.tolist()
