"""What the log and ``GET /logs`` say of one request: the fields, and the line of text that people read; pure.

Made for every request, so it costs little: fields that a request does not have are left unset, times are rounded to
0.1 ms by integer arithmetic, and the single steps are told only where somebody looks for them (``add_steps``).
``tests/bench/observation.py`` measures it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Literal, TypeAlias

from msgspec import UNSET, Struct, UnsetType

from app.domain.limits import NANO_PER_USD
from app.observability.record import RequestRecord
from app.observability.steps import steps_of

#: What kind of request it was, to filter by.
Kind: TypeAlias = Literal["chat", "sessions", "keys", "admin", "operations", "other"]

#: Names of levels are those of ``logging``.
Level: TypeAlias = Literal["INFO", "WARNING"]

_CHAT: Final = frozenset({"/v1/chat/completions", "/v1/compatibility"})
_KINDS: Final[tuple[tuple[str, Kind], ...]] = (
    ("/v1/sessions", "sessions"),
    ("/admin/keys", "keys"),
    ("/admin/audit", "keys"),
    ("/admin", "admin"),
    ("/health", "operations"),
    ("/metrics", "operations"),
    ("/dashboard", "operations"),
    ("/logs", "operations"),
    ("/docs", "operations"),
    ("/openapi.json", "operations"),
    ("/swagger.json", "operations"),
)

_RESET: Final = "\x1b[0m"
_DIM: Final = "\x1b[2m"
#: By the first digit of a status.
_COLOURS: Final = {2: "\x1b[32m", 3: "\x1b[36m", 4: "\x1b[33m", 5: "\x1b[31m"}


class RequestLine(Struct):
    """One request.

    Args:
        timestamp: when it was over, RFC 3339 with milliseconds, UTC.
        level: ``WARNING`` where it failed on the gateway's or Anthropic's side.
        type: what kind of request it was.
        request_id: its id, as the client was told.
        status: of the reply; 499: the client left before.
        bytes_in: length of its body, as announced.
        bytes_out: length of the reply's body.
        tenant: of the caller; empty before that is known.
        key_id: of the caller's key, or what stands for it.
        response_ms: until the reply began.
        duration_ms: until the reply was complete.
        model_asked: the model name of the client.
        model: the model that was called.
        attempts: calls of Anthropic, of which ``retries`` were repeated.
        cost_usd: what they have cost; ``estimated`` where Anthropic did not tell all.
        degraded: it was decided without the state store.
        cache: what the response cache did.
        verdict: of the admission.
        adjusted: what of the request had another effect than asked for.
        error_code: what the client was told was wrong.
        broken: the reply broke off after its first byte.
        client_left: the client did not wait for the end.
        upstream_ms: from its call to the headers of Anthropic's reply; of plain requests to its end.
        first_token_ms: until the first frame of a stream with a part of the answer.
        overhead_ms: what the gateway has added: to a plain request all but its call, to a stream until its call.
        slow: the gateway's own steps that took too long.
        host: the machine or pod that served it, and the ``pid`` there; only in ``/logs``.
        read_ms: this and the following are its other steps, see ``steps.py``.
    """

    timestamp: str
    level: Level
    type: Kind
    request_id: str
    method: str
    path: str
    status: int
    bytes_in: int
    bytes_out: int
    tenant: str
    key_id: str
    response_ms: float
    duration_ms: float
    logger: str = "app.request"
    message: str = "request"
    model_asked: str | UnsetType = UNSET
    model: str | UnsetType = UNSET
    stream: bool | UnsetType = UNSET
    attempts: int | UnsetType = UNSET
    retries: int | UnsetType = UNSET
    cost_usd: float | UnsetType = UNSET
    estimated: bool | UnsetType = UNSET
    degraded: bool | UnsetType = UNSET
    input_tokens: int | UnsetType = UNSET
    cache_read_tokens: int | UnsetType = UNSET
    cache_write_tokens: int | UnsetType = UNSET
    output_tokens: int | UnsetType = UNSET
    cache: str | UnsetType = UNSET
    verdict: str | UnsetType = UNSET
    adjusted: str | UnsetType = UNSET
    error_code: str | UnsetType = UNSET
    broken: bool | UnsetType = UNSET
    client_left: bool | UnsetType = UNSET
    upstream_ms: float | UnsetType = UNSET
    first_token_ms: float | UnsetType = UNSET
    overhead_ms: float | UnsetType = UNSET
    slow: tuple[str, ...] | UnsetType = UNSET
    host: str | UnsetType = UNSET
    pid: int | UnsetType = UNSET
    read_ms: float | UnsetType = UNSET
    translate_ms: float | UnsetType = UNSET
    admit_ms: float | UnsetType = UNSET
    prepare_ms: float | UnsetType = UNSET
    finish_ms: float | UnsetType = UNSET


def kind_of(path: str) -> Kind:
    """What kind of request goes to a path."""
    if path in _CHAT:
        return "chat"
    return next((kind for beginning, kind in _KINDS if path.startswith(beginning)), "other")


def line_of(
    record: RequestRecord,
    *,
    timestamp: str,
    level: Level,
    kind: Kind,
    response_s: float,
    duration_s: float,
    overhead_s: float | None,
    clean: Callable[[str], str],
) -> RequestLine:
    """The line of a request that is over.

    Args:
        record: its notes.
        timestamp: when it was over.
        level: how bad it was.
        kind: of its path.
        response_s: until its reply began.
        duration_s: until its reply was complete.
        overhead_s: what the gateway has added, where that is known.
        clean: makes a text from outside fit for the log.
    """
    line = RequestLine(
        timestamp,
        level,
        kind,
        clean(record.request_id),
        record.method,
        clean(record.path),
        record.status,
        record.bytes_in,
        record.bytes_out,
        record.tenant,
        record.key_id,
        _ms(response_s),
        _ms(duration_s),
    )
    if record.model_asked or record.model:
        _add_model(line, record, clean)
    if overhead_s is not None:
        line.overhead_ms = _ms(overhead_s)
        _add_upstream_times(line, record)
    if record.verdict:
        line.verdict = record.verdict
    if record.degraded:
        line.degraded = True
    if record.error_code:
        line.error_code = clean(record.error_code)
    if record.failed:
        line.broken = True
    if record.client_left:
        line.client_left = True
    return line


def _add_model(line: RequestLine, record: RequestRecord, clean: Callable[[str], str]) -> None:
    line.model_asked = clean(record.model_asked)
    line.model = clean(record.model)
    line.stream = record.stream
    line.attempts = record.attempts
    if record.retries:
        line.retries = record.retries
    if record.nano:
        line.cost_usd = record.nano / NANO_PER_USD
    if record.estimated:
        line.estimated = True
    if record.cache:
        line.cache = record.cache
    if record.adjusted:
        line.adjusted = clean(", ".join(f"{path}={value}" for path, value in record.adjusted))
    usage = record.usage
    if usage is not None:
        line.input_tokens = usage.input_tokens
        line.cache_read_tokens = usage.cache_read_input_tokens
        line.cache_write_tokens = usage.cache_creation_input_tokens
        line.output_tokens = usage.output_tokens


def _add_upstream_times(line: RequestLine, record: RequestRecord) -> None:
    if not record.stream:
        line.upstream_ms = _ms(record.ended_at - record.sent_at)
        return
    if record.answered_at:
        line.upstream_ms = _ms(record.answered_at - record.sent_at)
    if record.first_token_at:
        line.first_token_ms = _ms(record.first_token_at - record.began_at)


def add_steps(line: RequestLine, record: RequestRecord, *, response_s: float) -> None:
    """Tells how long each step has taken."""
    for name, seconds in steps_of(record, response_s=response_s):
        setattr(line, f"{name}_ms", _ms(seconds))


def _ms(seconds: float) -> float:
    return int(seconds * 10_000 + 0.5) / 10


def as_text(line: RequestLine, *, is_coloured: bool) -> str:
    """The line as people read it: what happened first, ids last.

    Args:
        line: what it says.
        is_coloured: for a terminal.
    """
    status = f"{line.status or '---'}"
    colour = _COLOURS.get(line.status // 100, "") if is_coloured else ""
    if colour:
        status = f"{colour}{status}{_RESET}"
    words = [line.timestamp, line.level, f"{line.method} {line.path}", status, f"{line.duration_ms:g} ms"]
    details = " ".join(_details(line))
    if details:
        words.append(f" {_DIM}{details}{_RESET}" if is_coloured else f" {details}")
    return " ".join(words)


def _details(line: RequestLine) -> list[str]:
    details = []
    if line.model_asked:
        asked = "" if line.model_asked == line.model else f" (asked for {line.model_asked})"
        details.append(f"{line.model or '-'}{asked}{' stream' if line.stream else ''}")
    if line.output_tokens is not UNSET:
        details.append(f"tokens={line.input_tokens}+{line.output_tokens}")
    if line.cost_usd is not UNSET:
        details.append(f"cost=${line.cost_usd:.6f}{'~' if line.estimated else ''}")
    for name in _TOLD:
        value = getattr(line, name)
        if value is not UNSET and value != "":
            shown = ",".join(value) if isinstance(value, tuple) else value
            details.append(name if value is True else f"{name}={shown}")
    return details


#: Further fields of the text, by their names.
_TOLD: Final = (
    "error_code",
    "slow",
    "broken",
    "client_left",
    "degraded",
    "retries",
    "cache",
    "adjusted",
    "read_ms",
    "translate_ms",
    "admit_ms",
    "prepare_ms",
    "upstream_ms",
    "finish_ms",
    "first_token_ms",
    "overhead_ms",
    "tenant",
    "key_id",
    "request_id",
)
