"""What a request's headers ask of the things that are kept."""

from __future__ import annotations

import pytest

from app.domain.caching import CacheControl
from app.gateway.wants import NOTHING_WANTED, Wants


def test_a_request_without_such_headers_wants_nothing() -> None:
    assert Wants().is_none
    assert NOTHING_WANTED.is_none


@pytest.mark.parametrize(
    "wants",
    [
        Wants(session="trip"),
        Wants(wait_s=0.0),
        Wants(forks=True),
        Wants(idempotency_key="a"),
        Wants(cache=CacheControl(no_store=True)),
    ],
)
def test_any_of_them_is_a_wish(wants: Wants) -> None:
    assert not wants.is_none
