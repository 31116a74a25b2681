"""Beam's options in a compiled pipeline: arguments of the containers that run Beam."""

from typing import Any

import pytest

from pipeline.cluster.target import Target
from pipeline.config.beam import BeamNodes
from pipeline.config.cluster import NODES

from .conftest import COMMON, VERTEX, compiled, needs_kfp
from .specs import container_of, read_kubeflow, read_vertex

pytestmark = [pytest.mark.slow, needs_kfp]

BEAM = (
    "beam.options=[--runner=DataflowRunner, --region=europe-west4]",
    "beam.nodes.Evaluator=[--runner=DirectRunner]",
)


def containers(target: Target, *options: str) -> dict[str, Any]:
    kubeflow = target is Target.KUBEFLOW
    text = compiled((*(COMMON if kubeflow else VERTEX), *options), target)
    spec, _ = (read_kubeflow if kubeflow else read_vertex)(text)
    return {node: container_of(spec, node) for node in NODES if node in spec.root.dag.tasks}


@pytest.mark.parametrize("target", Target)
def test_containers_of_beam_nodes_get_the_options_and_others_stay_as_they_are(target):
    plain, changed = containers(target), containers(target, *BEAM)

    for node, container in changed.items():
        added = [arg for arg in container.args if arg not in plain[node].args]
        own = ["--runner=DirectRunner"] if node == "Evaluator" else []
        all_of_them = ["--runner=DataflowRunner", "--region=europe-west4"]
        assert added == ([*all_of_them, *own] if node in BeamNodes.model_fields else [])
        if not added:
            assert container == plain[node], "what its cache depends on has changed"
