"""Rate limits per credential, counted for real: token buckets that refill evenly over a minute.

They are shown on every answer as ``anthropic-ratelimit-*``; they refuse only with ``enforce_rate_limits``. Input
tokens are those that were not read from the cache. Remaining tokens are rounded to thousands, as Anthropic does.
"""

from __future__ import annotations

import math
from datetime import UTC, datetime

from workers.simulator.errors import ApiError
from workers.simulator.settings import SimulatorSettings


class Bucket:
    """``limit`` units a minute, never more than that at once."""

    __slots__ = ("_at_s", "_left", "limit")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._left = float(limit)
        self._at_s = 0.0

    def left(self, now_s: float) -> float:
        """What may still be used; below zero where more was used than there was."""
        self._left = min(self.limit, self._left + (now_s - self._at_s) * self.limit / 60)
        self._at_s = now_s
        return self._left

    def take(self, amount: int, now_s: float) -> float:
        """Uses some, and says what is left."""
        self.left(now_s)
        self._left -= amount
        return self._left

    def full_in_s(self) -> float:
        """Seconds until nothing is used any more."""
        return (self.limit - self._left) * 60 / self.limit


class RateLimits:
    """The buckets of every credential."""

    def __init__(self, settings: SimulatorSettings) -> None:
        self._limits = (
            ("requests", settings.requests_per_minute),
            ("input-tokens", settings.input_tokens_per_minute),
            ("output-tokens", settings.output_tokens_per_minute),
        )
        self._enforced = settings.enforce_rate_limits
        self._buckets: dict[str, tuple[Bucket, Bucket, Bucket]] = {}
        self._resets: dict[int, str] = {}

    def clear(self) -> None:
        """Every bucket is full again."""
        self._buckets.clear()

    def of(self, credential: str, now_s: float) -> tuple[Bucket, Bucket, Bucket]:
        """Requests, input and output tokens of a credential."""
        found = self._buckets.get(credential)
        if found is None:
            if len(self._buckets) >= 10_000:
                self._buckets.clear()
            requests, inputs, outputs = (Bucket(limit) for _, limit in self._limits)
            found = self._buckets[credential] = (requests, inputs, outputs)
            for bucket in found:
                bucket.take(0, now_s)
        return found

    def admit(self, credential: str, now_s: float, unix_s: float) -> None:
        """Refuses a request whose credential has used a limit up.

        Raises:
            ApiError: 429, with ``retry-after`` and the limits.
        """
        if not self._enforced:
            return
        buckets = self.of(credential, now_s)
        for (name, limit), bucket in zip(self._limits, buckets, strict=True):
            left = bucket.left(now_s)
            if left < 1:
                wait_s = max(1, math.ceil((1 - left) * 60 / limit))
                raise ApiError(
                    429,
                    f"This request would exceed your organization's rate limit of {limit:,} {name.replace('-', ' ')} per minute.",
                    headers={"retry-after": str(wait_s)} | dict(self.headers(credential, now_s, unix_s)),
                )

    def used(self, credential: str, input_tokens: int, output_tokens: int, now_s: float) -> None:
        """Counts one answered request."""
        requests, inputs, outputs = self.of(credential, now_s)
        requests.take(1, now_s)
        inputs.take(input_tokens, now_s)
        outputs.take(output_tokens, now_s)

    def headers(self, credential: str, now_s: float, unix_s: float) -> list[tuple[str, str]]:
        """``anthropic-ratelimit-*`` as they stand, the combined ``tokens`` ones included."""
        shown: list[tuple[str, str]] = []
        both_limit, both_left, both_full_s = 0, 0, 0.0
        for (name, limit), bucket in zip(self._limits, self.of(credential, now_s), strict=True):
            left = max(0, int(bucket.left(now_s)))
            if name != "requests":
                left = min(limit, round(left, -3))
                both_limit, both_left = both_limit + limit, both_left + left
                both_full_s = max(both_full_s, bucket.full_in_s())
            shown += self._three(name, limit, left, unix_s + bucket.full_in_s())
        return shown + self._three("tokens", both_limit, both_left, unix_s + both_full_s)

    def _three(self, name: str, limit: int, left: int, reset_at: float) -> list[tuple[str, str]]:
        start = f"anthropic-ratelimit-{name}"
        return [
            (f"{start}-limit", str(limit)),
            (f"{start}-remaining", str(left)),
            (f"{start}-reset", self._time(math.ceil(reset_at))),
        ]

    def _time(self, second: int) -> str:
        """RFC 3339; formatted once per second."""
        text = self._resets.get(second)
        if text is None:
            if len(self._resets) > 600:
                self._resets.clear()
            text = self._resets[second] = datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        return text
