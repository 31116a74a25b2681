"""How much the images of each class count in the losses."""

from collections.abc import Mapping

from trainer import keys
from trainer.data.card import DataCard
from trainer.errors import ThawError

NONE, BALANCED = "none", "balanced"


def class_weights(setting: str | Mapping[str, float], card: DataCard) -> tuple[float, ...]:
    """Returns the weight of each class, by label id; empty where all images count alike.

    Example:
      >>> card = DataCard("photos", "", {"train": {"cat": 30, "dog": 10}})
      >>> class_weights("balanced", card)
      (0.6666666666666666, 2.0)

    Args:
      setting: `none`; `balanced`: n / (k · n_c) for n training images of k classes, n_c of them
        of the class, as in scikit-learn's `compute_class_weight`, so that every class has the same
        share of the loss and the weights of all training images add up to n; or the weights of
        some classes by name, 1 for the others.
      card: of the examples; its training images are counted.

    Raises:
      ThawError: if a class that is named is not among the examples.
    """
    if setting == NONE:
        return ()
    if isinstance(setting, str):
        counts = card.counts[keys.TRAIN]
        total = card.num_examples(keys.TRAIN)
        return tuple(total / (len(card.labels) * counts[label]) for label in card.labels)
    unknown = sorted(set(setting) - set(card.labels))
    if unknown:
        raise ThawError(
            f"there is no class {', '.join(unknown)}. The classes are {', '.join(card.labels)}.",
            where="train.class_weights",
            to_do="Correct the names and run the same command again.",
        )
    return tuple(float(setting.get(label, 1.0)) for label in card.labels)
