"""The config's section for logging in to Kubeflow Pipelines: `cluster.credentials`."""

from typing import Annotated

from pydantic import Field

from pipeline.config.section import Section

_Path = Annotated[str, Field(min_length=1)]


class Credentials(Section):
    """Kubeflow: how `thaw submit` and `thaw runs` log in. The config holds no secrets, only files.

    Where nothing is set, the environment is used: KF_PIPELINES_TOKEN, KF_PIPELINES_COOKIE,
    KF_PIPELINES_SA_TOKEN_PATH and SSL_CERT_FILE; HTTPS_PROXY and NO_PROXY apply as everywhere.
    """

    token_file: _Path | None = Field(
        None,
        description=(
            "File that holds a bearer token. It is read again for every request, so that "
            "whatever renews the file also renews the login. Unset: the variable "
            "KF_PIPELINES_TOKEN, or in a pod the service account's token for Kubeflow Pipelines."
        ),
    )
    cookie_file: _Path | None = Field(
        None,
        description=(
            "File that holds the cookies of an authenticating proxy, as a browser sends them: "
            "oauth2_proxy_kubeflow=… or authservice_session=…. Unset: the variable "
            "KF_PIPELINES_COOKIE."
        ),
    )
    ca_file: _Path | None = Field(
        None,
        description=(
            "File of certificates (PEM) that sign the host's certificate. Unset: the variable "
            "SSL_CERT_FILE, or else the public certificate authorities."
        ),
    )
