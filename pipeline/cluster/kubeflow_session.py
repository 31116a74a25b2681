"""Requests to Kubeflow Pipelines by its generated client, with what that one leaves out.

The client of `kfp_server_api` sets no deadline, follows redirects to a log-in page and reads
the page as an answer, takes no proxy from the environment, and fails over its own error when a
certificate is wrong (`error.body.decode` of None). `kfp.Client` adds a request without a
deadline before it can be configured; so it is not used.
"""

import io
import os
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import kfp_server_api
import urllib3
from kfp_server_api import rest

from pipeline.cluster.kubeflow_errors import as_cluster_error, login_page, rejected
from pipeline.cluster.kubeflow_login import Login
from pipeline.cluster.target import ClusterError
from pipeline.config.credentials import Credentials

CONNECT_SECS = 10.0
ANSWER_SECS = 60.0

# What the two servers of logs answer for a pod that is gone, and others for an unknown path.
_NOTHING_THERE = (400, 404, 500, 501)


def connect(host: str, settings: Credentials) -> kfp_server_api.ApiClient:
    """A client for the APIs of `kfp_server_api`; nothing is sent yet.

    What it is asked raises `ClusterError` in words for the user, and `Unreachable` where a later
    request may succeed.

    Args:
      host: address of the Pipelines API, without a slash at the end.
      settings: section `cluster.credentials`.

    Raises:
      ClusterError: if the file of certificates is missing.
    """
    configuration = kfp_server_api.Configuration(host=host)
    configuration.ssl_ca_cert = _ca_file(settings)
    # One more attempt to connect; whether an answer that failed is asked for again is for the
    # caller to say. A redirect is not followed, so that it can be seen.
    configuration.retries = urllib3.Retry(
        total=None, connect=1, read=0, redirect=0, status=0, other=0, raise_on_redirect=False
    )
    proxy = _proxy(host)
    if proxy:
        configuration.proxy = proxy
        configuration.proxy_headers = _proxy_headers(proxy)
    client = kfp_server_api.ApiClient(configuration)
    client.rest_client = Session(configuration, Login(settings))
    return client


def _ca_file(settings: Credentials) -> str | None:
    key = "cluster.credentials.ca_file" if settings.ca_file else "SSL_CERT_FILE"
    path = os.path.expanduser(settings.ca_file or os.environ.get("SSL_CERT_FILE", ""))
    if path and not Path(path).is_file():
        raise ClusterError(f"there is no file {path}.", where=key)
    return path or None


def _proxy(host: str) -> str | None:
    """The proxy that the environment names for a host, as for any other program."""
    url = urlsplit(host)
    if urllib.request.proxy_bypass(url.netloc):
        return None
    return urllib.request.getproxies().get(url.scheme)


def _proxy_headers(proxy: str) -> dict[str, str]:
    url = urlsplit(proxy)
    if not url.username:
        return {}
    account = f"{unquote(url.username)}:{unquote(url.password or '')}"
    return dict(urllib3.make_headers(proxy_basic_auth=account))


class Session(rest.RESTClientObject):
    """Sends requests that are logged in, and says in plain words why one failed."""

    def __init__(self, configuration: kfp_server_api.Configuration, login: Login) -> None:
        super().__init__(configuration)
        self._host = str(configuration.host)
        self._login = login

    def request(
        self, method: str, url: str, headers: dict[str, str] | None = None, **options: Any
    ) -> Any:
        """As the method that it replaces, but for deadlines, logins and errors.

        Raises:
          ClusterError: see `connect`.
        """
        try:
            answer = self._logged_in(method, url, headers or {}, options)
        except kfp_server_api.ApiException as error:
            raise rejected(error, self._host, self._login) from error
        if _is_page(answer.getheader("content-type")):
            raise login_page(self._host, self._login)
        return answer

    def read_text(self, url: str, query: dict[str, str]) -> Iterator[str] | None:
        """The lines of a text as they arrive; None where no text is at that address.

        Raises:
          ClusterError: see `connect`.
        """
        options = {"query_params": query, "_preload_content": False}
        try:
            answer = self._logged_in("GET", url, {}, options)
        except kfp_server_api.ApiException as error:
            if error.status in _NOTHING_THERE:
                return None
            raise rejected(error, self._host, self._login) from error
        # The user interface shows its start page for an address that it does not know.
        return None if _is_page(answer.headers.get("content-type")) else self._lines(answer)

    def _lines(self, answer: Any) -> Iterator[str]:
        answer.auto_close = False  # for the wrapper, which asks whether it is closed at its end
        with as_cluster_error(self._host), answer:
            for line in io.TextIOWrapper(answer, encoding="utf-8", errors="replace"):
                yield line.rstrip("\n")

    def _logged_in(
        self, method: str, url: str, headers: dict[str, str], options: dict[str, Any]
    ) -> Any:
        login = self._login.headers()
        try:
            return self._send(method, url, {**headers, **login}, options)
        except kfp_server_api.ApiException as error:
            renewed = self._login.headers()
            if error.status != 401 or renewed == login:
                raise
        # The token was renewed in its file after it had been read.
        return self._send(method, url, {**headers, **renewed}, options)

    def _send(self, method: str, url: str, headers: dict[str, str], options: Any) -> Any:
        timed = {**options, "_request_timeout": (CONNECT_SECS, ANSWER_SECS)}
        with as_cluster_error(self._host):
            return super().request(method, url, headers=headers, **timed)


def _is_page(content_type: str | None) -> bool:
    return "html" in (content_type or "")
