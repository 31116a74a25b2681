"""What all protocols share: from named arrays to named arrays."""

import asyncio
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from serving.server.batching import Batcher
from serving.server.images import prepare_images
from serving.server.loaded import LoadedVersion, Signature
from serving.server.metrics import Metrics
from serving.server.registry import Registry
from serving.server.settings import ServerSettings


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

    async def run(
        self, version: LoadedVersion, signature: Signature, inputs: dict[str, np.ndarray]
    ) -> dict[str, np.ndarray]:
        """Checks images, then asks the model.

        Raises:
          RequestRefused: if it gives no answer.
        """
        loop = asyncio.get_running_loop()
        ready = await loop.run_in_executor(
            self._readers, prepare_images, version, signature, inputs
        )
        return await self.batcher.run(version, signature, ready)
