"""TrunkFeatures' arguments: all that the features depend on, and nothing else."""

import json

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from pipeline import node_args
from pipeline.config.schema import Config
from trainer.specs import Augmentation, TrunkFeaturesArgs, TrunkSpec, from_json, to_json

shares = st.floats(0, 0.9)


@hypothesis_settings(max_examples=30, deadline=None)
@given(
    st.builds(
        TrunkFeaturesArgs,
        spec=st.builds(
            TrunkSpec,
            backbone=st.sampled_from(["inception_v3", "xception"]),
            image_size_px=st.integers(32, 2048),
            boundary=st.text(max_size=9),
            dtype=st.sampled_from(["float16", "bfloat16", "float32"]),
            precision=st.sampled_from(["float16", "bfloat16", "float32"]),
        ),
        weights=st.text(max_size=9),
        weights_fingerprint=st.text(max_size=9),
        seed=st.integers(0, 2**32 - 1),
        augmented_views=st.integers(0, 99),
        augmentation=st.builds(Augmentation, flip=st.booleans(), crop=shares, colour=shares),
    )
)
def test_settings_survive_the_way_through_json(settings):
    assert from_json(TrunkFeaturesArgs, json.loads(json.dumps(to_json(settings)))) == settings


def settings_of(**changes: object) -> TrunkFeaturesArgs:
    """TrunkFeatures' arguments, of `{"section.field": value}` with `__` for the dot."""
    values: dict[str, object] = {"backbone": {"weights": "imagenet"}}
    for name, given_value in changes.items():
        *sections, field = name.split("__")
        place = values
        for section in sections:
            place = place.setdefault(section, {})
        place[field] = given_value
    return node_args.trunk_features(Config.model_validate(values))


@pytest.mark.parametrize(
    "changes",
    [
        {"fits__head__learning_rate": 0.5},
        {"fits__head__max_epochs": 3},
        {"fits__fine_tune__learning_rate": 0.5},
        {"fits__fine_tune__momentum": 0.5},
        {"fits__fine_tune__max_epochs": 3},
        {"fits__fine_tune__patience": 3},
        {"fits__fine_tune__batch_norm": "train"},
        {"head__units": 7},
        {"head__dropout": 0.5},
        {"gate__min_gain": 0.5},
        {"gate__top_k": 2},
        {"train__global_batch_size": 5},
        {"train__label_smoothing": 0.1},
        {"train__seed": 9},
        {"augmentation__views": 9},
        {"name": "other"},
        {"beam__options": ["--direct_num_workers=2"]},
        {"cluster__image": "other"},
    ],
    ids=str,
)
def test_what_the_trunk_does_not_depend_on_keeps_its_settings(changes):
    assert settings_of(**changes) == settings_of()


@pytest.mark.parametrize(
    "changes",
    [
        {"backbone__name": "xception"},
        {"backbone__weights": "random"},
        {"backbone__image_size_px": 160},
        {"fits__fine_tune__boundary": "mixed9"},
        {"features__dtype": "float32"},
        {"precision": "bfloat16"},
        {"augmentation__flip": True},
        {"augmentation__crop": 0.1},
        {"augmentation__colour": 0.1},
    ],
    ids=str,
)
def test_what_the_trunk_depends_on_changes_its_settings(changes):
    assert settings_of(**changes) != settings_of()


def test_seed_counts_for_random_weights_and_for_augmentation():
    for reason in ({"backbone__weights": "random"}, {"augmentation__flip": True}):
        assert settings_of(**reason, train__seed=1) != settings_of(**reason, train__seed=2)


def test_weights_file_whose_content_changed_is_noticed(tmp_path):
    path = tmp_path / "weights.h5"
    path.write_bytes(b"one")
    before = settings_of(backbone__weights=str(path))
    path.write_bytes(b"two")

    assert settings_of(backbone__weights=str(path)) != before


def test_settings_of_a_config_are_what_the_executor_reads():
    args = settings_of(augmentation__crop=0.25, augmentation__views=4, train__seed=8)

    found = from_json(TrunkFeaturesArgs, json.loads(json.dumps(to_json(args))))

    assert found == TrunkFeaturesArgs(
        TrunkSpec("inception_v3", 299, "mixed8", "float16", "float32"),
        "imagenet",
        "",
        8,
        4,
        Augmentation(crop=0.25),
    )
