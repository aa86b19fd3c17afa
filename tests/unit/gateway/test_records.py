"""What a request notes on its way: when each step was done, why it was not let in, what the cache did, what it cost."""

from __future__ import annotations

import asyncio

import pytest

from app.domain import minutes
from app.errors import GatewayError, UpstreamStatus, UpstreamUnreachable
from app.gateway.complete import complete
from app.gateway.stream import ChatEvents
from app.observability import catalog
from app.observability.record import RequestRecord
from tests.support.corridor import ANN, CACHED, MODEL, Corridor, caller, frames_of, new_record
from tests.support.fake_upstream import FakeReply, message, stream, text


def answer() -> FakeReply:
    return FakeReply(message(text("Hello.")))


async def asked(corridor: Corridor, said: str = "Hi", **request: object) -> RequestRecord:
    """The notes of a plain request that was answered."""
    record = new_record()
    await complete(corridor.services, corridor.read(said, **request), record, ANN)  # type: ignore[arg-type]
    return record


async def test_a_plain_request_notes_its_steps_in_their_order() -> None:
    record = await asked(Corridor(answer()))
    assert 0 < record.admitted_at <= record.sent_at <= record.answered_at <= record.ended_at
    assert (record.first_token_at, record.verdict, record.cache) == (0.0, "admitted", "bypass")


async def test_a_stream_notes_its_first_token_and_its_end() -> None:
    corridor, record = Corridor(FakeReply(*stream("a", "b"))), new_record()
    events = ChatEvents(corridor.services, corridor.read("Hi", stream=True), record, ANN)
    await events.next()
    assert record.first_token_at == 0.0  # it has begun, and says nothing yet
    await events.next()
    assert record.first_token_at > 0.0
    await frames_of(events)
    assert 0 < record.sent_at <= record.answered_at <= record.first_token_at <= record.ended_at


async def test_what_it_has_cost_is_counted_once() -> None:
    corridor = Corridor(answer())
    record = await asked(corridor)
    counters, minute = corridor.services.metrics.counters, corridor.services.metrics.minute_so_far()
    assert record.nano > 0
    assert counters[catalog.COST.name] == {(MODEL,): record.nano}
    assert counters[catalog.TOKENS.name][(MODEL, "output")] == 3
    assert minute["nano:tenant:acme"] == minute[minutes.NANO] == record.nano


async def test_a_stream_that_is_left_notes_what_it_has_cost_and_used() -> None:
    corridor, record = Corridor(FakeReply(*stream("a" * 400, "b"))), new_record()
    events = ChatEvents(corridor.services, corridor.read("Hi", stream=True), record, ANN)
    await events.next()
    await events.next()
    await events.close()
    assert record.estimated
    assert record.usage is not None
    tokens = corridor.services.metrics.counters[catalog.TOKENS.name]
    assert record.usage.output_tokens == tokens[MODEL, "output"] > 1


async def test_hidden_thinking_is_no_part_of_the_pace_of_what_is_shown() -> None:
    corridor, record = Corridor(FakeReply(*stream("a", "b", "c"))), new_record()
    await frames_of(ChatEvents(corridor.services, corridor.read("Hi", stream=True), record, ANN))
    assert record.usage is not None
    assert record.shown_tokens == record.usage.output_tokens - record.usage.thinking_tokens


async def test_a_call_that_its_client_did_not_wait_for_was_made_all_the_same() -> None:
    corridor, record = Corridor(...), new_record()
    asking = asyncio.create_task(complete(corridor.services, corridor.read("Hi"), record, ANN))
    await corridor.upstream_called(1)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert record.attempts == 1


async def test_without_the_store_there_is_no_cache_that_could_miss() -> None:
    corridor = Corridor(answer())
    corridor.state.dead = True
    record = await asked(corridor, wants=CACHED)
    assert (record.verdict, record.cache) == ("admitted_alone", "bypass")


async def test_a_plain_call_that_is_cut_in_its_body_has_no_end() -> None:
    corridor, record = Corridor(FakeReply(UpstreamUnreachable("gone"))), new_record()
    with pytest.raises(UpstreamUnreachable):
        await complete(corridor.services, corridor.read("Hi"), record, ANN)
    assert record.answered_at > 0.0
    assert record.ended_at == 0.0


async def test_a_stream_that_says_nothing_has_its_end_for_a_first_token() -> None:
    corridor, record = Corridor(FakeReply(*stream())), new_record()
    await frames_of(ChatEvents(corridor.services, corridor.read("Hi", stream=True), record, ANN))
    assert record.first_token_at > 0.0


async def test_a_call_that_was_repeated_says_so() -> None:
    failed, record = UpstreamStatus("Anthropic failed.", status=500), new_record()
    failed.attempts = 2
    corridor = Corridor(failed)
    with pytest.raises(UpstreamStatus):
        await complete(corridor.services, corridor.read("Hi"), record, ANN)
    assert (record.attempts, record.retries) == (2, 1)


async def test_a_request_that_is_not_let_in_notes_the_limit() -> None:
    corridor = Corridor(answer(), default_rpm=1)
    await asked(corridor)
    record = new_record()
    with pytest.raises(GatewayError):
        await complete(corridor.services, corridor.read("Hi"), record, ANN)
    assert record.verdict == "requests_per_minute"
    assert record.admitted_at > 0
    assert record.sent_at == 0.0


async def test_a_key_without_the_scope_notes_that() -> None:
    corridor, record = Corridor(), new_record()
    with pytest.raises(GatewayError):
        await complete(corridor.services, corridor.read("Hi"), record, caller(scopes=("sessions",)))
    assert record.verdict == "permission_denied"


async def test_a_cached_answer_notes_what_it_has_saved() -> None:
    corridor = Corridor(answer())
    made = await asked(corridor, wants=CACHED)
    await corridor.settled()
    found = await asked(corridor, wants=CACHED)
    assert (made.cache, made.saved_nano) == ("miss", 0)
    assert (found.cache, found.saved_nano) == ("hit", made.nano)
    assert (found.nano, found.attempts) == (0, 0)


async def test_a_streamed_hit_notes_it_as_well() -> None:
    corridor = Corridor(FakeReply(*stream("a", "b")))
    await corridor.listen(wants=CACHED)
    await corridor.settled()
    record = new_record()
    await frames_of(ChatEvents(corridor.services, corridor.read("Hi", stream=True, wants=CACHED), record, ANN))
    assert record.cache == "hit"
    assert record.saved_nano > 0


async def test_accounts_with_a_budget_are_noted_when_they_are_used() -> None:
    corridor = Corridor(answer(), answer(), default_budget_day=1.0)
    await asked(corridor)
    budgeted = corridor.services.admission.take_budgeted()
    assert {account: limits.budget_day_nano for account, limits in budgeted.items()} == {("acme", "ann"): 10**9}
    assert corridor.services.admission.take_budgeted() == {}
