"""The spans of a request, made of its notes once it is over.

    POST /v1/chat/completions        server span, the whole request
    |-- admit                        decoded and translated, until it was let in or refused
    |-- chat claude-...              client span: its calls of Claude, from the first one's leaving to the last's end
    |-- stream                       from the first frame with content to the last
    `-- settle                       from the settlement's leaving to the store's answer; may end after the request

Retries, the calls of ``n`` above 1 and those that continue a ``pause_turn`` are one span, whose id all of them tell
Anthropic. Attributes follow the semantic conventions of OpenTelemetry for HTTP (1.44) and for GenAI (``gen-ai-spans``
and ``anthropic``, both in development); what they have no name for is ``claude_wrapper.*``. Nothing that a client
wrote is among them but the id of its request, and no path: prompts, keys and ids of sessions stay here.
"""

from __future__ import annotations

from typing import Final

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags, TraceState

from app.domain.limits import NANO_PER_USD
from app.observability.record import RequestRecord
from app.observability.trace_context import Bits, members_of
from app.observability.tracing import Ended
from app.observability.version import DISTRIBUTION, VERSION

Attributes = dict[str, str | bool | int | float]

SCOPE: Final = InstrumentationScope(DISTRIBUTION, VERSION)

#: Other methods are one, so that names of spans are few.
_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"})
_OTHER_METHOD: Final = "_OTHER"

_FINE: Final = Status(StatusCode.UNSET)
_ERROR: Final = Status(StatusCode.ERROR)
_SAMPLED: Final = TraceFlags(TraceFlags.SAMPLED)


class SpanMaker:
    """Makes the spans of one worker.

    Args:
        resource: what the worker is.
        server: host and port of Anthropic's API.
        bits: a source of random bits, of the thread that makes spans.
    """

    def __init__(self, resource: Resource, *, server: tuple[str, int], bits: Bits) -> None:
        self._resource = resource
        self._server = server
        self._bits = bits

    def spans_of(self, ended: Ended, *, epoch_ns: int) -> list[ReadableSpan]:
        """The spans of a request, its own first.

        Args:
            ended: the request.
            epoch_ns: Unix nanoseconds at zero of the clock of its notes.
        """
        record, trace, ended_at = ended.record, ended.trace, ended.ended_at
        tree = _Tree(self._resource, ended, epoch_ns=epoch_ns, bits=self._bits)
        tree.add_server_span(_server_name(ended), _server_attributes(ended), _ERROR if record.is_error else _FINE)
        began_at = record.translated_at or record.read_at or record.began_at
        if record.admitted_at:
            tree.add("admit", began_at, record.admitted_at, {"claude_wrapper.verdict": record.verdict})
        if record.sent_at:
            tree.add(
                f"chat {record.model or record.model_label}".rstrip(),
                record.sent_at,
                record.ended_at or ended_at,
                self._call_attributes(record),
                status=_ERROR if _call_failed(record) else _FINE,
                kind=SpanKind.CLIENT,
                span_id=trace.call_span_id,
            )
        if record.first_token_at:
            tree.add("stream", record.first_token_at, ended_at, {"claude_wrapper.bytes": record.bytes_out})
        if trace.settling_at:
            tree.add(
                "settle", trace.settling_at, trace.settled_at or ended_at, {}, _FINE if trace.is_settled else _ERROR
            )
        return tree.spans

    def _call_attributes(self, record: RequestRecord) -> Attributes:
        """Of the calls of Claude (conventions: ``span.anthropic.inference.client``)."""
        host, port = self._server
        attributes: Attributes = {
            "gen_ai.operation.name": "chat",
            "gen_ai.provider.name": "anthropic",
            "server.address": host,
            "server.port": port,
        }
        if model := record.model or record.model_label:
            attributes["gen_ai.request.model"] = model
        if record.stream:
            attributes["gen_ai.request.stream"] = True
            if record.first_token_at:
                attributes["gen_ai.response.time_to_first_chunk"] = record.first_token_at - record.sent_at
        if record.retries:
            attributes["http.request.resend_count"] = record.retries
        if _call_failed(record):
            attributes["error.type"] = _error_type(record)
        if (usage := record.usage) is not None:
            attributes["gen_ai.usage.input_tokens"] = usage.prompt_tokens
            attributes["gen_ai.usage.output_tokens"] = usage.output_tokens
            if usage.cache_read_input_tokens:
                attributes["gen_ai.usage.cache_read.input_tokens"] = usage.cache_read_input_tokens
            if usage.cache_creation_input_tokens:
                attributes["gen_ai.usage.cache_creation.input_tokens"] = usage.cache_creation_input_tokens
            if usage.thinking_tokens:
                attributes["gen_ai.usage.reasoning.output_tokens"] = usage.thinking_tokens
        if record.nano:
            attributes["claude_wrapper.cost_usd"] = record.nano / NANO_PER_USD
        return attributes


class _Tree:
    """The spans of one request: its own, and children of that."""

    def __init__(self, resource: Resource, ended: Ended, *, epoch_ns: int, bits: Bits) -> None:
        self._resource = resource
        self._ended = ended
        self._epoch_ns = epoch_ns
        self._bits = bits
        self._state = TraceState(list(members_of(ended.trace.state).items()))
        self._own = self._context(ended.trace.span_id)
        self.spans: list[ReadableSpan] = []

    def add_server_span(self, name: str, attributes: Attributes, status: Status) -> None:
        """The request's own span, whose parent is the client's."""
        trace = self._ended.trace
        parent = self._context(trace.parent_span_id, is_remote=True) if trace.parent_span_id else None
        began_at, ended_at = self._ended.record.began_at, self._ended.ended_at
        self._add(name, self._own, parent, began_at, ended_at, attributes, status, SpanKind.SERVER)

    def add(
        self,
        name: str,
        began_at: float,
        ended_at: float,
        attributes: Attributes,
        status: Status = _FINE,
        kind: SpanKind = SpanKind.INTERNAL,
        span_id: int = 0,
    ) -> None:
        """A child of the request's own span; ``span_id`` is made up where it was not told to anybody."""
        context = self._context(span_id or self._bits(64) or 1)
        self._add(name, context, self._own, began_at, ended_at, attributes, status, kind)

    def _add(
        self,
        name: str,
        context: SpanContext,
        parent: SpanContext | None,
        began_at: float,
        ended_at: float,
        attributes: Attributes,
        status: Status,
        kind: SpanKind,
    ) -> None:
        span = ReadableSpan(
            name=name,
            context=context,
            parent=parent,
            resource=self._resource,
            attributes=attributes,
            kind=kind,
            status=status,
            start_time=self._epoch_ns + int(began_at * 1e9),
            end_time=self._epoch_ns + int(max(began_at, ended_at) * 1e9),
            instrumentation_scope=SCOPE,
        )
        self.spans.append(span)

    def _context(self, span_id: int, *, is_remote: bool = False) -> SpanContext:
        return SpanContext(self._ended.trace.trace_id, span_id, is_remote, _SAMPLED, self._state)


def _server_name(ended: Ended) -> str:
    """Method and route; a route that is none (``other``) has no place in it."""
    method = ended.record.method if ended.record.method in _METHODS else "HTTP"
    return f"{method} {ended.route}" if ended.route.startswith("/") else method


def _server_attributes(ended: Ended) -> Attributes:
    """Of the request's own span (conventions: ``span.http.server``)."""
    record = ended.record
    attributes: Attributes = {
        "http.request.method": record.method if record.method in _METHODS else _OTHER_METHOD,
        "claude_wrapper.request_id": record.request_id,
    }
    if ended.route.startswith("/"):
        attributes["http.route"] = ended.route
    if record.status:
        attributes["http.response.status_code"] = record.status
    if record.failed or record.status >= 400:
        attributes["error.type"] = _error_type(record)
    for name, text in (("tenant", record.tenant), ("cache", record.cache)):
        if text:
            attributes[f"claude_wrapper.{name}"] = text
    for name, is_so in (("degraded", record.degraded), ("client_left", record.client_left)):
        if is_so:
            attributes[f"claude_wrapper.{name}"] = True
    return attributes


def _call_failed(record: RequestRecord) -> bool:
    """Whether a call of Claude failed: it has no end, and not because its client left."""
    return not record.ended_at and (record.failed or record.status >= 400)


def _error_type(record: RequestRecord) -> str:
    return record.error_code or ("broken_off" if record.status < 400 else str(record.status))
