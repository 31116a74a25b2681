"""Folders that are found from an artifact's address: the one place that every layout shares.

What TFX gives a node as a temporary folder is beside the file in which the node reports its
outputs. On Kubeflow Pipelines that is in the node's own pod (`/tmp/kfp_outputs`, from 2.15 on
`/gcs/…`): other pods cannot write there, and it is gone when the pod is.
"""

import os


def node_dir(artifact_uri: str) -> str:
    """The folder that holds a node's outputs, which every worker and every retry can reach.

    TFX numbers the executions of a local run, `<node>/model/7`; on Kubeflow and Vertex an
    output is at `<task of this run>/model`.
    """
    uri = artifact_uri.rstrip("/")
    if os.path.basename(uri).isdigit():
        uri = os.path.dirname(uri)
    return os.path.dirname(uri)
