"""Small helpers for files. Imports nothing heavy."""

import hashlib
import os
from pathlib import Path


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


def write_replacing(path: Path, text: str) -> None:
    """Writes a local text file in UTF-8; an older one stays until the new one is complete."""
    partial = path.with_suffix(".partial")
    partial.write_text(text, encoding="utf-8")
    os.replace(partial, path)
