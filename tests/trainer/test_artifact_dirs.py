"""Where a node keeps what its next execution is to find again."""

import pytest

from trainer.artifact_dirs import node_dir


@pytest.mark.parametrize(
    ("artifact", "node"),
    [
        ("/out/artifacts/Tuner/tuner_results/7", "/out/artifacts/Tuner"),
        ("/out/artifacts/Tuner/tuner_results/7/", "/out/artifacts/Tuner"),
        (
            "gs://bucket/root/birds/RUN/Tuner/0b5a3cf0-16a1-4d2e-9d6a-4b1a0c6cbd6e/model",
            "gs://bucket/root/birds/RUN/Tuner",
        ),
        ("gs://bucket/root/1/JOB/HeadTrainer_-5/model", "gs://bucket/root/1/JOB/HeadTrainer_-5"),
    ],
)
def test_it_is_beside_the_nodes_outputs_wherever_it_runs(artifact, node):
    assert node_dir(artifact) == node
