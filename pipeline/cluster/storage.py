"""Which places a cluster's nodes can read from and write to, with each kind of store."""

from collections.abc import Callable
from typing import NamedTuple

from pipeline.cluster.store_access import held_address
from pipeline.cluster.target import ClusterError, Target
from pipeline.config.schema import Config
from pipeline.config.store import Store
from trainer.store import uris
from trainer.store.uris import Kind

_GS = "gs"
# Kubeflow Pipelines takes no other for its root (`ParseBucketPathToConfig` in its
# backend/src/v2/objectstore/config.go).
_ROOTS = (_GS, "s3", "minio")
_ROOTS_IN_WORDS = "s3://BUCKET/… or minio://BUCKET/…"
_RUNNERS_HERE = ("DirectRunner", "PrismRunner", "FnApiRunner")
_OTHER_KINDS = "cluster.store: mounted or staged"


class _Place(NamedTuple):
    """A place of the config; `node` alone uses it, and mounts volumes for it. None: all do."""

    key: str
    address: str
    node: str | None


def check_places(config: Config, target: Target) -> None:
    """Checks that every node that uses a place can reach it.

    Images and pushed models never pass through Kubeflow Pipelines: one node's own process reads
    or writes them, so a volume that its pod mounts does as well as the store.

    Raises:
      ClusterError: naming a place that cannot be reached, and what works instead.
    """
    _check_store(config, target)
    if target is Target.VERTEX:
        check: Callable[[Config, _Place], None] = _check_on_vertex
    else:
        check = _CHECKS[Kind(config.cluster.store.kind)]
    for key, address, node in (
        ("data.images", config.data.images, "ImageExampleGen"),
        ("cluster.pipeline_root", config.cluster.pipeline_root, None),
        ("cluster.serving_dir", config.cluster.serving_dir, "Pusher"),
        ("cluster.serving_dir", _compared_with(config), "Gate"),
        ("features.store", _trunk_store(config), "TrunkFeatures"),
    ):
        if address is None or _is_on_own_volume(config, node, address):
            continue
        if uris.scheme_of(address) in _ROOTS and not uris.has_bucket(address):
            raise ClusterError(f"{key}: {address!r} names no bucket.")
        check(config, _Place(key, address, node))


def _compared_with(config: Config) -> str | None:
    """Where the gate reads the model that is served now."""
    return config.cluster.serving_dir if config.gate.served == "compare" else None


def _trunk_store(config: Config) -> str | None:
    named = config.features.cache and config.features.store not in ("auto", "none")
    return config.features.store if named else None


def _check_on_vertex(_: Config, place: _Place) -> None:
    if uris.scheme_of(place.address) != _GS:
        raise ClusterError(
            f"{place.key}: {place.address!r} is in no bucket of Google's: Vertex AI needs "
            "gs://BUCKET/…."
        )


def _check_direct(_: Config, place: _Place) -> None:
    scheme = uris.scheme_of(place.address)
    if scheme == _GS:
        return
    if uris.is_s3(place.address):
        raise _unusable(
            place,
            "cannot be used with cluster.store: direct: TensorFlow reads and writes gs:// only. "
            f"Use gs://BUCKET/…, or {_OTHER_KINDS}.",
        )
    raise _unusable(place, _why_not(place, "gs://BUCKET/…"))


def _check_staged(_: Config, place: _Place) -> None:
    if uris.is_s3(place.address):
        return
    if uris.scheme_of(place.address) == _GS:
        raise _unusable(
            place,
            "needs no copies: cluster.store: staged is for s3:// and minio://. "
            "Use cluster.store: direct.",
        )
    raise _unusable(place, _why_not(place, _ROOTS_IN_WORDS))


def _check_mounted(config: Config, place: _Place) -> None:
    held, mount_path = held_address(config), config.cluster.store.mount_path
    if uris.is_within(place.address, held):
        return
    if uris.is_path_within(place.address, mount_path):
        raise _unusable(place, f"is on the mounted volume: write its address, {held}/….")
    if uris.is_remote(place.address):
        raise _unusable(
            place,
            f"is not on the mounted volume, which stands for {held} (cluster.store.holds).",
        )
    raise _unusable(place, _why_not(place, f"{held}/…"))


_CHECKS = {
    Kind.DIRECT: _check_direct,
    Kind.STAGED: _check_staged,
    Kind.MOUNTED: _check_mounted,
}


def _check_store(config: Config, target: Target) -> None:
    """Checks that the store's own settings go together.

    Raises:
      ClusterError: naming the key, and what to do.
    """
    store, root = config.cluster.store, str(config.cluster.pipeline_root)
    kind = Kind(store.kind)
    if target is Target.VERTEX and kind is not Kind.DIRECT:
        raise ClusterError(
            f"cluster.store: {store.kind} is for Kubeflow Pipelines. On Vertex AI every node "
            "reads gs:// itself: leave cluster.store out."
        )
    _check_keys(store, kind)
    if kind is not Kind.DIRECT:
        _check_beam(config)
    if kind is not Kind.MOUNTED:
        return
    if not store.claim:
        raise ClusterError(
            "cluster.store.claim: must be set for a mounted store: the PersistentVolumeClaim "
            "that every pod mounts."
        )
    if uris.scheme_of(root) not in _ROOTS:
        raise ClusterError(
            f"cluster.pipeline_root: {root!r} cannot hold the artifacts: Kubeflow Pipelines "
            f"accepts an object store alone as its root, also where a volume stands for it. Use "
            f"{_ROOTS_IN_WORDS}."
        )


def _check_beam(config: Config) -> None:
    """Beam's workers on other machines have neither the volume nor the local copies."""
    beam = config.beam.model_dump()
    for options in (beam["options"], *beam["nodes"].values()):
        for option in options:
            name, _, value = option.partition("=")
            if name == "--runner" and value not in _RUNNERS_HERE:
                raise ClusterError(
                    f"beam: {option} runs on machines that do not reach the artifacts of "
                    f"cluster.store: {config.cluster.store.kind}. Remove it, or use gs:// and "
                    "cluster.store: direct."
                )


_KEYS = {
    Kind.DIRECT: set[str](),
    Kind.MOUNTED: {"claim", "mount_path", "holds", "group"},
    Kind.STAGED: {"endpoint", "region", "secret", "access_key", "secret_key", "ca_secret"},
}


def _check_keys(store: Store, kind: Kind) -> None:
    chosen = set(store.model_dump(exclude_defaults=True)) - {"kind"}
    others = sorted(chosen - _KEYS[kind])
    if others:
        raise ClusterError(
            f"cluster.store.{others[0]}: has no meaning with cluster.store.kind: {kind.value}. "
            "Remove it, or choose the kind that it belongs to."
        )


def _is_on_own_volume(config: Config, node: str | None, place: str) -> bool:
    """Whether a full path is on a volume that the node's pod mounts."""
    if node is None:
        return False
    claims = config.cluster.resources_of(node).claims or {}
    return any(uris.is_path_within(place, folder) for folder in claims)


def _why_not(place: _Place, use: str) -> str:
    if uris.is_remote(place.address):
        return f"cannot be used: no node reads this kind of storage. Use {use}."
    if place.node is None:
        return (
            "cannot hold the artifacts: Kubeflow Pipelines accepts no folder as its root. "
            f"Use {use}."
        )
    if not place.address.startswith("/"):
        return f"is a folder of this machine, which no cluster can reach. Use {use}."
    return (
        f"is on no volume that {place.node} mounts. Use {use}, or mount its claim: "
        f"cluster.resources.{place.node}.claims."
    )


def _unusable(place: _Place, why: str) -> ClusterError:
    return ClusterError(f"{place.key}: {place.address!r} {why}")
