"""What can go wrong between us and Google Cloud, in words for the user."""

import contextlib
import logging
from collections.abc import Iterator

from google.api_core import exceptions
from google.auth import exceptions as auth_exceptions
from urllib3.exceptions import MaxRetryError, SSLError

from pipeline.cluster.target import ClusterError, Unreachable

_LOGIN = "Run gcloud auth application-default login, or renew the key file."
_PROXY = (
    "Behind a proxy that inspects TLS, name the file of its certificate authority in "
    "REQUESTS_CA_BUNDLE and GRPC_DEFAULT_SSL_ROOTS_FILE_PATH."
)
_TRY_LATER = (
    exceptions.ServerError,  # 5xx, and deadlines
    exceptions.TooManyRequests,
    exceptions.RetryError,
    OSError,  # as all errors of requests are
)


@contextlib.contextmanager
def as_cluster_error(doing: str = "rejected the request") -> Iterator[None]:
    """Turns an error of Google's clients into one for the user.

    Args:
      doing: what a refusal is called: "rejected the pipeline".

    Raises:
      Unreachable: where a later request may succeed.
      ClusterError: for all others.
    """
    try:
        yield
    except auth_exceptions.RefreshError as error:
        raise ClusterError(
            f"the Google credentials are not valid any more: {error}", to_do=_LOGIN
        ) from error
    except auth_exceptions.TransportError as error:
        raise Unreachable(f"Google's login service does not answer: {error}") from error
    except exceptions.Unauthenticated as error:
        raise ClusterError(
            f"Google Cloud does not accept the credentials: {error.message}", to_do=_LOGIN
        ) from error
    except _TRY_LATER as error:
        if _is_about_certificate(error):
            raise ClusterError(
                f"the certificate of Google Cloud's API is not trusted: {error}", to_do=_PROXY
            ) from error
        raise Unreachable(
            f"Vertex AI does not answer: {error}",
            to_do="Check cluster.location, the network and HTTPS_PROXY.",
        ) from error
    except exceptions.GoogleAPICallError as error:
        raise ClusterError(f"Vertex AI {doing}: {error}") from error


def _is_about_certificate(error: Exception) -> bool:
    cause = error.args[0] if error.args else None
    return isinstance(cause, MaxRetryError) and isinstance(cause.reason, SSLError)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keeps Google's client from printing each step on its own. What fails is raised."""
    logging.disable(logging.ERROR)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)
