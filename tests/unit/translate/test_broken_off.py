"""Streams that break off, against what the simulator would have charged: estimates are within a tenth of it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from app.domain.calls import MessagesCall, ReplyPlan, Usage
from app.domain.output_meter import LearnedRatios
from app.translate.chat_stream import ChatStream
from tests.support.chat_requests import WEATHER, call
from tests.support.simulator_calls import content, send
from workers.simulator.service import Simulator
from workers.simulator.settings import SimulatorSettings

#: Kinds of answers: fields of the request, and whether the client is shown the thinking.
KINDS: dict[str, dict[str, Any]] = {
    "text": {"model": "claude-haiku-4-5"},
    "text in other scripts": {"model": "claude-haiku-4-5", "stop": ["zzz"], "prompt": "Sag etwas über 東京 und Größe"},
    "tools": {"model": "claude-haiku-4-5", "tools": [WEATHER], "prompt": "weather weather weather in Rome and Oslo"},
    "thinking that is shown": {"model": "claude-opus-5", "reasoning_effort": "high"},
    "thinking that is hidden": {"model": "claude-opus-5"},
    "a search": {"model": "claude-haiku-4-5", "web_search_options": {}, "prompt": "search the latest news of"},
}


@pytest.fixture
def simulator() -> Simulator:
    return Simulator(SimulatorSettings())


def asked(kind: str, number: int) -> MessagesCall:
    fields = {"prompt": "Say something about", **KINDS[kind]}
    prompt = f"{fields.pop('prompt')} {number}"
    return call({"stream": True, "messages": [{"role": "user", "content": prompt}], **fields})


def answer(simulator: Simulator, made: MessagesCall) -> bytes:
    reply = send(simulator, json.loads(made.body), headers={"anthropic-version": made.anthropic_version})
    assert reply.status == 200
    return content(reply)


def fed(data: bytes) -> ChatStream:
    chat = ChatStream(ReplyPlan(), created=0)
    chat.feed(data)
    assert chat.error is None
    return chat


def told(data: bytes) -> Usage:
    (used,) = fed(data).usages()
    assert not used.estimated
    return used.usage


@pytest.mark.parametrize("kind", KINDS)
def test_what_a_broken_stream_has_used_is_estimated_within_a_tenth(simulator: Simulator, kind: str) -> None:
    """The whole content has come, its count has not."""
    learned = LearnedRatios()
    for number in range(40):
        made = asked(kind, number)
        learned.learn(made.model, fed(answer(simulator, made)).meters[0])
    estimated, true = 0, 0
    for number in range(100, 200):
        made = asked(kind, number)
        whole = answer(simulator, made)
        (used,) = fed(whole[: whole.index(b"event: message_delta")]).usages(learned.of(made.model))
        assert used.estimated
        expected = told(whole)
        assert used.usage.prompt_tokens == expected.prompt_tokens
        assert used.usage.web_search_requests == expected.web_search_requests
        estimated += used.usage.output_tokens
        true += expected.output_tokens
    assert estimated == pytest.approx(true, rel=0.1)


def test_text_alone_needs_nothing_to_be_learned(simulator: Simulator) -> None:
    for number in range(20):
        whole = answer(simulator, asked("text", number))
        (used,) = fed(whole[: whole.index(b"event: message_delta")]).usages()
        assert used.usage.output_tokens == told(whole).output_tokens


def test_the_estimate_grows_with_every_delta(simulator: Simulator) -> None:
    whole = answer(simulator, asked("thinking that is shown", 1))
    chat = ChatStream(ReplyPlan(), created=0)
    counts = []
    for frame in whole.split(b"\n\n"):
        chat.feed(frame + b"\n\n")
        counts += [used.usage.output_tokens for used in chat.usages()]
    assert counts == sorted(counts)
    assert counts[-1] == told(whole).output_tokens


def test_a_prompt_that_was_never_counted_is_guessed_within_a_tenth(simulator: Simulator) -> None:
    for words in (200, 2000, 20_000):
        made = call({"stream": True, "messages": [{"role": "user", "content": "word " * words}]})
        assert made.size.expected_tokens == pytest.approx(told(answer(simulator, made)).prompt_tokens, rel=0.1)
