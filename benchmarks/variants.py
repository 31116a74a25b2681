"""What a setting changes: the same run under several settings and seeds, side by side.

    python -m benchmarks.variants --images photos --weights backbone.h5 --size 75 \
        --variant plain:features.cache=false --variant cached: \
        --variant "4 views:augmentation.flip=true,augmentation.views=3" --seed 0 --seed 1

Every run is a `thaw run`; what two variants have in common is computed once. Prints and
writes, for each variant, the accuracies of baseline and candidate on the test split (mean
and range over the seeds) and the seconds of the nodes that the setting touches, of the
first seed: the others find the trunk's features there already.
"""

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

NODES = ("TrunkFeatures", "HeadTrainer", "FineTuner")


def main() -> None:
    """Runs the variants in turn, seed by seed."""
    arguments = _arguments()
    found: dict[str, list[dict[str, Any]]] = {}
    for seed in arguments.seed:
        for variant in arguments.variant:
            name, _, settings = variant.partition(":")
            results = _run(arguments, [*filter(None, settings.split(",")), f"train.seed={seed}"])
            found.setdefault(name, []).append(results)
            print(_row(name, found[name]), flush=True)
    print("\n".join(["", *(_row(name, results) for name, results in found.items())]))
    arguments.json.parent.mkdir(parents=True, exist_ok=True)
    arguments.json.write_text(json.dumps(found, indent=2))
    print(f"written: {arguments.json}")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", required=True, help="folder of class folders")
    parser.add_argument("--weights", default="random", help="of the backbone")
    parser.add_argument("--size", type=int, default=299, help="image side in pixels")
    parser.add_argument(
        "--variant",
        action="append",
        required=True,
        metavar="NAME:KEY=VALUE,…",
        help="settings on top of the defaults; may be repeated",
    )
    parser.add_argument("--seed", type=int, action="append", required=True)
    parser.add_argument("--output", type=Path, default=Path("benchmarks/results/variants"))
    parser.add_argument("--json", type=Path, default=Path("benchmarks/results/variants.json"))
    return parser.parse_args()


def _run(arguments: argparse.Namespace, settings: list[str]) -> dict[str, Any]:
    shared = [f"backbone.weights={arguments.weights}", f"backbone.image_size_px={arguments.size}"]
    command = [sys.executable, "-m", "pipeline.cli.main", "run", "--images", arguments.images]
    command += ["--output", str(arguments.output)]
    command += [f"--set={setting}" for setting in (*shared, *settings)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    run = json.loads((arguments.output / "run.json").read_text())
    nodes = {node["name"]: node for node in run["nodes"]}
    return {
        "settings": settings,
        "baseline": run["metrics"]["baseline"]["accuracy"],
        "candidate": run["metrics"]["candidate"]["accuracy"],
        "test_images": run["metrics"]["test_images"],
        "epochs": {fit: len(record["history"]["loss"]) for fit, record in run["fits"].items()},
        "fit_seconds": {fit: record["seconds"] for fit, record in run["fits"].items()},
        "node_seconds": {name: nodes[name]["seconds"] for name in NODES if name in nodes},
        "serving_difference": run["verdict"]["serving_check"]["max_difference"],
    }


def _row(name: str, results: list[dict[str, Any]]) -> str:
    def accuracy(model: str) -> str:
        values = [result[model] for result in results]
        return f"{statistics.mean(values):.3f} ({min(values):.3f} to {max(values):.3f})"

    seconds = results[0]["node_seconds"]
    return (
        f"{name:<24} baseline {accuracy('baseline')}, candidate {accuracy('candidate')}; "
        + ", ".join(f"{node} {seconds[node]:.0f} s" for node in seconds)
        + f"; served differs by {results[0]['serving_difference']}"
    )


if __name__ == "__main__":
    main()
