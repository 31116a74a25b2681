"""Chooses the client of a target."""

from pipeline.cluster.client import ClusterClient
from pipeline.cluster.target import Target
from pipeline.config.schema import Config


def connect(config: Config, target: Target, submits: bool = False) -> ClusterClient:
    """A client that is logged in.

    Args:
      config: section `cluster` is read.
      target: which service.
      submits: whether runs will be started, which need more than those that are looked at.

    Raises:
      ClusterError: see the `connect` of each client.
    """
    # Late: each brings libraries that take seconds to import.
    if target is Target.KUBEFLOW:
        from pipeline.cluster import kubeflow_client

        return kubeflow_client.connect(config)
    from pipeline.cluster import vertex_client

    return vertex_client.connect(config, submits)
