"""Every metric there is: its name, its kind, its labels.

``/metrics``, OTLP and their tests go by ``CATALOG``. Names follow Prometheus (base units, ``_total``) and, where
OpenTelemetry's GenAI conventions have a metric, theirs. The values of every label come from a bounded set: routes of
this gateway, models of its table (``other`` for the rest), status codes, classes of callers.
"""

from __future__ import annotations

from typing import Final, Literal

from msgspec import Struct

from app.domain.histograms import BOUNDS_S, PER_OCTAVE
from app.domain.limits import NANO_PER_USD

Labels = tuple[str, ...]


class Metric(Struct, frozen=True, kw_only=True):
    """One metric.

    Args:
        name: without the ending ``_total`` of a counter.
        kind: what it is.
        help: one line.
        labels: their names, in the order of their values.
        scale: what a stored integer is multiplied with when it is shown. Histograms are in seconds.
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
    "Streams, until their first frame with a part of the answer.",
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
    "claude_wrapper_upstream_response_seconds",
    "Model requests, from their first call of Claude to the headers of its reply.",
    "model",
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
