"""A receiver of webhooks: a small HTTP server in a thread, which keeps what it was sent."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

from msgspec import Struct

from tests.support.processes import eventually

#: What a receiver of the tests is called by its settings.
SECRET: Final = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


class Sent(Struct, frozen=True):
    """One POST."""

    path: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def notice(self) -> dict[str, Any]:
        """The body as an object."""
        told: dict[str, Any] = json.loads(self.body)
        return told


class WebhookReceiver:
    """Keeps what it was sent.

    Attributes:
        url: where it is.
        answers: statuses of the next posts; 200 once they are used up.
        sent: the posts so far.
    """

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}/hook/the-secret-part"
        self.answers: list[int] = []
        self.sent: list[Sent] = []

    def notices(self, alert: str) -> list[dict[str, Any]]:
        """What it was told of an alert, in order."""
        return [sent.notice for sent in self.sent if sent.notice["alert"] == alert]

    def levels(self, alert: str) -> list[str]:
        """The levels of an alert, in order."""
        return [notice["level"] for notice in self.notices(alert)]

    def wait_for(self, alert: str, count: int, *, within_s: float = 60.0) -> list[dict[str, Any]]:
        """What it was told of an alert, once it was so much."""
        eventually(
            lambda: len(self.notices(alert)) >= count,
            within_s=within_s,
            message=f"of {alert} only {self.levels(alert)} was told",
        )
        return self.notices(alert)


@contextmanager
def webhook_receiver() -> Iterator[WebhookReceiver]:
    """Runs one until the block ends."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            receiver.sent.append(Sent(self.path, dict(self.headers.items()), body))
            self.send_response(receiver.answers.pop(0) if receiver.answers else 200)
            self.send_header("location", "/elsewhere")
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    receiver = WebhookReceiver(server.server_port)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield receiver
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
