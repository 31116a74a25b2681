"""Images in a request: checked before they are decoded, and made into what the model decodes."""

import numpy as np

from serving.model import ImageRefused, decodable
from serving.server.loaded import IMAGE_BYTES, LoadedVersion, Signature
from serving.server.refused import RequestRefused


def prepare_images(
    version: LoadedVersion, signature: Signature, inputs: dict[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """Checks the files of a request, and re-encodes what ingestion would have re-encoded.

    Raises:
      RequestRefused: with the number of the first image that cannot be read, and why.
    """
    files = inputs.get(IMAGE_BYTES)
    if files is None or version.images is None or files.ndim != 1:
        return inputs
    prepared = []
    for number, content in enumerate(files):
        try:
            prepared.append(decodable(bytes(content), version.images))
        except ImageRefused as reason:
            raise RequestRefused(400, f"image {number}: {reason}") from reason
    array = np.empty(len(prepared), object)
    array[:] = prepared
    return {**inputs, IMAGE_BYTES: array}
