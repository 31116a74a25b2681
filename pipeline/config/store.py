"""The config's section for the store of a cluster: how nodes reach artifacts."""

from typing import Annotated, Literal

from pydantic import Field, NonNegativeInt, model_validator

from pipeline.config.section import Section

Text = Annotated[str, Field(min_length=1)]


class Store(Section):
    """How the nodes of a cluster reach artifacts. `store: staged` is short for its `kind`."""

    kind: Literal["direct", "mounted", "staged"] = Field(
        "direct",
        description=(
            "direct: TensorFlow reads and writes gs:// itself. mounted (Kubeflow): every pod "
            "mounts a volume that stands for the pipeline root; nothing is copied. staged "
            "(Kubeflow): nodes work on local copies of what is on s3:// or minio://."
        ),
    )
    claim: Text | None = Field(
        None,
        description=(
            "mounted: PersistentVolumeClaim that many pods can mount for writing "
            "(ReadWriteMany), in the namespace of the run."
        ),
    )
    mount_path: Annotated[str, Field(pattern=r"^/[^/].*[^/]$")] = Field(
        "/thaw-store", description="mounted: folder of every pod where the claim is mounted."
    )
    holds: Text | None = Field(
        None,
        description=(
            "mounted: address that the claim stands for, such as minio://mlpipeline/thaw. "
            "Unset: the pipeline root."
        ),
    )
    group: NonNegativeInt | None = Field(
        None,
        description=(
            "mounted: id of the group that may write to the claim. Workers' pods get it as "
            "fsGroup, tasks' pods as the group they run as."
        ),
    )
    endpoint: Annotated[str, Field(pattern=r"^https?://[^/]+$")] | None = Field(
        None,
        description=(
            "staged: address of the store's server, such as "
            "http://seaweedfs.kubeflow:9000. Unset: Amazon S3."
        ),
    )
    region: Text | None = Field(None, description="staged: region of the bucket.")
    secret: Text | None = Field(
        None,
        description=(
            "staged: Secret that holds the keys to the store. Unset: the pods' service "
            "account authenticates them (IRSA, Pod Identity)."
        ),
    )
    access_key: Text = Field(
        "accesskey", description="staged: entry of the Secret that holds the access key."
    )
    secret_key: Text = Field(
        "secretkey", description="staged: entry of the Secret that holds the secret key."
    )
    ca_secret: Text | None = Field(
        None,
        description=(
            "staged: Secret whose entry ca.crt holds the certificates that the store's own "
            "is checked against. Unset: those of the image."
        ),
    )

    @model_validator(mode="before")
    @classmethod
    def _kind_alone(cls, value: object) -> object:
        return {"kind": value} if isinstance(value, str) else value
