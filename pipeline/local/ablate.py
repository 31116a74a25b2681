"""Runs an ablation on what a run has left: its features, its weights, its config."""

import os
from collections.abc import Callable
from pathlib import Path

from pipeline.report.ablation import arguments_of, digest_of, read_ablation, write_ablation
from pipeline.report.run_record import RunRecord
from trainer import keys
from trainer.data.card import read_card
from trainer.errors import ThawError
from trainer.experiments.ablate import run_seed
from trainer.experiments.ablation_record import AblationRecord, SeedResult
from trainer.experiments.both_fits import BothFits
from trainer.model.trunk import BACKBONE_FILE


def run_ablation(
    run: RunRecord, output_dir: Path, seeds: int, on_seed: Callable[[SeedResult], None]
) -> AblationRecord:
    """Runs all variants over seeds; those that an earlier ablation has finished are kept.

    Args:
      run: of the output folder.
      output_dir: where `ablation.json` is written after every seed.
      seeds: how many.
      on_seed: called with each new result.

    Raises:
      ThawError: if the run kept no features, or they are gone.
    """
    features, trunk = run.uri("TrunkFeatures", "features"), run.uri("TrunkFeatures", "trunk")
    if not features or not os.path.isdir(features):
        raise ThawError(
            "the features of the trunk are gone, or were never kept (features.cache).",
            where=features or str(output_dir),
            to_do="Run the same command again with features.cache: true.",
        )
    card = read_card(features)
    head, fine_tune = arguments_of(run)
    fits = BothFits(head, fine_tune, os.path.join(trunk, BACKBONE_FILE))
    files = {
        split: [os.path.join(features, keys.split_folder(split), "*")]
        for split in (keys.TRAIN, keys.VAL, keys.TEST)
    }
    digest = digest_of(run)
    record = read_ablation(output_dir, digest)
    record = record or AblationRecord(digest, card.num_examples(keys.TEST))
    for seed in range(head.seed, head.seed + seeds):
        if any(one.seed == seed for one in record.results):
            continue
        found = run_seed(fits.with_seed(seed), card, files)
        record = AblationRecord(record.digest, record.test_images, [*record.results, found])
        write_ablation(record, output_dir)
        on_seed(found)
    return record
