"""The records that travel from the config to the fits: whole, or refused by the key's name."""

import json
import subprocess
import sys

import pytest

from pipeline import node_args
from pipeline.config.schema import Config
from trainer.errors import ThawError
from trainer.fit_specs import FineTune
from trainer.specs import (
    FineTunerArgs,
    HeadTrainerArgs,
    Record,
    TransformArgs,
    TrunkFeaturesArgs,
    TunerArgs,
    from_json,
    to_json,
)

CONFIG = Config.model_validate(
    {
        "tuner": {"enabled": True},
        "augmentation": {"crop": 0.25},
        "fits": {"fine_tune": {"learning_rate": 3e-5, "batch_norm": "train"}},
        "train": {"label_smoothing": 0.1},
    }
)
RECORDS = [
    (node_args.transform, TransformArgs),
    (node_args.trunk_features, TrunkFeaturesArgs),
    (node_args.tuner, TunerArgs),
    (node_args.head_trainer, HeadTrainerArgs),
    (node_args.fine_tuner, FineTunerArgs),
]


def through_json(record: Record) -> dict:
    return json.loads(json.dumps(to_json(record)))


@pytest.mark.parametrize(("build", "kind"), RECORDS, ids=lambda one: one.__name__)
def test_arguments_of_every_node_survive_the_way_through_json(build, kind):
    args = build(CONFIG)

    assert json.dumps(to_json(from_json(kind, through_json(args)))) == json.dumps(to_json(args))


def test_values_of_fit_2_arrive_where_the_fit_reads_them():
    args = from_json(FineTunerArgs, through_json(node_args.fine_tuner(CONFIG)))

    assert args.fit == FineTune("mixed8", 3e-5, 0.9, 50, 5, batch_norm="train", label_smoothing=0.1)
    assert args.fit.train_batch_norm
    assert args.augmentation.crop == 0.25


@pytest.mark.parametrize("key", ["fit.momentum", "fit.batch_norm", "cache.dtype", "seed"])
def test_missing_key_is_refused_by_its_name_also_where_it_has_a_default(key):
    values = through_json(node_args.fine_tuner(CONFIG))
    *sections, name = key.split(".")
    place = values
    for section in sections:
        place = place[section]
    del place[name]

    with pytest.raises(ThawError, match=rf"FineTunerArgs: {key}: missing\.") as error:
        from_json(FineTunerArgs, values)
    assert "Use the same version for both" in error.value.to_do


def test_unknown_keys_and_values_of_another_type_are_refused_by_name():
    values = through_json(node_args.fine_tuner(CONFIG))
    values["fit"].update(nesterov=True, patience="five")

    with pytest.raises(ThawError) as error:
        from_json(FineTunerArgs, values)

    assert "fit.nesterov: unknown" in error.value.what
    assert "fit.patience: Input should be a valid integer" in error.value.what


def test_records_are_read_without_tensorflow():
    check = "import trainer.specs, sys; print('tensorflow' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "False"
