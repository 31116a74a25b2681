"""How many planted near-copies are found among real photographs, and how many false pairs.

    .venv/bin/python -m benchmarks.near_duplicates --images FOLDER

Each photograph is resized, recompressed, cropped by 5 % somewhere, made brighter or darker, and
mirrored. `recall` is the share of copies found as a pair with their original, `false_pairs` the
share of found pairs that join two different photographs. Copies with the first four changes at
once are looked for by themselves. Pairs among the photographs themselves are not counted but
listed: look at them. Then as many random pictures as a large data set has are searched once.
Targets: 0.99, 0.001, and minutes for 50,000.
"""

import io
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from PIL import Image, ImageEnhance, ImageOps
from sklearn.datasets import load_sample_images

from benchmarks.common import JsonOption, console, machine, report
from components.image_example_gen.near_duplicates.find import find_copies
from components.image_example_gen.near_duplicates.sketch import SIDE_PX, Sketch, sketch_of

_QUICK_PHOTOS = 100
_QUICK_PICTURES = 2_000
_CUT_PX = 160
_STRIDE_PX = 40
# Cuts of less contrast show a bit of sky.
_FLAT_LEVELS = 30


def main(
    images: Annotated[
        Path | None, typer.Option(help="Folder of photographs; by default cuts of two of them.")
    ] = None,
    pictures: Annotated[int, typer.Option(help="Random pictures to search.")] = 50_000,
    quick: Annotated[bool, typer.Option("--quick", help="Fewer of both.")] = False,
    json: JsonOption = None,
) -> None:
    """Plants near-copies of photographs and looks for them."""
    host = machine()
    names, photos = _photos(images, _QUICK_PHOTOS if quick else None)
    rows, (alike, _) = zip(*(_planted(photos, mirrored) for mirrored in (False, True)), strict=True)
    scale = _searched(_QUICK_PICTURES if quick else pictures)
    pairs = [(names[one], names[other]) for one, other in alike]
    details = {**rows[0], **scale, "pairs_of_photographs": pairs}
    report("near_duplicates", f"{len(photos)} photographs", rows, details, host, json)
    console.print(f"{scale['pictures']:,} random pictures: {scale['search_seconds']:.1f} s")
    for one, other in pairs:
        console.print(f"alike: {one} and {other}", soft_wrap=True)


def _photos(folder: Path | None, most: int | None) -> tuple[list[str], list[Image.Image]]:
    if folder is None:
        cuts = _cuts()[:most]
        return [f"cut {number}" for number in range(len(cuts))], cuts
    found = sorted(path for path in folder.rglob("*.*") if path.is_file())
    paths = found[:: max(1, len(found) // most)] if most else found
    return [str(path) for path in paths], [Image.open(path).convert("RGB") for path in paths]


def _cuts() -> list[Image.Image]:
    cuts = [
        Image.fromarray(photo[top : top + _CUT_PX, left : left + _CUT_PX])
        for photo in load_sample_images().images
        for top in range(0, photo.shape[0] - _CUT_PX + 1, _STRIDE_PX)
        for left in range(0, photo.shape[1] - _CUT_PX + 1, _STRIDE_PX)
    ]
    return [cut for cut in cuts if np.asarray(cut.convert("L")).std() > _FLAT_LEVELS]


def _planted(
    photos: list[Image.Image], mirrored: bool
) -> tuple[dict[str, Any], list[tuple[int, int]]]:
    """Plants copies: the figures, and which of the photographs themselves are pairs."""
    random = np.random.default_rng(0)
    kinds = {**_KINDS, **({"mirrored": _mirrored} if mirrored else {})}
    originals = [_sketch(photo) for photo in photos]
    copies = [_sketch(copy(photo, random)) for copy in kinds.values() for photo in photos]
    pairs = find_copies([*originals, *copies], mirrored, every_pair=True)
    recall = {kind: _recall(pairs, place, len(photos)) for place, kind in enumerate(kinds, 1)}
    real = {(one, other) for one, other in pairs.tolist() if other < len(photos)}
    photo_of = pairs % len(photos)
    different = photo_of[photo_of[:, 0] != photo_of[:, 1]].tolist()
    false = sum(tuple(sorted(pair)) not in real for pair in different)
    together = [_sketch(_all_together(photo, random)) for photo in photos]
    row = {
        "mirrored": mirrored,
        "recall": sum(recall.values()) / len(recall),
        "false_pairs": false / max(1, len(pairs)),
        **{f"recall: {kind}": share for kind, share in recall.items()},
        "recall: all four": _recall(find_copies([*originals, *together]), 1, len(photos)),
        "pairs": len(pairs),
    }
    return row, sorted(real)


def _recall(pairs: np.ndarray, place: int, count: int) -> float:
    """Share of photographs that are a pair with the copy that stands `place` times behind."""
    own = (pairs[:, 0] < count) & (pairs[:, 1] == pairs[:, 0] + place * count)
    return int(own.sum()) / count


def _sketch(photo: Image.Image) -> Sketch | None:
    return sketch_of(photo.resize((SIDE_PX, SIDE_PX), Image.Resampling.BOX).tobytes())


_Copy = Callable[[Image.Image, np.random.Generator], Image.Image]


def _resized(photo: Image.Image, _: np.random.Generator) -> Image.Image:
    return photo.resize((int(photo.width * 0.6), int(photo.height * 0.6)))


def _recompressed(photo: Image.Image, _: np.random.Generator) -> Image.Image:
    buffer = io.BytesIO()
    photo.save(buffer, "JPEG", quality=40)
    return Image.open(buffer).convert("RGB")


def _cropped(photo: Image.Image, random: np.random.Generator) -> Image.Image:
    width, height = int(photo.width * 0.95), int(photo.height * 0.95)
    left = int(random.integers(0, photo.width - width + 1))
    top = int(random.integers(0, photo.height - height + 1))
    return photo.crop((left, top, left + width, top + height))


def _brightened(photo: Image.Image, random: np.random.Generator) -> Image.Image:
    return ImageEnhance.Brightness(photo).enhance(float(random.choice([0.75, 1.25])))


def _all_together(photo: Image.Image, random: np.random.Generator) -> Image.Image:
    return _recompressed(_brightened(_cropped(_resized(photo, random), random), random), random)


def _mirrored(photo: Image.Image, _: np.random.Generator) -> Image.Image:
    return ImageOps.mirror(photo)


_KINDS: dict[str, _Copy] = {
    "resized": _resized,
    "recompressed": _recompressed,
    "cropped": _cropped,
    "brightness": _brightened,
}


def _searched(count: int) -> dict[str, Any]:
    """Seconds to draw and to search smooth random pictures, of which one in ten is a copy."""
    random = np.random.default_rng(0)
    started = time.monotonic()
    sketches: list[Sketch | None] = []
    for _ in range(count):
        coarse = random.integers(0, 256, [6, 6, 3], "uint8")
        smooth = Image.fromarray(coarse).resize((SIDE_PX, SIDE_PX), Image.Resampling.BICUBIC)
        is_copy = sketches and random.random() < 0.1
        sketches.append(sketches[-1] if is_copy else sketch_of(smooth.tobytes()))
    drawn = time.monotonic()
    pairs = find_copies(sketches)
    return {
        "pictures": count,
        "sketch_seconds": drawn - started,
        "search_seconds": time.monotonic() - drawn,
        "pairs_of_pictures": len(pairs),
    }


if __name__ == "__main__":
    typer.run(main)
