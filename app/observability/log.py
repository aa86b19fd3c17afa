"""The log: JSON lines or readable text on one stream, secrets masked, exceptions without values.

JSON is made by python-json-logger over msgspec. Every module logs through ``logging.getLogger(__name__)``; what is
specific to a record goes into ``extra``. Third-party loggers speak from WARNING on only: at DEBUG the SDK logs request
bodies, which are prompts. The line of a request does not come by here (``request_log.py``), but goes the same way
out: ``lines``.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable
from types import TracebackType
from typing import Literal, TextIO, TypeAlias

from pythonjsonlogger.core import RESERVED_ATTRS
from pythonjsonlogger.msgspec import MsgspecFormatter

from app.observability.line_writer import LineWriter
from app.observability.redact import describe, redactor

#: Loggers of our own code, which follow the configured level.
OUR_LOGGERS = ("app", "workers")

#: Loggers of the server, which tell its life (started, stopped) and come with handlers of their own.
SERVER_LOGGERS = ("gunicorn.error", "gunicorn.access", "uvicorn", "uvicorn.error", "uvicorn.access", "uvicorn.asgi")

_ExcInfo: TypeAlias = tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]

_lines = LineWriter()

#: Attributes of a record that are not somebody's ``extra``; uvicorn adds the message in colours.
_NOT_EXTRA = frozenset({*RESERVED_ATTRS, "taskName", "color_message"})


def configure(
    *,
    format: Literal["text", "json"] = "text",  # noqa: A002 - the word of the setting
    level: int | str = logging.INFO,
    stream: TextIO | None = None,
    secrets: Iterable[str] = (),
) -> None:
    """Sends the log of this process to one stream, in one format. May be called again, for example after a fork.

    Args:
        format: ``json`` for one JSON object per line, ``text`` for people.
        level: level of our own loggers; other libraries speak from WARNING on.
        stream: where to; standard error by default.
        secrets: values masked wherever they appear, such as configured keys.
    """
    global _lines
    _lines.close()
    _lines = LineWriter(stream)
    handler = LineHandler(_lines)
    handler.setFormatter(JsonFormatter(secrets) if format == "json" else TextFormatter(secrets))
    root = logging.getLogger()
    for previous in root.handlers[:]:
        root.removeHandler(previous)
    root.addHandler(handler)
    root.setLevel(logging.WARNING)
    for name in OUR_LOGGERS:
        logging.getLogger(name).setLevel(level)
    for name in SERVER_LOGGERS:
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True
        logger.setLevel(logging.INFO)


def lines() -> LineWriter:
    """The way out of the log of this process."""
    return _lines


class LineHandler(logging.Handler):
    """Hands finished lines over.

    Args:
        lines: the way out.
    """

    def __init__(self, lines: LineWriter) -> None:
        super().__init__()
        self._lines = lines

    def emit(self, record: logging.LogRecord) -> None:
        """Writes one record; whatever is wrong with it must not reach whoever logs."""
        try:
            line = self.format(record)
        except Exception:  # noqa: BLE001 - as logging has it
            self.handleError(record)
        else:
            self._lines.put(f"{line}\n".encode("utf-8", "backslashreplace"), soon=record.levelno >= logging.WARNING)


class JsonFormatter(MsgspecFormatter):
    """One JSON object per record: ``timestamp``, ``level``, ``logger``, ``message``, then its extra fields."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        super().__init__(
            ["levelname", "name", "message"],
            rename_fields={"levelname": "level", "name": "logger", "exc_info": "exception"},
            reserved_attrs=sorted(_NOT_EXTRA),
            timestamp="timestamp",
        )
        self._redact = redactor(secrets)

    def format(self, record: logging.LogRecord) -> str:
        """The record as one line of JSON."""
        record.exc_text = None  # what another formatter has cached there holds values
        return self._redact(super().format(record))

    def formatException(self, ei: _ExcInfo) -> str:  # noqa: N802 - logging's name
        """The exception without the values it may quote."""
        return describe(ei[1]) if ei[1] is not None else ""


class TextFormatter(logging.Formatter):
    """``2026-11-23T21:00:00.123Z INFO app.api: message  key=value``, exceptions on the following lines."""

    converter = staticmethod(time.gmtime)
    default_time_format = "%Y-%m-%dT%H:%M:%S"
    default_msec_format = "%s.%03dZ"

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")
        self._redact = redactor(secrets)

    def format(self, record: logging.LogRecord) -> str:
        """The record as text."""
        record.exc_text = None  # what another formatter has cached there holds values
        return self._redact(super().format(record))

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        """The first line, with the extra fields behind the message."""
        extra = " ".join(f"{name}={value}" for name, value in record.__dict__.items() if name not in _NOT_EXTRA)
        line = super().formatMessage(record)
        return f"{line}  {extra}" if extra else line

    def formatException(self, ei: _ExcInfo) -> str:  # noqa: N802 - logging's name
        """The exception without the values it may quote."""
        return describe(ei[1]) if ei[1] is not None else ""
