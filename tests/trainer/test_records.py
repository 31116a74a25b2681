"""Files of records: read as they were written, those of earlier versions too, or refused by key."""

import math

import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from components.serving_check.agreement import Agreement, read_agreement
from pipeline import events
from trainer import records
from trainer.errors import ThawError
from trainer.fits.record import FitRecord, read_fit, write_fit
from trainer.remote_files import replacing, write_replacing
from trainer.tuning.trials import SearchRecord, TrialRecord, read_trials

HISTORY = """{
  "history": {"loss": [0.5, null], "val_loss": [1, 0.25]},
  "best_epoch": 2,
  "stopped_early": false,
  "seconds": 3.5,
  "trainable_parameters": 10,
  "frozen_parameters": 20,
  "frozen_layers": 3,
  "boundary": null
}"""
TRIALS = """{
  "algorithm": "hyperband",
  "best": {"head.units": 512, "fits.head.learning_rate": 0.001},
  "trials": [
    {"stage": "head", "trial": "0000", "values": {"head.units": 512, "head.dropout": 0.0},
     "objective": 0.75, "epochs": 3, "seconds": 1.25, "status": "completed"},
    {"stage": "fine_tune", "trial": "0", "values": {"fits.fine_tune.boundary": "mixed8"},
     "objective": null, "epochs": 0, "seconds": 0.0, "status": "failed"}
  ]
}"""


def test_files_of_earlier_versions_are_read(tmp_path):
    (tmp_path / "history.json").write_text(HISTORY)
    (tmp_path / "trials.json").write_text(TRIALS)
    (tmp_path / "serving_check.json").write_text(
        '{"num_images": 32, "max_difference": null, "tolerance": 1e-05, "agrees": false}'
    )

    fit = read_fit(str(tmp_path))
    assert fit.history == {"loss": [0.5, None], "val_loss": [1, 0.25]}
    assert (fit.best_epoch, fit.frozen_layers, fit.boundary) == (2, 3, None)
    search = read_trials(str(tmp_path))
    assert search.best == {"head.units": 512, "fits.head.learning_rate": 0.001}
    assert [trial.objective for trial in search.trials] == [0.75, None]
    assert read_agreement(str(tmp_path)) == Agreement(32, None, 1e-5, False)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (('"best_epoch": 2', '"best_epoch": "2"'), "best_epoch: Input should be a valid integer"),
        (('  "seconds": 3.5,\n', ""), "seconds: missing"),
        (('"frozen_layers"', '"frozen_layer"'), "frozen_layers: missing; frozen_layer: unknown"),
        ((HISTORY, HISTORY[:40]), "Invalid JSON: EOF"),
    ],
)
def test_a_file_that_is_no_record_is_refused_with_its_key_and_place(tmp_path, change, said):
    path = tmp_path / "history.json"
    path.write_text(HISTORY.replace(*change))

    with pytest.raises(ThawError) as caught:
        read_fit(str(tmp_path))

    assert said in caught.value.what
    assert caught.value.where == str(path)
    assert "run the same command again" in caught.value.to_do


values = st.dictionaries(
    st.text(max_size=5), st.integers() | st.floats(allow_nan=False) | st.text()
)
trials = st.builds(
    TrialRecord,
    stage=st.text(),
    trial=st.text(),
    values=values,
    objective=st.none() | st.floats(allow_nan=False),
    epochs=st.integers(),
    seconds=st.floats(allow_nan=False),
    status=st.text(),
)


@given(st.builds(SearchRecord, st.text(), values, st.lists(trials, max_size=3).map(tuple)))
def test_a_record_is_read_as_it_was_written(record):
    found = records.parse(SearchRecord, records.dumps(record))

    assert found == record
    assert [type(value) for value in found.best.values()] == [
        type(value) for value in record.best.values()
    ]


def test_a_fit_is_written_where_there_is_no_folder_yet(tmp_path):
    record = FitRecord({"loss": [math.pi]}, 1, True, 0.1, 2, 3, 4, "mixed8")

    write_fit(record, str(tmp_path / "new"))

    assert read_fit(str(tmp_path / "new")) == record


@pytest.mark.parametrize(
    "event",
    [
        events.Plan(("a", "b"), 1.5),
        events.NodeState("a", events.DONE, 1.5, log="logs/a"),
        events.NodeState("a", events.FAILED, 1.5, error="full\ndisk"),
        events.Progress("a", 1, 2.5, "epochs", ""),
        events.Note("é"),
        events.End(True),
    ],
)
def test_an_event_is_one_line_and_read_as_it_was_written(event):
    line = event.to_line()

    assert line.index("\n") == len(line) - 1
    assert "null" not in line
    assert events.read(line) == event


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('{"event": "nod", "node": "a"}', "'nod' is not one of plan, node, note, end, progress"),
        ('{"event": "note", "txt": "a"}', "text: missing; txt: unknown"),
    ],
)
def test_an_unknown_event_is_refused_by_name(line, said):
    with pytest.raises(records.Mismatch, match=said):
        events.read(line)


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path):
    path = tmp_path / "state"

    def write(content: bytes, error: Exception | None = None) -> None:
        with replacing(str(path)) as partial, tf.io.gfile.GFile(partial, "wb") as file:
            file.write(content)
            if error:
                raise error

    write_replacing(str(path), b"old")
    with pytest.raises(OSError, match="lost"):
        write(b"half", OSError("lost"))
    assert path.read_bytes() == b"old"

    write(b"new")
    assert path.read_bytes() == b"new"
    assert [one.name for one in tmp_path.iterdir()] == ["state"]
