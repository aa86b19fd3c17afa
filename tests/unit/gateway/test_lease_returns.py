"""Leases that could not be given back are given back as soon as the store is there again."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from app.errors import StateError, StateUnavailable
from app.gateway import lease_returns as module
from app.gateway.lease_returns import WORTH_IT_S, LeaseReturns
from tests.support.scripted_state import ScriptedState

AWAY = StateUnavailable("It is away.")


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "AGAIN_AFTER_S", 0.0)


class Setup:
    """Returns over a store that is switched by hand, and a clock that is set by hand."""

    def __init__(self) -> None:
        self.state = ScriptedState()
        self.now_s = 100.0
        state: Any = self.state
        self.returns = LeaseReturns(state, monotonic=lambda: self.now_s)
        self.tried: list[str] = []

    def lease(self, name: str, *failures: StateError) -> asyncio.Task[None]:
        """A lease whose return fails so often."""
        left = list(failures)

        async def give_back() -> None:
            self.tried.append(name)
            if left:
                raise left.pop(0)

        return asyncio.create_task(self.returns.give_back(give_back))


async def turns(times: int = 20) -> None:
    for _ in range(times):
        await asyncio.sleep(0)


async def test_a_lease_that_is_given_back_is_given_back_once() -> None:
    setup = Setup()
    await setup.lease("a")
    assert setup.tried == ["a"]


async def test_a_lease_is_given_back_again_until_the_store_has_done_it() -> None:
    setup = Setup()
    await setup.lease("a", AWAY, StateError("It was refused."), AWAY)
    assert setup.tried == ["a"] * 4


async def test_nothing_is_tried_while_the_store_is_known_to_be_away() -> None:
    setup = Setup()
    setup.state.available = False
    returning = setup.lease("a", AWAY)
    await turns()
    assert setup.tried == ["a"]
    setup.state.available = True
    await returning
    assert setup.tried == ["a", "a"]


async def test_a_lease_that_has_ended_by_itself_is_let_be() -> None:
    setup = Setup()
    setup.state.available = False
    returning = setup.lease("a", AWAY)
    await turns()
    setup.now_s += WORTH_IT_S
    await returning
    setup.state.available = True
    await turns()
    assert setup.tried == ["a"]


async def test_what_fails_later_is_seen_to_by_who_waits_already() -> None:
    setup = Setup()
    setup.state.available = False
    first = setup.lease("a", AWAY)
    await turns()
    await setup.lease("b", AWAY)
    assert not first.done()
    setup.state.available = True
    await first
    assert setup.tried == ["a", "b", "a", "b"]


async def test_at_the_end_of_the_worker_each_is_tried_once_more(monkeypatch: pytest.MonkeyPatch) -> None:
    setup = Setup()
    first = setup.lease("a", *[AWAY] * 1000)
    await turns()
    setup.returns.close()
    await first
    tried = len(setup.tried)
    await setup.lease("b", AWAY, AWAY, AWAY)
    assert setup.tried[tried:] == ["b", "b"]


async def test_of_too_many_the_oldest_are_left_to_end_by_themselves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_KEPT", 2)
    setup = Setup()
    setup.state.available = False
    first = setup.lease("a", AWAY)
    await turns()
    await asyncio.gather(setup.lease("b", AWAY), setup.lease("c", AWAY))
    setup.state.available = True
    await first
    assert setup.tried == ["a", "b", "c", "b", "c"]


async def test_a_bug_in_one_return_ends_the_waiting_of_no_other() -> None:
    setup = Setup()

    async def bug() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await setup.returns.give_back(bug)
    await setup.lease("a", AWAY)
    assert setup.tried == ["a", "a"]
