"""What the pods of `test_kubernetes_processes.py` do: a sum over all workers."""

import json
import os
from pathlib import Path
from typing import Any

import tensorflow as tf
from tfx.dsl.components.base.base_executor import BaseExecutor

from trainer.distribution.strategy import make_strategy
from trainer.process import tf_config


class Sum(BaseExecutor):
    """Adds up the workers' numbers, each plus one."""

    def Do(self, input_dict: dict, output_dict: dict, exec_properties: dict[str, Any]) -> None:
        folder = Path(exec_properties["folder"])
        index = tf_config.own_index(os.environ)
        strategy = make_strategy()

        @tf.function
        def numbers() -> tf.Tensor:
            return strategy.run(lambda: tf.constant(index + 1.0))

        total = float(strategy.reduce(tf.distribute.ReduceOp.SUM, numbers(), axis=None))
        print(f"worker {index} has {total}", flush=True)
        config = json.loads(os.environ["TF_CONFIG"])
        (folder / f"{index}.json").write_text(json.dumps({"total": total, **config["task"]}))
        # Both are there before either leaves.
        strategy.reduce(tf.distribute.ReduceOp.SUM, numbers(), axis=None)
