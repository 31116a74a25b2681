"""The command `thaw cache`: what the trunk store holds, and how it is made smaller."""

from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from pipeline.cli.terminal import BAD_USAGE, out, stop
from trainer.store.uris import is_remote

if TYPE_CHECKING:  # not for `thaw --help`
    from components.trunk_features.store.prune import TrunkState

_STORE = "trunk_store"
_GIGABYTE = 10**9


def cache(
    store: Annotated[
        str, typer.Argument(help="Output folder of runs, or a trunk store.", metavar="PATH")
    ],
    prune: Annotated[
        bool, typer.Option("--prune", help="Remove damaged and left-over files.")
    ] = False,
    max_gb: Annotated[
        float | None,
        typer.Option(
            min=0, help="With --prune: then remove what was used longest ago, down to this size."
        ),
    ] = None,
) -> None:
    """Show what earlier runs have kept of the trunk's output, and remove some of it.

    What a run may be using, because it was written or used within the last hour, always stays.

    Example: thaw cache out --prune --max-gb 10
    """
    if max_gb is not None and not prune:
        raise stop("--max-gb removes nothing without --prune: give both.", BAD_USAGE)
    path = _store_at(store)
    from components.trunk_features.store import prune as trunk_store

    if prune:
        limit = None if max_gb is None else int(max_gb * _GIGABYTE)
        removed = trunk_store.prune(path, limit)
        out.print(f"removed {removed.images:,} images, {removed.num_bytes / _GIGABYTE:.2f} GB")
    trunks = trunk_store.look(path)
    if not trunks:
        out.print(f"{escape(path)}: the store is empty")
        return
    out.print(_table(trunks))
    size = sum(trunk.num_bytes for trunk in trunks) / _GIGABYTE
    out.print(f"{sum(trunk.images for trunk in trunks):,} images, {size:.2f} GB in {escape(path)}")


def _store_at(path: str) -> str:
    if is_remote(path):
        return path
    folder = Path(path).expanduser().resolve()
    if not folder.is_dir():
        raise stop(f"{path}: there is no such folder.", BAD_USAGE)
    if (folder / _STORE).is_dir():
        return str(folder / _STORE)
    if (folder / "metadata.sqlite").exists() or (folder / "artifacts").is_dir():
        raise stop(f"{path}: its runs have kept nothing: see features.store.", BAD_USAGE)
    return str(folder)


def _table(trunks: list["TrunkState"]) -> Table:
    table = Table(box=None, pad_edge=False)
    for name in ("BACKBONE", "BOUNDARY", "KEPT AS", "WEIGHTS"):
        table.add_column(name)
    for name in ("IMAGES", "GB", "USED"):
        table.add_column(name, justify="right")
    for trunk in trunks:
        about = trunk.about
        described = (
            (
                f"{about.spec.backbone} {about.spec.image_size_px} px",
                about.spec.boundary,
                about.spec.dtype,
                about.weights[:12],
            )
            if about
            else (escape(trunk.folder), "?", "?", "?")
        )
        used = max((one.used for one in trunk.segments), default=0.0)
        day = datetime.fromtimestamp(used, timezone.utc).strftime("%Y-%m-%d") if used else "–"
        table.add_row(*described, f"{trunk.images:,}", f"{trunk.num_bytes / _GIGABYTE:.2f}", day)
    return table
