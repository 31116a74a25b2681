"""Small helpers for files. Imports nothing heavy."""

import hashlib


def sha256_of_file(path: str) -> str:
    """SHA-256 of a local file's bytes, in hexadecimal.

    Raises:
      OSError: if it cannot be read.
    """
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(2**20):
            digest.update(block)
    return digest.hexdigest()
