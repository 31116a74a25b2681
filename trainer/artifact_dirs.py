"""Folders that are found from an artifact's address: the one place that every layout shares.

What TFX gives a node as a temporary folder is beside the file in which the node reports its
outputs. On Kubeflow Pipelines that is in the node's own pod (`/tmp/kfp_outputs`, from 2.15 on
`/gcs/…`): other pods cannot write there, and it is gone when the pod is.
"""

import os
import re

STATE_FOLDER = ".system"
"""Below a node's folder: what it needs to resume."""

# Kubeflow Pipelines puts a new one below a task's folder whenever its driver runs again
# (`uuid.NewString()` for `provisionOutputs` in backend/src/v2/driver/container.go).
_SALT = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def node_dir(artifact_uri: str) -> str:
    """The folder of a node, which every worker and every retry can reach.

    TFX numbers the executions of a local run, `<node>/model/7`; on Vertex AI an output is at
    `<task of this run>/model`, on Kubeflow Pipelines at `<task of this run>/<salt>/model`, where
    the salt changes when a task is retried from its beginning.
    """
    uri = artifact_uri.rstrip("/")
    if os.path.basename(uri).isdigit():
        uri = os.path.dirname(uri)
    folder = os.path.dirname(uri)
    return os.path.dirname(folder) if _SALT.fullmatch(os.path.basename(folder)) else folder
