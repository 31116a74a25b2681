"""What the launcher of Kubeflow Pipelines does around a task's command, as its source says it.

All of kubeflow/pipelines, backend/src/v2: `component/launcher_v2.go` (`downloadArtifacts`,
`prepareOutputFolders`, `getPlaceholders`, `uploadOutputArtifacts`, `LocalPathForURI`) and
`objectstore/object_store.go` (`DownloadBlob`, `UploadBlob`).
"""

import shutil
from pathlib import Path

from kfp.pipeline_spec import pipeline_spec_pb2 as spec_pb2
from pyarrow import fs

from .s3_server import S3Server

# `LocalPathForURI`; below the root of the pod's own files.
_FOLDERS = {"gs": "gcs", "s3": "s3", "minio": "minio"}


class Pod:
    """The files that one task's pod has for itself: no other sees them, nor a later attempt."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        directory.mkdir(parents=True)

    def local_path(self, uri: str) -> Path:
        """Raises `ValueError` for a scheme that the launcher does not know."""
        scheme, _, rest = uri.partition("://")
        if not rest or scheme not in _FOLDERS:
            raise ValueError(f"failed to generate local path for URI {uri}")
        return self.directory / _FOLDERS[scheme] / rest

    def end(self) -> None:
        shutil.rmtree(self.directory)


class KfpLauncher:
    """Runs around a command: downloads before it, uploads after it.

    Attributes:
      server: the store.
      downloaded: bytes by task and input.
    """

    def __init__(self, server: S3Server) -> None:
        self.server = server
        self.downloaded: dict[tuple[str, str], int] = {}

    def before(self, task: str, asked: spec_pb2.ExecutorInput, pod: Pod) -> None:
        """Downloads every declared input, read or not, and makes the outputs' parent folders."""
        for name, list_ in asked.inputs.artifacts.items():
            uri = list_.artifacts[0].uri
            self.downloaded[task, name] = self._download(uri, pod.local_path(uri))
        for list_ in asked.outputs.artifacts.values():
            pod.local_path(list_.artifacts[0].uri).parent.mkdir(parents=True, exist_ok=True)

    def after(self, asked: spec_pb2.ExecutorInput, pod: Pod) -> None:
        """Uploads the outputs of a command that ended well; one that is missing is no error."""
        for list_ in asked.outputs.artifacts.values():
            uri = list_.artifacts[0].uri
            local = pod.local_path(uri)
            files = [local] if local.is_file() else sorted(local.rglob("*"))
            for path in files:
                if path.is_file():
                    relative = path.relative_to(local)
                    key = _key(uri) if local.is_file() else f"{_key(uri)}/{relative}"
                    self.server.put(key, path.read_bytes())

    def placeholders(self, asked: spec_pb2.ExecutorInput, pod: Pod) -> dict[str, str]:
        """What the command's words stand for, besides the whole input."""
        found = {}
        for kind, artifacts in (
            ("inputs", asked.inputs.artifacts),
            ("outputs", asked.outputs.artifacts),
        ):
            for name, list_ in artifacts.items():
                uri = list_.artifacts[0].uri
                start = f"{{{{$.{kind}.artifacts['{name}']"
                found[f"{start}.uri}}}}"] = uri
                found[f"{start}.path}}}}"] = str(pod.local_path(uri))
        return found

    def _download(self, uri: str, local: Path) -> int:
        key, size = _key(uri), 0
        for found in self.server.keys(key):
            if found == key or found.startswith(f"{key}/"):
                target = local / found[len(key) + 1 :] if found != key else local
                target.parent.mkdir(parents=True, exist_ok=True)
                content = self.server.get(found)
                target.write_bytes(content)
                size += len(content)
        return size


def _key(uri: str) -> str:
    return uri.partition("://")[2].partition("/")[2]


def fetch(server: S3Server, uri: str, folder: Path) -> Path:
    """A folder of the store, copied here."""
    folder.mkdir(parents=True, exist_ok=True)
    source = f"{server.bucket}/{_key(uri)}"
    fs.copy_files(
        source,
        str(folder),
        source_filesystem=server.client,
        destination_filesystem=fs.LocalFileSystem(),
    )
    return folder
