"""What the server says no with."""


class RequestRefused(Exception):
    """A request gets no answer. The message goes to the client; it holds no path of this machine.

    Attributes:
      status: of HTTP; gRPC has a code for each.
      retry_after: seconds after which the client may try again; None: the same will be refused.
    """

    def __init__(self, status: int, message: str, retry_after: int | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.retry_after = retry_after
