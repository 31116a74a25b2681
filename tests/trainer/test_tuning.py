"""The search: what it finds, that it repeats itself, that it goes on after a kill."""

import json
import os
import signal
from dataclasses import fields, replace

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

from trainer.calibration.unknown import Pooled
from trainer.distribution.strategy import make_deterministic
from trainer.errors import ThawError
from trainer.fit_specs import FineTune, HeadFit, Stage
from trainer.fits import resume
from trainer.model.classifier import head_layers
from trainer.specs import NO_CHANGE, Architecture, FineTunerArgs, HeadTrainerArgs, TrainingArgs
from trainer.tuning.head_trials import HeadTrials, HeadValues, TrialResult, clip_objective
from trainer.tuning.hyperparameters import FINE_TUNE, HEAD_FIT, with_tuned
from trainer.tuning.search import Search, StageTuner

WIDTH, CLASSES = 12, 3


def vectors(count: int, seed: int) -> Pooled:
    random = np.random.default_rng(seed)
    ids = np.arange(count) % CLASSES
    inputs = random.normal(0, 0.5, [count, WIDTH]).astype("float32")
    inputs[np.arange(count), ids] += 1.5
    return Pooled(inputs, ids)


@pytest.fixture(scope="module")
def trials() -> HeadTrials:
    return HeadTrials([vectors(48, 0)], vectors(24, 1), CLASSES, 16, patience=3, seed=5)


def head_stage(algorithm: str = "hyperband", trials: int = 12) -> Stage:
    return Stage(
        name="head",
        algorithm=algorithm,
        trials=trials,
        max_epochs=4,
        space={
            "rate": {"between": [1e-6, 1e-1]},
            "units": {"of": [4, 8]},
            "dropout": {"of": [0.0]},
        },
        start={"rate": 1e-6, "units": 4, "dropout": 0.0},
    )


def run_on(trials: HeadTrials):
    def run(values, max_epochs) -> TrialResult:
        tried = HeadValues(values["rate"], values["units"], values["dropout"], 0.0)
        return trials.run(tried, max_epochs)

    return run


def search(trials: HeadTrials, folder, stage: Stage, seed: int = 0) -> Search:
    found = Search(StageTuner(stage, seed, run_on(trials), str(folder)), None, stage.trials)
    found.search()
    return found


@pytest.mark.parametrize("algorithm", ["hyperband", "bayesian"])
def test_search_finds_a_good_learning_rate_among_bad_ones(trials, tmp_path, algorithm):
    found = search(trials, tmp_path, head_stage(algorithm))

    best = found.results().best
    objectives = {record.objective for record in found.records()}
    assert 1e-3 < best["rate"] <= 1e-1
    assert min(objectives) < 0.5 * max(objectives)
    assert len(found.records()) == 12


def test_configured_values_are_tried_first(trials, tmp_path):
    stage = head_stage(trials=3)

    found = search(trials, tmp_path, stage)

    assert found.records()[0].values == stage.start


def test_same_seed_gives_the_same_trials_and_another_seed_does_not(trials, tmp_path):
    def tried(name: str, seed: int) -> list:
        found = search(trials, tmp_path / name, head_stage(trials=5), seed)
        return [(record.values, record.objective) for record in found.records()]

    first, second, other = tried("a", 0), tried("b", 0), tried("c", 1)

    assert first == second
    assert first != other


def test_hyperband_grants_most_trials_few_epochs(trials, tmp_path):
    found = search(trials, tmp_path, head_stage(trials=12))

    epochs = [record.epochs for record in found.records()]
    assert max(epochs) == 4
    assert min(epochs) < 4


def test_tfx_reads_best_values_and_all_trials(trials, tmp_path):
    from tfx.components.tuner import executor
    from tfx.types import standard_artifacts

    found = search(trials, tmp_path / "trials", head_stage(trials=4))
    outputs = {}
    for key, kind in (
        ("best_hyperparameters", standard_artifacts.HyperParameters),
        ("tuner_results", standard_artifacts.TunerResults),
    ):
        (tmp_path / key).mkdir()
        outputs[key] = [kind()]
        outputs[key][0].uri = str(tmp_path / key)

    executor.write_best_hyperparameters(found, outputs)

    (best,) = (tmp_path / "best_hyperparameters").iterdir()
    assert json.loads(best.read_text())["values"] == found.results().best
    results = json.loads((tmp_path / "tuner_results" / "tuner_results.json").read_text())
    assert [result["score"] for result in results] == sorted(
        record.objective for record in found.records()
    )


def test_second_stage_starts_from_the_best_head_and_its_best_values_join(tmp_path):
    def head(values, max_epochs):
        return TrialResult(abs(values["rate"] - 1e-3), 1, 1, 0.0)

    given = []

    def make_fine_tune(first: StageTuner) -> StageTuner:
        given.append(first.best_values())
        space = {"top_rate": {"between": [1e-5, 1e-2]}, "boundary": {"of": ["low", "high"]}}
        stage = Stage("fine_tune", "bayesian", 6, 2, space, {"top_rate": 1e-4, "boundary": "high"})

        def run(values, max_epochs):
            return TrialResult(1.0 + (values["boundary"] == "high"), max_epochs, 1, 0.0)

        return StageTuner(stage, 0, run, str(tmp_path))

    stage = head_stage(trials=4)
    found = Search(StageTuner(stage, 0, head, str(tmp_path)), make_fine_tune, 10)
    found.search()

    best = found.results().best
    assert best["boundary"] == "low"
    assert {name: best[name] for name in stage.space} == given[0]
    assert [record.stage for record in found.records()] == ["head"] * 4 + ["fine_tune"] * 6
    assert found.get_best_hyperparameters()[0].values == best


def test_trial_that_fails_is_reported_and_the_search_goes_on(tmp_path):
    def run(values, max_epochs):
        if values["units"] == 4:
            raise ValueError("too narrow")
        return TrialResult(1.0, 1, 1, 0.0)

    space = {"units": {"of": [4, 8, 16]}}
    stage = Stage("head", "bayesian", 3, 1, space, {"units": 4})
    found = Search(StageTuner(stage, 0, run, str(tmp_path)), None, 3)
    found.search()

    failed = found.records()[0]
    assert (failed.status, failed.objective) == ("failed", None)
    assert found.results().best["units"] in (8, 16)


def test_search_of_which_no_trial_finished_says_why(tmp_path):
    def run(values, max_epochs):
        raise ValueError("no memory left")

    stage = Stage("head", "bayesian", 1, 1, {"units": {"of": [4, 8]}}, {"units": 4})
    found = Search(StageTuner(stage, 0, run, str(tmp_path)), None, 1)

    with pytest.raises(ThawError, match=r"not one head trial finished(.|\n)*no memory left"):
        found.search()


def dying(folder, fatal: int):
    """Notes every trial it begins; the process dies in the trial of number `fatal`."""

    def run(values, max_epochs) -> TrialResult:
        with open(folder / "ran", "a") as file:
            file.write(f"{values['rate']:.12g} {max_epochs}\n")
        if len((folder / "ran").read_text().splitlines()) == fatal:
            os.kill(os.getpid(), signal.SIGKILL)
        return TrialResult(abs(values["rate"] - 1e-3), max_epochs, 1, 0.0)

    return run


@pytest.mark.parametrize("algorithm", ["hyperband", "bayesian"])
def test_killed_search_goes_on_and_runs_no_finished_trial_twice(tmp_path, algorithm):
    stage = Stage("head", algorithm, 8, 4, {"rate": {"between": [1e-5, 1e-1]}}, {"rate": 1e-2})

    def tune(folder, fatal: int) -> None:
        folder.mkdir(exist_ok=True)
        tuner = StageTuner(stage, 3, dying(folder, fatal), str(folder / "trials"))
        Search(tuner, None, 8).search()

    whole, killed = tmp_path / "whole", tmp_path / "killed"
    tune(whole, fatal=0)

    child = os.fork()
    if not child:
        tune(killed, fatal=5)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    tune(killed, fatal=0)

    expected = (whole / "ran").read_text().splitlines()
    assert len(expected) == 8
    # The fifth was cut off; it alone stands there twice.
    assert (killed / "ran").read_text().splitlines() == [*expected[:5], *expected[4:]]


def test_trial_whose_file_alone_was_written_before_the_kill_is_proposed_anew(tmp_path):
    def run(values, max_epochs):
        return TrialResult(values["rate"], 1, 1, 0.0)

    stage = Stage("head", "bayesian", 4, 1, {"rate": {"between": [1e-5, 1e-1]}}, {"rate": 1e-2})
    first = StageTuner(stage, 0, run, str(tmp_path))
    trial = first.oracle.create_trial("tuner0")
    first.on_trial_begin(trial)
    first._try_run_and_update_trial(trial)
    first.on_trial_end(trial)
    orphan = json.loads((tmp_path / "head/trial_0/trial.json").read_text())
    (tmp_path / "head/trial_1").mkdir()
    orphan.update(trial_id="1", status="RUNNING", score=None)
    (tmp_path / "head/trial_1/trial.json").write_text(json.dumps(orphan))

    again = StageTuner(stage, 0, run, str(tmp_path))
    again.search()

    assert [record.status for record in again.records()] == ["completed"] * 4


def test_trial_depends_on_its_values_alone(trials):
    values = HeadValues(1e-2, 8, 0.5, 0.1)
    once = trials.run(values, 3)
    trials.run(HeadValues(1e-1, 8, 0.0, 0.0), 2)

    assert trials.run(values, 3).objective == once.objective


def deep_head(units: int, dropout: float, num_classes: int) -> list[keras.layers.Layer]:
    """A head that shares nothing with the usual one but its arguments."""
    return [
        keras.layers.Dropout(dropout / 2),
        keras.layers.Dense(units, activation="gelu"),
        keras.layers.BatchNormalization(),
        keras.layers.Dense(units // 2, activation="relu"),
        keras.layers.Dropout(dropout),
        keras.layers.Dense(num_classes),
    ]


@pytest.mark.parametrize(
    ("layers", "class_weights"),
    [(head_layers, ()), (deep_head, ()), (head_layers, (3.0, 1.0, 0.2))],
)
@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_trial_computes_what_keras_would(layers, dropout, class_weights):
    """Whole batches in the order of the trial: the same weights as Keras's, whatever the head."""
    weights = np.random.default_rng(0).uniform(0.5, 2, 32).astype("float32")
    data = replace(vectors(32, 0), weights=weights)
    trials = HeadTrials(
        [data],
        vectors(9, 1),
        CLASSES,
        8,
        patience=9,
        seed=5,
        layers=layers,
        class_weights=class_weights,
    )
    trials.run(HeadValues(1e-1, 8, 0.5, 0.0), 1)  # leaves nothing behind

    found = trials.weights(HeadValues(1e-2, 8, dropout, 0.1), epochs=2)

    make_deterministic(5)
    model = keras.Sequential([keras.Input([WIDTH]), *layers(8, dropout, CLASSES)])
    generators = resume.repeatable_dropout(model)
    loss = keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=0.1)
    model.compile(keras.optimizers.RMSprop(1e-2), loss)
    for epoch in range(2):
        resume.reset_dropout(generators, seed=5, epoch=epoch)
        order = tf.random.experimental.stateless_shuffle(tf.range(32), [5, epoch]).numpy()
        for batch in np.split(order, 4):
            model.train_on_batch(
                data.vectors[batch],
                np.eye(CLASSES)[data.labels[batch]],
                sample_weight=weights[batch],
                class_weight=dict(enumerate(class_weights)) or None,
            )
    for ours, theirs in zip(found, model.get_weights(), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)


@pytest.mark.parametrize("class_weights", [(), (3.0, 1.0, 0.2)])
def test_objective_leaves_label_smoothing_out(class_weights):
    val = vectors(10, 1)
    trials = HeadTrials(
        [vectors(48, 0)], val, CLASSES, 16, patience=9, seed=5, class_weights=class_weights
    )
    values = HeadValues(1e-2, 8, 0.0, 0.4)

    outcome = trials.run(values, 3)

    kernel, bias, kernel_2, bias_2 = trials.weights(values, outcome.best_epoch)
    logits = np.maximum(val.vectors @ kernel + bias, 0) @ kernel_2 + bias_2
    log_p = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    weights = np.take(class_weights or np.ones(CLASSES), val.labels)
    by_hand = -np.average(log_p[np.arange(10), val.labels], weights=weights)
    assert outcome.objective == pytest.approx(by_hand, rel=1e-4)


def test_trial_stops_early_and_a_runaway_gets_a_poor_finite_objective(trials):
    outcome = trials.run(HeadValues(1e30, 8, 0.0, 0.0), 50)

    assert outcome.epochs <= 4
    assert outcome.objective == clip_objective(None, CLASSES)
    assert (
        clip_objective(float("nan"), CLASSES)
        == clip_objective(1e9, CLASSES)
        == pytest.approx(10.986, abs=1e-3)
    )


def test_epochs_take_turns_over_the_views_of_the_training_images():
    val = vectors(24, 1)
    shuffled = Pooled(vectors(48, 0).vectors, np.roll(vectors(48, 0).labels, 1))
    one = HeadTrials([vectors(48, 0)], val, CLASSES, 16, patience=9, seed=5)
    two = HeadTrials([vectors(48, 0), shuffled], val, CLASSES, 16, patience=9, seed=5)
    values = HeadValues(1e-2, 8, 0.0, 0.0)

    for epochs, same in ((1, True), (2, False)):
        equal = [
            np.array_equal(a, b)
            for a, b in zip(one.weights(values, epochs), two.weights(values, epochs), strict=True)
        ]
        assert all(equal) == same


ARGS = HeadTrainerArgs(
    model=Architecture("inception_v3", 299, head_units=1024, head_dropout=0.0),
    global_batch_size=32,
    seed=1,
    precision="float32",
    cache=None,
    augmentation=NO_CHANGE,
    max_pixels=10**6,
    weights="imagenet",
    weights_fingerprint="",
    fit=HeadFit(1e-3, 50, 5),
    config={
        "head": {"units": 1024, "dropout": 0.0},
        "train": {"label_smoothing": 0.0, "seed": 1},
        "fits": {"head": {"learning_rate": 1e-3}},
    },
)
TUNED = {
    "space": [],
    "values": {
        "head.units": 256,
        "head.dropout": 0.5,
        "train.label_smoothing": 0.1,
        "fits.head.learning_rate": 2e-3,
        "fits.fine_tune.learning_rate": 5e-4,
        "fits.fine_tune.boundary": "mixed7",
    },
}


def test_tuned_values_go_over_the_config_of_the_head_fit_and_its_record():
    changed = with_tuned(ARGS, TUNED, HEAD_FIT)

    assert changed.model == Architecture("inception_v3", 299, 256, 0.5)
    assert changed.fit == HeadFit(2e-3, 50, 5, label_smoothing=0.1)
    assert changed.config == {
        "head": {"units": 256, "dropout": 0.5},
        "train": {"label_smoothing": 0.1, "seed": 1},
        "fits": {"head": {"learning_rate": 2e-3}},
    }
    assert ARGS.fit.learning_rate == 1e-3
    assert ARGS.config["head"]["units"] == 1024


def test_tuned_values_go_over_the_config_of_fine_tuning():
    shared = {field.name: getattr(ARGS, field.name) for field in fields(TrainingArgs)}
    args = FineTunerArgs(
        **shared,
        fit=FineTune("mixed8", 1e-4, 0.9, 50, 5),
        config={"fits": {"fine_tune": {"learning_rate": 1e-4, "boundary": "mixed8"}}},
    )

    changed = with_tuned(args, TUNED, FINE_TUNE)

    assert changed.fit == FineTune("mixed7", 5e-4, 0.9, 50, 5, label_smoothing=0.1)
    assert changed.config["fits"]["fine_tune"] == {
        "learning_rate": 5e-4,
        "boundary": "mixed7",
    }


def test_without_a_tuner_nothing_changes():
    assert with_tuned(ARGS, None, HEAD_FIT) == ARGS
