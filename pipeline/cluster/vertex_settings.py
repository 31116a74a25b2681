"""What `cluster.vertex` and `cluster.labels` become on Vertex AI, and what does not go together."""

from typing import Any

from pipeline.cluster.target import ClusterError, Target
from pipeline.config.labels import MAX_GOOGLE_LABELS, not_for_google
from pipeline.config.schema import Config


def check_vertex(config: Config, target: Target) -> None:
    """Checks the settings of Vertex AI against each other; other targets ignore them.

    Raises:
      ClusterError: naming the keys.
    """
    if target is not Target.VERTEX:
        return
    cluster, vertex = config.cluster, config.cluster.vertex
    wrong = not_for_google(cluster.labels)
    if wrong:
        raise ClusterError(
            f"{', '.join(wrong)} cannot be used on Google Cloud: keys and values there have up to "
            "63 lower-case letters, digits, '-' and '_', and a key begins with a letter.",
            where="cluster.labels",
        )
    if len(cluster.labels) > MAX_GOOGLE_LABELS:
        raise ClusterError(f"Google Cloud takes {MAX_GOOGLE_LABELS} at most.", "cluster.labels")
    if cluster.network and vertex.network_attachment:
        raise ClusterError(
            "exclude each other: a job has a peered network or an interface of Private Service "
            "Connect.",
            where="cluster.network, cluster.vertex.network_attachment",
        )
    _check_needed(
        vertex.dns_peering, vertex.network_attachment, "dns_peering", "network_attachment"
    )
    _check_needed(vertex.reserved_ip_ranges, cluster.network, "reserved_ip_ranges", "network")
    _check_region(vertex.kms_key, config)


def _check_needed(given: object, needed: object, name: str, other: str) -> None:
    if given and not needed:
        section = "cluster" if other == "network" else "cluster.vertex"
        raise ClusterError(f"needs {section}.{other}.", where=f"cluster.vertex.{name}")


def _check_region(key: str | None, config: Config) -> None:
    location = config.cluster.location
    if key and location and key.split("/")[3] != location:
        raise ClusterError(
            f"the key is in {key.split('/')[3]}, but jobs run in {location}: both must be in the "
            "same region.",
            where="cluster.vertex.kms_key",
        )


def psc_interface(config: Config) -> dict[str, str | list[dict[str, str]]]:
    """A PscInterfaceConfig, in the names of its proto; empty if there is none."""
    vertex = config.cluster.vertex
    if not vertex.network_attachment:
        return {}
    peerings = [peering.model_dump() for peering in vertex.dns_peering]
    return {
        "network_attachment": vertex.network_attachment,
        **({"dns_peering_configs": peerings} if peerings else {}),
    }


def job_networks(config: Config) -> dict[str, Any]:
    """The part of a CustomJobSpec that says which network a job is in."""
    cluster = config.cluster
    interface = psc_interface(config)
    fields = {
        "network": cluster.network,
        "reserved_ip_ranges": list(cluster.vertex.reserved_ip_ranges),
        "psc_interface_config": interface,
    }
    return {name: value for name, value in fields.items() if value}


def job_encryption(config: Config) -> dict[str, dict[str, str]]:
    """The part of a CustomJob that says how it is encrypted."""
    key = config.cluster.vertex.kms_key
    return {"encryption_spec": {"kms_key_name": key}} if key else {}


def boot_disk(config: Config) -> dict[str, dict[str, str | int]]:
    """The part of a WorkerPoolSpec for its disk. The service fills in what is left out."""
    vertex = config.cluster.vertex
    disk: dict[str, str | int | None] = {
        "boot_disk_type": vertex.boot_disk_type,
        "boot_disk_size_gb": vertex.boot_disk_gb,
    }
    chosen = {name: value for name, value in disk.items() if value is not None}
    return {"disk_spec": chosen} if chosen else {}
