"""What all protocols share: from named arrays to named arrays."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import numpy as np
from starlette.responses import Response

from serving.server.answers import json_response
from serving.server.batching import Batcher
from serving.server.images import prepare_images
from serving.server.loaded import LoadedVersion, Signature
from serving.server.metrics import Metrics
from serving.server.registry import Registry
from serving.server.settings import ServerSettings
from serving.server.tensors import rows_to_arrays, to_rows

_T = TypeVar("_T")


class Service:
    """A model's versions, and the batches that ask them."""

    def __init__(self, registry: Registry, settings: ServerSettings, metrics: Metrics) -> None:
        self.registry = registry
        self.settings = settings
        self.metrics = metrics
        self.batcher = Batcher(settings, metrics.batch_rows.observe)
        self._readers = ThreadPoolExecutor(2, "images")

    def start(self) -> None:
        """Begins to answer; inside a running event loop."""
        self.batcher.start()

    async def stop(self) -> None:
        """Answers what waits, then ends."""
        self.registry.stop()
        await self.batcher.stop()
        self._readers.shutdown()

    def readiness(self) -> Response:
        """What health checks are answered with."""
        is_ready = self.registry.is_ready
        return json_response({"ready": is_ready}, 200 if is_ready else 503)

    async def predict_rows(
        self, version: LoadedVersion, signature: Signature, instances: Any
    ) -> Response:
        """Answers `instances` with as many `predictions`.

        Raises:
          RequestRefused: if it gives no answer.
        """
        inputs = rows_to_arrays(instances, signature, self.settings.max_rows)
        answer = await self.run(version, signature, inputs)
        return json_response({"predictions": to_rows(answer)})

    async def run(
        self, version: LoadedVersion, signature: Signature, inputs: dict[str, np.ndarray]
    ) -> dict[str, np.ndarray]:
        """Checks images, then asks the model.

        Raises:
          RequestRefused: if it gives no answer.
        """
        ready = await self.in_reader(prepare_images, version, signature, inputs)
        return await self.batcher.run(version, signature, ready)

    async def in_reader(self, function: Callable[..., _T], *arguments: object) -> _T:
        """Calls what works on files, in a thread that is there for it."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._readers, function, *arguments)
