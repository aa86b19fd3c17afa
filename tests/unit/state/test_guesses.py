"""Wrong keys by client address, on the store in memory and while the store is away."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from app.state import connect, keys
from app.state.connection import StateConnection
from app.state.guesses import MAX_GROUPS, GuessBook
from tests.support.services import StateAway

GROUP = "203.0.113.5"
NOW = 100.0


@pytest.fixture
async def state() -> AsyncIterator[StateConnection]:
    connection = connect("memory://")
    yield connection
    await connection.close()


async def try_wrong(book: GuessBook, times: int, *, group: str = GROUP, now: float = NOW) -> list[bool]:
    """Whether the group was blocked after each of several wrong keys."""
    return [await book.wrong(group, now) > 0 for _ in range(times)]


async def test_a_few_wrong_keys_are_allowed_and_the_last_of_them_blocks(state: StateConnection) -> None:
    book = GuessBook(state, per_minute=3)
    assert await try_wrong(book, 4) == [False, False, True, True]
    assert 0 < book.blocked_for(GROUP, NOW) <= keys.GUESSES_TTL_S


async def test_a_block_ends_with_the_window(state: StateConnection) -> None:
    book = GuessBook(state, per_minute=1)
    await try_wrong(book, 2)
    assert book.blocked_for(GROUP, NOW + keys.GUESSES_TTL_S - 5) > 0
    assert book.blocked_for(GROUP, NOW + keys.GUESSES_TTL_S) == 0


async def test_groups_are_counted_apart(state: StateConnection) -> None:
    book = GuessBook(state, per_minute=2)
    await try_wrong(book, 2)
    assert await try_wrong(book, 1, group="2001:db8::/64") == [False]
    assert book.blocked_for("198.51.100.1", NOW) == 0


async def test_whether_a_group_is_blocked_is_known_without_the_store(state: StateConnection) -> None:
    book = GuessBook(state, per_minute=1)
    await try_wrong(book, 2)
    await state.close()
    assert book.blocked_for(GROUP, NOW) > 0


async def test_guessing_stays_slowed_while_the_store_is_away() -> None:
    book = GuessBook(StateAway(), per_minute=3)
    assert await try_wrong(book, 5) == [False, False, True, True, True]
    assert book.blocked_for(GROUP, NOW + 1) == keys.GUESSES_TTL_S - 1


async def test_a_window_that_is_over_starts_anew_while_the_store_is_away() -> None:
    book = GuessBook(StateAway(), per_minute=2)
    await try_wrong(book, 2)
    assert await try_wrong(book, 2, now=NOW + keys.GUESSES_TTL_S) == [False, True]


async def test_counting_goes_on_from_where_it_was_when_the_store_goes_away(state: StateConnection) -> None:
    book = GuessBook(state, per_minute=3)
    await try_wrong(book, 3)
    await state.close()
    assert await try_wrong(book, 1) == [True]


async def test_a_counter_that_the_store_cannot_read_is_counted_here(state: StateConnection) -> None:
    await state.call("SET", keys.guesses(GROUP), "damaged", "EX", 60)
    assert await try_wrong(GuessBook(state, per_minute=2), 2) == [False, True]


async def test_only_so_many_groups_are_remembered() -> None:
    book = GuessBook(StateAway(), per_minute=1)
    for number in range(MAX_GROUPS + 1):
        await try_wrong(book, 2, group=str(number))
    assert book.blocked_for("0", NOW) == 0
    assert book.blocked_for("1", NOW) > 0
    assert book.blocked_for(str(MAX_GROUPS), NOW) > 0
