"""What is kept of a whole answer, before its client has the last of it."""

from __future__ import annotations

from typing import Any

import pytest

from app.errors import StateUnavailable
from app.state.kept_answers import kept_commands, read_kept
from tests.support.corridor import ANN, TRIP, Corridor, frames_of, text_of
from tests.support.fake_upstream import FakeReply, event, message, stream, text
from tests.support.steered_state import ALWAYS

THINKS: dict[str, Any] = {
    "tools": [{"type": "function", "function": {"name": "now", "parameters": {"type": "object"}}}],
    "reasoning_effort": "high",
}
THINKING = {"type": "thinking", "thinking": "Hm.", "signature": "c2ln"}


def call(number: int = 1) -> dict[str, Any]:
    return {"type": "tool_use", "id": f"toolu_{number}", "name": "now", "input": {}}


def calls(number: int = 1) -> FakeReply:
    return FakeReply(message(THINKING, call(number), call(number + 10), stop_reason="tool_use", id_=f"msg_{number}"))


async def kept(corridor: Corridor, *call_ids: str) -> set[str]:
    """Of these calls those by which an answer is kept."""
    return set(read_kept(call_ids, await corridor.state.pipeline(kept_commands(ANN.tag, call_ids))))


async def test_an_answer_with_calls_is_kept_by_the_first_of_them() -> None:
    corridor = Corridor(calls())
    await corridor.ask(**THINKS)
    assert await kept(corridor, "toolu_1", "toolu_11") == {"toolu_1"}


async def test_each_of_several_answers_is_kept() -> None:
    corridor = Corridor(calls(1), calls(2))
    await corridor.ask(n=2, **THINKS)
    assert await kept(corridor, "toolu_1", "toolu_2") == {"toolu_1", "toolu_2"}


async def test_a_streamed_answer_is_kept_before_its_last_frame() -> None:
    block = [
        event("content_block_start", index=1, content_block=call()),
        event("content_block_delta", index=1, delta={"type": "input_json_delta", "partial_json": "{}"}),
        event("content_block_stop", index=1),
    ]
    first, *rest = stream("Hm.", stop_reason="tool_use")
    corridor = Corridor(FakeReply(first, *rest[:3], *block, *rest[3:]))
    events = corridor.events(**THINKS)
    while not events.finished:
        assert await kept(corridor, "toolu_1") == set()
        await events.next()
    assert await kept(corridor, "toolu_1") == {"toolu_1"}
    await events.close()


async def test_an_answer_without_calls_is_not_kept() -> None:
    corridor = Corridor(FakeReply(message(text("Noon."))))
    await corridor.ask(**THINKS)
    assert "SET" not in corridor.state.steps


async def test_the_calls_of_who_does_not_think_are_not_kept() -> None:
    corridor = Corridor(calls())
    await corridor.ask(tools=THINKS["tools"], model="claude-haiku-4-5")
    assert "SET" not in corridor.state.steps


async def test_a_turn_of_a_session_keeps_its_calls_itself() -> None:
    corridor = Corridor(calls())
    await corridor.ask(wants=TRIP, **THINKS)
    assert "SET" not in corridor.state.steps


@pytest.mark.parametrize("befalls", ["refused", "lost"])
async def test_an_answer_that_could_not_be_kept_is_none(befalls: str) -> None:
    corridor = Corridor(calls())
    getattr(corridor.state, befalls)["SET"] = ALWAYS
    with pytest.raises(StateUnavailable, match="send this one again") as caught:
        await corridor.ask(**THINKS)
    assert caught.value.retry_after_s
    assert await corridor.leftovers() == {}


async def test_a_store_that_is_full_keeps_nothing() -> None:
    corridor = Corridor(calls())
    corridor.state.denied["SET"] = ALWAYS
    with pytest.raises(StateUnavailable, match="send this one again"):
        await corridor.ask(**THINKS)


async def test_a_stream_that_could_not_be_kept_does_not_end_well() -> None:
    block = [
        event("content_block_start", index=1, content_block=call()),
        event("content_block_stop", index=1),
    ]
    first, *rest = stream("Hm.", stop_reason="tool_use")
    corridor = Corridor(FakeReply(first, *rest[:3], *block, *rest[3:]))
    corridor.state.refused["SET"] = ALWAYS
    events = corridor.events(**THINKS)
    with pytest.raises(StateUnavailable):
        await frames_of(events)
    assert not events.finished
    assert await corridor.leftovers() == {}


async def test_who_was_let_in_without_the_store_has_been_told_that_nothing_is_sure() -> None:
    corridor = Corridor(calls())
    corridor.state.refused["admit"] = corridor.state.refused["SET"] = ALWAYS
    await corridor.ask(**THINKS)
    assert corridor.state.steps.count("SET") == 1


async def test_the_settlement_delays_nobody() -> None:
    corridor = Corridor(FakeReply(message(text("Noon."))))
    held = corridor.state.hold("settle")
    assert text_of(await corridor.ask()) == "Noon."
    held.let_go()
    assert await corridor.leftovers() == {}
