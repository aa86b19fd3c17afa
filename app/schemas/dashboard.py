"""The wire of ``GET /dashboard/data``: what all replicas do, as the page shows it.

The groups and the names are those of the mission (``overview.uptime``, ``performance.avgResponseTime``,
``recent.errors``), what they lack is named alike. Names end in their unit: ``Ms``, ``S``, ``Bytes``, ``Usd``; a
``share`` or ``rate`` is a number from 0 to 1; moments (``at``, ``since``, ``from``, ``to``) are Unix seconds. ``null``
stands where nothing is known or there was nothing to measure. How the numbers come about is decided in
``gateway/dashboard``.
"""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

WindowName = Literal["15m", "1h", "24h", "48h"]

#: Whose figures: those of this worker alone, while the state store is away, or of all that share it.
Scope = Literal["process", "cluster"]


class _Camel(Struct, frozen=True, kw_only=True, rename="camel"):
    """Names as browsers like them."""


class Span(_Camel, frozen=True, kw_only=True, rename={"start_at": "from", "end_at": "to"}):
    """A stretch of time, ``start_at`` and ``end_at`` being Unix seconds."""

    start_at: float
    end_at: float


class Window(_Camel, frozen=True, kw_only=True):
    """The time that ``performance`` and ``spend`` are of.

    Args:
        name: as asked for.
        now: it ends now; it begins with the first of its buckets.
        before: as many buckets before it, which ``trend`` compares with.
        step_s: length of one point of ``series``.
    """

    name: WindowName
    now: Span
    before: Span
    step_s: int


class Alert(_Camel, frozen=True, kw_only=True):
    """An alert that is not fine.

    Args:
        name: its rule.
        level: how bad it is.
        since: when it reached that level.
        text: what is the matter, with the figure and its threshold.
    """

    name: str
    level: Literal["warning", "critical"]
    since: float
    text: str


class Overview(_Camel, frozen=True, kw_only=True):
    """Whether all is well.

    Args:
        status: ``draining`` once all workers are stopping, ``degraded`` while one of them is without the state store.
        alert_level: the worst of ``alerts``.
        uptime: seconds since the oldest living worker started.
        version: of the worker that answers.
        versions: of all, several during a rollout.
        replicas_alive: hosts or pods with a living worker; gateways of one machine count by their ports.
        workers: living workers of all of them.
        alerts: those that are active, worst first.
        monitored: whether somebody evaluates alerts.
    """

    status: Literal["healthy", "degraded", "draining"]
    alert_level: Literal["ok", "warning", "critical"]
    uptime: float
    version: str
    versions: list[str]
    replicas_alive: int
    workers: int
    alerts: list[Alert]
    monitored: bool


class Times(_Camel, frozen=True, kw_only=True):
    """How long something took: of ``count`` measurements, null without any."""

    count: int
    mean_ms: float | None
    p50_ms: float | None
    p95_ms: float | None
    p99_ms: float | None


class Tokens(_Camel, frozen=True, kw_only=True):
    """Tokens by class."""

    input: float
    output: float
    cache_read: float
    cache_write: float


class Availability(_Camel, frozen=True, kw_only=True):
    """Requests that did not fail on our side or Anthropic's.

    Args:
        share: of all requests.
        objective: what it should be.
        met: whether it is.
        budget_left: of the failures that the objective allows, the share that is left; below 0 it is overdrawn.
    """

    share: float | None
    objective: float
    met: bool | None
    budget_left: float | None


class Cache(_Camel, frozen=True, kw_only=True):
    """The response cache: model requests by what it did, and what it saved.

    Args:
        hits: answered from it.
        joined: answered together with an equal request.
        misses: asked of Claude, and perhaps stored.
        hit_rate: ``hits`` and ``joined`` among these three.
        saved_usd: what those answers would have cost.
    """

    hits: int
    joined: int
    misses: int
    hit_rate: float | None
    saved_usd: float


class ModelRequests(_Camel, frozen=True, kw_only=True):
    """Requests of one model."""

    model: str
    requests: int


class Point(_Camel, frozen=True, kw_only=True):
    """One minute, or one hour, of ``series``; times are of the replies that it brought.

    Args:
        at: when it began.
        partial: it is not over.
        errors: failed on our side or Anthropic's.
        client_errors: answered with 4xx.
    """

    at: float
    partial: bool
    requests: int
    errors: int
    client_errors: int
    p50_ms: float | None
    p95_ms: float | None
    p99_ms: float | None
    first_token_p50_ms: float | None
    first_token_p95_ms: float | None
    tokens: Tokens
    cost_usd: float
    cache_hit_rate: float | None


class PointBefore(_Camel, frozen=True, kw_only=True):
    """What the same point of the time before was like."""

    requests: int
    p95_ms: float | None


class Change(_Camel, frozen=True, kw_only=True):
    """One figure of the window beside that of the time before.

    Args:
        figure: which; its ending names the unit.
        now: in the window.
        before: in the time before.
        change: the difference as a share of ``before``; null where there is nothing to compare with.
        regression: it became worse by more than chance would do.
    """

    figure: str
    now: float | None
    before: float | None
    change: float | None
    regression: bool


class Performance(_Camel, frozen=True, kw_only=True):
    """Requests in the window. Health checks and the operator's pages are not counted.

    Args:
        avg_response_time: milliseconds; plain requests until they were complete, streams until their first token.
        response: the same with percentiles.
        first_token: of streams.
        requests_per_minute: over the window.
        requests_per_minute_now: over the last 60 s, of a younger worker since its start.
        tokens_per_minute: over the window, by class.
        refused: of ``client_errors``, by a limit.
        broken: of ``errors``, streams that broke off.
        error_rate: ``errors`` among ``requests``.
        cost_usd: what the calls of Claude have cost.
        series: by minute or hour, oldest first.
        before: the same points of the time before.
        trend: the window beside the time before.
    """

    avg_response_time: float | None
    response: Times
    first_token: Times
    requests: int
    requests_per_minute: float
    requests_per_minute_now: float
    tokens: Tokens
    tokens_per_minute: Tokens
    streams: int
    errors: int
    broken: int
    client_errors: int
    refused: int
    error_rate: float | None
    availability: Availability
    cache: Cache
    cost_usd: float
    models: list[ModelRequests]
    series: list[Point]
    before: list[PointBefore]
    trend: list[Change]


class Used(_Camel, frozen=True, kw_only=True):
    """How much there is of what there may be.

    Args:
        used: now.
        max: at most; 0 without a bound.
        share: of it.
    """

    used: float
    max: float
    share: float | None


class Replica(_Camel, frozen=True, kw_only=True):
    """The workers of one gateway, as they last said (every 5 s).

    Args:
        host: or pod, with the port where there are several gateways.
        requests_per_minute_now: over the last 60 s, of a younger worker since its start.
        memory: resident bytes of its workers, of the container's or the machine's.
        cpu_percent: of one core, over all of its workers.
        loop_lag_ms: worst delay of an event loop.
        draining: it is stopping.
        store_away: one of its workers cannot reach the state store.
    """

    host: str
    version: str
    workers: int
    uptime: float
    requests_per_minute_now: float
    in_flight: Used
    streams: int
    memory: Used
    cpu_percent: float
    loop_lag_ms: float
    draining: bool
    store_away: bool


class Sessions(_Camel, frozen=True, kw_only=True):
    """Live sessions of all tenants.

    Args:
        live: how many; null while that is not known.
        fullest: those of the tenant that is nearest to its maximum.
        max_per_tenant: that a tenant may have.
    """

    live: int | None
    fullest: Used | None
    max_per_tenant: int


class UpstreamLimit(_Camel, frozen=True, kw_only=True):
    """What Anthropic last said about one of its rate limits."""

    limit: str
    remaining: float
    max: float
    share: float | None


class UpstreamKey(_Camel, frozen=True, kw_only=True):
    """One credential of the gateway's, by a digest; the key itself is never shown.

    Args:
        label: eight digits of its SHA-256.
        state: ``failing`` after Anthropic refused it, ``limited`` after it said 429 or 529.
        since: when it came into that state.
        limits: of its account, as the replica said that heard last.
    """

    label: str
    state: str
    since: float | None
    limits: list[UpstreamLimit]


class Store(_Camel, frozen=True, kw_only=True):
    """The state store; ``memory`` is null while that is not known."""

    available: bool
    memory: Used | None


class Resources(_Camel, frozen=True, kw_only=True):
    """What is used, now.

    Args:
        memory: of the fullest replica.
        cpu: per cent of one core, over all workers.
        in_flight: requests being answered, of all that would be.
    """

    memory: Used
    cpu: float
    in_flight: Used
    streams: int
    sessions: Sessions
    store: Store
    upstream: list[UpstreamKey]
    replicas: list[Replica]


class ResponseTime(_Camel, frozen=True, kw_only=True):
    """One of the last 60 minutes."""

    at: float
    requests: int
    mean_ms: float | None
    p50_ms: float | None
    p95_ms: float | None
    p99_ms: float | None


class RequestFailure(_Camel, frozen=True, kw_only=True):
    """A request that failed; nothing of what it or its reply said.

    Args:
        at: when it was over.
        status: of its reply; 0: the client left before.
        broken: the reply broke off after its first byte, whatever its status.
        code: what was wrong.
    """

    at: float
    request_id: str
    status: int
    broken: bool
    code: str
    path: str
    model: str
    tenant: str


class FailureKind(_Camel, frozen=True, kw_only=True):
    """Requests that failed alike: so many, the last of them at ``at``."""

    status: int
    broken: bool
    code: str
    count: int
    at: float


class AlertEvent(_Camel, frozen=True, kw_only=True):
    """An alert came to another level."""

    at: float
    name: str
    level: Literal["ok", "warning", "critical"]
    previous: Literal["ok", "warning", "critical"]
    text: str


class Recent(_Camel, frozen=True, kw_only=True):
    """The latest.

    Args:
        response_time: the last 60 minutes, oldest first, whatever the window is.
        errors: the last ones, newest first.
        error_kinds: the last hundred or so by what was wrong, most first.
        alerts: their last changes, newest first.
    """

    response_time: list[ResponseTime]
    errors: list[RequestFailure]
    error_kinds: list[FailureKind]
    alerts: list[AlertEvent]


class Spent(_Camel, frozen=True, kw_only=True):
    """What one tenant or model has cost, and its share of all."""

    name: str
    usd: float
    share: float


class Spend(_Camel, frozen=True, kw_only=True):
    """What calls of Claude cost in the window, dearest first."""

    total_usd: float
    by_tenant: list[Spent]
    by_model: list[Spent]


class Dashboard(_Camel, frozen=True, kw_only=True):
    """The dashboard.

    Args:
        at: when it was made.
        scope: whose figures these are.
        degraded: the state store is away: this worker's own figures, since it last reached the store.
        window: of ``performance`` and ``spend``.
    """

    at: float
    scope: Scope
    degraded: bool
    window: Window
    overview: Overview
    performance: Performance
    resources: Resources
    recent: Recent
    spend: Spend
