from __future__ import annotations

import pytest

from app.domain.calls import Usage
from app.domain.output_meter import DEFAULT_RATIOS, LearnedRatios, MessageUsage, OutputMeter, TokenRatios
from app.schemas.anthropic_reply import (
    Block,
    CitationsDelta,
    Delta,
    InputJsonDelta,
    Raw,
    RedactedThinkingBlock,
    ServerToolUseBlock,
    SignatureDelta,
    TextBlock,
    TextDelta,
    ThinkingBlock,
    ThinkingDelta,
    ToolUseBlock,
)

RATIOS = TokenRatios(said=1, shown=10, hidden=100, hidden_block=2000)
HIDDEN: tuple[Block | Delta, ...] = (ThinkingBlock(""), SignatureDelta("sign"))


def metered(*seen: Block | Delta | None, usage: Usage | None = None) -> OutputMeter:
    meter = OutputMeter()
    meter.begin(Usage(input_tokens=7, output_tokens=1))
    for one in seen:
        if isinstance(one, Delta):
            meter.add(one)
        else:
            meter.open_block(one)
    if usage is not None:
        meter.finish(usage, complete=True)
    return meter


def estimate(*seen: Block | Delta | None, ratios: TokenRatios = RATIOS) -> int:
    found = metered(*seen).usage_so_far(ratios)
    assert found.estimated
    return found.usage.output_tokens


def test_a_message_that_has_ended_is_not_estimated() -> None:
    told = Usage(input_tokens=7, output_tokens=50)
    assert metered(TextDelta("a"), usage=told).usage_so_far() == MessageUsage(usage=told, estimated=False)


def test_an_end_that_does_not_count_the_output_leaves_it_to_be_estimated() -> None:
    meter = metered(TextDelta("12345678"))
    meter.finish(Usage(input_tokens=9, output_tokens=1), complete=False)
    assert meter.usage_so_far() == MessageUsage(usage=Usage(input_tokens=9, output_tokens=2), estimated=True)


def test_what_was_told_stays_and_output_is_at_least_that() -> None:
    meter = OutputMeter()
    told = Usage(input_tokens=7, cache_read_input_tokens=5, output_tokens=3, service_tier="standard")
    meter.begin(told)
    assert meter.usage_so_far() == MessageUsage(usage=told, estimated=True)


def test_text_and_input_of_tools_count_by_their_bytes() -> None:
    seen = (TextBlock("ab"), TextDelta("é"), TextDelta("cd"), ToolUseBlock("id", "now"), InputJsonDelta('{"a":"ü"}'))
    assert estimate(*seen) == 2 + 2 + 2 + 3 + 10


def test_searches_count_by_name_and_number() -> None:
    meter = metered(ServerToolUseBlock("web_search"), InputJsonDelta("{}"), ServerToolUseBlock("other"), None)
    usage = meter.usage_so_far(RATIOS).usage
    assert (usage.output_tokens, usage.web_search_requests) == (17, 1)


def test_citations_are_no_output() -> None:
    assert estimate(TextDelta("ab"), CitationsDelta(Raw(b"{}"))) == 2


def test_thinking_that_is_shown_counts_by_its_bytes_and_not_by_its_signature() -> None:
    meter = metered(ThinkingBlock("a"), ThinkingDelta("bc"), SignatureDelta("signature"))
    usage = meter.usage_so_far(RATIOS).usage
    assert (usage.output_tokens, usage.thinking_tokens) == (30, 30)
    assert estimate(ThinkingBlock(""), ThinkingDelta("bc"), SignatureDelta("signature")) == 20


def test_thinking_that_is_hidden_counts_by_its_signature() -> None:
    meter = metered(*HIDDEN, TextBlock(""), TextDelta("ab"))
    usage = meter.usage_so_far(RATIOS).usage
    assert (usage.output_tokens, usage.thinking_tokens) == (402, 400)
    assert estimate(RedactedThinkingBlock("data")) == 400


def test_hidden_thinking_that_goes_on_is_half_done() -> None:
    assert estimate(ThinkingBlock(""), ThinkingDelta("")) == 1000
    assert estimate(ThinkingBlock(""), TextBlock("")) == 1


def test_nothing_is_known_of_a_model_at_first() -> None:
    assert LearnedRatios().of("claude-x") == DEFAULT_RATIOS


def test_the_ratios_of_a_model_are_learned_from_messages_that_ended() -> None:
    learned = LearnedRatios()
    for _ in range(1000):
        usage = Usage(output_tokens=150, thinking_tokens=50)
        learned.learn("claude-x", metered(ThinkingDelta("t" * 25), TextDelta("s" * 300), usage=usage))
        learned.learn("claude-y", metered(*HIDDEN, TextDelta("s" * 300), usage=usage))
    x, y = learned.of("claude-x"), learned.of("claude-y")
    assert x.said == pytest.approx(1 / 3, rel=0.01)
    assert x.shown == pytest.approx(2, rel=0.1)
    assert (x.hidden, x.hidden_block) == (DEFAULT_RATIOS.hidden, 0)
    assert y.hidden == pytest.approx(50 / 4, rel=0.1)
    assert y.hidden_block == 50
    assert y.shown == DEFAULT_RATIOS.shown


def test_what_was_learned_fades_when_the_model_changes() -> None:
    learned = LearnedRatios()
    for tokens in [100] * 50 + [200] * 200:
        learned.learn("claude-x", metered(TextDelta("s" * 100_000), usage=Usage(output_tokens=tokens * 250)))
    assert learned.of("claude-x").said == pytest.approx(0.5, rel=0.01)


@pytest.mark.parametrize(
    "meter",
    [
        metered(TextDelta("s" * 4000)),
        metered(*HIDDEN, usage=Usage(output_tokens=9000)),
        metered(TextDelta("s" * 4000), usage=Usage(output_tokens=9000, thinking_tokens=9000)),
    ],
    ids=["not complete", "thinking not told apart", "thinking that did not come"],
)
def test_a_message_that_tells_too_little_teaches_nothing(meter: OutputMeter) -> None:
    learned = LearnedRatios()
    learned.learn("claude-x", meter)
    assert learned.of("claude-x") == DEFAULT_RATIOS


def test_thinking_of_both_kinds_in_one_message_teaches_only_about_the_rest() -> None:
    learned = LearnedRatios()
    usage = Usage(output_tokens=2000, thinking_tokens=1000)
    learned.learn("claude-x", metered(*HIDDEN, ThinkingDelta("shown"), TextDelta("s" * 2000), usage=usage))
    ratios = learned.of("claude-x")
    assert ratios.said > DEFAULT_RATIOS.said
    assert (ratios.shown, ratios.hidden) == (DEFAULT_RATIOS.shown, DEFAULT_RATIOS.hidden)


def test_only_so_many_models_are_remembered() -> None:
    learned = LearnedRatios()
    for number in range(65):
        learned.learn(f"claude-{number}", metered(TextDelta("s" * 4000), usage=Usage(output_tokens=9000)))
    assert learned.of("claude-0") == DEFAULT_RATIOS
    assert learned.of("claude-64") != DEFAULT_RATIOS
