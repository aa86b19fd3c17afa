"""What is done beside the requests."""

from __future__ import annotations

import asyncio
import logging

import pytest

from app.config import Config
from app.errors import StateUnavailable
from app.gateway.model_table import load_served_models
from tests.support.corridor import Corridor, soon


async def test_closing_waits_for_what_is_being_done() -> None:
    services, done = Corridor().services, asyncio.Event()

    async def work() -> None:
        await soon()
        done.set()

    services.beside(work())
    await services.close()
    assert done.is_set()


async def test_closing_without_work_is_done_at_once() -> None:
    await Corridor().services.close()


async def test_a_store_that_is_away_is_no_bug(caplog: pytest.LogCaptureFixture) -> None:
    services = Corridor().services

    async def work() -> None:
        raise StateUnavailable("away")

    services.beside(work())
    await services.close()
    assert caplog.records == []


async def test_anything_else_is_told_as_a_bug(caplog: pytest.LogCaptureFixture) -> None:
    services = Corridor().services

    async def work() -> None:
        raise ValueError("x")

    services.beside(work())
    with caplog.at_level(logging.ERROR):
        await services.close()
    assert [record.getMessage() for record in caplog.records] == [
        "A bug: what was done beside the requests has failed."
    ]


async def test_what_was_cancelled_is_no_bug(caplog: pytest.LogCaptureFixture) -> None:
    services = Corridor().services
    work = asyncio.ensure_future(asyncio.Event().wait())
    services.beside(work)
    work.cancel()
    await services.close()
    assert caplog.records == []


def test_tenants_whose_sessions_were_changed_are_taken_once_to_be_pruned_and_once_to_be_reported() -> None:
    services = Corridor().services
    services.note_seated("a")
    services.note_seated("b")
    assert services.take_to_prune() == services.take_to_report() == {"a", "b"}
    assert services.take_to_prune() == services.take_to_report() == set()


def test_new_models_come_with_their_aliases_and_leave_the_other_settings() -> None:
    services = Corridor().services
    salt, before = services.translation.user_salt, services.models
    served = load_served_models(Config(model_aliases=(("fast", "claude-haiku-4-5"),)))
    services.take_up_models(served)
    assert services.models is served.table is not before
    assert services.translation.aliases["fast"] == "claude-haiku-4-5"
    assert services.translation.user_salt == salt
