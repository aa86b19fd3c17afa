"""Which request records a filter lets pass."""

from __future__ import annotations

import pytest

from app.state.request_log import RecordFilter

AT = 1_800_000_000.0


@pytest.mark.parametrize(
    ("asked", "passes"),
    [
        (RecordFilter(), True),
        (RecordFilter(level="WARNING"), True),
        (RecordFilter(level="warning"), True),
        (RecordFilter(level="info"), False),
        (RecordFilter(type="chat"), True),
        (RecordFilter(type="keys"), False),
        (RecordFilter(tenant="acme"), True),
        (RecordFilter(tenant="ACME"), False),
        (RecordFilter(tenant=""), False),
        (RecordFilter(since=AT), True),
        (RecordFilter(since=AT + 0.001), False),
        (RecordFilter(until=AT + 0.001), True),
        (RecordFilter(until=AT), False),
        (RecordFilter(level="warning", type="chat", tenant="acme", since=AT, until=AT + 1), True),
    ],
)
def test_a_record_passes_that_is_all_that_is_asked_for(asked: RecordFilter, passes: bool) -> None:
    assert asked.lets_pass(level="WARNING", type="chat", tenant="acme", at=AT) is passes
