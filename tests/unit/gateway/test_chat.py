"""What every chat completion has in common: it is let in, sent, measured and settled, however it ends."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest

from app.config import Config
from app.domain.auth import ANONYMOUS, Caller, tenant_tag
from app.domain.limits import Limits
from app.errors import PermissionDenied, RateLimited, StateUnavailable, UpstreamStatus, UpstreamTimeout
from app.gateway.chat import read_chat
from app.gateway.complete import Completed, complete
from app.gateway.stream import ChatEvents
from app.observability.record import RequestRecord
from tests.support.fake_upstream import FakeReply, FakeUpstream, message, stream, text
from tests.support.services import StateAway, make_services

#: Of Opus 5.5, nano-dollars a token.
INPUT, OUTPUT = 4_000, 20_000

BYOK = Caller(
    source="byok", tenant="byok", tag=tenant_tag("byok"), key_id="byok-1", authenticated=True, credential="sk-ant-own"
)


class Asked:
    """One request of a caller to a worker of its own."""

    def __init__(self, upstream: FakeUpstream, *, state: Any = None, config: Config | None = None) -> None:
        self.services = make_services(upstream=upstream, state=state, config=config)
        self.record = RequestRecord("r1", "POST", "/v1/chat/completions")

    def request(self, **fields: Any) -> Any:
        body = {"model": "claude-opus-5-5", "messages": [{"role": "user", "content": "Hi"}], **fields}
        return read_chat(self.services, msgspec.json.encode(body))

    async def complete(self, caller: Caller = ANONYMOUS, **fields: Any) -> Completed:
        return await complete(self.services, self.request(**fields), self.record, caller)

    def events(self, caller: Caller = ANONYMOUS, **fields: Any) -> ChatEvents:
        return ChatEvents(self.services, self.request(stream=True, **fields), self.record, caller)

    @property
    def open(self) -> int:
        return self.services.ledger.open_permits


def limited_to(**limits: int) -> Caller:
    return Caller(source="file", tenant="acme", tag=tenant_tag("acme"), key_id="k", limits=Limits(**limits))


# Let in


async def test_who_asked_is_noted() -> None:
    asked = Asked(FakeUpstream(FakeReply(message(text("Hello.")))))
    await asked.complete(limited_to())
    assert (asked.record.tenant, asked.record.key_id) == ("acme", "k")
    assert (asked.record.degraded, asked.record.client_credential) == (False, False)


async def test_what_is_not_let_in_does_not_reach_anthropic() -> None:
    upstream = FakeUpstream(FakeReply(message(text("Hello."))))
    asked, caller = Asked(upstream), limited_to(requests_per_minute=1)
    await asked.complete(caller)
    with pytest.raises(RateLimited):
        await asked.complete(caller)
    assert (len(upstream.requests), asked.open) == (1, 0)


@pytest.mark.parametrize("model", ["claude-opus-5-5", "opus", "our-best"])
async def test_a_key_may_name_its_models_as_clients_do(model: str) -> None:
    config = Config(model_aliases=(("our-best", "claude-opus-5-5"),))
    asked = Asked(FakeUpstream(FakeReply(message(text("Hello.")))), config=config)
    await asked.complete(msgspec.structs.replace(limited_to(), models=(model,)), model="our-best")
    with pytest.raises(PermissionDenied):
        await asked.complete(msgspec.structs.replace(limited_to(), models=(model,)), model="haiku")


async def test_the_rates_of_the_gateway_win_over_those_of_its_account() -> None:
    told = {"anthropic-ratelimit-requests-limit": "9000", "anthropic-ratelimit-tokens-limit": "8000"}
    asked = Asked(FakeUpstream(FakeReply(message(text("Hello.")), headers=told)))
    headers = (await asked.complete(limited_to(requests_per_minute=60))).headers
    assert headers["x-ratelimit-limit-requests"] == "60"
    assert headers["x-ratelimit-remaining-requests"] == "59"
    assert headers["x-ratelimit-limit-tokens"] == "8000"


async def test_near_the_end_of_a_budget_the_bound_is_lowered_and_reported() -> None:
    upstream = FakeUpstream(FakeReply(message(text("Hello."))))
    completed = await Asked(upstream).complete(limited_to(budget_total_nano=50_000_000), max_tokens=10_000)
    lowered = upstream.sent(0)["max_tokens"]
    assert 1_000 < lowered < 2_500
    assert ("max_tokens", str(lowered)) in completed.report.adjusted


async def test_without_the_store_a_request_goes_on_and_says_so() -> None:
    asked = Asked(FakeUpstream(FakeReply(message(text("Hello.")))), state=StateAway())
    await asked.complete()
    assert asked.record.degraded
    assert asked.open == 0


async def test_a_key_that_cannot_be_checked_is_refused_as_such() -> None:
    asked = Asked(FakeUpstream(), state=StateAway())
    stored = Caller(source="stored", tag=tenant_tag("acme"), key_id="k", secret_hash=b"x" * 32, verified=False)
    with pytest.raises(StateUnavailable):
        await asked.complete(stored)
    assert asked.record.degraded


async def test_a_clients_own_key_pays_for_itself() -> None:
    upstream = FakeUpstream(FakeReply(message(text("Hello."))))
    asked = Asked(upstream)
    await asked.complete(BYOK)
    assert upstream.requests[0].credential == "sk-ant-own"
    assert (asked.record.client_credential, asked.record.nano) == (True, 0)


# Settled


async def test_a_plain_answer_is_settled_by_what_anthropic_told() -> None:
    asked = Asked(FakeUpstream(FakeReply(message(text("Hello.")))))
    await asked.complete()
    assert (asked.record.nano, asked.record.estimated, asked.open) == (5 * INPUT + 3 * OUTPUT, False, 0)


async def test_a_stream_is_settled_before_its_last_frames_go_out() -> None:
    asked = Asked(FakeUpstream(FakeReply(*stream("Hello."))))
    events = asked.events()
    while not events.finished:
        assert not asked.record.nano
        await events.next()
    assert (asked.record.nano, asked.record.estimated, asked.open) == (5 * INPUT + 3 * OUTPUT, False, 0)
    await events.close()
    assert asked.record.nano == 5 * INPUT + 3 * OUTPUT


async def test_a_refusal_of_anthropic_costs_nothing() -> None:
    asked = Asked(FakeUpstream(UpstreamStatus("Overloaded", status=529)))
    with pytest.raises(UpstreamStatus):
        await asked.complete()
    assert (asked.record.nano, asked.record.estimated, asked.open) == (0, False, 0)


@pytest.mark.parametrize(("phase", "is_charged"), [("connect", False), ("first_byte", True), ("idle", True)])
async def test_an_answer_that_did_not_come_in_time_is_charged_where_it_may_have_been_made(
    phase: Any, is_charged: bool
) -> None:
    asked = Asked(FakeUpstream(UpstreamTimeout("silent", phase=phase)))
    with pytest.raises(UpstreamTimeout):
        await asked.complete()
    assert (asked.record.nano > 0, asked.record.estimated) == (is_charged, is_charged)
    assert asked.open == 0


async def test_a_plain_request_that_was_given_up_is_settled_by_estimate() -> None:
    reply = FakeReply(...)
    asked = Asked(FakeUpstream(reply))
    task = asyncio.create_task(asked.complete())
    await reply.begun.wait()
    assert asked.open == 1
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert (asked.record.estimated, asked.open) == (True, 0)
    assert asked.record.nano > 0


async def test_a_stream_that_was_left_is_settled_by_what_it_showed() -> None:
    asked = Asked(FakeUpstream(FakeReply(*stream("x" * 400)[:3], ...)))
    events = asked.events()
    for _ in range(2):
        await events.next()
    await events.close()
    assert (asked.record.nano, asked.record.estimated, asked.open) == (5 * INPUT + 100 * OUTPUT, True, 0)


async def test_a_stream_that_was_not_let_in_has_nothing_to_settle() -> None:
    asked = Asked(FakeUpstream())
    caller = msgspec.structs.replace(limited_to(), scopes=("admin",))
    events = asked.events(caller)
    with pytest.raises(PermissionDenied):
        await events.next()
    await events.close()
    assert asked.record.nano == 0
