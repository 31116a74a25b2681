"""Real images for a first try, offline: scikit-learn's digits as PNG class folders."""

from pathlib import Path

from trainer.errors import ThawError

SIDE_PX = 64

_MARK = ".thaw-sample-images"


class SamplesError(ThawError):
    """The folder cannot be filled; the message says why."""


def write_sample_images(directory: Path, per_class: int | None = None) -> int:
    """Writes the 1,797 scanned digits of scikit-learn, 8×8 enlarged to 64×64.

    Writing again, with whatever number, replaces the folder's images.

    Args:
      directory: gets the folders `0` to `9` of `0000.png` and so on.
      per_class: how many of each class; None: all (174 to 183).

    Returns:
      How many images were written.

    Raises:
      SamplesError: if the folder holds something else, or `per_class` is too small.
    """
    if per_class is not None and per_class < 1:
        raise SamplesError(f"--per-class {per_class}: at least 1 image of each class.")
    if directory.exists() and not directory.is_dir():
        raise SamplesError(f"{directory}: is a file. Give a folder.")
    if directory.exists() and any(directory.iterdir()) and not (directory / _MARK).exists():
        raise SamplesError(f"{directory}: is not empty. Give a new folder.")
    from PIL import Image
    from sklearn.datasets import load_digits

    directory.mkdir(parents=True, exist_ok=True)
    (directory / _MARK).touch()
    for old in directory.glob("*/*.png"):
        old.unlink()
    digits = load_digits()
    written = dict.fromkeys(range(10), 0)
    for pixels, label in zip(digits.images, digits.target, strict=True):
        number = written[int(label)]
        if per_class is not None and number >= per_class:
            continue
        written[int(label)] += 1
        folder = directory / str(label)
        folder.mkdir(exist_ok=True)
        # The scans have 17 grey levels, 0 to 16, ink being high.
        scan = Image.fromarray((255 - pixels * 255 / 16).astype("uint8"))
        enlarged = scan.resize((SIDE_PX, SIDE_PX), Image.Resampling.BICUBIC)
        enlarged.save(folder / f"{number:04d}.png")
    return sum(written.values())
