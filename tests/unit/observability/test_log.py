"""Log lines: one object per record as JSON, one readable line as text, never a secret or a prompt."""

import io
import json
import logging
from collections.abc import Iterator

import pytest

from app.observability.log import OUR_LOGGERS, SERVER_LOGGERS, configure

CANARY = "CANARY-7f3a9c"


@pytest.fixture(autouse=True)
def restored_logging() -> Iterator[None]:
    loggers = [logging.getLogger(name) for name in (None, *OUR_LOGGERS, *SERVER_LOGGERS)]
    before = [(logger, logger.handlers[:], logger.level, logger.propagate) for logger in loggers]
    yield
    for logger, handlers, level, propagate in before:
        logger.handlers[:] = handlers
        logger.setLevel(level)
        logger.propagate = propagate


def logged(format_: str, *, level: int = logging.INFO, secrets: tuple[str, ...] = ()) -> io.StringIO:
    stream = io.StringIO()
    configure(format=format_, level=level, stream=stream, secrets=secrets)  # type: ignore[arg-type]
    return stream


def test_json_has_time_level_logger_message_and_extra_fields() -> None:
    stream = logged("json")
    logging.getLogger("app.request").info("request", extra={"status": 200, "duration_ms": 1.5})
    line = json.loads(stream.getvalue())
    assert line.pop("timestamp").startswith("20")
    assert line == {"level": "INFO", "logger": "app.request", "message": "request", "status": 200, "duration_ms": 1.5}


def test_each_json_record_is_one_line() -> None:
    stream = logged("json")
    logging.getLogger("app.x").warning("two\nlines")
    try:
        raise ValueError(CANARY)
    except ValueError:
        logging.getLogger("app.x").exception("failed")
    assert len(stream.getvalue().splitlines()) == 2


def test_text_is_a_line_with_the_fields_behind_the_message() -> None:
    stream = logged("text")
    logging.getLogger("app.request").info("request", extra={"status": 200, "path": "/v1/models"})
    _time, rest = stream.getvalue().split(" ", 1)
    assert rest == "INFO app.request: request  status=200 path=/v1/models\n"


@pytest.mark.parametrize("format_", ["json", "text"])
def test_an_exception_is_logged_without_its_values(format_: str) -> None:
    stream = logged(format_)
    try:
        raise ValueError(f"invalid literal {CANARY}")
    except ValueError:
        logging.getLogger("uvicorn.error").exception("Exception in ASGI application")
    assert CANARY not in stream.getvalue()
    assert "ValueError" in stream.getvalue()


@pytest.mark.parametrize("format_", ["json", "text"])
def test_a_trace_that_another_formatter_cached_is_not_used(format_: str) -> None:
    stream = logged(format_)
    record = logging.LogRecord("app.x", logging.ERROR, __file__, 1, "failed", None, None)
    record.exc_text = f"Traceback ... {CANARY}"
    logging.getLogger("app.x").handle(record)
    assert CANARY not in stream.getvalue()


@pytest.mark.parametrize("format_", ["json", "text"])
def test_secrets_are_masked_in_messages_arguments_and_fields(format_: str) -> None:
    stream = logged(format_, secrets=("plain-looking-key",))
    logging.getLogger("app.x").info(
        "calling with %s", f"sk-ant-{CANARY}", extra={"header": f"Bearer {CANARY}", "other": "plain-looking-key"}
    )
    assert CANARY not in stream.getvalue()
    assert "plain-looking-key" not in stream.getvalue()


def test_libraries_that_log_request_bodies_at_debug_stay_silent() -> None:
    stream = logged("text", level=logging.DEBUG)
    logging.getLogger("anthropic._base_client").debug("Request options: %s", CANARY)
    logging.getLogger("app.x").debug("ours")
    assert CANARY not in stream.getvalue()
    assert "ours" in stream.getvalue()


def test_the_servers_own_handlers_are_replaced() -> None:
    own = io.StringIO()
    logging.getLogger("gunicorn.error").addHandler(logging.StreamHandler(own))
    stream = logged("json")
    logging.getLogger("gunicorn.error").info("Booting worker")
    assert own.getvalue() == ""
    assert json.loads(stream.getvalue())["message"] == "Booting worker"


def test_configuring_again_does_not_double_the_lines() -> None:
    logged("json")
    stream = logged("json")
    logging.getLogger("app.x").info("once")
    assert len(stream.getvalue().splitlines()) == 1
