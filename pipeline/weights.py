"""What is known of a weights file without reading it as weights."""

import os

from trainer.files import sha256_of_file


def weights_fingerprint(weights: str) -> str:
    """SHA-256 of a local weights file; empty for `imagenet`, `random` and remote files."""
    path = os.path.expanduser(weights)
    return sha256_of_file(path) if os.path.isfile(path) else ""
