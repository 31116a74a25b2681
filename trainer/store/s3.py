"""Files in stores that speak S3, through Arrow's file system.

Access is configured as for Amazon's own tools. The credentials are those of the environment
(`AWS_ACCESS_KEY_ID`, …), of a profile, of the pod's service account (IRSA, Pod Identity) or of
the machine, in this order. `AWS_ENDPOINT_URL_S3` or `AWS_ENDPOINT_URL` names a server of one's
own, `AWS_REGION` its region, and `SSL_CERT_FILE` certificates besides the system's.
"""

import functools
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

from trainer.errors import ThawError
from trainer.store.uris import bucket_path

_ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")
_ATTEMPTS = 8
_CHUNK_BYTES = 8 * 2**20


class StoreError(ThawError):
    """A store cannot be read from or written to; the message says what to do."""


@functools.lru_cache(maxsize=1)
def _filesystem() -> Any:
    """Arrow's client. Imported late: a node that needs none starts without it."""
    from pyarrow import fs

    endpoint = next((os.environ[name] for name in _ENDPOINTS if os.environ.get(name)), None)
    chosen: dict[str, str] = {}
    if endpoint:
        address = urlsplit(endpoint)
        chosen = {"endpoint_override": address.netloc, "scheme": address.scheme}
    region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    if region:
        chosen["region"] = region
    return fs.S3FileSystem(
        retry_strategy=fs.AwsStandardS3RetryStrategy(max_attempts=_ATTEMPTS), **chosen
    )


@contextmanager
def _naming(uri: str, doing: str) -> Iterator[None]:
    """Makes the client's errors errors for the user; a missing file stays one.

    Raises:
      FileNotFoundError: if there is no such file or bucket.
      StoreError: for all else.
    """
    try:
        yield
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{uri}: there is no such file.") from error
    except OSError as error:
        raise StoreError(
            f"cannot be {doing}: {error}",
            where=uri,
            to_do="Check the endpoint, the region and the credentials of cluster.store, and "
            "that they may read, write and list this bucket.",
        ) from error


def read_bytes(uri: str, max_bytes: int | None = None) -> bytes:
    """A file's content, or its first `max_bytes`.

    Raises:
      FileNotFoundError: if there is no such file.
      StoreError: if it cannot be read for another reason.
    """
    with _naming(uri, "read"), _filesystem().open_input_stream(bucket_path(uri)) as file:
        return bytes(file.read(max_bytes) if max_bytes is not None else file.read())


def write_bytes(uri: str, content: bytes) -> None:
    """Writes a file; readers see all of it or none.

    Raises:
      StoreError: if that fails.
    """
    with _naming(uri, "written"), _filesystem().open_output_stream(bucket_path(uri)) as file:
        file.write(content)


def is_file(uri: str) -> bool:
    """Whether there is a file of this name."""
    return bool(_info(uri).is_file)


def is_dir(uri: str) -> bool:
    """Whether there are files below this name."""
    from pyarrow import fs

    return bool(_info(uri).type == fs.FileType.Directory)


def size_bytes(uri: str) -> int:
    """A file's size.

    Raises:
      FileNotFoundError: if there is no such file.
    """
    info = _info(uri)
    if not info.is_file:
        raise FileNotFoundError(f"{uri}: there is no such file.")
    return int(info.size)


def _info(uri: str) -> Any:
    with _naming(uri, "read"):
        return _filesystem().get_file_info(bucket_path(uri))


def list_dir(uri: str) -> tuple[list[str], list[str]]:
    """Names of the folders and of the files directly below an address."""
    found = _listed(uri, recursive=False)
    return (
        sorted(info.base_name for info in found if not info.is_file),
        sorted(info.base_name for info in found if info.is_file),
    )


def list_tree(uri: str) -> list[str]:
    """Paths of all files below an address, relative to it."""
    start = len(bucket_path(uri)) + 1
    return sorted(info.path[start:] for info in _listed(uri, recursive=True) if info.is_file)


def _listed(uri: str, recursive: bool) -> list[Any]:
    from pyarrow import fs

    selector = fs.FileSelector(bucket_path(uri), recursive=recursive, allow_not_found=True)
    with _naming(uri, "listed"):
        return list(_filesystem().get_file_info(selector))


def remove(uri: str) -> None:
    """Removes a file.

    Raises:
      FileNotFoundError: if there is no such file.
    """
    with _naming(uri, "removed"):
        _filesystem().delete_file(bucket_path(uri))


def remove_tree(uri: str) -> None:
    """Removes all files below an address; nothing if there are none."""
    with _naming(uri, "removed"):
        _filesystem().delete_dir_contents(bucket_path(uri), missing_dir_ok=True)
        if is_dir(uri):
            _filesystem().delete_dir(bucket_path(uri))


def download(uri: str, path: str) -> None:
    """Copies a file to this machine, under another name until it is complete."""
    os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
    partial = f"{path}.part"
    with (
        open(partial, "wb") as target,
        _naming(uri, "read"),
        _filesystem().open_input_stream(bucket_path(uri)) as source,
    ):
        while block := source.read(_CHUNK_BYTES):
            target.write(block)
    os.replace(partial, path)


def upload(path: str, uri: str) -> None:
    """Copies a file of this machine; readers see all of it or none.

    Raises:
      FileNotFoundError: if the local file is gone.
    """
    with (
        open(path, "rb") as source,
        _naming(uri, "written"),
        _filesystem().open_output_stream(bucket_path(uri)) as target,
    ):
        while block := source.read(_CHUNK_BYTES):
            target.write(block)


def download_tree(uri: str, folder: str) -> None:
    """Copies all files below an address into a folder of this machine."""
    for name in list_tree(uri):
        download(f"{uri.rstrip('/')}/{name}", os.path.join(folder, name))


def upload_tree(folder: str, uri: str) -> None:
    """Copies all files of a folder; nothing if there is no such folder."""
    for directory, _, names in os.walk(folder):
        for name in names:
            path = os.path.join(directory, name)
            upload(path, f"{uri.rstrip('/')}/{os.path.relpath(path, folder)}")
