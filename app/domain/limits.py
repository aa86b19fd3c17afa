"""What a caller may use: rates, concurrency and budgets, and the verdict on one request; pure.

Money is integer nano-dollars everywhere (1 USD = 1,000,000,000), tokens and requests are integers. A limit that is
``None`` is not set: the deployment's default for it counts, if there is one. Source: DESIGN.md section 3.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Final, Literal

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

#: A day, a calendar month (both UTC), or in all.
BudgetPeriod = Literal["day", "month", "total"]

#: The period of a budget, by the name of its limit.
BUDGET_PERIODS: Final[Mapping[str, BudgetPeriod]] = {
    "budget_day_nano": "day",
    "budget_month_nano": "month",
    "budget_total_nano": "total",
}

#: What happens to a key's requests while Redis is away: its share of the limits by local count, or 503.
OutagePolicy = Literal["fail_open", "fail_closed"]


class Demand(Struct, frozen=True, kw_only=True):
    """What one request asks for, before anything is called.

    Args:
        model: the model id that will be called.
        model_names: everything that model is called here, for the list of models of a key.
        input_tokens: expected input tokens, what may be read from the prompt cache included.
        input_nano: expected cost of the input.
        output_tokens: expected output tokens, where the client bounded them; ``None`` is the running mean of the model.
        worst_input_nano: cost of the input at worst; ``None``: it cannot be bounded.
        unbounded: why not, in words for the client.
        output_nano_per_token: cost of an output token at worst, of all answers together (``n``).
        answers: how many answers are asked for (``n``).
        max_tokens: the bound of output tokens of one answer.
        least_tokens: the smallest such bound that makes sense; a budget near its end lowers ``max_tokens`` to this.
        history_nano_per_token: cost at worst of a token that the history of a session adds to the prompt.
        history_expected_nano: expected cost of such a token.
    """

    model: str
    model_names: tuple[str, ...] = ()
    input_tokens: int = 0
    input_nano: int = 0
    output_tokens: int | None = None
    worst_input_nano: int | None = 0
    unbounded: str = ""
    output_nano_per_token: int = 0
    answers: int = 1
    max_tokens: int = 0
    least_tokens: int = 0
    history_nano_per_token: int = 0
    history_expected_nano: int = 0


class Hold(Struct, frozen=True, kw_only=True):
    """What an admitted request has reserved: tokens of its rates, nano-dollars of its budgets."""

    input_tokens: int = 0
    output_tokens: int = 0
    nano: int = 0


class Use(Struct, frozen=True, kw_only=True):
    """What a request has used, so far or in the end.

    Args:
        input_tokens: neither read from nor written to the prompt cache.
        cache_write_tokens: written to it; counts against the input rate.
        cache_read_tokens: read from it; does not.
        output_tokens: of all its answers.
        nano: what it costs.
        estimated: the upstream did not tell; what could be seen was counted.
        complete: the answer is whole, so that its length says something about the next one; never of a cached one.
        requests: how many requests this was; 0 when the upstream was not called after all.
        cache_hits: how many answers came from the response cache, or from the call of another request.
    """

    input_tokens: int = 0
    cache_write_tokens: int = 0
    cache_read_tokens: int = 0
    output_tokens: int = 0
    nano: int = 0
    estimated: bool = False
    complete: bool = False
    requests: int = 1
    cache_hits: int = 0

    def __add__(self, other: Use) -> Use:
        """Both together."""
        return Use(
            input_tokens=self.input_tokens + other.input_tokens,
            cache_write_tokens=self.cache_write_tokens + other.cache_write_tokens,
            cache_read_tokens=self.cache_read_tokens + other.cache_read_tokens,
            output_tokens=self.output_tokens + other.output_tokens,
            nano=self.nano + other.nano,
            estimated=self.estimated or other.estimated,
            complete=self.complete and other.complete,
            requests=self.requests + other.requests,
            cache_hits=self.cache_hits + other.cache_hits,
        )


#: The names of limits, in the order in which they are stored and told.
LIMIT_FIELDS = Limits.__struct_fields__


class Gauge(Struct, frozen=True, kw_only=True):
    """How a rate stands, for ``x-ratelimit-*``: per minute, left, seconds until it is full again."""

    limit: int
    left: int
    full_in_s: float


class Refusal(Struct, frozen=True, kw_only=True):
    """Which limit refused a request; nothing was taken.

    Args:
        whose: the key's own limit, or the one of its tenant.
        limit: a name of ``LIMIT_FIELDS``.
        retry_after_s: seconds until it frees up; ``None`` for a budget that never does.
        spent: money is what is missing; ``False`` where only running requests hold it.
    """

    whose: Literal["key", "tenant"]
    limit: str
    retry_after_s: float | None
    spent: bool = False
