"""What one worker counts: plain integers on the request path, handed over once a second (``handover.py``).

``CATALOG`` is every metric there is, with its labels; ``/metrics``, OTLP and their tests go by it. Names follow
Prometheus (base units, ``_total``) and, where OpenTelemetry's GenAI conventions have a metric, theirs. The values of
every label come from a bounded set: routes of this gateway, models of its table (``other`` for the rest), status codes,
classes of callers. Costs and design: PERFORMANCE.md section 2.

Beside the totals it counts into ``minute``, by the names of ``app.domain.minutes``, what all workers add up in Redis.
"""

from __future__ import annotations

from collections import defaultdict
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


class _Known:
    """Where requests of one kind are counted; found by their kind, so that no labels are put together again."""

    __slots__ = ("duration", "first_token", "http", "is_error", "labels", "minute_model", "overhead", "per_token", "up")

    def __init__(
        self, metrics: WorkerMetrics, route: str, model: str, status: int, source: str, failed: bool, streamed: bool
    ) -> None:
        self.labels = (route, model, str(status), source)
        self.is_error = failed or status >= 500
        self.http = metrics.histogram(HTTP_DURATION, route)
        self.duration: Histogram | None = None
        self.up: Histogram | None = None
        if not model:
            return
        error = "broken_off" if failed else "" if status < 400 else str(status)
        self.duration = metrics.histogram(DURATION, _OPERATION, model, _PROVIDER, error)
        self.up = metrics.histogram(UPSTREAM, model)
        self.overhead = metrics.histogram(OVERHEAD, route)
        self.minute_model = minutes.OF_MODEL + model
        if streamed:
            self.first_token = metrics.histogram(FIRST_TOKEN, _OPERATION, model, _PROVIDER)
            self.per_token = metrics.histogram(PER_TOKEN, _OPERATION, model, _PROVIDER)


class WorkerMetrics:
    """The counters of one worker; belongs to its event loop, so no locks.

    Args:
        slow_s: a step that takes longer is slow.

    Attributes:
        counters: of each metric, its values by their labels.
        histograms: likewise.
        minute: what was counted since it was last taken, by the names of ``app.domain.minutes``.
    """

    __slots__ = ("_known", "counters", "histograms", "minute", "redis")

    def __init__(self) -> None:
        self.counters: dict[str, dict[Labels, int]] = {
            metric.name: defaultdict(int) for metric in CATALOG if metric.kind == "counter"
        }
        self.histograms: dict[str, dict[Labels, Histogram]] = {
            metric.name: {} for metric in CATALOG if metric.kind == "histogram"
        }
        self.redis = self.histogram(REDIS)
        self.minute: defaultdict[str, int] = defaultdict(int)
        self._known: dict[tuple[str, str, int, str, bool, bool], _Known] = {}

    def count(self, metric: Metric, *labels: str, by: int = 1) -> None:
        """Adds to a counter."""
        self.counters[metric.name][labels] += by

    def histogram(self, metric: Metric, *labels: str) -> Histogram:
        """The histogram of these labels."""
        histograms = self.histograms[metric.name]
        found = histograms.get(labels)
        if found is None:
            found = histograms[labels] = Histogram()
        return found

    def take_minute(self) -> Mapping[str, int]:
        """What was counted since the last time; it begins anew."""
        taken, self.minute = self.minute, defaultdict(int)
        return taken

    def give_back_minute(self, taken: Mapping[str, int]) -> None:
        """What was taken could not be delivered, and is counted with what has come since."""
        for field, count in taken.items():
            self.minute[field] += count

    # What is told by the requests

    def answered(self, record: RequestRecord, *, route: str, duration_s: float) -> None:
        """A request is over.

        Args:
            record: its notes.
            route: as it is labelled.
            duration_s: until its reply was complete.
        """
        kind = (route, record.model_label, record.status, record.source, record.failed, record.first_token_at > 0)
        known = self._known.get(kind)
        if known is None:
            known = self._known[kind] = _Known(self, *kind)
        counters, minute = self.counters, self.minute
        counters[REQUESTS.name][known.labels] += 1
        bucket = bucket_of(duration_s)
        known.http.add(bucket, duration_s)
        minute[minutes.REQUESTS] += 1
        if record.status >= 400 or record.failed:
            self._went_wrong(record, is_error=known.is_error)
        if record.verdict:
            counters[ADMISSIONS.name][record.verdict,] += 1
        if record.client_left:
            self.count(LEFT)
        if record.degraded:
            self.count(DEGRADED)
        if known.duration is not None:
            known.duration.add(bucket, duration_s)
            minute[known.minute_model] += 1
            self._model_request(record, known, duration_s, bucket)

    def _went_wrong(self, record: RequestRecord, *, is_error: bool) -> None:
        if not is_error:
            self.minute[minutes.CLIENT_ERRORS] += 1
            if record.status == 429:
                self.minute[minutes.REFUSED] += 1
            return
        self.minute[minutes.ERRORS] += 1
        if record.failed:
            self.count(BROKEN)
            self.minute[minutes.BROKEN] += 1

    def _model_request(self, record: RequestRecord, known: _Known, duration_s: float, bucket: int) -> None:
        counters, minute = self.counters, self.minute
        began_at, first_at, sent_at = record.began_at, record.first_token_at, record.sent_at
        if record.attempts:
            counters[UPSTREAM_CALLS.name][()] += record.attempts
            if record.retries:
                self.count(RETRIES, by=record.retries)
        response_s = duration_s
        if first_at:
            response_s = first_at - began_at
            bucket = bucket_of(response_s)
            minute[minutes.STREAMS] += 1
            known.first_token.add(bucket, response_s)
            minute[minutes.FIRST_TOKEN.fields[bucket]] += 1
            minute[minutes.FIRST_TOKEN.total] += int(response_s * 1e6)
            usage = record.usage
            if usage is not None and usage.output_tokens > 1 and not known.is_error:
                known.per_token.observe((duration_s - response_s) / (usage.output_tokens - 1))
        if record.status < 400 and (first_at or not record.stream):
            minute[minutes.RESPONSE.fields[bucket]] += 1
            minute[minutes.RESPONSE.total] += int(response_s * 1e6)
        if record.cache:
            counters[CACHE.name][record.cache,] += 1
            minute[minutes.OF_CACHE[record.cache]] += 1
            if record.saved_nano:
                self.count(SAVED, by=record.saved_nano)
                minute[minutes.SAVED_NANO] += record.saved_nano
        if sent_at and known.up is not None:
            if record.answered_at:
                known.up.observe(record.answered_at - sent_at)
            if record.stream:
                known.overhead.observe(sent_at - began_at)
            elif record.ended_at:
                known.overhead.observe(duration_s - (record.ended_at - sent_at))

    def used(self, *, tenant: str, model: str, use: Use) -> None:
        """A request was settled: what its calls of Claude have used, also where its client was gone by then."""
        by_class, minute = self.counters[TOKENS.name], self.minute
        if use.input_tokens:
            by_class[model, "input"] += use.input_tokens
            minute["tokens:input"] += use.input_tokens
        if use.output_tokens:
            by_class[model, "output"] += use.output_tokens
            minute["tokens:output"] += use.output_tokens
        if use.cache_read_tokens:
            by_class[model, "cache_read"] += use.cache_read_tokens
            minute["tokens:cache_read"] += use.cache_read_tokens
        if use.cache_write_tokens:
            by_class[model, "cache_write"] += use.cache_write_tokens
            minute["tokens:cache_write"] += use.cache_write_tokens
        if use.nano:
            self.counters[COST.name][model,] += use.nano
            minute[minutes.NANO] += use.nano
            minute[minutes.NANO_OF_MODEL + model] += use.nano
            field = minutes.NANO_OF_TENANT + tenant
            if field not in minute and len(minute) >= MOST_TENANTS:
                field = minutes.NANO_OF_TENANT + minutes.OTHER
            minute[field] += use.nano
