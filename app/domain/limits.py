"""What a caller may use: rates, concurrency and budgets, and the verdict on one request; pure.

Money is integer nano-dollars everywhere (1 USD = 1,000,000,000), tokens and requests are integers. A limit that is
``None`` is not set: the deployment's default for it counts, if there is one. Source: DESIGN.md section 3.
"""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

NANO_PER_USD = 1_000_000_000

#: The largest rate: the scripts count in units of a 60-millionth, and Lua's numbers are exact up to 2^53.
MAX_RATE = 100_000_000
#: The largest budget, a million dollars, for the same reason.
MAX_BUDGET_NANO = 1_000_000 * NANO_PER_USD

Rate = Annotated[int, Meta(ge=1, le=MAX_RATE)]
Nano = Annotated[int, Meta(ge=0, le=MAX_BUDGET_NANO)]


class Limits(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The limits of one key, or of one tenant over all its keys; ``None`` is not set.

    Args:
        requests_per_minute: a token bucket of this capacity that refills evenly.
        input_tokens_per_minute: the same for input tokens and tokens written to the prompt cache; what is read from
            the prompt cache does not count.
        output_tokens_per_minute: the same for output tokens.
        concurrency: requests in flight.
        budget_day_nano: nano-dollars a day (UTC).
        budget_month_nano: nano-dollars a calendar month (UTC).
        budget_total_nano: nano-dollars in all.
    """

    requests_per_minute: Rate | None = None
    input_tokens_per_minute: Rate | None = None
    output_tokens_per_minute: Rate | None = None
    concurrency: Rate | None = None
    budget_day_nano: Nano | None = None
    budget_month_nano: Nano | None = None
    budget_total_nano: Nano | None = None

    def over(self, defaults: Limits) -> Limits:
        """These limits, with ``defaults`` where one is not set."""
        if self == NO_LIMITS:
            return defaults
        return Limits(
            **{
                name: getattr(defaults, name) if (own := getattr(self, name)) is None else own
                for name in self.__struct_fields__
            }
        )

    @property
    def has_budget(self) -> bool:
        """Whether any budget is set."""
        return not (self.budget_day_nano is self.budget_month_nano is self.budget_total_nano is None)


NO_LIMITS = Limits()

#: What happens to a key's requests while Redis is away: its share of the limits by local count, or 503.
OutagePolicy = Literal["fail_open", "fail_closed"]
