"""What a call costs: afterwards exactly, beforehand at worst; pure.

Money is integer nano-dollars. The price table (``models.toml``, column ``price``) is in USD per million tokens, of
which a thousandth is one nano-dollar a token; a finer price is rounded, half up. Rules: ``spec/models.md``, "Prices": a
long prompt changes the rates of its whole request and is measured by everything in it, cached or not; multipliers apply
to all tokens, not to searches.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Final

from msgspec import Struct

from app.domain.calls import MessagesCall, Usage
from app.domain.models import Price, Rates

#: A region that Anthropic does not charge extra for; without one, the account's own setting decides.
_EVERYWHERE: Final = "global"
_US: Final = "us"

#: Multipliers count in thousandths, so that money stays integer.
_WHOLE: Final = 1000

_NANO_PER_THOUSAND_USD: Final = 1_000_000


class WorstCase(Struct, frozen=True):
    """The most that a call can cost, all of its answers together.

    Args:
        input_nano: for the prompt, in nano-dollars.
        output_nano_per_token: for each token of ``max_tokens``, in nano-dollars.
        input_nano_per_token: for each token that the prompt may have besides, in nano-dollars.
    """

    input_nano: int
    output_nano_per_token: int
    input_nano_per_token: int = 0


def cost_nano(price: Price, usage: Usage, *, inference_geo: str = "", fast: bool = False) -> int | None:
    """The cost of one upstream message, in nano-dollars.

    Args:
        price: of its model.
        usage: of this message alone: the rates of a long prompt depend on it.
        inference_geo: as the request asked for it, where ``usage`` does not say.
        fast: the request asked for fast mode, where ``usage`` does not say.

    Returns:
        None for fast mode without a known price.
    """
    multiplier = _multiplier(
        price,
        in_us=(usage.inference_geo or inference_geo) == _US,
        fast=usage.speed == "fast" if usage.speed else fast,
    )
    if multiplier is None:
        return None
    long_prompt = price.long_prompt
    rates = price if long_prompt is None or usage.prompt_tokens <= long_prompt.above_tokens else long_prompt
    writes_1h = min(usage.cache_write_1h_tokens, usage.cache_creation_input_tokens)
    tokens_nano = (
        usage.input_tokens * _nano(rates.input)
        + usage.cache_read_input_tokens * _nano(rates.cache_read)
        + (usage.cache_creation_input_tokens - writes_1h) * _nano(rates.cache_write_5m)
        + writes_1h * _nano(rates.cache_write_1h)
        + usage.output_tokens * _nano(rates.output)
    )
    searches_nano = usage.web_search_requests * _nano(price.web_search_per_1000 * _NANO_PER_THOUSAND_USD / _WHOLE)
    return _multiplied(tokens_nano, multiplier) + searches_nano


def cost_of(call: MessagesCall, usages: Iterable[Usage]) -> int | None:
    """What a call has cost, in nano-dollars; None where its price is not known.

    Args:
        call: as it was made.
        usages: of each of its upstream messages: of every answer, and of all that ``pause_turn`` made of it.
    """
    if call.price is None:
        return None
    total = 0
    for usage in usages:
        cost = cost_nano(call.price, usage, inference_geo=call.inference_geo, fast=call.fast)
        if cost is None:
            return None
        total += cost
    return total


def worst_case(call: MessagesCall, *, grows: bool = False) -> WorstCase | str:
    """The most that a call can cost.

    Every token of the prompt is taken for one of the dearest class that the request can incur, at the rates of a long
    prompt where it may be one, and with the surcharge for the US unless the request rules it out (the account may be
    set to it).

    Args:
        call: ready to be sent.
        grows: the history of a session, of unknown length, is still to come before it.

    Returns:
        Why there is no such bound, in words for the client, where there is none.
    """
    price = call.price
    if call.unbounded or price is None:
        return call.unbounded or _no_price(call.model)
    multiplier = _multiplier(price, in_us=call.inference_geo != _EVERYWHERE, fast=call.fast)
    if multiplier is None:
        return _NO_FAST_PRICE
    size = call.size
    possible: list[Price | Rates] = [price]
    if price.long_prompt is not None and (grows or size.most_tokens > price.long_prompt.above_tokens):
        possible.append(price.long_prompt)
    input_nano = max(_nano(dearest) for rates in possible for dearest in _input_prices(rates, size.cache_lifetime))
    output_nano = max(_nano(rates.output) for rates in possible)
    return WorstCase(
        input_nano=_multiplied(size.most_tokens * input_nano, multiplier) * call.n,
        output_nano_per_token=_multiplied(output_nano, multiplier) * call.n,
        input_nano_per_token=_multiplied(input_nano, multiplier) * call.n,
    )


def why_unbounded(
    model: str, price: Price | None, *, server_tools: bool, extension: bool, fast: bool, betas: Sequence[str]
) -> str:
    """Why nobody can say what a call costs at most, in words for the client; empty where ``worst_case`` can.

    Args:
        model: its id.
        price: of the model.
        server_tools: Anthropic runs tools itself, and reads the prompt and what they found as often as it likes.
        extension: the client's ``anthropic`` object is laid over the request.
        fast: fast mode was asked for.
        betas: those that the client named; they may change what is charged.
    """
    if price is None:
        return _no_price(model)
    if server_tools:
        return "web search reads the prompt and its results as often as it needs to"
    if extension:
        return "the 'anthropic' object may ask for anything"
    if fast and price.fast_multiplier is None:
        return _NO_FAST_PRICE
    if betas:
        return f"the beta {betas[0]!r} may change what is charged"
    return ""


_NO_FAST_PRICE: Final = "the price of fast mode is not known for this model"


def _no_price(model: str) -> str:
    return f"the price of {model} is not known"


def _input_prices(rates: Price | Rates, cache_lifetime: str) -> list[float]:
    """The prices that a token of a prompt may have, by what the request says about the prompt cache."""
    if not cache_lifetime:
        return [rates.input]
    cached = [rates.input, rates.cache_read, rates.cache_write_5m]
    return [*cached, rates.cache_write_1h] if cache_lifetime == "1h" else cached


def _multiplier(price: Price, *, in_us: bool, fast: bool) -> int | None:
    """What all tokens are multiplied by, in millionths; None where it is not known."""
    of_speed = price.fast_multiplier if fast else 1
    if of_speed is None:
        return None
    return round((price.us_multiplier if in_us else 1) * _WHOLE) * round(of_speed * _WHOLE)


def _multiplied(nano: int, multiplier: int) -> int:
    """An amount times a multiplier in millionths, rounded up."""
    return -(-nano * multiplier // (_WHOLE * _WHOLE))


def _nano(usd_per_million: float) -> int:
    """Nano-dollars a token."""
    return math.floor(usd_per_million * 1000 + 0.5)
