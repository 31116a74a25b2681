"""What every worker of a worker group runs: its part in one execution of a node.

    python -m launchers.worker REQUEST_URI

`TF_CONFIG` says who this worker is. In a pod of an Indexed Job it is made from what
Kubernetes tells the pod.
"""

import os
import sys
from collections.abc import Sequence

import trainer  # noqa: F401 - chooses the Keras before anything imports TensorFlow
from launchers.request import Request, read_request
from trainer.process import tf_config
from trainer.store import uris

TF_CONFIG = "TF_CONFIG"


def main(arguments: Sequence[str]) -> None:
    """Takes part in the execution that a request describes."""
    (request_uri,) = arguments
    if not os.environ.get(TF_CONFIG):
        from launchers.kubernetes import indexed_job

        config = indexed_job.tf_config(os.environ)
        if config:
            os.environ[TF_CONFIG] = config
    if uris.is_s3(request_uri):
        import launchers.s3_files  # noqa: F401 - has TFX read and write S3
    request = read_request(request_uri)
    if uris.from_environment().kind is uris.Kind.STAGED:
        _run_on_local_copies(request)
    else:
        request.run()


def _run_on_local_copies(request: Request) -> None:
    from launchers.staging import on_local_copies

    with on_local_copies(request, is_chief=tf_config.own_index(os.environ) == 0):
        request.run()


if __name__ == "__main__":
    main(sys.argv[1:])
