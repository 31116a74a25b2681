"""What makes a task of a compiled pipeline run again on Kubeflow, and what does not."""

import pytest

from pipeline.cluster.target import Target

from .cache_key import cache_keys
from .conftest import GROUPS, compiled, needs_kfp

pytestmark = [pytest.mark.slow, needs_kfp]

WATCHED = (*GROUPS, "cluster.launcher={namespace: a}")


@pytest.fixture(scope="module")
def watched_keys():
    return cache_keys(compiled(WATCHED, Target.KUBEFLOW))


@pytest.mark.parametrize(
    "change",
    [
        "train.start_secs=5",
        "train.stall_secs=5",
        "train.max_restarts=9",
        "cluster.launcher={namespace: b, keep_secs: 1, pending_secs: 2, deadline_secs: 3, "
        "api_retry_secs: 4, grace_secs: 5, labels: {queue: mine}, spot: gke, workload: jobset}",
        "cluster.resources.FineTuner={accelerator: nvidia.com/gpu, accelerator_count: 2, "
        "image: 'example/thaw:1-gpu', claims: {/data: photos}, cpu: 16, memory: 64Gi}",
    ],
)
def test_no_node_runs_again_for_how_workers_are_placed_and_watched(change, watched_keys):
    assert cache_keys(compiled((*WATCHED, change), Target.KUBEFLOW)) == watched_keys


@pytest.mark.parametrize(
    ("change", "tasks"),
    [
        # The folds repeat fit 2.
        ("fits.fine_tune.max_epochs=9", {"FineTuner", "CrossFitter"}),
        ("cluster.resources.FineTuner.image=example/thaw:2", {"FineTuner"}),
        ("cluster.resources.FineTuner.env={XLA_FLAGS: '--fast'}", {"FineTuner"}),
        ("cluster.resources.FineTuner.accelerator_count=4", {"FineTuner"}),
    ],
)
def test_a_fit_runs_again_for_what_its_result_depends_on(change, tasks, watched_keys):
    changed = cache_keys(compiled((*WATCHED, change), Target.KUBEFLOW))

    assert {task for task, key in changed.items() if key != watched_keys[task]} == tasks
