"""How the server behaves."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class ServerSettings:
    """Limits and names of one server.

    Attributes:
      name: of the model, as requests name it.
      max_body_bytes: of a request; larger ones are refused.
      max_rows: images, or other rows, of one request.
      max_batch: rows that are given to the model at once.
      batch_wait_ms: how long a request waits at most for others to be batched with.
      max_queued_rows: rows that wait; beyond it requests are refused, not kept.
      timeout_secs: for the headers of a request to arrive, for its body, and for its answer.
      poll_secs: how often the versions are looked at.
      token: that requests must bear; empty: none.
      labels: name -> number of a version that is served beside the newest.
    """

    name: str
    max_body_bytes: int = 64 * 2**20
    max_rows: int = 256
    max_batch: int = 32
    batch_wait_ms: float = 2.0
    max_queued_rows: int = 512
    timeout_secs: float = 30.0
    poll_secs: float = 1.0
    token: str = ""
    labels: Mapping[str, int] = field(default_factory=dict)
