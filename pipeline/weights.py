"""What is known of a weights file without reading it as weights."""

import hashlib
import os


def weights_fingerprint(weights: str) -> str:
    """SHA-256 of a local weights file; empty for `imagenet`, `random` and remote files."""
    path = os.path.expanduser(weights)
    if not os.path.isfile(path):
        return ""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
