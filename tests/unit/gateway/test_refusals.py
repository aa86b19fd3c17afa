"""A part that the store refuses to tell is missing, and is said once; a store that is away is another matter."""

from __future__ import annotations

import pytest

from app.errors import StateError, StateUnavailable
from app.gateway.refusals import Refusals


async def told(answer: int | StateError) -> int:
    if isinstance(answer, StateError):
        raise answer
    return answer


async def test_a_part_that_is_refused_is_missing_and_said_once_each_time(caplog: pytest.LogCaptureFixture) -> None:
    refusals = Refusals("Alerts are evaluated")
    refused = StateError("It is a list.")
    answers = [await refusals.had("the trend", told(answer)) for answer in (refused, refused, 7, refused)]
    assert answers == [None, None, 7, None]
    said = [record.getMessage() for record in caplog.records]
    assert said == ["Alerts are evaluated without the trend: It is a list."] * 2


async def test_a_store_that_is_away_is_no_refusal() -> None:
    with pytest.raises(StateUnavailable):
        await Refusals("Alerts are evaluated").had("the trend", told(StateUnavailable("It is away.", retry_after_s=1)))
