"""The command `thaw serve`: a model over HTTP and gRPC."""

import os
import re
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated

import typer

from pipeline.cli.terminal import BAD_USAGE, FAILED, stop
from trainer.errors import ThawError
from trainer.process.quiet import quiet_stderr

_MEGABYTE = 2**20


def serve(
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            "-m",
            metavar="PATH",
            help="Output folder of a run, folder of a model's versions, or any SavedModel.",
        ),
    ] = None,
    host: Annotated[
        str, typer.Option(help="Address to listen on; 0.0.0.0 for all of this machine's.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port of HTTP; 0 for any.")] = 8501,
    grpc_port: Annotated[
        int, typer.Option(min=-1, max=65535, help="Port of gRPC; 0 for any, -1 for no gRPC.")
    ] = 8500,
    name: Annotated[
        str | None, typer.Option(help="Name of the model in requests.  [default: its folder's]")
    ] = None,
    label: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=VERSION",
            help="Serve this version too, under a label; repeatable. stable and latest are the "
            "newest version unless they are given.",
        ),
    ] = None,
    max_batch: Annotated[int, typer.Option(min=1, help="Images that run at once.")] = 32,
    batch_wait_ms: Annotated[
        float, typer.Option(min=0, help="How long a request waits for others.")
    ] = 2.0,
    max_queue: Annotated[
        int, typer.Option(min=1, help="Images that wait; further requests are refused.")
    ] = 512,
    max_body_mb: Annotated[int, typer.Option(min=1, help="Largest request.")] = 64,
    timeout_secs: Annotated[float, typer.Option(min=0.1, help="Longest request.")] = 30.0,
) -> None:
    """Serve a model over HTTP and gRPC: TensorFlow Serving's API and the Open Inference Protocol.

    At / is a page to try it on: drop images there, see what the model says of them.

    The newest version in the folder is served; a newer one takes its place once it is loaded, and
    no request is lost. THAW_TOKEN, if it is set, is the bearer token that requests need. On Vertex
    AI the variables AIP_… decide port, routes and model.

    Example: thaw serve --model out
    """
    with quiet_stderr():
        from serving.server import vertex as vertex_ai
        from serving.server.run import serve as run_server
        from serving.server.settings import ServerSettings
    vertex = vertex_ai.from_environment()
    stored = vertex.storage_uri if vertex else ""
    if not model and not stored:
        raise stop("--model: name the output folder of a run, or a model's folder.", BAD_USAGE)
    try:
        with vertex_ai.fetched(stored) if not model else nullcontext(str(model)) as path:
            folder = _folder_of(path)
            settings = ServerSettings(
                name=name or _name_of(folder),
                max_batch=max_batch,
                batch_wait_ms=batch_wait_ms,
                max_queued_rows=max_queue,
                max_body_bytes=max_body_mb * _MEGABYTE,
                timeout_secs=timeout_secs,
                token=os.environ.get("THAW_TOKEN", ""),
                labels=_labels(label or []),
            )
            # Vertex AI reaches a container's HTTP port alone.
            grpc = None if vertex or grpc_port < 0 else grpc_port
            run_server(folder, settings, host, vertex.port if vertex else port, vertex, grpc)
    except ThawError as problem:
        raise stop(problem, BAD_USAGE) from problem
    except OSError as problem:
        raise stop(f"{problem}.", FAILED) from problem


def _labels(given: list[str]) -> dict[str, int]:
    """Reads `NAME=VERSION`."""
    labels: dict[str, int] = {}
    for one in given:
        name, _, number = one.partition("=")
        if not re.fullmatch(r"[^/:=]+", name) or not number.isdecimal():
            raise ThawError(
                f"'{one}' is not NAME=VERSION.", where="--label", to_do="Example: --label canary=3"
            )
        if name in labels:
            raise ThawError(f"'{name}' is given twice.", where="--label")
        labels[name] = int(number)
    return labels


def _folder_of(model: str) -> Path:
    """The folder of versions, or the SavedModel itself."""
    from serving.manage import model_dir_of
    from serving.versions import find_model

    path = Path(os.path.realpath(model))
    find_model(str(path))
    return path if (path / "saved_model.pb").exists() else model_dir_of(path)


def _name_of(folder: Path) -> str:
    """`serving/birds`, `serving/birds/7` and a SavedModel's own folder are named alike."""
    return folder.parent.name if folder.name.isdecimal() else folder.name
