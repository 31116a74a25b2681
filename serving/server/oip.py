"""What the Open Inference Protocol's REST and gRPC forms share: datatypes, raw tensors, checks."""

import struct
from collections.abc import Mapping, Sequence

import numpy as np
import tensorflow as tf

from serving.server.loaded import LoadedVersion, Signature
from serving.server.refused import RequestRefused
from serving.server.service import Service
from serving.server.tensors import check_rows, check_shape

_DATATYPES = {
    tf.bool: "BOOL",
    tf.uint8: "UINT8",
    tf.uint16: "UINT16",
    tf.uint32: "UINT32",
    tf.uint64: "UINT64",
    tf.int8: "INT8",
    tf.int16: "INT16",
    tf.int32: "INT32",
    tf.int64: "INT64",
    tf.float16: "FP16",
    tf.bfloat16: "BF16",
    tf.float32: "FP32",
    tf.float64: "FP64",
    tf.string: "BYTES",
}

PLATFORM = "tensorflow_savedmodel"

_LENGTH = struct.Struct("<I")


def datatype_of(spec: tf.TensorSpec, name: str) -> str:
    """The protocol's name for a tensor's type.

    Raises:
      RequestRefused: if the protocol has none, as for complex numbers.
    """
    if spec.dtype not in _DATATYPES:
        raise RequestRefused(
            400, f"{name}: this protocol has no datatype for {tf.as_dtype(spec.dtype).name}."
        )
    return _DATATYPES[spec.dtype]


def shape_of(spec: tf.TensorSpec) -> list[int]:
    """A tensor's shape, -1 for sizes that vary; empty if the rank does."""
    return [] if spec.shape.rank is None else [-1 if one is None else one for one in spec.shape]


def find_version(service: Service, name: str, version: str) -> LoadedVersion:
    """Finds what a request names.

    Raises:
      RequestRefused: if it is not served.
    """
    if name != service.settings.name:
        raise RequestRefused(
            404, f"There is no model {name}; this server has {service.settings.name}."
        )
    return service.registry.current(version)


def check_input(
    name: str, datatype: str, signature: Signature, seen: Mapping[str, object]
) -> tf.TensorSpec:
    """Checks what a request says of an input, before its values are read.

    Args:
      name: of the input.
      datatype: as the protocol names it.
      signature: that is asked.
      seen: the inputs that were read already.

    Returns:
      What the signature says of it.

    Raises:
      RequestRefused: if they do not agree.
    """
    if name not in signature.inputs or name in seen:
        have = ", ".join(signature.inputs)
        raise RequestRefused(400, f"unexpected input {name!r}; the inputs are {have}.")
    spec = signature.inputs[name]
    if datatype != datatype_of(spec, name):
        raise RequestRefused(400, f"{name}: datatype must be {datatype_of(spec, name)}.")
    return spec


def check_inputs(arrays: Mapping[str, np.ndarray], signature: Signature, max_rows: int) -> None:
    """Checks that all inputs are there, with as many rows each.

    Raises:
      RequestRefused: if not.
    """
    if missing := sorted(set(signature.inputs) - set(arrays)):
        raise RequestRefused(400, f"missing inputs: {', '.join(missing)}.")
    check_rows(arrays, signature, max_rows)


def shaped(values: np.ndarray, shape: Sequence[int], spec: tf.TensorSpec, name: str) -> np.ndarray:
    """Flat values in their shape.

    Raises:
      RequestRefused: if there are more or fewer of them, or the input has another shape.
    """
    if any(one < 0 for one in shape):
        raise RequestRefused(400, f"{name}: shape must be a list of numbers, 0 or more.")
    if len(values) != int(np.prod(shape, dtype=object)):
        raise RequestRefused(
            400, f"{name}: shape {list(shape)} and {len(values)} values do not match."
        )
    try:
        array = values.reshape(shape)
    except ValueError:  # more dimensions, or larger ones, than NumPy has
        raise RequestRefused(400, f"{name}: shape {list(shape)} is not possible.") from None
    return check_shape(array, spec, name)


def wanted_outputs(names: Sequence[str], signature: Signature) -> list[str]:
    """The outputs that a request asks for; all if it names none.

    Raises:
      RequestRefused: if there is no such output.
    """
    if unknown := sorted(set(names) - set(signature.outputs)):
        raise RequestRefused(400, f"unexpected outputs: {', '.join(unknown)}.")
    return [name for name in signature.outputs if not names or name in names]


def from_raw(raw: bytes, spec: tf.TensorSpec, name: str) -> np.ndarray:
    """Reads the values of a raw tensor, flat: little-endian numbers, or for BYTES each element
    behind its length in four bytes.

    Raises:
      RequestRefused: if the bytes end in the middle of an element.
    """
    if spec.dtype == tf.string:
        return _elements(raw, name)
    dtype = np.dtype(spec.dtype.as_numpy_dtype)
    if len(raw) % dtype.itemsize:
        raise RequestRefused(
            400, f"{name}: {len(raw)} raw bytes are no multiple of {dtype.itemsize}."
        )
    return np.frombuffer(raw, dtype)


def _elements(raw: bytes, name: str) -> np.ndarray:
    elements, at = [], 0
    while at < len(raw):
        start = at + _LENGTH.size
        if start > len(raw):
            raise RequestRefused(400, f"{name}: its raw bytes end within a length.")
        at = start + _LENGTH.unpack_from(raw, at)[0]
        if at > len(raw):
            raise RequestRefused(400, f"{name}: its raw bytes end within an element.")
        elements.append(raw[start:at])
    array = np.empty(len(elements), object)
    array[:] = elements
    return array


def to_raw(array: np.ndarray) -> bytes:
    """The reverse of `from_raw`."""
    if array.dtype.kind not in "OS":
        return array.tobytes()
    return b"".join(_LENGTH.pack(len(one)) + one for one in array.flat)
