"""Where the training nodes run: in their own process, in a job of several workers, or on
machines of their own.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tfx.components import Trainer, Tuner
from tfx.dsl.components.base.base_component import BaseComponent

from components.trainer.component import LaunchedTrainer
from components.tuner.component import LaunchedTuner
from pipeline import node_args
from pipeline.config.cluster import TRAINING_NODES
from pipeline.config.schema import Config
from trainer.specs import ARGS, TrainingArgs, to_json

TUNER = "Tuner"


@dataclass(frozen=True)
class NodePlacement:
    """How and where one training node runs.

    Attributes:
      node: its name.
      node_class: of TFX's Trainer or Tuner.
      config: goes into the node's `custom_config`, beside what its result depends on.
      elsewhere: whether the node only starts a job and waits for it.
      uncached: settings for the node's process that are left out of its cache key.
    """

    node: str
    node_class: type[Trainer] | type[Tuner]
    config: Mapping[str, Any] = field(default_factory=dict)
    elsewhere: bool = False
    uncached: Mapping[str, Any] = field(default_factory=dict)

    def make(self, args: TrainingArgs, **arguments: Any) -> BaseComponent:
        """Makes the node; `arguments` are those of `node_class`."""
        custom_config = {ARGS: to_json(args), **self.config}
        return self.node_class(custom_config=custom_config, **arguments).with_id(self.node)


def workers_of(config: Config, node: str) -> int:
    """How many workers a training node has: each trial of the search needs the last one's
    result, so the Tuner has one.
    """
    return 1 if node == TUNER else config.train.workers


def launched_placement(
    config: Config, node: str, launcher: Mapping[str, object] | None
) -> NodePlacement:
    """A node whose workers are started by the launcher; None: it trains in its own process."""
    node_class = LaunchedTuner if node == TUNER else LaunchedTrainer
    if launcher is None:
        return NodePlacement(node, node_class)
    group = node_args.worker_group(config, node, launcher, workers_of(config, node))
    return NodePlacement(node, node_class, group, elsewhere=bool(group))


def on_this_machine(config: Config) -> dict[str, NodePlacement]:
    """For `thaw run`: several workers are processes on this machine."""
    return {
        node: launched_placement(config, node, node_args.LOCAL_LAUNCHER) for node in TRAINING_NODES
    }
