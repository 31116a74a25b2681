"""What is known of a weights file without reading it as weights."""

import hashlib
import os


def weights_fingerprint(weights: str) -> str:
    """SHA-256 of a local weights file; empty for `imagenet`, `random` and remote files."""
    path = os.path.expanduser(weights)
    if not os.path.isfile(path):
        return ""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(2**20):
            digest.update(block)
    return digest.hexdigest()
