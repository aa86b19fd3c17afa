"""Prompt caching as usage shows it."""

import pytest

from tests.support.simulator_calls import body, message
from workers.simulator.cache import PromptCache
from workers.simulator.prompt import pieces_of
from workers.simulator.service import Simulator
from workers.simulator.settings import SimulatorSettings
from workers.simulator.wire import CacheControl, CountTokensRequest, Message, TextBlock

LONG = "manual " * 1000  # 1750 tokens


@pytest.fixture
def simulator():
    return Simulator(SimulatorSettings())


def marked(words, ttl="5m"):
    return {"type": "text", "text": words, "cache_control": {"type": "ephemeral", "ttl": ttl}}


def usage(simulator, payload, **options):
    found = message(simulator, payload, **options)["usage"]
    return found["input_tokens"], found["cache_creation_input_tokens"], found["cache_read_input_tokens"]


def test_the_first_request_writes_and_the_second_reads(simulator):
    payload = body("Hello", system=[marked(LONG)])
    assert usage(simulator, payload) == (6, 1750, 0)
    assert usage(simulator, payload) == (6, 0, 1750)


def test_a_different_end_reads_the_same_prefix(simulator):
    usage(simulator, body("Hello", system=[marked(LONG)]))
    assert usage(simulator, body("Good day", system=[marked(LONG)])) == (6, 0, 1750)


def test_a_different_start_reads_nothing(simulator):
    usage(simulator, body("Hello", system=[marked(LONG)]))
    assert usage(simulator, body("Hello", system=[marked("x" + LONG)]))[2] == 0


def test_an_automatic_breakpoint_grows_with_the_conversation(simulator):
    turns = [LONG, {"role": "assistant", "content": "Read."}, "Next?"]
    automatic = {"cache_control": {"type": "ephemeral"}}
    assert usage(simulator, body(LONG, **automatic)) == (0, 1754, 0)
    assert usage(simulator, body(*turns, **automatic)) == (0, 12, 1754)


def test_a_prompt_below_the_minimum_is_not_cached(simulator):
    payload = body("Hello", system=[marked("short")])
    assert [usage(simulator, payload)[1:] for _ in range(2)] == [(0, 0)] * 2


def test_the_minimum_is_the_models(simulator):
    payload = body("Hello", system=[marked(LONG)], model="claude-opus-4-5")
    assert usage(simulator, payload)[1:] == (0, 0)


def test_writes_are_told_apart_by_their_time_to_live(simulator):
    payload = body({"role": "user", "content": [marked(LONG)]}, system=[marked(LONG, "1h")])
    found = message(simulator, payload)["usage"]["cache_creation"]
    assert found == {"ephemeral_5m_input_tokens": 1754, "ephemeral_1h_input_tokens": 1750}


def test_another_key_has_a_cache_of_its_own(simulator):
    payload = body("Hello", system=[marked(LONG)])
    usage(simulator, payload)
    assert usage(simulator, payload, headers={"x-api-key": "another"})[2] == 0


def test_another_tool_choice_keeps_the_system_prompt_but_not_the_messages(simulator):
    payload = body(
        {"role": "user", "content": [marked(LONG)]},
        system=[marked(LONG)],
        tools=[{"name": "now", "input_schema": {"type": "object"}}],
    )
    usage(simulator, payload)
    read = usage(simulator, payload | {"tool_choice": {"type": "none"}})[2]
    assert 1750 <= read < 1800


def request(*texts, mark=None):
    blocks = [
        TextBlock(text=text, cache_control=CacheControl() if index == mark else None)
        for index, text in enumerate(texts)
    ]
    return CountTokensRequest(model="m", messages=[Message(role="user", content=list(blocks))])


def use(cache, made, now_s):
    return cache.use(made, pieces_of(made), scope=b"", min_tokens=1, now_s=now_s)


@pytest.mark.parametrize(("later_s", "read"), [(299, True), (301, False)])
def test_an_entry_lives_five_minutes_after_its_last_use(later_s, read):
    cache = PromptCache()
    made = request("a" * 40, mark=0)
    use(cache, made, 0.0)
    use(cache, made, 200.0)
    assert bool(use(cache, made, 200.0 + later_s).read) is read


@pytest.mark.parametrize(("more", "read"), [(20, True), (21, False)])
def test_a_breakpoint_looks_back_twenty_blocks(more, read):
    cache = PromptCache()
    use(cache, request("start", mark=0), 0.0)
    longer = request("start", *["x"] * more, mark=more)
    assert bool(use(cache, longer, 1.0).read) is read
