"""How we log in to Kubeflow Pipelines: a bearer token, the cookies of a proxy, or neither."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from kfp import client as kfp_client
from kfp.client import token_credentials_base

from pipeline.cluster.target import ClusterError
from pipeline.config.credentials import Credentials

TOKEN = "KF_PIPELINES_TOKEN"
COOKIE = "KF_PIPELINES_COOKIE"

_HOW = (
    f"Set {TOKEN} or cluster.credentials.token_file; behind a proxy with a log-in page "
    f"{COOKIE} or cluster.credentials.cookie_file."
)


@dataclass(frozen=True)
class _Secret:
    """Where a secret is kept.

    Attributes:
      place: named in messages.
      read: reads it again.
    """

    place: str
    read: Callable[[], str]


class Login:
    """The headers that say who we are; read again from their files for each request.

    The kubelet renews a service account's token in its file, and so does whatever renews the
    file of a user: what was read once would expire during a long run.
    """

    def __init__(self, settings: Credentials) -> None:
        self._token = _token(settings)
        self._cookie = _secret(
            "cookie", "cluster.credentials.cookie_file", settings.cookie_file, COOKIE
        )

    def headers(self) -> dict[str, str]:
        """The headers, in lower case.

        Raises:
          ClusterError: if a file cannot be read or is empty.
        """
        headers = {}
        if self._token:
            headers["authorization"] = f"Bearer {self._token.read()}"
        if self._cookie:
            headers["cookie"] = self._cookie.read()
        return headers

    def rejected(self, host: str, answer: str) -> ClusterError:
        """The error for a host that does not let us in.

        Args:
          host: its address.
          answer: what it did, such as "HTTP 401".
        """
        places = [secret.place for secret in (self._token, self._cookie) if secret]
        if not places:
            return ClusterError(
                f"{host} asks for a login ({answer}).", where="cluster.host", to_do=_HOW
            )
        return ClusterError(
            f"{host} does not accept {' and '.join(places)} ({answer}): it may have expired, or "
            "be meant for another service.",
            where="cluster.host",
            to_do="Renew it and give the same command again.",
        )


def _token(settings: Credentials) -> _Secret | None:
    chosen = _secret("token", "cluster.credentials.token_file", settings.token_file, TOKEN)
    if chosen:
        return chosen
    # A token that the kubelet projects into a pod, with the audience pipelines.kubeflow.org.
    path = os.environ.get(kfp_client.KF_PIPELINES_SA_TOKEN_ENV)
    if path:
        return _file("token", kfp_client.KF_PIPELINES_SA_TOKEN_ENV, path)
    path = kfp_client.KF_PIPELINES_SA_TOKEN_PATH
    return _file("token", "service account", path) if Path(path).exists() else None


def _secret(kind: str, key: str, path: str | None, variable: str) -> _Secret | None:
    if path:
        return _file(kind, key, os.path.expanduser(path))
    if os.environ.get(variable):
        return _Secret(f"the {kind} in {variable}", lambda: os.environ[variable].strip())
    return None


def _file(kind: str, key: str, path: str) -> _Secret:
    def read() -> str:
        try:
            text = token_credentials_base.read_token_from_file(path)
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "it is not text"
            raise ClusterError(
                f"{path} cannot be read: {reason}.", where=key, to_do="Write the secret into it."
            ) from error
        if not text or not text.isprintable():
            raise ClusterError(f"{path} does not hold one line of text.", where=key)
        return text

    return _Secret(f"the {kind} in {path} ({key})", read)
