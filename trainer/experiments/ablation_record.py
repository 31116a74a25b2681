"""What an ablation leaves. Light to import."""

from dataclasses import dataclass, field

from trainer.records import Record

HEAD_ONLY, BOTH_FITS, SINGLE_FIT = "head_only", "both_fits", "single_fit"
VARIANTS = (HEAD_ONLY, BOTH_FITS, SINGLE_FIT)


@dataclass(frozen=True)
class SeedResult(Record):
    """What one seed gave.

    Attributes:
      seed: of the head's first weights and of the order of the images.
      accuracy: variant -> on the test images, 0 to 1.
      epochs: variant -> how many its last fit took.
      similarity: variant -> linear CKA of the pooled vectors of validation before and after
        training, 0 to 1; 1: the blocks above the boundary give what they gave before.
      gradient_fresh: mean norm of the loss's gradient by the pooled vector of a training image,
        under a head with random weights: what enters the blocks above the boundary at step 0.
      gradient_warmed: the same under the head that fit 1 leaves.
    """

    seed: int
    accuracy: dict[str, float]
    epochs: dict[str, int]
    similarity: dict[str, float]
    gradient_fresh: float
    gradient_warmed: float


@dataclass(frozen=True)
class AblationRecord(Record):
    """All seeds.

    Attributes:
      digest: of data and settings; with others the results do not hold.
      test_images: number of test images.
      results: one for each seed.
    """

    digest: str
    test_images: int
    results: list[SeedResult] = field(default_factory=list)
