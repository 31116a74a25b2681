"""Recognizes what kind of source a path names."""

import os

from components.image_example_gen.sources import archive, manifest
from components.image_example_gen.sources.archive import Archive
from components.image_example_gen.sources.entry import Source
from components.image_example_gen.sources.folder import Folder
from components.image_example_gen.sources.manifest import Manifest
from components.image_example_gen.sources.tfrecord import (
    USUAL_KEYS,
    RecordKeys,
    TFRecords,
    record_files,
)
from trainer.data.regular_files import DEFAULT_MAX_FILE_BYTES
from trainer.store.uris import is_remote


def find_source(
    path: str,
    work_dir: str = "",
    max_file_bytes: int = DEFAULT_MAX_FILE_BYTES,
    record_keys: RecordKeys = USUAL_KEYS,
) -> Source:
    """Returns the source that `data.images` names: by the ending of a file, or a folder.

    Args:
      path: local, or on a file system that TFX reads.
      work_dir: an empty local folder that archives and records are unpacked into; not needed to
        look at `Source.files` alone.
      max_file_bytes: larger files in them are rejected.
      record_keys: names of the features of records.
    """
    if files := record_files(path):
        return TFRecords(tuple(files), work_dir, max_file_bytes, record_keys)
    if not is_remote(path) and os.path.isdir(path):
        return Folder(path)
    name = path.lower()
    if name.endswith(manifest.ENDINGS):
        return Manifest(path)
    if name.endswith(archive.ENDINGS):
        return Archive(path, work_dir, max_file_bytes)
    return Folder(path)


def is_unpacked(path: str) -> bool:
    """Whether a source is unpacked before it is read."""
    return path.lower().endswith(archive.ENDINGS) or bool(record_files(path))
