"""What an ablation found, as command and report show it."""

from pathlib import Path

import numpy as np
import pytest
from scipy import stats
from typer.testing import CliRunner

from pipeline.cli.main import app
from pipeline.report.ablation import digest_of, read_ablation, summarize, write_ablation
from pipeline.report.page import build_report
from pipeline.report.run_record import RunRecord
from trainer.errors import ThawError
from trainer.experiments.ablation_record import VARIANTS, AblationRecord, SeedResult

from .hand_made import a_run, write_run


def result(seed: int, *accuracies: float) -> SeedResult:
    return SeedResult(
        seed=seed,
        accuracy=dict(zip(VARIANTS, accuracies, strict=True)),
        epochs=dict.fromkeys(VARIANTS, 4 + seed),
        similarity=dict(zip(VARIANTS, (1.0, 0.98, 0.6), strict=True)),
        gradient_fresh=12.0,
        gradient_warmed=2.0 + seed,
    )


RECORD = AblationRecord(
    "digest", 50, [result(0, 0.7, 0.8, 0.75), result(1, 0.72, 0.84, 0.7), result(2, 0.7, 0.82, 0.8)]
)


def test_means_have_the_interval_of_student_t_over_seeds():
    found = summarize(RECORD)

    both = found.variants[1]
    interval = stats.t.interval(0.95, 2, 0.82, stats.sem([0.8, 0.84, 0.82]))
    assert both.accuracy == pytest.approx(0.82)
    assert (both.low, both.high) == pytest.approx(interval)
    assert found.gradient_ratio == pytest.approx(np.mean([12 / 2, 12 / 3, 12 / 4]))
    p_value = stats.ttest_1samp([0.05, 0.14, 0.02], 0).pvalue
    assert "+7.0 points on average, better in 3 of 3 seeds" in found.sentence
    assert f"(p = {p_value:.3f})" in found.sentence
    assert "can be due to chance" in found.sentence


def test_one_seed_has_no_interval_and_says_so():
    found = summarize(AblationRecord("digest", 50, RECORD.results[:1]))

    assert found.variants[0].low is None
    assert "One seed says little" in found.sentence


def real_run() -> dict:
    """A run whose config this version reads."""
    run = a_run()
    run["config"] = {"name": "birds", "data": {"images": "/photos"}}
    return run


def test_report_shows_it_only_for_the_run_that_it_is_of(tmp_path):
    run = real_run()
    digest = digest_of(RunRecord.model_validate(run))
    write_run(tmp_path, run)
    write_ablation(AblationRecord(digest, 50, RECORD.results), tmp_path)

    page = build_report(tmp_path).read_text()
    run["data"]["fingerprint"] = "0" * 64
    other = build_report(write_run(tmp_path, run)).read_text()

    assert "Why two fits, on these images" in page
    assert "<td>both fits</td><td>82.0%</td>" in page
    assert "Why two fits, on these images" not in other


def test_another_rate_is_another_ablation():
    run = real_run()
    other = real_run()
    other["config"]["fits"] = {"fine_tune": {"learning_rate": 0.5}}

    digests = [digest_of(RunRecord.model_validate(one)) for one in (run, other)]

    assert digests[0] != digests[1]


def test_damaged_file_is_named(tmp_path):
    (tmp_path / "ablation.json").write_text("{}")

    with pytest.raises(ThawError, match=r"ablation\.json: is not a AblationRecord"):
        read_ablation(tmp_path, "digest")


@pytest.mark.parametrize(
    ("prepare", "code", "said"),
    [
        (lambda folder: None, 2, "run.json: cannot be read"),
        (lambda folder: write_run(folder, real_run()), 1, "features of the trunk are gone"),
    ],
)
def test_folder_that_nothing_can_be_ablated_in_is_one_sentence(tmp_path, prepare, code, said):
    prepare(Path(tmp_path))

    done = CliRunner().invoke(app, ["ablate", str(tmp_path)])

    assert done.exit_code == code
    assert said in " ".join(done.output.split())
