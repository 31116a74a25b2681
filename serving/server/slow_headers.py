"""Closes connections whose request headers do not arrive in time.

uvicorn times out idle connections after an answer, but neither new connections nor headers that
arrive byte by byte (https://www.uvicorn.org/settings/#timeouts names no such setting).
"""

import asyncio
import json

from uvicorn.protocols.http.h11_impl import H11Protocol, h11


def with_header_timeout(timeout_secs: float) -> type[H11Protocol]:
    """Makes uvicorn's protocol with a limit for the headers of each request.

    Args:
      timeout_secs: from the connection, or the first byte of a later request, to the last header.
    """

    class TimedProtocol(H11Protocol):
        _deadline: asyncio.TimerHandle | None = None

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            self._watch()

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            self._watch()

        def on_response_complete(self) -> None:
            super().on_response_complete()
            if self.conn.trailing_data[0]:  # the start of the next request is here already
                self._watch()

        def connection_lost(self, exc: Exception | None) -> None:
            self._unwatch()
            super().connection_lost(exc)

        def _watch(self) -> None:
            if self.conn.their_state is not h11.IDLE or self.transport.is_closing():
                self._unwatch()
            elif self._deadline is None:
                self._deadline = self.loop.call_later(timeout_secs, self._time_out)

        def _unwatch(self) -> None:
            if self._deadline is not None:
                self._deadline.cancel()
                self._deadline = None

        def _time_out(self) -> None:
            self._deadline = None
            if self.transport.is_closing() or self.conn.their_state is not h11.IDLE:
                return
            if self.conn.trailing_data[0] and self.conn.our_state is h11.IDLE:
                self.transport.write(_refusal(self.conn, timeout_secs))
            self.transport.close()

    return TimedProtocol


def _refusal(connection: h11.Connection, timeout_secs: float) -> bytes:
    message = f"The headers of the request did not arrive within {timeout_secs:g} s."
    body = json.dumps({"error": message}).encode()
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        (b"connection", b"close"),
    ]
    events = (
        h11.Response(status_code=408, headers=headers, reason=b"Request Timeout"),
        h11.Data(data=body),
        h11.EndOfMessage(),
    )
    return b"".join(connection.send(event) or b"" for event in events)
