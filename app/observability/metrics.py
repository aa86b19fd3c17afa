"""What one worker counts: plain integers on the request path, handed over once a second (``handover.py``).

``CATALOG`` is every metric there is, with its labels; ``/metrics``, OTLP and their tests go by it. Names follow
Prometheus (base units, ``_total``) and, where OpenTelemetry's GenAI conventions have a metric, theirs. The values of
every label come from a bounded set: routes of this gateway, models of its table (``other`` for the rest), status codes,
classes of callers. Costs and design: PERFORMANCE.md section 2.

Beside the totals it counts into ``minute``, by the names of ``app.domain.minutes``, what all workers add up in Redis.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal

from msgspec import Struct

from app.domain import minutes
from app.domain.histograms import BOUNDS_S, PER_OCTAVE, Histogram, bucket_of
from app.domain.limits import NANO_PER_USD, Use
from app.observability.record import RequestRecord

Labels = tuple[str, ...]


class Metric(Struct, frozen=True, kw_only=True):
    """One metric.

    Args:
        name: without the ending ``_total`` of a counter.
        kind: what it is.
        help: one line.
        labels: their names, in the order of their values.
        scale: what a stored integer is multiplied with when it is shown.
        unit: of a histogram's buckets and sums; all are seconds here.
    """

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    help: str
    labels: Labels = ()
    scale: float = 1.0


def _counter(name: str, text: str, *labels: str, scale: float = 1.0) -> Metric:
    return Metric(name=name, kind="counter", help=text, labels=labels, scale=scale)


def _gauge(name: str, text: str, *labels: str) -> Metric:
    return Metric(name=name, kind="gauge", help=text, labels=labels)


def _histogram(name: str, text: str, *labels: str) -> Metric:
    return Metric(name=name, kind="histogram", help=text, labels=labels)


REQUESTS: Final = _counter(
    "claude_wrapper_requests",
    "Requests answered; health checks and the operator's pages are not counted.",
    "route",
    "model",
    "status",
    "tenant_class",
)
BROKEN: Final = _counter("claude_wrapper_streams_broken", "Streams that ended in an error after their first byte.")
LEFT: Final = _counter("claude_wrapper_clients_left", "Requests whose client went away before the reply was complete.")
ADMISSIONS: Final = _counter("claude_wrapper_admissions", "Verdicts on model requests, by reason.", "verdict")
TOKENS: Final = _counter("claude_wrapper_tokens", "Tokens that calls of Claude have used.", "model", "class")
COST: Final = _counter("claude_wrapper_cost_usd", "What calls of Claude have cost.", "model", scale=1 / NANO_PER_USD)
CACHE: Final = _counter("claude_wrapper_cache_requests", "Model requests by what the response cache did.", "outcome")
SAVED: Final = _counter(
    "claude_wrapper_cache_saved_usd", "What answers from the cache would have cost.", scale=1 / NANO_PER_USD
)
UPSTREAM_CALLS: Final = _counter("claude_wrapper_upstream_calls", "Calls made to Anthropic, retries included.")
RETRIES: Final = _counter("claude_wrapper_upstream_retries", "Calls made to Anthropic once more.")
DEGRADED: Final = _counter("claude_wrapper_degraded_requests", "Requests decided without the state store.")
SLOW: Final = _counter(
    "claude_wrapper_slow_steps", "Steps of requests that took longer than CLAUDE_WRAPPER_SLOW_S.", "step"
)

DURATION: Final = _histogram(
    "gen_ai_server_request_duration_seconds",
    "Model requests, until the reply was complete.",
    "gen_ai_operation_name",
    "gen_ai_request_model",
    "gen_ai_provider_name",
    "error_type",
)
FIRST_TOKEN: Final = _histogram(
    "gen_ai_server_time_to_first_token_seconds",
    "Streams, until their first frame.",
    "gen_ai_operation_name",
    "gen_ai_request_model",
    "gen_ai_provider_name",
)
PER_TOKEN: Final = _histogram(
    "gen_ai_server_time_per_output_token_seconds",
    "Streams, mean time from one token to the next.",
    "gen_ai_operation_name",
    "gen_ai_request_model",
    "gen_ai_provider_name",
)
HTTP_DURATION: Final = _histogram(
    "claude_wrapper_request_duration_seconds", "All requests, until the reply was complete.", "route"
)
UPSTREAM: Final = _histogram(
    "claude_wrapper_upstream_response_seconds", "Calls of Claude, until the headers of the reply.", "model"
)
OVERHEAD: Final = _histogram(
    "claude_wrapper_gateway_overhead_seconds",
    "What the gateway adds: plain requests less the time of their calls, streams until their call is sent.",
    "route",
)
REDIS: Final = _histogram("claude_wrapper_redis_call_seconds", "Calls of the state store, until their reply.")

IN_FLIGHT: Final = _gauge("claude_wrapper_requests_in_flight", "Requests being answered now.", "worker")
STREAMS: Final = _gauge("claude_wrapper_streams_open", "Streams open now.", "worker")
LOOP_LAG: Final = _gauge(
    "claude_wrapper_event_loop_lag_seconds", "Worst delay of the event loop in the last ten seconds.", "worker"
)
RSS: Final = _gauge("process_resident_memory_bytes", "Resident memory.", "worker")
CPU: Final = _counter("process_cpu_seconds", "User and system time.", "worker", scale=1e-6)
STARTED: Final = _gauge("process_start_time_seconds", "Unix time of the start.", "worker")
BREAKER: Final = _gauge("claude_wrapper_redis_breaker_open", "1 while the state store counts as away.", "worker")
UNSETTLED: Final = _gauge("claude_wrapper_settlements_pending", "Settlements that are not made yet.", "worker")
CREDENTIAL: Final = _gauge(
    "claude_wrapper_upstream_credential_ok",
    "1 while Anthropic takes the key; 0 after it refused it.",
    "credential",
)
REMAINING: Final = _gauge(
    "claude_wrapper_upstream_ratelimit_remaining_ratio",
    "What is left of a rate limit of Anthropic's, as a share of it.",
    "credential",
    "limit",
)
SESSIONS: Final = _gauge("claude_wrapper_sessions_live", "Live sessions of all tenants, in the shared store.")
FULLEST: Final = _gauge(
    "claude_wrapper_sessions_fullest_tenant_ratio", "Sessions of the tenant that is nearest to its maximum, as a share."
)
STORE_MEMORY: Final = _gauge("claude_wrapper_redis_memory_bytes", "Memory that the state store uses.")
STORE_MEMORY_MAX: Final = _gauge("claude_wrapper_redis_memory_max_bytes", "Memory that it may use; 0 without a bound.")
ALERT: Final = _gauge("claude_wrapper_alert_active", "Alerts: 1 warning, 2 critical, 0 fine.", "alert")

CATALOG: Final = (
    REQUESTS,
    BROKEN,
    LEFT,
    ADMISSIONS,
    TOKENS,
    COST,
    CACHE,
    SAVED,
    UPSTREAM_CALLS,
    RETRIES,
    DEGRADED,
    SLOW,
    DURATION,
    FIRST_TOKEN,
    PER_TOKEN,
    HTTP_DURATION,
    UPSTREAM,
    OVERHEAD,
    REDIS,
    IN_FLIGHT,
    STREAMS,
    LOOP_LAG,
    RSS,
    CPU,
    STARTED,
    BREAKER,
    UNSETTLED,
    CREDENTIAL,
    REMAINING,
    SESSIONS,
    FULLEST,
    STORE_MEMORY,
    STORE_MEMORY_MAX,
    ALERT,
)

#: Bounds of a Prometheus histogram: one an octave.
SHOWN_BOUNDS_S: Final = BOUNDS_S[::PER_OCTAVE]

#: Tenants whose spend is told apart between two flushes of ``minute``; the spend of further ones is that of ``other``.
MOST_TENANTS: Final = 200

_PROVIDER: Final = "anthropic"
_OPERATION: Final = "chat"


class WorkerMetrics:
    """The counters of one worker; belongs to its event loop, so no locks.

    Args:
        slow_s: a step that takes longer is slow.

    Attributes:
        counters: of each metric, its values by their labels.
        histograms: likewise.
        minute: what was counted since it was last taken, by the names of ``app.domain.minutes``.
    """

    __slots__ = ("_slow_s", "counters", "histograms", "minute", "redis")

    def __init__(self, *, slow_s: float = 1.0) -> None:
        self._slow_s = slow_s
        self.counters: dict[str, dict[Labels, int]] = {
            metric.name: {} for metric in CATALOG if metric.kind == "counter"
        }
        self.histograms: dict[str, dict[Labels, Histogram]] = {
            metric.name: {} for metric in CATALOG if metric.kind == "histogram"
        }
        self.redis = self.histograms[REDIS.name][()] = Histogram()
        self.minute: dict[str, int] = {}

    def count(self, metric: Metric, *labels: str, by: int = 1) -> None:
        """Adds to a counter."""
        values = self.counters[metric.name]
        values[labels] = values.get(labels, 0) + by

    def observe(self, metric: Metric, labels: Labels, seconds: float) -> None:
        """Adds a time to a histogram."""
        histograms = self.histograms[metric.name]
        histogram = histograms.get(labels)
        if histogram is None:
            histogram = histograms[labels] = Histogram()
        histogram.observe(seconds)

    def take_minute(self) -> dict[str, int]:
        """What was counted since the last time; it begins anew."""
        taken, self.minute = self.minute, {}
        return taken

    def give_back_minute(self, taken: Mapping[str, int]) -> None:
        """What was taken could not be delivered, and is counted with what has come since."""
        for field, count in taken.items():
            self._add(field, count)

    def _add(self, field: str, count: int = 1) -> None:
        minute = self.minute
        minute[field] = minute.get(field, 0) + count

    # What is told by the requests

    def answered(self, record: RequestRecord, *, route: str, duration_s: float) -> None:
        """A request is over.

        Args:
            record: its notes.
            route: as it is labelled.
            duration_s: until its reply was complete.
        """
        status, model = record.status, record.model_label
        self.count(REQUESTS, route, model, str(status), record.source)
        self.observe(HTTP_DURATION, (route,), duration_s)
        self._add(minutes.REQUESTS)
        failed = record.failed or status >= 500
        if failed:
            self._add(minutes.ERRORS)
            if record.failed:
                self.count(BROKEN)
                self._add(minutes.BROKEN)
        elif status >= 400:
            self._add(minutes.CLIENT_ERRORS)
            if status == 429:
                self._add(minutes.REFUSED)
        if record.client_left:
            self.count(LEFT)
        if record.degraded:
            self.count(DEGRADED)
        if record.verdict:
            self.count(ADMISSIONS, record.verdict)
        if model:
            self._model_request(record, route, duration_s, failed=failed)

    def _model_request(self, record: RequestRecord, route: str, duration_s: float, *, failed: bool) -> None:
        model, began_at, first_at = record.model_label, record.began_at, record.first_token_at
        error = "broken_off" if record.failed else "" if record.status < 400 else str(record.status)
        self.observe(DURATION, (_OPERATION, model, _PROVIDER, error), duration_s)
        self._add(minutes.OF_MODEL + model)
        if record.attempts:
            self.count(UPSTREAM_CALLS, by=record.attempts)
            if record.retries:
                self.count(RETRIES, by=record.retries)
        response_s = duration_s
        if first_at:
            response_s = first_at - began_at
            self._add(minutes.STREAMS)
            self.observe(FIRST_TOKEN, (_OPERATION, model, _PROVIDER), response_s)
            self._time(minutes.FIRST_TOKEN, response_s)
            usage = record.usage
            if usage is not None and usage.output_tokens > 1 and not failed:
                per_token_s = (duration_s - response_s) / (usage.output_tokens - 1)
                self.observe(PER_TOKEN, (_OPERATION, model, _PROVIDER), per_token_s)
        if record.status < 400 and not (record.stream and not first_at):
            self._time(minutes.RESPONSE, response_s)
        if record.cache:
            self.count(CACHE, record.cache)
            self._add(minutes.CACHE + record.cache)
            if record.saved_nano:
                self.count(SAVED, by=record.saved_nano)
                self._add(minutes.SAVED_NANO, record.saved_nano)
        sent_at = record.sent_at
        if sent_at:
            if record.answered_at:
                self.observe(UPSTREAM, (model,), record.answered_at - sent_at)
            before_s = sent_at - began_at
            if record.stream:
                self.observe(OVERHEAD, (route,), before_s)
            elif record.ended_at:
                self.observe(OVERHEAD, (route,), duration_s - (record.ended_at - sent_at))

    def _time(self, kind: minutes.Times, seconds: float) -> None:
        minute, field = self.minute, kind.fields[bucket_of(seconds)]
        minute[field] = minute.get(field, 0) + 1
        minute[kind.total] = minute.get(kind.total, 0) + int(seconds * 1e6)

    def used(self, *, tenant: str, model: str, use: Use) -> None:
        """A request was settled: what its calls of Claude have used, also where its client was gone by then."""
        for name, tokens in (
            ("input", use.input_tokens),
            ("output", use.output_tokens),
            ("cache_read", use.cache_read_tokens),
            ("cache_write", use.cache_write_tokens),
        ):
            if tokens:
                self.count(TOKENS, model, name, by=tokens)
                self._add(minutes.TOKENS + name, tokens)
        if use.nano:
            self.count(COST, model, by=use.nano)
            self._add(minutes.NANO, use.nano)
            self._add(minutes.NANO_OF_MODEL + model, use.nano)
            self._add(self._tenant_field(tenant), use.nano)

    def _tenant_field(self, tenant: str) -> str:
        field = minutes.NANO_OF_TENANT + tenant
        if field in self.minute or len(self.minute) < MOST_TENANTS:
            return field
        return minutes.NANO_OF_TENANT + minutes.OTHER
