"""Where the training nodes run: in their own process, in a job of several workers, or on
machines of their own.
"""

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
class Place:
    """How one training node is run.

    Attributes:
      node: its name.
      node_class: of TFX's Trainer or Tuner.
      told: goes into the node's `custom_config`, beside what its result depends on.
      elsewhere: whether the node only starts a job and waits for it.
      uncached: settings for the node's process that its cache key is to leave out.
    """

    node: str
    node_class: type[Trainer] | type[Tuner]
    told: dict[str, Any] = field(default_factory=dict)
    elsewhere: bool = False
    uncached: dict[str, Any] = field(default_factory=dict)

    def make(self, args: TrainingArgs, **arguments: Any) -> BaseComponent:
        """Makes the node; `arguments` are those of `node_class`."""
        custom_config = {ARGS: to_json(args), **self.told}
        return self.node_class(custom_config=custom_config, **arguments).with_id(self.node)


def workers_of(config: Config, node: str) -> int:
    """How many workers a training node has: each trial of the search needs the last one's
    result, so the Tuner has one.
    """
    return 1 if node == TUNER else config.train.workers


def launched_placement(config: Config, node: str, launcher: dict[str, Any] | None) -> Place:
    """A node whose workers are started by the launcher; None: it trains in its own process."""
    node_class = LaunchedTuner if node == TUNER else LaunchedTrainer
    if launcher is None:
        return Place(node, node_class)
    told = node_args.worker_group(config, node, launcher, workers_of(config, node))
    return Place(node, node_class, told, elsewhere=bool(told))


def on_this_machine(config: Config) -> dict[str, Place]:
    """For `thaw run`: several workers are processes on this machine."""
    return {
        node: launched_placement(config, node, node_args.LOCAL_LAUNCHER) for node in TRAINING_NODES
    }
