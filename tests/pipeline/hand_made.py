"""A run written by hand: the least that a report is made of."""

import copy
import json
from pathlib import Path
from typing import Any

from PIL import Image

from pipeline.report.run_record import SCHEMA


def _metrics(accuracy: float, first: float, second: float, matrix: list[list[int]]) -> dict:
    return {
        "accuracy": accuracy,
        "macro_recall": (first + second) / 2,
        "top_k_accuracy": 1.0,
        "loss": 0.5,
        "count": 20,
        "per_class": {
            "ant": {"accuracy": first, "count": 12},
            "bee": {"accuracy": second, "count": 8},
        },
        "confusion": matrix,
    }


def _fit(losses: list[float | None], boundary: str | None) -> dict[str, Any]:
    names = ("loss", "val_loss", "accuracy", "val_accuracy")
    return {
        "history": dict.fromkeys(names, losses),
        "best_epoch": len(losses),
        "stopped_early": False,
        "seconds": 75.0,
        "trainable_parameters": 1_234_567,
        "frozen_parameters": 7_654_321,
        "boundary": boundary,
        "frozen_layers": 249,
    }


def _node(name: str, state: str, seconds: float, output: str) -> dict[str, Any]:
    return {
        "name": name,
        "state": state,
        "seconds": seconds,
        "log": f"/out/logs/run 1/{name}.log",
        "execution_id": 1,
        "outputs": {output: [{"id": 1, "uri": f"/out/artifacts/{name}/{output}/1"}]},
    }


def _certainty(temperature: float) -> dict[str, Any]:
    bins = [{"count": 12, "confidence": 0.9, "accuracy": 0.75}]
    return {
        "temperature": temperature,
        "error_before": 0.15,
        "error_after": None if temperature == 1.0 else 0.04,
        "before": bins,
        "after": bins,
        "coverage": [{"share": 0.5, "accuracy": 1.0}, {"share": 1.0, "accuracy": 0.85}],
    }


def _answers(accuracy: float, num_bytes: int, milliseconds: float) -> dict[str, Any]:
    return {"num_bytes": num_bytes, "accuracy": accuracy, "milliseconds": milliseconds}


def _export(name: str, accuracy: float, differing: int, reason: str) -> dict[str, Any]:
    return {
        "format": name,
        "file": f"model.{name}",
        "answers": _answers(accuracy, 7_123_196, 4.139),
        "differing": differing,
        "ties": 1,
        "max_difference": 0.0126,
        "agrees": not reason,
        "reason": reason,
    }


EXPORT_REASON = (
    "Its first choice is another one for 2 of 20 test images <as it were>; 0 are allowed."
)

RUN: dict[str, Any] = {
    "schema": SCHEMA,
    "name": "birds",
    "thaw_version": "0.0.0",
    "run_id": "run 1",
    "started": "2026-03-04T05:06:07+00:00",
    "finished": "2026-03-04T05:16:07+00:00",
    "seconds": 600.0,
    "config": {"name": "birds", "seed": 1},
    "data": {
        "images_dir": "/photos",
        "fingerprint": "0123456789abcdef" * 4,
        "image_size_px": 75,
        "classes": ["ant", "bee"],
        "counts": {
            "train": {"ant": 61, "bee": 52},
            "val": {"ant": 13},
            "test": {"ant": 12, "bee": 8},
        },
        "set_aside": {
            "count": 3,
            "reasons": {"the file is empty": 2, "the image data is damaged": 1},
            "files": [{"path": "/photos/ant/broken.jpg", "reason": "the image data is damaged"}],
            "list": "/artifacts/set_aside/*.jsonl",
        },
        "near_duplicates": {
            "groups": 3,
            "images": 7,
            "largest": 3,
            "conflicting": 1,
            "divided": 0,
            "shown": [
                {
                    "paths": ["/photos/ant/1.jpg", "/photos/bee/1 small.jpg"],
                    "labels": ["ant", "bee"],
                    "splits": ["train", "train"],
                }
            ],
            "list": "/artifacts/near_duplicates.jsonl",
        },
        "small_classes": {"bee": 60},
        "folded_into": "",
        "drift": ["label: the share of bees has grown"],
        "from_store": 120,
        "through_trunk": 26,
    },
    "fits": {"head": _fit([0.9, 0.7, 0.6], None), "fine_tune": _fit([0.5, 0.4], "mixed8")},
    "metrics": {
        "test_images": 20,
        "top_k": 2,
        "baseline": _metrics(0.7, 0.75, 0.625, [[9, 3], [3, 5]]),
        "candidate": _metrics(0.85, 0.75, 1.0, [[9, 3], [0, 8]]),
    },
    "verdict": {
        "blessed": True,
        "pushed": True,
        "gain": 0.15,
        "rule": "the candidate's accuracy on the test split must exceed the baseline's by more "
        "than 0.0 percentage points",
        "reasons": ["Test accuracy went from 70.0% to 85.0%, +15.0 points."],
        "serving_check": {
            "agrees": True,
            "num_images": 16,
            "max_difference": 1e-7,
            "tolerance": 1e-3,
        },
        "paired": {
            "candidate_only": 4,
            "baseline_only": 1,
            "p_value": 0.375,
            "gain_low": -0.05,
            "gain_high": 0.31,
        },
        "outcome": "promote",
        "sentence": "The fine-tuned model is better than its baseline: +15.0 points.",
        "clauses": [],
        "power": "20 test images show a gain of 30.0 points in four cases of five.",
        "groups": 18,
        "images": 20,
        "folds": 0,
        "earlier_candidates": 0,
        "references": [],
        "baseline_pushed": False,
        "fallback": "",
        "override": None,
    },
    "model": {"name": "birds", "version": "7", "path": "/out/serving/birds/7"},
    "samples": [
        {
            "path": "/photos/ant/1.jpg",
            "thumbnail": "samples/1.jpg",
            "label": "ant",
            "baseline": {"class": "bee", "probability": 0.6},
            "candidate": {"class": "ant", "probability": 0.9},
            "heat_maps": {"candidate": "samples/1-candidate.jpg"},
        }
    ],
    "certainty": {
        "baseline": _certainty(1.0),
        "candidate": _certainty(1.5),
        "unknown": {
            "rejected_share": 0.02,
            "test_share": 0.1,
            "accuracy_known": 0.875,
            "accuracy_unknown": 0.5,
            "left_out": {"ant": 0.91, "bee": 0.6},
        },
    },
    "class_changes": [
        {"label": "ant", "count": 12, "before": 0.75, "after": 0.75, "low": -0.2, "high": 0.2},
        {"label": "bee", "count": 8, "before": 0.625, "after": 1.0, "low": 0.02, "high": 0.6},
    ],
    "doubtful_labels": [
        {
            "path": "/photos/ant/9.jpg",
            "label": "ant",
            "predicted": "bee",
            "probability": 0.97,
            "thumbnail": "samples/doubtful-00.jpg",
        }
    ],
    "exports": {
        "num_images": 20,
        "threads": 2,
        "saved_model": _answers(0.85, 16_772_048, 11.865),
        "exports": [_export("tflite", 0.85, 1, ""), _export("onnx", 0.75, 3, EXPORT_REASON)],
        "path": "/out/exports/birds/7",
    },
    "nodes": [
        _node("ImageExampleGen", "cached", 10.0, "examples"),
        _node("FineTuner", "done", 40.0, "model"),
    ],
    "versions": {"python": "3.11.0", "tfx": "1.21.0"},
}


def a_run() -> dict[str, Any]:
    """A copy to change."""
    return copy.deepcopy(RUN)


def write_run(folder: Path, run: dict[str, Any]) -> Path:
    """Writes `run.json`, and a thumbnail and heat maps for each sample."""
    (folder / "run.json").write_text(json.dumps(run))
    (folder / "samples").mkdir(exist_ok=True)
    for sample in run["samples"]:
        for picture in [sample["thumbnail"], *sample.get("heat_maps", {}).values()]:
            Image.new("RGB", (4, 4)).save(folder / picture)
    return folder


def rename_class(run: dict[str, Any], old: str, new: str) -> dict[str, Any]:
    """The same run with another class name wherever one stands."""
    text = json.dumps(run).replace(json.dumps(old), json.dumps(new))
    return json.loads(text)
