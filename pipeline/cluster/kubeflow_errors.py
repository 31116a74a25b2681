"""What can go wrong between us and Kubeflow Pipelines, in words for the user."""

import contextlib
import json
from collections.abc import Iterator

import kfp_server_api
from urllib3 import exceptions

from pipeline.cluster.kubeflow_login import Login
from pipeline.cluster.target import ClusterError, Unreachable

_WHERE = "cluster.host"
_PORT_FORWARD = (
    "From outside the cluster: kubectl port-forward -n kubeflow svc/ml-pipeline-ui 8080:80, and "
    "http://localhost:8080."
)
_API = "/apis/"  # in a redirect: the same API elsewhere, such as at https://; else a log-in page
_REDIRECTS = range(300, 400)


@contextlib.contextmanager
def as_cluster_error(host: str) -> Iterator[None]:
    """Turns what hinders a request from getting an answer into an error for the user."""
    try:
        yield
    except exceptions.HTTPError as error:
        raise _no_answer(host, _cause(error)) from error
    except kfp_server_api.ApiException as error:
        if error.status:
            raise
        raise _bad_certificate(host, str(error.reason)) from error
    except ValueError as error:  # urllib3 cannot read the address
        raise ClusterError(f"{host} is no address: {error}", where=_WHERE) from error


def rejected(error: kfp_server_api.ApiException, host: str, login: Login) -> ClusterError:
    """The error for an answer that is none of success."""
    answer = f"HTTP {error.status}"
    location = str((error.headers or {}).get("location", ""))
    if _API in location:
        return ClusterError(
            f"{host} redirects to {location.partition(_API)[0]} ({answer}).",
            where=_WHERE,
            to_do="Use that address.",
        )
    if error.status in (401, 407, *_REDIRECTS):
        return login.rejected(host, answer)
    message = message_of(error)
    if error.status == 403 and message.startswith("<"):  # the sign-in page of oauth2-proxy
        return login_page(host, login)
    if error.status == 403:
        return ClusterError(
            f"{host} does not allow this ({answer}): {message}",
            where=_WHERE,
            to_do="Ask for the right, or use another account or cluster.namespace.",
        )
    if error.status == 429 or (error.status >= 500 and error.status != 501):
        return Unreachable(f"{host} answers {answer}: {message}", where=_WHERE)
    return ClusterError(f"{host} rejected the request: {answer}: {message}")


def login_page(host: str, login: Login) -> ClusterError:
    """The error for a web page in place of an answer."""
    return login.rejected(host, "it shows a web page, such as that of a log-in, in place of data")


def message_of(error: kfp_server_api.ApiException) -> str:
    """What the server says of a refusal, as one line."""
    body = error.body.decode(errors="replace") if isinstance(error.body, bytes) else error.body
    try:
        fields = json.loads(body)
        # The first two are of grpc-gateway; the handlers beside it write the third.
        names = ("message", "error", "error_message")
        text = next((fields[name] for name in names if fields.get(name)), error.reason)
    except (TypeError, ValueError, AttributeError):
        text = body or error.reason
    return " ".join(str(text).split())[:1000]


def _cause(error: exceptions.HTTPError) -> Exception:
    """What made urllib3 give up."""
    cause = error.reason if isinstance(error, exceptions.MaxRetryError) else None
    return cause or error


def _no_answer(host: str, cause: Exception) -> ClusterError:
    if isinstance(cause, exceptions.ProxyError):
        return Unreachable(
            f"the proxy for {host} does not answer: {cause.original_error}",
            where="HTTPS_PROXY",
            to_do="Correct the variable, or add the host to NO_PROXY.",
        )
    if isinstance(cause, exceptions.SSLError):
        return _bad_certificate(host, str(cause))
    if isinstance(cause, exceptions.ReadTimeoutError):
        return Unreachable(
            f"{host} did not answer in time: {cause}",
            where=_WHERE,
            to_do="Look at the pods of Kubeflow Pipelines, and at proxies on the way to it.",
        )
    # A name that is not known or a port where nobody listens is more often a wrong key than an
    # outage, and still nothing that a later request could not find right.
    return Unreachable(f"{host} does not answer: {cause}", where=_WHERE, to_do=_PORT_FORWARD)


def _bad_certificate(host: str, reason: str) -> ClusterError:
    if "WRONG_VERSION_NUMBER" in reason or "record layer failure" in reason:
        return ClusterError(f"{host} does not speak TLS: write http://.", where=_WHERE)
    return ClusterError(
        f"the certificate of {host} is not trusted: {reason}",
        where=_WHERE,
        to_do=(
            "Put the certificate of the authority that signed it (PEM) into a file, and name the "
            "file in cluster.credentials.ca_file or the variable SSL_CERT_FILE."
        ),
    )
