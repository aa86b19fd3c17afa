"""Request logs for tests: what they write stays in memory, their clock stands still."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from typing import Any

from app.domain.calls import Usage
from app.gateway.services import Services
from app.observability.line_writer import LineWriter
from app.observability.metrics import WorkerMetrics
from app.observability.record import RequestRecord
from app.observability.redact import redactor
from app.observability.request_log import RequestLog, RequestLogSettings

#: The wall clock: 2026-09-21T14:13:20Z.
NOW = 1_790_000_000.0


class LogHere:
    """A request log and what it has written.

    Args:
        secrets: values that are masked.
        now: wall clock.
        dice: decides on samples.
        settings: fields of ``RequestLogSettings``.
    """

    def __init__(
        self,
        *,
        secrets: tuple[str, ...] = (),
        now: Callable[[], float] = lambda: NOW,
        dice: Callable[[], float] = lambda: 0.5,
        **settings: Any,
    ) -> None:
        self.out = io.StringIO()
        self.metrics = WorkerMetrics()
        self.log = RequestLog(
            RequestLogSettings(**{"format": "json", **settings}),
            lines=LineWriter(self.out),
            metrics=self.metrics,
            redact=redactor(secrets),
            now=now,
            dice=dice,
            host="here",
        )

    def note(self, record: RequestRecord, *, response_s: float = 0.25, duration_s: float = 0.5) -> None:
        """Has a request logged."""
        self.log.note(record, response_s=response_s, duration_s=duration_s)

    @property
    def text(self) -> str:
        """Everything that was written."""
        return self.out.getvalue()

    @property
    def lines(self) -> list[dict[str, Any]]:
        """The lines, of a log in JSON."""
        return [json.loads(line) for line in self.text.splitlines()]


def logged(services: Services) -> list[dict[str, Any]]:
    """What the log of a worker has said of requests."""
    return [json.loads(line) for line in services.request_log.latest()]


def request(path: str = "/v1/models", *, status: int = 200, **notes: Any) -> RequestRecord:
    """Notes of a request."""
    return RequestRecord("cw-019ab3f2c1d5-e0f3a21c-1f", "GET", path, status=status, **notes)


def chat_request(**notes: Any) -> RequestRecord:
    """Notes of a plain chat completion that took 812 ms, 800 of them Anthropic's."""
    told: dict[str, Any] = {
        "path": "/v1/chat/completions",
        "status": 200,
        "model_asked": "opus",
        "model": "claude-opus-5-5",
        "model_label": "claude-opus-5-5",
        "attempts": 1,
        "usage": Usage(input_tokens=11, cache_read_input_tokens=12, cache_creation_input_tokens=13, output_tokens=14),
        "tenant": "acme",
        "key_id": "0123456789ab",
        "source": "stored",
        "nano": 12_300_000,
        "verdict": "admitted",
        "cache": "bypass",
        "bytes_in": 1000,
        "bytes_out": 2000,
        "began_at": 100.0,
        "read_at": 100.001,
        "translated_at": 100.003,
        "admitted_at": 100.006,
        "sent_at": 100.010,
        "answered_at": 100.700,
        "ended_at": 100.810,
    }
    return RequestRecord("cw-019ab3f2c1d5-e0f3a21c-1f", "POST", **{**told, **notes})
