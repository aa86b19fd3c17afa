"""How a request is let in and made ready, and what it leaves behind when it is not."""

from __future__ import annotations

import asyncio
import gc
from typing import Any

import pytest
from msgspec.structs import replace

from app.domain.auth import Caller
from app.domain.caching import CacheControl, CacheMode, CacheRule
from app.domain.limits import Limits
from app.domain.sessions import SessionName
from app.errors import (
    IdempotencyKeyReused,
    InvalidRequest,
    PermissionDenied,
    RateLimited,
    StateUnavailable,
    UpstreamUnreachable,
)
from app.gateway.entrance import Entry, Shared
from app.gateway.gate import Presented
from app.gateway.session_book import create_session
from app.gateway.wants import Wants
from app.schemas.admin import KeyCache, NewKey
from app.state import api_keys
from tests.support.corridor import (
    ANN,
    CACHED,
    TRIP,
    Corridor,
    caller,
    frames_of,
    new_record,
    said_in,
    soon,
    text_of,
)
from tests.support.fake_upstream import FakeReply, message, text
from tests.support.services import NOW
from tests.support.steered_state import ALWAYS

BOB = caller("bob")
RETRIED = Wants(idempotency_key="order 66")

TOOLS = [{"type": "function", "function": {"name": "now", "parameters": {"type": "object"}}}]
THINKING = {"type": "thinking", "thinking": "Hm.", "signature": "c2ln"}
CALL = {"type": "tool_use", "id": "toolu_1", "name": "now", "input": {}}
#: A client's second request, which says of the first answer only what its format can carry.
SECOND = [
    {"role": "user", "content": "What time is it?"},
    {
        "role": "assistant",
        "tool_calls": [{"id": "toolu_1", "type": "function", "function": {"name": "now", "arguments": "{}"}}],
    },
    {"role": "tool", "tool_call_id": "toolu_1", "content": "noon"},
]
THINKS: dict[str, Any] = {"tools": TOOLS, "reasoning_effort": "high"}


def hello(number: int = 1) -> FakeReply:
    return FakeReply(message(text(f"Hello {number}."), id_=f"msg_{number}"))


async def shared_of(corridor: Corridor, said: str = "Hi", **request: Any) -> Shared | None:
    """What a request shares with others; it is let in, and closed."""
    entry = corridor.entry(said, **request)
    await entry.let_in()
    entry.close()
    corridor.services.flights._open.clear()
    return entry.shared


# What is shared


async def test_a_request_that_wants_nothing_asks_the_store_only_to_be_let_in() -> None:
    corridor = Corridor(hello())
    headers = (await corridor.ask()).headers
    assert headers["x-claude-wrapper-cache"] == "BYPASS"
    await corridor.settled()
    assert corridor.state.steps == ["admit", "settle"]


async def test_a_session_takes_no_answer_from_the_cache() -> None:
    corridor = Corridor(hello(), cache="on")
    headers = (await corridor.ask(wants=replace(TRIP, cache=CACHED.cache))).headers
    assert headers["x-claude-wrapper-cache"] == "BYPASS"


async def test_who_pays_anthropic_itself_takes_no_answer_from_the_cache() -> None:
    assert await shared_of(Corridor(cache="on"), who=caller("byok-1", credential="sk-ant-x")) is None


@pytest.mark.parametrize("mode", ["opt-in", "on"])
async def test_where_the_cache_is_off_neither_a_key_nor_a_request_switches_it_on(mode: CacheMode) -> None:
    corridor = Corridor(cache="off")
    assert await shared_of(corridor, who=replace(ANN, cache=CacheRule(mode=mode)), wants=CACHED) is None


async def test_equal_requests_share_one_slot() -> None:
    corridor = Corridor()
    first, again = [await shared_of(corridor, wants=CACHED) for _ in range(2)]
    assert first == again
    assert first is not None


async def test_other_requests_have_another_slot() -> None:
    corridor = Corridor()
    one, other = [await shared_of(corridor, said, wants=CACHED) for said in ("Hi", "Ho")]
    assert one is not None
    assert other is not None
    assert one.slot != other.slot


@pytest.mark.parametrize("wants", [CACHED, RETRIED])
async def test_keys_of_a_tenant_share_only_where_that_was_said(wants: Wants) -> None:
    def slots(corridor: Corridor) -> Any:
        return asyncio.gather(*(shared_of(corridor, who=who, wants=wants) for who in (ANN, BOB)))

    apart, together = await slots(Corridor()), await slots(Corridor(share_within="tenant"))
    assert apart[0].slot != apart[1].slot
    assert together[0].slot == together[1].slot


async def test_a_key_may_share_though_others_do_not() -> None:
    corridor = Corridor()
    rule = CacheRule(share_within="tenant")
    ann, bob = [await shared_of(corridor, who=replace(who, cache=rule), wants=CACHED) for who in (ANN, BOB)]
    assert ann == bob


async def test_tenants_never_share() -> None:
    corridor = Corridor(share_within="tenant")
    one, other = [await shared_of(corridor, who=who, wants=RETRIED) for who in (ANN, caller(tenant="other"))]
    assert one is not None
    assert other is not None
    assert one.slot != other.slot


async def test_those_who_pay_anthropic_themselves_never_share() -> None:
    corridor = Corridor(share_within="tenant")
    own = [caller(f"byok-{name}", "byok", credential=f"sk-ant-{name}") for name in "ab"]
    one, other = [await shared_of(corridor, who=who, wants=RETRIED) for who in own]
    assert one is not None
    assert other is not None
    assert one.slot != other.slot


async def test_a_fresh_answer_is_neither_read_nor_waited_for() -> None:
    shared = await shared_of(Corridor(cache="on"), wants=Wants(cache=CacheControl(no_cache=True)))
    assert shared is not None
    assert (shared.joins, shared.ttl_s) == (False, 300)


async def test_a_key_in_use_for_another_request_is_refused_at_once() -> None:
    corridor = Corridor(FakeReply(...))
    first = asyncio.ensure_future(corridor.ask("Hi", wants=RETRIED))
    await corridor.upstream_called(1)
    with pytest.raises(IdempotencyKeyReused):
        await corridor.ask("Ho", wants=RETRIED)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    assert await corridor.leftovers() == {}


# A key that this worker does not know


async def stored_key(corridor: Corridor, mode: CacheMode | None = "on") -> Caller:
    """Who calls with a key of the store, of which no worker has heard."""
    new = NewKey(tenant="acme", cache=KeyCache(mode=mode))
    issued = await api_keys.create(corridor.state, new, actor="test", now=NOW)  # type: ignore[arg-type]
    corridor.state.steps.clear()
    return await corridor.services.gate.caller(Presented([issued.text.encode()], lambda: ""))


async def test_what_a_key_says_of_the_cache_counts_from_its_first_request_on_each_worker() -> None:
    corridor = Corridor(hello())
    who, ways = await stored_key(corridor), []
    for worker in (corridor, corridor, corridor.another(), corridor.another()):
        ways.append((await worker.ask(who=who)).headers["x-claude-wrapper-cache"])
        await worker.settled()
    assert ways == ["MISS", "HIT", "HIT", "HIT"]
    assert await corridor.leftovers() == {}


async def test_the_first_request_of_a_key_asks_for_the_answer_once_it_is_let_in() -> None:
    corridor = Corridor(hello())
    who = await stored_key(corridor)
    for steps in (["admit", "join_flight"], ["admit", "join_flight"]):
        corridor.state.steps.clear()
        await corridor.ask(who=who)
        assert corridor.state.steps[:2] == steps
        await corridor.settled()


@pytest.mark.parametrize("mode", [None, "off", "opt-in"])
async def test_the_first_request_of_another_key_asks_for_nothing_more(mode: CacheMode | None) -> None:
    corridor = Corridor(hello())
    who = await stored_key(corridor, mode)
    assert (await corridor.ask(who=who)).headers["x-claude-wrapper-cache"] == "BYPASS"
    await corridor.settled()
    assert corridor.state.steps == ["admit", "settle"]


async def test_first_requests_of_a_key_that_come_together_share() -> None:
    corridor = Corridor(hello())
    who = await stored_key(corridor)
    replies = await asyncio.wait_for(asyncio.gather(*(corridor.ask(who=who) for _ in range(3))), 20)
    assert sorted(reply.headers["x-claude-wrapper-cache"] for reply in replies) == ["JOINED", "JOINED", "MISS"]
    assert len(corridor.upstream.requests) == 1
    assert await corridor.leftovers() == {}


async def test_a_streamed_first_request_is_answered_from_the_cache_too() -> None:
    corridor = Corridor(hello())
    who = await stored_key(corridor)
    await corridor.ask(who=who)
    await corridor.settled()
    events = corridor.another().events(who=who)
    assert said_in(await frames_of(events)) == "Hello 1."
    assert events.headers["x-claude-wrapper-cache"] == "HIT"


async def test_a_first_request_whose_client_leaves_while_it_asks_for_the_answer_leaves_nothing() -> None:
    corridor = Corridor()
    who = await stored_key(corridor)
    held = corridor.state.hold("join_flight")
    asked = asyncio.ensure_future(corridor.ask(who=who))
    await held.reached.wait()
    asked.cancel()
    await soon()
    corridor.state.free()
    await asyncio.gather(asked, return_exceptions=True)
    assert await corridor.leftovers() == {}


async def test_a_first_request_that_was_let_in_without_the_store_asks_it_for_no_answer() -> None:
    corridor = Corridor(hello())
    who = await stored_key(corridor)
    corridor.state.lost["admit"] = 1
    held = corridor.state.hold("admit")
    asked = asyncio.ensure_future(corridor.ask(who=who))
    await held.reached.wait()
    await corridor.services.gate.verified(who)  # by another request, meanwhile
    held.let_go()
    assert (await asked).headers["x-claude-wrapper-cache"] == "BYPASS"
    assert "join_flight" not in corridor.state.steps
    corridor.state.free()
    assert await corridor.leftovers() == {}


# Sessions


async def test_a_key_without_the_scope_has_no_sessions() -> None:
    corridor = Corridor()
    with pytest.raises(PermissionDenied, match="sessions"):
        await corridor.ask(wants=TRIP, who=replace(ANN, scopes=("inference",)))
    assert corridor.state.steps == []


async def test_two_names_for_one_session_are_refused() -> None:
    with pytest.raises(InvalidRequest, match="name two sessions"):
        Corridor().read(wants=TRIP, session_id="other")


async def test_a_turn_has_one_answer() -> None:
    with pytest.raises(InvalidRequest) as caught:
        Corridor().read(wants=TRIP, n=2)
    assert caught.value.param == "n"


async def test_a_reply_tells_which_session_has_to_go_for_a_new_one() -> None:
    corridor = Corridor(hello(), hello(2), hello(3), max_sessions=1)
    await corridor.ask(wants=Wants(session="old"))
    headers = (await corridor.ask(wants=TRIP)).headers
    assert headers["x-claude-wrapper-session-evicted"] == "old"
    await corridor.settled()
    assert "x-claude-wrapper-session-evicted" not in (await corridor.ask(wants=TRIP)).headers


async def test_the_name_of_somebody_elses_session_is_not_told() -> None:
    corridor = Corridor(hello(), hello(2), max_sessions=1)
    await corridor.ask(wants=Wants(session="secret"), who=BOB)
    headers = (await corridor.ask(wants=TRIP)).headers
    assert headers["x-claude-wrapper-session-evicted"] == "1 of another key"


async def test_an_index_that_cannot_be_read_keeps_nobody_out() -> None:
    corridor = Corridor(hello(), max_sessions=1)
    await corridor.state.call("ZADD", f"cw:{{{ANN.tag}}}:sessions:v1", 10**17, b"\xff nonsense")
    assert text_of(await corridor.ask(wants=TRIP)) == "Hello 1."
    assert await corridor.leftovers() == {}


# Kept thinking


async def kept_before(*replies: Any) -> Corridor:
    """A worker whose first answer, which thought and called a tool, was kept."""
    corridor = Corridor(FakeReply(message(THINKING, CALL, stop_reason="tool_use")), *replies)
    await corridor.ask(SECOND[0]["content"], **THINKS)
    return corridor


async def test_thinking_that_the_client_could_not_carry_is_back_in_its_place() -> None:
    corridor = await kept_before(hello())
    headers = (await corridor.ask(SECOND, **THINKS)).headers
    assert headers["x-claude-wrapper-thinking"] == "restored=1, lost=0"
    assert corridor.upstream.sent(1)["messages"][1]["content"] == [THINKING, CALL]


async def test_thinking_that_is_gone_is_told_of() -> None:
    corridor = await kept_before(hello())
    await corridor.state.call("FLUSHALL")
    headers = (await corridor.ask(SECOND, **THINKS)).headers
    assert headers["x-claude-wrapper-thinking"] == "restored=0, lost=1"
    assert corridor.upstream.sent(1)["messages"][1]["content"] == [CALL]


@pytest.mark.parametrize("befalls", ["refused", "lost"])
async def test_thinking_that_cannot_be_read_now_is_not_forgotten(befalls: str) -> None:
    corridor = await kept_before()
    getattr(corridor.state, befalls)["GET"] = ALWAYS
    with pytest.raises(StateUnavailable) as caught:
        await corridor.ask(SECOND, **THINKS)
    assert caught.value.retry_after_s
    assert await corridor.leftovers() == {}


async def test_a_request_whose_thinking_may_be_kept_is_not_let_in_without_the_store() -> None:
    corridor = await kept_before()
    corridor.state.refused["admit"] = 1
    with pytest.raises(StateUnavailable):
        await corridor.ask(SECOND, who=replace(ANN, outage="fail_open"), **THINKS)
    assert await corridor.leftovers() == {}


async def test_what_was_read_for_a_request_that_is_refused_complains_to_nobody() -> None:
    complaints: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
    corridor = await kept_before()
    corridor.state.refused["GET"] = ALWAYS
    held = corridor.state.hold("admit")
    asked = asyncio.ensure_future(corridor.ask(SECOND, **THINKS))
    await held.reached.wait()
    await soon()
    asked.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asked
    held.let_go()
    await corridor.settled()
    del asked
    gc.collect()
    assert complaints == []


async def test_a_request_without_tools_reads_nothing_that_was_kept() -> None:
    corridor = Corridor(hello())
    await corridor.ask(SECOND, reasoning_effort="high")
    assert "GET" not in corridor.state.steps


# Refused


@pytest.mark.parametrize(
    "request_",
    [
        pytest.param({"wants": TRIP}, id="a session"),
        pytest.param({"wants": CACHED}, id="a shared answer"),
        pytest.param({"wants": RETRIED}, id="an Idempotency-Key"),
        pytest.param({"wants": replace(TRIP, idempotency_key="a")}, id="a session with an Idempotency-Key"),
        pytest.param({"said": SECOND, **THINKS}, id="kept thinking"),
    ],
)
class TestWhoIsNotLetIn:
    """Whatever a request wants: when it is not let in, nothing of it is left."""

    async def test_by_its_limits(self, request_: dict[str, Any]) -> None:
        who = replace(ANN, limits=Limits(requests_per_minute=1))
        corridor = Corridor(hello())
        await corridor.ask("First", who=who)
        with pytest.raises(RateLimited):
            await corridor.ask(who=who, **request_)
        assert await corridor.leftovers() == {}

    @pytest.mark.parametrize("befalls", ["refused", "lost"])
    async def test_as_the_store_is_away(self, request_: dict[str, Any], befalls: str) -> None:
        corridor = Corridor()
        getattr(corridor.state, befalls)["admit"] = ALWAYS
        with pytest.raises(StateUnavailable):
            await corridor.ask(who=replace(ANN, outage="fail_closed"), **request_)
        corridor.state.free()
        assert await corridor.leftovers() == {}

    async def test_as_it_left(self, request_: dict[str, Any]) -> None:
        corridor = Corridor()
        held = corridor.state.hold("admit")
        entry = corridor.entry(**request_)
        entering = asyncio.ensure_future(entry.let_in())
        await held.reached.wait()
        entering.cancel()
        with pytest.raises(asyncio.CancelledError):
            await entering
        held.let_go()
        assert await corridor.leftovers() == {}

    async def test_or_that_is_let_in_and_closed_without_an_answer(self, request_: dict[str, Any]) -> None:
        corridor = Corridor()
        entry = corridor.entry(**request_)
        await entry.let_in()
        entry.close()
        entry.close()
        left = await corridor.leftovers()
        assert left.keys() <= {"flights", "flights in the store"}  # which ends with its part in it


# Limits


#: 0.2 USD, of which an answer of 16,000 tokens would cost more.
POOR = replace(ANN, limits=Limits(budget_total_nano=200_000_000))


async def with_history(words: int, *replies: Any) -> Corridor:
    """A worker with a session that is longer than its tenant's books know."""
    corridor = Corridor(*replies)
    said = corridor.read([{"role": "user", "content": "word " * words}, {"role": "assistant", "content": "ok"}])
    await create_session(corridor.services, SessionName(ANN.tag, "ann", "trip"), "acme", said.chat.request.messages)
    for seat in await corridor.state.call("KEYS", "cw:*:seat:*"):
        await corridor.state.call("DEL", seat)
    return corridor


async def test_a_history_that_was_not_reserved_for_shortens_the_answer() -> None:
    alone, corridor = Corridor(hello()), await with_history(2000, hello())
    await alone.ask(who=POOR, max_tokens=16_000)
    completed = await corridor.ask(wants=TRIP, who=POOR, max_tokens=16_000)
    assert 1 <= corridor.upstream.sent(0)["max_tokens"] < alone.upstream.sent(0)["max_tokens"] < 16_000
    assert "max_tokens" in dict(completed.report.adjusted)


async def test_a_history_that_nothing_is_left_for_is_not_sent() -> None:
    corridor = await with_history(40_000)
    with pytest.raises(RateLimited) as caught:
        await corridor.ask(wants=TRIP, who=POOR, max_tokens=16_000)
    assert caught.value.limit == "budget_reserved"
    assert await corridor.leftovers() == {}


async def test_an_answer_that_may_not_be_shortened_is_not_sent() -> None:
    who = replace(ANN, limits=Limits(budget_total_nano=140_000_000))
    corridor = await with_history(2000)
    request = replace(corridor.read(wants=TRIP, max_tokens=5000), strict=True)
    entry = Entry(corridor.services, request, new_record(), who)
    await entry.let_in()
    with pytest.raises(RateLimited):
        await entry.ready()
    entry.close()
    assert await corridor.leftovers() == {}


async def test_an_entry_that_is_answered_is_settled_once() -> None:
    corridor = Corridor()
    entry: Entry = corridor.entry()
    await entry.let_in()
    await entry.ready()
    entry.settle(complete=True)
    entry.settle(complete=False)
    entry.served()
    entry.close()
    await corridor.settled()
    assert corridor.state.steps.count("settle") == 1


async def test_a_failed_call_is_settled_by_what_it_used() -> None:
    corridor = Corridor(UpstreamUnreachable("gone"))
    with pytest.raises(UpstreamUnreachable):
        await corridor.ask()
    assert await corridor.leftovers() == {}
