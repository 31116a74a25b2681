"""Weights of single images travel from a manifest into the examples."""

from pathlib import Path

import tensorflow as tf

from trainer import keys

from .test_sources import FILES, in_csv, rows, write


def test_weights_of_a_manifest_are_in_the_examples_and_the_fingerprint(tmp_path):
    path = in_csv(tmp_path)
    lines = path.read_text("utf-8-sig").splitlines()
    weights = ["weight", "0.25", *([""] * (len(lines) - 2))]
    plain = write(path, tmp_path / "plain")
    path.write_text(
        "\n".join(f"{line},{weight}" for line, weight in zip(lines, weights, strict=True))
    )

    card = write(path, tmp_path / "weighted")

    assert (plain.weighted, card.weighted) == (False, True)
    assert plain.fingerprint != card.fingerprint
    assert rows(tmp_path / "plain") == rows(tmp_path / "weighted")
    assert sorted(weights_in(tmp_path / "weighted")) == [0.25] + [1.0] * (len(FILES) - 1)
    assert set(weights_in(tmp_path / "plain")) == {1.0}


def weights_in(uri: Path) -> list[float]:
    paths = [str(path) for path in uri.glob("Split-*/*")]
    return [
        tf.train.Example.FromString(record).features.feature[keys.WEIGHT].float_list.value[0]
        for record in tf.data.TFRecordDataset(paths, "GZIP").as_numpy_iterator()
    ]
