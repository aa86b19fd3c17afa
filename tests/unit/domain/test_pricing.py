from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.calls import MessagesCall, Usage
from app.domain.models import ModelTable, ModelTableError, Price, Rates
from app.domain.pricing import WorstCase, cost_nano, cost_of, why_unbounded, worst_case
from app.domain.prompt_size import CacheLifetime, PromptSize
from tests.support.chat_requests import MODELS, MODELS_TOML

SONNET = Price(input=2, output=10, cache_read=0.10, cache_write_5m=2.50, cache_write_1h=4)
LONG = Rates(above_tokens=100, input=4, output=20, cache_read=0.20, cache_write_5m=5, cache_write_1h=8)


def price_of(model: str) -> Price:
    price = MODELS.resolve(model).facts.price
    assert price is not None
    return price


def call(**fields: Any) -> MessagesCall:
    chosen = {"price": SONNET, "max_tokens": 100, "size": PromptSize(expected_tokens=10, most_tokens=1000), **fields}
    return MessagesCall(model="claude-sonnet-5-5", body=b"{}", anthropic_version="2026-10-21", **chosen)


def bound(**fields: Any) -> WorstCase:
    found = worst_case(call(**fields))
    assert isinstance(found, WorstCase)
    return found


def test_every_class_of_tokens_has_its_price() -> None:
    usage = Usage(
        input_tokens=1,
        cache_read_input_tokens=10,
        cache_creation_input_tokens=1100,
        cache_write_1h_tokens=1000,
        output_tokens=10_000,
        thinking_tokens=9000,
    )
    assert cost_nano(SONNET, usage) == 2000 + 10 * 100 + 100 * 2500 + 1000 * 4000 + 10_000 * 10_000


@pytest.mark.parametrize("prompt", [100_000, 100_001])
def test_a_long_prompt_changes_the_rates_of_the_whole_request(prompt: int) -> None:
    usage = Usage(input_tokens=1, cache_read_input_tokens=2, cache_creation_input_tokens=prompt - 3, output_tokens=1000)
    short = 1 * 100 + 2 * 10 + (prompt - 3) * 125 + 1000 * 500
    assert cost_nano(price_of("haiku"), usage) == (short if prompt == 100_000 else 5 * short)


def test_searches_cost_a_cent_each_whatever_the_multipliers() -> None:
    assert cost_nano(SONNET, Usage(web_search_requests=3, inference_geo="us")) == 30_000_000


@pytest.mark.parametrize(
    ("told", "asked", "expected"), [("us", "", 2200), ("", "us", 2200), ("global", "us", 2000), ("", "", 2000)]
)
def test_the_us_costs_a_tenth_more_by_what_anthropic_tells_or_else_what_was_asked(
    told: str, asked: str, expected: int
) -> None:
    assert cost_nano(SONNET, Usage(input_tokens=1, inference_geo=told), inference_geo=asked) == expected


def test_a_surcharge_is_rounded_up() -> None:
    price = Price(input=0.001, output=0, cache_read=0, cache_write_5m=0, cache_write_1h=0)
    assert [cost_nano(price, Usage(input_tokens=n), inference_geo="us") for n in (0, 1, 10)] == [0, 2, 11]


@pytest.mark.parametrize(("told", "asked", "times"), [("fast", False, 6), ("", True, 6), ("standard", True, 1)])
def test_fast_mode_has_a_price_of_its_own(told: str, asked: bool, times: int) -> None:
    usage = Usage(input_tokens=1, output_tokens=1, speed=told)
    assert cost_nano(price_of("claude-opus-4-6"), usage, fast=asked) == times * 30_000


def test_fast_mode_without_a_known_price_has_no_cost() -> None:
    usage = Usage(input_tokens=1, speed="fast")
    assert cost_nano(SONNET, usage) is None
    assert cost_of(call(), [Usage(input_tokens=1), usage]) is None
    assert isinstance(worst_case(call(fast=True)), str)


@pytest.mark.parametrize(("usd", "nano"), [(0.125, 125), (0.01, 10), (0.0004, 0), (0.0005, 1), (12.5, 12_500)])
def test_a_finer_price_than_a_nano_dollar_a_token_is_rounded_half_up(usd: float, nano: int) -> None:
    price = Price(input=usd, output=0, cache_read=0, cache_write_5m=0, cache_write_1h=0)
    assert cost_nano(price, Usage(input_tokens=1)) == nano


def test_the_cost_of_a_call_is_that_of_its_messages() -> None:
    usages = [Usage(input_tokens=60, output_tokens=1), Usage(input_tokens=80)]
    price = Price(input=2, output=10, cache_read=0.1, cache_write_5m=2.5, cache_write_1h=4, long_prompt=LONG)
    assert cost_of(call(price=price), usages) == 60 * 2000 + 10_000 + 80 * 2000
    assert cost_of(call(price=price), [Usage(input_tokens=101)]) == 101 * 4000
    assert cost_of(call(price=None), usages) is None


def test_the_call_says_what_was_asked_for_where_its_messages_do_not() -> None:
    assert cost_of(call(inference_geo="us"), [Usage(input_tokens=1)]) == 2200


@pytest.mark.parametrize(("lifetime", "usd"), [("", 2000), ("5m", 2500), ("1h", 4000)])
def test_the_worst_prompt_is_one_of_the_dearest_class_that_can_occur(lifetime: CacheLifetime, usd: int) -> None:
    size = PromptSize(expected_tokens=10, most_tokens=1000, cache_lifetime=lifetime)
    assert bound(size=size, inference_geo="global") == WorstCase(usd * 1000, 10_000, usd)


def test_the_worst_case_allows_for_an_account_that_is_set_to_the_us() -> None:
    assert bound() == bound(inference_geo="us") == WorstCase(2_200_000, 11_000, 2200)


def test_the_worst_case_is_that_of_all_answers() -> None:
    assert bound(n=3, inference_geo="global") == WorstCase(6_000_000, 30_000, 6000)


@pytest.mark.parametrize(("most", "times"), [(100, 1), (101, 2)])
def test_the_worst_case_has_the_rates_of_a_long_prompt_where_it_may_be_one(most: int, times: int) -> None:
    price = Price(input=2, output=10, cache_read=0.1, cache_write_5m=2.5, cache_write_1h=4, long_prompt=LONG)
    found = bound(price=price, size=PromptSize(most_tokens=most), inference_geo="global")
    assert found == WorstCase(most * 2000 * times, 10_000 * times, 2000 * times)


def test_a_call_whose_cost_has_no_bound_says_why() -> None:
    assert worst_case(call(unbounded="because")) == "because"
    assert worst_case(call(price=None)) == "the price of claude-sonnet-5-5 is not known"


@pytest.mark.parametrize(
    ("reason", "fields"),
    [
        ("price of m is not known", {"price": None}),
        ("web search", {"server_tools": True}),
        ("'anthropic' object", {"extension": True}),
        ("fast mode is not known", {"fast": True}),
        ("beta 'b' may change", {"betas": ("b", "c")}),
    ],
)
def test_what_makes_the_cost_of_a_call_unbounded(reason: str, fields: dict[str, Any]) -> None:
    plain: dict[str, Any] = {"price": SONNET, "server_tools": False, "extension": False, "fast": False, "betas": ()}
    assert why_unbounded("m", **plain) == ""
    assert reason in why_unbounded("m", **{**plain, **fields})


def test_fast_mode_with_a_known_price_is_bounded() -> None:
    opus = price_of("claude-opus-4-6")
    assert why_unbounded("m", opus, server_tools=False, extension=False, fast=True, betas=()) == ""
    assert bound(price=opus, fast=True, inference_geo="global") == WorstCase(30_000_000, 150_000, 30_000)


def test_models_before_4_6_have_no_surcharge_for_the_us() -> None:
    surcharged = {facts.id for facts in MODELS.all() if facts.price is not None and facts.price.us_multiplier != 1}
    all_models = {facts.id for facts in MODELS.all()}
    assert all_models - surcharged == {"claude-opus-4-5", "claude-sonnet-4-5", "claude-haiku-4-5"}


def test_a_configured_price_changes_single_columns() -> None:
    table = ModelTable.load(MODELS_TOML, "[models.claude-opus-5-5.price]\nfast_multiplier = 3\noutput = 21")
    price = table.resolve("opus").facts.price
    assert price is not None
    assert (price.input, price.output, price.fast_multiplier) == (4, 21, 3)


@pytest.mark.parametrize("line", ["input = -1", "output = inf", "us_multiplier = 0.5", "web_search_per_1000 = nan"])
def test_a_configured_price_has_to_make_sense(line: str) -> None:
    with pytest.raises(ModelTableError):
        ModelTable.load(MODELS_TOML, f"[models.claude-opus-5-5.price]\n{line}")


PRICED = st.sampled_from([facts.price for facts in MODELS.all() if facts.price is not None])
USD = st.floats(min_value=0, max_value=1000)


@st.composite
def prices(draw: st.DrawFn) -> Price:
    names = ("input", "output", "cache_read", "cache_write_5m", "cache_write_1h")
    rates = Rates(above_tokens=draw(st.integers(0, 3000)), **{name: draw(USD) for name in names})
    return Price(
        **{name: draw(USD) for name in names},
        long_prompt=draw(st.sampled_from([None, rates])),
        us_multiplier=draw(st.floats(1, 3)),
        fast_multiplier=draw(st.floats(1, 10)),
    )


@st.composite
def usages_within(draw: st.DrawFn, size: PromptSize, max_tokens: int) -> Usage:
    """Any use whose tokens stay within what is known of a call before it is made."""
    prompt = draw(st.integers(0, size.most_tokens))
    read = draw(st.integers(0, prompt)) if size.cache_lifetime else 0
    written = draw(st.integers(0, prompt - read)) if size.cache_lifetime else 0
    return Usage(
        input_tokens=prompt - read - written,
        cache_read_input_tokens=read,
        cache_creation_input_tokens=written,
        cache_write_1h_tokens=draw(st.integers(0, written)) if size.cache_lifetime == "1h" else 0,
        output_tokens=draw(st.integers(0, max_tokens)),
    )


@given(
    st.data(),
    st.one_of(PRICED, prices()),
    st.builds(PromptSize, most_tokens=st.integers(0, 200_000), cache_lifetime=st.sampled_from(["", "5m", "1h"])),
    st.integers(0, 128_000),
    st.sampled_from(["", "us", "global", "eu"]),
    st.booleans(),
    st.integers(1, 8),
)
def test_no_use_within_the_bounds_costs_more_than_the_worst_case(
    data: st.DataObject, price: Price, size: PromptSize, max_tokens: int, geo: str, fast: bool, n: int
) -> None:
    made = call(price=price, size=size, max_tokens=max_tokens, inference_geo=geo, fast=fast, n=n)
    worst = worst_case(made)
    if not isinstance(worst, WorstCase):
        assert fast
        assert price.fast_multiplier is None
        return
    told_geo = st.sampled_from(["", "global" if geo == "global" else "us"])
    told_speed = st.sampled_from(["", "standard", "fast"] if fast else ["", "standard"])
    usages = [
        data.draw(
            st.builds(
                lambda usage, told: usage + told,
                usages_within(size, max_tokens),
                st.builds(Usage, inference_geo=told_geo, speed=told_speed),
            )
        )
        for _ in range(n)
    ]
    cost = cost_of(made, usages)
    assert cost is not None
    assert cost <= worst.input_nano + worst.output_nano_per_token * max_tokens


TOKENS = st.integers(0, 50_000)
USAGES = st.builds(
    Usage,
    input_tokens=TOKENS,
    cache_read_input_tokens=TOKENS,
    output_tokens=TOKENS,
    web_search_requests=st.integers(0, 5),
)


@given(USAGES, USAGES)
def test_without_surcharge_and_long_prompt_two_messages_cost_what_their_sum_does(one: Usage, other: Usage) -> None:
    assert cost_of(call(), [one, other]) == cost_nano(SONNET, one + other)


@given(prices(), USAGES, USAGES)
def test_the_cost_of_a_call_is_the_sum_over_its_messages(price: Price, one: Usage, other: Usage) -> None:
    costs = [cost_nano(price, one), cost_nano(price, other)]
    assert cost_of(call(price=price), [one, other]) == sum(cost for cost in costs if cost is not None)
