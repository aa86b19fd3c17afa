"""What a request asks of the limits, and what its calls have used: told, estimated, refused, several, continued."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from app.domain.calls import MessagesCall, ReplyPlan, Usage
from app.domain.learned_prompts import LearnedPrompts
from app.domain.limits import Use
from app.domain.models import Price, Rates
from app.domain.output_meter import LearnedRatios, OutputMeter
from app.domain.pace import LearnedPace
from app.domain.prompt_size import PromptSize
from app.gateway.ledger import NOTHING_USED
from app.gateway.spending import SentCall, Spending, demand_of, granted
from app.schemas.anthropic_reply import TextDelta

#: Nano-dollars a token: 2000 of input, 10,000 of output.
PRICE = Price(input=2, output=10, cache_read=0.10, cache_write_5m=2.50, cache_write_1h=4)
MODEL = "claude-sonnet-5-5"


def call(**fields: Any) -> MessagesCall:
    chosen = {
        "price": PRICE,
        "inference_geo": "global",
        "max_tokens": 100,
        "size": PromptSize(expected_tokens=10, most_tokens=50),
        "body": b'{"max_tokens":100,"model":"claude-sonnet-5-5"}',
        **fields,
    }
    return MessagesCall(model=MODEL, anthropic_version="2026-10-21", **chosen)


# What is asked for


def test_a_call_asks_for_what_it_is_expected_to_use_and_for_the_money_of_its_worst_case() -> None:
    demand = demand_of(call(least_tokens=7), ("one", "two"))
    assert (demand.model, demand.model_names) == (MODEL, ("one", "two"))
    assert (demand.input_tokens, demand.input_nano) == (10, 20_000)
    assert (demand.worst_input_nano, demand.output_nano_per_token) == (50 * 2_000, 10_000)
    assert (demand.max_tokens, demand.least_tokens, demand.answers, demand.unbounded) == (100, 7, 1, "")


@pytest.mark.parametrize(("given", "expected"), [(True, 100), (False, None)])
def test_only_a_clients_own_bound_tells_how_much_to_expect(given: bool, expected: int | None) -> None:
    assert demand_of(call(max_tokens_given=given), ()).output_tokens == expected


def test_all_answers_of_a_request_count() -> None:
    demand = demand_of(call(n=3, max_tokens_given=True), ())
    assert (demand.input_tokens, demand.output_tokens, demand.answers) == (30, 300, 3)
    assert (demand.worst_input_nano, demand.output_nano_per_token) == (3 * 50 * 2_000, 3 * 10_000)
    assert demand.max_tokens == 100  # of each


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"unbounded": "because"}, "because"),
        ({"price": None}, f"the price of {MODEL} is not known"),
        ({"fast": True}, "the price of fast mode is not known for this model"),
    ],
)
def test_a_call_without_a_bound_says_why(fields: dict[str, Any], why: str) -> None:
    demand = demand_of(call(**fields), ())
    assert (demand.worst_input_nano, demand.output_nano_per_token, demand.unbounded) == (None, 0, why)


def test_without_a_price_nothing_is_expected_to_be_charged() -> None:
    assert demand_of(call(price=None), ()).input_nano == 0


def test_a_client_that_brings_its_own_key_costs_nothing_here() -> None:
    demand = demand_of(call(unbounded="because"), (), is_ours=False)
    assert (demand.input_nano, demand.worst_input_nano, demand.output_nano_per_token) == (0, 0, 0)
    assert (demand.unbounded, demand.input_tokens) == ("", 10)
    spending = Spending(call(), LearnedRatios(), LearnedPace(), LearnedPrompts(), monotonic=float, is_ours=False)
    sent = spending.sent()
    sent.sending()
    spending.answered(sent, Usage(input_tokens=20, output_tokens=30))
    assert spending.use() == Use(input_tokens=20, output_tokens=30)


# What is granted


@pytest.mark.parametrize("max_tokens", [100, 500])
def test_a_call_that_gets_what_it_asked_for_stays_as_it_is(max_tokens: int) -> None:
    asked = call()
    assert granted(asked, max_tokens) is asked


def test_a_lower_bound_is_sent_and_reported() -> None:
    lowered = granted(call(), 40)
    assert lowered.max_tokens == 40
    assert msgspec.json.decode(lowered.body) == {"max_tokens": 40, "model": MODEL}
    assert lowered.report.adjusted == (("max_tokens", "40"),)


# What was used


class Setup:
    """The spending of a call, with a clock that is set by hand."""

    def __init__(self, asked: MessagesCall | None = None) -> None:
        self.now_s = 1_000.0
        self.ratios, self.pace, self.prompts = LearnedRatios(), LearnedPace(), LearnedPrompts()
        self.spending = self.of(asked or call())

    def of(self, asked: MessagesCall) -> Spending:
        return Spending(asked, self.ratios, self.pace, self.prompts, monotonic=lambda: self.now_s)

    def sent(self) -> SentCall:
        """A call that has left."""
        sent = self.spending.sent()
        sent.sending()
        return sent

    def answered(self, usage: Usage, *, after_s: float = 1.0) -> None:
        sent = self.sent()
        self.now_s += after_s
        self.spending.answered(sent, usage)


def test_before_anything_is_sent_nothing_is_used() -> None:
    assert Setup().spending.use() == NOTHING_USED


def test_what_anthropic_tells_is_exact() -> None:
    setup = Setup()
    setup.answered(
        Usage(input_tokens=20, output_tokens=30, cache_read_input_tokens=100, cache_creation_input_tokens=40)
    )
    assert setup.spending.use(complete=True) == Use(
        input_tokens=20,
        cache_read_tokens=100,
        cache_write_tokens=40,
        output_tokens=30,
        nano=20 * 2_000 + 100 * 100 + 40 * 2_500 + 30 * 10_000,
        complete=True,
    )


def test_a_call_that_anthropic_refused_is_a_request_that_cost_nothing() -> None:
    setup = Setup()
    setup.sent().refused()
    assert setup.spending.use() == Use(requests=1)


def test_a_call_that_waits_for_a_connection_is_no_request() -> None:
    setup = Setup()
    setup.spending.sent()
    setup.now_s += 60.0
    assert setup.spending.use() == NOTHING_USED


def test_of_a_call_that_is_tried_again_the_last_attempt_counts() -> None:
    setup = Setup()
    sent = setup.sent()
    setup.now_s += 60.0
    sent.refused()
    sent.sending()
    setup.now_s += 2.0
    use = setup.spending.use()
    assert (use.output_tokens, use.requests) == (50, 1)


def test_a_plain_call_that_was_given_up_is_estimated_by_its_time() -> None:
    setup = Setup()
    setup.sent()
    setup.now_s += 2.0  # a second of waiting, 50 tokens in the next one
    assert setup.spending.use() == Use(input_tokens=10, output_tokens=50, nano=10 * 2_000 + 50 * 10_000, estimated=True)


def test_no_estimate_is_above_the_bound_of_the_call() -> None:
    setup = Setup()
    setup.sent()
    setup.now_s += 3_600.0
    assert setup.spending.use().output_tokens == 100


def test_the_estimate_goes_by_the_pace_of_earlier_answers() -> None:
    setup = Setup(call(max_tokens=1_000))
    for tokens in (100, 200):
        setup.spending = setup.of(setup.spending.call)
        setup.answered(Usage(output_tokens=tokens), after_s=2 + tokens / 10)
    setup.spending = setup.of(setup.spending.call)
    setup.sent()
    setup.now_s += 17.0
    assert setup.spending.use().output_tokens == 150


def test_the_estimate_of_a_prompt_goes_by_earlier_ones_the_prompt_cache_included() -> None:
    cached = PromptSize(expected_tokens=1_000, most_tokens=5_000, cache_lifetime="5m")
    setup = Setup(call(size=cached))
    for _ in range(100):
        setup.spending = setup.of(setup.spending.call)
        setup.answered(Usage(input_tokens=100, cache_read_input_tokens=1_200))
    setup.spending = setup.of(setup.spending.call)
    setup.sent()
    use = setup.spending.use()
    assert use.cache_read_tokens == pytest.approx(1_200, rel=0.01)
    assert use.input_tokens == pytest.approx(100, rel=0.05)
    assert use.estimated


def test_a_prompt_that_searches_have_added_to_teaches_nothing() -> None:
    setup = Setup(call(plan=ReplyPlan(server_tools=True)))
    setup.answered(Usage(input_tokens=5_000))
    assert setup.prompts.expected(MODEL, PromptSize(expected_tokens=10)) == Usage(input_tokens=10)


def test_every_answer_of_several_counts_and_one_estimate_marks_the_sum() -> None:
    setup = Setup(call(n=2))
    setup.answered(Usage(input_tokens=20, output_tokens=30))
    assert not setup.spending.use().estimated
    setup.sent()
    use = setup.spending.use()
    assert (use.input_tokens, use.output_tokens, use.requests, use.estimated) == (30, 30, 1, True)


def test_every_call_of_a_paused_turn_is_charged_by_the_length_of_its_own_prompt() -> None:
    long_prompt = Rates(above_tokens=100, input=4, output=20, cache_read=0.20, cache_write_5m=5, cache_write_1h=8)
    setup = Setup(call(price=Price(**{**msgspec.structs.asdict(PRICE), "long_prompt": long_prompt})))
    setup.answered(Usage(input_tokens=60, output_tokens=1))
    setup.answered(Usage(input_tokens=101, output_tokens=1))
    assert setup.spending.use().nano == 60 * 2_000 + 10_000 + 101 * 4_000 + 20_000


def test_a_model_without_a_price_costs_nothing_that_is_known() -> None:
    setup = Setup(call(price=None))
    setup.answered(Usage(input_tokens=20, output_tokens=30))
    use = setup.spending.use()
    assert (use.nano, use.input_tokens, use.output_tokens) == (0, 20, 30)


# Streams


def stream_of(spending: Spending) -> tuple[SentCall, OutputMeter]:
    """A streamed call whose message has not begun."""
    sent, meter = spending.sent(), OutputMeter()
    sent.sending()
    sent.stream = lambda: meter if meter.begun else None
    return sent, meter


def test_of_a_stream_that_has_not_begun_only_the_prompt_is_expected() -> None:
    setup = Setup(call(upstream_stream=True))
    stream_of(setup.spending)
    setup.now_s += 60.0
    assert setup.spending.use() == Use(input_tokens=10, nano=20_000, estimated=True)


def test_of_a_stream_that_goes_on_what_it_showed_is_counted() -> None:
    setup = Setup(call(upstream_stream=True))
    _, meter = stream_of(setup.spending)
    meter.begin(Usage(input_tokens=25, output_tokens=1))
    meter.add(TextDelta(text="x" * 400))
    assert setup.spending.use() == Use(
        input_tokens=25, output_tokens=100, nano=25 * 2_000 + 100 * 10_000, estimated=True
    )


def test_a_stream_that_came_whole_is_exact_and_teaches_about_those_that_do_not() -> None:
    setup = Setup(call(upstream_stream=True))
    _, meter = stream_of(setup.spending)
    meter.begin(Usage(input_tokens=25, output_tokens=1))
    meter.add(TextDelta(text="x" * 40_000))
    meter.finish(Usage(input_tokens=25, output_tokens=20_000), complete=True)
    setup.spending.streamed()
    use = setup.spending.use(complete=True)
    assert (use.output_tokens, use.estimated, use.complete) == (20_000, False, True)

    setup.spending = setup.of(setup.spending.call)
    _, broken_off = stream_of(setup.spending)
    broken_off.begin(Usage(input_tokens=25))
    broken_off.add(TextDelta(text="x" * 400))
    assert setup.spending.use().output_tokens > 150  # nearly one for two bytes, and not for four


def test_streams_that_never_began_teach_nothing() -> None:
    setup = Setup(call(upstream_stream=True))
    stream_of(setup.spending)
    setup.sent().refused()
    setup.spending.streamed()
    assert setup.ratios.of(MODEL) == LearnedRatios().of(MODEL)
