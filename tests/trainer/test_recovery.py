"""A fit that is interrupted and resumed ends as one that is not."""

import os
import signal
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import tensorflow as tf

from tests.trainer.conftest import CLASSES, SIZE_PX, SPEC, images, tiny_backbone
from trainer.data import fit_data
from trainer.distribution.strategy import make_deterministic
from trainer.fit_specs import FineTune, HeadFit
from trainer.fits import recipe, resume
from trainer.fits.checkpoint import CannotSave, State, read_newest, write_state
from trainer.fits.recipe import Network
from trainer.model.classifier import build_classifier
from trainer.model.precision import layers_compute_in
from trainer.process import supervision

# Stops early: its best epoch is not the last.
HEAD = HeadFit(learning_rate=0.3, max_epochs=12, patience=3)
TOP = FineTune("block2", 3e-3, 0.9, max_epochs=6, patience=6)
FAST = replace(TOP, schedule="fast")


class Lost(Exception):
    """Stands for the end of the process."""


@pytest.fixture
def make(strategy) -> Callable[..., Network]:
    def make(precision: str = "float32", dropout: float = 0.3) -> Network:
        make_deterministic(1)
        with strategy.scope(), layers_compute_in(precision):
            backbone = tiny_backbone()
            classifier = build_classifier(replace(SPEC, head_dropout=dropout), backbone)
        return Network(classifier, backbone, classifier)

    return make


def shuffled_data() -> fit_data.FitData:
    """24 images in three batches, 16 for validation."""

    def examples(count: int, seed: int) -> tf.data.Dataset:
        return tf.data.Dataset.from_tensor_slices(images(count, seed))

    def parse(pixels: tf.Tensor, label_id: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return tf.ensure_shape(pixels, [SIZE_PX, SIZE_PX, 3]), label_id

    return fit_data.make_fit_data([examples(24, 0)], examples(16, 1), parse, 24, 8, CLASSES, seed=5)


def at_step(
    monkeypatch: pytest.MonkeyPatch, epoch: int, step: int, act: Callable[[], None]
) -> None:
    """Calls `act` at the end of a step of an epoch, both counted from 0."""
    keep = resume.FitCheckpointer.on_train_batch_end

    def end_batch(
        checkpointer: resume.FitCheckpointer, batch: int, logs: dict | None = None
    ) -> None:
        if (checkpointer.epochs, batch) == (epoch, step):
            act()
        keep(checkpointer, batch, logs)

    monkeypatch.setattr(resume.FitCheckpointer, "on_train_batch_end", end_batch)


def lose_at(monkeypatch: pytest.MonkeyPatch, epoch: int, step: int) -> None:
    def lose() -> None:
        raise Lost

    at_step(monkeypatch, epoch, step, lose)


def send_at(monkeypatch: pytest.MonkeyPatch, epoch: int, step: int) -> None:
    at_step(monkeypatch, epoch, step, lambda: os.kill(os.getpid(), signal.SIGTERM))


def assert_same_weights(one: Network, other: Network) -> None:
    for a, b in zip(one.classifier.get_weights(), other.classifier.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def run_guarded(network: Network, directory: str) -> recipe.FitRecord:
    with supervision.supervised({}):
        supervision.mark_started()
        return run(network, TOP, directory)


def run(network: Network, fit: HeadFit | FineTune, directory: str) -> recipe.FitRecord:
    data, checkpoint = shuffled_data(), resume.CheckpointSpec(directory, seed=7)
    if isinstance(fit, HeadFit):
        return recipe.fit_head(network, data, fit, None, checkpoint)
    return recipe.fine_tune(network, data, fit, None, checkpoint, boundary_layer="block2")


@pytest.fixture
def every_epoch(monkeypatch):
    monkeypatch.setattr(resume, "_ALONE_EVERY_SECS", 0.0)


@pytest.mark.parametrize(
    ("fit", "precision"),
    [(HEAD, "float32"), (TOP, "float16"), (FAST, "float32"), (FAST, "float16")],
)
def test_interrupted_twice_it_ends_as_if_undisturbed(
    make, tmp_path, monkeypatch, every_epoch, fit, precision
):
    undisturbed = make(precision)
    expected = run(undisturbed, fit, str(tmp_path / "undisturbed"))
    assert len(expected.history["loss"]) > 4

    for epoch, step in ((1, 2), (3, 0)):
        with monkeypatch.context() as patch:
            lose_at(patch, epoch, step)
            with pytest.raises(Lost):
                run(make(precision), fit, str(tmp_path / "kept"))
    taken_up = make(precision)
    record = run(taken_up, fit, str(tmp_path / "kept"))

    assert_same_weights(taken_up, undisturbed)
    assert record == replace(expected, seconds=record.seconds)


def test_a_finished_fit_is_not_repeated(make, tmp_path, monkeypatch):
    network, again = make(), make()
    expected = run(network, HEAD, str(tmp_path))
    lose_at(monkeypatch, 0, 0)

    record = run(again, HEAD, str(tmp_path))

    assert record == replace(expected, seconds=record.seconds)
    assert expected.stopped_early
    assert_same_weights(again, network)


def test_only_the_last_epoch_and_the_best_are_kept(make, tmp_path, every_epoch):
    record = run(make(), HEAD, str(tmp_path))

    last = len(record.history["loss"])
    assert {*os.listdir(tmp_path)} == {
        f"epoch-{epochs:06d}.npz" for epochs in {record.best_epoch, last}
    }
    assert record.best_epoch < last


def test_told_to_leave_it_writes_what_was_complete_and_says_so(make, tmp_path, monkeypatch):
    undisturbed, network = make(), make()
    expected = run(undisturbed, TOP, "")

    with monkeypatch.context() as patch:
        patch.setattr(resume, "GRACE_SECS", 0.0)
        send_at(patch, 2, 1)
        with pytest.raises(supervision.Preempted, match=r"\(SIGTERM\): 2 epochs are kept"):
            run_guarded(make(), str(tmp_path))
    record = run(network, TOP, str(tmp_path))

    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    assert record == replace(expected, seconds=record.seconds)
    assert_same_weights(network, undisturbed)


def test_told_to_leave_near_the_end_of_an_epoch_it_completes_it(make, tmp_path, monkeypatch):
    send_at(monkeypatch, 2, 1)

    with pytest.raises(supervision.Preempted, match="3 epochs are kept"):
        run_guarded(make(), str(tmp_path))

    assert "epoch-000003.npz" in os.listdir(tmp_path)


def state(epochs: int, best_epoch: int) -> State:
    array = np.full([2, 3], epochs, "float32")
    return State(
        epochs=epochs,
        finished=False,
        seconds=1.5,
        history={"loss": [float("nan"), 0.1 + 0.2]},
        best=float("inf"),
        best_epoch=best_epoch,
        wait=1,
        stopped_epoch=0,
        weights=[array],
        slots=[np.array(epochs, "int64"), array / 3],
        best_weights=[np.full([2, 3], best_epoch + 1, "float32")],
    )


SHAPES = [(2, 3)]


@pytest.mark.parametrize("best_epoch", [4, 2, 0])
def test_what_is_read_is_what_was_written(tmp_path, best_epoch):
    """The best epoch being this one, one whose file is there, one whose file is not."""
    write_state(state(3, 2), str(tmp_path / "kept"))
    write_state(state(5, best_epoch), str(tmp_path / "kept"))

    found = read_newest(str(tmp_path / "kept"), SHAPES)

    assert repr(found) == repr(state(5, best_epoch))
    for kind in ("weights", "slots", "best_weights"):
        for one, other in zip(
            getattr(found, kind), getattr(state(5, best_epoch), kind), strict=True
        ):
            assert one.dtype == other.dtype
            np.testing.assert_array_equal(one, other)


def test_a_broken_file_is_left_out_and_another_models_state_is_none(tmp_path, capsys):
    write_state(state(3, 2), str(tmp_path))
    write_state(state(4, 2), str(tmp_path))
    os.truncate(tmp_path / "epoch-000004.npz", 300)
    (tmp_path / "epoch-000005.npz.part").write_bytes(b"half")

    assert read_newest(str(tmp_path), SHAPES).epochs == 3
    assert "epoch 4 cannot be read" in capsys.readouterr().out
    assert read_newest(str(tmp_path), [(3, 3)]) is None
    assert read_newest(str(tmp_path / "none"), SHAPES) is None


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").touch()

    with pytest.raises(CannotSave, match=rf"{tmp_path}/file/kept: the state .* cannot be written"):
        write_state(state(3, 2), str(tmp_path / "file" / "kept"))
