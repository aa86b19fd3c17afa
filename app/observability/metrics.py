"""What one worker counts: plain integers on the request path, handed over once a second (``handover.py``).

Beside the totals it counts into ``minute``, by the names of ``app.domain.minutes``, what all workers add up in Redis.
Costs and design: PERFORMANCE.md section 2.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Final

from app.domain import minutes
from app.domain.histograms import Histogram, bucket_of
from app.domain.limits import Use
from app.observability.catalog import (
    ADMISSIONS,
    BROKEN,
    CACHE,
    CATALOG,
    COST,
    DEGRADED,
    DURATION,
    FIRST_TOKEN,
    HTTP_DURATION,
    LEFT,
    OVERHEAD,
    PER_TOKEN,
    REDIS,
    REQUESTS,
    RETRIES,
    SAVED,
    TOKENS,
    UPSTREAM,
    UPSTREAM_CALLS,
    Labels,
    Metric,
)
from app.observability.record import RequestRecord
from app.observability.steps import overhead_s

#: Tenants whose spend is told apart between two flushes of ``minute``; the spend of further ones is that of ``other``.
MOST_TENANTS: Final = 200

_PROVIDER: Final = "anthropic"
_OPERATION: Final = "chat"


class _Known:
    """Where requests of one kind are counted; found by their kind, so that no labels are put together again."""

    __slots__ = ("duration", "first_token", "http", "labels", "minute_model", "overhead", "per_token", "upstream")

    def __init__(
        self, metrics: WorkerMetrics, route: str, model: str, status: int, source: str, failed: bool, streamed: bool
    ) -> None:
        self.labels = (route, model, str(status), source)
        self.http = metrics.histogram(HTTP_DURATION, route)
        self.duration: Histogram | None = None
        if not model:
            return
        error = "broken_off" if failed else str(status) if status >= 400 else ""
        self.duration = metrics.histogram(DURATION, _OPERATION, model, _PROVIDER, error)
        self.upstream = metrics.histogram(UPSTREAM, model)
        self.overhead = metrics.histogram(OVERHEAD, route)
        self.minute_model = minutes.OF_MODEL + model
        if streamed:
            self.first_token = metrics.histogram(FIRST_TOKEN, _OPERATION, model, _PROVIDER)
            self.per_token = metrics.histogram(PER_TOKEN, _OPERATION, model, _PROVIDER)


class WorkerMetrics:
    """The counters of one worker; belongs to its event loop, so no locks.

    Attributes:
        counters: of each metric, its values by their labels.
        histograms: likewise.
        minute: what was counted since it was last taken, by the names of ``app.domain.minutes``, but for the tenants.
        tenants: what each tenant has spent since then, in nano-dollars.
    """

    __slots__ = ("_known", "counters", "histograms", "minute", "redis", "tenants")

    def __init__(self) -> None:
        self.counters: dict[str, dict[Labels, int]] = {
            metric.name: defaultdict(int) for metric in CATALOG if metric.kind == "counter"
        }
        self.histograms: dict[str, dict[Labels, Histogram]] = {
            metric.name: {} for metric in CATALOG if metric.kind == "histogram"
        }
        self.redis = self.histogram(REDIS)
        self.minute: defaultdict[str, int] = defaultdict(int)
        self.tenants: defaultdict[str, int] = defaultdict(int)
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

    def minute_so_far(self) -> dict[str, int]:
        """What was counted since it was last taken, the tenants included."""
        return self.minute | {minutes.NANO_OF_TENANT + name: nano for name, nano in self.tenants.items()}

    def take_minute(self) -> dict[str, int]:
        """The same; it begins anew."""
        taken = self.minute_so_far()
        self.minute, self.tenants = defaultdict(int), defaultdict(int)
        return taken

    def give_back_minute(self, taken: Mapping[str, int]) -> None:
        """What was taken could not be delivered, and is counted with what has come since."""
        for field, count in taken.items():
            if field.startswith(minutes.NANO_OF_TENANT):
                self._spent(field.removeprefix(minutes.NANO_OF_TENANT), count)
            else:
                self.minute[field] += count

    def _spent(self, tenant: str, nano: int) -> None:
        tenants = self.tenants
        tenants[tenant if tenant in tenants or len(tenants) < MOST_TENANTS else minutes.OTHER] += nano

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
            self._went_wrong(record)
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

    def _went_wrong(self, record: RequestRecord) -> None:
        if not record.is_error:
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
            if record.shown_tokens > 1 and not (record.failed or record.client_left or record.cache == "hit"):
                known.per_token.observe((duration_s - response_s) / (record.shown_tokens - 1))
        if record.status < 400 and (first_at or not record.stream):
            minute[minutes.RESPONSE.fields[bucket]] += 1
            minute[minutes.RESPONSE.total] += int(response_s * 1e6)
        if record.cache:
            counters[CACHE.name][record.cache,] += 1
            minute[minutes.OF_CACHE[record.cache]] += 1
            if record.saved_nano:
                self.count(SAVED, by=record.saved_nano)
                minute[minutes.SAVED_NANO] += record.saved_nano
        if sent_at and record.answered_at:
            known.upstream.observe(record.answered_at - sent_at)
        added_s = overhead_s(record, duration_s=duration_s)
        if added_s is not None:
            known.overhead.observe(added_s)

    def refused(self, status: int, *, route: str) -> None:
        """Something was refused that never became a request.

        Args:
            status: of the reply.
            route: as it is labelled.
        """
        self.counters[REQUESTS.name][route, "", str(status), ""] += 1
        self.minute[minutes.REQUESTS] += 1
        self.minute[minutes.CLIENT_ERRORS] += 1

    def used(self, *, tenant: str, model: str, use: Use) -> None:
        """A request was settled: what its calls of Claude have used, also where its client was gone by then."""
        by_class, minute = self.counters[TOKENS.name], self.minute
        for name, tokens in (
            ("input", use.input_tokens),
            ("output", use.output_tokens),
            ("cache_read", use.cache_read_tokens),
            ("cache_write", use.cache_write_tokens),
        ):
            if tokens:
                by_class[model, name] += tokens
                minute[minutes.OF_TOKENS[name]] += tokens
        if use.nano:
            self.counters[COST.name][model,] += use.nano
            minute[minutes.NANO] += use.nano
            minute[minutes.NANO_OF_MODEL + model] += use.nano
            self._spent(tenant, use.nano)
