"""The book of alerts, on both stores: written by the leader alone, read by everybody."""

from __future__ import annotations

import pytest

from app.domain.alert_book import AlertBook
from app.state import keys
from app.state.alerts import kept_alerts, read_alerts, write_alerts
from app.state.connection import StateConnection
from app.state.leader import lead, resign
from tests.support.alerts import NOON, event
from tests.support.alerts import state as standing

BOOK = AlertBook(
    alerts=(standing("error_rate", "critical"), standing("memory")),
    outbox=(event(),),
    history=(event(), event("memory", "ok", id="alert_0")),
    evaluated_at=NOON,
    leader="pod-1:7",
)


async def test_the_leader_writes_what_everybody_reads(state: StateConnection) -> None:
    await lead(state, "a")
    assert await write_alerts(state, BOOK, token="a")
    assert await read_alerts(state) == BOOK
    assert 0 < await state.call("TTL", keys.ALERTS) <= keys.ALERTS_TTL_S


async def test_before_anybody_evaluated_the_book_is_empty(state: StateConnection) -> None:
    assert await kept_alerts(state) is None
    assert await read_alerts(state) == AlertBook()


async def test_who_does_not_lead_cannot_write(state: StateConnection) -> None:
    await lead(state, "a")
    await write_alerts(state, BOOK, token="a")
    assert not await write_alerts(state, AlertBook(), token="b")
    assert await read_alerts(state) == BOOK


async def test_who_has_lost_the_lead_cannot_write(state: StateConnection) -> None:
    await lead(state, "a")
    await resign(state, "a")
    assert not await write_alerts(state, BOOK, token="a")
    await lead(state, "b")
    assert not await write_alerts(state, BOOK, token="a")
    assert await kept_alerts(state) is None


@pytest.mark.parametrize(
    "damaged", ["", "{", "[]", '{"alerts": [{"level": "dreadful"}]}', "\xff", '{"x":' + "[" * 5000 + "]" * 5000 + "}"]
)
async def test_a_book_that_cannot_be_read_counts_as_absent(state: StateConnection, damaged: str) -> None:
    await state.call("SET", keys.ALERTS, damaged, "EX", 60)
    assert await kept_alerts(state) is None


async def test_something_else_under_its_name_counts_as_absent_and_is_replaced(state: StateConnection) -> None:
    await state.call("RPUSH", keys.ALERTS, "x")
    assert await read_alerts(state) == AlertBook()
    await lead(state, "a")
    assert await write_alerts(state, BOOK, token="a")
    assert await read_alerts(state) == BOOK


async def test_a_field_of_a_later_release_does_no_harm(state: StateConnection) -> None:
    await state.call("SET", keys.ALERTS, '{"evaluated_at": 5.0, "news": [1]}', "EX", 60)
    assert (await read_alerts(state)).evaluated_at == 5.0
