"""What a pod needs to reach the store, be it of a task or of a worker."""

from dataclasses import dataclass, field

from pipeline.config.schema import Config
from trainer.store.uris import VARIABLE, Kind, StoreSettings

_CA_FOLDER = "/etc/thaw-store"
_CA_FILE = "ca.crt"


@dataclass(frozen=True)
class SecretEntry:
    """One entry of a Secret."""

    secret: str
    key: str


@dataclass(frozen=True)
class StoreAccess:
    """What a pod gets for the store.

    Attributes:
      env: environment variables.
      secret_env: variables that are filled from a Secret.
      claims: PersistentVolumeClaims by the path where they are mounted.
      secrets: Secrets by the path where their files are mounted.
      group: id of the group that may write to the claims.
    """

    env: dict[str, str] = field(default_factory=dict)
    secret_env: dict[str, SecretEntry] = field(default_factory=dict)
    claims: dict[str, str] = field(default_factory=dict)
    secrets: dict[str, str] = field(default_factory=dict)
    group: int | None = None


def store_settings(config: Config) -> StoreSettings:
    """What a process in a pod must know of the store."""
    store = config.cluster.store
    if store.kind != Kind.MOUNTED.value:
        return StoreSettings(Kind(store.kind))
    return StoreSettings(Kind.MOUNTED, held_address(config), store.mount_path)


def held_address(config: Config) -> str:
    """The address that the mounted claim stands for."""
    return (config.cluster.store.holds or str(config.cluster.pipeline_root)).rstrip("/")


def store_access(config: Config) -> StoreAccess:
    """What every pod gets; nothing where TensorFlow reaches the store by itself."""
    store = config.cluster.store
    if store.kind == Kind.DIRECT.value:
        return StoreAccess()
    env = {VARIABLE: store_settings(config).to_json()}
    if store.kind == Kind.MOUNTED.value:
        claims = {store.mount_path: str(store.claim)}
        return StoreAccess(env=env, claims=claims, group=store.group)
    keys = {"AWS_ACCESS_KEY_ID": store.access_key, "AWS_SECRET_ACCESS_KEY": store.secret_key}
    secret = store.secret
    return StoreAccess(
        env={**env, **_client_variables(config)},
        secret_env={name: SecretEntry(secret, key) for name, key in keys.items()} if secret else {},
        secrets={_CA_FOLDER: store.ca_secret} if store.ca_secret else {},
    )


def _client_variables(config: Config) -> dict[str, str]:
    store = config.cluster.store
    values = {
        "AWS_ENDPOINT_URL_S3": store.endpoint,
        "AWS_REGION": store.region,
        "SSL_CERT_FILE": f"{_CA_FOLDER}/{_CA_FILE}" if store.ca_secret else None,
    }
    return {name: value for name, value in values.items() if value}
