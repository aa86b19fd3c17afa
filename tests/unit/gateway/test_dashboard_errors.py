"""Which requests the dashboard lists as failed, and in which order."""

from __future__ import annotations

from app.gateway.dashboard_errors import ERRORS_EVERY_S, MOST_READ, RecentErrors
from app.state.request_log import MOST_AT_ONCE, MOST_WALKED, add_records_commands
from tests.support.steered_state import SteeredState

NEW_YEAR = 1767225600  # 2026-01-01


def record(second: int, rest: str = "", *, level: str = "WARNING") -> bytes:
    """A record of that second of the year."""
    return f'{{"timestamp":"2026-01-01T00:00:{second:02}Z","level":"{level}"{rest}}}'.encode()


class Errors:
    """The failures of a store whose clock stands still."""

    def __init__(self) -> None:
        self.state = SteeredState()
        self.monotonic_s = 100.0
        self.recent = RecentErrors(self.state, monotonic=lambda: self.monotonic_s)  # type: ignore[arg-type]

    async def add(self, *records: bytes) -> None:
        """A worker hands over its records."""
        await self.state.pipeline(add_records_commands(records))

    async def seconds(self) -> list[float]:
        """When the failures were, as they are listed."""
        return [failure.at - NEW_YEAR for failure in await self.recent.read()]


async def test_a_failure_is_told_as_it_was_written() -> None:
    errors = Errors()
    rest = ',"request_id":"r1","status":502,"error_code":"overloaded","path":"/v1","model":"m","tenant":"acme"'
    await errors.add(record(1, rest), record(2, level="INFO"))
    (failure,) = await errors.recent.read()
    assert (failure.at, failure.request_id, failure.status, failure.broken) == (NEW_YEAR + 1, "r1", 502, False)
    assert (failure.code, failure.path, failure.model, failure.tenant) == ("overloaded", "/v1", "m", "acme")


async def test_a_stream_that_broke_off_is_told_from_a_success() -> None:
    errors = Errors()
    await errors.add(record(1, ',"status":200,"broken":true'))
    (failure,) = await errors.recent.read()
    assert (failure.status, failure.broken) == (200, True)


async def test_the_newest_stands_first_whichever_worker_handed_it_over_last() -> None:
    errors = Errors()
    await errors.add(record(4), record(8))
    await errors.add(record(3), record(6))
    assert await errors.seconds() == [8, 6, 4, 3]


async def test_a_failure_is_found_behind_thousands_of_successes() -> None:
    errors = Errors()
    await errors.add(record(1))
    for _ in range(MOST_WALKED // MOST_AT_ONCE + 1):
        await errors.add(*[record(2, level="INFO")] * MOST_AT_ONCE)
    assert await errors.seconds() == [1]


async def test_a_damaged_record_is_told_last() -> None:
    errors = Errors()
    no_utf8 = record(4, ',"request_id":"?"').replace(b"?", b"\xff")
    await errors.add(record(1), record(2, ',"request_id":4'), record(3, f',"status":{"9" * 400}'), no_utf8)
    assert [failure.code for failure in await errors.recent.read()] == ["", "unreadable", "unreadable", "unreadable"]


async def test_they_are_looked_for_now_and_then() -> None:
    errors = Errors()
    await errors.add(record(1))
    assert await errors.seconds() == [1]
    await errors.add(record(2))
    assert await errors.seconds() == [1]
    errors.monotonic_s += ERRORS_EVERY_S
    assert await errors.seconds() == [2, 1]


async def test_no_more_than_some_are_read() -> None:
    errors = Errors()
    await errors.add(*[record(1)] * (MOST_READ + 1))
    assert len(await errors.recent.read()) == MOST_READ
