"""Local copies for a worker of a job: it has no pipeline launcher that would make them.

Every worker downloads the inputs; the one that exports the model uploads the outputs.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager

from tfx import types
from tfx.types import standard_component_specs as specs
from tfx.utils import path_utils

from launchers.request import Artifacts, Request
from trainer.artifact_dirs import STATE_FOLDER, node_dir
from trainer.store import s3
from trainer.store.mirror import Mirror
from trainer.store.uris import address_of, local_copy


@contextmanager
def on_local_copies(request: Request, is_chief: bool) -> Iterator[None]:
    """Has a request's artifacts lie on this machine while it is run.

    State that a lost worker needs is kept in the store all along. The outputs go there at the
    end, unless the work fails.

    Args:
      request: its artifacts' addresses change for as long.
      is_chief: whether this worker's outputs are the group's.

    Raises:
      StoreError: if something cannot be downloaded or uploaded.
    """
    outputs = {artifact.uri: local_copy(artifact.uri) for artifact in _all(request.output_dict)}
    with _at_local_paths([*_all(request.input_dict), *_all(request.output_dict)]):
        for artifact in _all(request.input_dict):
            s3.download_tree(address_of(artifact.uri), artifact.uri)
        if not is_chief:
            _pretend_to_export(request.output_dict)
        node = node_dir(next(iter(outputs)))
        state = os.path.join(local_copy(node), STATE_FOLDER)
        with Mirror(state, f"{node}/{STATE_FOLDER}", writes=is_chief):
            yield
            if is_chief:
                for uri, path in outputs.items():
                    s3.upload_tree(path, uri)


@contextmanager
def _at_local_paths(artifacts: list[types.Artifact]) -> Iterator[None]:
    addresses = [artifact.uri for artifact in artifacts]
    for artifact in artifacts:
        artifact.uri = local_copy(artifact.uri)
    try:
        yield
    finally:
        for artifact, address in zip(artifacts, addresses, strict=True):
            artifact.uri = address


def _pretend_to_export(outputs: Artifacts) -> None:
    """TFX looks for the exported model on every worker, of which one exports it."""
    for artifact in outputs.get(specs.MODEL_KEY, []):
        os.makedirs(path_utils.serving_model_dir(artifact.uri), exist_ok=True)


def _all(artifacts: Artifacts) -> list[types.Artifact]:
    return [artifact for list_ in artifacts.values() for artifact in list_]
