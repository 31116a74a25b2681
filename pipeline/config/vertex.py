"""The config's section for what only Vertex AI has: `cluster.vertex`."""

from typing import Annotated, Literal

from pydantic import Field, PositiveInt

from pipeline.config.section import Section

# As documented beside the fields of the same names in google/cloud/aiplatform_v1/types.
KmsKey = Annotated[
    str,
    Field(pattern=r"^projects/[^/]+/locations/[^/]+/keyRings/[^/]+/cryptoKeys/[^/]+$"),
]
NetworkAttachment = Annotated[
    str,
    Field(
        pattern=(
            r"^(projects/[^/]+/regions/[^/]+/networkAttachments/)?[a-z]([a-z0-9-]{0,61}[a-z0-9])?$"
        )
    ),
]
# As `_KNOWN_HOSTS_REGEX` of kfp.registry has it.
Registry = Annotated[str, Field(pattern=r"^https://[\w-]+-kfp\.pkg\.dev/[^/]+/[^/]+$")]
ResourceId = Annotated[str, Field(pattern=r"^[a-z]([a-z0-9-]{0,126}[a-z0-9])?$")]
Name = Annotated[str, Field(min_length=1)]

_WEEK_SECS = 7 * 86_400


class DnsPeering(Section):
    """A DNS zone of your network that the jobs may resolve names in."""

    domain: Annotated[str, Field(pattern=r"^([a-z0-9-]+\.)+$")] = Field(
        description="Suffix of the zone's names, ending with a dot: corp.example."
    )
    target_project: Name = Field(description="Project that holds the zone's network.")
    target_network: Name = Field(description="Name of the zone's network.")


class Vertex(Section):
    """What only Vertex AI has. Jobs here are the pipeline's own and the custom jobs of the fits."""

    template_registry: Registry | None = Field(
        None,
        description=(
            "Repository for `thaw submit --upload`: the address of one in Artifact Registry whose "
            "format is Kubeflow Pipelines, https://REGION-kfp.pkg.dev/PROJECT/REPOSITORY."
        ),
    )
    kms_key: KmsKey | None = Field(
        None,
        description=(
            "Customer-managed encryption key of all jobs: "
            "projects/PROJECT/locations/REGION/keyRings/RING/cryptoKeys/KEY, in the jobs' region."
        ),
    )
    network_attachment: NetworkAttachment | None = Field(
        None,
        description=(
            "Private Service Connect interface of all jobs: the name of a network attachment, or "
            "projects/PROJECT/regions/REGION/networkAttachments/NAME. Excludes cluster.network."
        ),
    )
    dns_peering: list[DnsPeering] = Field(
        [],
        description="With network_attachment: DNS zones whose names the jobs can resolve.",
    )
    reserved_ip_ranges: list[Name] = Field(
        [], description="With cluster.network: names of the reserved IP ranges that jobs may use."
    )
    boot_disk_type: Literal["pd-ssd", "pd-standard", "hyperdisk-balanced"] | None = Field(
        None,
        description=(
            "Boot disk of the fits' machines. Unset: the service's default for the machine type."
        ),
    )
    boot_disk_gb: PositiveInt | None = Field(
        None,
        ge=100,
        le=64_000,
        description="Size of that disk in GB; it also holds a container's local files.",
    )
    persistent_resource: ResourceId | None = Field(
        None,
        description="ID of a persistent resource, on whose machines the fits' custom jobs run.",
    )
    timeout_secs: PositiveInt | None = Field(
        None,
        le=4 * _WEEK_SECS,
        description=(
            "Seconds after which the service ends a fit's custom job. Unset: its default, 7 days."
        ),
    )
