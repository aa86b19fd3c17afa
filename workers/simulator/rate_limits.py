"""Rate limits per credential, counted for real: token buckets that refill evenly over a minute.

They are shown on every answer as ``anthropic-ratelimit-*``; they refuse only with ``enforce_rate_limits``. Input
tokens are those that were not read from the cache. Remaining tokens are rounded to thousands, as Anthropic does.
"""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Final

from workers.simulator.errors import ApiError
from workers.simulator.settings import SimulatorSettings

_LINES: Final = b"".join(
    b"anthropic-ratelimit-%b-limit: %%d\r\n"
    b"anthropic-ratelimit-%b-remaining: %%d\r\n"
    b"anthropic-ratelimit-%b-reset: %%b\r\n" % (name, name, name)
    for name in (b"requests", b"input-tokens", b"output-tokens", b"tokens")
)


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
        self._resets: dict[int, bytes] = {}

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
                shown = self.header_lines(credential, now_s, unix_s).decode().splitlines()
                raise ApiError(
                    429,
                    f"This request would exceed your organization's rate limit of {limit:,} {name.replace('-', ' ')}"
                    " per minute.",
                    headers={"retry-after": str(wait_s)} | dict(line.split(": ", 1) for line in shown),
                )

    def used(self, credential: str, input_tokens: int, output_tokens: int, now_s: float) -> None:
        """Counts one answered request."""
        requests, inputs, outputs = self.of(credential, now_s)
        requests.take(1, now_s)
        inputs.take(input_tokens, now_s)
        outputs.take(output_tokens, now_s)

    def header_lines(self, credential: str, now_s: float, unix_s: float) -> bytes:
        """``anthropic-ratelimit-*`` as they stand, as header lines, the combined ``tokens`` ones included."""
        requests, inputs, outputs = self.of(credential, now_s)
        left_in = min(inputs.limit, _thousands(inputs.left(now_s)))
        left_out = min(outputs.limit, _thousands(outputs.left(now_s)))
        full_in_s, full_out_s = inputs.full_in_s(), outputs.full_in_s()
        left = max(0, int(requests.left(now_s)))
        return _LINES % (
            *(requests.limit, left, self._time(unix_s + requests.full_in_s())),
            *(inputs.limit, left_in, self._time(unix_s + full_in_s)),
            *(outputs.limit, left_out, self._time(unix_s + full_out_s)),
            *(inputs.limit + outputs.limit, left_in + left_out, self._time(unix_s + max(full_in_s, full_out_s))),
        )

    def _time(self, unix_s: float) -> bytes:
        """RFC 3339, the second after; formatted once per second."""
        second = math.ceil(unix_s)
        text = self._resets.get(second)
        if text is None:
            if len(self._resets) > 600:
                self._resets.clear()
            text = self._resets[second] = datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%SZ").encode()
        return text


def _thousands(tokens: float) -> int:
    return max(0, round(tokens / 1000) * 1000)
