"""What the config says of the search, and the arguments that the nodes get."""

import pytest

from pipeline import node_args
from pipeline.config.load import ConfigError, load_config
from pipeline.config.schema import Config


def config(**tuner: object) -> Config:
    return Config.model_validate({"tuner": {"enabled": True, **tuner}})


def test_unknown_boundary_is_refused_with_the_list_of_blocks():
    with pytest.raises(ConfigError) as error:
        load_config(None, ["tuner.boundaries=[mixed8, mixed99]"])

    assert "--set: tuner.boundaries: 'mixed99' is not a block of inception_v3." in str(error.value)
    assert "mixed0, mixed1" in str(error.value)


def test_search_without_kept_features_is_refused_with_both_keys():
    with pytest.raises(ConfigError, match=r"tuner\.enabled: needs features\.cache"):
        load_config(None, ["tuner.enabled=true", "features.cache=false"])

    assert not load_config(None, ["features.cache=false"]).tuner.enabled


@pytest.mark.parametrize(
    "setting",
    [
        "tuner.enabled=1",
        "tuner.algorithm=random",
        "tuner.head_trials=0",
        "tuner.head_trials=true",
        "tuner.fine_tune_trials=-1",
        "tuner.head_learning_rates=[1e-2, 1e-4]",
        "tuner.head_learning_rates=[1e-3]",
        "tuner.head_learning_rates=[0, 1e-3]",
        "tuner.units=[0]",
        "tuner.units=[true]",
        "tuner.dropouts=[1.0]",
        "tuner.label_smoothings=[-0.1]",
        "tuner.boundaries=mixed8",
    ],
)
def test_impossible_value_is_refused_by_its_key(setting):
    with pytest.raises(ConfigError, match=setting.split("=")[0]):
        load_config(None, [setting])


def test_features_are_kept_at_the_lowest_boundary_that_may_be_chosen():
    def kept(**tuner: object) -> str:
        return node_args.trunk_features(config(**tuner)).spec.boundary

    assert kept() == "mixed8"
    assert kept(boundaries=["mixed9", "mixed6", "mixed7"]) == "mixed6"
    assert kept(boundaries=["mixed6"], fine_tune_trials=0) == "mixed8"
    assert kept(boundaries=["mixed6"], enabled=False) == "mixed8"


def test_both_trainers_read_the_features_where_they_are_kept():
    tuned = config(boundaries=["mixed7"])

    for args in (node_args.head_trainer(tuned), node_args.fine_tuner(tuned)):
        assert args.cache.boundary == "mixed7"
    assert node_args.fine_tuner(tuned).fit.boundary == "mixed8"


def test_configured_values_are_tried_first_also_outside_the_ranges():
    tuned = Config.model_validate(
        {
            "tuner": {"enabled": True, "units": [64], "head_learning_rates": [1e-3, 1e-2]},
            "head": {"units": 32, "dropout": 0.3},
            "fits": {"head": {"learning_rate": 1e-5}},
        }
    )

    stage = node_args.tuner(tuned).plan.head

    assert stage.space["head.units"] == {"of": [32, 64]}
    assert 0.3 in stage.space["head.dropout"]["of"]
    assert stage.space["fits.head.learning_rate"] == {"between": [1e-3, 1e-2]}
    assert stage.start["head.units"] == 32
    assert stage.start["fits.head.learning_rate"] == 1e-5


@pytest.mark.parametrize(
    "change",
    [
        {"fits": {"head": {"max_epochs": 7}}},
        {"fits": {"fine_tune": {"max_epochs": 7}}},
        {"gate": {"min_gain": 0.5}},
        {"name": "other"},
    ],
)
def test_search_is_told_nothing_that_it_does_not_depend_on(change):
    changed = Config.model_validate({**change, "tuner": {"enabled": True}})

    assert node_args.tuner(changed) == node_args.tuner(config())


def test_fine_tuning_that_is_not_tuned_does_not_change_the_search():
    one = config(fine_tune_trials=0)
    other = Config.model_validate(
        {**one.model_dump(), "fits": {"fine_tune": {"learning_rate": 1e-3, "momentum": 0.5}}}
    )

    assert node_args.tuner(one) == node_args.tuner(other)
    assert node_args.tuner(one).plan.fine_tune is None


def test_settings_of_a_search_that_is_off_change_no_other_node():
    off = Config.model_validate({"tuner": {"head_trials": 99, "boundaries": ["mixed5"]}})

    for arguments in (node_args.trunk_features, node_args.head_trainer, node_args.fine_tuner):
        assert arguments(off) == arguments(Config())
