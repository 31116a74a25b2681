"""A small example dataset that needs no download: scikit-learn's digits as PNG class folders."""

from pathlib import Path

from trainer.errors import ThawError

SIDE_PX = 64

_MARK = ".thaw-sample-images"


class SamplesError(ThawError):
    """The images cannot be written. The message says why."""


def write_sample_images(directory: Path, per_class: int | None = None) -> int:
    """Writes the 1,797 scanned digits of scikit-learn, enlarged from 8×8 to 64×64 pixels.

    Images that an earlier call wrote are replaced.

    Example:
      write_sample_images(Path("digits"), per_class=30)

    Args:
      directory: where the folders `0` to `9` are created, each with `0000.png` and so on.
      per_class: number of images per class; None writes all of them (174 to 183).

    Returns:
      The number of images written.

    Raises:
      SamplesError: if the folder contains other files, or `per_class` is below 1.
    """
    if per_class is not None and per_class < 1:
        raise SamplesError(
            f"--per-class {per_class}: the number of images per class must be 1 or more."
        )
    if directory.exists() and not directory.is_dir():
        raise SamplesError(f"{directory}: is a file. Choose a folder.")
    if directory.exists() and any(directory.iterdir()) and not (directory / _MARK).exists():
        raise SamplesError(f"{directory}: is not empty. Choose a new folder.")
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
        # The scans have 17 grey levels: 0 is paper, 16 is ink.
        scan = Image.fromarray((255 - pixels * 255 / 16).astype("uint8"))
        enlarged = scan.resize((SIDE_PX, SIDE_PX), Image.Resampling.BICUBIC)
        enlarged.save(folder / f"{number:04d}.png")
    return sum(written.values())
