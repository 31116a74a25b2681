"""The two ways into an exported model: agreement is blessed, anything else is not pushed."""

import contextlib
import io
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image
from tfx.types import standard_artifacts

from components.pusher.executor import Executor as PusherExecutor
from components.serving_check.agreement import RESULT_FILE, Agreement
from components.serving_check.executor import (
    Candidate,
    Executor,
    ask,
    compare,
    read_test_images,
    start_candidate,
)
from launchers.local.process_tree import group_of
from trainer import keys
from trainer.data.fit_data import Parse, image_parser
from trainer.data.images import decode_and_resize, serialize_image
from trainer.errors import ThawError
from trainer.export import ExportInfo, export_saved_model
from trainer.model.classifier import build_classifier
from trainer.specs import ModelSpec, ServedImages

from ..conftest import ROOT
from ..image_examples import LABELS, write_shard
from ..trainer.conftest import SIZE_PX, WIDTH, nothing_fitted, parts_of, tiny_backbone

NUM_TEST = 6
TOLERANCE = 1e-3


def make_model() -> keras.Model:
    """A classifier that tells images apart: its head's weights are large."""
    keras.utils.set_random_seed(4)
    model = build_classifier(
        ModelSpec("inception_v3", SIZE_PX, 8, 0.0, num_classes=2), tiny_backbone()
    )
    for layer in ("hidden", "logits"):
        kernel = model.get_layer(layer).kernel
        kernel.assign(kernel * 10)
    return model


def inverted(record: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Another preprocessing than the one that serves."""
    image, label_id = image_parser(SIZE_PX)(record)
    return 255 - image, label_id


def export(model: keras.Model, parse: Parse, folder: Path) -> None:
    images = ServedImages(SIZE_PX, 1_000_000)
    info = ExportInfo(LABELS, {}, {})
    export_saved_model(parts_of(model), images, parse, nothing_fitted(WIDTH), info, str(folder))


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> Path:
    """Model artifacts: `good`, and `skewed`, which is evaluated in another way than served."""
    root = tmp_path_factory.mktemp("models")
    model = make_model()
    for name, parse in (("good", image_parser(SIZE_PX)), ("skewed", inverted)):
        export(model, parse, root / name / "Format-Serving")
    return root


@pytest.fixture(scope="module")
def candidates(models) -> Iterator[dict[str, Candidate]]:
    """The models, each with a running server."""
    with contextlib.ExitStack() as stack:
        yield {
            name: stack.enter_context(start_candidate(str(models / name)))
            for name in ("good", "skewed")
        }


def check(candidate: Candidate, images: str, examples: str, num_images: int = 32) -> Agreement:
    return ask(candidate, read_test_images(images, examples, num_images), TOLERANCE)


def file_example(name: str, content: bytes) -> bytes:
    return with_bytes({keys.ID: name.encode(), keys.IMAGE_BYTES: content})


def pixels_example(name: str, content: bytes) -> bytes:
    pixels = decode_and_resize(tf.constant(content), SIZE_PX, 10**6)
    stored = serialize_image(pixels).numpy()
    return with_bytes({keys.ID: name.encode(), keys.IMAGE: stored})


def with_bytes(values: dict[str, bytes]) -> bytes:
    example = tf.train.Example()
    for name, value in values.items():
        example.features.feature[name].bytes_list.value.append(value)
    example.features.feature[keys.LABEL_ID].int64_list.value.append(0)
    return example.SerializeToString()


def write_test_split(uri: Path, *shards: list[bytes]) -> str:
    for number, records in enumerate(shards):
        write_shard(uri / "Split-test" / f"part-{number}.gz", records)
    return str(uri)


def photo(number: int) -> bytes:
    """A file of noise with a tint of its own."""
    random = np.random.default_rng(number)
    pixels = random.integers(0, 80, [50, 40, 3]) + random.integers(0, 176, [3])
    buffer = io.BytesIO()
    Image.fromarray(pixels.astype("uint8")).save(buffer, "JPEG")
    return buffer.getvalue()


FILES = {f"id-{number}": photo(number) for number in range(NUM_TEST)}


@pytest.fixture(scope="module")
def images(tmp_path_factory) -> str:
    """What ingestion left: in an order and in shards of its own, with more than is asked for."""
    records = [file_example(name, content) for name, content in reversed(FILES.items())]
    return write_test_split(tmp_path_factory.mktemp("images"), records[:2], records[2:])


@pytest.fixture(scope="module")
def examples(tmp_path_factory) -> str:
    records = [pixels_example(name, content) for name, content in FILES.items()]
    return write_test_split(tmp_path_factory.mktemp("examples"), records)


def saved(models: Path, name: str) -> str:
    return str(models / name / "Format-Serving")


def test_model_that_is_served_as_it_was_evaluated_agrees(candidates, images, examples):
    found = check(candidates["good"], images, examples)

    assert found.agrees
    assert found.num_images == NUM_TEST
    assert found.max_difference < 1e-5


def test_model_tells_these_images_apart(models, images):
    """Or the pairing of files and examples could be wrong unnoticed."""
    serve = tf.saved_model.load(saved(models, "good")).signatures["serving_default"]

    answers = serve(image_bytes=tf.constant(list(FILES.values())))["probabilities"].numpy()

    assert np.abs(answers[1:] - answers[:-1]).max(axis=1).min() > 2 * TOLERANCE


def test_model_that_is_evaluated_with_another_preprocessing_does_not_agree(
    candidates, images, examples
):
    found = check(candidates["skewed"], images, examples)

    assert not found.agrees
    assert found.max_difference > 0.05


def test_examples_that_were_resized_in_another_way_do_not_agree(candidates, images, tmp_path):
    def coarse(content: bytes) -> bytes:
        pixels = tf.image.resize(tf.io.decode_jpeg(content), [SIZE_PX] * 2, method="nearest")
        return serialize_image(tf.cast(pixels, tf.uint8)).numpy()

    records = [
        with_bytes({keys.ID: name.encode(), keys.IMAGE: coarse(content)})
        for name, content in FILES.items()
    ]

    found = check(candidates["good"], images, write_test_split(tmp_path, records))

    assert not found.agrees


def test_no_more_images_are_asked_about_than_configured(candidates, images, examples):
    assert check(candidates["good"], images, examples, 2).num_images == 2


def test_test_image_without_its_file_is_refused(images, examples, tmp_path):
    records = [file_example(name, content) for name, content in list(FILES.items())[1:]]
    fewer = write_test_split(tmp_path, records)

    with pytest.raises(ThawError, match=f"{examples}: holds test images that {fewer} does not"):
        read_test_images(fewer, examples, 32)


def test_test_split_without_images_is_named(images, tmp_path):
    empty = write_test_split(tmp_path, [])

    with pytest.raises(ThawError, match=f"{empty}: holds no test images"):
        read_test_images(images, empty, 32)


def test_examples_without_a_test_split_are_named(images, tmp_path):
    with pytest.raises(ValueError, match=rf"no examples in {tmp_path}/Split-test/\*"):
        read_test_images(images, str(tmp_path), 32)


def test_model_that_the_server_cannot_load_is_named_with_the_servers_own_words(tmp_path):
    broken = tmp_path / "broken" / "Format-Serving"
    broken.mkdir(parents=True)
    (broken / "saved_model.pb").write_bytes(b"damaged")

    with (
        start_candidate(str(tmp_path / "broken")) as candidate,
        pytest.raises(ThawError) as problem,
    ):
        candidate.server.wait_until_ready(60)

    assert "the model's server cannot serve it" in str(problem.value)
    assert "it cannot be loaded" in str(problem.value)


STARTER = """
import sys, time
from pathlib import Path
from serving.server.process import start_server
with start_server(Path(sys.argv[1]), "m") as server:
    server.wait_until_ready(120)
    print(server._process.pid, flush=True)
    time.sleep(600)
"""


def test_server_ends_with_the_process_that_started_it(models):
    starter = subprocess.Popen(
        [sys.executable, "-c", STARTER, saved(models, "good")],
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    try:
        group = int(starter.stdout.readline())
        assert len(group_of(group)) >= 2
    finally:
        starter.send_signal(signal.SIGKILL)
        starter.communicate()

    until = time.monotonic() + 20
    while any(one.is_running() and one.status() != "zombie" for one in group_of(group)):
        assert time.monotonic() < until
        time.sleep(0.1)


Judge = Callable[[str], tuple[standard_artifacts.Model, standard_artifacts.InfraBlessing]]


@pytest.fixture
def judge(models, images, examples, tmp_path) -> Judge:
    """Runs the executor on a model of `models`."""

    def judge(name: str) -> tuple[standard_artifacts.Model, standard_artifacts.InfraBlessing]:
        model, blessing = standard_artifacts.Model(), standard_artifacts.InfraBlessing()
        raw, stored = standard_artifacts.Examples(), standard_artifacts.Examples()
        model.uri, raw.uri, stored.uri = str(models / name), images, examples
        blessing.uri = str(tmp_path / "infra")
        (tmp_path / "infra").mkdir()
        Executor().Do(
            {"model": [model], "images": [raw], "examples": [stored]},
            {"blessing": [blessing]},
            {"tolerance": TOLERANCE, "num_images": 4},
        )
        return model, blessing

    return judge


@pytest.mark.parametrize(("baseline", "agrees"), [("good", 1), ("skewed", 0)])
def test_baseline_is_checked_where_it_may_be_pushed(
    models, images, examples, tmp_path, baseline, agrees
):
    inputs = {"model": standard_artifacts.Model(), "baseline_model": standard_artifacts.Model()}
    inputs |= {"images": standard_artifacts.Examples(), "examples": standard_artifacts.Examples()}
    for name, uri in zip(
        inputs, (models / "good", models / baseline, images, examples), strict=True
    ):
        inputs[name].uri = str(uri)
    blessing = standard_artifacts.InfraBlessing()
    blessing.uri = str(tmp_path / "infra")

    Executor().Do(
        {name: [artifact] for name, artifact in inputs.items()},
        {"blessing": [blessing]},
        {"tolerance": TOLERANCE, "num_images": 4},
    )

    assert blessing.get_int_custom_property("blessed") == 1
    assert blessing.get_int_custom_property("baseline_agrees") == agrees


def push(
    model: standard_artifacts.Model, infra: standard_artifacts.InfraBlessing, folder: Path
) -> standard_artifacts.PushedModel:
    """Pushes a model that the gate has blessed."""
    blessing, pushed = standard_artifacts.ModelBlessing(), standard_artifacts.PushedModel()
    blessing.uri, pushed.uri = str(folder / "blessing"), str(folder / "pushed")
    (folder / "blessing").mkdir()
    (folder / "blessing" / "BLESSED").touch()
    blessing.set_int_custom_property("blessed", 1)
    destination = {"filesystem": {"base_directory": str(folder / "serving")}}
    PusherExecutor().Do(
        {"model": [model], "model_blessing": [blessing], "infra_blessing": [infra]},
        {"pushed_model": [pushed]},
        {"push_destination": json.dumps(destination)},
    )
    return pushed


def test_agreement_is_blessed_recorded_and_pushed(judge, tmp_path):
    model, blessing = judge("good")

    pushed = push(model, blessing, tmp_path)

    result = json.loads((Path(blessing.uri) / RESULT_FILE).read_text())
    assert blessing.get_int_custom_property("blessed") == 1
    assert result["agrees"] is True
    assert result["num_images"] == 4
    assert result["tolerance"] == TOLERANCE
    assert 0 <= result["max_difference"] < 1e-5
    assert pushed.get_int_custom_property("pushed") == 1
    assert (tmp_path / "serving" / "1" / "saved_model.pb").exists()


def test_skewed_model_is_not_pushed_although_the_gate_blessed_it(judge, tmp_path):
    model, blessing = judge("skewed")

    pushed = push(model, blessing, tmp_path)

    result = json.loads((Path(blessing.uri) / RESULT_FILE).read_text())
    assert blessing.get_int_custom_property("blessed") == 0
    assert result["agrees"] is False
    assert result["max_difference"] > TOLERANCE
    assert pushed.get_int_custom_property("pushed") == 0
    assert not (tmp_path / "serving").exists()


NAN = float("nan")


@pytest.mark.parametrize(
    ("served", "judged", "expected"),
    [
        ([0.25, 0.75], [0.25, 0.75], Agreement(1, 0.0, 0.25, True)),
        ([0.25, 0.75], [0.5, 0.5], Agreement(1, 0.25, 0.25, True)),
        ([0.25, 0.75], [0.53125, 0.46875], Agreement(1, 0.28125, 0.25, False)),
        ([NAN, NAN], [NAN, NAN], Agreement(1, 0.0, 0.25, True)),
        ([NAN, 0.5], [NAN, 1.0], Agreement(1, 0.5, 0.25, False)),
        ([NAN, NAN], [0.5, 0.5], Agreement(1, None, 0.25, False)),
        ([0.5, 0.5], [NAN, 0.5], Agreement(1, None, 0.25, False)),
    ],
    ids=["same", "at the border", "beyond it", "no numbers", "half", "served", "judged"],
)
def test_comparison(served, judged, expected):
    rows = (np.array([row], "float32") for row in (served, judged))

    assert compare(*rows, tolerance=0.25) == expected


@given(
    arrays.arrays("float32", (3, 2), elements=st.floats(0, 1, width=32)),
    arrays.arrays("float32", (3, 2), elements=st.floats(0, 1, width=32)),
)
def test_comparison_is_of_the_largest_difference_whichever_way_it_goes(one, other):
    found, swapped = compare(one, other, 0.1), compare(other, one, 0.1)

    assert found == swapped
    assert found.max_difference == np.abs(one - other).max()
    assert found.agrees == (found.max_difference <= 0.1)
