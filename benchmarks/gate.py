"""How often the gate promotes a model that is no better, and how often one that is.

    .venv/bin/python -m benchmarks.gate

Pairs of models are drawn that answer test images alike or not; the gate's own code judges them.
With no true gain, the share of promotions must be at most alpha (0.05) for 50 to 5,000 test images,
50 to 99 % of which both models judge alike, each image by itself or in groups whose images share
their fate. Beside it stands a plain threshold (any gain promotes), as TFMA has it, and a test that
takes grouped images for single ones. With a true gain, the power is that of the test images.

Twenty candidates without a gain are judged by one test split, with gate.reuse: warn and spend:
`false_promotion_20_looks_warn` and `…_spend` are the shares of such rows that promote any.

`false_promotion_max` is the largest share over all cases, with an error of simulation of about
0.003 for 4,000 draws; `power_3pt_1000_at_10pct` the share of promotions with a gain of 3 points on
1,000 images of which 10 % are judged differently.
"""

from typing import Annotated, Any

import numpy as np
import typer

from benchmarks.common import JsonOption, machine, report
from components.gate.judge import passes_choice
from components.gate.ledger import spend
from components.gate.rule import GateRule
from components.gate.statistics import Pairs, power, sign_flip_p_value

_IMAGES = (50, 150, 500, 1_000, 5_000)
_AGREEMENTS = (0.5, 0.8, 0.9, 0.95, 0.99)
_GAINS = (0.01, 0.02, 0.03, 0.05)
_LARGEST_GROUP = 5
_DRAWS, _QUICK_DRAWS = 4_000, 400
_LOOKS = 20
_RULE = GateRule()


def main(
    draws: Annotated[int, typer.Option(min=1, help="Pairs of models a case.")] = _DRAWS,
    quick: Annotated[bool, typer.Option("--quick", help="A tenth of them.")] = False,
    json: JsonOption = None,
) -> None:
    """Draws pairs of models and counts promotions."""
    host = machine()
    count = _QUICK_DRAWS if quick else draws
    random = np.random.default_rng(0)
    rows = [
        _false_promotions(random, images, agreement, grouped, count)
        for grouped in (False, True)
        for images in _IMAGES
        for agreement in _AGREEMENTS
    ]
    looks = {rule: _twenty_looks(random, rule, max(1, count // 4)) for rule in ("warn", "spend")}
    powers = [_power(random, 1_000, 0.9, gain, count) for gain in _GAINS]
    details = {
        "false_promotion_max": max(row["gate"] for row in rows),
        "plain_threshold_max": max(row["plain_threshold"] for row in rows),
        "groups_ignored_max": max(row["groups_ignored"] for row in rows),
        "power_3pt_1000_at_10pct": next(row["gate"] for row in powers if row["gain"] == 0.03),
        "power": powers,
        "false_promotion_20_looks_warn": looks["warn"],
        "false_promotion_20_looks_spend": looks["spend"],
        "draws": count,
    }
    report("gate", "promotions without a gain", rows, details, host, json)


def _false_promotions(
    random: np.random.Generator, images: int, agreement: float, grouped: bool, draws: int
) -> dict[str, Any]:
    promoted = plain = ungrouped = 0
    for _ in range(draws):
        pairs = _draw(random, images, 1 - agreement, 0.0, grouped)
        promoted += _passes(pairs)
        plain += pairs.gain > 0
        alone = Pairs(pairs.baseline, pairs.candidate, np.arange(images))
        ungrouped += _passes(alone) if grouped else 0
    return {
        "images": images,
        "agreement": agreement,
        "grouped": grouped,
        "gate": promoted / draws,
        "plain_threshold": plain / draws,
        "groups_ignored": ungrouped / draws,
    }


def _twenty_looks(random: np.random.Generator, rule: str, draws: int) -> float:
    """Share of twenty candidates without a gain, judged by the same images, that one passes."""
    promoted = 0
    for _ in range(draws):
        left, passed = _RULE.alpha, False
        for _ in range(_LOOKS):
            alpha = _RULE.alpha
            if rule == "spend":
                alpha, left = spend(left)
            pairs = _draw(random, 1_000, 0.1, 0.0, grouped=False)
            passed |= _passes(pairs, alpha)
        promoted += passed
    return promoted / draws


def _power(
    random: np.random.Generator, images: int, agreement: float, gain: float, draws: int
) -> dict[str, Any]:
    pairs = (_draw(random, images, 1 - agreement, gain, grouped=False) for _ in range(draws))
    return {
        "images": images,
        "agreement": agreement,
        "gain": gain,
        "gate": sum(_passes(one) for one in pairs) / draws,
        "theory": power(images, 1 - agreement, gain, _RULE.alpha),
    }


def _passes(pairs: Pairs, alpha: float = _RULE.alpha) -> bool:
    return passes_choice(pairs.gain, sign_flip_p_value(pairs.by_group()), _RULE, alpha)


def _draw(
    random: np.random.Generator, images: int, discordance: float, gain: float, grouped: bool
) -> Pairs:
    """Two models' answers; the images of a group share theirs."""
    groups = np.arange(images)
    if grouped:
        sizes = random.integers(1, _LARGEST_GROUP + 1, images)
        groups = np.repeat(np.arange(images), sizes)[:images]
    chance = random.random(images)[groups]
    candidate_only = chance < (discordance + gain) / 2
    baseline_only = (chance >= (discordance + gain) / 2) & (chance < discordance)
    both = random.random(images)[groups] < 0.8
    return Pairs(
        both & ~candidate_only | baseline_only, both & ~baseline_only | candidate_only, groups
    )


if __name__ == "__main__":
    typer.run(main)
