"""Leases that are renewed and settlements that are made, kept, repeated, added up and given up."""

from __future__ import annotations

import asyncio
import itertools
import logging
from typing import Any

import pytest

from app.domain.limits import Hold, Limits, Use
from app.domain.local_limits import Held, LocalBook
from app.domain.local_limits import Refusal as LocalRefusal
from app.errors import StateError, StateUnavailable
from app.gateway import ledger as module
from app.gateway.ledger import NOTHING_USED, Ledger, Permit
from app.state.limits import RENEW_EVERY_S, Account
from tests.support.scripted_state import Asked, ScriptedState

ACCOUNT = Account("tag", "key")
MODEL = "claude-opus-5-5"
USE = Use(input_tokens=10, cache_write_tokens=3, cache_read_tokens=2, output_tokens=5, nano=700, complete=True)

NO_ANSWER = StateUnavailable("It did not answer in time.")
REFUSED = StateError("The store refused the script.")


class Setup:
    """A ledger over a scripted store, with a clock that is set by hand."""

    def __init__(self, *answers: Any) -> None:
        self.state = ScriptedState(*answers)
        self.local = LocalBook()
        self.now_s = 1_000.0
        ids = itertools.count()
        self.ledger = Ledger(
            self.state,  # type: ignore[arg-type]
            self.local,
            new_id=lambda: f"own-{next(ids)}",
            monotonic=lambda: self.now_s,
        )

    def permit(self, id_: str = "r1", *, model: str = MODEL, **facts: Any) -> Permit:
        permit = Permit(
            id=id_,
            account=ACCOUNT,
            tenant="acme",
            model=model,
            max_tokens=100,
            hold=Hold(input_tokens=10, output_tokens=100, nano=900),
            **{"admitted": True, **facts},
        )
        self.ledger.opened(permit)
        return permit

    async def turn(self) -> None:
        """One turn of what runs beside the requests, and what follows from it."""
        running = [asyncio.create_task(run()) for run in (self.ledger.keep_leases, self.ledger.repeat_settlements)]
        await self.rest()
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)

    async def rest(self) -> None:
        """Everything that can happen without time has happened."""
        for _ in range(50):
            await asyncio.sleep(0)

    @property
    def settlements(self) -> list[Settled]:
        return [Settled(one) for one in self.state.calls("settle")]


class Settled:
    """The words of a settlement, see ``settle.lua``."""

    def __init__(self, asked: Asked) -> None:
        args = asked.args
        assert isinstance(args[0], bytes)
        self.id = args[0].decode()
        self.key_id, self.model, self.admitted, self.again = args[1:5]
        self.tokens = args[5:9]
        self.nano, self.estimated, self.complete, self.requests = args[9:13]


@pytest.fixture(autouse=True)
def _turns_without_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TURN_S", 0.0)


# Settlements


async def test_a_settlement_leaves_at_once_with_everything_that_was_used() -> None:
    setup = Setup()
    setup.ledger.settle(setup.permit(), USE)
    (settled,) = setup.settlements
    assert (settled.id, settled.key_id, settled.model) == ("r1", "key", MODEL)
    assert (settled.admitted, settled.again, settled.requests) == (1, 0, 1)
    assert settled.tokens == (10, 3, 2, 5)
    assert (settled.nano, settled.estimated, settled.complete) == (700, 0, 1)


async def test_a_request_is_settled_once() -> None:
    setup = Setup()
    permit = setup.permit()
    setup.ledger.settle(permit, USE)
    setup.ledger.settle(permit, NOTHING_USED)
    assert len(setup.settlements) == 1
    await setup.ledger.close()
    assert (setup.ledger.open_permits, setup.ledger.unsettled, setup.ledger.behind) == (0, 0, False)


async def test_a_settlement_that_got_no_answer_is_repeated_as_such() -> None:
    setup = Setup(NO_ANSWER)
    setup.ledger.settle(setup.permit(), USE)
    await setup.rest()
    assert (setup.ledger.unsettled, setup.ledger.behind) == (1, True)
    await setup.turn()
    first, second = setup.settlements
    assert (first.again, second.again) == (0, 1)
    assert second.tokens == first.tokens
    assert setup.ledger.unsettled == 0


async def test_a_settlement_is_repeated_until_it_is_made() -> None:
    setup = Setup(*[NO_ANSWER] * 5)
    setup.ledger.settle(setup.permit(), USE)
    await setup.rest()
    await setup.turn()
    assert [one.again for one in setup.settlements] == [0, 1, 1, 1, 1, 1]
    assert (setup.ledger.unsettled, setup.ledger.lost) == (0, 0)


async def test_while_the_store_is_away_settlements_are_kept_and_nobody_asks() -> None:
    setup = Setup()
    permits = [setup.permit(f"r{number}") for number in range(3)]
    setup.state.available = False
    for permit in permits:
        setup.ledger.settle(permit, USE)
    await setup.turn()
    assert (setup.state.asked, setup.ledger.unsettled) == ([], 3)
    setup.state.available = True
    await setup.turn()
    assert [(one.id, one.again) for one in setup.settlements] == [("r0", 0), ("r1", 0), ("r2", 0)]
    assert setup.ledger.unsettled == 0


async def test_many_kept_settlements_are_all_made_in_one_turn() -> None:
    setup = Setup()
    permits = [setup.permit(f"r{number}") for number in range(1_200)]
    setup.state.available = False
    for permit in permits:
        setup.ledger.settle(permit, USE)
    setup.state.available = True
    await setup.turn()
    assert (len(setup.settlements), setup.ledger.unsettled) == (1_200, 0)


async def test_a_settlement_that_is_refused_again_and_again_is_given_up(caplog: pytest.LogCaptureFixture) -> None:
    setup = Setup(*[REFUSED] * 10)
    setup.ledger.settle(setup.permit(), USE)
    await setup.turn()
    await setup.turn()
    assert len(setup.settlements) == 3
    assert (setup.ledger.unsettled, setup.ledger.lost) == (0, 1)
    assert [record.message for record in caplog.records] == [
        "A settlement is lost (the store refuses it: The store refused the script.)."
    ]


async def test_losses_are_counted_each_and_told_once_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    setup = Setup(*[REFUSED] * 60)
    for number in range(10):
        setup.ledger.settle(setup.permit(f"r{number}"), USE)
    for _ in range(3):
        await setup.turn()
    assert setup.ledger.lost == 10
    assert len(caplog.records) == 1
    setup.now_s += 60
    setup.ledger.settle(setup.permit("later"), USE)
    for _ in range(3):
        await setup.turn()
    assert (setup.ledger.lost, len(caplog.records)) == (11, 2)


async def test_kept_settlements_are_bounded_and_the_oldest_goes(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "MOST_KEPT", 3)
    setup = Setup()
    permits = [setup.permit(f"r{number}") for number in range(5)]
    setup.state.available = False
    for permit in permits:
        setup.ledger.settle(permit, USE)
    assert (setup.ledger.unsettled, setup.ledger.lost) == (3, 2)
    assert "too many are kept" in caplog.text
    setup.state.available = True
    await setup.turn()
    assert [one.id for one in setup.settlements] == ["r2", "r3", "r4"]


async def test_a_settlement_that_was_cancelled_is_repeated() -> None:
    setup = Setup(asyncio.CancelledError())
    setup.ledger.settle(setup.permit(), USE)
    await setup.turn()
    assert [one.again for one in setup.settlements] == [0, 1]


async def test_nobody_waits_for_an_admission_any_more_so_it_is_given_back() -> None:
    setup = Setup()
    setup.ledger.give_back("r9", ACCOUNT, MODEL)
    (settled,) = setup.settlements
    assert (settled.id, settled.admitted, settled.requests) == ("r9", 0, 0)
    assert settled.tokens == (0, 0, 0, 0)
    assert settled.nano == 0


# Requests that the store never heard of


async def test_requests_of_an_outage_are_added_up_by_account_and_model() -> None:
    setup = Setup()
    setup.state.available = False
    alone = {"admitted": False, "asked": False}
    for number in range(3):
        setup.ledger.settle(setup.permit(f"r{number}", **alone), USE)
    setup.ledger.settle(setup.permit("r9", model="claude-haiku-5-5", **alone), Use(nano=1, estimated=True))
    assert setup.ledger.unsettled == 2
    setup.state.available = True
    await setup.turn()
    opus, haiku = setup.settlements
    assert (opus.id, opus.model, opus.admitted, opus.again) == ("own-0", MODEL, 0, 0)
    assert (opus.requests, opus.nano, opus.tokens) == (3, 2_100, (30, 9, 6, 15))
    assert (opus.estimated, opus.complete) == (0, 0)  # the length of a sum is no answer's
    assert (haiku.id, haiku.model, haiku.requests, haiku.estimated) == ("own-1", "claude-haiku-5-5", 1, 1)
    assert not setup.ledger.behind


async def test_a_sum_that_got_no_answer_keeps_its_id() -> None:
    setup = Setup(NO_ANSWER)
    setup.ledger.settle(setup.permit(admitted=False, asked=False), USE)
    await setup.turn()
    assert [(one.id, one.again) for one in setup.settlements] == [("own-0", 0), ("own-0", 1)]


async def test_a_request_of_an_outage_that_used_nothing_leaves_no_trace() -> None:
    setup = Setup()
    setup.ledger.settle(setup.permit(admitted=False, asked=False), NOTHING_USED)
    await setup.turn()
    assert setup.state.asked == []


async def test_a_request_that_the_store_may_have_admitted_is_settled_by_its_own_id() -> None:
    setup = Setup()
    setup.ledger.settle(setup.permit(admitted=False, asked=True), USE)
    (settled,) = setup.settlements
    assert (settled.id, settled.admitted) == ("r1", 0)


def held(setup: Setup, limits: Limits) -> Held | LocalRefusal:
    return setup.local.admit(
        [(("tag", "key"), limits)],
        workers=1,
        now_s=setup.now_s,
        expected_input=10,
        expected_output=10,
        worst_nano=1_000,
    )


async def test_what_a_request_held_here_is_turned_into_what_it_used() -> None:
    setup, limits = Setup(), Limits(concurrency=1, budget_total_nano=2_000)
    hold = held(setup, limits)
    assert isinstance(held(setup, limits), LocalRefusal)
    setup.ledger.settle(setup.permit(admitted=False, asked=False, held=hold), Use(nano=500))
    assert isinstance(held(setup, limits), Held)  # 1500 left, and its place is free


async def test_what_a_request_held_here_and_did_not_use_is_given_back() -> None:
    setup, limits = Setup(), Limits(requests_per_minute=1)
    hold = held(setup, limits)
    assert isinstance(held(setup, limits), LocalRefusal)
    setup.ledger.settle(setup.permit(admitted=False, asked=False, held=hold), NOTHING_USED)
    assert isinstance(held(setup, limits), Held)


# Leases


async def test_a_lease_is_renewed_every_four_seconds() -> None:
    setup = Setup()
    setup.permit()
    setup.now_s += RENEW_EVERY_S - 0.1
    await setup.turn()
    assert setup.state.calls("renew") == []
    setup.now_s += 0.1
    await setup.turn()
    await setup.turn()
    assert len(setup.state.calls("renew")) == 1
    setup.now_s += RENEW_EVERY_S
    await setup.turn()
    assert len(setup.state.calls("renew")) == 2


async def test_a_renewal_tells_what_is_held_and_what_was_used_so_far() -> None:
    setup = Setup()
    permit = setup.permit()
    permit.progress = lambda: USE
    setup.now_s += RENEW_EVERY_S
    await setup.turn()
    (renewal,) = setup.state.calls("renew")
    assert renewal.args[:10] == (b"r1", "key", MODEL, 10, 100, 900, 13, 5, 700, 100)


async def test_before_anything_is_known_of_it_a_request_has_used_nothing() -> None:
    assert Setup().permit().progress() == NOTHING_USED


async def test_a_renewal_that_failed_is_made_at_the_next_turn() -> None:
    setup = Setup(NO_ANSWER, REFUSED)
    setup.permit()
    setup.now_s += RENEW_EVERY_S
    await setup.turn()
    assert len(setup.state.calls("renew")) == 3


class Renewal:
    """What is renewed with the lease of a request."""

    def __init__(self, *failures: StateError) -> None:
        self.failures = list(failures)
        self.made = 0

    async def __call__(self) -> None:
        self.made += 1
        if self.failures:
            raise self.failures.pop(0)


async def test_what_a_request_holds_besides_is_renewed_with_its_lease() -> None:
    setup, session, flight = Setup(), Renewal(), Renewal()
    setup.permit().renewals += [session, flight]
    await setup.turn()
    assert (session.made, flight.made) == (0, 0)
    setup.now_s += RENEW_EVERY_S
    await setup.turn()
    assert (session.made, flight.made) == (1, 1)


async def test_when_one_renewal_fails_all_are_made_again_at_the_next_turn() -> None:
    setup, session, flight = Setup(), Renewal(NO_ANSWER), Renewal()
    setup.permit().renewals += [session, flight]
    setup.now_s += RENEW_EVERY_S
    await setup.turn()
    assert (session.made, flight.made, len(setup.state.calls("renew"))) == (2, 2, 2)


async def test_a_lease_that_cannot_be_renewed_keeps_nothing_else_from_it() -> None:
    setup, session = Setup(NO_ANSWER), Renewal()
    setup.permit().renewals.append(session)
    setup.now_s += RENEW_EVERY_S
    await setup.turn()
    assert session.made >= 1


async def test_nothing_is_renewed_for_a_settled_request() -> None:
    setup, session = Setup(), Renewal()
    permit = setup.permit()
    permit.renewals.append(session)
    setup.ledger.settle(permit, USE)
    setup.now_s += RENEW_EVERY_S
    await setup.turn()
    assert session.made == 0


async def test_a_settled_request_is_not_renewed() -> None:
    setup = Setup()
    setup.ledger.settle(setup.permit(), USE)
    setup.now_s += RENEW_EVERY_S
    await setup.turn()
    assert setup.state.calls("renew") == []


async def test_while_the_store_is_away_nothing_is_renewed() -> None:
    setup = Setup()
    setup.permit()
    setup.state.available = False
    setup.now_s += 3 * RENEW_EVERY_S
    await setup.turn()
    setup.state.available = True
    await setup.turn()
    assert len(setup.state.calls("renew")) == 1


async def test_a_lease_that_was_put_there_by_a_renewal_is_settled_by_its_id() -> None:
    setup = Setup()
    permit = setup.permit(admitted=False, asked=False)
    setup.now_s += RENEW_EVERY_S
    await setup.turn()
    setup.ledger.settle(permit, USE)
    (settled,) = setup.settlements
    assert (settled.id, settled.admitted) == ("r1", 0)


# The end


async def test_the_end_waits_for_what_is_on_its_way_and_tries_once_more() -> None:
    setup = Setup(NO_ANSWER)
    setup.ledger.settle(setup.permit(), USE)
    await setup.ledger.close()
    assert len(setup.settlements) == 2
    assert setup.ledger.unsettled == 0


async def test_what_could_not_be_settled_before_the_end_is_told(caplog: pytest.LogCaptureFixture) -> None:
    setup = Setup()
    permit = setup.permit()
    setup.state.available = False
    setup.ledger.settle(permit, USE)
    with caplog.at_level(logging.ERROR):
        await setup.ledger.close()
    assert caplog.messages == ["1 settlements could not be made before the end of this worker."]


async def test_a_permit_that_the_store_did_not_give_is_degraded() -> None:
    assert Setup().permit(admitted=False).degraded
    assert not Setup().permit().degraded
