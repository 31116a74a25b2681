"""How near the frozen trunk comes to what the cores can multiply.

    .venv/bin/python -m benchmarks.roofline

Images a second through `trainer.model.trunk.Trunk`, from uint8 pixels to what is kept, times
the operations of its convolutions, over the best rate of `tf.matmul` in the same
precision on the same cores. Target: 0.7.
"""

import time
from collections.abc import Callable
from typing import Annotated, Any

import typer

import trainer  # noqa: F401 - chooses the Keras before TensorFlow is imported
from benchmarks.common import JsonOption, console, machine, report

BACKBONE = "inception_v3"
BOUNDARY = "mixed8"


def main(
    size: Annotated[int, typer.Option(help="Side of the square images.")] = 299,
    batch_sizes: Annotated[
        list[int] | None, typer.Option(help="May be repeated.  [default: 16, 32, 64]")
    ] = None,
    precisions: Annotated[
        list[str] | None, typer.Option(help="May be repeated.  [default: float32, bfloat16]")
    ] = None,
    repeats: Annotated[int, typer.Option(help="Batches and products timed; the best.")] = 8,
    matrix_size: Annotated[int, typer.Option(help="Rows and columns of a product.")] = 4096,
    json: JsonOption = None,
) -> None:
    """Compares the trunk's rate with that of large matrix products."""
    host = machine()
    rows = []
    for precision in precisions or ("float32", "bfloat16"):
        peak = matrix_flops(precision, matrix_size, repeats)
        console.print(f"{precision} products: {peak / 1e9:.0f} GFLOP/s")
        for batch_size in batch_sizes or (16, 32, 64):
            rows.append(_measure(size, batch_size, precision, repeats, peak))
    report(
        "roofline",
        f"{BACKBONE} to {BOUNDARY} at {size} px",
        rows,
        {"matrix_size": matrix_size},
        host,
        json,
    )


def best_seconds(work: Callable[[], Any], repeats: int) -> float:
    """Seconds of the fastest of several calls, after one that is not counted."""
    work()
    seconds = []
    for _ in range(repeats):
        started = time.monotonic()
        work()
        seconds.append(time.monotonic() - started)
    return min(seconds)


def matrix_flops(precision: str, size: int, repeats: int) -> float:
    """Operations a second in the product of two square matrices."""
    import tensorflow as tf

    left, right = (
        tf.cast(tf.random.stateless_normal([size, size], [seed, 0]), precision) for seed in (0, 1)
    )
    product = tf.function(lambda: tf.reduce_sum(tf.cast(tf.matmul(left, right)[0], tf.float32)))
    return 2 * size**3 / best_seconds(lambda: product().numpy(), repeats)


def _measure(
    size: int, batch_size: int, precision: str, repeats: int, peak: float
) -> dict[str, Any]:
    import tensorflow as tf

    from benchmarks.flops import count_flops
    from trainer.backbones.networks import load_backbone, trunk_of
    from trainer.model.trunk import Trunk
    from trainer.specs import TrunkSpec

    spec = TrunkSpec(BACKBONE, size, BOUNDARY, "float16", precision)
    below = trunk_of(load_backbone(BACKBONE, size, "random"), spec.layer)
    flops = count_flops(below)
    run = Trunk(spec)
    pixels = tf.cast(
        tf.random.stateless_uniform([batch_size, size, size, 3], [2, 0]) * 255, "uint8"
    )
    rate = batch_size / best_seconds(lambda: run(pixels).numpy(), repeats)
    console.print(f"{precision}, batches of {batch_size}: {rate:.1f} images/s")
    return {
        "precision": precision,
        "batch": batch_size,
        "images/s": rate,
        "GFLOP an image": flops / 1e9,
        "GFLOP/s": rate * flops / 1e9,
        "products GFLOP/s": peak / 1e9,
        "ratio": rate * flops / peak,
    }


if __name__ == "__main__":
    typer.run(main)
